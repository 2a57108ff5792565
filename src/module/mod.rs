//! One module's life, seen from the broker: a task that owns the module's two streams (protocol.md sections 5 and 6).
//!
//! ```text
//!            bind, launch        both connected       init answered
//!   (birth) ──────────────▶ connecting ──────▶ initialising ──────▶ living ── play, suspend, do_… , updates
//!                               │                    │                 │
//!                 time-out,     │     time-out,      │                 │ rm (asked or its own), stream lost,
//!                 exit status   ▼     refusal        ▼                 ▼ time-out, terminated
//!                             ╔══════════════════ ending ══════════════════╗
//!                             ║ streams closed                             ║
//!                             ║ wait for the processes      `exit` ms      ║
//!                             ║ stop: SIGTERM to all        `terminate` ms ║──▶ gone
//!                             ║       SIGKILL to all                       ║
//!                             ╚════════════════════════════════════════════╝
//! ```
//!
//! The broker holds a [`Handle`]; the task speaks back in [`Event`]s. Orders (play, suspend, rm) overtake tells that have
//! not been written yet, so a busy client cannot delay the queue.
//!
//! What changes is written down for the process that may have to go on with the module (`notes`), which begins in the
//! midst of this picture (`adopt`).
//!
//! **Invariants.** One request is outstanding on the command stream at most, and each is answered within its time or ends
//! the module. Updates are read however many answers the module leaves unread, in bounded memory. After the
//! [`Event::Gone`] no process of the module is left and the task has ended.

mod adopt;
mod answers;
mod conversation;
mod door;
mod ending;
pub mod guest;
mod notes;
mod parameters;
mod ports;
#[cfg(test)]
mod resume_tests;
mod stream;
mod task;

pub(crate) use adopt::{Adoption, adopt};
pub use ending::{Cause, Ending};
pub(crate) use parameters::Changed;
pub use parameters::Parameters;
pub(crate) use task::dead;
pub use task::{Birth, spawn};

pub use crate::scope::Reached;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

use self::ending::Progress;
use crate::engine::{Order, Told};
use crate::journal::Witness;
use crate::protocol::{ProtocolError, Raw, Response, Uid};

/// What a module's task reports.
#[derive(Debug)]
pub enum Event {
    /// `init` was answered, or never will be; the first event of each module.
    Started {
        /// The module.
        uid: Uid,
        /// Why it did not start.
        result: Result<(), ProtocolError>,
    },
    /// An order was answered.
    Answered {
        /// The module.
        uid: Uid,
        /// The order.
        order: Order,
        /// Whether it did as it was told.
        obeyed: bool,
    },
    /// A started module begins to end without having been ordered to.
    Ended {
        /// The module.
        uid: Uid,
        /// Why.
        cause: Cause,
    },
    /// Its parameters have changed; not told again before somebody has looked.
    Parameters {
        /// The module.
        uid: Uid,
    },
    /// No process is left; the last event of each module.
    Gone {
        /// The module.
        uid: Uid,
        /// How it ended.
        ending: Ending,
    },
}

/// What the broker tells a module's task outside the order of tells.
#[derive(Debug)]
pub(crate) enum Direct {
    /// Write this order as soon as the command stream is free.
    Order(Order),
    /// End without asking the module.
    Terminate(Cause),
}

/// A `do_…` and whom to answer.
#[derive(Debug)]
pub(crate) struct Tell {
    pub(crate) cmd: String,
    pub(crate) args: Option<Raw>,
    pub(crate) answer: oneshot::Sender<Result<Response, ProtocolError>>,
}

/// Where a module runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The main process.
    pub pid: u32,
    /// The directory of its scope's control group, where it has a scope.
    pub cgroup: Option<PathBuf>,
    /// What its launch took; `None` where a process of the broker before saw it.
    pub launch: Option<Duration>,
}

impl Process {
    /// Name of the scope, where it has one.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.cgroup.as_ref()?.file_name()?.to_str().filter(|name| name.ends_with(".scope"))
    }
}

/// How the broker reaches a module.
#[derive(Debug, Clone)]
pub struct Handle {
    birth: Arc<Birth>,
    parameters: Arc<Parameters>,
    witness: Witness,
    process: Arc<OnceLock<Process>>,
    told: Arc<Mutex<(Told, SystemTime)>>,
    has_been_listed: Arc<AtomicBool>,
    progress: Arc<Progress>,
    direct: mpsc::Sender<Direct>,
    tells: mpsc::Sender<Tell>,
}

impl Handle {
    /// The module's identifier.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.birth.uid
    }

    /// The module's type.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.birth.type_name
    }

    /// Whether its type is one of the backgrounds.
    #[must_use]
    pub fn is_background(&self) -> bool {
        self.birth.background
    }

    /// What it was made of.
    pub(crate) fn birth(&self) -> &Birth {
        &self.birth
    }

    /// Its process, once it is launched.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.get()
    }

    /// Since when it is told what it is told `now`.
    pub(crate) fn told_since(&self, told: Told, now: SystemTime) -> SystemTime {
        let mut last = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != told {
            *last = (told, now);
        }
        last.1
    }

    /// It is in the list, or the background, from now on.
    pub(crate) fn note_listed(&self) {
        self.has_been_listed.store(true, Relaxed);
    }

    /// Whether it ever was: one that never was starts still, or did not.
    pub(crate) fn has_been_listed(&self) -> bool {
        self.has_been_listed.load(Relaxed)
    }

    /// The step of its ending that it is in now, and since when; `None` where it does not end.
    #[must_use]
    pub fn ending(&self) -> Option<(Reached, SystemTime)> {
        self.progress.step(SystemTime::now())
    }

    /// Who tells the journal of it.
    #[must_use]
    pub const fn witness(&self) -> &Witness {
        &self.witness
    }

    /// When it was added.
    #[must_use]
    pub fn added(&self) -> SystemTime {
        self.birth.added
    }

    /// The cached parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Writes an order as soon as the command stream is free; the answer comes as [`Event::Answered`].
    pub fn order(&self, order: Order) {
        self.direct(Direct::Order(order));
    }

    /// Ends the module without asking it.
    pub fn terminate(&self, cause: Cause) {
        self.direct(Direct::Terminate(cause));
    }

    /// An engine has one order out to a module at a time, besides one that it no longer waits for and a termination, so
    /// the channel has room. Where the task has ended already, its last events are on their way and say all.
    fn direct(&self, direct: Direct) {
        let _ = self.direct.try_send(direct);
    }

    /// Sends `do_<cmd>` and waits for the module's answer.
    ///
    /// # Errors
    /// [`ProtocolError::Timeout`] or [`ProtocolError::Closed`], after which the module ends;
    /// [`ProtocolError::Malformed`], after which it lives on.
    pub async fn tell(&self, cmd: &str, args: Option<Raw>) -> Result<Response, ProtocolError> {
        let (answer, answered) = oneshot::channel();
        let tell = Tell { cmd: format!("do_{cmd}"), args, answer };
        self.tells.send(tell).await.map_err(|_| ProtocolError::Closed)?;
        answered.await.unwrap_or(Err(ProtocolError::Closed))
    }
}
