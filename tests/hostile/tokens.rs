//! The file of tokens.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use shmooze::access::{Level, Tokens};
use shmooze::settings::{Settings, parse_tokens};

use super::sentence;

const FILE: &str = "/srv/app/tokens.json";

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let text =
        r#"{"ports": {"queue": 1, "pool": 2, "wsgi": 3}, "services": {"queue": {"kind": "queue"}, "pool": {"kind": "pool"}}}"#;
    Settings::parse(text, Path::new("/srv/app/settings.json")).unwrap()
});

/// Whatever the file holds, it lets in whom it names and nobody else, or is refused in sentences that tell nothing of it.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match parse_tokens(text, Path::new(FILE), &SETTINGS) {
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                sentence::check(&problem.sentence);
                assert!(problem.sentence.starts_with(&format!("{FILE}: ")), "{}", problem.sentence);
                // A word of nearly all texts in the corpus, and of no sentence.
                assert!(!problem.sentence.contains("secret"), "{}", problem.sentence);
            }
        }
        Ok(tokens) => as_it_says(&tokens, &serde_json::from_str(text).unwrap()),
    }
}

fn as_it_says(tokens: &Tokens, value: &Value) {
    let endpoints = value["endpoints"].as_object().unwrap();
    let shown = format!("{tokens:?}");
    for (name, guard) in endpoints {
        let known = tokens.guard_of(if name == "*" { "another" } else { name }).unwrap();
        let grants = guard["tokens"].as_array().unwrap();
        assert_eq!(known.grants.len(), grants.len());
        for grant in grants {
            let token = grant["token"].as_str().unwrap();
            assert_eq!(known.level_of(token.as_bytes()), Level::from_name(grant["level"].as_str().unwrap()));
            assert_eq!(known.level_of(&token.as_bytes()[1..]), None);
            assert!(!shown.contains(token), "a token is shown");
        }
        for (command, level) in guard.get("commands").and_then(Value::as_object).into_iter().flatten() {
            assert_eq!(Some(known.level_for(Some(command))), Level::from_name(level.as_str().unwrap()));
        }
    }
    for endpoint in ["queue", "pool"] {
        let is_guarded = endpoints.contains_key(endpoint) || endpoints.contains_key("*");
        assert_eq!(tokens.guard_of(endpoint).is_some(), is_guarded);
    }
}
