//! A house without processes: it records what it is asked and the test decides what happens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore, watch};

use super::{BoxFuture, Launched, Listed, ScopeError, Scopes, Spec, State};
use crate::protocol::Uid;
use crate::settings::ScopeLimit;

/// What was asked of the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// [`Scopes::launch`] of this type, with this command line.
    Launch(String, Vec<String>),
    /// [`Scopes::stop`].
    Stop(Uid),
    /// [`Scopes::kill`].
    Kill(Uid, i32),
    /// [`Scopes::freeze`].
    Freeze(Uid),
    /// [`Scopes::thaw`].
    Thaw(Uid),
    /// [`Scopes::set_limits`].
    SetLimits(Uid, Vec<ScopeLimit>),
}

/// Records calls; a launched scope runs until the test ends it.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    inner: Arc<Mutex<Inner>>,
    called: Arc<Notify>,
}

/// Holds the launches of a [`Recording`] until it is opened.
#[derive(Debug, Clone)]
pub struct Gate {
    reached: Arc<Notify>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// Waits until a launch waits here.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets one launch go on.
    pub fn open(&self) {
        self.open.add_permits(1);
    }
}

#[derive(Debug, Default)]
struct Inner {
    calls: Vec<Call>,
    scopes: HashMap<Uid, (Listed, watch::Sender<State>)>,
    refusal: Option<ScopeError>,
    gate: Option<Gate>,
}

impl Recording {
    /// A house in which every launch succeeds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every launch fails so.
    pub fn refuse(&self, error: ScopeError) {
        self.with(|inner| inner.refusal = Some(error));
    }

    /// From now on every launch waits at the gate.
    #[must_use]
    pub fn hold(&self) -> Gate {
        let gate = Gate { reached: Arc::default(), open: Arc::new(Semaphore::new(0)) };
        self.with(|inner| inner.gate = Some(gate.clone()));
        gate
    }

    /// Waits until what was asked so far is as wanted.
    pub async fn until(&self, wanted: impl Fn(&[Call]) -> bool) {
        loop {
            let called = self.called.notified();
            if self.with(|inner| wanted(&inner.calls)) {
                return;
            }
            called.await;
        }
    }

    /// What was asked so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.with(|inner| inner.calls.clone())
    }

    /// Brings a scope to `state`.
    pub fn advance(&self, uid: Uid, state: State) {
        self.with(|inner| {
            if let Some((_, sender)) = inner.scopes.get(&uid) {
                sender.send_replace(state);
            }
            if state.is_gone() {
                inner.scopes.remove(&uid);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, call: Call) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.with(|inner| inner.calls.push(call));
        self.called.notify_waiters();
        Box::pin(async { Ok(()) })
    }
}

impl Scopes for Recording {
    fn launch(&self, spec: Spec) -> BoxFuture<'_, Result<Launched, ScopeError>> {
        Box::pin(async move {
            let gate = self.with(|inner| {
                inner.calls.push(Call::Launch(spec.type_name, spec.program.command));
                inner.gate.clone()
            });
            self.called.notify_waiters();
            if let Some(gate) = gate {
                gate.reached.notify_one();
                // Never closed.
                if let Ok(permit) = gate.open.acquire().await {
                    permit.forget();
                }
            }
            self.with(|inner| {
                if let Some(error) = &inner.refusal {
                    return Err(error.clone());
                }
                let (sender, state) = watch::channel(State::Running);
                let pid = u32::try_from(inner.scopes.len()).unwrap_or_default() + 1;
                inner.scopes.insert(spec.uid, (Listed { uid: spec.uid, service: spec.service, pid }, sender));
                Ok(Launched { pid, cgroup: None, state })
            })
        })
    }

    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.record(Call::Stop(uid))
    }

    fn kill(&self, uid: Uid, signal: i32) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.record(Call::Kill(uid, signal))
    }

    fn freeze(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.record(Call::Freeze(uid))
    }

    fn thaw(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.record(Call::Thaw(uid))
    }

    fn set_limits(&self, uid: Uid, limits: Vec<ScopeLimit>) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.record(Call::SetLimits(uid, limits))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>> {
        let list = self.with(|inner| inner.scopes.values().map(|(listed, _)| listed.clone()).collect());
        Box::pin(async { Ok(list) })
    }

    fn watch(&self, uid: Uid) -> Option<watch::Receiver<State>> {
        self.with(|inner| inner.scopes.get(&uid).map(|(_, sender)| sender.subscribe()))
    }
}
