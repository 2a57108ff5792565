//! Commands of queues and pools, as JSON Schema: what a request is, and what of its arguments may be.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::reference;
use crate::protocol::Verb;
use crate::settings::ModuleType;

/// Largest whole number that every reader of JSON holds exactly (RFC 8259 section 6).
const LARGEST: u64 = (1 << 53) - 1;
/// Longest time for which `watch` waits, in ms (protocol.md section 4).
const LONGEST_WATCH: u64 = 60_000;

/// What the command does, in one sentence.
pub(super) const fn summary(verb: Verb) -> &'static str {
    match verb {
        Verb::ModulesAvailable => "The names of the types that `add` takes.",
        Verb::BackgroundsAvailable => "The names of the types that `set_bg` takes.",
        Verb::Types => "What a page draws of each type: its title, its arguments and its commands.",
        Verb::Queue => "The modules of the queue, in order, the top one first.",
        Verb::Pool => "The modules of the pool.",
        Verb::Background => "The background; no result where there is none.",
        Verb::Add => "Launches a module and appends it.",
        Verb::SetBackground => "Launches a background in place of the one of before, which is removed.",
        Verb::Remove => "Removes these modules. Those that are unknown are ignored.",
        Verb::Move => "Brings these modules to the front, in this order. Those that are unknown are ignored.",
        Verb::TellModule => "Has a module carry out a command of its own, and answers its answer.",
        Verb::AskModule => "Parameters of a module; those that it does not have are left out.",
        Verb::TellBackground => "Has the background carry out a command of its own, and answers its answer.",
        Verb::AskBackground => "Parameters of the background; those that it does not have are left out.",
        Verb::History => "How the last modules ended, newest first.",
        Verb::Status => "What the service does now, and what its modules use.",
        Verb::Metrics => "What is counted.",
        Verb::Watch => "What has changed since a revision, as soon as anything has; without a revision, everything as it is.",
    }
}

/// The request for `verb`, where it is the same for all services: of `add` and `set_bg`, one of any type.
pub(super) fn request(verb: Verb) -> Value {
    command(verb, &arguments(verb))
}

/// The request to launch a module of one of `types`: `add` or `set_bg`.
pub(super) fn launch(verb: Verb, types: &IndexMap<String, Arc<ModuleType>>) -> Value {
    let one = |(name, module_type): (&String, &Arc<ModuleType>)| {
        let mut args = json!({"type": "object"});
        if !module_type.args.is_empty() {
            // Declared in the words of JSON Schema.
            args["properties"] = module_type.args.clone().into();
        }
        let mut schema = object([("type", json!({"const": name})), ("args", args)], &["type"]);
        if let Some(title) = &module_type.title {
            schema["title"] = title.as_str().into();
        }
        schema
    };
    command(verb, &json!({"oneOf": types.iter().map(one).collect::<Vec<_>>()}))
}

/// The request to a service of which nothing is known.
pub(super) fn any() -> Value {
    json!({
        "type": "object",
        "required": ["cmd"],
        "properties": {"cmd": {"type": "string"}, "args": {"type": "object"}},
    })
}

fn command(verb: Verb, arguments: &Value) -> Value {
    let is_needed = matches!(
        verb,
        Verb::Add
            | Verb::SetBackground
            | Verb::Remove
            | Verb::Move
            | Verb::TellModule
            | Verb::AskModule
            | Verb::TellBackground
            | Verb::AskBackground
    );
    json!({
        "type": "object",
        "title": verb.name(),
        "description": summary(verb),
        "required": if is_needed { &["cmd", "args"][..] } else { &["cmd"] },
        "properties": {"cmd": {"const": verb.name()}, "args": arguments},
    })
}

fn arguments(verb: Verb) -> Value {
    let uid = || reference("uid");
    let uids = || json!({"type": "array", "items": reference("uid")});
    let names = || json!({"type": "array", "items": {"type": "string"}});
    match verb {
        Verb::ModulesAvailable | Verb::BackgroundsAvailable | Verb::Types | Verb::Status | Verb::Metrics => object([], &[]),
        Verb::Queue | Verb::Pool | Verb::Background => {
            let description = "Names of parameters by module type: which are to be shown";
            let wanted = json!({"type": "object", "description": description, "additionalProperties": names()});
            object([("parameters", wanted)], &[])
        }
        Verb::Add | Verb::SetBackground => {
            object([("type", json!({"type": "string"})), ("args", json!({"type": "object"}))], &["type"])
        }
        Verb::Remove | Verb::Move => object([("uids", uids())], &["uids"]),
        Verb::TellModule | Verb::TellBackground => {
            let cmd = json!({"type": "string", "description": "Without its do_"});
            object([("uid", uid()), ("cmd", cmd), ("args", json!({"type": "object"}))], &["uid", "cmd"])
        }
        Verb::AskModule | Verb::AskBackground => object([("uid", uid()), ("parameters", names())], &["uid", "parameters"]),
        Verb::History => object([("limit", whole(LARGEST, "How many at most"))], &[]),
        Verb::Watch => {
            let revision = whole(LARGEST, "After which changes are told");
            let timeout = whole(LONGEST_WATCH, "How long to wait where there are none, in ms; 0 unless given");
            object([("revision", revision), ("timeout", timeout)], &[])
        }
    }
}

fn whole(maximum: u64, description: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": maximum, "description": description})
}

/// An object of these and no others.
fn object<const N: usize>(properties: [(&str, Value); N], required: &[&str]) -> Value {
    let properties: Map<_, _> = properties.map(|(name, schema)| (name.to_owned(), schema)).into_iter().collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_those_of_the_commands() {
        for verb in Verb::ALL {
            let schema = arguments(verb);
            let mut names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut expected = verb.arguments().to_vec();
            names.sort_unstable();
            expected.sort_unstable();
            assert_eq!(names, expected, "{}", verb.name());
        }
    }
}
