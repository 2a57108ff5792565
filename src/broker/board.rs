//! What a broker publishes: the list as it stands, for everybody who only reads.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use super::{History, into_raw};
use crate::engine::{Engine, Entry, Told};
use crate::module::Handle;
use crate::protocol::{Response, Uid, Wanted, write_string};

/// One module of a snapshot.
#[derive(Debug, Clone)]
pub struct Item {
    /// The module.
    pub module: Arc<Handle>,
    /// What it was told last.
    pub told: Told,
    /// Since when.
    pub since: SystemTime,
}

impl Item {
    /// Appends `{"uid", "type"}`, with `parameters` where the type is among the wanted.
    pub(super) fn write(&self, wanted: &Wanted<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"uid\": \"");
        out.extend_from_slice(self.module.uid().to_string().as_bytes());
        out.extend_from_slice(b"\", \"type\": ");
        write_string(self.module.type_name(), out);
        if let Some(names) = wanted.names(self.module.type_name()) {
            out.extend_from_slice(b", \"parameters\": ");
            self.module.parameters().write(names.iter().map(AsRef::as_ref), out);
        }
        out.push(b'}');
    }
}

/// The list and the background at one revision.
#[derive(Debug, Default)]
pub struct Snapshot {
    revision: u64,
    list: Vec<Item>,
    background: Option<Item>,
    /// The answer to whoever asks for the list without parameters, made when it is first asked for.
    plain: OnceLock<Arc<str>>,
}

impl Snapshot {
    /// Grows by one with each change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The modules in order.
    #[must_use]
    pub fn list(&self) -> &[Item] {
        &self.list
    }

    /// The background of a queue.
    #[must_use]
    pub const fn background(&self) -> Option<&Item> {
        self.background.as_ref()
    }

    /// The response to whoever asks for the list without parameters, as JSON text.
    pub(super) fn plain(&self) -> Arc<str> {
        Arc::clone(self.plain.get_or_init(|| self.response(&Wanted::default()).to_text().into()))
    }

    /// The response to whoever asks for the list with these parameters.
    pub(super) fn response(&self, wanted: &Wanted<'_>) -> Response {
        let mut out = vec![b'['];
        for (at, item) in self.list.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            item.write(wanted, &mut out);
        }
        out.push(b']');
        Response::result(into_raw(out))
    }
}

/// Where the driver publishes and everybody reads.
#[derive(Debug, Default)]
pub struct Board {
    inner: RwLock<Inner>,
    history: History,
}

#[derive(Debug, Default)]
struct Inner {
    snapshot: Arc<Snapshot>,
    listed: HashMap<Uid, Arc<Handle>>,
}

impl Board {
    /// What is published now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner).snapshot)
    }

    /// How the last modules ended.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// A module of the list; the background is not in it.
    #[must_use]
    pub fn find(&self, uid: Uid) -> Option<Arc<Handle>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).listed.get(&uid).cloned()
    }

    /// Goes on counting from the revision that a process before published last.
    pub(super) fn resume(&self, revision: u64) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.snapshot = Arc::new(Snapshot { revision, ..Snapshot::default() });
    }

    /// Publishes the engine's list. Only the driver does. What was in the same place before is taken from there, so that
    /// an append to a long list costs little.
    pub(super) fn publish(&self, engine: &Engine, modules: &HashMap<Uid, Arc<Handle>>, now: SystemTime) {
        let before = self.snapshot();
        let item = |entry: &Entry, old: Option<&Item>| {
            let same = old.filter(|old| old.module.uid() == entry.uid);
            if let Some(unchanged) = same.filter(|old| old.told == entry.told) {
                return Some(unchanged.clone());
            }
            let module = same.map(|old| &old.module).or_else(|| modules.get(&entry.uid))?;
            Some(Item { module: Arc::clone(module), told: entry.told, since: module.told_since(entry.told, now) })
        };
        let list: Vec<Item> =
            engine.list().iter().enumerate().filter_map(|(at, entry)| item(entry, before.list.get(at))).collect();
        let background = engine.background().and_then(|entry| item(&entry, before.background.as_ref()));
        let grown = list.iter().zip(&before.list).take_while(|(new, old)| Arc::ptr_eq(&new.module, &old.module)).count();
        let snapshot = Arc::new(Snapshot { revision: before.revision.wrapping_add(1), list, background, plain: OnceLock::new() });
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for old in &before.list[grown..] {
            inner.listed.remove(&old.module.uid());
        }
        for new in &snapshot.list[grown..] {
            inner.listed.insert(new.module.uid(), Arc::clone(&new.module));
        }
        inner.snapshot = snapshot;
    }
}
