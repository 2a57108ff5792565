//! How a module ended.

use std::fmt;

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
