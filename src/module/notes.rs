//! What a module's task writes down, so that another process can go on with the module.

use crate::handover::{Change, Entry, Keeper, Owed};
use crate::protocol::{Object, Raw, Uid, raw_text, write_object};

/// Writes down what changes of one module, where anything is kept.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    uid: Uid,
    keeper: Keeper,
}

impl Notes {
    pub(super) const fn new(uid: Uid, keeper: Keeper) -> Self {
        Self { uid, keeper }
    }

    /// None are taken.
    pub(super) const fn none(uid: Uid) -> Self {
        Self::new(uid, Keeper::off())
    }

    /// Whose they are.
    pub(super) const fn uid(&self) -> Uid {
        self.uid
    }

    /// Whether they are read by anybody.
    pub(super) const fn are_taken(&self) -> bool {
        self.keeper.is_on()
    }

    /// Writes all of it down at once.
    pub(super) fn write(&self, changes: impl IntoIterator<Item = Change>) {
        if self.are_taken() {
            self.keeper.write(&Entry::Module { uid: self.uid, changes: changes.into_iter().collect() });
        }
    }
}

/// What one read of the update stream has changed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) answers: Vec<(Owed, u64)>,
}

impl Batch {
    /// One more answer is owed.
    pub(super) fn owes(&mut self, answer: Owed) {
        match self.answers.last_mut().filter(|(last, _)| *last == answer) {
            Some((_, count)) => *count += 1,
            None => self.answers.push((answer, 1)),
        }
    }
}

/// An object as the value that it was read from, but for white space.
pub(super) fn object(object: &Object<'_>) -> Option<Raw> {
    let mut out = Vec::new();
    write_object(object.iter(), &mut out);
    raw_text(out)
}
