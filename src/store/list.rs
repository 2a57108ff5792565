//! The list as data, and what can change of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::protocol::Uid;

/// One module of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its identifier, which it keeps.
    pub uid: Uid,
    /// Name of its type.
    pub type_name: Arc<str>,
    /// Whether it is the background.
    pub background: bool,
    /// What `init` is sent, as JSON text; `None` where it was null.
    pub args: Option<Arc<str>>,
    /// The parameters that it announced last: the text of a JSON object.
    pub parameters: Arc<str>,
    /// When it was added, in ms since 1970.
    pub added: u64,
    /// It is to be launched again: none of its processes is in the list.
    pub waiting: bool,
}

/// What is stored of a service. A change costs the same however long it is, but for [`Change::AllWait`].
#[derive(Debug, Clone, Default)]
pub struct List {
    /// By place. As on disk, places have gaps, and those that come first get the ones before all others.
    modules: BTreeMap<i64, Module>,
    places: HashMap<Uid, i64>,
    background: Option<Module>,
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.all().eq(other.all())
    }
}

impl Eq for List {}

/// What happens to a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A module comes at the end, or becomes the background.
    Add(Module),
    /// Modules are gone; those that are not there are ignored.
    Remove(Vec<Uid>),
    /// These come first, in this order; the rest follow as they were, those that are not there are ignored.
    First(Vec<Uid>),
    /// Whether a module is to be launched again.
    Waits {
        /// Which.
        uid: Uid,
        /// No process of it is in the list.
        waiting: bool,
    },
    /// All are to be launched again: the service ends.
    AllWait,
    /// A module announced these parameters.
    Parameters {
        /// Which.
        uid: Uid,
        /// All of them: the text of a JSON object.
        parameters: Arc<str>,
    },
    /// A module is taken off the list, and kept beside it with the reason.
    SetAside {
        /// Which.
        module: Module,
        /// Why, as a sentence.
        reason: String,
        /// When, in ms since 1970.
        at: u64,
    },
}

impl List {
    /// The modules in order, without the background.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// The background of a queue.
    #[must_use]
    pub const fn background(&self) -> Option<&Module> {
        self.background.as_ref()
    }

    /// All of them, the background last.
    pub fn all(&self) -> impl Iterator<Item = &Module> {
        self.modules().chain(&self.background)
    }

    /// All of them, the background last.
    pub fn into_all(self) -> impl Iterator<Item = Module> {
        self.modules.into_values().chain(self.background)
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty() && self.background.is_none()
    }

    /// The module, where it is there.
    #[must_use]
    pub fn get(&self, uid: Uid) -> Option<&Module> {
        match self.places.get(&uid) {
            Some(place) => self.modules.get(place),
            None => self.background.as_ref().filter(|module| module.uid == uid),
        }
    }

    /// Carries out a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Add(module) => {
                self.remove(module.uid);
                if module.background {
                    self.background = Some(module.clone());
                } else {
                    let place = self.modules.last_key_value().map_or(0, |(last, _)| last + 1);
                    self.places.insert(module.uid, place);
                    self.modules.insert(place, module.clone());
                }
            }
            Change::Remove(uids) => uids.iter().for_each(|uid| self.remove(*uid)),
            Change::First(uids) => self.first(uids),
            Change::Waits { uid, waiting } => self.with(*uid, |module| module.waiting = *waiting),
            Change::AllWait => self.modules.values_mut().chain(&mut self.background).for_each(|module| module.waiting = true),
            Change::Parameters { uid, parameters } => self.with(*uid, |module| module.parameters = Arc::clone(parameters)),
            Change::SetAside { module, .. } => self.remove(module.uid),
        }
    }

    fn first(&mut self, uids: &[Uid]) {
        let top = self.modules.first_key_value().map_or(0, |(first, _)| *first);
        // Backwards: of one that is named twice the first place counts.
        for (before, uid) in (1..).zip(uids.iter().rev()) {
            let Some(place) = self.places.get_mut(uid) else { continue };
            if let Some(module) = self.modules.remove(place) {
                *place = top - before;
                self.modules.insert(*place, module);
            }
        }
    }

    fn with(&mut self, uid: Uid, act: impl FnOnce(&mut Module)) {
        let module = match self.places.get(&uid) {
            Some(place) => self.modules.get_mut(place),
            None => self.background.as_mut().filter(|module| module.uid == uid),
        };
        if let Some(module) = module {
            act(module);
        }
    }

    fn remove(&mut self, uid: Uid) {
        if let Some(place) = self.places.remove(&uid) {
            self.modules.remove(&place);
        }
        self.background.take_if(|module| module.uid == uid);
    }
}
