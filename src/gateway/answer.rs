//! What clients are answered.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Either, Full};
use hyper::body::Body;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::protocol;

/// The body of an answer: bytes that are there, or a stream of them.
pub type AnswerBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, io::Error>>;

/// What a request is answered with.
pub type Answer = Response<AnswerBody>;

const JSON: HeaderValue = HeaderValue::from_static("text/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn whole(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// 200 with JSON, as the original labelled it.
pub(super) fn json(body: Bytes) -> Answer {
    whole(StatusCode::OK, JSON, body)
}

/// A refusal for programs: `{"success": false, "error": …}`.
pub(super) fn failure(status: StatusCode, error: &impl ToString) -> Answer {
    let mut body = Vec::new();
    protocol::Response::Failure(error.to_string()).write(&mut body);
    let mut answer = whole(status, JSON, body.into());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // Whatever takes the room now has a bound of seconds.
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// A refusal for people.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    whole(status, TEXT, text.into())
}

/// 204, 304
pub(super) fn nothing(status: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = status;
    answer
}

/// 404
pub(super) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "Not found.\n")
}

/// 405, naming the methods that are allowed.
pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.\n");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// The answer without its body, as HEAD has it, the length that the body would have had still named. (Over HTTP/1 hyper
/// would see to that, over HTTP/2 it does not.)
pub(super) fn head_only(answer: Answer) -> Answer {
    let (mut parts, body) = answer.into_parts();
    let is_said = parts.headers.contains_key(CONTENT_LENGTH) || parts.status == StatusCode::NOT_MODIFIED;
    if let (Some(length), false) = (body.size_hint().exact(), is_said) {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Either::Left(Full::default()))
}
