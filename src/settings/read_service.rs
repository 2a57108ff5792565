//! Reading `services`: each entry with a sentence for whatever is wrong in it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Map;

use super::args::{read_args, read_commands};
use super::gateway::read_size;
use super::read::{Fields, Node, Reader, shown};
use super::suggest::closest;
use super::{App, Bounds, Detail, GATEWAY_PORT, Limit, LimitError, Lists, ModuleType, Process, Restart, Service, Timeouts};

/// How long a time-out may be, in milliseconds: up to a day.
pub(super) const MILLISECONDS: RangeInclusive<u64> = 1..=Timeouts::LONGEST.as_millis() as u64;

/// How many spare scopes there may be of one type.
const SPARE_SCOPES: RangeInclusive<u64> = 0..=16;

/// What connections and modules of a service may be limited to.
const BOUNDS: RangeInclusive<u64> = 1..=1_000_000;

/// Longest name of a service, in bytes.
const MAX_NAME: usize = 32;

const LIST_KEYS: [&str; 7] = ["kind", "max_connections", "max_length", "max_modules", "modules", "backgrounds", "restore"];
const PROCESS_KEYS: [&str; 5] = ["process", "environment", "working_directory", "user", "limits"];
const MODULE_KEYS: [&str; 11] = [
    "process",
    "environment",
    "working_directory",
    "user",
    "limits",
    "timeouts",
    "restart",
    "spare_scopes",
    "title",
    "args",
    "commands",
];
const APP_KEYS: [&str; 6] = ["kind", "process", "environment", "working_directory", "user", "limits"];
const KINDS: [&str; 3] = ["queue", "pool", "app"];

/// All of `services`; those at fault are left out.
pub(super) fn read_services(reader: &mut Reader<'_>, node: &Node<'_>) -> IndexMap<String, Service> {
    let Some(fields) = reader.object(node) else { return IndexMap::new() };
    let mut services = IndexMap::new();
    for (name, node) in fields.iter() {
        if let Some(reason) = why_no_service(name) {
            reader.problems.add(&node.at, format_args!("cannot be a service: {reason}"));
            continue;
        }
        if !is_service_name(name) {
            let rule = "a lower-case letter, then up to 31 lower-case letters, digits, \"-\" or \"_\"";
            reader.problems.add(&node.at, format_args!("is no name for a service, which is {rule}"));
        }
        if let Some(service) = read_service(reader, &node) {
            services.insert(name.to_owned(), service);
        }
    }
    services
}

/// Why no service may be called so, though it is a name for one; `None` where one may.
pub(super) fn why_no_service(name: &str) -> Option<&'static str> {
    match name {
        GATEWAY_PORT => Some("\"wsgi\" in ports is the gateway's port"),
        // Units and sockets would have the same name.
        "gateway" => Some("shmooze-gateway is the gateway itself"),
        "launcher" => Some("shmooze-launcher is what launches modules"),
        _ => None,
    }
}

/// Names become part of the names of units, paths and tables of the command log.
fn is_service_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

fn read_service(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Service> {
    let fields = reader.object(node)?;
    let Some(kind) = fields.get("kind") else {
        reader.problems.add(&node.at.key("kind"), "is missing; it must be \"queue\", \"pool\" or \"app\"");
        return None;
    };
    match kind.value.as_str() {
        Some("queue") => {
            reader.object_of(node, &LIST_KEYS);
            Some(Service::Queue(Lists {
                bounds: read_bounds(reader, &fields),
                modules: read_types(reader, fields.get("modules"), Again::Never),
                backgrounds: read_types(reader, fields.get("backgrounds"), Again::AsSet),
                restore: read_restore(reader, &fields),
            }))
        }
        Some("pool") => {
            if let Some(backgrounds) = fields.get("backgrounds") {
                reader.problems.add(&backgrounds.at, "cannot be in a pool: only a queue has backgrounds");
            }
            if let Some(length) = fields.get("max_length") {
                reader.problems.add(&length.at, "cannot be in a pool: its list is bounded by max_modules");
            }
            reader.object_of(node, &LIST_KEYS);
            Some(Service::Pool(Lists {
                bounds: read_bounds(reader, &fields),
                modules: read_types(reader, fields.get("modules"), Again::AsSet),
                backgrounds: IndexMap::new(),
                restore: read_restore(reader, &fields),
            }))
        }
        Some("app") => {
            reader.object_of(node, &APP_KEYS);
            read_process(reader, &fields).map(|process| Service::App(App { process }))
        }
        text => {
            let meant = text.and_then(|text| closest(text, KINDS));
            let hint = meant.map(|kind| format!("; did you mean \"{kind}\"?")).unwrap_or_default();
            let given = shown(kind.value);
            reader.problems.add(&kind.at, format_args!("must be \"queue\", \"pool\" or \"app\", not {given}{hint}"));
            None
        }
    }
}

fn read_restore(reader: &mut Reader<'_>, fields: &Fields<'_>) -> bool {
    fields.get("restore").and_then(|node| reader.truth(&node)).unwrap_or_default()
}

fn read_bounds(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Bounds {
    let mut read = |key: &str, units: &str| fields.get(key).and_then(|node| read_size(reader, &node, units, &BOUNDS));
    let default = Bounds::default();
    let max_modules = read("max_modules", "modules").unwrap_or(default.max_modules);
    Bounds {
        max_connections: read("max_connections", "connections").unwrap_or(default.max_connections),
        // A list longer than that there is never.
        max_length: read("max_length", "modules").unwrap_or(max_modules),
        max_modules,
    }
}

/// Whether modules may be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// As `restart` says.
    AsSet,
    /// What plays in a queue is played once.
    Never,
}

fn read_types(reader: &mut Reader<'_>, node: Option<Node<'_>>, again: Again) -> IndexMap<String, Arc<ModuleType>> {
    let Some(fields) = node.and_then(|node| reader.object(&node)) else { return IndexMap::new() };
    let mut types = IndexMap::new();
    for (name, node) in fields.iter() {
        if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_control()) {
            reader.problems.add(&node.at, "is no name for a module type, which is not empty and holds no control characters");
        }
        let opened = match node.value.open() {
            Ok(opened) => opened,
            Err(_) => {
                reader.is_no_json = true;
                continue;
            }
        };
        let node = Node { value: opened.as_ref().unwrap_or(node.value), at: node.at };
        if let Some(module_type) = read_type(reader, &node, again)
            && reader.detail == Detail::All
        {
            types.insert(name.to_owned(), Arc::new(module_type));
        }
    }
    types
}

fn read_type(reader: &mut Reader<'_>, node: &Node<'_>, again: Again) -> Option<ModuleType> {
    let fields = reader.object_of(node, &MODULE_KEYS)?;
    let title = fields.get("title").and_then(|node| reader.string(&node)).map(str::to_owned);
    let process = read_process(reader, &fields);
    let timeouts = fields.get("timeouts").map(|node| read_timeouts(reader, &node)).unwrap_or_default();
    let restart = fields.get("restart").and_then(|node| {
        if again == Again::Never {
            let why = "what plays in a queue is played once, and only its backgrounds and modules of a pool are started again";
            reader.problems.add(&node.at, format_args!("cannot be set here: {why}"));
            return None;
        }
        Some(Restart::read(reader, &node))
    });
    let spares = fields.get("spare_scopes").and_then(|node| reader.whole(&node, "scopes", &SPARE_SCOPES));
    let spare_scopes = spares.and_then(|spares| usize::try_from(spares).ok()).unwrap_or_default();
    let args = fields.get("args").map_or_else(Map::new, |node| read_args(reader, &node));
    let commands = fields.get("commands").map_or_else(Map::new, |node| read_commands(reader, &node));
    Some(ModuleType { process: process?, timeouts, restart, spare_scopes, title, args, commands })
}

fn read_process(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Process> {
    let command = match fields.get("process") {
        Some(node) => read_command(reader, &node),
        None => {
            reader
                .problems
                .add(&fields.at.key(PROCESS_KEYS[0]), "is missing; it must be a list of the program and its arguments");
            None
        }
    };
    let environment = fields.get("environment").map(|node| read_environment(reader, &node)).unwrap_or_default();
    let working_directory = fields.get("working_directory").and_then(|node| read_directory(reader, &node));
    let user = fields.get("user").and_then(|node| reader.system_string(&node)).map(str::to_owned);
    let limits = fields.get("limits").map(|node| read_limits(reader, &node)).unwrap_or_default();
    Some(Process { command: command?, environment, working_directory, user, limits })
}

fn read_command(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<String>> {
    let words = reader.list(node, "a list of the program and its arguments")?;
    if words.is_empty() {
        reader.problems.add(&node.at, "must hold at least the program");
        return None;
    }
    let mut command = Vec::with_capacity(words.len());
    for (index, word) in words.iter().enumerate() {
        // An argument may be empty, a program may not.
        let text = if index == 0 { reader.system_string(word) } else { reader.any_system_string(word) };
        command.extend(text.map(|text| reader.expand(text)));
    }
    (command.len() == words.len()).then_some(command)
}

fn read_environment(reader: &mut Reader<'_>, node: &Node<'_>) -> IndexMap<String, String> {
    let Some(fields) = reader.object(node) else { return IndexMap::new() };
    let mut environment = IndexMap::new();
    for (name, node) in fields.iter() {
        if name.is_empty() || name.contains(['=', '\0']) {
            reader.problems.add(&node.at, "is no name for a variable, which is not empty and holds neither \"=\" nor NUL");
        }
        if let Some(text) = reader.any_system_string(&node) {
            environment.insert(name.to_owned(), reader.expand(text));
        }
    }
    environment
}

/// The directory as it is written must be absolute; whether it still is with an unset variable in it is a question to
/// the machine, so that one module's environment does not keep a daemon from starting.
fn read_directory(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<PathBuf> {
    let text = reader.system_string(node)?;
    if !text.starts_with(['/', '$']) {
        reader.expected(node, "an absolute path");
        return None;
    }
    Some(reader.expand(text).into())
}

fn read_limits(reader: &mut Reader<'_>, node: &Node<'_>) -> IndexMap<String, Limit> {
    let Some(fields) = reader.object(node) else { return IndexMap::new() };
    let mut limits = IndexMap::new();
    for (name, node) in fields.iter() {
        match Limit::parse(name, &node.value.to_value()) {
            Ok(limit) => {
                limits.insert(name.to_owned(), limit);
            }
            Err(LimitError::Unknown { .. }) => reader.unknown(&node.at, name, Limit::names()),
            Err(LimitError::Expected(expected)) => reader.expected(&node, expected),
        }
    }
    limits
}

fn read_timeouts(reader: &mut Reader<'_>, node: &Node<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(fields) = reader.object_of(node, &["connect", "command", "exit", "terminate"]) else { return timeouts };
    let mut read = |name: &str, time: &mut Duration| {
        if let Some(given) = fields.get(name).and_then(|node| read_milliseconds(reader, &node)) {
            *time = given;
        }
    };
    read("connect", &mut timeouts.connect);
    read("command", &mut timeouts.command);
    read("exit", &mut timeouts.exit);
    read("terminate", &mut timeouts.terminate);
    timeouts
}

pub(super) fn read_milliseconds(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Duration> {
    reader.whole(node, "milliseconds", &MILLISECONDS).map(Duration::from_millis)
}
