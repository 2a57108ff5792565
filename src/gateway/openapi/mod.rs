//! `GET <prefix>openapi.json`: what the gateway serves, in the words of OpenAPI 3.1, made of the configuration in force.
//!
//! ```text
//!   Configuration ─▶ describe ─┬─ paths: one for each service and its events ─▶ responses.rs
//!                              ╰─ schemas: ─ commands.rs ─ answers.rs
//! ```
//!
//! | schema | is |
//! |---|---|
//! | `service.NAME.command` | any request to the service NAME, told apart by `cmd` |
//! | `service.NAME.add`, `service.NAME.set_bg` | those to launch a module of one of its types, with the arguments that these declare |
//! | `command.CMD`, `answer.CMD` | the request CMD, and what it is answered where it is carried out |
//! | `answers.KIND` | whatever a service of this kind may answer to one request |
//!
//! What the command `types` tells, a service that takes tokens tells only those who have one; so does its description.

mod answers;
mod commands;
mod responses;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::OnceLock;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, VARY};
use hyper::http::request::Parts;
use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::files::IN_PATH;
use super::{Answer, Configuration, guard};
use crate::protocol::Verb;
use crate::settings::Service;

/// The name of the description below the prefix of services.
pub(super) const NAME: &str = "openapi.json";

const INTRODUCTION: &str = "Queues and pools of modules, and the application's own services. A POST to a service carries out one \
    command or a list of them, in order; the answer to CMD is `answer.CMD` or `failure`, and a list is answered by a list. \
    A command that cannot be carried out, or that there is none of, is answered 200 with `failure`. A path below that of a \
    service leads there, too. Methods that are not named here are answered 405 with `Allow`. All requests may be answered 400 \
    or 414 without a body where they are not HTTP.";

/// The description, made when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// As everybody may see it.
    open: OnceLock<Document>,
}

impl Description {
    /// Answers a request for it. A token shows more of the services that it is for.
    pub(super) fn answer(&self, configuration: &Configuration, parts: &Parts) -> Answer {
        let made = |shows_types: &dyn Fn(&str) -> bool| Document::new(describe(configuration, shows_types).to_string().into());
        let mut answer = if parts.headers.contains_key(AUTHORIZATION) {
            made(&|name| guard::may_see(parts, configuration, name, Verb::Types.name())).answer(parts)
        } else {
            self.open.get_or_init(|| made(&|name| configuration.tokens.guard_of(name).is_none())).answer(parts)
        };
        if answer.status() == StatusCode::OK {
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        answer.headers_mut().append(VARY, HeaderValue::from_static("Authorization"));
        answer
    }
}

/// The description of all that `configuration` serves but static files; of the services of which it `shows_types`, with
/// their types of modules.
fn describe(configuration: &Configuration, shows_types: impl Fn(&str) -> bool) -> Value {
    let mut paths = Map::new();
    let mut schemas = shared_schemas();
    let mut tags = Vec::new();
    let mut takes_tokens = false;
    let prefix = utf8_percent_encode(&configuration.wsgi_prefix, IN_PATH).to_string();
    // A path is split at its slashes after it is decoded, so that a name with one is never found.
    let services = configuration.services.keys().filter(|name| !name.contains('/'));
    for name in services {
        let known = configuration.described.get(name);
        schemas.extend(service_schemas(name, known, shows_types(name)));
        let is_guarded = configuration.tokens.guard_of(name).is_some();
        takes_tokens |= is_guarded;
        let path = format!("{prefix}{}", utf8_percent_encode(name, IN_PATH));
        let kind = Kind::of(known);
        paths.insert(format!("{path}/events"), json!({"get": responses::events(name, configuration, is_guarded)}));
        paths.insert(path, json!({"post": post(name, kind, configuration, is_guarded)}));
        tags.push(json!({"name": name, "description": kind.sentence()}));
    }
    for (name, operation) in responses::ours(configuration, takes_tokens) {
        if !configuration.services.contains_key(name) {
            paths.insert(format!("{prefix}{name}"), json!({"get": operation}));
        }
    }
    let mut components = json!({"schemas": schemas, "responses": responses::shared(configuration)});
    if takes_tokens {
        components["securitySchemes"] = json!({"token": {"type": "http", "scheme": "bearer"}});
    }
    json!({
        "openapi": "3.1.1",
        "info": {"title": "shmooze", "version": env!("CARGO_PKG_VERSION"), "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": components,
    })
}

/// What of a service decides how it is spoken to.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Queue,
    Pool,
    /// An application's own, of which nothing more is known.
    Other,
}

impl Kind {
    const fn of(known: Option<&Service>) -> Self {
        match known {
            Some(Service::Queue(_)) => Self::Queue,
            Some(Service::Pool(_)) => Self::Pool,
            Some(Service::App(_)) | None => Self::Other,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Pool => "pool",
            Self::Other => "other",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Queue => "A queue: the first of its modules plays, and its background where there is none.",
            Self::Pool => "A pool: all of its modules play.",
            Self::Other => "A service of the application, whose commands are its own.",
        }
    }

    fn verbs(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| match self {
            Self::Queue => verb.is_of_queues(),
            Self::Pool => verb.is_of_pools(),
            Self::Other => false,
        })
    }
}

/// The schemas that are the same whatever is served.
fn shared_schemas() -> Map<String, Value> {
    let mut schemas: Map<_, _> = answers::parts().map(|(name, schema)| (name.to_owned(), schema)).into_iter().collect();
    schemas.insert("failure".to_owned(), answers::failure());
    for verb in Verb::ALL {
        schemas.insert(format!("command.{}", verb.name()), commands::request(verb));
        schemas.insert(format!("answer.{}", verb.name()), answers::success(verb));
    }
    for kind in [Kind::Queue, Kind::Pool] {
        let answers = kind.verbs().map(|verb| reference(&format!("answer.{}", verb.name())));
        let answers: Vec<_> = std::iter::once(reference("failure")).chain(answers).collect();
        schemas.insert(format!("answers.{}", kind.name()), json!({"anyOf": answers}));
    }
    schemas.insert(format!("answers.{}", Kind::Other.name()), answers::any());
    schemas
}

/// The schemas of one service.
fn service_schemas(name: &str, known: Option<&Service>, shows_types: bool) -> Map<String, Value> {
    let kind = Kind::of(known);
    let mut schemas = Map::new();
    let (mut choices, mut mapping) = (Vec::new(), Map::new());
    for verb in kind.verbs() {
        let types = known.and_then(Service::lists).filter(|_| shows_types).map(|lists| lists.of(verb == Verb::SetBackground));
        let schema = match (verb, types) {
            // Whatever was launched would be refused.
            (Verb::Add | Verb::SetBackground, Some(types)) if types.is_empty() => continue,
            (Verb::Add | Verb::SetBackground, Some(types)) => {
                let schema = of_service(name, verb.name());
                schemas.insert(schema.clone(), commands::launch(verb, types));
                schema
            }
            _ => format!("command.{}", verb.name()),
        };
        mapping.insert(verb.name().to_owned(), format!("{SCHEMAS}{schema}").into());
        choices.push(reference(&schema));
    }
    let command = match kind {
        Kind::Queue | Kind::Pool => {
            json!({"oneOf": choices, "discriminator": {"propertyName": "cmd", "mapping": mapping}})
        }
        Kind::Other => commands::any(),
    };
    schemas.insert(of_service(name, "command"), command);
    schemas
}

/// One command or a list of them.
fn post(name: &str, kind: Kind, configuration: &Configuration, is_guarded: bool) -> Value {
    let one_or_many = |name: &str| json!({"oneOf": [reference(name), {"type": "array", "items": reference(name)}]});
    let body = json!({"schema": one_or_many(&of_service(name, "command"))});
    let answer = one_or_many(&format!("answers.{}", kind.name()));
    let mut operation = responses::post(name, &answer, configuration, is_guarded);
    operation["requestBody"] = json!({"required": true, "content": {"application/json": body.clone(), "text/json": body}});
    operation
}

const SCHEMAS: &str = "#/components/schemas/";

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{name}")})
}

/// What the schema `part` of the service `name` is called. Names of schemas are of fewer characters than names of services.
fn of_service(name: &str, part: &str) -> String {
    let mut text = "service.".to_owned();
    for byte in name.bytes() {
        match byte {
            b'_' => text.push_str("__"),
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => text.push(char::from(byte)),
            _ => {
                // Writing to a text cannot fail.
                let _ = write!(text, "_{byte:02X}");
            }
        }
    }
    format!("{text}.{part}")
}
