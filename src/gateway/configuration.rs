//! What the gateway is told.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;

use crate::client::{DEFAULT_TIMEOUT, Endpoint};
use crate::protocol::DEFAULT_MAX_LINE_BYTES;

/// What a [`Gateway`](super::Gateway) serves and what it puts up with.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The services by name: every key of `ports` but `wsgi`.
    pub services: IndexMap<String, Endpoint>,
    /// The text of `settings.json`: the public settings as a JSON object.
    pub public: Bytes,
    /// The folder of the static files; without it there are none, nor a page at `/`.
    pub static_path: Option<PathBuf>,
    /// What the paths of static files begin with, as `/static/`.
    pub static_prefix: String,
    /// What the paths of services and of `settings.json` begin with, as `/`.
    pub wsgi_prefix: String,
    /// Longest answer taken from a service, in bytes.
    pub max_line_bytes: usize,
    /// Longest body taken from a client, in bytes.
    pub max_body_bytes: usize,
    /// Longest request head taken from a client, in bytes (8,192 at least).
    pub max_header_bytes: usize,
    /// How long a service may take to answer, opening the connection included.
    pub service_timeout: Duration,
    /// How long a client may take over a request's head, from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may be silent between requests, a body while it is sent, an answer while it is read.
    pub idle_timeout: Duration,
    /// How long requests under way are waited for at the end.
    pub drain_timeout: Duration,
    /// Connections of clients at once; the next is answered 503 and closed.
    pub max_connections: usize,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            services: IndexMap::new(),
            public: Bytes::from_static(b"{}"),
            static_path: None,
            static_prefix: "/static/".to_owned(),
            wsgi_prefix: "/".to_owned(),
            max_line_bytes: DEFAULT_MAX_LINE_BYTES,
            max_body_bytes: DEFAULT_MAX_LINE_BYTES,
            max_header_bytes: 64 * 1024,
            service_timeout: DEFAULT_TIMEOUT,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            drain_timeout: DEFAULT_TIMEOUT,
            max_connections: 1024,
        }
    }
}
