//! What is written down: the entries of the log.
//!
//! Their names and those of their fields are the format, version [`FORMAT`]: who changes one must raise the version.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use crate::engine::{Input, Order, Restarts};
use crate::protocol::{Raw, Uid};
use crate::settings::Timeouts;

/// Version of what is written.
pub(super) const FORMAT: u32 = 3;

/// One thing that has happened. An entry is read whole or not at all.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// A module is about to be launched; `input` is what the engine was told of it.
    Born {
        /// What it is.
        born: Born,
        /// The `Add`, or the `Restart` of one that waits.
        input: Input,
        /// When, in ms since 1970.
        at: u64,
    },
    /// The engine took an input. Where that is an event of a module, it was [reported](Change::Report) before.
    Step {
        /// Any but an `Add` or a `Restart`.
        input: Input,
        /// When, in ms since 1970.
        at: u64,
    },
    /// A module's task got further.
    Module {
        /// Whose.
        uid: Uid,
        /// All at once.
        changes: Vec<Change>,
    },
    /// No process of a module is left.
    Gone {
        /// Whose.
        uid: Uid,
        /// What `history` says of it.
        life: Raw,
        /// When it is started again, where it is.
        again: Option<Again>,
    },
}

/// A module that has ended is started again. Times in ms since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Again {
    /// When that was decided.
    pub(crate) since: u64,
    /// When it is due.
    pub(crate) due: u64,
    /// Its restarts, this one among them.
    pub(crate) restarts: Restarts,
}

/// What a module is, from its first moment to its last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Born {
    /// Its identifier.
    pub(crate) uid: Uid,
    /// Name of its type.
    pub(crate) type_name: String,
    /// Whether the type is one of the backgrounds.
    pub(crate) background: bool,
    /// What `init` is sent; `None` where it was null.
    pub(crate) args: Option<Raw>,
    /// How long its steps may take.
    #[serde(deserialize_with = "bounded")]
    pub(crate) timeouts: Timeouts,
    /// When it was added, in ms since 1970.
    pub(crate) added: u64,
    /// How it was started again until now.
    pub(crate) restarts: Restarts,
}

/// No more than settings may say, for no clock goes as far as numbers do.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timeouts, D::Error> {
    Timeouts::deserialize(deserializer).map(Timeouts::bounded)
}

/// Where a module runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The main process.
    pub(crate) pid: u32,
    /// The directory of its scope's control group, where it has a scope.
    pub(crate) cgroup: Option<PathBuf>,
}

/// Where a module's streams are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// By this number in the store.
    pub(crate) number: u32,
    /// The broker's port of the command stream, which tells the two apart.
    pub(crate) command_port: u16,
}

/// What a module is asked on its command stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asked {
    /// `init`.
    Init,
    /// `play`, `suspend` or `rm`.
    Order(Order),
    /// `do_…`, for a client.
    Tell,
}

/// What a module's task reports to the driver, which takes it with the next [`Entry::Step`] of that module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// `init` was answered with success, or never will be.
    Started(bool),
    /// An order was answered.
    Answered {
        /// Which.
        order: Order,
        /// Whether with success.
        obeyed: bool,
    },
    /// It ends without having been ordered to.
    Ended,
}

/// Bytes of a stream that were read and understood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Read {
    /// How many; they are taken from the socket after this was written down.
    pub(crate) bytes: u64,
    /// What of them is not a whole line yet.
    pub(crate) rest: Rest,
}

/// The beginning of a line, each byte as the character of its number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rest {
    /// There is none.
    #[default]
    None,
    /// This.
    Is(String),
    /// What there was before, and this.
    More(String),
    /// The line is too long; what comes of it is skipped.
    Skipped,
}

/// An answer on the update stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owed {
    /// `{"success": true}`
    Done,
    /// This text.
    Text(String),
}

/// What has changed of a module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    /// It runs.
    Launched(Place),
    /// Both streams are open, and kept.
    Connected(Kept),
    /// A request is about to be written on the command stream.
    Asked {
        /// What it is.
        asked: Asked,
        /// The request without its newline.
        line: String,
        /// How many bytes of that stream had been written by then.
        written: u64,
    },
    /// The request was answered, or never will be.
    Answered,
    /// The request that was asked last will not be written, nor answered.
    Withdrawn,
    /// Bytes of the command stream.
    Heard(Read),
    /// Bytes of the update stream.
    Updated(Read),
    /// These parameters have these values now: an object.
    Set(Raw),
    /// These parameters are gone.
    Unset(Vec<String>),
    /// Answers to be written on the update stream, each so many times.
    Owes {
        /// In order.
        answers: Vec<(Owed, u64)>,
        /// How many bytes of that stream had been written by then.
        written: u64,
    },
    /// The driver is told.
    Report(Report),
    /// Its streams are about to be closed, for this [cause](crate::module::Cause::name).
    Ending(String),
}
