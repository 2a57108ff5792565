//! Posting requests to a gateway over HTTP (protocol.md section 7).

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::error::reason;

/// Longest answer taken, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why there is no answer; each sentence names the URL.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The text is no URL that can be posted to.
    #[error("{url:?} is not a URL of the form http://HOST[:PORT]/PATH{reason}.")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it, with a leading colon, or nothing.
        reason: String,
    },
    /// No connection could be opened. Nothing was sent.
    #[error("{url} cannot be reached: {}.", reason(source))]
    Unreachable {
        /// The URL.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or what came is not HTTP. The request may have been carried out.
    #[error("{url} gave no answer: {reason}.")]
    Broken {
        /// The URL.
        url: String,
        /// What happened.
        reason: String,
    },
}

/// Posts `body` as JSON to `url` and returns the status and the body of the answer. There is no deadline: give up by
/// dropping the future.
///
/// # Errors
/// [`HttpError`] where there is no answer. A status other than 200 is an answer.
pub async fn post_json(url: &str, body: Bytes) -> Result<(StatusCode, Bytes), HttpError> {
    let uri = parse(url)?;
    let broken = |reason: String| HttpError::Broken { url: url.to_owned(), reason };
    let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    // An IPv6 address stands in brackets, which the resolver does not know.
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80)))
        .await
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(|source| HttpError::Unreachable { url: url.to_owned(), source })?;

    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()));
    let host = HeaderValue::from_str(&authority).map_err(|error| broken(error.to_string()))?;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));

    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let body = body.collect().await.map_err(|error| broken(error.to_string()))?.to_bytes();
        Ok((status, body))
    };
    tokio::pin!(exchange);
    // The connection does the reading and writing. It may end before the answer was looked at, never after.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

fn parse(url: &str) -> Result<Uri, HttpError> {
    let bad = |reason: &str| HttpError::BadUrl { url: url.to_owned(), reason: reason.to_owned() };
    let uri: Uri = url.parse().map_err(|_| bad(""))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(bad(": https is not spoken here; put a proxy that speaks it in front of the gateway")),
        _ => return Err(bad("")),
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(bad(": a user name is not taken")),
        Some(authority) if !authority.host().is_empty() => Ok(uri),
        _ => Err(bad("")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in ["http://localhost/queue", "http://[::1]:80/queue?x=1", "HTTP://x:1"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "localhost:80", "/queue", "ftp://x/", "http://", "http:///x", "http://a b/", "http://u@x/", "https://x/"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse("localhost:80").unwrap_err().to_string(),
            "\"localhost:80\" is not a URL of the form http://HOST[:PORT]/PATH."
        );
    }
}
