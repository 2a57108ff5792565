//! Histories: written ones for each rule of protocol.md section 3, random ones against a naive oracle.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Drives an engine and keeps what it asked for.
struct Bench {
    engine: Engine,
    uids: Vec<Uid>,
    tickets: u64,
    log: Vec<String>,
}

impl Bench {
    fn new(engine: Engine) -> Self {
        Self { engine, uids: Vec::new(), tickets: 0, log: Vec::new() }
    }

    fn queue() -> Self {
        Self::new(Engine::Queue(Queue::new()))
    }

    fn pool() -> Self {
        Self::new(Engine::Pool(Pool::new()))
    }

    fn name(&self, uid: Uid) -> char {
        char::from(b'A' + u8::try_from(self.uids.iter().position(|known| *known == uid).unwrap()).unwrap())
    }

    fn uid(&self, name: char) -> Uid {
        self.uids[name as usize - 'A' as usize]
    }

    fn uids(&self, names: &str) -> Vec<Uid> {
        names.chars().map(|name| self.uid(name)).collect()
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Steps and answers with the effects as text, `Publish` left out.
    fn step(&mut self, input: Input) -> String {
        let mut effects = Vec::new();
        self.engine.step(input, &mut effects);
        let texts: Vec<String> = effects
            .into_iter()
            .filter_map(|effect| {
                Some(match effect {
                    Effect::Launch { uid } => format!("launch {}", self.name(uid)),
                    Effect::Order { uid, order } => format!("{} {}", format!("{order:?}").to_lowercase(), self.name(uid)),
                    Effect::Terminate { uid } => format!("terminate {}", self.name(uid)),
                    Effect::Forget { uid } => format!("forget {}", self.name(uid)),
                    Effect::Publish => return None,
                    Effect::Done { ticket } => format!("done {}", ticket.0),
                    Effect::Refuse { ticket } => format!("refuse {}", ticket.0),
                })
            })
            .collect();
        self.log.push(texts.join(", "));
        texts.join(", ")
    }

    fn add(&mut self, place: Place) -> char {
        let (ticket, uid) = (self.ticket(), Uid::new());
        self.uids.push(uid);
        self.step(Input::Add { ticket, uid, place });
        self.name(uid)
    }

    fn started(&mut self, name: char) -> String {
        let uid = self.uid(name);
        self.step(Input::Started { uid, alive: true })
    }

    /// Adds and starts, and obeys whatever is ordered.
    fn settled(&mut self, place: Place) -> char {
        let name = self.add(place);
        let mut orders = self.started(name);
        while !orders.contains("done") {
            orders = self.obey_all(&orders);
        }
        name
    }

    fn obey_all(&mut self, orders: &str) -> String {
        let mut last = String::new();
        for order in orders.split(", ") {
            if let Some((verb @ ("play" | "suspend" | "remove"), name)) = order.split_once(' ') {
                last = self.answer(verb, name.chars().next().unwrap(), true);
            }
        }
        last
    }

    fn answer(&mut self, verb: &str, name: char, obeyed: bool) -> String {
        let order = match verb {
            "play" => Order::Play,
            "suspend" => Order::Suspend,
            _ => Order::Remove,
        };
        let uid = self.uid(name);
        self.step(Input::Answered { uid, order, obeyed })
    }

    fn remove(&mut self, names: &str) -> String {
        let (ticket, uids) = (self.ticket(), self.uids(names));
        self.step(Input::Remove { ticket, uids })
    }

    fn mv(&mut self, names: &str) -> String {
        let (ticket, uids) = (self.ticket(), self.uids(names));
        self.step(Input::Move { ticket, uids })
    }

    fn ended(&mut self, name: char) -> String {
        let uid = self.uid(name);
        self.step(Input::Ended { uid })
    }

    fn lost(&mut self, name: char) -> String {
        let uid = self.uid(name);
        self.step(Input::Lost { uid })
    }

    fn restart(&mut self, name: char) -> String {
        let uid = self.uid(name);
        self.step(Input::Restart { uid })
    }

    fn not_started(&mut self, name: char) -> String {
        let uid = self.uid(name);
        self.step(Input::Started { uid, alive: false })
    }

    fn drain(&mut self) -> String {
        let ticket = self.ticket();
        self.step(Input::Drain { ticket })
    }

    fn list(&self) -> String {
        let name = |entry: &Entry| if entry.down { self.name(entry.uid).to_ascii_lowercase() } else { self.name(entry.uid) };
        self.engine.list().iter().map(name).collect()
    }
}

#[test]
fn the_first_plays_the_rest_are_sent_nothing() {
    let mut q = Bench::queue();
    let a = q.add(Place::List);
    assert_eq!(q.started(a), "play A");
    assert_eq!(q.answer("play", a, true), "done 1");
    let b = q.add(Place::List);
    assert_eq!(q.started(b), "done 2");
    assert_eq!(q.list(), "AB");
}

#[test]
fn adds_land_in_the_order_of_their_init() {
    let mut q = Bench::queue();
    let (a, b) = (q.add(Place::List), q.add(Place::List));
    q.started(b);
    q.answer("play", b, true);
    q.started(a);
    assert_eq!(q.list(), "BA");
}

#[test]
fn a_new_top_suspends_the_old_one() {
    let mut q = Bench::queue();
    let (a, b, c) = (q.settled(Place::List), q.settled(Place::List), q.settled(Place::List));
    assert_eq!(q.mv("C"), "suspend A, play C");
    assert_eq!(q.list(), "CAB");
    assert_eq!(q.answer("play", c, true), "");
    assert_eq!(q.answer("suspend", a, true), "done 4");
    assert_eq!(q.mv("AB"), "suspend C, play A");
    assert_eq!(q.list(), "ABC");
    let _ = b;
}

#[test]
fn moves_ignore_the_unknown_and_the_repeated() {
    let mut q = Bench::queue();
    let (_, _, _) = (q.settled(Place::List), q.settled(Place::List), q.settled(Place::List));
    q.uids.push(Uid::new());
    assert_eq!(q.mv("ADBA"), "done 4");
    assert_eq!(q.list(), "ABC");
    assert_eq!(q.mv(""), "done 5");
}

#[test]
fn removals_go_out_in_list_order_before_the_play() {
    let mut q = Bench::queue();
    for _ in 0..3 {
        q.settled(Place::List);
    }
    assert_eq!(q.remove("BA"), "remove A, remove B, play C");
    assert_eq!(q.list(), "C", "what is removed is off the list at once");
    assert_eq!(q.answer("remove", 'A', false), "");
    assert_eq!(q.answer("play", 'C', true), "");
    assert_eq!(q.answer("remove", 'B', true), "done 4");
    q.uids.push(Uid::new());
    assert_eq!(q.remove("DA"), "done 5");
}

#[test]
fn the_background_plays_while_the_queue_is_empty() {
    let mut q = Bench::queue();
    let a = q.add(Place::Background);
    assert_eq!(q.started(a), "play A");
    q.answer("play", a, true);
    let b = q.add(Place::List);
    assert_eq!(q.started(b), "suspend A, play B");
    q.answer("suspend", a, true);
    q.answer("play", b, true);
    let c = q.add(Place::List);
    assert_eq!(q.started(c), "done 3", "a suspended background is not suspended again");
    assert_eq!(q.remove("B"), "remove B, play C");
    q.answer("remove", b, true);
    q.answer("play", c, true);
    assert_eq!(q.remove("C"), "remove C, play A");
}

#[test]
fn a_background_set_while_the_queue_is_filled_is_suspended_right_after_init() {
    let mut q = Bench::queue();
    q.settled(Place::List);
    let b = q.add(Place::Background);
    assert_eq!(q.started(b), "suspend B");
    assert_eq!(q.answer("suspend", b, true), "done 2");
    let c = q.add(Place::Background);
    assert_eq!(q.started(c), "remove B, suspend C");
    assert_eq!(q.remove("C"), "", "waits for the change before it");
    q.answer("remove", b, true);
    assert_eq!(q.answer("suspend", c, true), "done 3, remove C");
}

#[test]
fn the_backgrounds_suspend_comes_last_among_the_suspends() {
    let mut q = Bench::queue();
    q.settled(Place::List);
    q.settled(Place::List);
    let c = q.add(Place::Background);
    assert_eq!(q.mv("B"), "suspend A, play B");
    q.answer("suspend", 'A', true);
    assert_eq!(q.answer("play", 'B', true), "done 4");
    assert_eq!(q.started(c), "suspend C");
    q.answer("suspend", c, true);
}

#[test]
fn a_module_that_fails_to_play_makes_room_for_the_next() {
    let mut q = Bench::queue();
    for _ in 0..3 {
        q.settled(Place::List);
    }
    assert_eq!(q.remove("A"), "remove A, play B");
    assert_eq!(q.answer("play", 'B', false), "terminate B");
    assert_eq!(q.answer("remove", 'A', true), "play C");
    assert_eq!(q.answer("play", 'C', true), "done 4");
    assert_eq!(q.list(), "C");
}

#[test]
fn add_is_answered_though_play_failed() {
    let mut q = Bench::queue();
    let a = q.add(Place::List);
    q.started(a);
    assert_eq!(q.answer("play", a, false), "terminate A, done 1");
    assert_eq!(q.list(), "");
}

#[test]
fn a_module_that_does_not_start_is_refused() {
    let mut q = Bench::queue();
    let a = q.add(Place::List);
    let uid = q.uid(a);
    assert_eq!(q.step(Input::Started { uid, alive: false }), "refuse 1");
}

#[test]
fn the_next_change_waits_for_the_unanswered() {
    let mut q = Bench::queue();
    let (a, _) = (q.settled(Place::List), q.settled(Place::List));
    assert_eq!(q.mv("B"), "suspend A, play B");
    assert_eq!(q.mv("A"), "");
    assert_eq!(q.list(), "BA");
    q.answer("play", 'B', true);
    assert_eq!(q.answer("suspend", a, true), "done 3, suspend B, play A");
    assert_eq!(q.list(), "AB");
}

#[test]
fn the_top_ends_by_itself() {
    let mut q = Bench::queue();
    let (a, b) = (q.settled(Place::List), q.settled(Place::List));
    assert_eq!(q.ended(a), "play B");
    assert_eq!(q.answer("play", b, true), "");
    assert_eq!(q.ended(a), "", "twice is no matter");
}

#[test]
fn a_module_ends_while_its_order_is_out() {
    let mut q = Bench::queue();
    let (a, b) = (q.settled(Place::List), q.settled(Place::List));
    q.mv("B");
    assert_eq!(q.ended(b), "");
    assert_eq!(q.answer("suspend", a, true), "play A");
    assert_eq!(q.answer("play", a, true), "done 3");
}

#[test]
fn a_module_that_ended_before_its_append_is_never_listed() {
    let mut q = Bench::queue();
    let (a, b) = (q.add(Place::List), q.add(Place::List));
    q.started(a);
    assert_eq!(q.started(b), "");
    assert_eq!(q.ended(b), "");
    assert_eq!(q.answer("play", a, true), "done 1, done 2");
    assert_eq!(q.list(), "A");
}

#[test]
fn draining_ends_all_in_order_and_answers_all() {
    let mut q = Bench::queue();
    let (a, b) = (q.settled(Place::List), q.settled(Place::List));
    q.settled(Place::Background);
    let d = q.add(Place::List);
    assert_eq!(q.drain(), "terminate D, remove A, remove B, remove C");
    let uid = q.uid(d);
    assert_eq!(q.step(Input::Started { uid, alive: false }), "refuse 4");
    let (ticket, uid) = (q.ticket(), Uid::new());
    q.uids.push(uid);
    assert_eq!(q.step(Input::Add { ticket, uid, place: Place::List }), "refuse 6");
    q.answer("remove", a, true);
    q.answer("remove", b, false);
    assert_eq!(q.ended('C'), "done 5");
}

#[test]
fn a_pool_plays_each_at_once() {
    let mut p = Bench::pool();
    let (a, b) = (p.add(Place::List), p.add(Place::List));
    assert_eq!(p.started(a), "play A");
    assert_eq!(p.started(b), "play B", "waits for nobody");
    assert_eq!(p.answer("play", b, false), "terminate B, done 2");
    assert_eq!(p.answer("play", a, true), "done 1");
    assert_eq!(p.list(), "A");
    assert_eq!(p.remove("AB"), "remove A");
    assert_eq!(p.answer("remove", a, false), "done 3");
}

#[test]
fn a_pool_module_removed_before_it_played() {
    let mut p = Bench::pool();
    let a = p.add(Place::List);
    p.started(a);
    assert_eq!(p.remove("A"), "done 1, remove A");
    assert_eq!(p.answer("play", a, true), "", "an answer to an order that is no longer waited for");
    assert_eq!(p.answer("remove", a, true), "done 2");
}

/// A pool that was kept may say of a request that it waits for no answer, or for more than can be counted.
#[test]
fn a_pool_counts_no_further_than_numbers_go() {
    let uid = Uid::new();
    for (outstanding, is_done) in [(0, true), (1, true), (u64::MAX, false)] {
        let mut pool: Pool = serde_json::from_value(serde_json::json!({
            "list": [{"uid": uid, "told": "Nothing", "down": false}], "starting": {}, "restarting": [], "unanswered": {uid.to_string(): [1, "Play"]},
            "outstanding": {"1": outstanding}, "draining": false,
        }))
        .unwrap();
        let mut effects = Vec::new();
        pool.step(Input::Answered { uid, order: Order::Play, obeyed: true }, &mut effects);
        assert_eq!(effects.contains(&Effect::Done { ticket: Ticket(1) }), is_done, "{outstanding}");
        pool.step(Input::Remove { ticket: Ticket(1), uids: vec![uid] }, &mut effects);
        assert!(effects.contains(&Effect::Order { uid, order: Order::Remove }));
    }
}

#[test]
fn a_module_of_a_pool_that_is_down_keeps_its_place() {
    let mut p = Bench::pool();
    let (a, b, _) = (p.settled(Place::List), p.settled(Place::List), p.settled(Place::List));
    assert_eq!(p.restart(b), "", "it is not down");
    assert_eq!(p.lost(b), "terminate B");
    assert_eq!((p.list().as_str(), p.lost(b).as_str()), ("AbC", ""));
    assert_eq!(p.restart(b), "launch B");
    assert!(p.engine.is_starting(p.uid(b)));
    assert_eq!((p.restart(b).as_str(), p.not_started(b).as_str(), p.list().as_str()), ("", "", "AbC"));
    assert_eq!((p.restart(b).as_str(), p.started(b).as_str(), p.list().as_str()), ("launch B", "play B", "ABC"));
    assert_eq!(p.answer("play", b, true), "", "nobody waits for it");
    // Given up.
    p.lost(b);
    assert_eq!((p.ended(b).as_str(), p.list().as_str()), ("forget B", "AC"));
    // Removed while it waits, and while it is started again.
    p.lost(a);
    assert_eq!((p.remove("A").as_str(), p.list().as_str()), ("forget A, done 4", "C"));
    p.lost('C');
    p.restart('C');
    assert_eq!(p.remove("C"), "terminate C, forget C, done 5");
    assert_eq!((p.started('C').as_str(), p.list().as_str()), ("terminate C", ""));
}

#[test]
fn a_module_of_a_pool_is_lost_before_it_has_answered_its_play() {
    let mut p = Bench::pool();
    let a = p.add(Place::List);
    p.started(a);
    assert_eq!(p.lost(a), "terminate A, done 1", "it is added all the same");
    assert_eq!(p.drain(), "forget A, done 2");
    assert_eq!(p.restart(a), "");
}

#[test]
fn while_the_background_is_down_the_queue_plays_on_without_it() {
    let mut q = Bench::queue();
    let a = q.settled(Place::Background);
    assert_eq!(q.lost(a), "terminate A");
    let b = q.add(Place::List);
    assert_eq!(q.started(b), "play B", "nothing to suspend");
    q.answer("play", b, true);
    assert_eq!((q.restart(a).as_str(), q.started(a).as_str()), ("launch A", "suspend A"), "as one that is set then");
    q.answer("suspend", a, true);
    q.lost(a);
    assert_eq!(q.remove("B"), "remove B");
    assert_eq!(q.answer("remove", b, true), "done 3", "nobody to play");
    assert_eq!((q.restart(a).as_str(), q.started(a).as_str()), ("launch A", "play A"));
    q.answer("play", a, true);
    // Replaced while it is down.
    q.lost(a);
    let c = q.add(Place::Background);
    assert_eq!(q.started(c), "forget A, play C");
    // What plays in a queue is played once.
    let d = q.add(Place::List);
    q.answer("play", c, true);
    assert_eq!(q.started(d), "suspend C, play D");
    q.answer("suspend", c, true);
    q.answer("play", d, true);
    assert_eq!((q.lost(d).as_str(), q.list().as_str()), ("play C", ""));
}

#[test]
fn a_pool_drains() {
    let mut p = Bench::pool();
    let (a, b) = (p.settled(Place::List), p.add(Place::List));
    assert_eq!(p.drain(), "terminate B, remove A");
    let uid = p.uid(b);
    assert_eq!(p.step(Input::Started { uid, alive: true }), "terminate B, refuse 2");
    assert_eq!(p.answer("remove", a, true), "done 3");
    assert_eq!(p.drain(), "done 4");
}

/// A step of a random history; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Act {
    Add,
    SetBackground,
    Start {
        which: usize,
        alive: bool,
    },
    Remove(Vec<usize>),
    Move(Vec<usize>),
    Answer {
        which: usize,
        obeyed: bool,
    },
    /// It may be started again.
    Lose(usize),
    Restart(usize),
    StartAgain {
        which: usize,
        alive: bool,
    },
    End(usize),
    Drain,
    Reopen,
    /// The engine goes, and another is made of what was kept of it.
    Restore,
}

/// The engine that is made of what is kept of `engine`, which is the same.
fn kept(engine: &Engine) -> Engine {
    let text = serde_json::to_string(engine).unwrap();
    let restored: Engine = serde_json::from_str(&text).unwrap();
    assert_eq!(&restored, engine);
    restored
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let some = || prop::collection::vec(0usize..12, 0..4);
    let act = prop_oneof![
        4 => Just(Act::Add),
        1 => Just(Act::SetBackground),
        5 => (0usize..8, prop::bool::weighted(0.9)).prop_map(|(which, alive)| Act::Start { which, alive }),
        2 => some().prop_map(Act::Remove),
        2 => some().prop_map(Act::Move),
        9 => (0usize..8, prop::bool::weighted(0.85)).prop_map(|(which, obeyed)| Act::Answer { which, obeyed }),
        2 => (0usize..12).prop_map(Act::End),
        2 => (0usize..12).prop_map(Act::Lose),
        2 => (0usize..12).prop_map(Act::Restart),
        2 => (0usize..8, prop::bool::weighted(0.7)).prop_map(|(which, alive)| Act::StartAgain { which, alive }),
        1 => prop::bool::weighted(0.05).prop_map(|drain| if drain { Act::Drain } else { Act::Add }),
        1 => prop::bool::weighted(0.1).prop_map(|reopen| if reopen { Act::Reopen } else { Act::Restore }),
    ];
    prop::collection::vec(act, 0..80)
}

/// The rules of a queue, written the naive way: whenever nothing is unanswered, tell everybody what he should know by
/// now; where there is nothing to tell, the change is done and the next begins.
#[derive(Default)]
struct Oracle {
    list: Vec<Uid>,
    background: Option<Uid>,
    down: BTreeSet<Uid>,
    told: BTreeMap<Uid, Told>,
    unanswered: BTreeMap<Uid, Order>,
    later: Vec<(Option<u64>, Naive)>,
    current: Option<u64>,
    answered: BTreeSet<u64>,
    draining: bool,
}

enum Naive {
    Append(Uid),
    Background(Uid),
    Remove(Vec<Uid>),
    Move(Vec<Uid>),
    Nothing,
}

impl Oracle {
    fn settle(&mut self) {
        while self.unanswered.is_empty() {
            self.tell();
            if !self.unanswered.is_empty() {
                return;
            }
            self.answered.extend(self.current.take());
            if self.later.is_empty() {
                return;
            }
            let (ticket, change) = self.later.remove(0);
            self.current = ticket;
            self.apply(change);
            self.tell();
        }
    }

    fn tell(&mut self) {
        if self.draining {
            return;
        }
        let background = self.background.filter(|uid| !self.down.contains(uid));
        let everybody: Vec<Uid> = self.list.iter().copied().chain(background).collect();
        for uid in everybody {
            let told = self.told.get(&uid).copied().unwrap_or_default();
            if self.list.first().or(background.as_ref()) == Some(&uid) {
                if told != Told::Play {
                    self.unanswered.insert(uid, Order::Play);
                }
            } else if told == Told::Play || (told == Told::Nothing && background == Some(uid)) {
                self.unanswered.insert(uid, Order::Suspend);
            }
        }
    }

    fn apply(&mut self, change: Naive) {
        match change {
            Naive::Append(uid) => self.list.push(uid),
            Naive::Background(uid) => {
                let old = self.background.replace(uid).filter(|old| !self.down.remove(old));
                self.unanswered.extend(old.map(|old| (old, Order::Remove)));
            }
            Naive::Remove(uids) => {
                let (gone, stay): (Vec<Uid>, Vec<Uid>) =
                    self.list.iter().chain(&self.background).partition(|uid| uids.contains(uid));
                let up: Vec<Uid> = gone.into_iter().filter(|uid| !self.down.remove(uid)).collect();
                self.unanswered.extend(up.into_iter().map(|uid| (uid, Order::Remove)));
                self.list.retain(|uid| stay.contains(uid));
                self.background = self.background.filter(|uid| stay.contains(uid));
            }
            Naive::Move(uids) => {
                let place = |uid: &Uid| uids.iter().position(|other| other == uid).unwrap_or(usize::MAX);
                self.list.sort_by_key(place);
            }
            Naive::Nothing => {}
        }
    }

    fn gone(&mut self, uid: Uid) {
        self.list.retain(|other| *other != uid);
        self.background = self.background.filter(|other| *other != uid);
        self.down.remove(&uid);
        self.unanswered.remove(&uid);
        for (_, change) in &mut self.later {
            if matches!(change, Naive::Append(other) | Naive::Background(other) if *other == uid) {
                *change = Naive::Nothing;
            }
        }
    }
}

/// Runs a history through a queue and the oracle, and compares them after each step.
#[derive(Default)]
struct History {
    queue: Queue,
    oracle: Oracle,
    starting: Vec<(Uid, Place, u64)>,
    restarting: Vec<Uid>,
    launched: Option<Uid>,
    known: Vec<Uid>,
    tickets: u64,
    answered: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    expected_refusals: BTreeSet<u64>,
    alive: BTreeSet<Uid>,
    playing: BTreeSet<Uid>,
    unanswered: BTreeMap<Uid, Order>,
    forgotten: BTreeSet<Uid>,
}

impl History {
    fn act(&mut self, act: Act) {
        self.tickets += 1;
        let (number, ticket) = (self.tickets, Ticket(self.tickets));
        match act {
            Act::Add | Act::SetBackground => {
                let place = if matches!(act, Act::Add) { Place::List } else { Place::Background };
                let uid = Uid::new();
                self.known.push(uid);
                if self.oracle.draining {
                    self.expected_refusals.insert(number);
                } else {
                    self.starting.push((uid, place, number));
                    self.launched = Some(uid);
                }
                self.step(Input::Add { ticket, uid, place });
            }
            Act::Start { which, alive } => {
                if self.starting.is_empty() {
                    return;
                }
                let (uid, place, number) = self.starting.remove(which % self.starting.len());
                if alive && !self.oracle.draining {
                    self.alive.insert(uid);
                    let change = if place == Place::List { Naive::Append(uid) } else { Naive::Background(uid) };
                    self.oracle.later.push((Some(number), change));
                } else {
                    self.expected_refusals.insert(number);
                }
                self.step(Input::Started { uid, alive });
            }
            Act::Remove(which) => {
                let uids = self.choose(&which);
                self.oracle.later.push((Some(number), Naive::Remove(uids.clone())));
                self.step(Input::Remove { ticket, uids });
            }
            Act::Move(which) => {
                let uids = self.choose(&which);
                self.oracle.later.push((Some(number), Naive::Move(uids.clone())));
                self.step(Input::Move { ticket, uids });
            }
            Act::Answer { which, obeyed } => self.answer(which, obeyed),
            Act::End(which) => {
                let Some(uid) = self.choose(&[which]).pop() else { return };
                if !self.alive.remove(&uid) {
                    return;
                }
                self.playing.remove(&uid);
                self.unanswered.remove(&uid);
                self.oracle.gone(uid);
                self.step(Input::Ended { uid });
            }
            Act::Lose(which) => {
                let Some(uid) = self.choose(&[which]).pop() else { return };
                if !self.alive.remove(&uid) {
                    return;
                }
                self.playing.remove(&uid);
                self.unanswered.remove(&uid);
                if self.oracle.background == Some(uid) {
                    self.oracle.down.insert(uid);
                    self.oracle.told.remove(&uid);
                    self.oracle.unanswered.remove(&uid);
                } else {
                    self.oracle.gone(uid);
                }
                self.step(Input::Lost { uid });
            }
            Act::Restart(which) => {
                let Some(uid) = self.choose(&[which]).pop().filter(|uid| !self.restarting.contains(uid)) else { return };
                if self.oracle.down.contains(&uid) && !self.oracle.draining {
                    self.restarting.push(uid);
                    self.launched = Some(uid);
                }
                self.step(Input::Restart { uid });
            }
            Act::StartAgain { which, alive } => {
                if self.restarting.is_empty() {
                    return;
                }
                let uid = self.restarting.remove(which % self.restarting.len());
                if alive && !self.oracle.draining && self.oracle.down.remove(&uid) {
                    self.alive.insert(uid);
                }
                self.step(Input::Started { uid, alive });
            }
            Act::Drain => {
                self.oracle.draining = true;
                for (ticket, change) in &mut self.oracle.later {
                    if matches!(change, Naive::Append(_) | Naive::Background(_)) {
                        *change = Naive::Nothing;
                        self.expected_refusals.extend(ticket.take());
                    }
                }
                let everybody = self.known.clone();
                self.oracle.later.push((Some(number), Naive::Remove(everybody)));
                self.step(Input::Drain { ticket });
            }
            Act::Reopen => {
                self.oracle.draining = false;
                self.oracle.later.push((None, Naive::Nothing));
                self.step(Input::Reopen);
            }
            Act::Restore => {
                let Engine::Queue(queue) = kept(&Engine::Queue(std::mem::take(&mut self.queue))) else { panic!() };
                self.queue = queue;
            }
        }
    }

    fn answer(&mut self, which: usize, obeyed: bool) {
        let Some((&uid, &order)) = self.unanswered.iter().nth(which % self.unanswered.len().max(1)) else { return };
        self.unanswered.remove(&uid);
        self.oracle.unanswered.remove(&uid);
        match order {
            Order::Remove => {
                self.alive.remove(&uid);
            }
            Order::Play | Order::Suspend if !obeyed => self.oracle.gone(uid),
            Order::Play => {
                self.oracle.told.insert(uid, Told::Play);
            }
            Order::Suspend => {
                self.oracle.told.insert(uid, Told::Suspend);
            }
        }
        self.step(Input::Answered { uid, order, obeyed });
    }

    fn choose(&self, which: &[usize]) -> Vec<Uid> {
        which.iter().filter_map(|back| self.known.iter().rev().nth(*back).copied()).collect()
    }

    fn step(&mut self, input: Input) {
        self.oracle.settle();
        let mut effects = Vec::new();
        self.queue.step(input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Launch { uid } => assert_eq!(self.launched.take(), Some(uid)),
                Effect::Order { uid, order } => {
                    assert!(self.alive.contains(&uid), "an order to a module that is not there");
                    assert_eq!(self.unanswered.insert(uid, order), None, "two orders to one module at once");
                    if order == Order::Play {
                        self.playing.insert(uid);
                    } else {
                        self.playing.remove(&uid);
                    }
                    assert!(self.playing.len() <= 1, "two modules play");
                }
                Effect::Terminate { uid } => {
                    self.alive.remove(&uid);
                    self.playing.remove(&uid);
                }
                Effect::Forget { uid } => {
                    assert!(self.forgotten.insert(uid), "forgotten twice");
                    assert!(!self.alive.contains(&uid));
                }
                Effect::Publish => {}
                Effect::Done { ticket } => assert!(self.answered.insert(ticket.0), "answered twice"),
                Effect::Refuse { ticket } => assert!(self.refused.insert(ticket.0), "refused twice"),
            }
        }
        assert_eq!(self.queue.list().iter().map(|entry| entry.uid).collect::<Vec<_>>(), self.oracle.list);
        assert_eq!(self.queue.background().map(|entry| entry.uid), self.oracle.background);
        let down = self.queue.background().filter(|entry| entry.down).map(|entry| entry.uid);
        assert_eq!(down, self.oracle.down.iter().next().copied());
        assert_eq!(self.launched, None, "what should be launched is");
        assert_eq!(self.unanswered, self.oracle.unanswered);
        assert_eq!(self.answered, self.oracle.answered);
        assert_eq!(self.refused, self.expected_refusals);
    }

    /// Everything that is open comes to its end; then the top plays, all requests are answered and nobody is lost.
    fn finish(mut self) {
        while !self.starting.is_empty() {
            self.act(Act::Start { which: 0, alive: true });
        }
        while !self.restarting.is_empty() {
            self.act(Act::StartAgain { which: 0, alive: true });
        }
        while !self.unanswered.is_empty() {
            self.answer(0, true);
        }
        let draining = self.oracle.draining;
        let background = self.oracle.background.filter(|uid| !self.oracle.down.contains(uid));
        let top = self.oracle.list.first().copied().or(background);
        assert_eq!(self.playing.iter().copied().next(), top.filter(|_| !draining), "the top plays");
        let listed: BTreeSet<Uid> = self.oracle.list.iter().copied().chain(background).collect();
        assert_eq!(listed, self.alive, "who lives is listed, who is listed lives");
        assert!(!draining || (listed.is_empty() && self.oracle.down.is_empty()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_of_a_queue(acts in acts()) {
        let mut history = History::default();
        for act in acts {
            history.act(act);
        }
        history.finish();
    }

    /// In a pool nothing waits for anything: each request is answered by the answers to its own orders.
    #[test]
    fn random_histories_of_a_pool(acts in acts()) {
        let mut pool = Pool::new();
        let (mut known, mut starting) = (Vec::<Uid>::new(), Vec::<Uid>::new());
        let mut listed: Vec<Uid> = Vec::new();
        let (mut down, mut restarting) = (BTreeSet::<Uid>::new(), Vec::<Uid>::new());
        let mut unanswered: BTreeMap<Uid, Order> = BTreeMap::new();
        let (mut asked, mut closed) = (0u64, BTreeSet::new());
        let mut draining = false;
        let finish = vec![Act::Start { which: 0, alive: true }, Act::Answer { which: 0, obeyed: true }].into_iter().cycle().take(400);
        for act in acts.into_iter().chain(finish) {
            let ticket = Ticket(asked + 1);
            let choose = |which: &[usize], known: &[Uid]| -> Vec<Uid> {
                which.iter().filter_map(|back| known.iter().rev().nth(*back).copied()).collect()
            };
            let input = match act {
                Act::Add => {
                    asked += 1;
                    let uid = Uid::new();
                    known.push(uid);
                    if !draining {
                        starting.push(uid);
                    }
                    Input::Add { ticket, uid, place: Place::List }
                }
                Act::Start { which, alive } if !starting.is_empty() => {
                    let uid = starting.remove(which % starting.len());
                    if alive && !draining {
                        listed.push(uid);
                    }
                    Input::Started { uid, alive }
                }
                Act::Remove(which) => {
                    asked += 1;
                    let uids = choose(&which, &known);
                    listed.retain(|uid| !uids.contains(uid));
                    down.retain(|uid| !uids.contains(uid));
                    Input::Remove { ticket, uids }
                }
                Act::Answer { which, obeyed } if !unanswered.is_empty() => {
                    let (&uid, &order) = unanswered.iter().nth(which % unanswered.len()).unwrap();
                    unanswered.remove(&uid);
                    if !obeyed && order == Order::Play {
                        listed.retain(|other| *other != uid);
                    }
                    Input::Answered { uid, order, obeyed }
                }
                Act::End(back) => {
                    let Some(uid) = choose(&[back], &known).pop().filter(|uid| !starting.contains(uid)) else { continue };
                    listed.retain(|other| *other != uid);
                    down.remove(&uid);
                    unanswered.remove(&uid);
                    Input::Ended { uid }
                }
                Act::Lose(back) => {
                    let Some(uid) = choose(&[back], &known).pop().filter(|uid| !starting.contains(uid)) else { continue };
                    if listed.contains(&uid) && down.insert(uid) || !listed.contains(&uid) {
                        unanswered.remove(&uid);
                    }
                    Input::Lost { uid }
                }
                Act::Restart(back) => {
                    let Some(uid) = choose(&[back], &known).pop().filter(|uid| !restarting.contains(uid)) else { continue };
                    if down.contains(&uid) && !draining {
                        restarting.push(uid);
                    }
                    Input::Restart { uid }
                }
                Act::StartAgain { which, alive } if !restarting.is_empty() => {
                    let uid = restarting.remove(which % restarting.len());
                    if alive {
                        down.remove(&uid);
                    }
                    Input::Started { uid, alive }
                }
                Act::Drain => {
                    asked += 1;
                    draining = true;
                    listed.clear();
                    down.clear();
                    Input::Drain { ticket }
                }
                Act::Reopen => {
                    draining = false;
                    Input::Reopen
                }
                Act::Restore => {
                    let Engine::Pool(restored) = kept(&Engine::Pool(pool)) else { panic!() };
                    pool = restored;
                    continue;
                }
                _ => continue,
            };
            let mut effects = Vec::new();
            pool.step(input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Order { uid, order } => {
                        prop_assert!(!down.contains(&uid), "an order to a module that is down");
                        unanswered.insert(uid, order);
                    }
                    Effect::Done { ticket } | Effect::Refuse { ticket } => prop_assert!(closed.insert(ticket.0), "answered twice"),
                    _ => {}
                }
            }
            prop_assert_eq!(pool.list().iter().map(|entry| entry.uid).collect::<Vec<_>>(), listed.clone());
            let are_down = pool.list().iter().filter(|entry| entry.down).map(|entry| entry.uid);
            prop_assert_eq!(are_down.collect::<BTreeSet<_>>(), down.clone());
        }
        prop_assert_eq!(closed.len() as u64, asked, "every request is answered");
    }
}
