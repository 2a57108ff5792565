//! What a file of tokens may hold, and in which words it is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const SECRET: &str = "topsecret-topsecret-topsecret";

fn settings() -> Settings {
    let text = r#"{"ports": {"queue": 1, "pool": 2, "volume": 3, "wsgi": 4}}"#;
    Settings::parse(text, Path::new("/nowhere/settings.json")).unwrap()
}

fn parse(text: &str) -> Result<Tokens, String> {
    parse_tokens(text, Path::new("t.json"), &settings()).map_err(|error| error.to_string())
}

/// The published schema, ready to judge.
fn schema() -> jsonschema::Validator {
    let schema: serde_json::Value = serde_json::from_str(include_str!("../../../docs/tokens.schema.json")).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

#[test]
fn everything_that_there_is() {
    let text = format!(
        r#"{{"endpoints": {{
            "queue": {{"tokens": [
                {{"name": "guests", "token": "{SECRET}", "level": "add"}},
                {{"token": "{SECRET}+", "level": "remove"}}]}},
            "volume": {{"tokens": [{{"token": "{SECRET}", "level": "control"}}], "commands": {{"get": "view", "set": "control"}}}},
            "*": {{"tokens": []}}}}}}"#
    );
    let tokens = parse(&text).unwrap();
    assert!(schema().is_valid(&serde_json::from_str(&text).unwrap()));
    let level = |endpoint: &str, token: &str| tokens.guard_of(endpoint).unwrap().level_of(token.as_bytes());
    assert_eq!(level("queue", SECRET), Some(Level::Add));
    assert_eq!(level("queue", &format!("{SECRET}+")), Some(Level::Remove));
    assert_eq!(level("volume", SECRET), Some(Level::Control));
    assert_eq!(level("pool", SECRET), None);
    let volume = tokens.guard_of("volume").unwrap();
    assert_eq!((volume.level_for(Some("get")), volume.level_for(Some("other"))), (Level::View, Level::Remove));
}

#[test]
fn where_nothing_takes_a_token() {
    let tokens = parse(r#"{"endpoints": {}}"#).unwrap();
    assert_eq!(tokens, Tokens::default());
}

#[test]
fn what_is_wrong_is_said_without_a_secret() {
    let queue = |token: &str| format!(r#"{{"endpoints": {{"queue": {{"tokens": [{token}]}}}}}}"#);
    let schema = schema();
    for (text, sentence) in [
        (String::new(), "t.json: is not JSON at line 1, column 0: EOF while parsing a value."),
        (format!("{SECRET}\n"), "t.json: is not JSON at line 1, column 2: expected ident."),
        (format!(r#"{{"endpoints": "{SECRET}"#), "t.json: is not JSON at line 1, column 44: EOF while parsing a string."),
        ("[]".to_owned(), "t.json: the whole file must be an object."),
        ("{}".to_owned(), "t.json: endpoints is missing."),
        (
            format!(r#"{{"{SECRET}": {{}}, "endpoints": {{}}}}"#),
            "t.json: the whole file has a key that is not known, which are endpoints.",
        ),
        (format!(r#"{{"endpoints": "{SECRET}"}}"#), "t.json: endpoints must be an object."),
        (format!(r#"{{"endpoints": {{"queue": "{SECRET}"}}}}"#), "t.json: endpoints.queue must be an object."),
        (r#"{"endpoints": {"queue": {}}}"#.to_owned(), "t.json: endpoints.queue.tokens is missing."),
        (format!(r#"{{"endpoints": {{"*": {{"tokens": "{SECRET}"}}}}}}"#), "t.json: endpoints[\"*\"].tokens must be a list."),
        (queue(&format!(r#""{SECRET}""#)), "t.json: endpoints.queue.tokens[0] must be an object."),
        (
            queue(&format!(r#"{{"{SECRET}": "view", "token": "{SECRET}", "level": "view"}}"#)),
            "t.json: endpoints.queue.tokens[0] has a key that is not known, which are name, token, level.",
        ),
        (queue(&format!(r#"{{"token": "{SECRET}"}}"#)), "t.json: endpoints.queue.tokens[0].level is missing."),
        (queue(r#"{"level": "view"}"#), "t.json: endpoints.queue.tokens[0].token is missing."),
        (
            queue(&format!(r#"{{"token": "{SECRET}", "level": "{SECRET}"}}"#)),
            "t.json: endpoints.queue.tokens[0].level must be one of view, add, control and remove.",
        ),
        (
            queue(&format!(r#"{{"token": "{SECRET} x", "level": "view"}}"#)),
            "t.json: endpoints.queue.tokens[0].token must be 16 to 512 letters, digits and \"-._~+/\", with \"=\" at the end if at all.",
        ),
        (
            queue(r#"{"token": 1234567890123456789, "level": "view"}"#),
            "t.json: endpoints.queue.tokens[0].token must be 16 to 512 letters, digits and \"-._~+/\", with \"=\" at the end if at all.",
        ),
        (
            queue(&format!(r#"{{"name": ["{SECRET}"], "token": "{SECRET}", "level": "view"}}"#)),
            "t.json: endpoints.queue.tokens[0].name must be a string.",
        ),
        (
            format!(r#"{{"endpoints": {{"volume": {{"tokens": [], "commands": {{"get": "{SECRET}"}}}}}}}}"#),
            "t.json: endpoints.volume.commands must have one of view, add, control and remove for each command.",
        ),
        (
            format!(r#"{{"endpoints": {{"volume": {{"tokens": [], "commands": ["{SECRET}"]}}}}}}"#),
            "t.json: endpoints.volume.commands must be an object.",
        ),
    ] {
        let error = parse(&text).unwrap_err();
        assert_eq!(error, sentence, "{text}");
        assert!(!error.contains(SECRET));
        assert!(serde_json::from_str(&text).map_or(true, |value| !schema.is_valid(&value)), "the schema takes {text}");
    }
    // What the schema cannot say.
    let twice = format!(r#"{{"token": "{SECRET}", "level": "view"}}, {{"token": "{SECRET}", "level": "add"}}"#);
    let unknown = "t.json: endpoints names an endpoint that the settings do not have, which have queue, pool, volume.";
    for (text, sentence) in [
        (queue(&twice), "t.json: endpoints.queue.tokens[1].token is there already, for the same endpoint."),
        (format!(r#"{{"endpoints": {{"{SECRET}": {{"tokens": []}}}}}}"#), unknown),
        (r#"{"endpoints": {"wsgi": {"tokens": []}}}"#.to_owned(), unknown),
        (r#"{"endpoints": {"queue": {"tokens": []}}, "endpoints": {}}"#.to_owned(), "t.json: the whole file has a key twice."),
        (
            r#"{"endpoints": {"queue": {"tokens": []}, "pool": {"tokens": []}, "queue": {"tokens": []}}}"#.to_owned(),
            "t.json: endpoints has a key twice.",
        ),
        (
            queue(&format!(r#"{{"token": "{SECRET}", "level": "view", "level": "remove"}}"#)),
            "t.json: endpoints.queue has a key twice in it.",
        ),
        (r#"{"endpoints": {"*": {"tokens": [], "tokens": []}}}"#.to_owned(), "t.json: endpoints[\"*\"] has a key twice in it."),
    ] {
        assert_eq!(parse(&text).unwrap_err(), sentence, "{text}");
    }
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    fs::write(&path, r#"{"endpoints": {"pool": {"tokens": []}}}"#).unwrap();
    let load = |keeper| load_tokens(&path, keeper, &settings()).map_err(|error| error.to_string());
    for (mode, is_good) in [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o620, false), (0o602, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(load(Keeper::Manager).is_ok());
        match load(Keeper::Owner) {
            Ok(_) => assert!(is_good, "{mode:o}"),
            Err(error) => {
                assert!(!is_good, "{mode:o}");
                let file = path.display();
                assert_eq!(error, format!("{file}: holds secrets and has the mode {mode:04o}: take it from others (chmod 600)."));
            }
        }
    }
}

#[test]
fn what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| load_tokens(path, Keeper::Owner, &settings()).unwrap_err().to_string();
    assert!(load(&folder.path().join("none")).ends_with("none: cannot be read: No such file or directory."));
    let inner = folder.path().join("folder");
    fs::create_dir(&inner).unwrap();
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(load(&inner).ends_with("folder: cannot be read: Is a directory."));
    let path = folder.path().join("t.json");
    for (content, sentence) in
        [(&b"\"\xff"[..], "is not UTF-8 from byte 2 on."), (&vec![b' '; 1 << 21], "is longer than 1048576 bytes.")]
    {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(load(&path).ends_with(sentence), "{}", load(&path));
    }
}

#[test]
fn beside_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::parse(r#"{"ports": {"queue": 1}}"#, &folder.path().join("settings.json")).unwrap();
    assert_eq!(settings.tokens_beside(), Ok(None));
    let path = folder.path().join(BESIDE);
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(settings.tokens_beside().unwrap_err().to_string().contains("is not JSON"));
    fs::write(&path, r#"{"endpoints": {"queue": {"tokens": []}}}"#).unwrap();
    assert!(settings.tokens_beside().unwrap().unwrap().guard_of("queue").is_some());
}
