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
use serde_json::value::RawValue;

use super::json::Json;
use super::machine::reason;
use super::problem::{JsonPath, Problems};
use super::read::{Fields, Node};
use super::{GATEWAY_PORT, Settings, SettingsError, syntax};
use crate::access::{Grant, Guard, Level, Token, Tokens};
use crate::protocol::{Object, as_list, parse_object};

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

/// Reads tokens from `text`, as if it stood in the file `path`, for the endpoints of `settings`. Touches no file.
///
/// # Errors
/// As for [`load_tokens`].
pub fn parse_tokens(text: &str, path: &Path, settings: &Settings) -> Result<Tokens, SettingsError> {
    let mut reader = TokenReader { problems: Problems::new(path), settings };
    let value: Json<'_> = match serde_json::from_str(text) {
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
    /// Of a key that is there twice the last would count: the endpoints of the first would be open, and a token have another
    /// level than who reads on from the top believes.
    fn check_repetitions(&mut self, text: &str) {
        let Ok(file) = serde_json::from_str::<Object<'_>>(text) else { return };
        let endpoints = file.get("endpoints").and_then(parse_object).unwrap_or_default();
        let at = JsonPath::root().key("endpoints");
        for (object, at) in [(&file, &JsonPath::root()), (&endpoints, &at)] {
            if repeats(object) {
                self.problems.add(at, "has a key twice");
            }
        }
        for (name, _) in endpoints.iter().filter(|(_, guard)| repeats_within(guard)) {
            let is_known = name == OTHERS || self.settings.ports.contains_key(name);
            let at = if is_known { at.key(name) } else { at.clone() };
            self.problems.add(&at, "has a key twice in it");
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
        for (name, value) in map.iter() {
            let at = endpoints.at.key(name);
            if name == OTHERS {
                tokens.others = self.guard(&Node { value, at }).map(Arc::new);
            } else if name != GATEWAY_PORT && self.settings.ports.contains_key(name) {
                let guard = self.guard(&Node { value, at }).unwrap_or_default();
                tokens.endpoints.insert(name.to_owned(), Arc::new(guard));
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
        if fields.get("name").is_some_and(|name| name.value.as_str().is_none()) {
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
        if map.iter().any(|(_, value)| level(value).is_none()) {
            self.problems.add(&node.at, "must have one of view, add, control and remove for each command");
        }
        map.iter().filter_map(|(name, value)| Some((name.to_owned(), level(value)?))).collect()
    }

    /// The members of an object that has no other keys than `known`.
    fn object<'a>(&mut self, node: &Node<'a>, known: &[&str]) -> Option<Fields<'a>> {
        let Some(map) = node.value.as_object() else {
            self.problems.add(&node.at, "must be an object");
            return None;
        };
        if map.keys().any(|key| !known.contains(&key)) {
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

/// Whether a key of this object is there twice.
fn repeats(object: &Object<'_>) -> bool {
    let mut keys: Vec<&str> = object.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether a key of any object in `value` is there twice; of a file that was read, so that it is not too deep.
fn repeats_within(value: &RawValue) -> bool {
    if let Some(object) = parse_object(value) {
        return repeats(&object) || object.iter().any(|(_, value)| repeats_within(value));
    }
    as_list(value).unwrap_or_default().into_iter().any(repeats_within)
}

fn level(value: &Json<'_>) -> Option<Level> {
    value.as_str().and_then(Level::from_name)
}

#[cfg(test)]
mod tests;
