//! What the gateway is told.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;

use crate::access::{Hosts, Origin, ProxyRule, Tokens};
use crate::client::{DEFAULT_TIMEOUT, Endpoint};
use crate::protocol::DEFAULT_MAX_LINE_BYTES;
use crate::settings::{AccessLog, CONTENT_SECURITY_POLICY, GATEWAY_PORT, Service, Settings};

/// What a [`Gateway`](super::Gateway) serves and what it puts up with.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The services by name: every key of `ports` but `wsgi`.
    pub services: IndexMap<String, Endpoint>,
    /// Which of them are queues and pools of ours: what `/healthz` and `/metrics` ask.
    pub brokers: Vec<String>,
    /// Whether there is `/metrics`.
    pub metrics: bool,
    /// What of them the settings tell, for the description in `openapi.json`.
    pub described: IndexMap<String, Service>,
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
    /// Browsers that may follow events at once; the next is answered 503.
    pub max_event_streams: usize,
    /// By which names it may be asked.
    pub hosts: Hosts,
    /// Pages of other sites that may ask it.
    pub origins: Vec<Origin>,
    /// Proxies that are believed when they say for whom they ask.
    pub proxies: Vec<ProxyRule>,
    /// The header `Content-Security-Policy`; empty where there is to be none.
    pub content_security_policy: Cow<'static, str>,
    /// Which requests the journal is told of.
    pub access_log: AccessLog,
    /// Which services take tokens.
    pub tokens: Arc<Tokens>,
}

impl Configuration {
    /// What `settings` say: every port but the gateway's own is a service on this machine. Requests under way are waited
    /// for at the end as long as a service may take to answer them. The machine's own name and tokens, which no settings
    /// tell, are to be filled in.
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Self {
        let services = settings.ports.iter().filter(|(name, _)| *name != GATEWAY_PORT);
        let is_broker = |service: &Service| matches!(service, Service::Queue(_) | Service::Pool(_));
        let brokers = settings.services.iter().filter(|(_, service)| is_broker(service));
        Self {
            services: services.map(|(name, port)| (name.clone(), Endpoint::local(*port))).collect(),
            brokers: brokers.map(|(name, _)| name.clone()).collect(),
            metrics: settings.gateway.metrics,
            described: settings.services.clone(),
            public: settings.public_json().into(),
            static_path: settings.static_path.clone(),
            static_prefix: settings.static_prefix.clone(),
            wsgi_prefix: settings.wsgi_prefix.clone(),
            max_line_bytes: settings.max_line_bytes,
            max_body_bytes: settings.gateway.max_body_bytes,
            service_timeout: settings.gateway.service_timeout,
            header_timeout: settings.gateway.header_timeout,
            idle_timeout: settings.gateway.idle_timeout,
            drain_timeout: settings.gateway.service_timeout,
            max_connections: settings.gateway.max_connections,
            max_event_streams: settings.gateway.max_event_streams,
            hosts: Hosts::new(&settings.gateway.hosts),
            origins: settings.gateway.origins.clone(),
            proxies: settings.gateway.proxies.clone(),
            content_security_policy: settings.gateway.content_security_policy.clone(),
            access_log: settings.gateway.access_log,
            ..Self::default()
        }
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            services: IndexMap::new(),
            brokers: Vec::new(),
            metrics: true,
            described: IndexMap::new(),
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
            max_event_streams: 1024,
            hosts: Hosts::default(),
            origins: Vec::new(),
            proxies: Vec::new(),
            content_security_policy: Cow::Borrowed(CONTENT_SECURITY_POLICY),
            access_log: AccessLog::default(),
            tokens: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::access::Host;

    #[test]
    fn what_the_settings_say() {
        let text = r#"{"ports": {"queue": 15580, "wsgi": 15888, "volume": 15590}, "name": "é", "public": ["name"],
            "services": {"queue": {"kind": "queue", "modules": {}}, "volume": {"kind": "app", "process": ["volume"]}},
            "static_path": "/srv/page", "wsgi_prefix": "/api/", "static_prefix": "/", "max_line_bytes": 5000000,
            "gateway": {"service_timeout": 2000, "idle_timeout": 3000, "header_timeout": 4000, "max_connections": 5, "max_event_streams": 4,
                        "max_body_bytes": 6000000, "metrics": false, "hosts": ["kiosk"], "origins": ["http://a"], "proxies": ["unix"],
                        "content_security_policy": "", "access_log": "errors"}}"#;
        let settings = Settings::parse(text, Path::new("settings.json")).unwrap();
        let configuration = Configuration::from_settings(&settings);
        let services: Vec<_> = configuration.services.iter().map(|(name, at)| format!("{name} {at}")).collect();
        assert_eq!(services, ["queue localhost:15580", "volume localhost:15590"]);
        assert_eq!(configuration.public, r#"{"name":"é"}"#);
        assert_eq!(configuration.static_path.as_deref(), Some(Path::new("/srv/page")));
        assert_eq!((&*configuration.wsgi_prefix, &*configuration.static_prefix), ("/api/", "/"));
        assert_eq!((configuration.max_line_bytes, configuration.max_body_bytes), (5_000_000, 6_000_000));
        let seconds = [configuration.service_timeout, configuration.idle_timeout, configuration.header_timeout];
        assert_eq!(seconds.map(|timeout| timeout.as_secs()), [2, 3, 4]);
        assert_eq!((configuration.drain_timeout, configuration.max_connections), (configuration.service_timeout, 5));
        assert_eq!((configuration.max_event_streams, configuration.metrics), (4, false));
        assert_eq!(configuration.brokers, ["queue"]);
        assert!(configuration.hosts.allow(&Host::Name("kiosk".to_owned())));
        assert_eq!(configuration.origins, [Origin::parse("http://a").unwrap()]);
        assert_eq!(configuration.proxies, [ProxyRule::Unix]);
        assert_eq!(configuration.content_security_policy, "");
        assert_eq!(configuration.access_log, AccessLog::Errors);
    }
}
