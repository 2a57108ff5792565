//! Requests to services that may be killed meanwhile, on a connection each.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long one request may take in all, restarts included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the gateway listens.
const GATEWAY: u16 = 9480;

/// Numbers that look random and are the same for the same seed (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }
}

/// What clients of this program have seen so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub requests: usize,
    /// Commands that were acknowledged, by name.
    pub done: BTreeMap<String, usize>,
    /// Requests without a good answer, by what was wrong.
    pub errors: BTreeMap<String, usize>,
}

static TALLY: Mutex<Tally> = Mutex::new(Tally { requests: 0, done: BTreeMap::new(), errors: BTreeMap::new() });

/// How many requests wait for their answer.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Whether a request waits for its answer.
pub fn is_under_way() -> bool {
    UNDER_WAY.load(Ordering::Relaxed) > 0
}

/// A copy of what clients have seen so far.
pub fn tally() -> Tally {
    TALLY.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Why there is no good answer.
#[derive(Debug)]
pub enum Trouble {
    /// The answer was lost: it was carried out, or will be, or not.
    Broken(String),
    /// It was refused with this sentence, and nothing was done.
    Refused(String),
}
use Trouble::{Broken, Refused};

/// A service, and the way to it.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    pub name: &'static str,
    port: u16,
    by_gateway: bool,
}

pub const QUEUE: Service = Service { name: "queue", port: 9420, by_gateway: false };
pub const POOL: Service = Service { name: "pool", port: 9421, by_gateway: false };

impl Service {
    /// The same service, asked over HTTP.
    pub const fn by_gateway(self) -> Self {
        Self { by_gateway: true, ..self }
    }

    /// One request on a connection of its own.
    pub fn ask(&self, cmd: &str, args: &Value) -> Result<Value, Trouble> {
        let request = json!({"cmd": cmd, "args": args});
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        let answer = if self.by_gateway { self.post(&request) } else { self.send(&request) };
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        let answer = answer.and_then(|mut answer| match answer["success"].as_bool() {
            Some(true) => Ok(answer["result"].take()),
            _ => Err(Refused(answer["error"].as_str().map_or_else(|| answer.to_string(), str::to_owned))),
        });
        let mut tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
        tally.requests += 1;
        match &answer {
            Ok(_) => *tally.done.entry(cmd.to_owned()).or_default() += 1,
            Err(Broken(what) | Refused(what)) => *tally.errors.entry(what.clone()).or_default() += 1,
        }
        answer
    }

    fn send(&self, request: &Value) -> Result<Value, Trouble> {
        let mut stream = connect(self.port);
        let mut answer = String::new();
        let read =
            stream.write_all(format!("{request}\n").as_bytes()).and_then(|()| BufReader::new(stream).read_line(&mut answer));
        match read {
            Ok(_) if answer.ends_with('\n') => Ok(serde_json::from_str(&answer).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("{request} is not answered by the {}", self.name)
            }
            _ => Err(Broken("connection broke".to_owned())),
        }
    }

    fn post(&self, request: &Value) -> Result<Value, Trouble> {
        let mut stream = connect(GATEWAY);
        let body = request.to_string();
        let head = format!(
            "POST /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.name,
            body.len()
        );
        let mut answer = Vec::new();
        let read = stream.write_all(format!("{head}{body}").as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
        if read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
            panic!("{request} is not answered by the gateway");
        }
        let answer = String::from_utf8(answer).unwrap();
        let broken = || Broken("connection to the gateway broke".to_owned());
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        match head.split(' ').nth(1) {
            Some("200") if length == Some(body.len()) => Ok(serde_json::from_str(body).unwrap()),
            Some("200") => Err(broken()),
            status => Err(Broken(format!("gateway: {}", status.unwrap_or("no status")))),
        }
    }

    /// What may be asked twice is asked until it is answered.
    pub fn insist(&self, cmd: &str, args: &Value) -> Value {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.ask(cmd, args) {
                Ok(answer) => return answer,
                Err(trouble) => assert!(Instant::now() < give_up, "{cmd} {args}: never answered: {trouble:?}"),
            }
        }
    }

    /// Uid and type of all modules, in order.
    pub fn list(&self) -> Vec<(String, String)> {
        let list = self.insist(self.name, &json!({}));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|item| (text(&item["uid"]), text(&item["type"]))).collect()
    }
}

/// Somebody always listens: the service manager does while the service does not.
fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
