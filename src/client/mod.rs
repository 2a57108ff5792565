//! Speaking to services: one line out, one line back (protocol.md sections 1 and 2).
//!
//! ```text
//!   Client::request ──▶ Pool::request_line ──▶ Connection::request_line ──▶ service
//!    (deadline,          (kept-alive            (one request at
//!     Response)           connections)           a time)
//! ```
//!
//! [`http`] is the other way in: the same requests posted to a gateway.
//!
//! **Invariant:** a request is written at most once, unless it is certain that not one byte of it left; and an answer
//! reaches the request that it answers or nobody: a connection whose request was given up is never used again.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use shmooze::client::{Client, Endpoint};
//!
//! let queue = Client::new(Endpoint::local(15580));
//! let response = queue.request("queue", None).await?;
//! println!("{}", response.to_text());
//! # Ok(())
//! # }
//! ```

mod connection;
mod endpoint;
mod error;
pub mod http;
mod pool;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

pub use connection::Connection;
pub use endpoint::Endpoint;
pub use error::ClientError;
pub use pool::{Limits, Pool};

use crate::deadline::Limit;
use crate::protocol::{DEFAULT_MAX_LINE_BYTES, Response, validate, write_request};

/// How long a service may take to answer where nothing else is said: 10 s, as in the original (protocol.md section 7).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A service as its clients see it. Any number of requests may be under way at once; each has a connection to itself.
#[derive(Debug)]
pub struct Client {
    pool: Pool,
    limit: Limit,
}

impl Client {
    /// A client of the service at `endpoint`. Nothing is opened before the first request.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self::with(endpoint, DEFAULT_MAX_LINE_BYTES, DEFAULT_TIMEOUT)
    }

    /// As [`Client::new`], taking answers of up to `max_line_bytes` bytes and waiting at most `timeout` for each, the
    /// opening of a connection included.
    #[must_use]
    pub fn with(endpoint: Endpoint, max_line_bytes: usize, timeout: Duration) -> Self {
        Self { pool: Pool::new(endpoint, max_line_bytes, Limits::default()), limit: Limit::new(timeout) }
    }

    /// Asks for `cmd` with `args` and reads the response. What the service refuses is an `Ok` with
    /// [`Response::Failure`].
    ///
    /// # Errors
    /// [`ClientError`] where there is no response.
    pub async fn request(&self, cmd: &str, args: Option<&RawValue>) -> Result<Response, ClientError> {
        let mut line = Vec::new();
        write_request(cmd, args, &mut line);
        // Arguments may have come with newlines between their tokens; inside a JSON string there are none.
        line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        let answer = self.request_line(&line).await?;
        Response::parse(&answer).map_err(|error| match validate(&answer) {
            Ok(()) => ClientError::NotAResponse { endpoint: self.endpoint().clone() },
            Err(_) => ClientError::NotJson { endpoint: self.endpoint().clone(), reason: error.to_string() },
        })
    }

    /// Sends one line, a request or a list of them, and reads the line that answers it; neither has a newline. The
    /// answer is JSON.
    ///
    /// # Errors
    /// [`ClientError`] where there is no answer, or one that is not JSON.
    pub async fn request_line(&self, line: &[u8]) -> Result<Bytes, ClientError> {
        let Some(answer) = self.limit.of(self.pool.request_line(line)).await else {
            return Err(ClientError::TimedOut { endpoint: self.endpoint().clone(), after: self.limit.time() });
        };
        let answer = answer?;
        match validate(&answer) {
            Ok(()) => Ok(answer),
            Err(error) => Err(ClientError::NotJson { endpoint: self.endpoint().clone(), reason: error.to_string() }),
        }
    }

    /// Where the service is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.pool.endpoint()
    }
}
