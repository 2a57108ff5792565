//! What the stored list is to be: the engine's list, and those that wait to be launched again in their places.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Driver;
use crate::engine::{Effect, Order};
use crate::handover;
use crate::module::{Birth, Ending, Handle};
use crate::protocol::{Raw, Uid};
use crate::store::{Change, List, Module, Store};

/// What is told the store, and what was.
pub(super) struct Stored {
    store: Store,
    /// Who is in the engine's list, in its order, the background last.
    listed: Vec<Uid>,
    /// What is launched and not in the list yet.
    born: HashMap<Uid, Module>,
    /// Who left the engine's list without a client's wish: whether they come back is known when no process is left.
    leaving: HashSet<Uid>,
}

/// A module that is launched for the first time.
pub(super) fn of_birth(birth: &Birth) -> Module {
    row(birth.uid, &birth.type_name, birth.background, birth.args.as_ref(), handover::milliseconds(birth.added))
}

/// A module of the process before.
pub(super) fn of_born(born: &handover::Born) -> Module {
    row(born.uid, &born.type_name, born.background, born.args.as_ref(), born.added)
}

fn row(uid: Uid, type_name: &str, background: bool, args: Option<&Raw>, added: u64) -> Module {
    let args = args.map(|args| args.get().into());
    Module { uid, type_name: type_name.into(), background, args, parameters: "{}".into(), added, waiting: false }
}

fn parameters(module: &Handle) -> String {
    String::from_utf8(module.parameters().all()).unwrap_or_default()
}

impl Stored {
    pub(super) fn new(store: Store) -> Self {
        Self { store, listed: Vec::new(), born: HashMap::new(), leaving: HashSet::new() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.store.is_on()
    }

    /// Gives the reply once all that was said before is on disk.
    pub(super) fn after(&self, reply: impl FnOnce() + Send + 'static) {
        self.store.after(reply);
    }

    /// Remembers what is launched, until it is in the list.
    pub(super) fn born(&mut self, uid: Uid, module: impl FnOnce() -> Module) {
        if self.is_on() && !self.holds(uid) {
            self.born.insert(uid, module());
        }
    }

    pub(super) fn holds(&self, uid: Uid) -> bool {
        self.store.holds(uid)
    }

    /// Takes over who is in the engine's list; answers who is not any more, and who is new. Where both lists begin or end alike
    /// nothing is looked up, so that an add to a long list costs what one to a short list does.
    fn take(&mut self, now: Vec<Uid>) -> (Vec<Uid>, Vec<Uid>) {
        let before = std::mem::replace(&mut self.listed, now);
        let is_same = |(was, is): &(&Uid, &Uid)| was == is;
        let begin = before.iter().zip(&self.listed).take_while(is_same).count();
        let (was, is) = (&before[begin..], &self.listed[begin..]);
        let end = was.iter().rev().zip(is.iter().rev()).take_while(is_same).count();
        let (was, is) = (&was[..was.len() - end], &is[..is.len() - end]);
        let without = |uids: &[Uid], others: &[Uid]| {
            let others: HashSet<Uid> = others.iter().copied().collect();
            uids.iter().copied().filter(|uid| !others.contains(uid)).collect()
        };
        (without(was, is), without(is, was))
    }

    /// These come first, as the engine has it.
    pub(super) fn first(&self, uids: &[Uid]) {
        if !uids.is_empty() {
            self.store.push([Change::First(uids.to_vec())]);
        }
    }

    /// These leave the stored list for good.
    pub(super) fn remove(&self, uids: &[Uid]) {
        let gone: Vec<Uid> = uids.iter().copied().filter(|uid| self.holds(*uid)).collect();
        if !gone.is_empty() {
            self.store.push([Change::Remove(gone)]);
        }
    }

    /// This one is kept beside the list.
    pub(super) fn set_aside(&self, module: Module, reason: String) {
        self.store.push([Change::SetAside { module, reason, at: handover::now() }]);
    }

    pub(super) fn waits(&self, uid: Uid, waiting: bool) {
        self.store.push([Change::Waits { uid, waiting }]);
    }

    /// All are launched again by the next process that finds none of them running.
    pub(super) fn all_wait(&self) {
        self.store.push([Change::AllWait]);
    }

    /// Those stay whatever becomes of them from now on.
    pub(super) fn stay(&mut self, who: impl Fn(&Uid) -> bool) {
        self.leaving.retain(|uid| !who(uid));
    }

    /// A module is in the list: at the end, where it was not stored.
    pub(super) fn list(&mut self, module: &Arc<Handle>) {
        let uid = module.uid();
        let written = if self.holds(uid) {
            self.waits(uid, false);
            None
        } else {
            // One that was there before has been removed meanwhile.
            let Some(mut row) = self.born.remove(&uid) else { return };
            row.parameters = parameters(module).into();
            let parameters = Arc::clone(&row.parameters);
            self.store.push([Change::Add(row)]);
            Some(parameters)
        };
        let source = Arc::downgrade(module);
        self.store.watch(uid, Arc::new(move || source.upgrade().map_or_else(|| "{}".to_owned(), |module| parameters(&module))));
        module.parameters().watch(self.store.marker(uid));
        if written.is_some_and(|written| *written != *parameters(module)) {
            self.store.marker(uid)();
        }
    }

    /// The list in its order, but for those who are not in `listed`.
    fn of_listed(&self) -> Vec<Uid> {
        let listed: HashSet<Uid> = self.listed.iter().copied().collect();
        self.store.order().into_iter().filter(|uid| listed.contains(uid)).collect()
    }
}

impl Driver {
    /// Has what was stored launched again, where no process before has left it running.
    pub(super) fn take_list(&mut self, list: List, is_inherited: bool) {
        if !self.stored.is_on() {
            return;
        }
        let in_engine: HashSet<Uid> = self.in_engine().collect();
        // What the process before did is newer.
        let is_replaced = |module: &Module| module.background && self.engine.background().is_some();
        let all = !is_inherited || self.engine.is_draining();
        let (mut again, mut gone) = (Vec::new(), Vec::new());
        for module in list.into_all() {
            if in_engine.contains(&module.uid) {
                continue;
            }
            if (all || module.waiting) && !is_replaced(&module) {
                again.push(module);
            } else {
                gone.push(module.uid);
            }
        }
        self.stored.remove(&gone);
        for uid in again.iter().filter(|module| !module.waiting).map(|module| module.uid) {
            self.stored.waits(uid, true);
        }
        self.begin_restoring(again);
        self.keep_list(&[]);
        self.correct_order();
    }

    fn in_engine(&self) -> impl Iterator<Item = Uid> {
        self.engine.list().iter().copied().chain(self.engine.background()).map(|entry| entry.uid)
    }

    /// Tells the store what the engine's list has become, by these effects.
    pub(super) fn keep_list(&mut self, effects: &[Effect]) {
        if !self.stored.is_on() || self.engine.is_draining() {
            // What ends with the service comes back with it.
            return;
        }
        let (off, new) = self.stored.take(self.in_engine().collect());
        let is_removed = |uid: &Uid| {
            // One that was to be started again needs no order any more: it is forgotten.
            let is_off = |effect: &Effect| match effect {
                Effect::Order { uid: of, order: Order::Remove } | Effect::Forget { uid: of } => of == uid,
                _ => false,
            };
            effects.iter().any(is_off)
        };
        let (removed, leaving): (Vec<Uid>, Vec<Uid>) = off.into_iter().partition(is_removed);
        self.stored.remove(&removed);
        self.stored.leaving.extend(leaving);
        for uid in new {
            if let Some(module) = self.modules.get(&uid).cloned() {
                if module.is_background() {
                    // One that waited to be launched has another in its place.
                    let replaced: Vec<Uid> = self.stored.store.background().into_iter().filter(|other| *other != uid).collect();
                    self.give_up(&replaced);
                }
                self.stored.list(&module);
                self.restoring.listed(uid);
            }
        }
    }

    /// Decides what becomes of the place of a module of which no process is left.
    pub(super) fn settle_place(&mut self, uid: Uid, ending: &Ending) {
        self.stored.born.remove(&uid);
        let was_leaving = self.stored.leaving.remove(&uid);
        if self.leaves_stored_list(uid, ending) && was_leaving {
            self.stored.remove(&[uid]);
        }
    }

    /// Whether a module that has ended, without a client's wish, leaves the stored list: not where it is launched again.
    fn leaves_stored_list(&mut self, uid: Uid, ending: &Ending) -> bool {
        !self.is_launched_again(uid, ending)
    }

    /// Brings the engine's list into the order that is stored, after modules came up that were not at its end.
    pub(super) fn misplaced(&self) -> Option<Vec<Uid>> {
        let wanted = self.stored.of_listed();
        let is = self.engine.list();
        // Who comes after the last that is elsewhere need not be named.
        let differ = is.iter().zip(&wanted).rposition(|(entry, uid)| entry.uid != *uid)?;
        Some(wanted[..=differ].to_vec())
    }

    /// Has the store go by the engine's order: that of a process before, which may not have told all.
    pub(super) fn correct_order(&mut self) {
        if self.stored.is_on() && self.misplaced().is_some() {
            let order: Vec<Uid> = self.engine.list().iter().map(|entry| entry.uid).collect();
            self.stored.first(&order);
        }
    }
}
