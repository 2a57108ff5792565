//! What a broker publishes: the list as it stands, for everybody who only reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::changes::{Changes, Since};
use super::{History, Kind, events, into_raw};
use crate::engine::{Engine, Entry, Told};
use crate::module::{Cause, Handle};
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
    /// Grows with each change.
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

    /// What plays of a queue.
    pub(super) fn playing(&self, kind: Kind) -> Option<Uid> {
        let mut all = self.list.iter().chain(&self.background).filter(|_| kind == Kind::Queue);
        all.find(|item| item.told == Told::Play).map(|item| item.module.uid())
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
    /// Locked before `inner`: who holds it sees a list and its revision that belong together.
    changes: Mutex<Changes>,
    /// Wakes those who wait for a change.
    changed: watch::Sender<()>,
    history: History,
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

    /// A module of the list; the background is not in it.
    #[must_use]
    pub fn find(&self, uid: Uid) -> Option<Arc<Handle>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).listed.get(&uid).cloned()
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

    /// Publishes the engine's list. Only the driver does. What was in the same place before is taken from there, so that
    /// an append to a long list costs little. A module that is off the list now is so since it was removed, or for the
    /// cause that is given with it.
    pub(super) fn publish(
        &self,
        engine: &Engine,
        modules: &HashMap<Uid, Arc<Handle>>,
        now: SystemTime,
        ended: Option<(Uid, Cause)>,
    ) {
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
        let mut snapshot = Snapshot { revision: 0, list, background, plain: OnceLock::new() };
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
        for old in &before.list[grown..] {
            inner.listed.remove(&old.module.uid());
        }
        for new in &snapshot.list[grown..] {
            inner.listed.insert(new.module.uid(), Arc::clone(&new.module));
        }
        inner.snapshot = snapshot;
    }
}
