//! A client of the queue who keeps count of what was acknowledged, and never believes what was not.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Modules beyond this are removed.
const MOST: usize = 6;
/// How long one request may take in all, restarts included.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Why there is no good answer.
#[derive(Debug)]
pub enum Trouble {
    /// The connection broke before the answer came: it was carried out, or will be, or not.
    Broken,
    /// A module could not be launched, since the launcher was killed meanwhile; there is none.
    NotLaunched,
}
use Trouble::{Broken, NotLaunched};

/// One request on a connection of its own.
pub fn ask(cmd: &str, args: &Value) -> Result<Value, Trouble> {
    // Somebody always listens: the service manager does while the broker does not.
    let mut stream = TcpStream::connect(("127.0.0.1", 9420)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let line = format!("{}\n", json!({"cmd": cmd, "args": args}));
    stream.write_all(line.as_bytes()).map_err(|_| Broken)?;
    let mut answer = String::new();
    match BufReader::new(stream).read_line(&mut answer) {
        Ok(_) if answer.ends_with('\n') => {}
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("{cmd} {args} is not answered"),
        _ => return Err(Broken),
    }
    let answer: Value = serde_json::from_str(&answer).unwrap();
    if cmd == "add" && answer["error"].as_str().is_some_and(|error| error.contains("the launcher at")) {
        return Err(NotLaunched);
    }
    assert_eq!(answer["success"], true, "{cmd} {args}: {answer}");
    Ok(answer.get("result").cloned().unwrap_or_default())
}

/// What may be asked twice is asked until it is answered.
pub fn insist(cmd: &str, args: &Value) -> Value {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match ask(cmd, args) {
            Ok(answer) => return answer,
            Err(_) => assert!(Instant::now() < give_up, "{cmd} {args}: never answered"),
        }
    }
}

/// The uids of the queue, in order.
pub fn list() -> Vec<String> {
    let list = insist("queue", &json!({}));
    list.as_array().unwrap().iter().map(|item| item["uid"].as_str().unwrap().to_owned()).collect()
}

/// What the client knows.
#[derive(Default)]
pub struct Client {
    /// Never removed.
    stays: String,
    /// The queue as it must be, but for those who were not acknowledged.
    order: Vec<String>,
    /// Removed, and acknowledged.
    removed: BTreeSet<String>,
    /// Asked to be removed, without an answer.
    may_be_removed: BTreeSet<String>,
    /// How many were asked to be added without an answer.
    may_be_added: usize,
    /// Notes that a module acknowledged, and those of which nobody knows.
    pub noted: Vec<(String, u64)>,
    pub may_be_noted: Vec<(String, u64)>,
    pub done: [usize; 4],
    pub broken: usize,
    pub refused: usize,
    numbers: u64,
}

impl Client {
    /// One who knows of one module, which is never removed.
    pub fn new(stays: String) -> Self {
        Self { order: vec![stays.clone()], stays, ..Self::default() }
    }

    /// Does one thing, and looks whether all is as it was said to be.
    pub fn act(&mut self, random: &mut Random) {
        let one = (!self.order.is_empty()).then(|| self.order[random.below(self.order.len())].clone());
        let what = random.below(4);
        match (what, one) {
            (0, _) | (_, None) => self.add(),
            (1, Some(uid)) if uid != self.stays && (self.order.len() >= MOST || random.below(2) == 0) => self.remove(uid),
            (1 | 2, Some(uid)) => self.raise(uid),
            (_, Some(uid)) => self.note(uid),
        }
        self.look();
    }

    fn add(&mut self) {
        if self.order.len() > MOST {
            return;
        }
        match ask("add", &json!({"type": "counts"})) {
            Ok(added) => {
                self.done[0] += 1;
                let uid = added["uid"].as_str().unwrap().to_owned();
                // Those before it, of whom nobody knew, may have come before it.
                self.meet(&list(), &uid);
                self.order.push(uid);
            }
            Err(NotLaunched) => self.refused += 1,
            Err(Broken) => {
                self.may_be_added += 1;
                self.settle();
            }
        }
    }

    fn remove(&mut self, uid: String) {
        match ask("rm", &json!({"uids": [uid]})) {
            Ok(_) => {
                self.done[1] += 1;
                self.order.retain(|other| *other != uid);
                self.removed.insert(uid);
            }
            Err(_) => {
                self.may_be_removed.insert(uid);
                self.settle();
            }
        }
    }

    fn raise(&mut self, uid: String) {
        match ask("mv", &json!({"uids": [uid]})) {
            Ok(_) => {
                self.done[2] += 1;
                self.order.retain(|other| *other != uid);
                self.order.insert(0, uid);
            }
            Err(_) => {
                self.settle();
                self.order = list().into_iter().filter(|uid| self.order.contains(uid)).collect();
            }
        }
    }

    fn note(&mut self, uid: String) {
        self.numbers += 1;
        let number = self.numbers;
        match ask("tell_module", &json!({"uid": uid, "cmd": "note", "args": {"number": number}})) {
            Ok(answer) => {
                self.done[3] += 1;
                assert_eq!(answer, json!(number));
                self.noted.push((uid, number));
            }
            Err(_) => {
                self.may_be_noted.push((uid, number));
                self.settle();
            }
        }
    }

    /// Changes wait for each other: when this one is done, so is what was asked before.
    fn settle(&mut self) {
        self.broken += 1;
        insist("mv", &json!({"uids": []}));
    }

    /// Those who are there and were not acknowledged are as many as may be.
    fn meet(&mut self, list: &[String], but: &str) {
        for uid in list.iter().filter(|uid| *uid != but) {
            if !self.order.contains(uid) {
                assert!(!self.removed.contains(uid), "{uid} was removed and is there");
                assert!(self.may_be_added > 0, "{uid} was added by nobody");
                self.may_be_added -= 1;
                self.order.push(uid.clone());
            }
        }
    }

    /// The queue is what it must be.
    pub fn look(&mut self) {
        let list = list();
        self.meet(&list, "");
        let gone: Vec<String> = self.order.iter().filter(|uid| !list.contains(uid)).cloned().collect();
        for uid in gone {
            assert!(self.may_be_removed.contains(&uid), "{uid} was added and is not there: {list:?}");
            self.order.retain(|other| *other != uid);
            self.removed.insert(uid);
        }
        assert_eq!(list, self.order, "the order is another");
    }

    /// All that were ever removed.
    pub fn removed(&self) -> &BTreeSet<String> {
        &self.removed
    }

    /// All that are there.
    pub fn order(&self) -> &[String] {
        &self.order
    }
}
