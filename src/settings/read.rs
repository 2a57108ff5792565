//! Reading JSON values with a sentence for each that is not what it must be.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Number, Value};

use super::Detail;
use super::expand::expand;
use super::json::{Json, Object};
use super::problem::{JsonPath, Problems, quoted};
use super::suggest::closest;
use crate::protocol::whole_number;

/// Longest text shown of a value at fault, in characters.
const MAX_SHOWN: usize = 60;

/// What is known of a variable of the environment.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads one settings file: collects its problems and knows its variables.
pub(super) struct Reader<'a> {
    pub(super) problems: Problems,
    pub(super) lookup: Lookup<'a>,
    pub(super) detail: Detail,
    /// Whether something was found to be no JSON that had not been looked into before.
    pub(super) is_no_json: bool,
}

/// A value and its place.
pub(super) struct Node<'a> {
    pub(super) value: &'a Json<'a>,
    pub(super) at: JsonPath<'a>,
}

/// The members of an object, and its place.
pub(super) struct Fields<'a> {
    pub(super) map: &'a Object<'a>,
    pub(super) at: JsonPath<'a>,
}

impl<'a> Fields<'a> {
    /// The value of `key`, where there is one.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.map.get_key_value(key).map(|(key, value)| Node { value, at: self.at.key(key) })
    }

    /// All members in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        self.map.iter().map(|(key, value)| (key, Node { value, at: self.at.key(key) }))
    }
}

impl Reader<'_> {
    /// `text` with its variables expanded.
    pub(super) fn expand(&self, text: &str) -> String {
        expand(text, self.lookup)
    }

    /// Notes that `node` must be `expected` and is something else.
    pub(super) fn expected(&mut self, node: &Node<'_>, expected: impl Display) {
        self.problems.add(&node.at, format_args!("must be {expected}, not {}", shown(node.value)));
    }

    /// The members of an object.
    pub(super) fn object<'a>(&mut self, node: &Node<'a>) -> Option<Fields<'a>> {
        let map = node.value.as_object();
        if map.is_none() {
            self.expected(node, "an object");
        }
        map.map(|map| Fields { map, at: node.at.clone() })
    }

    /// The members of an object that has no other keys than `known`.
    pub(super) fn object_of<'a>(&mut self, node: &Node<'a>, known: &[&str]) -> Option<Fields<'a>> {
        let fields = self.object(node)?;
        for key in fields.map.keys().filter(|key| !known.contains(key)) {
            self.unknown(&fields.at.key(key), key, known.iter().copied());
        }
        Some(fields)
    }

    /// Notes a key that is not known here.
    pub(super) fn unknown<'n>(&mut self, at: &JsonPath<'_>, key: &str, known: impl IntoIterator<Item = &'n str>) {
        match closest(key, known) {
            Some(name) => self.problems.add(at, format_args!("is not known; did you mean \"{name}\"?")),
            None => self.problems.add(at, "is not known"),
        }
    }

    /// The elements of a list.
    pub(super) fn list<'a>(&mut self, node: &Node<'a>, expected: &str) -> Option<Vec<Node<'a>>> {
        let list = node.value.as_array();
        if list.is_none() {
            self.expected(node, expected);
        }
        Some(list?.iter().enumerate().map(|(index, value)| Node { value, at: node.at.index(index) }).collect())
    }

    /// Any text.
    pub(super) fn string<'a>(&mut self, node: &Node<'a>) -> Option<&'a str> {
        let text = node.value.as_str();
        if text.is_none() {
            self.expected(node, "a string");
        }
        text
    }

    /// True or false.
    pub(super) fn truth(&mut self, node: &Node<'_>) -> Option<bool> {
        if let Json::Bool(is) = node.value {
            return Some(*is);
        }
        self.expected(node, "true or false");
        None
    }

    /// Text that is not empty and that the system takes: no NUL character in it.
    pub(super) fn system_string<'a>(&mut self, node: &Node<'a>) -> Option<&'a str> {
        let text = self.any_system_string(node)?;
        if text.is_empty() {
            self.problems.add(&node.at, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// Text without a NUL character, maybe empty.
    pub(super) fn any_system_string<'a>(&mut self, node: &Node<'a>) -> Option<&'a str> {
        let text = self.string(node)?;
        if text.contains('\0') {
            self.problems.add(&node.at, "must not contain a NUL character");
            return None;
        }
        Some(text)
    }

    /// A whole number of `units` (milliseconds, bytes, …) within `range`.
    pub(super) fn whole(&mut self, node: &Node<'_>, units: &str, range: &RangeInclusive<u64>) -> Option<u64> {
        let given = node.value.as_number();
        let number = given.and_then(whole_number);
        match number {
            Some(number) if range.contains(&number) => return Some(number),
            None if given.is_none() => self.expected(node, format_args!("a number of {units}")),
            None if given.and_then(Number::as_f64).is_some_and(|number| number.fract() != 0.0) => {
                self.expected(node, format_args!("a whole number of {units}"));
            }
            _ => self.expected(node, format_args!("from {} to {} {units}", range.start(), range.end())),
        }
        None
    }
}

/// The value as a [`whole_number`].
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_number().and_then(whole_number)
}

/// A value at fault, as a sentence shows it.
pub(super) fn shown(value: &Json<'_>) -> String {
    match value {
        Json::String(text) if text.chars().count() > MAX_SHOWN => {
            quoted(&text.chars().take(MAX_SHOWN).chain(['…']).collect::<String>())
        }
        Json::String(text) => quoted(text),
        Json::Array(list) if list.is_empty() => "an empty list".into(),
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "an object".into(),
        Json::Null => "null".into(),
        Json::Bool(is) => is.to_string(),
        Json::Number(number) => number.to_string(),
        Json::Closed(text) => (*text).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers() {
        for (value, expected) in [
            (json!(0), Some(0)),
            (json!(-0.0), Some(0)),
            (json!(5e3), Some(5000)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!(-1), None),
            (json!(0.5), None),
            (json!(1e300), None),
            (json!(18_446_744_073_709_551_616.0), None),
            (json!("5"), None),
            (json!(null), None),
        ] {
            assert_eq!(whole(&value), expected, "{value}");
        }
    }

    #[test]
    fn values_at_fault() {
        for (value, expected) in [
            (json!(null), "null"),
            (json!(false), "false"),
            (json!(1.5), "1.5"),
            (json!("a\n\"b\""), "\"a\\u000a\\\"b\\\"\""),
            (json!([1]), "a list"),
            (json!([]), "an empty list"),
            (json!({}), "an object"),
        ] {
            let text = value.to_string();
            assert_eq!(shown(&serde_json::from_str(&text).unwrap()), expected);
        }
        let long = |number| shown(&Json::String("é".repeat(number).into()));
        assert_eq!(long(60), format!("\"{}\"", "é".repeat(60)));
        assert_eq!(long(61), format!("\"{}…\"", "é".repeat(60)));
    }
}
