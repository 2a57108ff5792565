//! Scopes: where the processes of a module live and how they are ended.
//!
//! ```text
//!                       launch ─▶ Running ──main process ends──▶ Exited ──last process gone──▶ Gone
//!                                    │                              │                            ▲
//!   stop (SIGTERM, then SIGKILL) ────┴──────────────────────────────┴────────────────────────────┘
//! ```
//!
//! [`Scopes`] is the narrow trait that the launcher needs; each house keeps its promise with other means:
//!
//! * [`ProcessGroup`]: a session of its own, and a mark in the environment that descendants inherit;
//! * [`Recording`]: no processes at all, for tests of what is asked of a house.
//!
//! **Invariant:** after [`Scopes::stop`] a scope always comes to [`State::Gone`], and then no process of it is left.

mod process_group;
mod recording;
mod shim;
mod sweep;

pub use process_group::ProcessGroup;
pub use recording::{Call, Recording};
pub use shim::{Program, User, shim_main};

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

use crate::protocol::Uid;

/// A future that a trait object can answer with.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What to launch.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The module's identifier; descendants find it in `SHMOOZE_UID`.
    pub uid: Uid,
    /// The service that it belongs to.
    pub service: String,
    /// Its type.
    pub type_name: String,
    /// What to execute, and as whom.
    pub program: Program,
    /// How long SIGTERM may take before SIGKILL follows.
    pub terminate: Duration,
}

/// How the main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody could see how.
    Unknown,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {signal}"),
            },
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

impl From<std::process::ExitStatus> for Exit {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Status(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

/// How far a scope has come; it only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The main process lives.
    Running,
    /// The main process has ended, others of the scope may live.
    Exited(Exit),
    /// No process is left.
    Gone(Exit),
}

impl State {
    /// How the main process ended, once it has.
    #[must_use]
    pub const fn exit(&self) -> Option<Exit> {
        match self {
            Self::Running => None,
            Self::Exited(exit) | Self::Gone(exit) => Some(*exit),
        }
    }

    /// Whether no process is left.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone(_))
    }
}

/// A launched scope.
#[derive(Debug, Clone)]
pub struct Launched {
    /// The main process.
    pub pid: u32,
    /// How far the scope has come.
    pub state: watch::Receiver<State>,
}

/// Why a house could not do what it was asked; one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The program could not be executed.
    #[error("{program} could not be started: {reason}")]
    Execute {
        /// The program as it stands in the settings.
        program: String,
        /// The system's reason.
        reason: String,
    },
    /// There is no such scope, or no longer.
    #[error("no scope of module {0}")]
    NoSuchScope(Uid),
    /// The house cannot do this.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The system refused.
    #[error("{0}")]
    System(String),
}

/// One scope in a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose.
    pub uid: Uid,
    /// The service that it belongs to.
    pub service: String,
    /// The main process.
    pub pid: u32,
}

/// A house that holds the processes of modules.
pub trait Scopes: Send + Sync + 'static {
    /// Launches the program in a new scope. Answers once it is executed.
    fn launch(&self, spec: Spec) -> BoxFuture<'_, Result<Launched, ScopeError>>;

    /// SIGTERM to every process of the scope, and SIGKILL after the spec's `terminate` to those that are left. Answers at
    /// once; [`Launched::state`] tells the rest. A scope that is gone already is success.
    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Sends a signal to every process of the scope.
    fn kill(&self, uid: Uid, signal: i32) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Stops every process of the scope from running until [`Scopes::thaw`].
    fn freeze(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Lets a frozen scope run on.
    fn thaw(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Changes resource limits of a running scope, by their systemd names (`systemd.resource-control(5)`).
    fn set_limits(&self, uid: Uid, limits: Vec<(String, String)>) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// All scopes that are not gone.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>>;

    /// How far a scope has come; `None` where there is none, or no longer.
    fn watch(&self, uid: Uid) -> Option<watch::Receiver<State>>;
}
