//! `GET <prefix><service>/events`: what happens in a service, to any number of browsers (docs/page.md).
//!
//! ```text
//!                      one subscription,           the last events,          each at its own place
//!   a service ─watch─▶ while anybody is there ─▶   ready to be sent   ─┬─▶ Browser ─▶ a body without end
//!             ◀─────── Hub                         Ring                ├─▶ Browser
//!                       └─ a whole state, when one is needed ──────────┴─▶ …
//! ```
//!
//! A browser is a place in the ring and a place among those that there may be; it is woken when there is more, and takes it when its
//! socket has room. One that has fallen out of the ring gets a whole state and goes on from there, so that a slow one costs
//! nobody anything. What several are due together is made once.
//!
//! **Invariants.** A browser has seen everything up to the revision of its place: a state, or one event after the other. It is
//! shown changes of one module's parameters together where it could not be shown them one by one. A service is asked once,
//! however many browsers there are.

mod browser;
mod hub;
mod ring;
mod said;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http_body_util::Either;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::serve::Place;
use super::{Answer, Configuration, answer, guard};
use crate::access::{Level, Refusal};
pub(super) use hub::Hub;
use hub::Refused;

/// Where a browser says which event it has seen last.
pub(super) static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// By which a proxy that would collect answers is told not to (nginx).
static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// The command by which a service is asked, and so the one that a token must allow.
const COMMAND: &str = "watch";

/// How many browsers there are, of all services.
pub(super) type Browsers = Arc<AtomicUsize>;

/// Answers a request for the events of the service `name`.
pub(super) async fn answer(
    hub: &Arc<Hub>,
    name: &str,
    configuration: &Configuration,
    browsers: &Browsers,
    parts: &Parts,
) -> Answer {
    if parts.method != Method::GET {
        return answer::method_not_allowed("GET");
    }
    if let Some(guard) = configuration.tokens.guard_of(name) {
        let given = match guard::authorize(parts, guard, name) {
            Ok(level) => level,
            Err(answer) => return *answer,
        };
        let needed = guard.level_for(Some(COMMAND)).max(Level::View);
        if needed > given {
            return guard::refused(&Refusal::TooLow { command: COMMAND.to_owned(), needed, given });
        }
    }
    if browsers.load(Relaxed) >= configuration.max_event_streams {
        let mut answer = answer::failure(StatusCode::SERVICE_UNAVAILABLE, &"Too many browsers follow events.");
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return answer;
    }
    let place = Place::take(browsers);
    match Arc::clone(hub).join(last_event_id(&parts.headers), place).await {
        Ok(browser) => stream(browser),
        // Whoever asks for events and finds none asks for the list instead.
        Err(Refused::NotOffered(error)) => answer::failure(StatusCode::NOT_FOUND, &error),
        Err(Refused::Failed(status, error)) => answer::failure(status, &error),
    }
}

fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get(&LAST_EVENT_ID)?.to_str().ok()?.parse().ok()
}

fn stream(browser: browser::Browser) -> Answer {
    let mut answer = Response::new(Either::Right(browser.into_body()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING.clone(), HeaderValue::from_static("no"));
    answer
}

/// Whether an answer is one of these.
pub(super) fn is_stream(answer: &Answer) -> bool {
    answer.headers().get(CONTENT_TYPE) == Some(&EVENT_STREAM)
}
