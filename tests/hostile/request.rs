//! Whatever a client or a module may say: requests and updates, responses, and bodies that the gateway passes on.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;
use shmooze::access::{Guard, Level, Verdict, judge};
use shmooze::protocol::{Command, Incoming, ProtocolError, Request, Response, Update, Verb, validate, write_request};

use super::sentence;

/// Checks each line of `input` as a service or a module might send it, and all of it as the body of a request over HTTP.
pub fn check(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n') {
        requests(line);
        response(line);
    }
    body(input);
}

/// Requests are what any reader of JSON finds there, and are the same when they are written anew.
fn requests(line: &[u8]) {
    let is_json = validate(line);
    if let Err(error) = &is_json {
        sentence::check(&error.to_string());
    }
    let value = serde_json::from_slice::<Value>(line);
    let mut rewritten = String::new();
    match Incoming::read(line, &mut rewritten) {
        Err(error) => {
            sentence::check(&error.to_string());
            if let Ok(value) = value {
                assert_eq!(error, ProtocolError::NeitherObjectNorList);
                assert!(!value.is_object() && !value.is_array());
            }
        }
        Ok(incoming) => {
            assert_eq!(is_json, Ok(()));
            let (requests, is_list) = match incoming {
                Incoming::One(request) => (vec![request], false),
                Incoming::Many(requests) => (requests, true),
            };
            if let Ok(value) = value {
                assert_eq!(value.is_array(), is_list);
                let values = if is_list { value.as_array().unwrap() } else { std::slice::from_ref(&value) };
                assert_eq!(requests.len(), values.len());
                requests.iter().zip(values).for_each(|(request, value)| agrees(request, value));
            }
            for request in requests {
                match request {
                    Ok(request) => one_request(&request),
                    Err(error) => sentence::check(&error.to_string()),
                }
            }
        }
    }
}

fn agrees(request: &Result<Request<'_>, ProtocolError>, value: &Value) {
    let (cmd, args) = (value.get("cmd"), value.get("args"));
    match request {
        Err(ProtocolError::NotAnObject) => assert!(!value.is_object()),
        Err(ProtocolError::NoCommand) => assert!(value.is_object() && cmd.is_none()),
        Err(ProtocolError::ArgumentsNotAnObject) => assert!(args.is_some_and(|args| !args.is_object())),
        Err(error) => panic!("{error}"),
        Ok(request) => {
            assert_eq!(request.cmd.as_deref(), cmd.unwrap().as_str());
            let none = serde_json::Map::new();
            let args = args.map_or(&none, |args| args.as_object().unwrap());
            for (name, _) in request.args.iter() {
                // The last of each name.
                let text = request.args.get(name).unwrap().get();
                assert_eq!(serde_json::from_str::<Value>(text).unwrap(), args[name]);
            }
            assert!(args.keys().all(|name| request.args.get(name).is_some()));
        }
    }
}

fn one_request(request: &Request<'_>) {
    if let Some(cmd) = request.cmd.as_deref() {
        let mut line = Vec::new();
        write_request(cmd, request.raw_args, &mut line);
        assert!(!line.contains(&b'\n'));
        let mut rewritten = String::new();
        let Ok(Incoming::One(Ok(again))) = Incoming::read(&line, &mut rewritten) else { panic!("{line:?}") };
        assert_eq!(again.cmd.as_deref(), Some(cmd));
        assert_eq!(again.raw_args.map(RawValue::get), request.raw_args.map(RawValue::get));
        if let Some(verb) = Verb::from_name(cmd) {
            assert_eq!(verb.name(), cmd);
            match Command::parse(verb, request) {
                Ok(command) => drop(format!("{command:?}")),
                Err(error) => sentence::check(&error.to_string()),
            }
        }
    }
    match Update::parse(request) {
        Ok(Update::Set(object)) => {
            let parameters = request.args.get("parameters").unwrap();
            assert!(object.iter().all(|(_, value)| parameters.get().contains(value.get())));
        }
        Ok(Update::Unset(_) | Update::Remove) => {}
        Err(error) => sentence::check(&error.to_string()),
    }
}

/// What is taken for a response says what Python would have made of it, and the same when it is written anew.
fn response(line: &[u8]) {
    let value = serde_json::from_slice::<Value>(line);
    let response = Response::parse(line);
    if let Ok(Value::Object(object)) = &value {
        match (&response, object.get("success")) {
            (Ok(Response::Success(result)), Some(success)) => {
                assert!(is_true(success));
                let result = result.as_ref().map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap());
                assert_eq!(result.as_ref(), object.get("result").filter(|result| !result.is_null()));
            }
            (Ok(Response::Failure(error)), Some(success)) => {
                assert!(!is_true(success));
                if let Some(Value::String(text)) = object.get("error") {
                    assert_eq!(error, text);
                }
            }
            (Ok(_), None) => panic!("{value:?}"),
            (Err(_), success) => assert!(success.is_none_or(|success| !is_true(success) && !object.contains_key("error"))),
        }
    } else if value.is_ok() {
        assert!(response.is_err());
    }
    if let Ok(response) = response {
        let text = response.to_text();
        assert!(!text.contains('\n'));
        assert_eq!(Response::parse(text.as_bytes()).unwrap().to_text(), text);
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// Nothing that a broker would carry out is passed on to it for a token that does not allow it.
fn body(body: &[u8]) {
    if validate(body).is_err() {
        return;
    }
    let commands = [("get_volume", Level::View), ("set_volume", Level::Control)].map(|(name, level)| (name.to_owned(), level));
    let guard = Guard { grants: Vec::new(), commands: HashMap::from(commands) };
    let mut passes = false;
    for given in Level::ALL {
        match judge(&guard, given, body) {
            Verdict::Pass => {
                passes = true;
                allowed(&guard, given, body);
            }
            Verdict::Refused(refusal) => {
                assert!(!passes, "who may do more may do less");
                sentence::check(&refusal.to_string());
            }
            Verdict::Part(part) => {
                assert!(!passes, "who may do more may do less");
                let passed = part.passed.as_deref().unwrap_or("[]");
                let count = allowed(&guard, given, passed.as_bytes());
                let answers = |count: usize| format!("[{}]", vec!["null"; count].join(","));
                let all: Vec<Value> = serde_json::from_slice(&part.complete(answers(count).as_bytes()).unwrap()).unwrap();
                assert!(all.len() > count);
                all.iter().filter_map(|answer| answer["error"].as_str()).for_each(sentence::check);
                assert_eq!(part.complete(answers(count + 1).as_bytes()), None);
            }
        }
    }
    assert!(passes);
}

/// Checks that each request in `body`, as a broker reads it on one line, is `given`; answers how many there are.
fn allowed(guard: &Guard, given: Level, body: &[u8]) -> usize {
    let line: Vec<u8> = body.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect();
    assert_eq!(validate(&line), Ok(()));
    let mut rewritten = String::new();
    let requests = match Incoming::read(&line, &mut rewritten) {
        Ok(Incoming::One(request)) => vec![request],
        Ok(Incoming::Many(requests)) => requests,
        Err(_) => Vec::new(),
    };
    for request in requests.iter().flatten() {
        let needed = guard.level_for(request.cmd.as_deref());
        assert!(needed <= given, "{needed} is passed on for {given}");
    }
    requests.len()
}
