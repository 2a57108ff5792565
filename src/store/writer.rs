//! The thread that stores changes, and those who hand them to it.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tracing::dispatcher;

use super::database::{Database, OpenError};
use super::list::{Change, List};
use crate::protocol::Uid;

/// Changes that wait for the disk; with more of them the list is written whole.
pub const MOST_CHANGES: usize = 4096;

/// Parameters alone are written no more often.
const PARAMETERS_PAUSE: Duration = Duration::from_secs(1);

/// Pause after the first failure; it doubles with each failure that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tells a module's parameters of this moment: the text of a JSON object.
pub type Source = Arc<dyn Fn() -> String + Send + Sync>;

type Reply = Box<dyn FnOnce() + Send>;

/// The list of one service on disk. Clones are the same; with the last the writer thread writes what is left and ends.
#[derive(Clone)]
pub struct Store {
    handle: Option<Arc<Handle>>,
}

/// Ends the thread when the last [`Store`] goes.
struct Handle(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// As it is to be on disk, but for parameters that are marked.
    list: List,
    changes: Vec<Change>,
    /// The list is to be written whole; of `changes` only those count that set modules aside.
    whole: bool,
    replies: Vec<Reply>,
    sources: HashMap<Uid, Source>,
    marked: BTreeSet<Uid>,
    /// The thread has something in its hands.
    writing: bool,
    /// The disk took nothing the last time.
    outage: bool,
    closed: bool,
    ended: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// None: nothing is stored, and nobody waits.
    #[must_use]
    pub const fn off() -> Self {
        Self { handle: None }
    }

    /// Whether anything is stored.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.handle.is_some()
    }

    /// The list of `service` in the file at `path`, and what it holds. Blocks for the disk. A file that cannot be read is kept
    /// under another name, and the list is empty; one that cannot be made is made when the disk lets it. Warnings go to the
    /// `tracing` subscriber of the calling thread.
    ///
    /// # Errors
    /// Where another process has the list, or there is one that the system does not let be read.
    pub fn open(path: &Path, service: &str) -> Result<(Self, List), OpenError> {
        let opened = match open(path) {
            Err(OpenError::Unreadable(..)) => {
                // Said already.
                open(path)
            }
            opened => opened,
        };
        let mut writer = Writer::new(path, service);
        let list = match opened {
            Ok((database, list)) => {
                writer.database = Some(database);
                list
            }
            Err(OpenError::Trouble(_, reason)) if !is_something(path) => {
                writer.failed(&reason);
                List::default()
            }
            Err(error) => return Err(error),
        };
        let inner = Inner { list: list.clone(), whole: writer.database.is_none(), ..Inner::default() };
        let inner = Inner { outage: inner.whole, ..inner };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Condvar::new() });
        let (dispatch, of_thread) = (dispatcher::get_default(Clone::clone), Arc::clone(&shared));
        thread::Builder::new()
            .name(format!("store-{service}").replace('\0', ""))
            .spawn(move || dispatcher::with_default(&dispatch, || writer.run(&of_thread)))
            .map_err(|error| OpenError::Trouble(path.to_owned(), format!("the writer thread cannot be started: {error}")))?;
        Ok((Self { handle: Some(Arc::new(Handle(shared))) }, list))
    }

    fn shared(&self) -> Option<&Arc<Shared>> {
        self.handle.as_ref().map(|handle| &handle.0)
    }

    /// Whether a module is in the list, with all that was pushed.
    #[must_use]
    pub fn holds(&self, uid: Uid) -> bool {
        self.shared().is_some_and(|shared| shared.lock().list.get(uid).is_some())
    }

    /// The background, with all that was pushed.
    #[must_use]
    pub fn background(&self) -> Option<Uid> {
        self.shared().and_then(|shared| shared.lock().list.background().map(|module| module.uid))
    }

    /// The list in its order, without the background, with all that was pushed.
    #[must_use]
    pub fn order(&self) -> Vec<Uid> {
        self.shared().map_or_else(Vec::new, |shared| shared.lock().list.modules().map(|module| module.uid).collect())
    }

    /// Hands changes to the writer, in order.
    pub fn push(&self, changes: impl IntoIterator<Item = Change>) {
        let Some(shared) = self.shared() else { return };
        let mut inner = shared.lock();
        for change in changes {
            inner.list.apply(&change);
            match &change {
                Change::Remove(uids) => uids.iter().for_each(|uid| inner.forget(*uid)),
                Change::SetAside { module, .. } => inner.forget(module.uid),
                _ => {}
            }
            if !inner.whole || change.is_kept() {
                inner.changes.push(change);
            }
        }
        if inner.changes.len() > MOST_CHANGES && !inner.whole {
            inner.whole = true;
            inner.changes.retain(Change::is_kept);
        }
        shared.changed.notify_all();
    }

    /// Gives the reply once all that was pushed before is on disk, or the disk has not taken it; at once where that is so.
    pub fn after(&self, reply: impl FnOnce() + Send + 'static) {
        let Some(shared) = self.shared() else { return reply() };
        let mut inner = shared.lock();
        if inner.outage || inner.ended || (inner.changes.is_empty() && !inner.whole && !inner.writing) {
            drop(inner);
            return reply();
        }
        inner.replies.push(Box::new(reply));
        shared.changed.notify_all();
    }

    /// From now on the parameters of a module are what `source` tells, whenever they are [marked](Store::marker).
    pub fn watch(&self, uid: Uid, source: Source) {
        if let Some(shared) = self.shared() {
            shared.lock().sources.insert(uid, source);
        }
    }

    /// What to call when the parameters of a module have changed. It does not keep the store open.
    pub fn marker(&self, uid: Uid) -> impl Fn() + Send + Sync + 'static {
        let shared = self.shared().map_or_else(Weak::new, Arc::downgrade);
        move || {
            if let Some(shared) = shared.upgrade()
                && shared.lock().mark(uid)
            {
                shared.changed.notify_all();
            }
        }
    }

    /// Writes what is left and closes the file; what is pushed afterwards is lost. Blocks for up to `within`; answers whether
    /// that was enough.
    #[must_use]
    pub fn close(&self, within: Duration) -> bool {
        let Some(shared) = self.shared() else { return true };
        let mut inner = shared.lock();
        inner.closed = true;
        shared.changed.notify_all();
        let waited = shared.changed.wait_timeout_while(inner, within, |inner| !inner.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

impl Inner {
    fn forget(&mut self, uid: Uid) {
        self.sources.remove(&uid);
        self.marked.remove(&uid);
    }

    /// Whether that is news.
    fn mark(&mut self, uid: Uid) -> bool {
        self.sources.contains_key(&uid) && self.marked.insert(uid)
    }
}

/// Opens and reads; what cannot be read is kept aside, which is said.
fn open(path: &Path) -> Result<(Database, List), OpenError> {
    let opened = Database::open(path).and_then(|database| {
        let list = database.read(path)?;
        Ok((database, list))
    });
    if let Err(error @ OpenError::Unreadable(..)) = &opened {
        match Database::keep_aside(path) {
            Ok(aside) => tracing::error!("the list of before is lost: {error}; it is kept as {}", aside.display()),
            Err(reason) => return Err(OpenError::Trouble(path.to_owned(), format!("{error}, nor moved away: {reason}"))),
        }
    }
    opened
}

/// Whether the file holds anything, or nobody can tell.
fn is_something(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(file) => file.len() > 0,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

struct Writer {
    path: PathBuf,
    service: String,
    database: Option<Database>,
    /// How long to wait before the next attempt; none while all is well.
    pause: Option<Duration>,
    retry: Option<Instant>,
    /// When parameters were written last.
    parameters: Option<Instant>,
}

/// What is written at once.
struct Batch {
    changes: Vec<Change>,
    whole: Option<List>,
    replies: Vec<Reply>,
    sources: Vec<(Uid, Source)>,
}

impl Writer {
    fn new(path: &Path, service: &str) -> Self {
        Self { path: path.to_owned(), service: service.to_owned(), database: None, pause: None, retry: None, parameters: None }
    }

    fn run(mut self, shared: &Shared) {
        while let Some(batch) = self.next(shared) {
            self.write(shared, batch);
        }
        // Closed before the end is told.
        drop(self.database.take());
        let mut inner = shared.lock();
        inner.ended = true;
        let replies = mem::take(&mut inner.replies);
        shared.changed.notify_all();
        drop(inner);
        replies.into_iter().for_each(|reply| reply());
    }

    /// Waits for something to write; `None` at the end.
    fn next(&self, shared: &Shared) -> Option<Batch> {
        let mut inner = shared.lock();
        loop {
            let now = Instant::now();
            let is_changed = !inner.changes.is_empty() || inner.whole || !inner.replies.is_empty();
            let due = if inner.closed {
                Some(now)
            } else if let Some(retry) = self.retry {
                Some(retry)
            } else if is_changed {
                Some(now)
            } else if !inner.marked.is_empty() {
                Some(self.parameters.map_or(now, |last| last + PARAMETERS_PAUSE))
            } else {
                None
            };
            match due {
                Some(due) if due <= now && (is_changed || !inner.marked.is_empty()) => break,
                Some(_) if inner.closed => return None,
                Some(due) => {
                    let wait = due.saturating_duration_since(now);
                    inner = shared.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => inner = shared.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            }
        }
        inner.writing = true;
        let marked = mem::take(&mut inner.marked);
        let sources = marked.into_iter().filter_map(|uid| Some((uid, Arc::clone(inner.sources.get(&uid)?)))).collect();
        let whole = inner.whole.then(|| inner.list.clone());
        inner.whole = false;
        Some(Batch { changes: mem::take(&mut inner.changes), whole, replies: mem::take(&mut inner.replies), sources })
    }

    fn write(&mut self, shared: &Shared, batch: Batch) {
        let Batch { mut changes, mut whole, replies, sources } = batch;
        if !sources.is_empty() {
            self.parameters = Some(Instant::now());
            let read = |(uid, source): (Uid, Source)| Change::Parameters { uid, parameters: source().into() };
            let parameters: Vec<Change> = sources.into_iter().map(read).collect();
            let mut inner = shared.lock();
            parameters.iter().for_each(|change| inner.list.apply(change));
            whole.iter_mut().for_each(|list| parameters.iter().for_each(|change| list.apply(change)));
            drop(inner);
            changes.extend(parameters);
        }
        if whole.is_none() && !self.database.as_ref().is_some_and(|database| database.is_at(&self.path)) {
            // Moved away: a new one has nothing yet.
            self.database = None;
            whole = Some(shared.lock().list.clone());
        }
        let stored = self.store(&changes, whole.as_ref());
        let is_well = stored.is_ok();
        match stored {
            Ok(()) => self.succeeded(),
            Err(reason) => self.failed(&reason),
        }
        let mut inner = shared.lock();
        inner.writing = false;
        inner.outage = !is_well;
        let mut replies = replies;
        if !is_well {
            inner.whole = !inner.closed;
            changes.retain(Change::is_kept);
            let since = mem::take(&mut inner.changes);
            changes.extend(since.into_iter().filter(Change::is_kept));
            inner.changes = if inner.closed { Vec::new() } else { changes };
            replies.append(&mut inner.replies);
        }
        shared.changed.notify_all();
        drop(inner);
        replies.into_iter().for_each(|reply| reply());
    }

    fn store(&mut self, changes: &[Change], whole: Option<&List>) -> Result<(), String> {
        let mut database = match self.database.take() {
            Some(database) => database,
            None => match open_to_write(&self.path) {
                Ok(database) => database,
                Err(OpenError::Trouble(_, reason)) => return Err(reason),
                Err(error) => return Err(error.to_string()),
            },
        };
        match whole {
            Some(list) => database.replace(list, changes),
            None => database.store(changes),
        }
        .map_err(|error| error.to_string())?;
        self.database = Some(database);
        Ok(())
    }

    fn failed(&mut self, reason: &str) {
        if self.pause.is_none() {
            let (service, path) = (&self.service, self.path.display());
            tracing::warn!(
                "the list of {service} cannot be written to {path}: {reason}; requests are carried out all the same, and a reboot \
                 before it can would lose them"
            );
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        self.retry = Some(Instant::now() + pause);
    }

    fn succeeded(&mut self) {
        self.retry = None;
        if self.pause.take().is_some() {
            tracing::warn!("the list of {} is written again to {}, all of it", self.service, self.path.display());
        }
    }
}

/// Opens the file to be written whole.
fn open_to_write(path: &Path) -> Result<Database, OpenError> {
    match Database::open(path) {
        Err(OpenError::Unreadable(..)) => open(path).or_else(|_| open(path)).map(|(database, _)| database),
        opened => opened,
    }
}
