//! JSON as it passes through: objects whose values stay text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Number;
use serde_json::value::RawValue;

/// A JSON value kept as the text in which it came.
pub type Raw = Box<RawValue>;

/// The members of a JSON object in order. A key may be there twice: [`Object::get`] answers with the last, as the wire
/// has it (protocol.md section 1).
#[derive(Debug, Default)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The value of `key`; of a key given twice the last counts.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// All members in the order of the text, repeated keys included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(2);
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    members.push((key, value));
                }
                Ok(Object { members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A key that borrows from the text where it holds no escape.
pub(crate) struct Key<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The string that `value` is, or `None` where it is none (or holds half a surrogate pair, which no string can).
pub(crate) fn as_string(value: &RawValue) -> Option<Cow<'_, str>> {
    // What is between the quotes is the string itself, as a rule.
    if let Some(text) = value.get().strip_prefix('"')
        && memchr::memchr(b'\\', text.as_bytes()).is_none()
    {
        return text.strip_suffix('"').map(Cow::Borrowed);
    }
    serde_json::from_str::<Key<'_>>(value.get()).ok().map(|key| key.0)
}

/// The object that `value` is, or `None` where it is none.
#[must_use]
pub fn parse_object(value: &RawValue) -> Option<Object<'_>> {
    serde_json::from_str(value.get()).ok()
}

/// The list that `value` is, or `None` where it is none.
pub(crate) fn as_list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// The value as JSON text.
///
/// # Errors
/// Where serde_json cannot represent it (a map whose keys are no strings).
pub fn raw<T: serde::Serialize>(value: &T) -> Result<Raw, serde_json::Error> {
    serde_json::value::to_raw_value(value)
}

/// The value `null`.
#[must_use]
pub fn raw_null() -> Raw {
    RawValue::NULL.to_owned()
}

/// A string as JSON text.
#[must_use]
pub fn raw_string(text: &str) -> Raw {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    raw_text(out).unwrap_or_else(raw_null)
}

/// JSON text as a value; `None` where it is none.
pub(crate) fn raw_text(json: Vec<u8>) -> Option<Raw> {
    RawValue::from_string(String::from_utf8(json).ok()?).ok()
}

/// Appends these members as a JSON object.
pub(crate) fn write_object<'a>(members: impl Iterator<Item = (&'a str, &'a RawValue)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_string(name, out);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
}

/// Appends `text` as a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// `text` with the tokens `NaN`, `Infinity` and `-Infinity`, which Python writes, replaced by `null` wherever they
/// stand outside a string; `None` where there is none.
pub(crate) fn replace_non_finite(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'N' | b'I' | b'-' => {
                let token = ["NaN", "Infinity", "-Infinity"].into_iter().find(|token| text[at..].starts_with(token));
                if let Some(token) = token {
                    out.push_str(&text[copied..at]);
                    out.push_str("null");
                    at += token.len();
                    copied = at;
                } else {
                    at += 1;
                }
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// The index after the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A number without a fraction that is not negative, also where it is written as `5000.0` or `5e3`, as JSON Schema
/// counts integers.
pub(crate) fn whole_number(number: &Number) -> Option<u64> {
    const END: f64 = 18_446_744_073_709_551_616.0; // 2^64
    let from_float = |number: f64| (number.fract() == 0.0 && (0.0..END).contains(&number)).then_some(number as u64);
    number.as_u64().or_else(|| number.as_f64().and_then(from_float))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_key_counts() {
        let object: Object<'_> = serde_json::from_str(r#"{"a":1,"b":2,"a":[3]}"#).unwrap();
        assert_eq!(object.get("a").unwrap().get(), "[3]");
        assert_eq!(object.iter().count(), 3);
        assert!(object.get("c").is_none());
    }

    #[test]
    fn keys_with_escapes() {
        let object: Object<'_> = serde_json::from_str(r#"{"\u0063md":"x"}"#).unwrap();
        assert_eq!(object.get("cmd").unwrap().get(), "\"x\"");
    }

    #[test]
    fn values_pass_as_they_came() {
        let text = r#"{"a": 123456789012345678901234567890, "b":1e400,"c":"\ud800"}"#;
        let object: Object<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(object.get("a").unwrap().get(), "123456789012345678901234567890");
        assert_eq!(object.get("b").unwrap().get(), "1e400");
        assert_eq!(object.get("c").unwrap().get(), r#""\ud800""#);
    }

    #[test]
    fn depth_is_no_matter() {
        let text = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(serde_json::from_str::<Object<'_>>(&text).is_ok());
    }

    #[test]
    fn python_tokens() {
        assert_eq!(replace_non_finite(r#"{"a":NaN,"NaN":"Infinity\"NaN"}"#).unwrap(), r#"{"a":null,"NaN":"Infinity\"NaN"}"#);
        assert_eq!(replace_non_finite("[-Infinity,Infinity,-1]").unwrap(), "[null,null,-1]");
        assert_eq!(replace_non_finite(r#"{"é":"NaN"}"#), None);
        assert_eq!(replace_non_finite(r#"["NaN\"#), None);
    }

    #[test]
    fn strings() {
        assert_eq!(raw_string("a\"\n☃").get(), "\"a\\\"\\n☃\"");
        assert_eq!(as_string(&raw_string("a\"\n☃")).unwrap(), "a\"\n☃");
        let plain = raw_string("☃");
        assert!(matches!(as_string(&plain), Some(Cow::Borrowed("☃"))));
        assert_eq!(as_string(&raw_string("")).unwrap(), "");
        for other in ["5", "null", "[\"x\"]", "\"\\ud800\""] {
            assert_eq!(as_string(&RawValue::from_string(other.to_owned()).unwrap()), None, "{other}");
        }
    }
}
