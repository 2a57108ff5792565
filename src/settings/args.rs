//! What a module type declares for whoever draws a page: the arguments of its `init`,
//! `{NAME: {"title", "type", "default", "enum", "description"}}`, and its commands, `{NAME: {"title", "description", "args"}}`.

use serde_json::{Map, Value};

use super::Detail;
use super::json::Json;
use super::read::{Fields, Node, Reader};
use super::suggest::closest;

const TYPES: [&str; 6] = ["string", "number", "integer", "boolean", "object", "array"];
const ONE_OF_THE_TYPES: &str = "\"string\", \"number\", \"integer\", \"boolean\", \"object\" or \"array\"";

/// Checks the declarations and keeps them as they are.
pub(super) fn read_args(reader: &mut Reader<'_>, node: &Node<'_>) -> Map<String, Value> {
    let Some(fields) = reader.object(node) else { return Map::new() };
    for (_, node) in fields.iter() {
        check_argument(reader, &node);
    }
    if reader.detail == Detail::All { fields.map.to_map() } else { Map::new() }
}

/// Checks the commands, with their arguments, and keeps them as they are.
pub(super) fn read_commands(reader: &mut Reader<'_>, node: &Node<'_>) -> Map<String, Value> {
    let Some(fields) = reader.object(node) else { return Map::new() };
    for (_, node) in fields.iter() {
        let Some(command) = reader.object_of(&node, &["title", "description", "args"]) else { continue };
        check_texts(reader, &command);
        if let Some(args) = command.get("args") {
            read_args(reader, &args);
        }
    }
    if reader.detail == Detail::All { fields.map.to_map() } else { Map::new() }
}

fn check_texts(reader: &mut Reader<'_>, fields: &Fields<'_>) {
    for key in ["title", "description"] {
        if let Some(node) = fields.get(key) {
            reader.string(&node);
        }
    }
}

fn check_argument(reader: &mut Reader<'_>, node: &Node<'_>) {
    let Some(fields) = reader.object_of(node, &["title", "type", "default", "enum", "description"]) else { return };
    check_texts(reader, &fields);
    let type_name = fields.get("type").and_then(|node| check_type(reader, &node));
    let choices = fields.get("enum").and_then(|node| {
        let choices = reader.list(&node, "a list of the values to choose from")?;
        if choices.is_empty() {
            reader.problems.add(&node.at, "must hold at least one value");
            return None;
        }
        Some(choices)
    });
    let default = fields.get("default");
    if let Some(type_name) = type_name {
        for value in choices.iter().flatten().chain(&default) {
            if !is_of_type(value.value, type_name) {
                reader.expected(value, format_args!("of the type \"{type_name}\""));
            }
        }
    }
    if let (Some(default), Some(choices)) = (&default, &choices)
        && !choices.iter().any(|choice| choice.value.to_value() == default.value.to_value())
    {
        reader.expected(default, "one of the values in enum");
    }
}

fn check_type(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<&'static str> {
    let given = node.value.as_str();
    let known = TYPES.into_iter().find(|name| given == Some(name));
    if known.is_none() {
        match given.and_then(|given| closest(given, TYPES)) {
            Some(meant) => {
                let given = super::read::shown(node.value);
                reader.problems.add(&node.at, format_args!("must be {ONE_OF_THE_TYPES}, not {given}; did you mean \"{meant}\"?"));
            }
            None => reader.expected(node, ONE_OF_THE_TYPES),
        }
    }
    known
}

/// As JSON Schema counts: 5.0 is an integer.
fn is_of_type(value: &Json<'_>, type_name: &str) -> bool {
    match (type_name, value) {
        ("integer", Json::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        ("string", Json::String(_))
        | ("number", Json::Number(_))
        | ("boolean", Json::Bool(_))
        | ("object", Json::Object(_))
        | ("array", Json::Array(_)) => true,
        _ => false,
    }
}
