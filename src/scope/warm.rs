//! Children that wait at their gates before anybody knows what they are to become, so that no launch waits for a shim to
//! start.
//!
//! ```text
//!   launch ──▶ take ──▶ one that waits ─┬─▶ put into its scope, released
//!               │  └─ none: forked now ─┘
//!               ╰─ once nothing was launched for a while ──▶ fill: as many as were taken meanwhile wait again
//! ```
//!
//! What a module is comes down the gate ([`shim`](super::shim)), so any of them will do for any module, its limits, its user
//! and its environment included. They are no modules: they live where this process lives, hold nothing but their gates,
//! never wake up, and end when a gate is closed, as all are when this process ends.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::process::runs;
use super::shim::Held;

/// The most that wait.
const MOST: usize = 8;
/// How long nothing must have been launched before others are forked.
const PEACE: Duration = Duration::from_millis(100);
/// So many times that long at most: a stream of launches without end is served by forks as well.
const LONGEST: u32 = 10;

/// The children that wait. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Warm {
    shim: PathBuf,
    stock: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    waiting: VecDeque<Waiting>,
    /// How many shall wait.
    wanted: usize,
    /// How many were taken, or would have been, since it was last filled.
    taken: usize,
    /// Whether somebody fills it.
    filling: bool,
    closed: bool,
}

/// One that waits. Dropped, it is ended.
#[derive(Debug)]
struct Waiting {
    take: oneshot::Sender<()>,
    /// Answers nothing where it ended by itself.
    task: JoinHandle<Option<Held>>,
}

impl Stock {
    /// How many are to be forked now. There will be as many as were taken since the last time; fewer, only by one each time.
    fn missing(&mut self) -> usize {
        let taken = std::mem::take(&mut self.taken);
        self.wanted = if self.closed { 0 } else { taken.max(self.wanted.saturating_sub(1)).min(MOST) };
        self.waiting.retain(|waiting| !waiting.task.is_finished());
        self.waiting.truncate(self.wanted);
        self.wanted - self.waiting.len()
    }
}

impl Warm {
    /// None waits before the first launch.
    pub(super) fn new(shim: PathBuf) -> Arc<Self> {
        Arc::new(Self { shim, stock: Mutex::default() })
    }

    /// A new one, whoever waits.
    pub(super) fn fork(&self) -> std::io::Result<Held> {
        Held::spawn(&self.shim)
    }

    /// One that waits, or a new one.
    pub(super) async fn take(self: &Arc<Self>) -> std::io::Result<Held> {
        let begin = {
            let mut stock = self.stock();
            stock.taken += 1;
            !std::mem::replace(&mut stock.filling, true)
        };
        if begin {
            tokio::spawn(fill(Arc::downgrade(self)));
        }
        loop {
            let Some(Waiting { take, task }) = self.stock().waiting.pop_front() else { return self.fork() };
            if take.send(()).is_err() {
                continue;
            }
            let Ok(Some(held)) = task.await else { continue };
            // Somebody may have stopped it.
            if runs(held.pid) {
                return Ok(held);
            }
            tokio::spawn(end(held));
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.stock().waiting.iter().filter(|waiting| !waiting.task.is_finished()).count()
    }

    /// Ends all, for ever.
    pub(super) fn close(&self) {
        let mut stock = self.stock();
        stock.closed = true;
        stock.waiting.clear();
    }

    /// Forks what is missing.
    async fn fill(&self) {
        let missing = self.stock().missing();
        for _ in 0..missing {
            match self.fork() {
                Ok(held) => self.park(held),
                // The next launch says so, where it matters.
                Err(error) => return tracing::debug!("no child is kept ready: {error}"),
            }
            // Each takes a moment, in which somebody may want something.
            tokio::task::yield_now().await;
        }
    }

    /// Whether nobody has to fill it any more.
    fn is_filled(&self) -> bool {
        let mut stock = self.stock();
        stock.filling = stock.taken > 0 && !stock.closed;
        !stock.filling
    }

    fn park(&self, mut held: Held) {
        let mut stock = self.stock();
        if stock.closed {
            return;
        }
        let (take, taken) = oneshot::channel();
        let task = tokio::spawn(async move {
            let wanted = tokio::select! {
                biased;
                taken = taken => taken.is_ok(),
                _ = held.child.wait() => return None,
            };
            if wanted {
                return Some(held);
            }
            end(held).await;
            None
        });
        stock.waiting.push_back(Waiting { take, task });
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for peace and fills, until nothing was taken meanwhile.
async fn fill(warm: Weak<Warm>) {
    loop {
        let mut before = 0;
        for _ in 0..LONGEST {
            sleep(PEACE).await;
            let Some(warm) = warm.upgrade() else { return };
            let taken = warm.stock().taken;
            if std::mem::replace(&mut before, taken) == taken {
                break;
            }
        }
        let Some(warm) = warm.upgrade() else { return };
        warm.fill().await;
        if warm.is_filled() {
            return;
        }
    }
}

/// Leaves nothing of one that became nothing.
async fn end(held: Held) {
    let _ = held.give_up().kill().await;
}
