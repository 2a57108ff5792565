//! Texts of the gateway's own that are the same until it is configured anew.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use hyper::http::request::Parts;

use super::{Answer, answer, coding, is_read};

/// A text of JSON, read by GET and HEAD. It may be kept but must be asked after.
#[derive(Debug)]
pub(super) struct Document {
    json: Bytes,
    /// Weak, since it is the same in all codings; that of the same text in another process of this build is the same.
    tag: String,
}

impl Document {
    pub(super) fn new(json: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        json.hash(&mut hasher);
        Self { json, tag: format!("W/\"{:016x}\"", hasher.finish()) }
    }

    pub(super) fn answer(&self, parts: &Parts) -> Answer {
        if !is_read(&parts.method) {
            return answer::method_not_allowed("GET, HEAD");
        }
        let mut answer = match self.is_known(&parts.headers) {
            true => self.unchanged(),
            false => answer::json(self.json.clone()),
        };
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::try_from(&*self.tag) {
            headers.insert(ETAG, tag);
        }
        answer
    }

    /// 304, which varies as the text would.
    fn unchanged(&self) -> Answer {
        let mut answer = answer::nothing(StatusCode::NOT_MODIFIED);
        if coding::is_worth_it(self.json.len()) {
            answer.headers_mut().insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        }
        answer
    }

    /// Whether the client has it (RFC 9110 section 13.1.2). Our tag has no comma in it.
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let ours = opaque(&self.tag);
        let mut values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.trim() == "*" || value.split(',').any(|tag| opaque(tag) == ours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it() {
        let document = Document::new("{}".into());
        let tag = document.tag.clone();
        let strong = tag.trim_start_matches("W/");
        let knows = |value: &str| document.is_known(&HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().unwrap())]));
        for value in [&*tag, strong, "*", &format!("\"a\" , {tag}"), &format!("\"a,b\",{strong}")] {
            assert!(knows(value), "{value}");
        }
        for value in ["", "\"\"", "W/", "**", strong.trim_matches('"'), &tag.to_uppercase()] {
            assert!(!knows(value), "{value}");
        }
        assert!(!document.is_known(&HeaderMap::new()));
        assert_ne!(Document::new("{ }".into()).tag, tag);
    }
}
