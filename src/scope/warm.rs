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

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    /// Waits at its gate, as a shim does.
    const CAT: &str = "/bin/cat";

    fn taken(stock: &mut Stock, taken: usize) -> usize {
        stock.taken = taken;
        stock.missing()
    }

    #[test]
    fn as_many_as_were_taken_and_slowly_fewer() {
        let mut stock = Stock::default();
        assert_eq!(taken(&mut stock, 1), 1);
        assert_eq!(taken(&mut stock, 5), 5);
        assert_eq!(taken(&mut stock, 100), MOST);
        assert_eq!((taken(&mut stock, 1), taken(&mut stock, 1), taken(&mut stock, 8)), (MOST - 1, MOST - 2, 8));
        stock.closed = true;
        assert_eq!(taken(&mut stock, 5), 0);
    }

    /// Lets all that is about to be forked be forked.
    async fn peace(warm: &Warm) {
        while warm.stock().filling {
            sleep(PEACE).await;
        }
    }

    /// The children of this test.
    fn children() -> Vec<u32> {
        let text = std::fs::read_to_string(format!("/proc/self/task/{}/children", nix::unistd::gettid())).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    fn signal(pid: u32, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    async fn until(is: impl Fn() -> bool) {
        while !is() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_waits_for_the_next() {
        let warm = Warm::new(CAT.into());
        let first = warm.take().await.unwrap();
        assert_eq!(warm.waiting(), 0, "not while somebody may be busy");
        peace(&warm).await;
        assert_eq!(warm.waiting(), 1);
        let second = warm.take().await.unwrap();
        assert_eq!(warm.waiting(), 0);
        assert!(runs(second.pid) && first.pid != second.pid);
        // Once more, though one that is taken begins the peace anew.
        let third = warm.take().await.unwrap();
        peace(&warm).await;
        assert_eq!(warm.waiting(), 2);
        // It reads nothing from where its house does.
        for held in [first, second, third] {
            assert!(held.give_up().wait().await.unwrap().success(), "end of file");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_good_for_nothing_is_passed_over_and_gone() {
        let warm = Warm::new(CAT.into());
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(warm.take().await.unwrap());
        }
        peace(&warm).await;
        assert_eq!(warm.waiting(), 3);
        held.push(warm.take().await.unwrap());
        let others: Vec<u32> = children().into_iter().filter(|pid| held.iter().all(|held| held.pid != *pid)).collect();
        assert_eq!(others.len(), 2);
        signal(others[0], Signal::SIGKILL);
        // Nobody has to ask for it to be waited for.
        until(|| !std::path::Path::new(&format!("/proc/{}", others[0])).exists()).await;
        signal(others[1], Signal::SIGSTOP);
        until(|| !runs(others[1])).await;
        let new = warm.take().await.unwrap();
        assert!(runs(new.pid) && !others.contains(&new.pid));
        until(|| !std::path::Path::new(&format!("/proc/{}", others[1])).exists()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn all_end_with_their_house_and_none_comes_after() {
        for close in [true, false] {
            let warm = Warm::new(CAT.into());
            let taken = [warm.take().await.unwrap(), warm.take().await.unwrap()];
            peace(&warm).await;
            let waited = warm.take().await.unwrap();
            assert_eq!(children().len(), 4);
            if close {
                warm.close();
                peace(&warm).await;
                assert_eq!(warm.waiting(), 0);
            } else {
                drop(warm);
                sleep(PEACE * 2 * LONGEST).await;
            }
            until(|| children().len() == 3).await;
            assert!(taken.iter().chain([&waited]).all(|held| runs(held.pid)), "what was taken is somebody else's");
            for held in taken.into_iter().chain([waited]) {
                held.give_up().wait().await.unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_forked_is_tried_again_with_the_next_launch_only() {
        let warm = Warm::new("/no/such/shim".into());
        let error = warm.take().await.unwrap_err();
        assert!(error.to_string().starts_with("/no/such/shim: "), "{error}");
        peace(&warm).await;
        assert_eq!(warm.waiting(), 0);
    }
}
