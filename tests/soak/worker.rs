//! One client: adds, moves, tells, asks, has modules say how far they have counted, removes them, and reads their accounts.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::account::Account;
use super::asking::Trouble::{Broken, Refused};
use super::asking::{POOL, QUEUE, Random, Service};
use super::install::habits;
use super::load::Client;
use super::within::scopes;

/// Modules that one worker has at most.
const MOST: usize = 4;
/// The longest pause between two things that a worker does.
const LONGEST_PAUSE: usize = 1_000;
/// How many that were removed are looked at together.
const AT_ONCE: usize = 5;

pub struct Worker {
    /// Its module types begin so.
    pub name: &'static str,
    pub service: Service,
}

pub const WORKERS: [Worker; 4] = [
    Worker { name: "a", service: QUEUE },
    Worker { name: "b", service: QUEUE.by_gateway() },
    Worker { name: "c", service: POOL },
    Worker { name: "d", service: POOL.by_gateway() },
];

/// What a worker knows at the end: its modules, in their order.
pub struct Left {
    pub service: Service,
    /// Uid and type of each that is there.
    pub modules: Vec<(String, String)>,
}

impl Worker {
    /// Works until it is over. A panic, which is how it says that something was lost, is told by the hook; then it begins again with
    /// what is there.
    pub fn work(&self, seed: u64, over: &AtomicBool) -> Left {
        let mut random = Random(seed);
        loop {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let mut shift = Shift::new(self);
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(random.below(LONGEST_PAUSE) as u64));
                    shift.act(&mut random);
                }
                shift.end()
            }));
            match outcome {
                Ok(left) => return left,
                Err(_) if over.load(Ordering::Relaxed) => return Left { service: self.service, modules: Vec::new() },
                // Not as fast as it can, whatever it is that is wrong.
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }
}

struct Shift<'a> {
    worker: &'a Worker,
    client: Client,
    /// Those that have ended and whose account was read.
    read: BTreeSet<String>,
}

impl<'a> Shift<'a> {
    fn new(worker: &'a Worker) -> Self {
        let client = Client::new(worker.service, &format!("{}-", worker.name));
        Self { worker, client, read: BTreeSet::new() }
    }

    fn act(&mut self, random: &mut Random) {
        let one = (!self.client.order().is_empty()).then(|| self.client.order()[random.below(self.client.order().len())].clone());
        let full = self.client.order().len() >= MOST;
        match (random.below(12), one) {
            (0..=2, _) | (_, None) if !full => self.add(random),
            (3 | 4, Some(uid)) | (0, Some(uid)) => self.remove(&uid),
            (5 | 6, Some(uid)) if self.client.service.name == "queue" => self.client.raise(&uid),
            (7 | 8, Some(uid)) => drop(self.ask(&uid, &["n1", "nobody"])),
            (9, Some(_)) => drop(self.client.service.insist("history", &json!({"limit": 20}))),
            (10, Some(_)) => drop(self.client.service.insist("status", &json!({}))),
            (_, Some(uid)) => self.client.note(&uid),
            (_, None) => {}
        }
        self.client.look();
        if self.client.removed().len() >= self.read.len() + AT_ONCE {
            self.read_accounts();
        }
    }

    fn add(&mut self, random: &mut Random) {
        let kind =
            ["counts", "counts", "counts", "counts", "big", "stubborn", "forks", "crashes", "crashes", "fails"][random.below(10)];
        let name = format!("{}-{kind}", self.worker.name);
        if kind == "fails" {
            let answer = self.client.service.ask("add", &json!({"type": name}));
            assert!(answer.is_err(), "{name} was added, which ends at once: {answer:?}");
        } else {
            self.client.add(&name);
        }
    }

    /// Has it rest, looks whether all that it has announced is known, and removes it.
    fn remove(&mut self, uid: &str) {
        match self.client.service.ask("tell_module", &json!({"uid": uid, "cmd": "rest"})) {
            Ok(last) => self.is_complete(uid, last.as_u64().unwrap()),
            Err(Broken(_)) => {}
            Err(Refused(sentence)) => assert!(self.client.may_be_gone(uid), "{uid} was told to rest: {sentence}"),
        }
        self.client.remove(uid);
    }

    /// The last numbers are there, and no others.
    fn is_complete(&mut self, uid: &str, last: u64) {
        let (keep, size) = habits(self.client.kind(uid));
        let first = last.saturating_sub(keep) + 1;
        // One more at each end, which must not be there.
        let names: Vec<String> = (first - 1..=last + 1).map(|number| format!("n{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Some(Value::Object(told)) = self.ask(uid, &names) else { return };
        let expected: Vec<String> = (first..=last).map(|number| format!("n{number}")).collect();
        let mut found: Vec<&String> = told.keys().collect();
        found.sort_by_key(|name| name[1..].parse::<u64>().unwrap());
        assert!(found.iter().copied().eq(&expected), "{uid} has counted to {last}, and known is {found:?}");
        for (name, value) in &told {
            let right = match size {
                Some(size) => value.as_str().is_some_and(|text| text.len() == size),
                None => value.as_u64() == name[1..].parse().ok(),
            };
            assert!(right, "{uid}: {name} has another value");
        }
    }

    fn ask(&self, uid: &str, names: &[&str]) -> Option<Value> {
        match self.client.service.ask("ask_module", &json!({"uid": uid, "parameters": names})) {
            Ok(told) => Some(told),
            Err(Broken(_)) => None,
            Err(Refused(sentence)) => {
                assert!(self.client.may_be_gone(uid), "{uid} was asked: {sentence}");
                None
            }
        }
    }

    /// Of those that have ended wholly.
    fn read_accounts(&mut self) {
        let scopes = scopes();
        let is_alive = |uid: &str| scopes.iter().any(|scope| scope.contains(uid));
        let ended = self.client.removed().difference(&self.read).filter(|uid| !is_alive(uid)).cloned().collect::<Vec<_>>();
        for uid in ended {
            self.read_account(&uid);
            std::fs::remove_file(Account::path(&uid)).unwrap();
            self.read.insert(uid);
        }
    }

    /// What it was told is what was acknowledged, and what may have been.
    fn read_account(&mut self, uid: &str) {
        let account = Account::of(uid);
        account.check();
        let mut notes = account.notes();
        let of = |list: &[(String, u64)]| -> Vec<u64> {
            list.iter().filter(|(other, _)| other == uid).map(|(_, number)| *number).collect()
        };
        for number in of(&self.client.noted) {
            assert_eq!(notes.remove(&number), Some(1), "{uid}: note {number} was acknowledged");
        }
        let perhaps = of(&self.client.may_be_noted);
        for (number, times) in notes {
            assert!(times == 1 && perhaps.contains(&number), "{uid}: note {number} came {times} times");
        }
        self.client.noted.retain(|(other, _)| other != uid);
        self.client.may_be_noted.retain(|(other, _)| other != uid);
    }

    /// Looks a last time at all that is there.
    fn end(mut self) -> Left {
        self.client.look();
        for uid in self.client.order().to_vec() {
            if let Ok(last) = self.client.service.ask("tell_module", &json!({"uid": uid, "cmd": "rest"})) {
                self.is_complete(&uid, last.as_u64().unwrap());
            }
            self.read_account(&uid);
        }
        let modules = self.client.order().iter().map(|uid| (uid.clone(), self.client.kind(uid).to_owned())).collect();
        Left { service: self.client.service, modules }
    }
}
