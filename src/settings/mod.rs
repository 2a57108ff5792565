//! The settings: one JSON file for the whole family (protocol.md section 8).
//!
//! ```text
//!   file ──load──▶ text ──parse──▶ JSON ──expand, check──▶ Settings      public_json ──▶ the gateway's settings.json
//!                                    │                        ├────────▶ effective_json ──▶ `shmz settings`
//!                                    ▼                        └────────▶ problems_of_machine ──▶ `shmz check`
//!                       SettingsError: every problem,
//!                    one sentence each, with its JSON path
//! ```
//!
//! What is wrong with the file itself keeps a daemon from starting. What is wrong with the machine that it is used on
//! (a missing program, user or directory) does not: only that module fails to start. So the two are separate.
//!
//! The gateway's tokens are no settings, which anybody may read: they have a file of their own (`tokens`).
//!
//! **Invariant:** whatever the file holds, it gives settings or at least one problem; nothing here panics.

mod args;
mod expand;
mod gateway;
mod json;
mod limit;
mod machine;
mod place;
mod problem;
mod read;
mod read_service;
mod restart;
mod service;
mod suggest;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

pub use expand::expand;
pub use gateway::{AccessLog, CONTENT_SECURITY_POLICY, Gateway};
pub use limit::{Amount, INFINITY, Limit, LimitError, OomPolicy, Permyriad, ProcessLimit, PropertyValue, ScopeLimit};
pub use machine::find_user;
pub use place::{Fallback, Place};
pub(crate) use place::{below, is_missing};
pub use problem::{Problem, SettingsError};
pub use restart::{Restart, RestartOn};
pub use service::{App, Bounds, Lists, ModuleType, Process, Service, Timeouts};
pub use tokens::{Keeper, load_tokens, parse_tokens};

use crate::protocol::whole_number;
use gateway::{MESSAGE_BYTES, read_size};
use json::{Json, Object};
use problem::{JsonPath, Problems};
use read::{Fields, Node, Reader};
use read_service::{read_services, why_no_service};

/// The variable of the environment that names the settings file, and holds its absolute path for modules.
pub const FILE_VARIABLE: &str = "SHMOOZE_SETTINGS";

/// The variable that holds the absolute folder of the settings file while they are expanded.
pub const FOLDER_VARIABLE: &str = "SHMOOZE_SETTINGS_DIR";

/// The settings file where nothing names another.
pub const DEFAULT_FILE: &str = "/etc/shmooze/settings.json";

/// Longest line taken from a peer, in bytes, where the settings do not say otherwise (protocol.md section 1).
pub const DEFAULT_MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// The keys that [`Settings::values`] makes anew from what was read.
const OURS: [&str; 7] = ["ports", "services", "public", "static_prefix", "wsgi_prefix", "max_line_bytes", "gateway"];

/// The key of `ports` that is the gateway's own port and no service.
pub const GATEWAY_PORT: &str = "wsgi";

/// Valid settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The file that they come from, absolute; symbolic links are not resolved.
    pub file: PathBuf,
    /// What the application is called.
    pub name: Option<String>,
    /// The port of each service, with `wsgi` for the gateway; no port twice.
    pub ports: IndexMap<String, u16>,
    /// The services that this project runs; each has its port in `ports`.
    pub services: IndexMap<String, Service>,
    /// Which keys anyone may read.
    pub public: Vec<String>,
    /// The folder of static files, as it is written, expanded.
    pub static_path: Option<PathBuf>,
    /// Where static files begin; starts and ends with `/`.
    pub static_prefix: String,
    /// Where services begin; starts and ends with `/`.
    pub wsgi_prefix: String,
    /// The SQLite file of the command log, expanded; no log where there is none.
    pub log_database_path: Option<PathBuf>,
    /// Longest line taken from a peer, in bytes.
    pub max_line_bytes: usize,
    /// The gateway's own settings.
    pub gateway: Gateway,
    /// The application's own keys in the order of the file, every `_path` key expanded; null where one of ours stands, which is
    /// read already.
    given: Map<String, Value>,
    /// The text that they were read from.
    text: Arc<String>,
    /// What the sentences call the file.
    shown_file: PathBuf,
    /// Where programs are searched: `PATH` of the environment that expanded the settings.
    search_path: Option<String>,
}

/// How much of the settings is kept once it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// All of it.
    All,
    /// All but module types, which are judged and not kept: of which units are made.
    Services,
}

impl Settings {
    /// Which file [`Settings::load`] reads: `path`, else what `SHMOOZE_SETTINGS` names, else
    /// `/etc/shmooze/settings.json`.
    #[must_use]
    pub fn file_of(path: Option<&Path>) -> PathBuf {
        let named = || std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
        path.map(Path::to_path_buf).or_else(named).unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
    }

    /// Reads the settings file; variables are those of the process's environment.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong with the file, whatever machine it is used on.
    pub fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        let file = Self::file_of(path);
        Self::read_file(&file, &file, &|name| std::env::var(name).ok(), Detail::All)
    }

    /// Reads what stands in the file `real` as if it stood in `file`, with the variables that `lookup` knows.
    ///
    /// # Errors
    /// As for [`Settings::load`].
    pub(crate) fn read_file(
        real: &Path,
        file: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
        detail: Detail,
    ) -> Result<Self, SettingsError> {
        let refuse = |what: String| {
            let mut problems = Problems::new(file);
            problems.add_to_file(what);
            Err(problems.into_error())
        };
        let bytes = match std::fs::read(real) {
            Ok(bytes) => bytes,
            Err(error) => return refuse(format!("cannot be read: {}", machine::reason(&error))),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse_text(text, file, lookup, detail),
            Err(error) => refuse(format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to() + 1)),
        }
    }

    /// Reads settings from `text`, as if it stood in the file `path`, with no other variable set than those of the
    /// settings file itself. Touches neither the file nor the environment.
    ///
    /// # Errors
    /// As for [`Settings::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        Self::parse_with(text, path, &|_| None)
    }

    /// As [`Settings::parse`], with the variables that `lookup` knows; `SHMOOZE_SETTINGS` and `SHMOOZE_SETTINGS_DIR`
    /// count as set to the absolute `path` and its folder.
    ///
    /// # Errors
    /// As for [`Settings::load`].
    pub fn parse_with(text: &str, path: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        Self::parse_text(text.to_owned(), path, lookup, Detail::All)
    }

    fn parse_text(
        text: String,
        path: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
        detail: Detail,
    ) -> Result<Self, SettingsError> {
        let settings = Self::parse_borrowed(&text, path, lookup, detail)?;
        Ok(Self { text: Arc::new(text), ..settings })
    }

    fn parse_borrowed(
        text: &str,
        path: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
        detail: Detail,
    ) -> Result<Self, SettingsError> {
        let mut problems = Problems::new(path);
        let value = match json::of_settings(text) {
            Ok(value) => value,
            Err(error) => {
                problems.add_to_file(syntax(&error));
                return Err(problems.into_error());
            }
        };
        let file = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let own = |name: &str| match name {
            FILE_VARIABLE => file.to_str().map(str::to_owned),
            FOLDER_VARIABLE => file.parent()?.to_str().map(str::to_owned),
            _ => lookup(name),
        };
        let mut reader = Reader { problems, lookup: &own, detail, is_no_json: false };
        let settings = read(&mut reader, &value, &file, path).map(|settings| {
            let given = value.as_object().map(|object| own_keys(&reader, object)).unwrap_or_default();
            Self { given, ..settings }
        });
        if reader.is_no_json
            && let Err(error) = serde_json::from_str::<Json<'_>>(text)
        {
            // That is all there is to say, as where it is seen at once.
            let mut problems = Problems::new(path);
            problems.add_to_file(syntax(&error));
            return Err(problems.into_error());
        }
        match settings {
            Some(settings) => reader.problems.into_result(settings),
            None => Err(reader.problems.into_error()),
        }
    }

    /// The text that they were read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole object as it is in effect: the application's own keys, every `_path` key expanded, our defaults filled in. Made
    /// when it is asked for, since few need it; a key stays in its place.
    #[must_use]
    pub fn values(&self) -> Map<String, Value> {
        let missing = OURS.into_iter().filter(|key| !self.given.contains_key(*key));
        let keys = self.given.keys().map(String::as_str).chain(missing);
        keys.filter_map(|key| Some((key.to_owned(), self.value(key)?))).collect()
    }

    /// The value of one key as it is in effect.
    fn value(&self, key: &str) -> Option<Value> {
        Some(match key {
            "ports" => self.ports.iter().map(|(name, port)| (name.clone(), (*port).into())).collect::<Map<_, _>>().into(),
            "services" => {
                let services = self.services.iter().map(|(name, service)| (name.clone(), service.to_json()));
                services.collect::<Map<_, _>>().into()
            }
            "public" => self.public.clone().into(),
            "static_prefix" => self.static_prefix.as_str().into(),
            "wsgi_prefix" => self.wsgi_prefix.as_str().into(),
            "max_line_bytes" => self.max_line_bytes.into(),
            "gateway" => self.gateway.to_json(),
            other => self.given.get(other)?.clone(),
        })
    }

    /// The settings named in `public`, as a JSON object in the order of `public`; null for one that is not there, as the
    /// original had it. What it holds anyone may read.
    #[must_use]
    pub fn public_json(&self) -> String {
        let named = self.public.iter().map(|key| (key.clone(), self.value(key).unwrap_or(Value::Null)));
        Value::from(named.collect::<Map<_, _>>()).to_string()
    }

    /// The settings as they are in effect, with every default filled in, as indented JSON in the form in which
    /// settings are read.
    #[must_use]
    pub fn effective_json(&self) -> String {
        format!("{:#}", Value::from(self.values()))
    }
}

fn syntax(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    format!("is not JSON at line {}, column {}: {reason}", error.line(), error.column())
}

/// Reads everything; `None` where the file holds no object at all.
fn read(reader: &mut Reader<'_>, value: &Json<'_>, file: &Path, shown_file: &Path) -> Option<Settings> {
    let fields = reader.object(&Node { value, at: JsonPath::root() })?;
    let ports = fields.get("ports").map(|node| read_ports(reader, &node)).unwrap_or_default();
    let services = fields.get("services").map(|node| read_services(reader, &node)).unwrap_or_default();
    check_ports(reader, &fields);
    let name = fields.get("name").and_then(|node| reader.string(&node)).map(str::to_owned);
    let public = fields.get("public").map(|node| read_public(reader, &node)).unwrap_or_default();
    let static_path = read_path(reader, &fields, "static_path");
    let log_database_path = read_path(reader, &fields, "log_database_path");
    let static_prefix = read_prefix(reader, &fields, "static_prefix", "/static/");
    let wsgi_prefix = read_prefix(reader, &fields, "wsgi_prefix", "/");
    let max_line_bytes = fields
        .get("max_line_bytes")
        .and_then(|node| read_size(reader, &node, "bytes", &MESSAGE_BYTES))
        .unwrap_or(DEFAULT_MAX_LINE_BYTES);
    let gateway = match fields.get("gateway") {
        Some(node) => Gateway::read(reader, &node, max_line_bytes),
        None => Gateway::with_max_line_bytes(max_line_bytes),
    };
    Some(Settings {
        file: file.to_path_buf(),
        name,
        ports,
        services,
        public,
        static_path,
        static_prefix,
        wsgi_prefix,
        log_database_path,
        max_line_bytes,
        gateway,
        given: Map::new(),
        text: Arc::default(),
        shown_file: shown_file.to_path_buf(),
        search_path: (reader.lookup)("PATH"),
    })
}

/// The application's own keys of the file's object.
fn own_keys(reader: &Reader<'_>, object: &Object<'_>) -> Map<String, Value> {
    let own = |key: &str, value: &Json<'_>| match value {
        _ if OURS.contains(&key) => Value::Null,
        // An application's own key may hold something else than text.
        Json::String(text) if key.ends_with("_path") => reader.expand(text).into(),
        other => other.to_value(),
    };
    object.iter().map(|(key, value)| (key.to_owned(), own(key, value))).collect()
}

fn read_ports(reader: &mut Reader<'_>, node: &Node<'_>) -> IndexMap<String, u16> {
    let Some(fields) = reader.object(node) else { return IndexMap::new() };
    let mut ports: IndexMap<String, u16> = IndexMap::new();
    for (name, node) in fields.iter() {
        let port =
            node.value.as_number().and_then(whole_number).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        let Some(port) = port else {
            reader.expected(&node, "a port number from 1 to 65535");
            continue;
        };
        if let Some((other, _)) = ports.iter().find(|(_, taken)| **taken == port) {
            let other = fields.at.key(other);
            reader.problems.add(&node.at, format_args!("is {port}, which is the port of {other} already"));
        }
        ports.insert(name.to_owned(), port);
    }
    ports
}

/// Every service has its port; one that is written down but wrong has been noted already.
fn check_ports(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    let Some(services) = fields.map.get("services").and_then(Json::as_object) else { return };
    let ports = match fields.map.get("ports") {
        Some(Json::Object(ports)) => Some(ports),
        Some(_) => return,
        None => None,
    };
    for name in
        services.keys().filter(|name| why_no_service(name).is_none() && !ports.is_some_and(|ports| ports.contains_key(name)))
    {
        let at = JsonPath::root().key("services").key(name);
        let missing = JsonPath::root().key("ports").key(name);
        reader.problems.add(&at, format_args!("has no port: {missing} is missing"));
    }
}

fn read_public(reader: &mut Reader<'_>, node: &Node<'_>) -> Vec<String> {
    let keys = reader.list(node, "a list of names of settings").unwrap_or_default();
    keys.iter().filter_map(|key| reader.string(key)).map(str::to_owned).collect()
}

fn read_path(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<PathBuf> {
    let node = fields.get(key)?;
    let text = reader.system_string(&node)?;
    Some(reader.expand(text).into())
}

fn read_prefix(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str, default: &str) -> String {
    let given = fields.get(key).and_then(|node| {
        let text = reader.string(&node)?;
        if text.starts_with('/') && text.ends_with('/') {
            return Some(text);
        }
        reader.expected(&node, "a path that starts and ends with \"/\"");
        None
    });
    given.unwrap_or(default).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_longest_line_as_the_wire() {
        assert_eq!(DEFAULT_MAX_LINE_BYTES, crate::protocol::DEFAULT_MAX_LINE_BYTES);
    }

    #[test]
    fn an_explicit_path_comes_first() {
        assert_eq!(Settings::file_of(Some(Path::new("x.json"))), Path::new("x.json"));
    }
}
