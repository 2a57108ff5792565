//! What was recorded of the original's gateway, step by step (`tests/golden/README.md`): ours answers the same, or
//! otherwise for a reason that stands in [`difference`].

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use shmooze::access::{HostRule, Hosts};
use shmooze::gateway::Configuration;

use super::rig::{Rig, services};
use super::service::{Answering, Service};

const TRANSCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/golden.jsonl");

/// The settings of the application that was recorded.
const PUBLIC: &str = r##"{"fg_color": "#EBEBEB", "bg_color": "#675098", "name": "Baseline é App", "not_there": null,
    "ports": {"queue": 15580, "pool": 15581, "fake": 15599, "wsgi": 15888}}"##;

#[derive(Deserialize)]
struct Transcript {
    name: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    /// The raw request; each character is a byte.
    send: String,
    recv: Option<Received>,
    /// The line that the service received.
    got: Option<String>,
}

#[derive(Deserialize)]
struct Received {
    status: Option<u16>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
}

/// The status that ours answers with where the original answered otherwise, and why.
fn difference(name: &str, step: usize) -> Option<(u16, &'static str)> {
    Some(match (name, step) {
        ("gateway_queue_methods", 0..=9) => (405, "only a POST is a request to a service"),
        ("gateway_queue_methods", 10) => (415, "200 said that all was well"),
        ("gateway_queue_content_types", 3) => (200, "a media type is the same in capitals (RFC 9110 section 8.3.1)"),
        ("gateway_queue_content_types", 5) => (200, "white space may stand before a parameter (RFC 9110 section 5.6.6)"),
        ("gateway_queue_content_types", 4) => return None,
        ("gateway_queue_content_types", _) => (415, "200 said that all was well"),
        ("gateway_queue_bad_bodies", 0..=7 | 9..=12) => (400, "it is the client's fault, not the server's"),
        ("gateway_queue_bad_bodies", 13) => (200, "chunked bodies are understood"),
        ("gateway_settings_json", 2) => (405, "settings are only read"),
        ("gateway_root_and_unknown", 7 | 8 | 11..=13) => (405, "only a POST is a request to a service"),
        ("gateway_root_and_unknown", 16) => (400, "no HTTP/0.9"),
        ("gateway_root_and_unknown", 18 | 21) => (405, "the page is only read"),
        ("gateway_static", 10) => (400, "a space in the path is no HTTP"),
        ("gateway_static", 18) => (404, "a file is no folder"),
        ("gateway_static", 25 | 26) => (404, "there is no such file"),
        ("gateway_static", 28..=30) => (405, "files are only read"),
        ("gateway_static", 32 | 36) => (200, "the recorded ETag is the original's own"),
        ("gateway_static", 41) => (206, "ranges are supported"),
        ("gateway_path_traversal", 15 | 16) => (404, "there is no such file"),
        ("gateway_service_down", 0) => (502, "it is the service's fault"),
        ("gateway_service_down", 1) => (405, "only a POST is a request to a service"),
        ("gateway_service_down", 2) => (400, "it is the client's fault, not the server's"),
        ("gateway_service_answers_not_json", 0) => (502, "it is the service's fault"),
        ("gateway_service_answers_empty_line", 0) => (504, "an empty line is ignored, so that this one stays silent"),
        ("gateway_service_silent", 0) => (504, "it is the service's fault"),
        _ => return None,
    })
}

/// The content type of ours where the original's was another.
fn content_type(original: &str) -> &str {
    match original {
        // RFC 9239 section 6.
        "application/javascript" => "text/javascript",
        other => other,
    }
}

/// A part of the recording that was cut.
fn is_cut(text: &str) -> bool {
    text.contains("...<") && text.ends_with('>')
}

fn bytes(step: &Step) -> Vec<u8> {
    if let Some((head, _)) = step.send.split_once("\r\n\r\n").filter(|_| is_cut(&step.send)) {
        let length: usize = head.split("Content-Length: ").nth(1).unwrap().parse().unwrap();
        let (start, end) = ("{\"cmd\": \"queue\", \"x\": \"", "\"}");
        let filling = "y".repeat(length - start.len() - end.len());
        return format!("{head}\r\n\r\n{start}{filling}{end}").into_bytes();
    }
    step.send.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

fn json(text: &[u8]) -> serde_json::Value {
    let text = String::from_utf8(text.to_vec()).unwrap().replace("NaN", "null");
    serde_json::from_str(&text).unwrap()
}

/// The static files that were recorded.
fn write_files(directory: &Path) {
    fs::create_dir(directory.join("sub")).unwrap();
    for (name, content) in [
        ("app.js", "var a=1;\n".to_owned()),
        ("data.json", "{\"x\":1}\n".to_owned()),
        ("index.html", "<!doctype html><title>baseline</title><p>index\n".to_owned()),
        ("note.txt", "plain text\n".to_owned()),
        ("noext", "no extension\n".to_owned()),
        ("odd.zzz", "odd\n".to_owned()),
        ("style.css", "body{color:red}\n".to_owned()),
        ("a b.txt", "with space\n".to_owned()),
        ("empty.txt", String::new()),
        ("big.bin", "x".repeat(1 << 20)),
        ("shmooze.js", "x".repeat(3798)),
        ("sub/inner.html", "inner\n".to_owned()),
        ("../hostname", "vm\n".to_owned()),
    ] {
        fs::write(directory.join(name), content).unwrap();
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_934_245);
        File::options().write(true).open(directory.join(name)).unwrap().set_modified(written).unwrap();
    }
    symlink("../hostname", directory.join("link.txt")).unwrap();
}

/// Checks one step and says how it went otherwise.
async fn check(rig: &Rig, service: &Answering, name: &str, number: usize, step: &Step) {
    let Some(received) = &step.recv else { return };
    let place = format!("{name} step {number}");
    let mut http = rig.connect().await;
    http.send(bytes(step)).await;
    if step.send.contains("Content-Length: 40\r\n") {
        http.finish().await;
    }
    let mut reply = http.try_reply(step.send.starts_with("HEAD ")).await.unwrap().expect(&place);
    let mut body = received.body.as_str();
    if reply.status == 100 {
        assert_eq!(received.status, Some(100), "{place}");
        reply = http.reply().await;
        body = body.split("\r\n\r\n").nth(1).unwrap();
        assert_eq!((reply.status, json(&reply.body)), (200, json(body.as_bytes())), "{place}");
        return;
    }
    if let Some((status, reason)) = difference(name, number) {
        assert_eq!(reply.status, status, "{place}: {reason}");
        let is_same = received.status == Some(status) && body.as_bytes() == reply.body;
        assert!(!is_same, "{place} differs no more, though {reason}");
        return;
    }
    assert_eq!(Some(reply.status), received.status, "{place}");
    let said = received.headers.iter().find(|(name, _)| name == "Content-Type").map(|(_, value)| value.as_str());
    let said = said.unwrap_or_default();
    if reply.status == 200 {
        let ours = reply.header("content-type").unwrap().split(';').next().unwrap();
        match (name, number) {
            // What is of no known kind is not said to be text.
            ("gateway_static", 5 | 6) => assert_eq!((ours, said), ("application/octet-stream", "text/plain"), "{place}"),
            _ => assert_eq!(ours, content_type(said.split(';').next().unwrap()), "{place}"),
        }
        match said {
            _ if step.send.starts_with("HEAD ") => assert!(reply.body.is_empty(), "{place}"),
            "text/json" => assert_eq!(json(&reply.body), json(body.as_bytes()), "{place}"),
            _ if is_cut(body) => assert!(body.contains(&format!("...<{} bytes", reply.body.len())), "{place}"),
            _ => assert_eq!(reply.text(), body, "{place}"),
        }
    }
    if let Some(got) = &step.got {
        let lines = service.take_lines();
        assert_eq!(lines.iter().map(|line| json(line.as_bytes())).collect::<Vec<_>>(), [json(got.trim().as_bytes())], "{place}");
    }
}

#[tokio::test]
async fn the_recording() {
    let directory = tempfile::tempdir().unwrap();
    let public = directory.path().join("static");
    fs::create_dir(&public).unwrap();
    write_files(&public);
    let answer = Arc::new(Mutex::new(String::new()));
    let answers = Arc::clone(&answer);
    let service = Service::start().await.answer(move |_| answers.lock().unwrap().clone());
    let configuration = |endpoint| Configuration {
        public: PUBLIC.into(),
        static_path: Some(public.clone()),
        // By this name it was asked where the requests were written by hand.
        hosts: Hosts::new(&[HostRule::Name("x".to_owned())]),
        ..services([("queue", service.endpoint()), ("pool", service.endpoint()), ("fake", endpoint)])
    };
    let rig = Rig::start(configuration(service.endpoint())).await;
    let impatient = Configuration { service_timeout: Duration::from_millis(50), ..configuration(service.endpoint()) };
    let impatient = Rig::start(impatient).await;
    let down = Rig::start(configuration(Service::start().await.endpoint())).await;

    let mut steps = HashMap::<String, usize>::new();
    for line in fs::read_to_string(TRANSCRIPTS).unwrap().lines().filter(|line| line.contains("\"service\": \"gateway\"")) {
        let Transcript { name, steps: all } = serde_json::from_str(line).unwrap();
        let rig = match &*name {
            "gateway_service_down" => &down,
            "gateway_service_silent" | "gateway_service_answers_empty_line" => &impatient,
            _ => &rig,
        };
        for (number, step) in all.iter().enumerate() {
            let recorded = step.recv.as_ref().map_or("", |received| received.body.rsplit("\r\n\r\n").next().unwrap());
            *answer.lock().unwrap() = match &*name {
                "gateway_service_answers_not_json" => "hello".to_owned(),
                "gateway_service_answers_empty_line" | "gateway_service_silent" => String::new(),
                _ if serde_json::from_str::<serde::de::IgnoredAny>(recorded).is_ok() => recorded.to_owned(),
                _ => "{\"success\": true}".to_owned(),
            };
            service.take_lines();
            check(rig, &service, &name, number, step).await;
            *steps.entry(name.clone()).or_default() += 1;
        }
    }
    assert_eq!((steps.len(), steps.values().sum::<usize>()), (17, 157));
}
