//! The launcher: who starts modules on a broker's behalf.
//!
//! ```text
//!   broker ── service, type, uid, two ports ──▶ Launcher ── command line, user, limits ──▶ Scopes
//!          ◀───── how far the scope has come ──          ◀──────────────────────────────
//! ```
//!
//! A broker names only what it wants started; what that means is read from the settings here, so that a broken broker can
//! ask for nothing but a module type that the administrator configured.
//!
//! * [`Local`]: in the process that asks. What is behind the other one, too;
//! * [`Remote`]: in the program `shmooze-launcher`, over a Unix socket that [`serve`] answers on.
//!
//! A broker may go and be followed by another, which asks what became of its modules: how they ended meanwhile is
//! remembered.

mod local;
mod memory;
mod remote;
mod server;
#[cfg(test)]
mod tests;
mod wire;

pub use local::Local;
pub use remote::Remote;
pub use server::{Reload, serve};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::protocol::Uid;
use crate::scope::{BoxFuture, Launched, Listed, ScopeError, State};

/// A module type of the settings, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeName {
    /// Name of the service, as in `services` of the settings.
    pub service: String,
    /// Whether `name` is one of `backgrounds` and not of `modules`.
    pub background: bool,
    /// Name of the module type.
    pub name: String,
}

/// What a broker asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// What the module is.
    pub module_type: TypeName,
    /// The new module's identifier.
    pub uid: Uid,
    /// Where the broker waits for the command stream.
    pub command_port: u16,
    /// Where the broker waits for the update stream.
    pub update_port: u16,
}

/// Why something was not launched; one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LaunchError {
    /// The settings know no such type.
    #[error("{service} has no module type {type_name}")]
    UnknownType {
        /// Name of the service.
        service: String,
        /// Name of the type.
        type_name: String,
    },
    /// The user of the settings is not known to the system.
    #[error("user {user} of module type {type_name} does not exist")]
    UnknownUser {
        /// The user's name.
        user: String,
        /// Name of the type.
        type_name: String,
    },
    /// The launcher could not read its settings again.
    #[error("{0}")]
    Settings(String),
    /// The scope could not be made.
    #[error(transparent)]
    Scope(#[from] ScopeError),
}

/// Starts and ends modules.
pub trait Launcher: Send + Sync + 'static {
    /// Launches a module. Answers once its program is executed.
    fn launch(&self, launch: Launch) -> BoxFuture<'_, Result<Launched, LaunchError>>;

    /// SIGTERM to every process of the module, SIGKILL to those that are left after the type's `terminate`. Answers at
    /// once; a module that is gone is success.
    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Sends a signal to every process of the module.
    fn kill(&self, uid: Uid, signal: i32) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Stops the module's processes from running.
    fn freeze(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Lets a frozen module run on.
    fn thaw(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>>;

    /// Sets the limits that the settings have now for the type of a running module, and lifts those that they have no longer, as
    /// far as they can be changed while it runs (all but `RuntimeMaxSec`, `OOMPolicy` and those of single processes).
    fn set_limits(&self, uid: Uid, module_type: TypeName) -> BoxFuture<'_, Result<(), LaunchError>>;

    /// How far a module has come that was launched before.
    fn watch(&self, uid: Uid) -> BoxFuture<'_, Result<watch::Receiver<State>, ScopeError>>;

    /// What the service manager is about to do with the unit of whoever asks: `stop`, `restart` and the like; `None` where
    /// it is about to do nothing, or where there is none.
    fn job(&self) -> BoxFuture<'_, Result<Option<String>, ScopeError>>;

    /// The modules of a service that are not gone.
    fn list(&self, service: &str) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>>;
}
