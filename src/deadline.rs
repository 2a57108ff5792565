//! Deadlines that hardly ever pass: a timer is set once and left alone while request follows request.
//!
//! To set a timer anew for each request costs a place in the runtime's wheel and, where it is the next to fire, a system
//! call that wakes the runtime's driver. To be woken once in vain costs less.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Most timers kept.
const MOST_SPARE: usize = 128;

/// Ready when `deadline` is over. A `timer` that was set for an earlier one is left until it fires.
pub(crate) fn poll_deadline(deadline: Instant, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        ready!(timer.as_mut().poll(cx));
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
}

/// The same time limit for many futures, and the timers that those before have left behind.
#[derive(Debug)]
pub(crate) struct Limit {
    time: Duration,
    spare: Mutex<Vec<Pin<Box<Sleep>>>>,
}

impl Limit {
    /// A limit of `time`.
    pub(crate) fn new(time: Duration) -> Self {
        Self { time, spare: Mutex::default() }
    }

    /// How long a future may take.
    pub(crate) const fn time(&self) -> Duration {
        self.time
    }

    /// What `future` yields, or `None` where it takes too long.
    pub(crate) async fn of<F: Future>(&self, future: F) -> Option<F::Output> {
        let deadline = Instant::now() + self.time;
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let mut timer = spare().pop().unwrap_or_else(|| Box::pin(sleep_until(deadline)));
        let mut future = pin!(future);
        let output = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => poll_deadline(deadline, timer.as_mut(), cx).map(|()| None),
        });
        let output = output.await;
        let mut spare = spare();
        if spare.len() < MOST_SPARE {
            spare.push(timer);
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_has_all_of_its_time() {
        let limit = Limit::new(Duration::from_secs(10));
        let sleep = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        let began = Instant::now();
        for seconds in [1, 9, 9, 0] {
            assert_eq!(limit.of(sleep(seconds)).await, Some(()));
        }
        assert_eq!(began.elapsed().as_secs(), 19);
        assert_eq!(limit.of(sleep(11)).await, None);
        assert_eq!(began.elapsed().as_secs(), 29);
        assert_eq!(limit.of(sleep(9)).await, Some(()));
        assert_eq!(limit.spare.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn several_at_once() {
        let limit = Limit::new(Duration::from_secs(10));
        let sleep = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        let all = async || tokio::join!(limit.of(sleep(9)), limit.of(sleep(11)), limit.of(sleep(1)));
        for _ in 0..2 {
            assert_eq!(all().await, (Some(()), None, Some(())));
        }
        assert_eq!(limit.spare.lock().unwrap().len(), 3);
    }
}
