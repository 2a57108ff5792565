//! How a module ended.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use crate::journal::{EndFields, Witness};
use crate::scope::{Exceeded, Exit, Reached};

/// Why a module had to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A client removed it.
    Removed,
    /// It said `rm` itself.
    Own,
    /// One of its streams broke without a word.
    StreamLost,
    /// It did not answer in time.
    TimedOut,
    /// It refused `init`, `play` or `suspend`.
    Refused,
    /// It never opened both streams, or never ran.
    NotConnected,
    /// The service ended before it had started.
    Drained,
}

impl Cause {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Removed, Self::Own, Self::StreamLost, Self::TimedOut, Self::Refused, Self::NotConnected, Self::Drained];

    /// The cause of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// One word, as in `history` and in the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Own => "own",
            Self::StreamLost => "stream_lost",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::NotConnected => "not_connected",
            Self::Drained => "drained",
        }
    }
}

/// How a module ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Why it had to.
    pub cause: Cause,
    /// How far it had to go.
    pub reached: Reached,
    /// How its main process ended; `None` where it never ran.
    pub exit: Option<Exit>,
    /// Which limit it ran into, where one ended it.
    pub exceeded: Option<Exceeded>,
}

impl Ending {
    /// Whether nothing went wrong: it ended because it should or would, and by itself.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let wanted = matches!(self.cause, Cause::Removed | Cause::Own | Cause::Drained);
        wanted && self.reached != Reached::Kill && matches!(self.exit, None | Some(Exit::Status(0)))
    }

    /// Whether a module that is started again when it fails is started again: it ended neither because somebody wanted it to,
    /// nor by a clean exit, which is status 0 without help.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self.cause {
            Cause::Removed | Cause::Own | Cause::Drained => false,
            Cause::StreamLost => self.reached != Reached::Exit || self.exit != Some(Exit::Status(0)),
            Cause::TimedOut | Cause::Refused | Cause::NotConnected => true,
        }
    }

    /// The ending as fields of the journal.
    pub(super) fn tell(&self, witness: &Witness) {
        let (exit_code, exit_status) = match self.exit {
            Some(Exit::Status(status)) => ("exited", status.to_string()),
            Some(exit @ Exit::Signal(_)) => ("killed", exit.to_string()),
            Some(Exit::Unknown) | None => ("", String::new()),
        };
        let fields = EndFields { cause: self.cause.name(), reached: self.reached.name(), exit_code, exit_status: &exit_status };
        witness.ended(fields, &self.to_string(), self.is_good());
    }
}

/// How far the ending of a module has come, as far as its broker knows.
#[derive(Debug, Default)]
pub(super) struct Progress {
    began: OnceLock<SystemTime>,
    /// When it was stopped, and how long after SIGTERM it is killed.
    stopped: OnceLock<(SystemTime, Duration)>,
}

impl Progress {
    /// Its streams are closed.
    pub(super) fn begin(&self) {
        self.began.get_or_init(SystemTime::now);
    }

    /// Its house is asked to stop it, with this much time between SIGTERM and SIGKILL.
    pub(super) fn stop(&self, terminate: Duration) {
        self.stopped.get_or_init(|| (SystemTime::now(), terminate));
    }

    /// The step that it is in at `now`, and since when; `None` where it does not end.
    pub(super) fn step(&self, now: SystemTime) -> Option<(Reached, SystemTime)> {
        let began = *self.began.get()?;
        let Some((stopped, terminate)) = self.stopped.get() else { return Some((Reached::Exit, began)) };
        let killed = *stopped + *terminate;
        Some(if now < killed { (Reached::Terminate, *stopped) } else { (Reached::Kill, killed) })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.cause {
            Cause::Removed => "removed",
            Cause::Own => "ended on its own",
            Cause::StreamLost => "lost a stream",
            Cause::TimedOut => "did not answer in time",
            Cause::Refused => "refused a command",
            Cause::NotConnected => "did not connect",
            Cause::Drained => "service ended",
        })?;
        f.write_str(match self.reached {
            Reached::Exit => "",
            Reached::Terminate => ", ended by SIGTERM",
            Reached::Kill => ", ended by SIGKILL",
        })?;
        f.write_str(match self.exceeded {
            None => "",
            Some(Exceeded::Memory) => ", out of memory",
            Some(Exceeded::Time) => ", lived as long as it may",
        })?;
        self.exit.map_or(Ok(()), |exit| write!(f, ", {exit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other() {
        let progress = Progress::default();
        let second = Duration::from_secs(1);
        assert_eq!(progress.step(SystemTime::now()), None);
        progress.begin();
        let began = progress.step(SystemTime::now());
        assert!(matches!(began, Some((Reached::Exit, _))), "{began:?}");
        progress.begin();
        assert_eq!(progress.step(SystemTime::now() + 9 * second), began, "since its beginning");
        progress.stop(5 * second);
        let Some((Reached::Terminate, stopped)) = progress.step(SystemTime::now()) else { panic!("is not being stopped") };
        progress.stop(9 * second);
        assert_eq!(progress.step(stopped + 5 * second), Some((Reached::Kill, stopped + 5 * second)));
    }
}
