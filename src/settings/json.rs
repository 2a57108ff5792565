//! JSON as it is read from a file of settings: text is borrowed from the file where nothing in it is escaped, and objects are
//! lists of their members.
//!
//! A file may hold thousands of module types, and at each `daemon-reload` a systemd generator reads all of it: so nothing is
//! copied that is not kept, no table is made for an object of five members, and of module types there is one at a time: in
//! [`of_settings`] each stays the text that it is until it is read, since most of the time would go into the kernel's making of
//! pages.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::protocol::Key;

/// Objects with more members than this are given a table of their keys.
const LISTED: usize = 16;

/// A value.
#[derive(Debug, Clone, Default)]
pub(super) enum Json<'t> {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'t, str>),
    Array(Vec<Json<'t>>),
    Object(Object<'t>),
    /// The text of a module type ([`of_settings`]).
    Closed(&'t str),
}

/// An object; of a key that is there twice, the last value counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Object<'t> {
    members: Vec<(Cow<'t, str>, Json<'t>)>,
    /// Where each member is; empty where there are few.
    places: Option<HashMap<Cow<'t, str>, usize>>,
}

/// Reads a file of settings, whose module types are [`Json::Closed`]: nothing is known of them but where they end.
///
/// # Errors
/// Where the text is no JSON.
pub(super) fn of_settings(text: &str) -> serde_json::Result<Json<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Level::File.deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

impl Json<'_> {
    pub(super) const fn as_object(&self) -> Option<&Object<'_>> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    pub(super) const fn as_array(&self) -> Option<&Vec<Json<'_>>> {
        if let Self::Array(list) = self { Some(list) } else { None }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(super) const fn as_number(&self) -> Option<&Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// The same as a value of its own.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(is) => Value::Bool(*is),
            Self::Number(number) => Value::Number(number.clone()),
            Self::String(text) => Value::String(text.clone().into_owned()),
            Self::Array(list) => Value::Array(list.iter().map(Json::to_value).collect()),
            Self::Object(object) => Value::Object(object.to_map()),
            // As it stands: nobody asks this of what is closed.
            Self::Closed(text) => serde_json::from_str(text).unwrap_or_default(),
        }
    }

    /// What was closed, read; `None` for what is open.
    ///
    /// # Errors
    /// Where its text is no JSON after all, such as half of a surrogate pair.
    pub(super) fn open(&self) -> serde_json::Result<Option<Json<'_>>> {
        if let Self::Closed(text) = self { serde_json::from_str(text).map(Some) } else { Ok(None) }
    }
}

impl<'t> Object<'t> {
    pub(super) fn get(&self, key: &str) -> Option<&Json<'t>> {
        Some(&self.members[self.place(key)?].1)
    }

    /// The value of a key, and the key as it stands here.
    pub(super) fn get_key_value(&self, key: &str) -> Option<(&str, &Json<'t>)> {
        let (key, value) = &self.members[self.place(key)?];
        Some((key, value))
    }

    pub(super) fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Json<'t>)> {
        self.members.iter().map(|(key, value)| (&**key, value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(key, _)| &**key)
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        self.iter().map(|(key, value)| (key.to_owned(), value.to_value())).collect()
    }

    fn place(&self, key: &str) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(key).copied(),
            None => self.members.iter().position(|(known, _)| known == key),
        }
    }

    fn insert(&mut self, key: Cow<'t, str>, value: Json<'t>) {
        if let Some(place) = self.place(&key) {
            self.members[place].1 = value;
            return;
        }
        let place = self.members.len();
        if place == LISTED {
            let places = self.members.iter().enumerate().map(|(place, (key, _))| (key.clone(), place));
            self.places = Some(places.collect());
        }
        if let Some(places) = &mut self.places {
            places.insert(key.clone(), place);
        }
        self.members.push((key, value));
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level::Other.deserialize(deserializer)
    }
}

/// What a value is in a file of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    File,
    Services,
    Service,
    Types,
    Type,
    Other,
}

impl Level {
    /// What the value of `key` is in an object that is this.
    fn of(self, key: &str) -> Self {
        match (self, key) {
            (Self::File, "services") => Self::Services,
            (Self::Services, _) => Self::Service,
            (Self::Service, "modules" | "backgrounds") => Self::Types,
            (Self::Types, _) => Self::Type,
            _ => Self::Other,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        if self == Self::Type {
            return <&RawValue>::deserialize(deserializer).map(|raw| Json::Closed(raw.get()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        // There is no other than a finite one in a text.
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut object = Object::default();
        while let Some(Key(key)) = members.next_key()? {
            let value = members.next_value_seed(self.of(&key))?;
            object.insert(key, value);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Json<'_> {
        serde_json::from_str(text).unwrap()
    }

    /// The same value as whatever else reads JSON makes of it.
    fn agrees(text: &str) {
        assert_eq!(read(text).to_value(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
    }

    #[test]
    fn the_same_as_everybody_reads() {
        for text in [
            "null",
            "[true, false]",
            "[0, -0, -1, 1.5, 1e3, 18446744073709551615, 18446744073709551616, -9223372036854775808]",
            r#"["", "plain", "esc\u00e4\"ped\n", "ä"]"#,
            r#"{"a": {"b": [{}, []], "\u0061": 1}, "": null, "c\n": 2}"#,
            r#"{"a": 1, "b": 2, "a": 3}"#,
        ] {
            agrees(text);
        }
        for text in ["", "{", "[1,]", "{\"a\" 1}", "{1: 2}", "nul", "\"\\x\"", "1 2", "1e999"] {
            let [ours, theirs] =
                [serde_json::from_str::<Json<'_>>(text).map(drop), serde_json::from_str::<Value>(text).map(drop)];
            assert_eq!(ours.unwrap_err().to_string(), theirs.unwrap_err().to_string(), "{text}");
        }
    }

    #[test]
    fn module_types_are_closed_and_nothing_else_is() {
        let text = r#"{"a": {"modules": {"x": {}}}, "modules": {"x": 1}, "services": {
            "queue": {"kind": "queue", "modules": {"x": {"process": ["x"]}, "y": 5}, "backgrounds": {"z": []}, "c": {"d": {}}},
            "pool": {"modules": [{}]}}}"#;
        let value = of_settings(text).unwrap();
        let mut closed = Vec::new();
        let mut waiting = vec![&value];
        while let Some(value) = waiting.pop() {
            match value {
                Json::Closed(text) => closed.push((*text, value.open().unwrap().unwrap().to_value())),
                Json::Object(object) => waiting.extend(object.iter().map(|(_, value)| value)),
                Json::Array(list) => waiting.extend(list),
                other => assert!(other.open().unwrap().is_none()),
            }
        }
        closed.sort_unstable_by_key(|(text, _)| *text);
        let expected = [
            ("5", serde_json::json!(5)),
            ("[]", serde_json::json!([])),
            (r#"{"process": ["x"]}"#, serde_json::json!({"process": ["x"]})),
        ];
        assert_eq!(closed, expected);
        assert_eq!(value.to_value(), serde_json::from_str::<Value>(text).unwrap());
        // It ends where it seems to, and holds what nobody can read.
        let sly = of_settings(r#"{"services": {"q": {"modules": {"x": "\ud800"}}}}"#).unwrap();
        let services = sly.as_object().unwrap().get("services").unwrap();
        let types = services.as_object().unwrap().get("q").unwrap().as_object().unwrap().get("modules").unwrap();
        assert!(types.as_object().unwrap().get("x").unwrap().open().is_err());
        for text in [r#"{"services": {"q": {"modules": {"x": {]}}}}"#, r#"{"services": {}} 1"#] {
            assert!(of_settings(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_is_borrowed_where_it_can_be() {
        let text = r#"{"plain": "plain", "esc\n": "esc\n"}"#.to_owned();
        let value = read(&text);
        let is_borrowed: Vec<(bool, bool)> = value
            .as_object()
            .unwrap()
            .members
            .iter()
            .map(|(key, value)| (matches!(key, Cow::Borrowed(_)), matches!(value, Json::String(Cow::Borrowed(_)))))
            .collect();
        assert_eq!(is_borrowed, [(true, true), (false, false)]);
    }

    #[test]
    fn members_are_found_however_many_there_are() {
        for number in [0, 1, LISTED - 1, LISTED, LISTED + 1, LISTED + 2, 1000] {
            let members: Vec<String> = (0..number).map(|n| format!("\"k{n}\": {n}")).collect();
            // The last one counts, at the place of the first.
            let twice = if number > 0 { ", \"k0\": -1" } else { "" };
            let text = format!("{{{}{twice}}}", members.join(", "));
            let value = read(&text);
            let object = value.as_object().unwrap();
            assert_eq!((object.keys().count(), object.contains_key("k0")), (number, number > 0));
            for n in 1..number {
                let (key, value) = object.get_key_value(&format!("k{n}")).unwrap();
                assert_eq!((key, value.to_value()), (&*format!("k{n}"), n.into()));
            }
            assert_eq!(object.get("k0").map(Json::to_value), (number > 0).then(|| (-1).into()));
            assert!(object.get(&format!("k{number}")).is_none() && object.get("").is_none());
            agrees(&text);
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 24, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,3}", inner), 0..24).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_text(value in any_value()) {
            let text = value.to_string();
            prop_assert_eq!(read(&text).to_value(), serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
