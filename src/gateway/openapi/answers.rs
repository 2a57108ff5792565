//! What commands of queues and pools are answered, as JSON Schema.

use serde_json::{Value, json};

use super::reference;
use crate::protocol::Verb;

/// The answer to `verb` where it was carried out.
pub(super) fn success(verb: Verb) -> Value {
    let done = json!({"const": true});
    let description = format!("To `{}`.", verb.name());
    let (properties, required) = match content(verb) {
        Content::Always(result) => (json!({"success": done, "result": result}), &["success", "result"][..]),
        Content::Sometimes(result) => (json!({"success": done, "result": result}), &["success"][..]),
        Content::Never => (json!({"success": done}), &["success"][..]),
    };
    json!({
        "type": "object",
        "description": description,
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The answer to whatever was not carried out.
pub(super) fn failure() -> Value {
    json!({
        "type": "object",
        "required": ["success", "error"],
        "properties": {"success": {"const": false}, "error": {"type": "string", "description": "One sentence"}},
        "additionalProperties": false,
    })
}

/// The answer of a service of which nothing is known.
pub(super) fn any() -> Value {
    json!({
        "type": "object",
        "required": ["success"],
        "properties": {"success": {"type": "boolean"}, "result": {}, "error": {}},
    })
}

enum Content {
    Always(Value),
    Sometimes(Value),
    Never,
}

fn content(verb: Verb) -> Content {
    let list_of = |name| json!({"type": "array", "items": reference(name)});
    Content::Always(match verb {
        Verb::ModulesAvailable | Verb::BackgroundsAvailable => json!({"type": "array", "items": {"type": "string"}}),
        Verb::Types => json!({
            "type": "object",
            "required": ["modules", "backgrounds"],
            "properties": {
                "modules": {"type": "object", "additionalProperties": reference("type")},
                "backgrounds": {"type": "object", "additionalProperties": reference("type")},
            },
        }),
        Verb::Queue | Verb::Pool => list_of("module"),
        Verb::Background => return Content::Sometimes(reference("module")),
        Verb::Add | Verb::SetBackground => json!({
            "type": "object",
            "required": ["uid"],
            "properties": {"uid": reference("uid")},
        }),
        Verb::Remove | Verb::Move => return Content::Never,
        Verb::TellModule | Verb::TellBackground => {
            return Content::Sometimes(json!({"description": "What the module answered"}));
        }
        Verb::AskModule | Verb::AskBackground => reference("parameters"),
        Verb::History => list_of("ending"),
        Verb::Status => reference("status"),
        Verb::Metrics => reference("metrics"),
        Verb::Watch => json!({
            "type": "object",
            "required": ["revision", "events"],
            "properties": {
                "revision": {"type": "integer", "description": "What to ask with next"},
                "events": list_of("event"),
            },
        }),
    })
}

/// What the answers consist of, by the names that [`reference()`] takes.
pub(super) fn parts() -> [(&'static str, Value); 14] {
    let seconds = || json!({"type": "number", "description": "Seconds since 1970"});
    let text = || json!({"type": "string"});
    [
        ("uid", json!({"type": "string", "format": "uuid"})),
        ("parameters", json!({"type": "object", "description": "Values by name"})),
        ("state", json!({"enum": ["playing", "suspended", "waiting", "restarting"]})),
        (
            "exit",
            json!({
                "description": "The exit status, or the signal that ended the module; null where nobody knows",
                "anyOf": [
                    {"type": "object", "required": ["status"], "properties": {"status": {"type": "integer"}}},
                    {"type": "object", "required": ["signal"], "properties": {"signal": {"type": "integer"}}},
                    {"type": "null"},
                ],
            }),
        ),
        (
            "cause",
            json!({"enum": [
                "removed", "own", "stream_lost", "timed_out", "refused", "not_connected", "drained", "set_aside",
            ]}),
        ),
        (
            "type",
            json!({
                "type": "object",
                "required": ["title", "args", "commands"],
                "properties": {
                    "title": {"type": ["string", "null"]},
                    "args": {"type": "object", "description": "Arguments of init, each in the words of JSON Schema"},
                    "commands": {"type": "object", "description": "Commands that the module takes, without their do_"},
                },
            }),
        ),
        (
            "module",
            json!({
                "type": "object",
                "required": ["uid", "type"],
                "properties": {
                    "uid": reference("uid"),
                    "type": text(),
                    "state": {"const": "restarting"},
                    "parameters": reference("parameters"),
                },
            }),
        ),
        (
            "living",
            json!({
                "type": "object",
                "required": ["uid", "type", "state", "since", "added", "parameters"],
                "properties": {
                    "uid": reference("uid"),
                    "type": text(),
                    "state": reference("state"),
                    "since": seconds(),
                    "added": seconds(),
                    "parameters": reference("parameters"),
                },
            }),
        ),
        (
            "using",
            json!({
                "type": "object",
                "required": ["uid", "type", "state", "since", "added", "restarts", "pid", "scope", "memory", "cpu", "tasks"],
                "properties": {
                    "uid": reference("uid"),
                    "type": text(),
                    "state": reference("state"),
                    "since": seconds(),
                    "added": seconds(),
                    "restarts": {"type": "integer", "minimum": 0},
                    "pid": {"type": ["integer", "null"]},
                    "scope": {"type": ["string", "null"]},
                    "memory": {"type": ["integer", "null"], "description": "Bytes"},
                    "cpu": {"type": ["number", "null"], "description": "Seconds"},
                    "tasks": {"type": ["integer", "null"]},
                },
            }),
        ),
        ("status", status()),
        ("metrics", metrics()),
        (
            "health",
            json!({
                "type": "object",
                "required": ["status", "services"],
                "properties": {
                    "status": {"enum": ["ok", "failing"]},
                    "services": {"type": "object", "additionalProperties": text(), "description": "ok, failing, or why it is"},
                },
            }),
        ),
        (
            "ending",
            json!({
                "type": "object",
                "required": ["uid", "type", "added", "ended", "cause", "reached", "exit", "exceeded", "text"],
                "properties": {
                    "uid": reference("uid"),
                    "type": text(),
                    "added": seconds(),
                    "ended": seconds(),
                    "cause": reference("cause"),
                    "reached": {"enum": ["exit", "terminate", "kill"]},
                    "exit": reference("exit"),
                    "exceeded": {"enum": ["memory", "time", null], "description": "The limit that ended it"},
                    "text": text(),
                    "restarts": {"type": "integer", "minimum": 1},
                    "restart_at": seconds(),
                    "given_up": {"const": true},
                },
            }),
        ),
        ("event", json!({"oneOf": events()})),
    ]
}

fn status() -> Value {
    let using = || json!({"type": "array", "items": reference("using")});
    json!({
        "type": "object",
        "required": ["service", "kind", "revision", "text", "ending"],
        "properties": {
            "service": {"type": "string"},
            "kind": {"enum": ["queue", "pool"]},
            "revision": {"type": "integer"},
            "text": {"type": "string", "description": "One line"},
            "playing": nullable("uid"),
            "background": nullable("using"),
            "queue": using(),
            "pool": using(),
            "ending": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["uid", "type", "step", "since"],
                    "properties": {
                        "uid": reference("uid"),
                        "type": {"type": "string"},
                        "step": {"enum": ["exit", "terminate", "kill"]},
                        "since": {"type": "number"},
                    },
                },
            },
        },
    })
}

fn metrics() -> Value {
    let counts = || json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}});
    let counts_by_name = || json!({"type": "object", "additionalProperties": counts()});
    json!({
        "type": "object",
        "required": ["service", "kind", "revision", "started", "length", "modules", "backgrounds", "endings", "launches"],
        "properties": {
            "service": {"type": "string"},
            "kind": {"enum": ["queue", "pool"]},
            "revision": {"type": "integer"},
            "started": {"type": "number", "description": "Seconds since 1970"},
            "length": {"type": "integer", "minimum": 0},
            "modules": counts_by_name(),
            "backgrounds": counts_by_name(),
            "endings": counts_by_name(),
            "launches": {
                "type": "object",
                "required": ["failed", "seconds", "buckets"],
                "properties": {
                    "failed": {"type": "integer", "minimum": 0},
                    "seconds": {"type": "number"},
                    "buckets": {
                        "type": "array",
                        "description": "How many took up to so many seconds and more than the bound before; the last has no bound",
                        "items": {"type": "array", "prefixItems": [{"type": ["number", "null"]}, {"type": "integer"}], "items": false},
                    },
                },
            },
        },
    })
}

/// The events of `watch` and of `…/events` (docs/page.md).
fn events() -> Vec<Value> {
    let living = || json!({"type": "array", "items": reference("living")});
    let told = || data(&["uid", "since"], &json!({"uid": nullable("uid"), "since": {"type": ["number", "null"]}}));
    [
        (
            "state",
            data(
                &["service", "kind", "revision", "playing", "background"],
                &json!({
                    "service": {"type": "string"},
                    "kind": {"enum": ["queue", "pool"]},
                    "revision": {"type": "integer"},
                    "playing": nullable("uid"),
                    "background": nullable("living"),
                    "queue": living(),
                    "pool": living(),
                }),
            ),
        ),
        (
            "added",
            json!({"allOf": [
                reference("living"),
                {"properties": {"index": {"type": "integer", "minimum": 0}, "background": {"const": true}}},
            ]}),
        ),
        (
            "removed",
            data(
                &["uid", "status", "reason"],
                &json!({"uid": reference("uid"), "status": reference("exit"), "reason": reference("cause")}),
            ),
        ),
        ("moved", data(&["uids"], &json!({"uids": {"type": "array", "items": reference("uid")}}))),
        ("playing", told()),
        ("suspended", told()),
        (
            "parameters",
            data(
                &["uid", "parameters"],
                &json!({
                    "uid": reference("uid"),
                    "parameters": reference("parameters"),
                    "unset": {"type": "array", "items": {"type": "string"}},
                }),
            ),
        ),
        ("log", data(&["uid", "line"], &json!({"uid": reference("uid"), "line": {"type": "string"}}))),
    ]
    .into_iter()
    .map(|(event, data)| {
        json!({
            "type": "object",
            "required": ["event", "revision", "data"],
            "properties": {"event": {"const": event}, "revision": {"type": "integer"}, "data": data},
        })
    })
    .collect()
}

fn data(required: &[&str], properties: &Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

fn nullable(name: &str) -> Value {
    json!({"anyOf": [reference(name), {"type": "null"}]})
}
