//! A client of a service who keeps count of what was acknowledged, and never believes what was not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::asking::Trouble::{Broken, Refused};
use super::asking::{Random, Service};

/// Modules beyond this are removed.
const MOST: usize = 6;

/// What the client knows. Others may have modules of other types in the same service; only this client touches those of its own.
pub struct Client {
    pub service: Service,
    /// All types that this client adds begin so.
    types: String,
    /// The modules as they must be, in their order, but for those who were not acknowledged.
    order: Vec<String>,
    /// Removed, and acknowledged.
    removed: BTreeSet<String>,
    /// Asked to be removed without an answer, or of a type that may end at any time.
    may_be_gone: BTreeSet<String>,
    /// How many were asked to be added without an answer.
    may_be_added: usize,
    /// Notes that a module acknowledged, and those of which nobody knows.
    pub noted: Vec<(String, u64)>,
    pub may_be_noted: Vec<(String, u64)>,
    numbers: u64,
    /// Of each module that this client has met.
    kinds: BTreeMap<String, String>,
}

impl Client {
    /// One to whom all modules belong whose types begin so.
    pub fn new(service: Service, types: &str) -> Self {
        let mut client = Self {
            service,
            types: types.to_owned(),
            order: Vec::new(),
            removed: BTreeSet::new(),
            may_be_gone: BTreeSet::new(),
            may_be_added: 0,
            noted: Vec::new(),
            may_be_noted: Vec::new(),
            numbers: 0,
            kinds: BTreeMap::new(),
        };
        client.order = client.list();
        client
    }

    /// Does one thing with modules that count, and looks whether all is as it was said to be. The first is never removed.
    pub fn act(&mut self, random: &mut Random, stays: &str) {
        let one = (!self.order.is_empty()).then(|| self.order[random.below(self.order.len())].clone());
        let what = random.below(4);
        match (what, one) {
            (0, _) | (_, None) if self.order.len() <= MOST => drop(self.add("counts")),
            (1, Some(uid)) if uid != stays && (self.order.len() >= MOST || random.below(2) == 0) => self.remove(&uid),
            (1 | 2, Some(uid)) => self.raise(&uid),
            (3, Some(uid)) => self.note(&uid),
            _ => {}
        }
        self.look();
    }

    /// Adds one of that type, and answers its uid where that was acknowledged.
    pub fn add(&mut self, kind: &str) -> Option<String> {
        match self.service.ask("add", &json!({"type": kind})) {
            Ok(added) => {
                let uid = added["uid"].as_str().unwrap().to_owned();
                self.kinds.insert(uid.clone(), kind.to_owned());
                if ends_by_itself(kind) {
                    self.may_be_gone.insert(uid.clone());
                }
                // Those before it, of whom nobody knew, may have come before it.
                let list = self.list();
                self.meet(&list, &uid);
                self.order.push(uid.clone());
                Some(uid)
            }
            // It could not be launched, since the launcher was killed meanwhile; there is none.
            Err(Refused(sentence)) if sentence.contains("the launcher at") => None,
            Err(Refused(sentence)) => panic!("add of {kind}: {sentence}"),
            Err(Broken(_)) => {
                self.may_be_added += 1;
                self.settle();
                None
            }
        }
    }

    pub fn remove(&mut self, uid: &str) {
        match self.service.ask("rm", &json!({"uids": [uid]})) {
            Ok(_) => {
                self.order.retain(|other| *other != uid);
                self.removed.insert(uid.to_owned());
            }
            Err(Refused(sentence)) => panic!("rm of {uid}: {sentence}"),
            Err(Broken(_)) => {
                self.may_be_gone.insert(uid.to_owned());
                self.settle();
            }
        }
    }

    /// Moves it to the top of the queue.
    pub fn raise(&mut self, uid: &str) {
        match self.service.ask("mv", &json!({"uids": [uid]})) {
            Ok(_) => {
                self.order.retain(|other| *other != uid);
                self.order.insert(0, uid.to_owned());
            }
            Err(Refused(sentence)) => panic!("mv of {uid}: {sentence}"),
            Err(Broken(_)) => {
                self.settle();
                let list = self.list();
                let missing: Vec<String> = self.order.iter().filter(|uid| !list.contains(uid)).cloned().collect();
                // What is missing is looked into by the next look.
                self.order = list.into_iter().filter(|uid| self.order.contains(uid)).chain(missing).collect();
            }
        }
    }

    /// Tells it the next number.
    pub fn note(&mut self, uid: &str) {
        self.numbers += 1;
        let number = self.numbers;
        match self.service.ask("tell_module", &json!({"uid": uid, "cmd": "note", "args": {"number": number}})) {
            Ok(answer) => {
                assert_eq!(answer, json!(number));
                self.noted.push((uid.to_owned(), number));
            }
            Err(Refused(sentence)) => {
                assert!(self.may_be_gone.contains(uid), "{uid} was told a number: {sentence}");
                self.may_be_noted.push((uid.to_owned(), number));
            }
            Err(Broken(_)) => {
                self.may_be_noted.push((uid.to_owned(), number));
                self.settle();
            }
        }
    }

    /// Changes wait for each other: when this one is done, so is what was asked before.
    fn settle(&self) {
        self.service.insist("rm", &json!({"uids": []}));
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

    /// The list is what it must be.
    pub fn look(&mut self) {
        let list = self.list();
        self.meet(&list, "");
        let gone: Vec<String> = self.order.iter().filter(|uid| !list.contains(uid)).cloned().collect();
        for uid in gone {
            assert!(self.may_be_gone.contains(&uid), "{uid} was added and is not there: {list:?}");
            self.order.retain(|other| *other != uid);
            self.removed.insert(uid);
        }
        assert_eq!(list, self.order, "the order is another");
    }

    /// The uids of this client's modules as the service has them, in order.
    fn list(&mut self) -> Vec<String> {
        let list = self.service.list().into_iter().filter(|(_, kind)| kind.starts_with(&self.types));
        let mut uids = Vec::new();
        for (uid, kind) in list {
            if ends_by_itself(&kind) {
                self.may_be_gone.insert(uid.clone());
            }
            self.kinds.insert(uid.clone(), kind);
            uids.push(uid.clone());
        }
        uids
    }

    /// All that were ever removed, or have ended.
    pub fn removed(&self) -> &BTreeSet<String> {
        &self.removed
    }

    /// All that are there.
    pub fn order(&self) -> &[String] {
        &self.order
    }

    /// Whether it may end, or has ended, without this client's doing.
    pub fn may_be_gone(&self, uid: &str) -> bool {
        self.may_be_gone.contains(uid)
    }

    /// The type of a module of this client.
    pub fn kind(&self, uid: &str) -> &str {
        &self.kinds[uid]
    }
}

fn ends_by_itself(kind: &str) -> bool {
    kind.contains("crashes")
}
