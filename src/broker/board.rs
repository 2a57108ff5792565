//! What a broker publishes: the list as it stands, for everybody who only reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::changes::{Changes, Since};
use super::metrics::Tally;
use super::{History, Kind, events, into_raw};
use crate::engine::{Engine, Entry, Told};
use crate::module::{Cause, Handle};
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
    /// Its state, as clients know it.
    pub(super) const fn state(&self) -> &'static str {
        if self.down { "restarting" } else { self.told.state() }
    }

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
    /// Grows with each change.
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

    /// What plays of a queue.
    pub(super) fn playing(&self, kind: Kind) -> Option<Uid> {
        let mut all = self.list().chain(&self.background).filter(|item| kind == Kind::Queue && !item.down);
        all.find(|item| item.told == Told::Play).map(|item| item.module.uid())
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
    /// Locked before `inner`: who holds it sees a list and its revision that belong together.
    changes: Mutex<Changes>,
    /// Wakes those who wait for a change.
    changed: watch::Sender<()>,
    history: History,
    tally: Tally,
}

/// What there is for one who watches.
#[derive(Debug)]
pub(super) enum News {
    /// The list at this revision.
    State(u64, Arc<Snapshot>),
    /// Changes, and the revision of the last of them.
    Changes(u64, Vec<Arc<str>>),
    /// None; some will be at this time, if at all known.
    Nothing(Option<Instant>),
}

/// One who watches. Changes are kept while there are any.
pub(super) struct Watcher<'a> {
    board: &'a Board,
    changed: watch::Receiver<()>,
}

impl Watcher<'_> {
    /// What came after `revision`; all, where that is not known. List and revision are taken under one lock.
    pub(super) fn news(&mut self, revision: Option<u64>) -> News {
        // What comes from now on is waited for, whatever is found.
        self.changed.mark_unchanged();
        let mut changes = self.board.changes();
        let inner = self.board.inner.read().unwrap_or_else(PoisonError::into_inner);
        let background = inner.snapshot.background().map(|item| item.module.uid());
        match changes.since(revision, |uid| background == Some(uid) || inner.listed.contains_key(&uid)) {
            Since::Changes(last, changes) => News::Changes(last, changes),
            Since::Nothing(due) => News::Nothing(due),
            Since::Unknown => News::State(changes.revision(), Arc::clone(&inner.snapshot)),
        }
    }

    /// Waits until something may have changed.
    pub(super) async fn changed(&mut self) {
        // The board is borrowed, so it sends still.
        let _ = self.changed.changed().await;
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        self.board.changes().end();
    }
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

    /// What is counted.
    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Tells every module once, with its state: what is listed as it is listed, and all else of which a process may be left.
    /// Answers the list that it is told of.
    pub(super) fn each(&self, mut tell: impl FnMut(&Handle, &'static str)) -> Arc<Snapshot> {
        let (snapshot, others) = {
            let alive = self.alive();
            let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
            let background = inner.snapshot.background().map(|item| item.uid);
            let is_listed = |uid: &Uid| background == Some(*uid) || inner.listed.contains_key(uid);
            let others: Vec<_> = alive.iter().filter(|(uid, _)| !is_listed(uid)).map(|(_, module)| Arc::clone(module)).collect();
            (Arc::clone(&inner.snapshot), others)
        };
        snapshot.list().chain(snapshot.background()).for_each(|item| tell(&item.module, item.state()));
        for module in &others {
            tell(module, if module.has_been_listed() || module.ending().is_some() { "ending" } else { "starting" });
        }
        snapshot
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
        self.changes().resume(revision);
    }

    /// Begins to watch.
    pub(super) fn watcher(&self) -> Watcher<'_> {
        self.changes().begin();
        Watcher { board: self, changed: self.changed.subscribe() }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parameters of a module have changed.
    pub(super) fn touched(&self, module: &Arc<Handle>) {
        if self.changes().touch(module) {
            self.changed.send_replace(());
        }
    }

    /// Something was heard of a module that changes nothing; those who watch are told.
    pub(super) fn log(&self, uid: Uid, line: impl FnOnce() -> String) {
        let mut changes = self.changes();
        if changes.are_kept() {
            changes.push("log", &events::log(uid, &line()));
            self.changed.send_replace(());
        }
    }

    /// No process of a module is left: `status` tells how its main process ended.
    pub(super) fn gone(&self, uid: Uid, status: &Value, cause: Cause) {
        let mut changes = self.changes();
        if changes.is_gone(uid) {
            changes.push("removed", &events::removed(uid, status, cause.name()));
            self.changed.send_replace(());
        }
    }

    /// Publishes the engine's list. Only the driver does. Chunks in which nothing has changed are shared with the snapshot before, so
    /// that an append to a long list costs what one to a short list does; modules that were not in the same place are found by
    /// `find`. A module that is off the list now is so since it was removed, or for the cause that is given with it.
    pub(super) fn publish<'a>(
        &self,
        engine: &Engine,
        find: impl Fn(&Entry) -> Option<&'a Arc<Handle>>,
        now: SystemTime,
        ended: Option<(Uid, Cause)>,
    ) {
        let before = self.snapshot();
        let is_same = |old: &Item, entry: &Entry| old.uid == entry.uid && old.told == entry.told && old.down == entry.down;
        let item = |entry: &Entry, old: Option<&Item>| {
            if let Some(unchanged) = old.filter(|old| is_same(old, entry)) {
                return Some(unchanged.clone());
            }
            // One that is up again has another process, and another handle.
            let same = old.filter(|old| old.uid == entry.uid && !old.down);
            let module = same.map(|old| &old.module).or_else(|| find(entry))?;
            module.note_listed();
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
        let mut snapshot = Snapshot { revision: 0, list, length, background, plain: OnceLock::new() };
        let mut changes = self.changes();
        if changes.are_kept() {
            let reason = |uid| ended.filter(|(who, _)| *who == uid).map_or(Cause::Removed, |(_, cause)| cause).name();
            let (events, off) = events::differences(&before, &snapshot, reason);
            for (event, data) in &events {
                changes.push(event, data);
            }
            off.into_iter().for_each(|uid| changes.is_off(uid));
            self.changed.send_replace(());
        } else {
            changes.forget();
        }
        snapshot.revision = changes.revision();
        let snapshot = Arc::new(snapshot);
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
