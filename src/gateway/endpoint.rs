//! A service behind the gateway: posting to it, and its events.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::access_log::Noted;
use super::events::{self, Browsers, Hub};
use super::monitoring::Requests;
use super::{Answer, Configuration, answer, body, guard};
use crate::access::{Verdict, judge};
use crate::client::{Client, ClientError, Endpoint};
use crate::protocol::validate;

/// A service behind the gateway.
#[derive(Debug)]
pub(super) struct Service {
    name: String,
    client: Client,
    hub: Arc<Hub>,
    requests: Arc<Requests>,
    /// Longest answer, in bytes, longest wait and longest silence, that client and hub were made with.
    limits: (usize, Duration, Duration),
    /// The last request had no answer. A page may ask a dead service every second; the journal is told once.
    is_failing: AtomicBool,
}

impl Service {
    /// With what is counted of one `before` of this name.
    pub(super) fn new(name: &str, endpoint: &Endpoint, configuration: &Configuration, before: Option<&Self>) -> Self {
        let limits = limits(configuration);
        let client = Client::with(endpoint.clone(), limits.0, limits.1);
        let hub = Arc::new(Hub::new(name, endpoint, limits.0, limits.1, limits.2));
        let requests = before.map(|before| Arc::clone(&before.requests)).unwrap_or_default();
        Self { name: name.to_owned(), client, hub, requests, limits, is_failing: AtomicBool::new(false) }
    }

    /// Whether one that were made anew like this would be no other.
    pub(super) fn is_at(&self, endpoint: &Endpoint, configuration: &Configuration) -> bool {
        self.client.endpoint() == endpoint && self.limits == limits(configuration)
    }

    /// Its events.
    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Answers a request for its events.
    pub(super) async fn events(&self, configuration: &Configuration, browsers: &Browsers, parts: &Parts) -> Answer {
        events::answer(&self.hub, &self.name, configuration, browsers, parts).await
    }

    /// What is counted of requests to it.
    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Answers a request, and counts that.
    pub(super) async fn answer<B>(
        &self,
        configuration: &Configuration,
        room: &body::Room,
        parts: &Parts,
        body: B,
        noted: &mut Option<Noted>,
    ) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let begun = Instant::now();
        let answer = self.respond(configuration, room, parts, body, noted).await;
        self.requests.answered(answer.status(), begun.elapsed());
        answer
    }

    /// The service's own answer as it is, or what stands in the way of one.
    async fn respond<B>(
        &self,
        configuration: &Configuration,
        room: &body::Room,
        parts: &Parts,
        body: B,
        noted: &mut Option<Noted>,
    ) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        if parts.method != Method::POST {
            return answer::method_not_allowed("POST");
        }
        // Before anything of the body is read.
        let guard = match configuration.tokens.guard_of(&self.name) {
            None => None,
            Some(guard) => match guard::authorize(parts, guard, &self.name) {
                Ok(level) => Some((guard, level)),
                Err(answer) => return *answer,
            },
        };
        if !is_json(&parts.headers) {
            return answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Endpoint only accepts JSON.");
        }
        let (body, _held) = match body::read(body, configuration.max_body_bytes, configuration.idle_timeout, room).await {
            Ok(read) => read,
            Err(error) => return answer::failure(error.status(), &error),
        };
        if let Err(error) = validate(&body) {
            return answer::failure(StatusCode::BAD_REQUEST, &error);
        }
        if let Some(noted) = noted {
            noted.asks(guard.map(|(guard, _)| guard), &body);
        }
        let part = match guard.map(|(guard, level)| judge(guard, level, &body)) {
            None | Some(Verdict::Pass) => return self.ask(body).await.map_or_else(|answer| answer, answer::json),
            Some(Verdict::Refused(refusal)) => return guard::refused(&refusal),
            Some(Verdict::Part(part)) => part,
        };
        let answers = match &part.passed {
            Some(passed) => self.ask(passed.clone().into()).await,
            None => Ok(Bytes::from_static(b"[]")),
        };
        match answers.map(|answers| part.complete(&answers)) {
            Ok(Some(answers)) => answer::json(answers.into()),
            Ok(None) => {
                let error =
                    format!("Service at {} did not answer a list of requests by as many responses.", self.client.endpoint());
                answer::failure(StatusCode::BAD_GATEWAY, &error)
            }
            Err(answer) => answer,
        }
    }

    /// Has the service answer `body`.
    async fn ask(&self, body: Bytes) -> Result<Bytes, Answer> {
        match self.client.request_line(&one_line(body)).await {
            Ok(line) => {
                if self.is_failing.load(Relaxed) && self.is_failing.swap(false, Relaxed) {
                    tracing::info!("Service {} answers again.", self.name);
                }
                Ok(line)
            }
            Err(error) => {
                if !self.is_failing.swap(true, Relaxed) {
                    tracing::warn!("Service {} fails: {error}", self.name);
                }
                Err(answer::failure(status(&error), &error))
            }
        }
    }
}

const fn limits(configuration: &Configuration) -> (usize, Duration, Duration) {
    (configuration.max_line_bytes, configuration.service_timeout, configuration.idle_timeout)
}

/// With which status it is said that a service gave no answer.
pub(super) fn status(error: &ClientError) -> StatusCode {
    match error {
        ClientError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
        ClientError::NotOneLine { .. } => StatusCode::BAD_REQUEST,
        ClientError::Unreachable { .. }
        | ClientError::Closed { .. }
        | ClientError::TooLong { .. }
        | ClientError::NotJson { .. }
        | ClientError::NotAResponse { .. } => StatusCode::BAD_GATEWAY,
    }
}

/// Whether the body is said to be JSON, whatever the parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence).trim();
    ["text/json", "application/json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
}

/// JSON on one line. A line break can only stand between tokens there, where a space means the same.
fn one_line(json: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &json).is_none() {
        return json;
    }
    let mut line = Vec::from(json);
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        let said = |content_type: &str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]));
        for json in
            ["text/json", "application/json", "TEXT/JSON", "application/json;charset=UTF-8", "text/json ;x", "text/json; a=b; c"]
        {
            assert!(said(json), "{json}");
        }
        for other in ["", "text/plain", "application/vnd.api+json", "text/json, text/plain", "text/jsonx", ";text/json", "\u{e9}"]
        {
            assert!(!said(other), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn line_breaks_become_spaces() {
        let json = Bytes::from("{\"a\": 1}");
        assert_eq!(one_line(json.clone()).as_ptr(), json.as_ptr(), "not copied");
        assert_eq!(one_line("{\r\n\"a\":\n1}\n".into()), "{  \"a\": 1} ");
    }
}
