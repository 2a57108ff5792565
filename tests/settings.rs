//! The settings file as an administrator and an application meet it: what is read, what is refused and in which words,
//! and that the published schema `docs/settings.schema.json` says the same.

// Helpers stand outside of test functions, where clippy does not see that they are tests.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "settings/agreement.rs"]
mod agreement;
#[path = "settings/loading.rs"]
mod loading;
#[path = "settings/mutation.rs"]
mod mutation;
#[path = "settings/sentences.rs"]
mod sentences;

use std::path::Path;

use serde_json::Value;
use shmooze::settings::{Settings, SettingsError};

/// Valid settings that use every key.
const FULL: &str = include_str!("settings/full.json");

/// Reads `text` as if it stood in `/srv/app/settings.json`, with a small environment.
fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse_with(text, Path::new("/srv/app/settings.json"), &|name| match name {
        "PATH" => Some("/usr/bin:/bin".into()),
        "STATE" => Some("/var/lib/app".into()),
        "HOME" => Some("/home/app".into()),
        _ => None,
    })
}

/// The published schema, ready to judge.
fn schema() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(include_str!("../docs/settings.schema.json")).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

/// Puts `value` at the JSON pointer `pointer`, whose parents exist; a new key goes to the end.
fn put(whole: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match whole.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(key.replace("~1", "/"), value);
        }
        Some(Value::Array(list)) => match list.get_mut(key.parse::<usize>().unwrap()) {
            Some(place) => *place = value,
            None => list.push(value),
        },
        other => panic!("{pointer}: {other:?}"),
    }
}
