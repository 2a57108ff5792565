//! The list as data, and what can change of it.

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

/// What is stored of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// The modules in order.
    pub modules: Vec<Module>,
    /// The background of a queue.
    pub background: Option<Module>,
}

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
    /// All of them, the background last.
    pub fn all(&self) -> impl Iterator<Item = &Module> {
        self.modules.iter().chain(&self.background)
    }

    /// Whether nothing is stored.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.modules.is_empty() && self.background.is_none()
    }

    /// The module, where it is there.
    #[must_use]
    pub fn get(&self, uid: Uid) -> Option<&Module> {
        self.all().find(|module| module.uid == uid)
    }

    /// Carries out a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Add(module) => {
                self.remove(module.uid);
                if module.background {
                    self.background = Some(module.clone());
                } else {
                    self.modules.push(module.clone());
                }
            }
            Change::Remove(uids) => uids.iter().for_each(|uid| self.remove(*uid)),
            Change::First(uids) => {
                let mut rest = std::mem::take(&mut self.modules);
                for uid in uids {
                    if let Some(at) = rest.iter().position(|module| module.uid == *uid) {
                        self.modules.push(rest.remove(at));
                    }
                }
                self.modules.append(&mut rest);
            }
            Change::Waits { uid, waiting } => self.with(*uid, |module| module.waiting = *waiting),
            Change::AllWait => self.modules.iter_mut().chain(&mut self.background).for_each(|module| module.waiting = true),
            Change::Parameters { uid, parameters } => self.with(*uid, |module| module.parameters = Arc::clone(parameters)),
            Change::SetAside { module, .. } => self.remove(module.uid),
        }
    }

    fn with(&mut self, uid: Uid, act: impl FnOnce(&mut Module)) {
        if let Some(module) = self.modules.iter_mut().chain(&mut self.background).find(|module| module.uid == uid) {
            act(module);
        }
    }

    fn remove(&mut self, uid: Uid) {
        self.modules.retain(|module| module.uid != uid);
        self.background.take_if(|module| module.uid == uid);
    }
}
