//! How modules ended of which their broker may not have heard.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::protocol::Uid;
use crate::scope::State;

/// Modules that have ended and are remembered. A broker that was away asks within seconds; this many may end meanwhile.
const MOST: usize = 10_000;

/// How many of them are looked at for each that comes: two would do, were none of them alive.
const LOOKS: usize = 64;

/// States of modules, to be told to the broker that asks next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    states: HashMap<Uid, watch::Receiver<State>>,
    /// Oldest first.
    order: VecDeque<Uid>,
}

impl Memory {
    pub(super) fn put(&self, uid: Uid, state: watch::Receiver<State>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.states.insert(uid, state).is_none() {
            inner.order.push_back(uid);
        }
        // One that lives goes to the end: what ends of it is not known yet.
        for _ in 0..LOOKS {
            if inner.order.len() <= MOST {
                break;
            }
            let Some(oldest) = inner.order.pop_front() else { break };
            let lives = inner.states.get(&oldest).is_some_and(|state| !state.borrow().is_gone() && state.has_changed().is_ok());
            if lives {
                inner.order.push_back(oldest);
            } else {
                inner.states.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, uid: Uid) -> Option<watch::Receiver<State>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).states.get(&uid).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{End, Exit, Reached};

    #[test]
    fn what_lives_is_never_forgotten_and_what_ended_is_bounded() {
        let memory = Memory::default();
        let gone = State::Gone(End { exit: Exit::Status(7), reached: Reached::Exit, exceeded: None });
        let living = watch::Sender::new(State::Running);
        let uid = Uid::new();
        memory.put(uid, living.subscribe());
        let first = Uid::new();
        memory.put(first, watch::Sender::new(gone).subscribe());
        assert_eq!(*memory.get(first).unwrap().borrow(), gone);
        for _ in 0..2 * MOST {
            memory.put(Uid::new(), watch::Sender::new(gone).subscribe());
        }
        assert!(memory.get(first).is_none());
        assert_eq!(memory.inner.lock().unwrap().states.len(), MOST);
        living.send_replace(gone);
        assert_eq!(*memory.get(uid).unwrap().borrow(), gone);
    }
}
