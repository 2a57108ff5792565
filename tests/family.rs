//! `shmooze-run` with the example application: what the README's first command starts.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use common::{Daemon, PATIENCE, eventually, example, free_port, processes};
use serde_json::{Value, json};

struct Family {
    daemon: Daemon,
    port: u16,
    settings: String,
    _folder: tempfile::TempDir,
}

impl Family {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(example("settings.json")).unwrap();
        let mut settings: Value = serde_json::from_str(&text.replace("${SHMOOZE_SETTINGS_DIR}", &example(""))).unwrap();
        let port = free_port();
        for (name, value) in settings["ports"].as_object_mut().unwrap() {
            *value = json!(if name == "wsgi" { port } else { free_port() });
        }
        settings["log_database_path"] = json!(folder.path().join("log.sqlite3"));
        let path = folder.path().join("settings.json");
        std::fs::write(&path, settings.to_string()).unwrap();
        let daemon = Daemon::start(Command::new(env!("CARGO_BIN_EXE_shmooze-run")).arg("--settings").arg(&path), 2);
        Self { daemon, port, settings: path.display().to_string(), _folder: folder }
    }

    /// Status line and body.
    fn http(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (String, String) {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    fn post(&self, service: &str, request: &Value) -> Value {
        let body = request.to_string();
        let (status, body) = self.http(&format!(
            "POST /{service} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {status} {body}"))
    }
}

#[test]
fn from_the_browser_to_a_module_and_back() {
    let family = Family::start();
    let (status, page) = family.get("/");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(page.contains("<script"), "{page}");
    let public: Value = serde_json::from_str(&family.get("/settings.json").1).unwrap();
    assert!(public["ports"]["queue"].is_number());
    assert!(public.get("services").is_none(), "command lines are nobody's business");

    let added = family.post("queue", &json!({"cmd": "add", "args": {"type": "echo", "args": {"title": "hello"}}}));
    let uid = added["result"]["uid"].as_str().unwrap_or_else(|| panic!("{added}")).to_owned();
    let list = family.post("queue", &json!({"cmd": "queue", "args": {"parameters": {"echo": ["state"]}}}));
    assert_eq!(list["result"], json!([{"uid": uid, "type": "echo", "parameters": {"state": "playing"}}]));
    eventually("the application's own service answers", || {
        family.post("volume", &json!({"cmd": "get_volume"}))["result"]["volume"].is_number()
    });
    let removed = family.post("queue", &json!({"cmd": "rm", "args": {"uids": [uid]}}));
    assert_eq!(removed, json!({"success": true}));

    family.post("pool", &json!({"cmd": "add", "args": {"type": "echo"}}));
    assert!(!processes(&family.settings).is_empty());
    let settings = family.settings.clone();
    assert!(family.daemon.terminate().success());
    assert_eq!(processes(&settings), [] as [i32; 0], "modules and services end with the family");
}
