//! Settings in which something was changed at random: the parser never panics, every problem names its place, and the
//! schema agrees.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use shmooze::settings::{Settings, SettingsError};

use super::{FULL, parse, schema};

/// What only the parser can see: words of its sentences.
const BEYOND_THE_SCHEMA: &[&str] = &[
    "has no port",
    "which is the port of",
    "\"soft:hard\"",
    "of the type",
    "one of the values in enum",
    "a number of bytes such",
    "a time",
];

/// One change of a JSON value.
#[derive(Debug, Clone)]
enum Change {
    /// Something else stands there.
    Replace(Value),
    /// It is gone.
    Remove,
    /// It stands under another name, or one place further.
    Rename(String),
    /// An object or list holds one thing more.
    Insert(String, Value),
    /// A text has this in it.
    Splice(Index, String),
}

/// Values that are nearly right somewhere.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            json!(null),
            json!(true),
            json!(0),
            json!(1),
            json!(-1),
            json!(1.5),
            json!(5000.0),
            json!(15580),
            json!(65536),
            json!(86_400_000),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("/"),
            json!("$HOME"),
            json!("queue"),
            json!("app"),
            json!("512M"),
            json!("50%"),
            json!("5min 20s"),
            json!("infinity"),
            json!("1:2"),
            json!("0022"),
            json!("\u{0}"),
            json!("-5"),
            json!("127.0.0.1"),
            json!([]),
            json!({}),
            json!(["sh"]),
            json!({"process": ["sh"]}),
            json!({"kind": "pool"}),
        ]),
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        "\\PC{0,12}".prop_map(Value::from),
        "[0-9.]{1,6}[KMG%hs: ]{0,2}[0-9]{0,2}[a-z]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..3).prop_map(|list| Value::Object(list.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let known = [
        "kind",
        "modules",
        "backgrounds",
        "process",
        "environment",
        "working_directory",
        "user",
        "limits",
        "timeouts",
        "restart",
        "spare_scopes",
        "restore",
        "title",
        "args",
        "exit",
        "type",
        "default",
        "enum",
        "MemoryMax",
        "LimitNOFILE",
        "Nice",
        "wsgi",
        "ports",
        "nlp",
        "gateway",
        "x_path",
    ];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "\\PC{0,10}", "[a-z_=\u{0}\n]{0,5}"]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        value().prop_map(Change::Replace),
        Just(Change::Remove),
        key().prop_map(Change::Rename),
        (key(), value()).prop_map(|(key, value)| Change::Insert(key, value)),
        (any::<Index>(), "[\\PC\u{0}\n]{0,3}").prop_map(|(at, text)| Change::Splice(at, text)),
    ]
}

/// The JSON pointers of everything inside `value`.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut child = |key: &str, value: &Value| {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        out.push(pointer.clone());
        places(value, &pointer, out);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| child(key, value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| child(&index.to_string(), value)),
        _ => (),
    }
}

fn apply(whole: &mut Value, place: &Index, change: Change) {
    let mut all = Vec::new();
    places(whole, "", &mut all);
    if all.is_empty() {
        return;
    }
    let pointer = place.get(&all).clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    match change {
        Change::Replace(value) => *whole.pointer_mut(&pointer).unwrap() = value,
        Change::Remove | Change::Rename(_) => {
            let taken = match whole.pointer_mut(parent).unwrap() {
                Value::Object(map) => map.shift_remove(&key).unwrap(),
                Value::Array(list) => list.remove(key.parse().unwrap()),
                other => panic!("{other}"),
            };
            if let Change::Rename(name) = change {
                match whole.pointer_mut(parent).unwrap() {
                    Value::Object(map) => drop(map.insert(name, taken)),
                    Value::Array(list) => list.push(taken),
                    other => panic!("{other}"),
                }
            }
        }
        Change::Insert(name, value) => match whole.pointer_mut(&pointer).unwrap() {
            Value::Object(map) => drop(map.insert(name, value)),
            Value::Array(list) => list.push(value),
            other => *other = value,
        },
        Change::Splice(at, text) => {
            if let Some(Value::String(old)) = whole.pointer_mut(&pointer) {
                let ends: Vec<usize> = old.char_indices().map(|(at, _)| at).chain([old.len()]).collect();
                old.insert_str(*at.get(&ends), &text);
            }
        }
    }
}

/// What holds for whatever was refused.
fn check_problems(error: &SettingsError, file: &str) -> Result<(), TestCaseError> {
    prop_assert!(!error.problems.is_empty());
    for problem in &error.problems {
        prop_assert!(problem.sentence.starts_with(&format!("{file}: ")), "{problem:?}");
        prop_assert!(problem.sentence.contains(&problem.path), "{problem:?}");
        prop_assert!(problem.sentence.ends_with(['.', '?']), "{problem:?}");
        prop_assert!(!problem.sentence.contains(char::is_control), "{problem:?}");
    }
    prop_assert_eq!(error.to_string().lines().count(), error.problems.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn changed_values(changes in prop::collection::vec((any::<Index>(), change()), 1..4)) {
        thread_local!(static SCHEMA: jsonschema::Validator = schema());
        let mut whole: Value = serde_json::from_str(FULL).unwrap();
        for (place, change) in changes {
            apply(&mut whole, &place, change);
        }
        let valid = SCHEMA.with(|schema| schema.is_valid(&whole));
        match parse(&whole.to_string()) {
            Ok(settings) => {
                prop_assert!(valid, "the parser takes what the schema refuses");
                drop(settings.problems_of_machine());
                prop_assert!(serde_json::from_str::<Value>(&settings.public_json()).is_ok());
                let again = Settings::parse(&settings.effective_json(), &settings.file);
                prop_assert!(again.is_ok(), "{:?}", again);
            }
            Err(error) => {
                check_problems(&error, "/srv/app/settings.json")?;
                prop_assert!(error.problems.iter().all(|problem| !problem.path.is_empty()), "{}", error);
                let beyond = |sentence: &str| BEYOND_THE_SCHEMA.iter().any(|words| sentence.contains(words));
                prop_assert!(!valid || error.problems.iter().all(|problem| beyond(&problem.sentence)), "the schema takes: {}", error);
            }
        }
    }

    #[test]
    fn changed_text(at in any::<Index>(), length in 0usize..20, put_in in "[\\PC\n\u{0}]{0,5}") {
        let starts: Vec<usize> = FULL.char_indices().map(|(at, _)| at).collect();
        let start = *at.get(&starts);
        let end = (start..FULL.len()).filter(|end| FULL.is_char_boundary(*end)).nth(length).unwrap_or(FULL.len());
        let text = format!("{}{put_in}{}", &FULL[..start], &FULL[end..]);
        if let Err(error) = Settings::parse(&text, Path::new("a/s.json")) {
            check_problems(&error, "a/s.json")?;
        }
    }
}
