//! How the gateway and its queues and pools are: `GET /healthz` and `GET /metrics` (docs/gateway.md).
//!
//! ```text
//!   every request to a service ─▶ Requests ───────────────╮
//!                                                         ├─▶ metrics: text in the form that is asked for
//!   whoever asks ─▶ Survey ─metrics─▶ every queue and pool┤
//!                  (one for all who ask meanwhile)        ╰─▶ health: 200 or 503
//! ```
//!
//! **Invariants.** A request costs three atomic additions, without a lock. However many ask, each queue and pool is asked once at a
//! time, over one connection, and for no longer than [`survey::PATIENCE`]. Who shows no token for a service is told no more of
//! it than that it answers or does not.

mod families;
mod health;
mod requests;
mod survey;

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use hyper::http::request::Parts;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::route::Routes;
use super::{Answer, Configuration, answer, guard};
use families::{Families, OfService};
pub(super) use requests::Requests;
use survey::Survey;

/// The command by which a service is asked, and so the one that a token must allow.
const COMMAND: &str = "metrics";

/// Of OpenMetrics 1.0, for whoever says that he takes it; others get the text format of Prometheus, version 0.0.4.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who knows how everything is.
#[derive(Debug)]
pub(super) struct Monitoring {
    started: SystemTime,
    survey: Survey,
}

impl Monitoring {
    /// Goes on counting time from where `before` began.
    pub(super) fn new(configuration: &Configuration, before: Option<&Self>) -> Self {
        let started = before.map_or_else(SystemTime::now, |before| before.started);
        Self { started, survey: Survey::new(configuration) }
    }

    /// Answers `GET /healthz`.
    pub(super) async fn health(&self, configuration: &Configuration, parts: &Parts) -> Answer {
        let may_see = |name: &str| guard::may_see(parts, configuration, name, COMMAND);
        let mut answer = health::answer(&self.survey, parts.uri.query(), may_see).await;
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    /// Answers `GET /metrics`: of services that take tokens only what the request's token is good for.
    pub(super) async fn metrics(&self, configuration: &Configuration, routes: &Routes, parts: &Parts) -> Answer {
        let surveyed = self.survey.ask().await;
        let services = routes.services().filter(|service| guard::may_see(parts, configuration, service.name(), COMMAND));
        let services = services.map(|service| OfService {
            name: service.name().to_owned(),
            browsers: service.hub().browsers() as u64,
            requests: service.requests().count(),
            surveyed: surveyed.get(service.name()).cloned(),
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Families { started: self.started, services: services.collect() }));
        let mut body = String::new();
        let (content_type, written) = if takes_open_metrics(parts) {
            (OPEN_METRICS, text::encode(&mut body, &registry))
        } else {
            (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut body, &registry))
        };
        if let Err(error) = written {
            return answer::failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("Metrics cannot be written: {error}."));
        }
        let mut answer = answer::text(StatusCode::OK, body);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.append(VARY, HeaderValue::from_static("Accept"));
        answer
    }
}

/// Whether the request says that it takes OpenMetrics. (Whoever prefers something else to it, as nobody does, gets it all the same.)
fn takes_open_metrics(parts: &Parts) -> bool {
    let accepted = parts.headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let types = accepted.flat_map(|value| value.split(','));
    types
        .map(|one| one.split(';').next().unwrap_or_default().trim())
        .any(|one| one.eq_ignore_ascii_case("application/openmetrics-text"))
}
