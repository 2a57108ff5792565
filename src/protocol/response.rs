//! Responses (protocol.md section 2).

use serde_json::value::RawValue;

use super::json::{Object, Raw, as_string, replace_non_finite, write_string};
use super::{ProtocolError, raw};

/// What one request is answered with.
#[derive(Debug, Clone)]
pub enum Response {
    /// `{"success": true}`, with `result` where there is one that is not null.
    Success(Option<Raw>),
    /// `{"success": false, "error": …}`.
    Failure(String),
}

impl Response {
    /// Success without a result.
    pub const DONE: Self = Self::Success(None);

    /// Success with `result`; no `result` key where that is null.
    #[must_use]
    pub fn result(result: Raw) -> Self {
        Self::Success(Some(result).filter(|raw| raw.get() != "null"))
    }

    /// Success with `value` as result.
    #[must_use]
    pub fn of<T: serde::Serialize>(value: &T) -> Self {
        match raw(value) {
            Ok(raw) => Self::result(raw),
            Err(error) => Self::Failure(format!("Result cannot be written as JSON: {error}.")),
        }
    }

    /// Whether this reports success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success(_))
    }

    /// Appends the response as JSON, without a newline.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Success(None) => out.extend_from_slice(b"{\"success\": true}"),
            Self::Success(Some(result)) => {
                out.extend_from_slice(b"{\"success\": true, \"result\": ");
                out.extend_from_slice(result.get().as_bytes());
                out.push(b'}');
            }
            Self::Failure(error) => {
                out.extend_from_slice(b"{\"success\": false, \"error\": ");
                write_string(error, out);
                out.push(b'}');
            }
        }
    }

    /// The response as JSON text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Reads one response from a line, as the original read a module's answer: `success` may be any JSON value and
    /// counts as Python counts truth; an `error` that is no string is taken as its JSON text.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] where the line is no response.
    pub fn parse(line: &[u8]) -> Result<Self, ProtocolError> {
        let text = std::str::from_utf8(line).map_err(|_| ProtocolError::Malformed)?;
        match serde_json::from_str::<Object<'_>>(text) {
            Ok(object) => Self::from_object(&object),
            Err(_) => {
                let text = replace_non_finite(text).ok_or(ProtocolError::Malformed)?;
                let object = serde_json::from_str(&text).map_err(|_| ProtocolError::Malformed)?;
                Self::from_object(&object)
            }
        }
    }

    fn from_object(object: &Object<'_>) -> Result<Self, ProtocolError> {
        let success = object.get("success").ok_or(ProtocolError::Malformed)?;
        if is_true(success) {
            return Ok(Self::Success(object.get("result").filter(|result| result.get() != "null").map(RawValue::to_owned)));
        }
        let error = object.get("error").ok_or(ProtocolError::Malformed)?;
        Ok(Self::Failure(as_string(error).map_or_else(|| error.get().to_owned(), Into::into)))
    }
}

/// Python's truth of a JSON value: false, null, zero and whatever is empty are false.
fn is_true(value: &RawValue) -> bool {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'f' | b'n') | None => false,
        Some(b't') => true,
        Some(b'"') => text != "\"\"",
        Some(b'[' | b'{') => text[1..text.len() - 1].bytes().any(|byte| !byte.is_ascii_whitespace()),
        // A number, which may be too small to be told from zero.
        Some(_) => text.parse() != Ok(0.0),
    }
}

impl From<Result<Response, ProtocolError>> for Response {
    fn from(result: Result<Response, ProtocolError>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}

impl From<ProtocolError> for Response {
    fn from(error: ProtocolError) -> Self {
        Self::Failure(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        match Response::parse(text.as_bytes()) {
            Ok(response) => response.to_text(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn forms() {
        assert_eq!(round(r#"{"success":true}"#), r#"{"success": true}"#);
        assert_eq!(round(r#"{"success":true,"result":null}"#), r#"{"success": true}"#);
        assert_eq!(round(r#"{"success":true,"result":false}"#), r#"{"success": true, "result": false}"#);
        assert_eq!(round(r#"{"success":true,"result":NaN}"#), r#"{"success": true}"#);
        assert_eq!(round(r#"{"success":false,"error":"caf\u00e9"}"#), r#"{"success": false, "error": "café"}"#);
        assert_eq!(round(r#"{"success":false,"error":5}"#), r#"{"success": false, "error": "5"}"#);
    }

    #[test]
    fn pythons_truth() {
        for yes in ["1", "true", "\"false\"", "[0]", "{\"a\":1}", "0.1", "-3", "1e0", "1e999"] {
            assert_eq!(round(&format!("{{\"success\":{yes}}}")), r#"{"success": true}"#, "{yes}");
        }
        for no in ["0", "false", "null", "\"\"", "[]", "{ }", "0.0", "-0e9", "1e-999"] {
            assert_eq!(round(&format!("{{\"success\":{no},\"error\":\"e\"}}")), r#"{"success": false, "error": "e"}"#, "{no}");
        }
    }

    #[test]
    fn malformed() {
        for line in ["{}", "[]", "5", "null", "\"success\"", "hello", "{\"success\": tr", "{\"success\":false}", "[\"success\"]"]
        {
            assert_eq!(round(line), "Malformed response", "{line}");
        }
        assert_eq!(Response::parse(b"{\"success\": true, \"result\": \"\xff\"}").unwrap_err(), ProtocolError::Malformed);
    }
}
