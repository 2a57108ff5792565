//! Launching the stored list again: the first alone, so that nothing plays that would be suspended at once, then a few at a time.
//!
//! ```text
//!   waits ──launch──▶ is launched ──in the list──▶ up for `SETTLED` ──▶ a module like any other
//!     ▲                    │ does not start            │ ends badly
//!     ╰──── pause ─────────┴───────────────────────────┤ for the third time: set aside
//! ```
//!
//! The list grows as modules come up, each in its place; what clients add meanwhile comes behind all that is stored. A module that
//! is not up yet can be moved and removed by its uid.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Driver, Waiting};
use crate::engine::{Input, Place};
use crate::handover;
use crate::module::{Cause, Ending};
use crate::protocol::{ProtocolError, Uid};
use crate::scope::Reached;
use crate::store::Module;

/// So many are launched at once.
const AT_ONCE: usize = 4;

/// So often a module may fail in a row.
const MOST_FAILURES: u32 = 3;

/// One that ends badly within this time has failed.
const SETTLED: Duration = Duration::from_secs(10);

/// How long to wait after a failure, times how often it has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be launched again.
#[derive(Default)]
pub(super) struct Restoring {
    attempts: HashMap<Uid, Attempt>,
    /// Who is to be launched, in order.
    queue: VecDeque<Uid>,
    /// Who is launched and neither in the list nor gone.
    launching: HashSet<Uid>,
    /// Who was first at the beginning: nobody else is launched before it is up, or has failed.
    first: Option<Uid>,
    /// The launcher has not told yet whether some live on.
    pub(super) awaits_launcher: bool,
    /// Modules that are ended since nobody knows where they belong.
    stopping: JoinSet<Uid>,
    stopped: HashSet<Uid>,
    /// Modules came up that may not be in their places.
    unsorted: bool,
}

/// One module that was in the list.
struct Attempt {
    module: Module,
    failures: u32,
    /// Why it did not start the last time.
    error: Option<String>,
    not_before: Option<Instant>,
    /// Since when it is in the list.
    up: Option<Instant>,
    /// A client has removed it before it was.
    unwanted: bool,
}

impl Restoring {
    /// Waits for something that is no event of a module: a pause ends, or a module of which nobody knows.
    pub(super) async fn progress(&mut self) {
        let due = self.queue.iter().filter_map(|uid| self.attempts.get(uid)?.not_before).min();
        let pause = async {
            match due {
                Some(time) => tokio::time::sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            Some(ended) = self.stopping.join_next() => if let Ok(uid) = ended {
                self.stopped.remove(&uid);
            },
        }
    }

    /// Ends a module of which nobody knows; it is launched again after that, where it is to be.
    pub(super) fn after(&mut self, uid: Uid, stopping: impl Future<Output = ()> + Send + 'static) {
        self.stopped.insert(uid);
        self.stopping.spawn(async move {
            stopping.await;
            uid
        });
    }

    /// A module is in the engine's list.
    pub(super) fn listed(&mut self, uid: Uid) {
        if let Some(attempt) = self.attempts.get_mut(&uid) {
            attempt.up = Some(Instant::now());
            self.queue.retain(|other| *other != uid);
            self.unsorted = true;
        }
    }

    /// What was to be told one that was launched again is done.
    pub(super) fn launched(&mut self, uid: Uid) {
        self.launching.remove(&uid);
    }

    /// It did not start.
    pub(super) fn refused(&mut self, uid: Uid, error: &ProtocolError) {
        if let Some(attempt) = self.attempts.get_mut(&uid) {
            attempt.error = Some(error.to_string());
        }
    }

    /// Whether a client has removed it while it was launched.
    pub(super) fn is_unwanted(&self, uid: Uid) -> bool {
        self.attempts.get(&uid).is_some_and(|attempt| attempt.unwanted)
    }

    /// Ends the pauses that are over, and forgets who has lived long enough.
    fn settle(&mut self) {
        let now = Instant::now();
        self.attempts.retain(|_, attempt| {
            attempt.not_before.take_if(|time| *time <= now);
            attempt.up.is_none_or(|up| now.duration_since(up) < SETTLED)
        });
    }

    /// Whether the first is still on its first way up.
    fn is_first_on_its_way(&self) -> bool {
        let first = self.first.and_then(|uid| self.attempts.get(&uid));
        first.is_some_and(|attempt| attempt.up.is_none() && attempt.failures == 0)
    }
}

impl Driver {
    /// These are to be launched, in this order.
    pub(super) fn begin_restoring(&mut self, modules: Vec<Module>) {
        if modules.is_empty() {
            return;
        }
        tracing::info!("{}: {} modules of the stored list are launched again", self.name, modules.len());
        let restoring = &mut self.restoring;
        restoring.first = modules.first().filter(|_| self.engine.list().is_empty()).map(|module| module.uid);
        for module in modules {
            // What plays while nothing else does is not the last.
            let at = if module.background { restoring.queue.len().min(1) } else { restoring.queue.len() };
            restoring.queue.insert(at, module.uid);
            let (error, not_before, up) = Default::default();
            restoring.attempts.insert(module.uid, Attempt { module, failures: 0, error, not_before, up, unwanted: false });
        }
    }

    /// The service ends: what is not up yet is left to the next process, and all that is comes back.
    pub(super) fn stop_restoring(&mut self) {
        let Restoring { queue, attempts, .. } = &mut self.restoring;
        self.stored.stay(|uid| attempts.contains_key(uid));
        queue.clear();
        attempts.clear();
        self.stored.all_wait();
    }

    /// A client removes these; those that are not up are not there for the engine.
    pub(super) fn give_up(&mut self, uids: &[Uid]) {
        for uid in uids {
            let Some(attempt) = self.restoring.attempts.get_mut(uid).filter(|attempt| attempt.up.is_none()) else { continue };
            self.stored.remove(&[*uid]);
            self.restoring.queue.retain(|other| other != uid);
            if self.restoring.launching.contains(uid) {
                attempt.unwanted = true;
                if let Some(module) = self.modules.get(uid) {
                    module.terminate(Cause::Removed);
                }
            } else {
                self.restoring.attempts.remove(uid);
            }
        }
    }

    /// Does what there is to do next. Called after everything that has happened.
    pub(super) fn restore_more(&mut self) {
        if self.restoring.attempts.is_empty() || self.engine.is_draining() {
            return;
        }
        self.restoring.settle();
        if std::mem::take(&mut self.restoring.unsorted) {
            self.restore_order();
        }
        if self.restoring.awaits_launcher {
            return;
        }
        let mut at = 0;
        while let Some(&uid) = self.restoring.queue.get(at) {
            let is_limited = if self.restoring.is_first_on_its_way() {
                self.restoring.first != Some(uid)
            } else {
                self.restoring.launching.len() >= AT_ONCE
            };
            if is_limited {
                return;
            }
            if self.can_launch(uid) {
                self.restoring.queue.remove(at);
                self.launch_again(uid);
            } else {
                at += 1;
            }
        }
    }

    /// Removes whom a client removed while they came up, and puts the others in their places.
    fn restore_order(&mut self) {
        let unwanted = |uid: &Uid| self.restoring.attempts.get(uid).is_some_and(|attempt| attempt.unwanted);
        let uids: Vec<Uid> =
            self.restoring.attempts.keys().copied().filter(unwanted).filter(|uid| self.is_listed(*uid)).collect();
        if !uids.is_empty() {
            uids.iter().for_each(|uid| drop(self.restoring.attempts.remove(uid)));
            let ticket = self.ticket(Waiting::Nobody);
            self.step(Input::Remove { ticket, uids });
        }
        if let Some(uids) = self.misplaced() {
            let ticket = self.ticket(Waiting::Nobody);
            self.step(Input::Move { ticket, uids });
        }
    }

    fn is_listed(&self, uid: Uid) -> bool {
        self.restoring.attempts.get(&uid).is_some_and(|attempt| attempt.up.is_some())
    }

    fn can_launch(&self, uid: Uid) -> bool {
        let is_due = |attempt: &Attempt| attempt.not_before.is_none();
        let is_gone = !self.modules.contains_key(&uid) && !self.restoring.stopped.contains(&uid);
        is_gone && self.restoring.attempts.get(&uid).is_some_and(is_due)
    }

    fn launch_again(&mut self, uid: Uid) {
        let Some(attempt) = self.restoring.attempts.get(&uid) else { return };
        let module = &attempt.module;
        let args = module.args.as_ref().and_then(|args| serde_json::from_str(args).ok());
        let Some(birth) = self.birth(uid, &module.type_name, args, module.background) else {
            let reason = format!("the settings have no type {} any more", module.type_name);
            self.set_aside(uid, reason);
            return;
        };
        self.birth = Some(crate::module::Birth {
            added: handover::time(module.added),
            last_parameters: Some(std::sync::Arc::clone(&module.parameters)),
            ..birth
        });
        let place = if module.background { Place::Background } else { Place::List };
        self.restoring.launching.insert(uid);
        let ticket = self.ticket(Waiting::Restored(uid));
        self.step(Input::Add { ticket, uid, place });
        self.birth = None;
    }

    /// Whether a module that has ended is to be launched again, having failed while it was being restored. One that failed too
    /// often is set aside.
    pub(super) fn is_launched_again(&mut self, uid: Uid, ending: &Ending) -> bool {
        let was_launched = self.restoring.launching.remove(&uid);
        if self.engine.is_draining() {
            return false;
        }
        let Some(attempt) = self.restoring.attempts.get_mut(&uid) else { return false };
        if attempt.unwanted {
            self.restoring.attempts.remove(&uid);
            return false;
        }
        let Some(up) = attempt.up.take() else {
            if was_launched {
                let reason = attempt.error.take().unwrap_or_else(|| ending.to_string());
                self.failed(uid, &reason);
            }
            // Else the end of a process before, which waits still.
            return true;
        };
        // One that was told to end, or said that it would, is at its end.
        let is_done = matches!(ending.cause, Cause::Removed | Cause::Own) && ending.reached == Reached::Exit;
        if is_done || up.elapsed() >= SETTLED || !self.stored.holds(uid) {
            self.restoring.attempts.remove(&uid);
            return false;
        }
        self.failed(uid, &ending.to_string());
        true
    }

    fn failed(&mut self, uid: Uid, reason: &str) {
        let Some(attempt) = self.restoring.attempts.get_mut(&uid) else { return };
        attempt.failures += 1;
        if attempt.failures >= MOST_FAILURES {
            self.set_aside(uid, format!("failed {MOST_FAILURES} times in a row: {reason}"));
            return;
        }
        attempt.not_before = Some(Instant::now() + PAUSE * attempt.failures);
        self.restoring.queue.push_back(uid);
        self.stored.waits(uid, true);
    }

    fn set_aside(&mut self, uid: Uid, reason: String) {
        let Some(Attempt { module, .. }) = self.restoring.attempts.remove(&uid) else { return };
        tracing::error!(%uid, "module {} of type {} is set aside: {reason}", uid.short(), module.type_name);
        let life = self.board.history().set_aside(&module, &reason);
        self.board.tally().set_aside();
        self.write_gone(uid, &life, None);
        self.stored.set_aside(module, reason);
    }
}
