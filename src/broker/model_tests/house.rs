//! A house in which nothing runs: launches end, processes stop and go when the world says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{oneshot, watch};

use super::model::M;
use crate::protocol::Uid;
use crate::scope::{BoxFuture, End, Exit, Launched, Listed, Reached, ScopeError, Scopes, Spec, State};
use crate::settings::ScopeLimit;

/// A launch that is asked for.
pub(super) struct Wanted {
    pub(super) module: M,
    /// Ports of the command and of the update stream.
    pub(super) ports: [u16; 2],
    service: String,
    answer: oneshot::Sender<Result<Launched, ScopeError>>,
}

#[derive(Default)]
struct Inner {
    wanted: Vec<Wanted>,
    /// All that ever ran: how modules ended is remembered.
    scopes: BTreeMap<Uid, (Listed, watch::Sender<State>)>,
    stops: Vec<M>,
}

#[derive(Clone, Default)]
pub(super) struct House(Arc<Mutex<Inner>>);

fn number(uid: Uid) -> M {
    M::try_from(uid.number()).unwrap()
}

impl House {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Launches asked for since.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        std::mem::take(&mut self.inner().wanted)
    }

    /// Stops asked for since.
    pub(super) fn stops(&self) -> Vec<M> {
        std::mem::take(&mut self.inner().stops)
    }

    /// Ends a launch; answers whether something runs now. Nothing does where nobody is there to hear of it.
    pub(super) fn launch(&self, wanted: Wanted, failure: Option<&str>) -> bool {
        let Wanted { module, service, answer, .. } = wanted;
        let result = match failure {
            Some(failure) => Err(ScopeError::System(failure.to_owned())),
            None => {
                let (sender, state) = watch::channel(State::Running);
                let uid = Uid::numbered(module as u128);
                // Whoever connects to its streams is looked up, and is this process.
                let pid = std::process::id();
                self.inner().scopes.insert(uid, (Listed { uid, service, pid }, sender));
                Ok(Launched { pid, cgroup: None, state })
            }
        };
        let runs = result.is_ok();
        let heard = answer.send(result).is_ok();
        if runs && !heard {
            self.gone(module, Reached::Terminate);
        }
        runs && heard
    }

    /// The last process of a module has gone.
    pub(super) fn gone(&self, module: M, reached: Reached) {
        if let Some((_, state)) = self.inner().scopes.get(&Uid::numbered(module as u128)) {
            state.send_replace(State::Gone(End { exit: Exit::Status(0), reached, exceeded: None }));
        }
    }

    /// Whatever runs.
    pub(super) fn running(&self) -> Vec<M> {
        let inner = self.inner();
        inner.scopes.iter().filter(|(_, (_, state))| !state.borrow().is_gone()).map(|(uid, _)| number(*uid)).collect()
    }
}

fn nothing<'a>() -> BoxFuture<'a, Result<(), ScopeError>> {
    Box::pin(async { Ok(()) })
}

impl Scopes for House {
    fn launch(&self, spec: Spec) -> BoxFuture<'_, Result<Launched, ScopeError>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let words = &spec.program.command;
            let port = |back: usize| words[words.len() - back].parse().unwrap();
            let wanted = Wanted { module: number(spec.uid), ports: [port(2), port(1)], service: spec.service, answer };
            self.inner().wanted.push(wanted);
            answered.await.unwrap_or_else(|_| Err(ScopeError::System("forgotten".to_owned())))
        })
    }

    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.inner().stops.push(number(uid));
        nothing()
    }

    fn kill(&self, _: Uid, _: i32) -> BoxFuture<'_, Result<(), ScopeError>> {
        nothing()
    }

    fn freeze(&self, _: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        nothing()
    }

    fn thaw(&self, _: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        nothing()
    }

    fn set_limits(&self, _: Uid, _: Vec<ScopeLimit>) -> BoxFuture<'_, Result<(), ScopeError>> {
        nothing()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>> {
        let inner = self.inner();
        let living = inner.scopes.values().filter(|(_, state)| !state.borrow().is_gone());
        let listed = living.map(|(listed, _)| listed.clone()).collect();
        Box::pin(async { Ok(listed) })
    }

    fn watch(&self, uid: Uid) -> Option<watch::Receiver<State>> {
        self.inner().scopes.get(&uid).map(|(_, state)| state.subscribe())
    }
}
