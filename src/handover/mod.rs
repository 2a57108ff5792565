//! The handover: what a broker leaves to the process that follows it, however it ends.
//!
//! ```text
//!   broker ──entries──▶ log (a file in memory) ─╮
//!          ──streams of each module────────────┼─▶ the service manager's store ──▶ the next broker
//!                                               ╯        (FDSTORE=1)                  │
//!   launcher: which modules live, how others ended ──────────────────────────────────▶┤
//!   kernel: how much of each stream was taken and written (TCP_INFO) ────────────────▶┤
//!                                                                                     ▼
//!                                            state + streams: goes on       │ state, no process: ended, told in `history`
//!                                            no state: a stray, ended       │ not connected yet: refused, ended
//! ```
//!
//! The log lies in the store beside the streams (memfd_create(2)), so both live and die together: through a crash, a kill, a
//! watchdog, `systemctl restart`, `daemon-reload` and `daemon-reexec`; not through `systemctl stop`. It costs no disk and is full
//! only when memory is.
//!
//! **What is written when.** Everything is written down before it is acknowledged to anybody: a change of the list before its client
//! is answered, a request before it is written to the module, the meaning of a line before the line is taken out of the
//! socket and answered. The kernel keeps the other half: the next broker compares what was to be taken and written with what
//! was (`Counts`), and so knows whether a line counts already, and where in an answer or a request to go on.
//!
//! ```text
//!   peek at a line ─▶ write down what it means ─▶ take it ─▶ answer it
//!        ▲  killed here: it is       ▲ here: it is thrown away,   ▲ here: what is missing
//!        │  there still              │ and answered               │ of the answer is written
//! ```
//!
//! **Invariants.** What is not written down was acknowledged to nobody. An entry costs one write, whatever the number of modules.
//! A log is valid at every instant, also while it is replaced by a shorter one. Where there is no service manager, or it keeps
//! nothing, a [`Keeper`] does nothing at all.

mod bundle;
mod entry;
mod kernel;
mod log;
mod state;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use state::LIVES;

pub(crate) use entry::{Again, Asked, Born, Change, Entry, Kept, Owed, Place, Read, Report, Rest};
pub(crate) use kernel::Counts;
pub(crate) use state::{DONE, Module, Pending, Side, State, Waiting};
pub(crate) use store::is_stored;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{MemfdFlags, memfd_create};

use self::log::Log;
use self::store::{Named, Store};
use crate::engine::Engine;

/// Keeps what the next process needs. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Keeper {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    /// `None` once it could not be written.
    log: Mutex<Option<Log>>,
    rewriting: AtomicBool,
    /// It was said that there is no room for more streams.
    complained: AtomicBool,
}

/// What the process before has left.
#[derive(Debug)]
pub struct Legacy {
    state: State,
    /// Whether there was anything.
    is_inherited: bool,
    /// Streams of modules by their numbers.
    streams: HashMap<u32, Vec<OwnedFd>>,
}

/// What a service manager has kept, by name.
pub type Stored = Vec<(String, OwnedFd)>;

/// A module's two streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) command: TcpStream,
    pub(crate) update: TcpStream,
}

impl Streams {
    /// Closes both for good: the module is told, whoever else has them open.
    pub(crate) fn close(&self) {
        let _ = (self.command.shutdown(Shutdown::Both), self.update.shutdown(Shutdown::Both));
    }
}

impl Keeper {
    /// One that keeps nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self { shared: None }
    }

    /// Takes over what `given` holds of the process before, for a service whose engine is `engine` where there is none.
    /// The service manager keeps `limit` descriptors (`FileDescriptorStoreMax=`). Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where the service manager cannot be reached or there is no memory.
    pub async fn open(given: Stored, limit: usize, engine: Engine) -> io::Result<(Self, Legacy)> {
        match std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            Some(name) => Self::at(&name, given, limit, engine).await,
            None => Ok((Self::off(), Legacy { state: State::new(engine), is_inherited: false, streams: HashMap::new() })),
        }
    }

    /// As [`Keeper::open`], with the service manager that listens at `name`.
    async fn at(name: &OsStr, given: Stored, limit: usize, engine: Engine) -> io::Result<(Self, Legacy)> {
        let store = Arc::new(Store::connect(name, limit)?);
        let (mut logs, mut streams) = (Vec::new(), HashMap::<u32, Vec<OwnedFd>>::new());
        for (name, descriptor) in given {
            match store::named(&name) {
                Some(Named::Log) => logs.push(File::from(descriptor)),
                Some(Named::Bundle(number)) => match bundle::look(&descriptor) {
                    Ok(found) => {
                        store.claim(number, found.iter().map(|(module, _)| *module));
                        streams.extend(found);
                    }
                    Err(error) => {
                        tracing::error!("streams of modules that the service manager has kept cannot be read: {error}");
                        store.remove(name);
                    }
                },
                None => store.remove(name),
            }
        }
        let same_kind = |state: &State| std::mem::discriminant(&state.engine) == std::mem::discriminant(&engine);
        let (log, state, is_inherited) = match latest(logs) {
            Some((log, state)) if same_kind(&state) => {
                store.remove(store::of_log(log.generation + 1));
                (log, state, true)
            }
            _ => {
                (0..2).for_each(|generation| store.remove(store::of_log(generation)));
                let state = State::new(engine);
                (begin(&store, &state).await?, state, false)
            }
        };
        let (rewriting, complained) = Default::default();
        let keeper = Self { shared: Some(Arc::new(Shared { store, log: Mutex::new(Some(log)), rewriting, complained })) };
        Ok((keeper, Legacy { state, is_inherited, streams }))
    }

    /// Whether anything is kept.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Writes an entry down. It is when this returns.
    pub(crate) fn write(&self, entry: &Entry) {
        let Some(shared) = &self.shared else { return };
        let mut place = shared.log();
        let Some(log) = place.as_mut() else { return };
        if let Err(error) = log.append(entry) {
            tracing::error!("what happens from now on is not written down: modules will not outlive this program: {error}");
            // What it says is not true any more.
            place.take().into_iter().for_each(Log::void);
            return;
        }
        let is_long = log.is_long();
        drop(place);
        if is_long && !shared.rewriting.swap(true, Ordering::Relaxed) {
            tokio::spawn(Arc::clone(shared).rewrite());
        }
    }

    /// Has a module's streams kept; answers by which number. `None` where nothing is kept, or there is no room.
    pub(crate) async fn push(&self, command: &impl AsFd, update: &impl AsFd) -> Option<u32> {
        let shared = self.shared.as_ref()?;
        let complain = |reason: &dyn std::fmt::Display| {
            if !shared.complained.swap(true, Ordering::Relaxed) {
                tracing::warn!("a module will not outlive this program, since its streams cannot be kept: {reason}");
            }
        };
        shared.store.keep([command.as_fd(), update.as_fd()]).await.inspect_err(|error| complain(error)).ok()
    }

    /// Has streams given up that are kept by this number, and that are shut down.
    pub(crate) fn give_up(&self, number: u32) {
        if let Some(shared) = &self.shared {
            shared.store.give_up(number);
        }
    }
}

impl Legacy {
    /// Whether a process before has left anything, and not the start of the machine or of the service.
    pub(crate) const fn is_inherited(&self) -> bool {
        self.is_inherited
    }

    /// What was written down; `new` is an engine to leave in its place.
    pub(crate) fn take_state(&mut self, new: Engine) -> State {
        std::mem::replace(&mut self.state, State::new(new))
    }

    /// The streams of a module; `None` where one of them is missing, and then the other is [nobody's](Self::clear).
    pub(crate) fn take(&mut self, kept: Kept) -> Option<Streams> {
        let (mut command, mut update) = (None, None);
        if self.streams.get(&kept.number)?.len() != 2 {
            return None;
        }
        for descriptor in self.streams.remove(&kept.number)? {
            let stream = TcpStream::from(descriptor);
            let port = stream.local_addr().ok()?.port();
            *(if port == kept.command_port { &mut command } else { &mut update }) = Some(stream);
        }
        Some(Streams { command: command?, update: update? })
    }

    /// Closes the streams that are nobody's.
    pub(crate) fn clear(self, keeper: &Keeper) {
        for (number, descriptors) in self.streams {
            for stream in descriptors.into_iter().map(TcpStream::from) {
                // Its module is told, whoever else has it open.
                let _ = stream.shutdown(Shutdown::Both);
            }
            keeper.give_up(number);
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Option<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the log by a shorter one that says the same.
    async fn rewrite(self: Arc<Self>) {
        if let Err(error) = self.try_rewrite().await {
            tracing::warn!("what is written down cannot be summed up: {error}");
        }
        self.rewriting.store(false, Ordering::Relaxed);
    }

    async fn try_rewrite(&self) -> io::Result<()> {
        let Some((old, end, generation)) = self.log().as_ref().map(Log::to_rewrite).transpose()? else { return Ok(()) };
        let file = memory()?;
        let kept = file.try_clone()?;
        let summing_up = move || log::rewrite(&old, end, generation, file).map_err(io::Error::other);
        let mut new = tokio::task::spawn_blocking(summing_up).await.map_err(io::Error::other)??;
        // Kept before it counts, and the old one as long as it does not.
        self.store.push(&store::of_log(generation), kept.as_fd()).await?;
        let mut place = self.log();
        let Some(log) = place.as_mut() else { return Ok(()) };
        new.catch_up(log, end)?;
        new.finish()?;
        self.store.remove(store::of_log(log.generation));
        *log = new;
        Ok(())
    }
}

/// A new log of this state, kept.
async fn begin(store: &Store, state: &State) -> io::Result<Log> {
    let file = memory()?;
    let log = Log::create(file.try_clone()?, 0, state)?;
    log.finish()?;
    store.push(&store::of_log(0), file.as_fd()).await?;
    Ok(log)
}

/// A file that is nowhere but in memory.
fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("shmooze-state", MemfdFlags::CLOEXEC)?))
}

/// The log that counts, of those that can be read.
fn latest(logs: Vec<File>) -> Option<(Log, State)> {
    let mut readable = Vec::new();
    for file in logs {
        match log::generation(&file) {
            Ok(generation) => readable.push((generation, file)),
            Err(log::Unreadable::Unfinished) => {}
            Err(error) => tracing::error!("what the process before has written down cannot be read: {error}"),
        }
    }
    let (_, file) = readable.into_iter().max_by_key(|(generation, _)| *generation)?;
    match Log::open(file) {
        Ok(opened) => Some(opened),
        Err(error) => {
            tracing::error!("what the process before has written down cannot be read: {error}");
            None
        }
    }
}

/// What a log amounts to: the state after its last whole entry, as the JSON that a log may begin with. It is for who wants to
/// know why a broker went on as it did, and for tests with logs that no broker writes.
///
/// # Errors
/// A phrase that says why the log cannot be read.
pub fn sum_up(log: &[u8]) -> Result<String, String> {
    let state = log::read_bytes(log).map_err(|error| error.to_string())?;
    serde_json::to_string(&state).map_err(|error| error.to_string())
}

/// Now, in ms since 1970.
pub(crate) fn now() -> u64 {
    milliseconds(SystemTime::now())
}

/// A time in ms since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// A time from ms since 1970.
pub(crate) fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + std::time::Duration::from_millis(milliseconds)
}
