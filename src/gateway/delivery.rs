//! What holds for all answers, whoever gives them: how they are compressed, kept and shown.
//!
//! | header | on | says |
//! |---|---|---|
//! | `X-Content-Type-Options`, `Cross-Origin-Resource-Policy` | every answer | it is what it says it is; other sites may not build it in |
//! | `Content-Security-Policy`, `Cross-Origin-Opener-Policy`, `Referrer-Policy` | answers to GET and HEAD, which a browser may show | what a page may do |
//! | `Cache-Control: no-store` | all that says nothing else of it | nobody keeps what services said, or refusals |
//! | `Content-Encoding`, `Vary` | what gets shorter by it | |

use http_body_util::{Either, Full};
use hyper::Method;
use hyper::body::Body;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;

use super::coding::{self, Coding, Compressor};
use super::{Answer, Configuration, answer, is_read};
use crate::settings::CONTENT_SECURITY_POLICY as DEFAULT_POLICY;

static CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
static CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// How answers are sent under one configuration.
#[derive(Debug)]
pub(super) struct Delivery {
    compressor: Compressor,
    /// What a page may do; `None` where nothing is said of it.
    content_security_policy: Option<HeaderValue>,
    /// Who may build what we have into pages.
    resource_policy: HeaderValue,
}

impl Delivery {
    pub(super) fn new(configuration: &Configuration, compressor: Compressor) -> Self {
        let policy = &*configuration.content_security_policy;
        // The settings take nothing else than what is a header's value.
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(DEFAULT_POLICY));
        let resource_policy = match configuration.origins.is_empty() {
            true => "same-origin",
            // Their pages may fetch our scripts and pictures, for which browsers say no origin.
            false => "cross-origin",
        };
        Self {
            compressor,
            content_security_policy: Some(policy).filter(|policy| !policy.is_empty()),
            resource_policy: HeaderValue::from_static(resource_policy),
        }
    }

    /// The `answer` as it is sent.
    pub(super) async fn finish(&self, parts: &Parts, answer: Answer) -> Answer {
        let mut answer = self.compress(parts, answer).await;
        let headers = answer.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(&CROSS_ORIGIN_RESOURCE_POLICY, self.resource_policy.clone());
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if is_read(&parts.method) {
            if let Some(policy) = &self.content_security_policy {
                headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
            }
            headers.insert(&CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin"));
            // Not "no-referrer", with which forms say that they are of no origin.
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        }
        if parts.method == Method::HEAD { answer::head_only(answer) } else { answer }
    }

    /// Compresses what is there as a whole. Files have been already, and streams are sent as they come.
    async fn compress(&self, parts: &Parts, mut answer: Answer) -> Answer {
        let length = match answer.body() {
            Either::Left(body) => body.size_hint().exact().and_then(|length| usize::try_from(length).ok()),
            Either::Right(_) => None,
        };
        if !length.is_some_and(coding::is_worth_it) || !coding::suits(answer.headers()) {
            return answer;
        }
        answer.headers_mut().append(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        let Some(coding) = Coding::accepted(&parts.headers) else { return answer };
        let Either::Left(body) = answer.body() else { return answer };
        let Some(whole) = body.clone().into_inner() else { return answer };
        let Some(coded) = self.compressor.encode(&whole, coding).await else { return answer };
        answer.headers_mut().insert(CONTENT_ENCODING, coding.name());
        answer.map(|_| Either::Left(Full::new(coded)))
    }
}
