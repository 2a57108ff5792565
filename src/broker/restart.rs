//! Modules that are down: those that may be started again, and when the next is due.
//!
//! ```text
//!   Ended, or refused ─▶ down, its last process ends ─▶ Gone ─▶ Outcome::Again ─▶ waits ─▶ due: launched ─▶ up
//!                                                         │                         ▲                 │
//!                                                         ▼                         ╰── Gone ◀── not started
//!                                                 Outcome::GivenUp, Outcome::Gone
//! ```
//!
//! Times are in ms since 1970, since the next process may go on with the wait; within a process they advance as its timers do,
//! whatever is done to the machine's clock.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::deadline::poll_deadline;
use crate::engine::{Policy, Restarts, Verdict};
use crate::handover::{self, Again};
use crate::module::{Cause, Ending, Handle};
use crate::protocol::Uid;
use crate::settings::{Restart, RestartOn};

/// What becomes of a module of which no process is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing more.
    Gone,
    /// It would be started again, but for this reason.
    GivenUp(String),
    /// It is started again.
    Again(Again),
}

impl Outcome {
    /// Of a module that was started again as `restarts` says and has ended so at `now`.
    pub(super) fn of(restart: &Restart, mut restarts: Restarts, ending: &Ending, now: u64) -> Self {
        let wanted = matches!(ending.cause, Cause::Removed | Cause::Drained);
        if wanted || (restart.on == RestartOn::Failure && !ending.is_failure()) {
            return Self::Gone;
        }
        let policy = Policy {
            delay: milliseconds(restart.delay),
            max_delay: milliseconds(restart.max_delay),
            limit: restart.limit,
            window: milliseconds(restart.window),
        };
        match restarts.ended(now, &policy) {
            Verdict::Again(due) => Self::Again(Again { since: now, due, restarts }),
            Verdict::GivenUp => {
                let (limit, window) = (restart.limit, restart.window.as_secs_f64());
                Self::GivenUp(format!("it was started again {limit} times within {window} s"))
            }
        }
    }
}

/// Whether a module that begins to end so may be started again; how its processes end tells more.
pub(super) fn may_be_started_again(restart: &Restart, cause: Cause) -> bool {
    match cause {
        Cause::Removed | Cause::Drained => false,
        Cause::Own => restart.on == RestartOn::Always,
        Cause::StreamLost | Cause::TimedOut | Cause::Refused | Cause::NotConnected => true,
    }
}

/// Every module that is down, until it is up or gone.
pub(super) struct Down {
    clock: Clock,
    modules: BTreeMap<Uid, One>,
    timer: Option<Pin<Box<Sleep>>>,
}

struct One {
    /// Of the process that has ended.
    module: Arc<Handle>,
    /// While it waits.
    again: Option<Again>,
}

impl Down {
    pub(super) fn new() -> Self {
        Self { clock: Clock { wall: handover::now(), at: Instant::now() }, modules: BTreeMap::new(), timer: None }
    }

    /// The time that waits are counted in.
    pub(super) fn now(&self) -> u64 {
        self.clock.wall + milliseconds(self.clock.at.elapsed())
    }

    /// A module is down; nobody knows yet for how long.
    pub(super) fn put(&mut self, module: Arc<Handle>) {
        self.modules.entry(module.uid()).or_insert(One { module, again: None });
    }

    /// A module that is down waits to be started again.
    pub(super) fn wait(&mut self, module: Arc<Handle>, again: Again) {
        // Whoever reads the list has the first that went down, not one that did not start meanwhile.
        let one = self.modules.entry(module.uid()).or_insert(One { module, again: None });
        one.module.parameters().wait(again.restarts.count(), again.due);
        one.again = Some(again);
    }

    /// A module waits on that did so in the process before. Where the machine's clock went back meanwhile, no longer than it
    /// was to wait.
    pub(super) fn wait_on(&mut self, module: Arc<Handle>, again: Again) {
        let left = again.due.saturating_sub(self.now()).min(again.due.saturating_sub(again.since));
        let due = self.now() + left;
        self.wait(module, Again { due, ..again });
    }

    /// It is up, or gone.
    pub(super) fn remove(&mut self, uid: Uid) {
        self.modules.remove(&uid);
    }

    /// How many wait: their processes are gone, their places are kept.
    pub(super) fn waiting(&self) -> usize {
        self.modules.values().filter(|one| one.again.is_some()).count()
    }

    /// What clients reach while it is down.
    pub(super) fn module(&self, uid: Uid) -> Option<&Arc<Handle>> {
        self.modules.get(&uid).map(|one| &one.module)
    }

    /// One whose time has come, with its restarts.
    pub(super) fn take_due(&mut self) -> Option<(Arc<Handle>, Restarts)> {
        let now = self.now();
        let is_due = |one: &&mut One| one.again.as_ref().is_some_and(|again| again.due <= now);
        let one = self.modules.values_mut().filter(is_due).min_by_key(|one| one.again.as_ref().map(|again| again.due))?;
        Some((Arc::clone(&one.module), one.again.take()?.restarts))
    }

    /// Waits until one is due; for ever where none waits. May be dropped and asked again.
    pub(super) async fn due(&mut self) {
        let next = self.modules.values().filter_map(|one| Some(one.again.as_ref()?.due)).min();
        let Some(next) = next else { return pending().await };
        let next = self.clock.at + Duration::from_millis(next.saturating_sub(self.clock.wall));
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        if timer.deadline() > next {
            timer.as_mut().reset(next);
        }
        poll_fn(|cx| poll_deadline(next, timer.as_mut(), cx)).await;
    }
}

/// The machine's clock as it was once, and what has passed since.
struct Clock {
    wall: u64,
    at: Instant,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
