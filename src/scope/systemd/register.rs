//! Which scopes there are, and in which slice each is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::{End, Exit, Launched, Listed, ScopeError, State};
use super::name;
use crate::protocol::Uid;

/// Scopes in one slice: with more, the manager becomes slower with each (1,000 siblings: 3 ms a start become 8).
const SLICE_CAPACITY: usize = 200;

/// All scopes that are not gone.
#[derive(Debug, Default)]
pub(super) struct Register {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Uid, Entry>,
    /// Scopes in each slice of a service.
    slices: HashMap<String, Vec<usize>>,
}

/// What others than its keeper need of a scope.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) unit: String,
    pub(super) state: watch::Receiver<State>,
    /// Cancelled when the scope is to be stopped.
    pub(super) stop: CancellationToken,
    service: String,
    /// The main process, once it executes its program.
    pid: Option<u32>,
    /// The directory of its control group, from then on.
    pub(super) cgroup: Option<PathBuf>,
}

impl Register {
    /// Makes a place for a new scope.
    ///
    /// # Errors
    /// [`ScopeError::Exists`] where the module has one.
    pub(super) fn enter(self: &Arc<Self>, uid: Uid, service: &str, type_name: &str) -> Result<Place, ScopeError> {
        self.enter_as(uid, service, name::scope(service, type_name, uid), None)
    }

    /// Makes a place for the scope called `unit` that exists, in the slice numbered `shard` or in one with room.
    ///
    /// # Errors
    /// [`ScopeError::Exists`] where the module has one.
    pub(super) fn enter_as(
        self: &Arc<Self>,
        uid: Uid,
        service: &str,
        unit: String,
        shard: Option<usize>,
    ) -> Result<Place, ScopeError> {
        let mut inner = self.lock();
        if inner.entries.contains_key(&uid) {
            return Err(ScopeError::Exists(uid));
        }
        let slices = inner.slices.entry(service.to_owned()).or_default();
        let shard = shard.or_else(|| slices.iter().position(|scopes| *scopes < SLICE_CAPACITY)).unwrap_or(slices.len());
        slices.resize(slices.len().max(shard + 1), 0);
        slices[shard] += 1;
        let (sender, state) = watch::channel(State::Running);
        let stop = CancellationToken::new();
        let entry = Entry { unit: unit.clone(), state, stop: stop.clone(), service: service.to_owned(), pid: None, cgroup: None };
        inner.entries.insert(uid, entry);
        let slice = name::slice(service, shard);
        let register = Some(Arc::clone(self));
        Ok(Place { uid, unit, slice, stop, state: sender, service: service.to_owned(), shard, register })
    }

    /// A scope by its module.
    pub(super) fn entry(&self, uid: Uid) -> Option<Entry> {
        self.lock().entries.get(&uid).cloned()
    }

    /// All whose program is executed.
    pub(super) fn list(&self) -> Vec<Listed> {
        let listed = |(uid, entry): (&Uid, &Entry)| Some(Listed { uid: *uid, service: entry.service.clone(), pid: entry.pid? });
        self.lock().entries.iter().filter_map(listed).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A scope's place in the register, until it is gone.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) uid: Uid,
    pub(super) unit: String,
    pub(super) slice: String,
    /// Cancelled when the scope is to be stopped.
    pub(super) stop: CancellationToken,
    state: watch::Sender<State>,
    service: String,
    shard: usize,
    register: Option<Arc<Register>>,
}

impl Place {
    /// Its program is executed, by the process `pid` in the control group of this directory.
    pub(super) fn launched(&self, pid: u32, cgroup: Option<PathBuf>) -> Launched {
        if let Some(register) = &self.register
            && let Some(entry) = register.lock().entries.get_mut(&self.uid)
        {
            (entry.pid, entry.cgroup) = (Some(pid), cgroup.clone());
        }
        Launched { pid, cgroup, state: self.state.subscribe() }
    }

    /// Its main process has ended.
    pub(super) fn exited(&self, exit: Exit) {
        self.state.send_replace(State::Exited(exit));
    }

    /// No process is left; it is out of the register before anybody hears of it.
    pub(super) fn gone(&mut self, end: End) {
        self.leave();
        self.state.send_replace(State::Gone(end));
    }

    fn leave(&mut self) {
        let Some(register) = self.register.take() else { return };
        let mut inner = register.lock();
        inner.entries.remove(&self.uid);
        if let Some(scopes) = inner.slices.get_mut(&self.service).and_then(|slices| slices.get_mut(self.shard)) {
            *scopes = scopes.saturating_sub(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_fill_one_after_the_other_and_room_is_used_again() {
        let register = Arc::new(Register::default());
        let mut places: Vec<Place> = (0..450).map(|_| register.enter(Uid::new(), "pool", "clock").unwrap()).collect();
        let count = |places: &[Place], slice: &str| places.iter().filter(|place| place.slice == slice).count();
        assert_eq!(count(&places, "shmooze-pool.slice"), 200);
        assert_eq!(count(&places, "shmooze-pool-1.slice"), 200);
        assert_eq!(count(&places, "shmooze-pool-2.slice"), 50);
        places.drain(..10);
        assert_eq!(register.enter(Uid::new(), "pool", "clock").unwrap().slice, "shmooze-pool.slice");
        assert_eq!(register.enter(Uid::new(), "queue", "clock").unwrap().slice, "shmooze-queue.slice");
    }

    #[test]
    fn one_scope_a_module() {
        let register = Arc::new(Register::default());
        let uid = Uid::new();
        let place = register.enter(uid, "queue", "clock").unwrap();
        assert_eq!(register.enter(uid, "queue", "clock").unwrap_err(), ScopeError::Exists(uid));
        drop(place);
        assert!(register.enter(uid, "queue", "clock").is_ok());
    }

    #[test]
    fn listed_from_the_program_to_the_end() {
        let register = Arc::new(Register::default());
        let uid = Uid::new();
        let mut place = register.enter(uid, "queue", "clock").unwrap();
        assert_eq!(register.list(), []);
        let launched = place.launched(7, None);
        assert_eq!(register.list(), [Listed { uid, service: "queue".into(), pid: 7 }]);
        place.exited(Exit::Status(0));
        assert_eq!(*launched.state.borrow(), State::Exited(Exit::Status(0)));
        let end = End { exit: Exit::Status(0), reached: super::super::super::Reached::Exit, exceeded: None };
        place.gone(end);
        assert_eq!((register.list(), *launched.state.borrow()), (vec![], State::Gone(end)));
        assert!(register.entry(uid).is_none());
    }

    #[test]
    fn one_that_exists_already_keeps_its_slice() {
        let register = Arc::new(Register::default());
        let place = register.enter_as(Uid::new(), "pool", "x.scope".into(), Some(3)).unwrap();
        assert_eq!(place.slice, "shmooze-pool-3.slice");
        assert_eq!(register.enter(Uid::new(), "pool", "clock").unwrap().slice, "shmooze-pool.slice");
    }
}
