//! What is known of a broker's modules: the sum of all entries.
//!
//! The engine of the state takes the same inputs in the same order as that of the driver did, so it knows the same, and
//! orders the same: what a module was ordered and its task has not written yet is found here, and so is what a task
//! has reported and the driver has not heard yet.
//!
//! **Invariant:** whatever an entry says that can be read, there is a state afterwards, and it can be read as well. No sum
//! overflows, though no broker writes numbers that would make it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::entry::{Again, Asked, Born, Change, Entry, Kept, Owed, Place, Read, Report, Rest};
use crate::engine::{Effect, Engine, Input, Order, Told};
use crate::protocol::{Raw, Uid, parse_object};

/// How many endings are kept.
pub const LIVES: usize = 1000;

/// Everything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// Order, background, what waits.
    pub(crate) engine: Engine,
    /// All of which a process may be left.
    pub(crate) modules: BTreeMap<Uid, Module>,
    /// Those of which none is, and which are started again.
    pub(crate) waiting: BTreeMap<Uid, Waiting>,
    /// What the driver has not heard yet, oldest first.
    pub(crate) reported: VecDeque<(Uid, Report)>,
    /// How the last modules ended, newest last.
    pub(crate) lives: VecDeque<Raw>,
    /// The last ticket.
    pub(crate) tickets: u64,
    /// How often the list was published.
    pub(crate) revision: u64,
}

/// A module that waits to be started again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) born: Born,
    /// Since when, in ms since 1970.
    pub(crate) since: u64,
    /// Until when.
    pub(crate) due: u64,
}

/// One module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Module {
    pub(crate) born: Born,
    /// Where it runs, once it does.
    pub(crate) place: Option<Place>,
    /// Where its streams are, once they are open.
    pub(crate) kept: Option<Kept>,
    /// What it was told last, and when.
    pub(crate) told: (Told, u64),
    pub(crate) parameters: BTreeMap<String, Raw>,
    /// The one request that is not answered.
    pub(crate) pending: Option<Pending>,
    /// Requests that may not be written wholly yet, with their newlines.
    pub(crate) requests: VecDeque<String>,
    pub(crate) command: Side,
    /// Answers that may not be written wholly yet.
    pub(crate) answers: VecDeque<(Owed, u64)>,
    pub(crate) update: Side,
    /// Orders that its task has not taken up yet.
    pub(crate) orders: VecDeque<Order>,
    /// It is to end without being asked; whether that is since the service ends.
    pub(crate) terminate: Option<bool>,
    /// Why it ends, once its streams are about to be closed.
    pub(crate) ending: Option<String>,
}

/// A request that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) asked: Asked,
    /// Where it begins on the command stream.
    pub(crate) start: u64,
}

/// How far a stream has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Side {
    /// Bytes read and understood.
    pub(crate) read: u64,
    /// The last of them, which may not have been taken out of the socket.
    pub(crate) step: u64,
    /// The beginning of a line, each byte as the character of its number.
    pub(crate) rest: String,
    /// The rest of a line is skipped.
    pub(crate) skipping: bool,
    /// Where the first request or answer begins that may not be written wholly.
    pub(crate) base: u64,
}

impl Side {
    fn read(&mut self, Read { bytes, rest }: Read) {
        self.read = self.read.saturating_add(bytes);
        self.step = bytes;
        self.skipping = rest == Rest::Skipped;
        match rest {
            Rest::None | Rest::Skipped => self.rest.clear(),
            Rest::Is(rest) => self.rest = rest,
            Rest::More(more) => self.rest.push_str(&more),
        }
    }
}

impl Owed {
    /// Length of the answer as it is written, in bytes, its newline included.
    pub(crate) fn line_length(&self) -> u64 {
        let text = if let Self::Text(text) = self { text } else { DONE };
        text.len() as u64 + 1
    }
}

/// The answer to most updates.
pub(crate) const DONE: &str = "{\"success\": true}";

impl Module {
    fn new(born: Born) -> Self {
        Self {
            told: (Told::Nothing, born.added),
            born,
            place: None,
            kept: None,
            parameters: BTreeMap::new(),
            pending: None,
            requests: VecDeque::new(),
            command: Side::default(),
            answers: VecDeque::new(),
            update: Side::default(),
            orders: VecDeque::new(),
            terminate: None,
            ending: None,
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Launched(place) => self.place = Some(place),
            Change::Connected(kept) => self.kept = Some(kept),
            Change::Asked { asked, line, written } => self.asked(asked, line, written),
            Change::Answered => self.pending = None,
            Change::Withdrawn => {
                self.pending = None;
                self.requests.pop_back();
            }
            Change::Heard(read) => self.command.read(read),
            Change::Updated(read) => self.update.read(read),
            Change::Set(parameters) => {
                if let Some(object) = parse_object(&parameters) {
                    self.parameters.extend(object.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
                }
            }
            Change::Unset(names) => names.iter().for_each(|name| drop(self.parameters.remove(name))),
            Change::Owes { answers, written } => self.owes(answers, written),
            // The state's business.
            Change::Report(_) => {}
            Change::Ending(cause) => {
                self.ending = Some(cause);
                self.pending = None;
            }
        }
    }

    fn asked(&mut self, asked: Asked, mut line: String, written: u64) {
        while let Some(end) = self.requests.front().map(|first| self.command.base.saturating_add(first.len() as u64))
            && end <= written
        {
            self.command.base = end;
            self.requests.pop_front();
        }
        if let Asked::Order(order) = asked
            && let Some(at) = self.orders.iter().position(|other| *other == order)
        {
            self.orders.remove(at);
        }
        let start = self.requests.iter().fold(self.command.base, |start, request| start.saturating_add(request.len() as u64));
        self.pending = Some(Pending { asked, start });
        line.push('\n');
        self.requests.push_back(line);
    }

    fn owes(&mut self, answers: Vec<(Owed, u64)>, written: u64) {
        while let Some((answer, count)) = self.answers.front_mut() {
            let length = answer.line_length();
            let whole = (written.saturating_sub(self.update.base) / length).min(*count);
            self.update.base += whole * length;
            *count -= whole;
            if *count > 0 {
                break;
            }
            self.answers.pop_front();
        }
        for (answer, count) in answers {
            match self.answers.back_mut().filter(|(last, _)| *last == answer) {
                Some((_, more)) => *more = more.saturating_add(count),
                None => self.answers.push_back((answer, count)),
            }
        }
    }
}

impl State {
    /// Of a broker without modules.
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            modules: BTreeMap::new(),
            waiting: BTreeMap::new(),
            reported: VecDeque::new(),
            lives: VecDeque::new(),
            tickets: 0,
            revision: 0,
        }
    }

    /// Adds one entry. Whatever it says, there is a state afterwards.
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Born { born, input, at } => {
                let uid = born.uid;
                self.modules.insert(uid, Module::new(born));
                self.step(input, at);
                if self.engine.is_starting(uid) {
                    self.waiting.remove(&uid);
                } else {
                    // Refused.
                    self.modules.remove(&uid);
                }
            }
            Entry::Step { input, at } => self.step(input, at),
            Entry::Module { uid, changes } => {
                for change in changes {
                    if let Change::Report(report) = change {
                        self.reported.push_back((uid, report));
                        continue;
                    }
                    if let Change::Connected(kept) = &change {
                        self.free(kept.number);
                    }
                    if let Some(module) = self.modules.get_mut(&uid) {
                        module.change(change);
                    }
                }
            }
            Entry::Gone { uid, life, again } => {
                let module = self.modules.remove(&uid);
                if let (Some(Module { born, .. }), Some(Again { since, due, restarts })) = (module, again) {
                    self.waiting.insert(uid, Waiting { born: Born { restarts, ..born }, since, due });
                }
                self.reported.retain(|(of, _)| *of != uid);
                while self.lives.len() >= LIVES {
                    self.lives.pop_front();
                }
                self.lives.push_back(life);
            }
        }
    }

    /// This number is another's from now on: whoever had it before has given it up, though its processes may not be gone.
    fn free(&mut self, number: u32) {
        let before = self.modules.values_mut().find(|module| module.kept.is_some_and(|kept| kept.number == number));
        before.into_iter().for_each(|module| module.kept = None);
    }

    fn step(&mut self, input: Input, at: u64) {
        match &input {
            Input::Started { uid, .. } | Input::Answered { uid, .. } | Input::Ended { uid } | Input::Lost { uid } => {
                if let Some(heard) = self.reported.iter().position(|(of, _)| of == uid) {
                    self.reported.remove(heard);
                }
            }
            Input::Add { ticket, .. } | Input::Remove { ticket, .. } | Input::Move { ticket, .. } | Input::Drain { ticket } => {
                self.tickets = self.tickets.max(ticket.0);
            }
            Input::Restart { .. } | Input::Reopen => {}
        }
        if let Input::Answered { uid, order, obeyed: true } = &input
            && let Some(module) = self.modules.get_mut(uid)
        {
            match order {
                Order::Play => module.told = (Told::Play, at),
                Order::Suspend => module.told = (Told::Suspend, at),
                Order::Remove => {}
            }
        }
        let mut effects = Vec::new();
        self.engine.step(input, &mut effects);
        self.revision = self.revision.wrapping_add(u64::from(effects.contains(&Effect::Publish)));
        let draining = self.engine.is_draining();
        for effect in effects {
            match effect {
                Effect::Order { uid, order } => {
                    if let Some(module) = self.modules.get_mut(&uid) {
                        module.orders.push_back(order);
                    }
                }
                Effect::Terminate { uid } => {
                    if let Some(module) = self.modules.get_mut(&uid) {
                        module.terminate = Some(draining);
                    }
                }
                Effect::Forget { uid } => drop(self.waiting.remove(&uid)),
                Effect::Launch { .. } | Effect::Publish | Effect::Done { .. } | Effect::Refuse { .. } => {}
            }
        }
    }
}
