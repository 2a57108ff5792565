//! Who may ask, as answers of HTTP: whom a request is for, which page makes it, and what its token allows (`access/`).
//!
//! | checked | of | answered |
//! |---|---|---|
//! | `X-Forwarded-…` of a proxy that the settings list (`forwarded`) | every request | 400 where it cannot be understood |
//! | the host that it names, else `Host` and that of the request's URL | every request | 421, or 400 where it is none |
//! | `Origin`, `Sec-Fetch-Site` | every request but GET, HEAD and OPTIONS | 403 |
//! | `Authorization` | a request to a service that takes tokens, before its body is read | 401 |
//! | each command of the body | the same | 403, or in its place of a list |

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Version};

use super::forwarded::Forwarded;
use super::{Answer, Configuration, answer, is_read};
use crate::access::{Guard, HostError, Level, Refusal, Sender, check_host, check_sender};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long a browser may keep what it was told about pages of another site, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// A request that may be looked at.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The origin of the page that makes it, where that is another site which the settings list.
    listed: Option<HeaderValue>,
    /// What is answered depends on the origin.
    varies: bool,
}

impl Admitted {
    /// Looks at whom a request is for and who makes it, going by what a proxy has said.
    pub(super) fn admit(parts: &Parts, forwarded: Forwarded, configuration: &Configuration) -> Result<Self, Box<Answer>> {
        let Forwarded { authority, scheme, client: _ } = forwarded;
        let checked = match authority {
            Some(authority) => configuration.hosts.check(authority).map(Some),
            None => {
                let target = parts.uri.authority().map(Authority::as_str);
                let must_say = parts.version == Version::HTTP_11;
                check_host(target, values(&parts.headers, &HOST), must_say, &configuration.hosts)
            }
        };
        let authority = match checked {
            Ok(authority) => authority,
            Err(error) => {
                let status = match error {
                    HostError::Foreign(_) => StatusCode::MISDIRECTED_REQUEST,
                    HostError::Missing | HostError::Several | HostError::Unclear => StatusCode::BAD_REQUEST,
                };
                return Err(refuse(parts, status, &error).into());
            }
        };
        let origins = values(&parts.headers, &ORIGIN);
        let sites = values(&parts.headers, &SEC_FETCH_SITE);
        let sender = match check_sender(origins, sites, authority.as_ref(), scheme, &configuration.origins) {
            Ok(sender) => sender,
            // Which nobody but the page itself is told anything by, and that only what a browser lets it see.
            Err(_) if is_read(&parts.method) || parts.method == Method::OPTIONS => Sender::Own,
            Err(error) => return Err(refuse(parts, StatusCode::FORBIDDEN, &error).into()),
        };
        let listed = parts.headers.get(ORIGIN).filter(|_| sender == Sender::Listed).cloned();
        Ok(Self { listed, varies: !configuration.origins.is_empty() })
    }

    /// The answer to a browser that asks, for a page of a listed site, whether it may send what that page wants sent.
    pub(super) fn preflight(&self, parts: &Parts) -> Option<Answer> {
        let is_preflight = parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight || self.listed.is_none() {
            return None;
        }
        let mut answer = answer::nothing(StatusCode::NO_CONTENT);
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type, Last-Event-ID"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(answer)
    }

    /// Says in `answer` that a page of a listed site may read it.
    pub(super) fn tell(self, mut answer: Answer) -> Answer {
        if self.varies {
            answer.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = self.listed {
            answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        answer
    }
}

pub(super) fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

/// In words for people who look at a page, in JSON for the others.
pub(super) fn refuse(parts: &Parts, status: StatusCode, error: &impl ToString) -> Answer {
    match is_read(&parts.method) {
        true => answer::text(status, format!("{}\n", error.to_string())),
        false => answer::failure(status, error),
    }
}

/// What the request's token allows at the service `name`, which `guard` is of.
pub(super) fn authorize(parts: &Parts, guard: &Guard, name: &str) -> Result<Level, Box<Answer>> {
    let mut given = values(&parts.headers, &AUTHORIZATION);
    let (sentence, challenge) = match (given.next().map(bearer), given.next()) {
        (Some(Some(token)), None) => match guard.level_of(token) {
            Some(level) => return Ok(level),
            None => (format!("Token is not known to {name}."), "Bearer realm=\"shmooze\", error=\"invalid_token\""),
        },
        (None | Some(None), None) => {
            (format!("{name} takes a token: \"Authorization: Bearer TOKEN\"."), "Bearer realm=\"shmooze\"")
        }
        (_, Some(_)) => {
            let sentence = "Header \"Authorization\" must be there once.".to_owned();
            (sentence, "Bearer realm=\"shmooze\", error=\"invalid_request\"")
        }
    };
    let answer = answer::failure(StatusCode::UNAUTHORIZED, &sentence);
    Err(challenged(answer, HeaderValue::from_static(challenge)).into())
}

/// Whether the request may see what the command called `command` tells of the service `name`.
pub(super) fn may_see(parts: &Parts, configuration: &Configuration, name: &str, command: &str) -> bool {
    let Some(guard) = configuration.tokens.guard_of(name) else { return true };
    let needed = guard.level_for(Some(command)).max(Level::View);
    authorize(parts, guard, name).is_ok_and(|given| given >= needed)
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1); `None` where it is another scheme.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(value.iter().position(|byte| *byte == b' ')?)?;
    scheme.eq_ignore_ascii_case(b"Bearer").then(|| token.trim_ascii())
}

/// The answer to one request that was refused.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::TooLow { needed, .. } => {
            let challenge = format!("Bearer realm=\"shmooze\", error=\"insufficient_scope\", scope=\"{needed}\"");
            let answer = answer::failure(StatusCode::FORBIDDEN, refusal);
            match HeaderValue::try_from(challenge) {
                Ok(challenge) => challenged(answer, challenge),
                Err(_) => answer,
            }
        }
        // As the service would answer.
        Refusal::IllFormed(_) => answer::failure(StatusCode::OK, refusal),
    }
}

fn challenged(mut answer: Answer, challenge: HeaderValue) -> Answer {
    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearers() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("BEARER ", Some("")),
            ("Bearer a b", Some("a b")),
            ("Bearer", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            (" Bearer abc", None),
            ("", None),
        ] {
            assert_eq!(bearer(value.as_bytes()), token.map(str::as_bytes), "{value}");
        }
    }
}
