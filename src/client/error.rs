//! Why there is no answer.

use std::io;
use std::time::Duration;

use super::Endpoint;

/// What the system said, without its number, which says nothing more.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

/// Why a request has no answer; each sentence names the service.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be opened. Nothing was sent.
    #[error("Service at {endpoint} cannot be reached: {}.", reason(source))]
    Unreachable {
        /// The service.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// The connection ended before the answer was whole. The request may have been carried out.
    #[error("Service at {endpoint} closed the connection without an answer.")]
    Closed {
        /// The service.
        endpoint: Endpoint,
        /// What the system said; `None` where the service closed in good order.
        source: Option<io::Error>,
    },
    /// The answer is over the limit.
    #[error("Service at {endpoint} answered with a line longer than {limit} bytes.")]
    TooLong {
        /// The service.
        endpoint: Endpoint,
        /// The limit in bytes.
        limit: usize,
    },
    /// No answer in time. The request may be carried out yet.
    #[error("Service at {endpoint} did not answer within {} ms.", after.as_millis())]
    TimedOut {
        /// The service.
        endpoint: Endpoint,
        /// How long it was waited for.
        after: Duration,
    },
    /// The answer is not JSON.
    #[error("Service at {endpoint} answered with something that is not JSON: {reason}")]
    NotJson {
        /// The service.
        endpoint: Endpoint,
        /// Where the fault is.
        reason: String,
    },
    /// The answer is JSON, and no response (protocol.md section 2).
    #[error("Service at {endpoint} answered with something that is no response.")]
    NotAResponse {
        /// The service.
        endpoint: Endpoint,
    },
    /// The request holds a newline, so that the service would take it for two. Nothing was sent.
    #[error("The request to the service at {endpoint} holds a newline.")]
    NotOneLine {
        /// The service.
        endpoint: Endpoint,
    },
}
