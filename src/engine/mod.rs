//! Queues and pools as pure state machines: an [`Input`] goes in, [`Effect`]s come out.
//!
//! ```text
//!   Add ─────▶ Launch ─ ─ ─▶ Started ──▶ append ─┐
//!   SetBackground ▶ Launch ─▶ Started ──▶ swap ──┤     ┌───────── plan again ◀──────────┐
//!   Remove ──────────────────────────────────────┼──▶ apply ──▶ orders ─ ─▶ Answered ───┤
//!   Move ────────────────────────────────────────┤     rm, suspend, play, at once       │ nothing left to do
//!   Ended (own rm, crash, time-out) ─────────────┤                                      ▼
//!   Lost ─▶ down ─ ─▶ Restart ─▶ Launch ─▶ Started ─┘                                   Done
//! ```
//!
//! A change waits until every order of the one before it is answered (protocol.md section 3); in a pool no change waits
//! for another. A module that may be started again is *down* meanwhile: it keeps its place, and for whoever plays it is not
//! there. When that is, is no business of the engine ([`Restarts`] is who counts).
//!
//! **Invariants.** No I/O, no clock, no lock, no async. What was asked for is answered exactly once: each [`Ticket`]
//! comes back in one [`Effect::Done`] or [`Effect::Refuse`]. A module in the list was initialised and has
//! not ended, or is down.
//! A queue never has two modules told to play: the order to play goes out only together with, and after, the orders
//! that suspend or remove whatever played before. Whoever feeds the same inputs to an engine that was kept and read
//! again gets the same effects as from the one that it was.

mod pool;
mod queue;
mod restarts;
#[cfg(test)]
mod tests;

pub use pool::Pool;
pub use queue::Queue;
pub use restarts::{Policy, Restarts, Verdict};

use serde::{Deserialize, Serialize};

use crate::protocol::Uid;

/// Stands for one client's request until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// Where a new module goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The end of the list.
    List,
    /// The background of a queue.
    Background,
}

/// What happens to an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A client adds a module; `uid` is new.
    Add {
        /// Whom to answer.
        ticket: Ticket,
        /// The new module.
        uid: Uid,
        /// Where it goes.
        place: Place,
    },
    /// A launch that was asked for has come to its end: `init` was answered, or will never be.
    Started {
        /// The module.
        uid: Uid,
        /// Whether it is initialised and lives.
        alive: bool,
    },
    /// A client removes modules; those that are not there are ignored.
    Remove {
        /// Whom to answer.
        ticket: Ticket,
        /// The modules.
        uids: Vec<Uid>,
    },
    /// A client reorders: these come first, in this order, the rest follow as they were.
    Move {
        /// Whom to answer.
        ticket: Ticket,
        /// The modules.
        uids: Vec<Uid>,
    },
    /// A module answered the order that it was given.
    Answered {
        /// The module.
        uid: Uid,
        /// Which order it answers.
        order: Order,
        /// Whether it did as it was told.
        obeyed: bool,
    },
    /// A started module ends, for whatever reason but an order to be removed.
    Ended {
        /// The module.
        uid: Uid,
    },
    /// A started module failed or ends by itself, and may be started again: it is down and keeps its place, where it may
    /// (in a pool, and as the background of a queue). Elsewhere this is [`Input::Ended`].
    Lost {
        /// The module.
        uid: Uid,
    },
    /// It is time to start a module that is down.
    Restart {
        /// The module.
        uid: Uid,
    },
    /// The service ends: take nothing new, end what is there.
    Drain {
        /// Done when all is ended.
        ticket: Ticket,
    },
    /// A service whose end was cut short begins anew: what was to end ends, and more is taken from now on.
    Reopen,
}

/// What a module is ordered to do; it answers each once (by [`Input::Answered`]) or ends (by [`Input::Ended`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Play from here on.
    Play,
    /// Stop playing until told to play.
    Suspend,
    /// End; it is off the list already.
    Remove,
}

/// What has to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Launch and initialise the module, then report [`Input::Started`].
    Launch {
        /// The module.
        uid: Uid,
    },
    /// Write this order on the module's command stream.
    Order {
        /// The module.
        uid: Uid,
        /// What it shall do.
        order: Order,
    },
    /// End the module without asking it: it refused an order, or there is no more use for it.
    Terminate {
        /// The module.
        uid: Uid,
    },
    /// A module that was down is off the list: it is not started again.
    Forget {
        /// The module.
        uid: Uid,
    },
    /// The list, the background or what plays has changed.
    Publish,
    /// The request is carried out.
    Done {
        /// Whose request.
        ticket: Ticket,
    },
    /// The request will not be carried out, since the service ends or its module did not start.
    Refuse {
        /// Whose request.
        ticket: Ticket,
    },
}

/// What a module was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Told {
    /// Nothing since `init`.
    #[default]
    Nothing,
    /// To play.
    Play,
    /// To suspend.
    Suspend,
}

impl Told {
    /// The state of a module that was told this, as clients know it.
    #[must_use]
    pub const fn state(self) -> &'static str {
        match self {
            Self::Nothing => "waiting",
            Self::Play => "playing",
            Self::Suspend => "suspended",
        }
    }
}

/// A module in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    pub uid: Uid,
    /// What it was told last.
    pub told: Told,
    /// It has ended and may be started again.
    pub down: bool,
}

impl Entry {
    const fn new(uid: Uid) -> Self {
        Self { uid, told: Told::Nothing, down: false }
    }

    const fn down(uid: Uid) -> Self {
        Self { down: true, ..Self::new(uid) }
    }
}

/// Has these come first, in this order; the rest follow as they were, and those that are not there are ignored.
fn reorder(list: &mut Vec<Entry>, uids: &[Uid]) {
    let mut rest = std::mem::take(list);
    for uid in uids {
        if let Some(at) = rest.iter().position(|entry| entry.uid == *uid) {
            list.push(rest.remove(at));
        }
    }
    list.append(&mut rest);
}

/// Either kind of engine. Names of its fields are part of what is kept (`handover/`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// An ordered list, the top one plays.
    Queue(Queue),
    /// All play.
    Pool(Pool),
}

impl Engine {
    /// Whether it takes nothing new.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.is_draining(),
            Self::Pool(pool) => pool.is_draining(),
        }
    }

    /// Whether the module was launched, for the first time or again, and has not [started](Input::Started).
    #[must_use]
    pub fn is_starting(&self, uid: Uid) -> bool {
        match self {
            Self::Queue(queue) => queue.is_starting(uid),
            Self::Pool(pool) => pool.is_starting(uid),
        }
    }

    /// Takes one input and appends what has to be done to `effects`.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match self {
            Self::Queue(queue) => queue.step(input, effects),
            Self::Pool(pool) => pool.step(input, effects),
        }
    }

    /// What is listed of a module, be it the background.
    #[must_use]
    pub fn entry(&self, uid: Uid) -> Option<Entry> {
        self.entries().find(|entry| entry.uid == uid)
    }

    /// All that is listed, the background last.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.list().iter().copied().chain(self.background())
    }

    /// The modules in order.
    #[must_use]
    pub fn list(&self) -> &[Entry] {
        match self {
            Self::Queue(queue) => queue.list(),
            Self::Pool(pool) => pool.list(),
        }
    }

    /// How many modules the list has or will have: with those that start for it.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Queue(queue) => queue.length(),
            Self::Pool(pool) => pool.length(),
        }
    }

    /// The background of a queue.
    #[must_use]
    pub fn background(&self) -> Option<Entry> {
        match self {
            Self::Queue(queue) => queue.background(),
            Self::Pool(_) => None,
        }
    }
}
