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
//! * [`Systemd`]: a transient scope of systemd's, made before the program's first instruction;
//! * [`ProcessGroup`]: a session of its own, and a mark in the environment that descendants inherit;
//! * [`Recording`]: no processes at all, for tests of what is asked of a house.
//!
//! **Invariant:** after [`Scopes::stop`] a scope always comes to [`State::Gone`], and then no process of it is left.

mod process;
mod process_group;
mod recording;
mod shim;
pub(crate) mod sweep;
mod systemd;
mod usage;
mod warm;

pub use process_group::ProcessGroup;
pub use recording::{Call, Gate, Recording};
pub use shim::{Program, User, shim_main};
pub use systemd::{Systemd, service_of_process};
pub use usage::Usage;

use std::borrow::Cow;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::journal::{ProgramWitness, Witness};
use crate::protocol::Uid;
use crate::settings::ScopeLimit;

/// A future that a trait object can answer with.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What to launch.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The module's identifier; descendants find it in `SHMOOZE_UID`.
    pub uid: Uid,
    /// The service that it belongs to.
    pub service: String,
    /// Its type; the service's own name where it is no module.
    pub type_name: String,
    /// Whether it is no module but the application's own service.
    pub is_app: bool,
    /// What to execute, and as whom.
    pub program: Program,
    /// How long SIGTERM may take before SIGKILL follows.
    pub terminate: Duration,
    /// Limits of all its processes together; a house that cannot set them does without.
    pub limits: Vec<ScopeLimit>,
    /// The unit that the scope ends with: stopped after it, but neither by its failure nor by its restart.
    pub part_of: Option<String>,
    /// How many scopes to keep ready for later launches like this one, where the house can; see [`Scopes::give_up_spares`].
    pub spares: usize,
}

impl Spec {
    /// Tells that the program is about to be executed, in the scope of this name where it has one.
    fn tell_launched(&self, pid: u32, scope: Option<&str>) {
        if self.is_app {
            ProgramWitness::new(self.service.as_str(), self.uid).launched(pid, scope);
        } else {
            Witness::new(self.service.as_str(), self.uid, self.type_name.as_str()).launched(pid, scope);
        }
    }
}

/// How the main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// How far an ending had to go (protocol.md section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reached {
    /// Its processes ended by themselves.
    Exit,
    /// SIGTERM was needed.
    Terminate,
    /// SIGKILL was needed, by one of its processes at least.
    Kill,
}

impl Reached {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Exit, Self::Terminate, Self::Kill];

    /// One word, as in `history` and in the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Terminate => "terminate",
            Self::Kill => "kill",
        }
    }
}

/// A limit that ended a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exceeded {
    /// The kernel killed for want of memory ([`ScopeLimit::MemoryMax`], [`ScopeLimit::OomPolicy`]).
    Memory,
    /// It lived too long ([`ScopeLimit::RuntimeMax`]).
    Time,
}

/// How a scope ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How the main process ended.
    pub exit: Exit,
    /// How far whoever stopped it, this house or the system, had to go.
    pub reached: Reached,
    /// Which limit it ran into, where one ended it.
    pub exceeded: Option<Exceeded>,
}

/// How far a scope has come; it only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The main process lives.
    Running,
    /// The main process has ended, others of the scope may live.
    Exited(Exit),
    /// No process is left.
    Gone(End),
}

impl State {
    /// How the main process ended, once it has.
    #[must_use]
    pub const fn exit(&self) -> Option<Exit> {
        match self {
            Self::Running => None,
            Self::Exited(exit) | Self::Gone(End { exit, .. }) => Some(*exit),
        }
    }

    /// How the scope ended, once it has.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        match self {
            Self::Gone(end) => Some(*end),
            _ => None,
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
    /// The directory of the control group that holds its processes, below the mount of version 2 (cgroups(7)); `None` where
    /// the house has none of its own for it.
    pub cgroup: Option<PathBuf>,
    /// How far the scope has come.
    pub state: watch::Receiver<State>,
}

/// Why a house could not do what it was asked; one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ScopeError {
    /// The program could not be executed.
    #[error("{program} could not be started: {reason}")]
    Execute {
        /// The program as it stands in the settings.
        program: String,
        /// The system's reason.
        reason: String,
    },
    /// The module has a scope already.
    #[error("module {0} runs already")]
    Exists(Uid),
    /// There is no such scope, or no longer.
    #[error("no scope of module {0}")]
    NoSuchScope(Uid),
    /// The house cannot do this.
    #[error("{0}")]
    Unsupported(Cow<'static, str>),
    /// The system refused.
    #[error("{0}")]
    System(String),
}

/// One scope in a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Whose.
    pub uid: Uid,
    /// The service that it belongs to.
    pub service: String,
    /// The main process, or the oldest one of a scope that an earlier process of this program launched.
    pub pid: u32,
}

/// A house that holds the processes of modules.
pub trait Scopes: Send + Sync + 'static {
    /// Launches the program in a new scope. Answers once it is executed.
    fn launch(&self, spec: Spec) -> BoxFuture<'_, Result<Launched, ScopeError>>;

    /// SIGTERM to every process of the scope, and SIGKILL after the spec's `terminate` to those that are left. Answers at
    /// once; [`Launched::state`] tells the rest. A scope that is gone already is success.
    ///
    /// A main process that ends by itself stops nothing: descendants that it left behind live on until this is called.
    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Sends a signal to every process of the scope.
    fn kill(&self, uid: Uid, signal: i32) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Stops every process of the scope from running until [`Scopes::thaw`].
    fn freeze(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Lets a frozen scope run on.
    fn thaw(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Gives a running scope these limits, and lifts all others that it was launched with, as far as either can be done while
    /// it runs.
    fn set_limits(&self, uid: Uid, limits: Vec<ScopeLimit>) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// All scopes that are not gone.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>>;

    /// What the system is about to do with a unit: `stop`, `restart` and the like (`systemctl list-jobs`); `None` where
    /// nothing is, or where the house knows no units.
    fn job<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<Option<String>, ScopeError>> {
        let _ = unit;
        Box::pin(async { Ok(None) })
    }

    /// Gives up all scopes that are kept ready: what they were made for has changed.
    fn give_up_spares(&self) {}

    /// How far a scope has come; `None` where there is none, or no longer.
    fn watch(&self, uid: Uid) -> Option<watch::Receiver<State>>;
}
