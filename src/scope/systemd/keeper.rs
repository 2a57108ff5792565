//! The task of one scope, from the first instruction of its program until no process and no unit of it is left.
//!
//! It sleeps until something happens: the main process ends, the manager signals, somebody wants the scope stopped. Only
//! while a scope is ending it looks for itself too, now and then, so that no lost signal can leave anything behind.
//!
//! The control group says whether processes live and the manager whether the unit does; both must be gone. SIGTERM and
//! SIGKILL are the manager's business (`StopUnit`), and this house's own where the manager has lost sight of a process.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{End, Exceeded, Exit, Reached};
use super::House;
use super::cgroup::{Cgroup, until_frozen};
use super::connection::{Repeat, Trouble};
use super::exit;
use super::jobs::{Ear, News};
use super::manager::ManagerProxy;
use super::register::Place;
use crate::settings::ScopeLimit;

/// How long the manager may take to notice that a scope is empty, before it is told.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a signal that has arrived may take to be read.
const HEARD: Duration = Duration::from_millis(20);
/// How long others wait for the manager to forget a scope without processes.
const TIDY_DEADLINE: Duration = Duration::from_secs(2);
/// How often the processes that a main process left behind are looked at.
const LINGER: Duration = Duration::from_secs(1);
/// How often a scope that is being stopped is looked at: somebody may freeze it meanwhile.
const STOPPING: Duration = Duration::from_millis(250);
/// How long the manager may be out of reach before this house sends SIGTERM itself.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// How long the manager may take to thaw a scope before this house does: it may have forgotten whom to answer.
const THAW_PATIENCE: Duration = Duration::from_millis(500);
/// How much longer than the scope's own time-out the manager may take to kill what is left, before this house does.
const KILL_MARGIN: Duration = Duration::from_secs(2);
/// The longest pause between two attempts to end what does not want to end.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The main process.
#[derive(Debug)]
pub(super) enum Main {
    /// A child of this process.
    Child(Child),
    /// The child of an earlier one.
    Adopted {
        /// Of the oldest process that lived.
        pid_fd: AsyncFd<std::os::fd::OwnedFd>,
        /// Whether that is what was launched, and no descendant that outlived it: then its end is the module's.
        is_main: bool,
    },
    /// It has ended already.
    Ended,
}

impl Main {
    /// Waits for its end.
    async fn ended(&mut self) -> Exit {
        match self {
            Self::Child(child) => child.wait().await.map_or(Exit::Unknown, Exit::from),
            Self::Adopted { pid_fd, is_main } => {
                // Readable once it is a zombie, whoever its parent is.
                let _ = pid_fd.readable().await;
                if *is_main { exit::of(pid_fd.as_fd()).await } else { Exit::Unknown }
            }
            Self::Ended => Exit::Unknown,
        }
    }

    /// Where it lives, which may be another group than the one that it began in.
    fn cgroup(&self) -> Option<Cgroup> {
        match self {
            Self::Child(child) => Cgroup::of_process(child.id()?).ok(),
            _ => None,
        }
    }

    fn signal(&self, signal: Signal) {
        match self {
            Self::Child(child) => {
                // Not waited for yet, so the number is still its own.
                if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
                    let _ = kill_process(pid, signal);
                }
            }
            Self::Adopted { pid_fd, .. } => {
                let _ = pidfd_send_signal(pid_fd, signal);
            }
            Self::Ended => {}
        }
    }
}

/// Whether a scope is gone, and else when to look again.
enum Look {
    Gone,
    Again(Option<Instant>),
}

/// What the task of a scope knows.
#[derive(Debug)]
pub(super) struct Keeper {
    house: Arc<House>,
    place: Place,
    ear: Ear,
    /// `None` where the main process never was in it.
    cgroup: Option<Cgroup>,
    terminate: Duration,
    /// Whether its lifetime is limited.
    mortal: bool,
    /// How the main process ended.
    exit: Option<Exit>,
    /// When it was told to stop while processes lived.
    stopped_at: Option<Instant>,
    /// Whether this house killed.
    killed: bool,
    /// When this house kills, and how long it waits to do so again.
    kill_at: Option<Instant>,
    pause: Duration,
    /// Since when no process lives.
    empty_since: Option<Instant>,
    /// When an empty scope whose unit stays is stopped.
    tidy_at: Option<Instant>,
    /// How often the manager took back that it stops it, and how often nobody could hear it.
    heard: (u32, u32),
    /// Whether the manager has said that it knows no such unit.
    forgotten: bool,
}

impl Keeper {
    pub(super) fn new(
        house: Arc<House>,
        place: Place,
        ear: Ear,
        cgroup: Option<Cgroup>,
        terminate: Duration,
        limits: &[ScopeLimit],
    ) -> Self {
        Self {
            house,
            place,
            ear,
            cgroup,
            terminate,
            mortal: limits.iter().any(|limit| matches!(limit, ScopeLimit::RuntimeMax(Some(_)))),
            exit: None,
            stopped_at: None,
            killed: false,
            kill_at: None,
            pause: KILL_MARGIN,
            empty_since: None,
            tidy_at: None,
            heard: (0, 0),
            forgotten: false,
        }
    }

    /// Returns when nothing is left of the scope, and then its state is `Gone`.
    pub(super) async fn keep(mut self, mut main: Main) {
        let mut look_at = None;
        loop {
            tokio::select! {
                exit = main.ended(), if self.exit.is_none() => {
                    self.exit = Some(exit);
                    self.place.exited(exit);
                }
                () = self.place.stop.cancelled(), if self.kill_at.is_none() => self.stop(&main).await,
                () = self.ear.more() => {}
                () = until(look_at) => {}
            }
            match self.look(&main).await {
                Look::Gone => break,
                Look::Again(at) => look_at = at,
            }
        }
        let end = self.end();
        self.place.gone(end);
    }

    async fn look(&mut self, main: &Main) -> Look {
        let now = Instant::now();
        if self.exit.is_some() && !self.is_populated() {
            self.empty_since.get_or_insert(now);
            if self.ear.news().removed {
                return Look::Gone;
            }
            let tidy_at = *self.tidy_at.get_or_insert(now + SETTLE);
            if now < tidy_at {
                return Look::Again(Some(tidy_at));
            }
            return self.tidy().await;
        }
        (self.empty_since, self.tidy_at) = (None, None);
        let Some(kill_at) = self.kill_at else {
            return Look::Again(self.exit.map(|_| now + LINGER));
        };
        if kill_at <= now {
            self.kill(main).await;
        } else if self.is_frozen() || self.may_have_been_refused() {
            self.thaw().await;
            let _ = self.stop_unit(Duration::ZERO).await;
        }
        Look::Again(self.kill_at.map(|at| at.min(Instant::now() + STOPPING)))
    }

    /// Whether the manager has taken back that it stops the scope, or may have said so when nobody could hear it, since this
    /// was last asked.
    fn may_have_been_refused(&mut self) -> bool {
        let News { refusals, missed, .. } = self.ear.news();
        let before = std::mem::replace(&mut self.heard, (refusals, missed));
        before != self.heard
    }

    fn is_populated(&self) -> bool {
        self.cgroup.as_ref().is_some_and(Cgroup::is_populated)
    }

    fn is_frozen(&self) -> bool {
        self.cgroup.as_ref().is_some_and(Cgroup::is_frozen)
    }

    /// No process is left but the unit is, or its removal was not heard of.
    async fn tidy(&mut self) -> Look {
        let stopped = timeout(TIDY_DEADLINE, self.stop_unit(Duration::ZERO)).await;
        match stopped.unwrap_or_else(|_| Err(Trouble::NoAnswer("not yet".to_owned()))) {
            Err(trouble) if trouble.is_no_such_unit() && self.forgotten => return Look::Gone,
            Err(trouble) if trouble.is_no_such_unit() => {
                // What was signalled before this answer has arrived too, but may not have been read yet.
                self.forgotten = true;
                self.tidy_at = Some(Instant::now() + HEARD);
                return Look::Again(self.tidy_at);
            }
            Ok(()) => {}
            Err(trouble) => {
                tracing::debug!("{} is empty and cannot be stopped: {trouble:?}", self.place.unit);
                self.thaw().await;
                // What matters to others is true; the unit is this task's business.
                let end = self.end();
                self.place.gone(end);
            }
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.tidy_at = Some(Instant::now() + if self.ear.news().removed { SETTLE } else { self.pause.min(SETTLE * 4) });
        Look::Again(self.tidy_at)
    }

    /// SIGTERM to all.
    async fn stop(&mut self, main: &Main) {
        if self.is_populated() || self.exit.is_none() {
            self.stopped_at = Some(Instant::now());
        }
        let mut margin = KILL_MARGIN;
        self.may_have_been_refused();
        // 257 refuses to stop a frozen unit, and no frozen process sees a SIGTERM.
        if self.is_frozen() {
            self.thaw().await;
        }
        let mut asked = self.stop_unit(STOP_PATIENCE).await;
        if let Err(Trouble::Refused { .. }) = &asked
            && asked.as_ref().is_err_and(|trouble| !trouble.is_no_such_unit())
        {
            // As if it had been frozen a moment ago.
            self.thaw().await;
            asked = self.stop_unit(STOP_PATIENCE).await;
        }
        if let Err(trouble) = asked {
            if !trouble.is_no_such_unit() {
                tracing::warn!("{} cannot be stopped, its processes are signalled: {trouble:?}", self.place.unit);
            }
            // A unit that the manager has forgotten may hold processes all the same.
            if let Some(cgroup) = &self.cgroup {
                cgroup.signal(Signal::TERM);
                cgroup.signal(Signal::CONT);
            }
            margin = Duration::ZERO;
        }
        if self.exit.is_none() && main.cgroup() != self.cgroup {
            // It has moved to another group, out of the manager's sight.
            main.signal(Signal::TERM);
        }
        self.kill_at = Some(Instant::now() + self.terminate + margin);
    }

    /// SIGKILL to all that the manager should have killed by now.
    async fn kill(&mut self, main: &Main) {
        if !self.killed {
            tracing::warn!("{} outlived its time-out and is killed", self.place.unit);
        }
        self.killed = true;
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        if self.exit.is_none() {
            main.signal(Signal::KILL);
        }
        self.thaw().await;
        let _ = self.stop_unit(Duration::ZERO).await;
        self.kill_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    async fn stop_unit(&self, patience: Duration) -> Result<(), Trouble> {
        let unit = self.place.unit.as_str();
        let stop = |manager: ManagerProxy<'static>| async move { manager.stop_unit(unit, "replace").await };
        // Where it is repeated without need, the second stop joins the first.
        self.house.bus.call_for(patience, Repeat::Always, stop).await.map(|_job| ())
    }

    /// Lets frozen processes run on, so that they see a SIGTERM, and a manager that believes them to be frozen stop them.
    async fn thaw(&self) {
        let unit = self.place.unit.as_str();
        let asked = self.house.bus.call_once(|manager| async move { manager.thaw_unit(unit).await });
        let seen = async {
            match &self.cgroup {
                Some(cgroup) if cgroup.is_frozen() => until_frozen(cgroup.directory(), false).await,
                // Frozen only in the manager's eyes: its answer is all there is.
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = timeout(THAW_PATIENCE, asked) => {}
            () = seen => {}
        }
        // It does nothing about what it does not know to be frozen.
        if let Some(cgroup) = &self.cgroup {
            cgroup.thaw();
        }
    }

    fn end(&self) -> End {
        let exit = self.exit.unwrap_or(Exit::Unknown);
        let (reached, exceeded) = self.judge(&self.ear.news(), self.empty_since.unwrap_or_else(Instant::now));
        End { exit, reached, exceeded }
    }

    /// How far the ending went, whose last process ended at `ended_at`.
    fn judge(&self, news: &News, ended_at: Instant) -> (Reached, Option<Exceeded>) {
        judge(&Evidence {
            news,
            ended_at,
            terminate: self.terminate,
            mortal: self.mortal,
            stopped_at: self.stopped_at,
            killed: self.killed,
        })
    }
}

/// What is known of an ending.
struct Evidence<'a> {
    news: &'a News,
    ended_at: Instant,
    terminate: Duration,
    mortal: bool,
    stopped_at: Option<Instant>,
    killed: bool,
}

/// The manager says `timeout` where it sent SIGKILL after SIGTERM, and also where a lifetime was over.
fn judge(evidence: &Evidence<'_>) -> (Reached, Option<Exceeded>) {
    let Evidence { news, ended_at, terminate, mortal, stopped_at, killed } = *evidence;
    let lasted = |since: Instant| ended_at.saturating_duration_since(since) >= terminate;
    let result = news.result.as_ref().map(|(result, since)| (result.as_str(), *since));
    let expired = match result {
        Some(("timeout", since)) => mortal && stopped_at.is_none_or(|stopped| since < stopped),
        _ => false,
    };
    let exceeded = match result {
        Some(("timeout", _)) if expired => Some(Exceeded::Time),
        Some(("oom-kill", _)) => Some(Exceeded::Memory),
        _ => None,
    };
    let killed = killed
        || match result {
            Some(("timeout", since)) => !expired || lasted(since),
            // Nothing was heard of it; its duration tells.
            _ => news.missed > 0 && stopped_at.is_some_and(lasted),
        };
    let reached = if killed {
        Reached::Kill
    } else if stopped_at.is_some() || news.stopped || expired {
        Reached::Terminate
    } else {
        Reached::Exit
    };
    (reached, exceeded)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINATE: Duration = Duration::from_secs(5);

    fn news(result: Option<(&str, Instant)>) -> News {
        News { result: result.map(|(result, since)| (result.to_owned(), since)), ..News::default() }
    }

    fn evidence(news: &News, ended_at: Instant) -> Evidence<'_> {
        Evidence { news, ended_at, terminate: TERMINATE, mortal: false, stopped_at: None, killed: false }
    }

    #[test]
    fn by_itself() {
        let now = Instant::now();
        assert_eq!(judge(&evidence(&news(None), now)), (Reached::Exit, None));
    }

    #[test]
    fn by_sigterm_whoever_sent_it() {
        let now = Instant::now();
        let plain = news(None);
        let ours = Evidence { stopped_at: Some(now), ..evidence(&plain, now + TERMINATE * 2) };
        assert_eq!(judge(&ours), (Reached::Terminate, None), "nothing was missed, so nobody killed");
        let theirs = News { stopped: true, ..news(None) };
        assert_eq!(judge(&evidence(&theirs, now)), (Reached::Terminate, None));
    }

    #[test]
    fn by_sigkill_of_the_manager() {
        let now = Instant::now();
        let timeout = news(Some(("timeout", now + TERMINATE)));
        let later = now + TERMINATE + Duration::from_millis(3);
        assert_eq!(judge(&Evidence { stopped_at: Some(now), ..evidence(&timeout, later) }), (Reached::Kill, None));
        assert_eq!(judge(&evidence(&timeout, later)), (Reached::Kill, None), "somebody else stopped it");
    }

    #[test]
    fn by_sigkill_of_this_house() {
        let now = Instant::now();
        let plain = news(None);
        assert_eq!(judge(&Evidence { killed: true, ..evidence(&plain, now) }), (Reached::Kill, None));
    }

    #[test]
    fn a_lifetime_that_is_over() {
        let now = Instant::now();
        let timeout = news(Some(("timeout", now)));
        let over = Evidence { mortal: true, ..evidence(&timeout, now + Duration::from_millis(3)) };
        assert_eq!(judge(&over), (Reached::Terminate, Some(Exceeded::Time)));
        let killed = Evidence { mortal: true, ..evidence(&timeout, now + TERMINATE) };
        assert_eq!(judge(&killed), (Reached::Kill, Some(Exceeded::Time)));
        let stopped = now - TERMINATE;
        let stopped = Evidence { mortal: true, stopped_at: Some(stopped), ..evidence(&timeout, now) };
        assert_eq!(judge(&stopped), (Reached::Kill, None), "it was being stopped when its time-out came");
    }

    #[test]
    fn want_of_memory() {
        let now = Instant::now();
        let oom = news(Some(("oom-kill", now)));
        assert_eq!(judge(&evidence(&oom, now)), (Reached::Exit, Some(Exceeded::Memory)));
    }

    #[test]
    fn what_was_not_heard_is_told_by_the_clock() {
        let now = Instant::now();
        let missed = News { missed: 1, ..news(None) };
        let quick = Evidence { stopped_at: Some(now), ..evidence(&missed, now + TERMINATE / 2) };
        assert_eq!(judge(&quick), (Reached::Terminate, None));
        let slow = Evidence { stopped_at: Some(now), ..evidence(&missed, now + TERMINATE) };
        assert_eq!(judge(&slow), (Reached::Kill, None));
    }
}
