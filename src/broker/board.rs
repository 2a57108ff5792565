//! What a broker publishes: the list as it stands, for everybody who only reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use super::{History, into_raw};
use crate::engine::{Engine, Entry, Told};
use crate::module::Handle;
use crate::protocol::{Response, Uid, Wanted, write_string};

/// Modules that snapshots have in common or not: an append makes anew no more than this, however long the list is.
const CHUNK: usize = 128;

/// One module of a snapshot.
#[derive(Debug, Clone)]
pub struct Item {
    /// The module.
    pub module: Arc<Handle>,
    /// What it was told last.
    pub told: Told,
    /// Since when.
    pub since: SystemTime,
    /// It has ended and is to be started again.
    pub down: bool,
    /// The module's, at hand: thousands of them are compared.
    uid: Uid,
}

impl Item {
    /// Appends `{"uid", "type"}`, with `state` where it is down, and with `parameters` where the type is among the wanted.
    pub(super) fn write(&self, wanted: &Wanted<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"uid\": \"");
        out.extend_from_slice(self.uid.to_string().as_bytes());
        out.extend_from_slice(b"\", \"type\": ");
        write_string(self.module.type_name(), out);
        if self.down {
            out.extend_from_slice(b", \"state\": \"restarting\"");
        }
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
    list: Vec<Arc<[Item]>>,
    length: usize,
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
    pub fn list(&self) -> impl Iterator<Item = &Item> {
        self.list.iter().flat_map(|chunk| chunk.iter())
    }

    /// How many modules are in the list.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
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
        for (at, item) in self.list().enumerate() {
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
    /// Every module of which a process may be left, whether it is in the list or not.
    alive: Mutex<HashMap<Uid, Arc<Handle>>>,
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

    /// The modules that end, the longest first.
    #[must_use]
    pub fn ending(&self) -> Vec<Arc<Handle>> {
        let mut ending: Vec<_> =
            self.alive().values().filter_map(|module| Some((module.ending()?.1, Arc::clone(module)))).collect();
        ending.sort_by_key(|(since, module)| (*since, module.uid()));
        ending.into_iter().map(|(_, module)| module).collect()
    }

    /// There is a module more.
    pub(super) fn begins(&self, module: &Arc<Handle>) {
        self.alive().insert(module.uid(), Arc::clone(module));
    }

    /// No process of a module is left.
    pub(super) fn is_gone(&self, uid: Uid) {
        self.alive().remove(&uid);
    }

    fn alive(&self) -> MutexGuard<'_, HashMap<Uid, Arc<Handle>>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on counting from the revision that a process before published last.
    pub(super) fn resume(&self, revision: u64) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.snapshot = Arc::new(Snapshot { revision, ..Snapshot::default() });
    }

    /// Publishes the engine's list. Only the driver does. Chunks in which nothing has changed are shared with the snapshot before, so
    /// that an append to a long list costs what one to a short list does; modules that were not in the same place are found by
    /// `find`.
    pub(super) fn publish<'a>(&self, engine: &Engine, find: impl Fn(&Entry) -> Option<&'a Arc<Handle>>, now: SystemTime) {
        let before = self.snapshot();
        let is_same = |old: &Item, entry: &Entry| old.uid == entry.uid && old.told == entry.told && old.down == entry.down;
        let item = |entry: &Entry, old: Option<&Item>| {
            if let Some(unchanged) = old.filter(|old| is_same(old, entry)) {
                return Some(unchanged.clone());
            }
            // One that is up again has another process, and another handle.
            let same = old.filter(|old| old.uid == entry.uid && !old.down);
            let module = same.map(|old| &old.module).or_else(|| find(entry))?;
            let since = module.told_since(entry.told, now);
            Some(Item { module: Arc::clone(module), told: entry.told, since, down: entry.down, uid: entry.uid })
        };
        let chunk = |(at, entries): (usize, &[Entry])| {
            let old = before.list.get(at);
            let is_kept = |old: &&Arc<[Item]>| {
                old.len() == entries.len() && old.iter().zip(entries).all(|(old, entry)| is_same(old, entry))
            };
            match old.filter(is_kept) {
                Some(same) => Arc::clone(same),
                None => {
                    let olds = old.into_iter().flat_map(|old| old.iter()).map(Some).chain(std::iter::repeat(None));
                    entries.iter().zip(olds).filter_map(|(entry, old)| item(entry, old)).collect()
                }
            }
        };
        let list: Vec<Arc<[Item]>> = engine.list().chunks(CHUNK).enumerate().map(chunk).collect();
        let length = list.iter().map(|chunk| chunk.len()).sum();
        let background = engine.background().and_then(|entry| item(&entry, before.background.as_ref()));
        let revision = before.revision.wrapping_add(1);
        let snapshot = Arc::new(Snapshot { revision, list, length, background, plain: OnceLock::new() });
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for gone in changed(&before.list, &snapshot.list) {
            inner.listed.remove(&gone.uid);
        }
        for new in changed(&snapshot.list, &before.list) {
            inner.listed.insert(new.uid, Arc::clone(&new.module));
        }
        inner.snapshot = snapshot;
    }
}

/// Modules that stand in one list and not in the other at the same place; one that is up again is another.
fn changed<'a>(one: &'a [Arc<[Item]>], other: &'a [Arc<[Item]>]) -> impl Iterator<Item = &'a Item> {
    one.iter().enumerate().flat_map(|(chunk, items)| {
        let other = other.get(chunk);
        let items = if other.is_some_and(|other| Arc::ptr_eq(items, other)) { &[] } else { &items[..] };
        let is_other = move |at: usize, item: &Item| {
            other.and_then(|other| other.get(at)).is_none_or(|other| !Arc::ptr_eq(&other.module, &item.module))
        };
        items.iter().enumerate().filter(move |(at, item)| is_other(*at, item)).map(|(_, item)| item)
    })
}
