//! A browser that follows events, and the copy of the list that it makes of them as static/shmooze.js does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::common::PATIENCE;

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: u64,
    pub data: Value,
}

pub struct Stream {
    reader: BufReader<TcpStream>,
    headers: Vec<(String, String)>,
    /// What of the body has come and is no whole event yet.
    text: String,
    pub last_id: Option<u64>,
}

/// Status, headers, and the connection.
type Answer = (u16, Vec<(String, String)>, BufReader<TcpStream>);

fn ask(port: u16, method: &str, path: &str, headers: &str, buffer: Option<usize>) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    if let Some(bytes) = buffer {
        nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::RcvBuf, &bytes).unwrap();
    }
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let status = line().split(' ').nth(1).unwrap().parse().unwrap();
    let lines = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
    let headers = lines.map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())).unwrap());
    let headers = headers.collect();
    (status, headers, reader)
}

impl Stream {
    pub fn open(port: u16, path: &str, last_id: Option<u64>) -> Self {
        Self::try_open(port, path, last_id).unwrap()
    }

    /// Opens it, or answers the status.
    pub fn try_open(port: u16, path: &str, last_id: Option<u64>) -> Result<Self, u16> {
        let headers = last_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        Self::of(ask(port, "GET", path, &headers, None), last_id)
    }

    /// One that takes so many bytes ahead of what is read.
    pub fn open_with_buffer(port: u16, path: &str, bytes: usize) -> Self {
        Self::of(ask(port, "GET", path, "", Some(bytes)), None).unwrap()
    }

    fn of((status, headers, reader): Answer, last_id: Option<u64>) -> Result<Self, u16> {
        if status == 200 { Ok(Self { reader, headers, text: String::new(), last_id }) } else { Err(status) }
    }

    /// Status and body of an answer that is no stream.
    pub fn refused(port: u16, method: &str, path: &str, headers: &str) -> (u16, String) {
        let (status, _, mut reader) = ask(port, method, path, &format!("{headers}Connection: close\r\n"), None);
        let mut body = String::new();
        if status != 200 {
            reader.read_to_string(&mut body).unwrap();
        }
        (status, body)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Reads one chunk of the body; false at the end.
    fn read(&mut self) -> bool {
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_default();
        let mut bytes = vec![0; size + 2];
        if size == 0 {
            return false;
        }
        self.reader.read_exact(&mut bytes).unwrap();
        self.text.push_str(std::str::from_utf8(&bytes[..size]).unwrap());
        true
    }

    fn try_next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let text: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let Some(name) = field("event") else {
                    assert!(text.starts_with(':'), "{text:?}");
                    continue;
                };
                let id = field("id").unwrap().parse().unwrap();
                self.last_id = Some(id);
                return Some(Event { name: name.to_owned(), id, data: serde_json::from_str(field("data").unwrap()).unwrap() });
            }
            if !self.read() {
                return None;
            }
        }
    }

    pub fn next(&mut self) -> Event {
        self.try_next().expect("the stream has ended")
    }

    /// The next event of this name.
    pub fn until(&mut self, name: &str) -> Event {
        loop {
            let event = self.next();
            if event.name == name {
                return event;
            }
        }
    }

    pub fn read_to_end(&mut self) {
        while self.try_next().is_some() {}
    }
}

/// A copy of a list.
pub struct State {
    value: Value,
    list: &'static str,
    pub revision: u64,
}

impl State {
    pub fn new(event: &Event) -> Self {
        assert_eq!(event.name, "state", "{event:?}");
        let list = if event.data["kind"] == "pool" { "pool" } else { "queue" };
        Self { value: event.data.clone(), list, revision: event.id }
    }

    fn modules(&mut self) -> &mut Vec<Value> {
        self.value[self.list].as_array_mut().unwrap()
    }

    fn module(&mut self, uid: &Value) -> Option<&mut Value> {
        let Self { value, list, .. } = self;
        if &value["background"]["uid"] == uid {
            return Some(&mut value["background"]);
        }
        value[*list].as_array_mut().unwrap().iter_mut().find(|module| &module["uid"] == uid)
    }

    pub fn apply(&mut self, event: &Event) {
        self.revision = event.id;
        let (data, uid) = (&event.data, &event.data["uid"]);
        match event.name.as_str() {
            "state" => *self = Self::new(event),
            "added" => {
                let mut module = data.clone();
                let index = module.as_object_mut().unwrap().remove("index");
                if module.as_object_mut().unwrap().remove("background").is_some() {
                    self.value["background"] = module;
                } else {
                    // One that is started again takes its own place.
                    self.modules().retain(|other| &other["uid"] != uid);
                    let at = index.map_or(self.modules().len(), |index| usize::try_from(index.as_u64().unwrap()).unwrap());
                    self.modules().insert(at, module);
                }
            }
            "removed" => {
                self.modules().retain(|module| &module["uid"] != uid);
                if &self.value["background"]["uid"] == uid {
                    self.value["background"] = Value::Null;
                }
                if &self.value["playing"] == uid {
                    self.value["playing"] = Value::Null;
                }
            }
            "moved" => {
                for uid in data["uids"].as_array().unwrap().iter().rev() {
                    let at = self.modules().iter().position(|module| &module["uid"] == uid).unwrap();
                    let module = self.modules().remove(at);
                    self.modules().insert(0, module);
                }
            }
            "playing" | "suspended" => {
                if event.name == "playing" && self.list == "queue" {
                    self.value["playing"] = uid.clone();
                } else if &self.value["playing"] == uid {
                    self.value["playing"] = Value::Null;
                }
                let module = self.module(uid).unwrap();
                module["state"] = json!(event.name);
                module["since"] = data["since"].clone();
            }
            "parameters" => {
                let parameters = self.module(uid).unwrap()["parameters"].as_object_mut().unwrap();
                parameters.extend(data["parameters"].as_object().unwrap().clone());
                for name in data["unset"].as_array().into_iter().flatten() {
                    parameters.remove(name.as_str().unwrap());
                }
            }
            "log" => {}
            other => panic!("{other}"),
        }
    }

    /// Uid and state of each module, the background's last.
    pub fn states(status: &Value) -> Value {
        let list = status["queue"].as_array().or(status["pool"].as_array()).unwrap();
        let all = list.iter().chain([&status["background"]]);
        all.map(|module| json!([module["uid"], module["state"], module["since"]])).collect()
    }

    /// In the form in which it can be compared with what the service answers otherwise.
    pub fn compared(&self) -> Value {
        let shown = |module: &Value| {
            let parameters = if module["type"] == "tiny" { json!({}) } else { module["parameters"].clone() };
            json!({"uid": module["uid"], "type": module["type"], "parameters": parameters})
        };
        let list: Value = self.value[self.list].as_array().unwrap().iter().map(shown).collect();
        let background = Some(&self.value["background"]).filter(|module| !module.is_null()).map_or(Value::Null, shown);
        let playing = if self.list == "queue" { self.value["playing"].clone() } else { Value::Null };
        json!({"list": list, "background": background, "playing": playing, "states": Self::states(&self.value)})
    }
}
