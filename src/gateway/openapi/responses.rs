//! Operations and how they are answered: which status, with what in it.

use serde_json::{Map, Value, json};

use super::{Configuration, NAME, reference};

/// Answers that are the same for all operations, by the names that [`by_name`] takes.
pub(super) fn shared(configuration: &Configuration) -> Value {
    let host = "`Host` is missing, there several times or no host, or what a listed proxy says of it is not understood.";
    let misdirected = "`Host` is no name of this gateway.";
    let crowd = "There are as many connections as there may be.";
    let most = configuration.max_header_bytes;
    let patience = configuration.service_timeout.as_millis();
    json!({
        "host": text(host),
        "misdirected": text(misdirected),
        "crowd": retried(text(crowd)),
        "head": {"description": format!("The head of the request is longer than {most} bytes.")},
        "body": failure(&format!("The body is not JSON. {host}")),
        "slow": failure("The body came too slowly."),
        "long": failure(&format!("The body is longer than {} bytes.", configuration.max_body_bytes)),
        "not_json": text("`Content-Type` is neither `application/json` nor `text/json`."),
        "unauthorized": challenged(true, failure("No token, or one that is not known here.")),
        "page": failure("A page of another site asks."),
        "level": challenged(false, failure("A page of another site asks, or the command takes a higher level than that of the token.")),
        "low": challenged(true, failure("Events take a higher level than that of the token.")),
        "misdirected_post": failure(misdirected),
        "no_events": failure("The service has no events."),
        "no_answer": failure("The service cannot be reached, or does not answer one line of JSON."),
        "room": retried(json!({
            "description": format!("There is no room for the body. {crowd}"),
            "content": {"text/json": {"schema": reference("failure")}, "text/plain": {"schema": {"type": "string"}}},
        })),
        "browsers": retried(json!({
            "description": format!("As many browsers follow events as may. {crowd}"),
            "content": {"text/json": {"schema": reference("failure")}, "text/plain": {"schema": {"type": "string"}}},
        })),
        "silence": failure(&format!("The service did not answer within {patience} ms.")),
    })
}

/// A POST to the service `name`, which answers `answer`.
pub(super) fn post(name: &str, answer: &Value, configuration: &Configuration, is_guarded: bool) -> Value {
    let mut responses = by_name(&[
        (400, "body"),
        (403, if is_guarded { "level" } else { "page" }),
        (408, "slow"),
        (413, "long"),
        (415, "not_json"),
        (421, "misdirected_post"),
        (431, "head"),
        (502, "no_answer"),
        (503, "room"),
        (504, "silence"),
    ]);
    let description = format!("What the service answers, in {} bytes at most", configuration.max_line_bytes);
    responses.insert("200".to_owned(), json!({"description": description, "content": {"text/json": {"schema": answer}}}));
    guarded(
        is_guarded,
        responses,
        json!({"tags": [name], "summary": "One command, or a list of them", "operationId": format!("service.{name}")}),
    )
}

/// The events of the service `name`.
pub(super) fn events(name: &str, configuration: &Configuration, is_guarded: bool) -> Value {
    let mut responses = by_name(&[
        (400, "host"),
        (404, "no_events"),
        (421, "misdirected"),
        (431, "head"),
        (502, "no_answer"),
        (503, "browsers"),
        (504, "silence"),
    ]);
    if is_guarded {
        responses.extend(by_name(&[(403, "low")]));
    }
    let stream = json!({
        "description": "A stream without end: first a state, unless it goes on, then what happens",
        // OpenAPI 3.1 has no word for one item of a stream; readers take the schema for that.
        "content": {"text/event-stream": {"schema": {
            "type": "object",
            "description": "One event; its data is JSON, as the schema `event` has it",
            "required": ["event", "id", "data"],
            "properties": {
                "event": {"type": "string"},
                "id": {"type": "string", "description": "The revision"},
                "data": {"type": "string", "contentMediaType": "application/json"},
            },
        }}},
    });
    responses.insert("200".to_owned(), stream);
    let most = configuration.max_event_streams;
    let operation = json!({
        "tags": [name],
        "summary": "What happens, as it happens",
        "description": format!("For {most} browsers at once at most, of all services."),
        "operationId": format!("events.{name}"),
        "parameters": [{
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The revision after which the stream goes on, where that is still known",
            "schema": {"type": "integer", "minimum": 0},
        }],
    });
    guarded(is_guarded, responses, operation)
}

/// What the gateway answers itself, by its name below the prefix of services.
pub(super) fn ours(configuration: &Configuration, takes_tokens: bool) -> Vec<(&'static str, Value)> {
    let object = || json!({"type": "object"});
    let mut settings = document("settings.json", "The settings that anybody may read", &[("text/json", object())]);
    let mut description = document(NAME, "This description", &[("application/json", object())]);
    for operation in [&mut settings, &mut description] {
        operation["parameters"] = json!([{
            "name": "If-None-Match",
            "in": "header",
            "description": "The `ETag` of what is known already",
            "schema": {"type": "string"},
        }]);
        operation["responses"]["304"] = json!({"description": "It is known already."});
    }
    let mut health = document("healthz", "Whether queues and pools answer", &[("text/json", reference("health"))]);
    health["parameters"] = json!([{
        "name": "service",
        "in": "query",
        "description": "The only one that is asked; `gateway` asks none",
        "schema": {"type": "string"},
    }]);
    health["responses"]["404"] = failure("No queue and no pool is called so.");
    health["responses"]["503"] = json!({
        "description": "One does not answer. There are as many connections as there may be.",
        "content": {"text/json": {"schema": reference("health")}, "text/plain": {"schema": {"type": "string"}}},
    });
    let text = || json!({"type": "string"});
    let forms = [("text/plain", text()), ("application/openmetrics-text", text())];
    let mut metrics = document("metrics", "What is counted, in the form of Prometheus", &forms);
    if takes_tokens {
        // More is told to whoever shows one.
        for operation in [&mut description, &mut health, &mut metrics] {
            operation["security"] = json!([{}, {"token": []}]);
        }
    }
    let mut ours = vec![("settings.json", settings), (NAME, description), ("healthz", health)];
    ours.extend(configuration.metrics.then_some(("metrics", metrics)));
    ours
}

/// One of them, in any of these types.
fn document(name: &str, summary: &str, types: &[(&str, Value)]) -> Value {
    let mut responses = by_name(&[(400, "host"), (421, "misdirected"), (431, "head"), (503, "crowd")]);
    let content: Map<_, _> = types.iter().map(|(name, schema)| ((*name).to_owned(), json!({"schema": schema}))).collect();
    responses.insert("200".to_owned(), json!({"description": summary, "content": content}));
    json!({"summary": summary, "operationId": name, "responses": responses})
}

fn guarded(is_guarded: bool, mut responses: Map<String, Value>, mut operation: Value) -> Value {
    if is_guarded {
        responses.extend(by_name(&[(401, "unauthorized")]));
        operation["security"] = json!([{"token": []}]);
    }
    operation["responses"] = responses.into();
    operation
}

fn by_name(responses: &[(u16, &str)]) -> Map<String, Value> {
    let one = |(status, name): &(u16, &str)| (status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
    responses.iter().map(one).collect()
}

/// A refusal for programs.
fn failure(description: &str) -> Value {
    json!({"description": description, "content": {"text/json": {"schema": reference("failure")}}})
}

/// A refusal for people.
fn text(description: &str) -> Value {
    json!({"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}})
}

/// One that says when to come again.
fn retried(mut response: Value) -> Value {
    response["headers"] = json!({"Retry-After": {"required": true, "description": "Seconds", "schema": {"type": "integer"}}});
    response
}

/// One that says what token is wanted.
fn challenged(always: bool, mut response: Value) -> Value {
    response["headers"] = json!({"WWW-Authenticate": {"required": always, "schema": {"type": "string"}}});
    response
}
