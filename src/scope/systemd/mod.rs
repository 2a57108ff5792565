//! The house of systemd: each module in a transient scope of its own.
//!
//! ```text
//!   Systemd ─▶ register ─ who is where        launch ─ how a scope begins ──▶ keeper ─ until nothing is left of it
//!                                             │  ▲ spare ─ scopes made before │
//!              connection ◀──calls────────────┴──┴────────────────────────────┤
//!                  │                                                          │
//!                  ▼ signals                                                  │
//!                jobs ─────────────────────────────news of a unit────────────▶┘
//! ```
//!
//! A module is in its scope before its first instruction ([`shim`](super::shim)), so nothing that it starts can be outside,
//! and its limits hold from the start. systemd ends it: SIGTERM to all, SIGKILL to what is left after `terminate`.
//!
//! **Invariants.** Every call has a deadline. A launch is answered and never left half done, even if nobody waits for it
//! any more. A launched scope is watched until neither a process nor its unit is left, over restarts of the bus and of
//! the manager.

mod adopt;
mod cgroup;
mod connection;
mod exit;
mod job;
mod jobs;
mod journal;
mod keeper;
mod launch;
mod manager;
mod name;
mod properties;
mod register;
mod spare;
mod stock;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot, watch};

use self::connection::{Bus, Repeat, Which};
use self::launch::Order;
use self::properties::Takes;
use self::register::Register;
use self::spare::Spares;
use super::warm::Warm;
use super::{BoxFuture, Launched, Listed, ScopeError, Scopes, Spec, State};
use crate::protocol::Uid;
use crate::settings::ScopeLimit;

pub use self::cgroup::service_of_process;

/// Starts that the manager has in hand at once.
const STARTS: usize = 8;

/// Transient scopes of systemd. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Systemd {
    house: Arc<House>,
    _owner: Arc<Owner>,
}

/// With the last of it all that waits for modules is given up. What was launched is kept until its end all the same.
#[derive(Debug)]
struct Owner {
    house: Arc<House>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.house.spares.close();
        self.house.warm.close();
    }
}

/// What every task of the house shares.
#[derive(Debug)]
struct House {
    warm: Arc<Warm>,
    bus: Bus,
    takes: Takes,
    starts: Semaphore,
    register: Arc<Register>,
    spares: Spares,
}

impl Systemd {
    /// A house in the system's manager, which takes orders from root only; `shim` is the path of the program
    /// `shmooze-shim`. Connects when it is first asked for something.
    #[must_use]
    pub fn system(shim: PathBuf) -> Self {
        Self::new(shim, Which::System)
    }

    /// A house in the manager of this process's user, which needs no privilege; see [`Systemd::system`].
    #[must_use]
    pub fn user(shim: PathBuf) -> Self {
        Self::new(shim, Which::User)
    }

    fn new(shim: PathBuf, which: Which) -> Self {
        let (bus, takes, starts) = (Bus::new(which), Takes::default(), Semaphore::new(STARTS));
        let (register, spares) = (Arc::default(), Spares::default());
        let warm = Warm::new(shim);
        let house = Arc::new(House { warm, bus, takes, starts, register, spares });
        Self { _owner: Arc::new(Owner { house: Arc::clone(&house) }), house }
    }

    /// Connects, and answers the manager's version (`252.39-1~deb12u2`).
    ///
    /// # Errors
    /// [`ScopeError::System`] where no manager answers; asked once, without the patience of the other calls.
    pub async fn probe(&self) -> Result<String, ScopeError> {
        self.house.bus.version().await.map_err(ScopeError::from)
    }

    /// Takes over all scopes that an earlier process of this program left: from now on they are watched, listed and
    /// stopped like those that this one launched. Answers those that were new.
    ///
    /// # Errors
    /// [`ScopeError::System`] where the manager does not answer.
    pub async fn adopt(&self) -> Result<Vec<Listed>, ScopeError> {
        adopt::adopt(&self.house, &[name::PATTERN]).await
    }

    /// How many scopes wait for a module now, of all types.
    #[must_use]
    pub fn spares(&self) -> usize {
        self.house.spares.parked()
    }

    /// How many processes wait to become modules, without a scope.
    #[must_use]
    pub fn warm(&self) -> usize {
        self.house.warm.waiting()
    }

    /// The entry of a scope, whoever launched it.
    async fn entry(&self, uid: Uid) -> Result<register::Entry, ScopeError> {
        if let Some(entry) = self.house.register.entry(uid) {
            return Ok(entry);
        }
        adopt::adopt(&self.house, &[&name::pattern_of(uid), name::SPARE_PATTERN]).await?;
        self.house.register.entry(uid).ok_or(ScopeError::NoSuchScope(uid))
    }

    /// Asks the manager about the scope of a module.
    async fn about<F>(
        &self,
        uid: Uid,
        repeat: Repeat,
        ask: impl Fn(manager::ManagerProxy<'static>, String) -> F,
    ) -> Result<(), ScopeError>
    where
        F: Future<Output = zbus::Result<()>>,
    {
        let unit = self.entry(uid).await?.unit;
        self.house
            .bus
            .call(repeat, |manager| ask(manager, unit.clone()))
            .await
            .map_err(|trouble| if trouble.is_no_such_unit() { ScopeError::NoSuchScope(uid) } else { trouble.into() })
    }
}

/// Waits until a control group is seen to be frozen, or not to be; for ever where nobody knows which it is.
async fn is_frozen(directory: Option<&Path>, frozen: bool) {
    match directory {
        Some(directory) => cgroup::until_frozen(directory, frozen).await,
        None => std::future::pending().await,
    }
}

impl Scopes for Systemd {
    fn launch(&self, spec: Spec) -> BoxFuture<'_, Result<Launched, ScopeError>> {
        Box::pin(async move {
            let place = self.house.register.enter(spec.uid, &spec.service, &spec.type_name)?;
            let (answer, answered) = oneshot::channel();
            let in_hand = self.house.spares.in_hand();
            spare::begin(&self.house, Order { spec, place, answer, in_hand });
            answered.await.unwrap_or_else(|_| Err(ScopeError::System("the launch was cut off".to_owned())))
        })
    }

    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(async move {
            match self.entry(uid).await {
                Ok(entry) => entry.stop.cancel(),
                Err(ScopeError::NoSuchScope(_)) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })
    }

    fn kill(&self, uid: Uid, signal: i32) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(async move {
            let ask = move |manager: manager::ManagerProxy<'static>, unit: String| async move {
                manager.kill_unit(&unit, "all", signal).await
            };
            self.about(uid, Repeat::IfNotDelivered, ask).await
        })
    }

    fn freeze(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(async move {
            let entry = self.entry(uid).await?;
            let freeze = self.about(uid, Repeat::Always, |manager, unit| async move { manager.freeze_unit(&unit).await });
            // A manager that stops a unit meanwhile does not answer whoever asked it to freeze it.
            tokio::select! {
                biased;
                () = entry.stop.cancelled() => {
                    Err(ScopeError::Unsupported("a module that is being ended cannot be frozen".into()))
                }
                frozen = freeze => frozen,
                () = is_frozen(entry.cgroup.as_deref(), true) => Ok(()),
            }
        })
    }

    fn thaw(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(async move {
            let entry = self.entry(uid).await?;
            let thaw = self.about(uid, Repeat::Always, |manager, unit| async move { manager.thaw_unit(&unit).await });
            tokio::select! {
                biased;
                thawed = thaw => thawed,
                () = is_frozen(entry.cgroup.as_deref(), false) => Ok(()),
            }
        })
    }

    fn set_limits(&self, uid: Uid, limits: Vec<ScopeLimit>) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(async move {
            if !limits.iter().all(ScopeLimit::can_be_changed) {
                return Err(ScopeError::Unsupported("RuntimeMaxSec and OOMPolicy cannot be changed while a module runs".into()));
            }
            let tasks = self.house.bus.default_tasks().await?;
            let limits = &limits;
            self.about(uid, Repeat::Always, |manager, unit| async move {
                let properties: Vec<_> = properties::limits(limits).chain(properties::lifted(limits, tasks)).collect();
                manager.set_unit_properties(&unit, true, &properties).await
            })
            .await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>> {
        Box::pin(async move {
            self.adopt().await?;
            Ok(self.house.register.list())
        })
    }

    fn job<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<Option<String>, ScopeError>> {
        Box::pin(async move { Ok(job::of_unit(&self.house.bus, unit).await?) })
    }

    fn give_up_spares(&self) {
        self.house.spares.give_up();
    }

    fn watch(&self, uid: Uid) -> Option<watch::Receiver<State>> {
        self.house.register.entry(uid).map(|entry| entry.state)
    }
}
