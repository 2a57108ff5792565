//! The file of tokens: who may do what at the gateway's endpoints (`docs/gateway.md`, `docs/tokens.schema.json`).
//!
//! It is no part of the settings, which anybody may read. So no sentence shows anything that stands in it: places are named by
//! the keys and endpoints that are known, and what is wrong with a value is said without it.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::geteuid;
use serde_json::Value;

use super::machine::reason;
use super::problem::{JsonPath, Problems};
use super::read::{Fields, Node};
use super::{GATEWAY_PORT, Settings, SettingsError, syntax};
use crate::access::{Grant, Guard, Level, Token, Tokens};
use crate::protocol::{Object, parse_object};

/// What the file may be called where it stands beside the settings.
const BESIDE: &str = "tokens.json";

/// The key of `endpoints` that stands for all that are not named.
const OTHERS: &str = "*";

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Others may write it, or those who are not of its group read it.
const TOO_OPEN: u32 = 0o027;

/// Who vouches for a file of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// The service manager, which has put a credential where nobody else can read it.
    Manager,
    /// Its owner, who must be root or this process's own user; others may not read it.
    Owner,
}

/// Reads the tokens in the file `path`, for the endpoints of `settings`.
///
/// # Errors
/// All that is wrong with the file, without a word of what stands in it.
pub fn load_tokens(path: &Path, keeper: Keeper, settings: &Settings) -> Result<Tokens, SettingsError> {
    let text = read_text(path, keeper).map_err(|what| {
        let mut problems = Problems::new(path);
        problems.add_to_file(what);
        problems.into_error()
    })?;
    parse_tokens(&text, path, settings)
}

impl Settings {
    /// Reads the tokens that stand beside the settings, in `tokens.json`, where they are and this process may read them: a
    /// service manager takes the gateway's credential from there.
    ///
    /// # Errors
    /// As for [`load_tokens`].
    pub fn tokens_beside(&self) -> Result<Option<Tokens>, SettingsError> {
        use io::ErrorKind::{NotFound, PermissionDenied};
        let path = self.file.with_file_name(BESIDE);
        match File::open(&path) {
            Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(None),
            _ => load_tokens(&path, Keeper::Owner, self).map(Some),
        }
    }
}

/// The text of the file, or what is wrong with that, as a phrase that goes on its name.
fn read_text(path: &Path, keeper: Keeper) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {}", reason(&error));
    let file = File::open(path).map_err(unreadable)?;
    if keeper == Keeper::Owner {
        // Of what was opened, whatever has the name by now.
        check_owner(&file.metadata().map_err(unreadable)?)?;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to() + 1))
}

fn check_owner(metadata: &Metadata) -> Result<(), String> {
    if ![0, geteuid().as_raw()].contains(&metadata.uid()) {
        return Err("belongs to another user than root and whose process this is".to_owned());
    }
    match metadata.mode() & TOO_OPEN {
        0 => Ok(()),
        _ => Err(format!("holds secrets and has the mode {:04o}: take it from others (chmod 600)", metadata.mode() & 0o7777)),
    }
}

/// Reads tokens from `text`, as if it stood in the file `path`.
fn parse_tokens(text: &str, path: &Path, settings: &Settings) -> Result<Tokens, SettingsError> {
    let mut reader = TokenReader { problems: Problems::new(path), settings };
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            reader.problems.add_to_file(syntax(&error));
            return Err(reader.problems.into_error());
        }
    };
    reader.check_repetitions(text);
    let tokens = reader.read(&Node { value: &value, at: JsonPath::root() });
    reader.problems.into_result(tokens.unwrap_or_default())
}

struct TokenReader<'a> {
    problems: Problems,
    settings: &'a Settings,
}

impl TokenReader<'_> {
    /// Of a key that is there twice the last would count, and the endpoints of the first be open.
    fn check_repetitions(&mut self, text: &str) {
        let Ok(file) = serde_json::from_str::<Object<'_>>(text) else { return };
        let endpoints = file.get("endpoints").and_then(parse_object).unwrap_or_default();
        for (object, at) in [(&file, JsonPath::root()), (&endpoints, JsonPath::root().key("endpoints"))] {
            let mut keys: Vec<&str> = object.iter().map(|(key, _)| key).collect();
            keys.sort_unstable();
            if keys.windows(2).any(|pair| pair[0] == pair[1]) {
                self.problems.add(&at, "has a key twice");
            }
        }
    }

    fn read(&mut self, node: &Node<'_>) -> Option<Tokens> {
        let fields = self.object(node, &["endpoints"])?;
        let endpoints = self.required(&fields, "endpoints")?;
        let Some(map) = endpoints.value.as_object() else {
            self.problems.add(&endpoints.at, "must be an object");
            return None;
        };
        let mut tokens = Tokens::default();
        for (name, value) in map {
            let at = endpoints.at.key(name);
            if name == OTHERS {
                tokens.others = self.guard(&Node { value, at }).map(Arc::new);
            } else if name != GATEWAY_PORT && self.settings.ports.contains_key(name) {
                let guard = self.guard(&Node { value, at }).unwrap_or_default();
                tokens.endpoints.insert(name.clone(), Arc::new(guard));
            } else {
                // Whoever meant another one would leave that open.
                let known: Vec<&str> =
                    self.settings.ports.keys().map(String::as_str).filter(|name| *name != GATEWAY_PORT).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                self.problems
                    .add(&endpoints.at, format_args!("names an endpoint that the settings do not have, which have {known}"));
            }
        }
        Some(tokens)
    }

    fn guard(&mut self, node: &Node<'_>) -> Option<Guard> {
        let fields = self.object(node, &["tokens", "commands"])?;
        let mut guard = Guard::default();
        if let Some(node) = self.required(&fields, "tokens") {
            let Some(list) = node.value.as_array() else {
                self.problems.add(&node.at, "must be a list");
                return None;
            };
            for (index, value) in list.iter().enumerate() {
                self.grant(&Node { value, at: node.at.index(index) }, &mut guard);
            }
        }
        if let Some(node) = fields.get("commands") {
            guard.commands = self.commands(&node);
        }
        Some(guard)
    }

    fn grant(&mut self, node: &Node<'_>, guard: &mut Guard) {
        let Some(fields) = self.object(node, &["name", "token", "level"]) else { return };
        if fields.get("name").is_some_and(|name| !name.value.is_string()) {
            self.problems.add(&fields.at.key("name"), "must be a string");
        }
        let level = self.required(&fields, "level").and_then(|node| {
            let level = level(node.value);
            if level.is_none() {
                self.problems.add(&node.at, "must be one of view, add, control and remove");
            }
            level
        });
        let Some(node) = self.required(&fields, "token") else { return };
        let Some(token) = node.value.as_str().and_then(Token::parse) else {
            let (least, most) = (Token::MIN_LENGTH, Token::MAX_LENGTH);
            self.problems.add(
                &node.at,
                format_args!("must be {least} to {most} letters, digits and \"-._~+/\", with \"=\" at the end if at all"),
            );
            return;
        };
        if guard.level_of(node.value.as_str().unwrap_or_default().as_bytes()).is_some() {
            self.problems.add(&node.at, "is there already, for the same endpoint");
        }
        if let Some(level) = level {
            guard.grants.push(Grant { token, level });
        }
    }

    fn commands(&mut self, node: &Node<'_>) -> HashMap<String, Level> {
        let Some(map) = node.value.as_object() else {
            self.problems.add(&node.at, "must be an object");
            return HashMap::new();
        };
        if map.values().any(|value| level(value).is_none()) {
            self.problems.add(&node.at, "must have one of view, add, control and remove for each command");
        }
        map.iter().filter_map(|(name, value)| Some((name.clone(), level(value)?))).collect()
    }

    /// The members of an object that has no other keys than `known`.
    fn object<'a>(&mut self, node: &Node<'a>, known: &[&str]) -> Option<Fields<'a>> {
        let Some(map) = node.value.as_object() else {
            self.problems.add(&node.at, "must be an object");
            return None;
        };
        if map.keys().any(|key| !known.contains(&key.as_str())) {
            let known = known.join(", ");
            self.problems.add(&node.at, format_args!("has a key that is not known, which are {known}"));
        }
        Some(Fields { map, at: node.at.clone() })
    }

    fn required<'a>(&mut self, fields: &Fields<'a>, key: &str) -> Option<Node<'a>> {
        let node = fields.get(key);
        if node.is_none() {
            self.problems.add(&fields.at.key(key), "is missing");
        }
        node
    }
}

fn level(value: &Value) -> Option<Level> {
    value.as_str().and_then(Level::from_name)
}

#[cfg(test)]
mod tests {
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
        let schema: Value = serde_json::from_str(include_str!("../../docs/tokens.schema.json")).unwrap();
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
            (
                r#"{"endpoints": {"queue": {"tokens": []}}, "endpoints": {}}"#.to_owned(),
                "t.json: the whole file has a key twice.",
            ),
            (
                r#"{"endpoints": {"queue": {"tokens": []}, "pool": {"tokens": []}, "queue": {"tokens": []}}}"#.to_owned(),
                "t.json: endpoints has a key twice.",
            ),
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
                    assert_eq!(
                        error,
                        format!("{file}: holds secrets and has the mode {mode:04o}: take it from others (chmod 600).")
                    );
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
}
