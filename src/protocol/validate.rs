//! Whether a text is JSON at all, for those who only pass it on.

use serde::de::IgnoredAny;

use super::ProtocolError;
use super::json::replace_non_finite;

/// Whether `text` is one JSON value as the wire has it: UTF-8, with Python's own `NaN`, `Infinity` and `-Infinity`
/// accepted (protocol.md section 1). Nothing is kept, and depth is no matter.
///
/// # Errors
/// [`ProtocolError::NotJson`] with the place of the first fault.
pub fn validate(text: &[u8]) -> Result<(), ProtocolError> {
    let text = std::str::from_utf8(text).map_err(|error| ProtocolError::NotJson(error.to_string()))?;
    let Err(error) = serde_json::from_str::<IgnoredAny>(text) else { return Ok(()) };
    match replace_non_finite(text) {
        Some(rewritten) if serde_json::from_str::<IgnoredAny>(&rewritten).is_ok() => Ok(()),
        _ => Err(ProtocolError::NotJson(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json() {
        for text in ["5", " {\"a\": [1, null]}\r\n", "[NaN,-Infinity]", "123456789012345678901234567890", "\"\\ud800\"", "1e999"]
        {
            assert_eq!(validate(text.as_bytes()), Ok(()), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(validate(deep.as_bytes()), Ok(()));
    }

    #[test]
    fn what_is_not() {
        for text in ["", " ", "{", "hello", "{'cmd': 1}", "{\"cmd\": \"queue\"} x", "[NaN", "NaNs", "\u{feff}5", "\"a\nb\""] {
            assert!(validate(text.as_bytes()).is_err(), "{text}");
        }
        assert!(validate(b"\"\xff\"").is_err());
        assert_eq!(validate(b"{").unwrap_err().to_string(), "Line is not JSON: EOF while parsing an object at line 1 column 1.");
    }
}
