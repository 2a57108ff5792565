//! The bounded queue between those who write rows and the one thread that stores them.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::{RecordError, Row};

/// How long the writer waits for company after the first row of a batch. One transaction for all that comes in this
/// time costs a busy service a fraction of the processor time that one per row would.
const GATHER: Duration = Duration::from_millis(10);

/// A row and when it was written.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) row: Row,
    /// Seconds since 1970 UTC.
    pub(super) seconds: i64,
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Store the batch.
    Store,
    /// Store the batch, then end.
    StoreAndEnd,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Those who flush wait here.
    progress: Condvar,
    max_rows: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Entry>,
    /// Rows and bytes of text held, those in the writer's hands included.
    rows: usize,
    bytes: usize,
    /// Rows accepted and rows stored since the start; equal when all is on disk.
    accepted: u64,
    stored: u64,
    /// Rows dropped since the start.
    lost: u64,
    /// Whether the writer shall be told of new rows: it is waiting without a deadline.
    sleeping: bool,
    /// Someone waits: no gathering, no pausing.
    urgent: bool,
    /// Attempts begun, and the last that failed with its reason.
    attempts: u64,
    failed: Option<(u64, String)>,
    closing: bool,
    /// The writer is gone.
    ended: bool,
}

impl Queue {
    pub(super) fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), progress: Condvar::new(), max_rows, max_bytes }
    }

    /// A panic under the lock leaves a state that is still sound: every change to it is a few assignments.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, row: Row) {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let entry = Entry { row, seconds: i64::try_from(seconds).unwrap_or(i64::MAX) };
        let bytes = entry.bytes();
        let mut state = self.lock();
        if state.closing || state.rows >= self.max_rows || state.bytes.saturating_add(bytes) > self.max_bytes {
            state.lost += 1;
            return;
        }
        state.waiting.push(entry);
        state.accepted += 1;
        state.rows += 1;
        state.bytes += bytes;
        // Half full ends the gathering early.
        let wake = state.sleeping || state.rows == self.max_rows / 2 || crosses(state.bytes, bytes, self.max_bytes / 2);
        state.sleeping = false;
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Waits for work and appends it to `batch`. After a failure `pause` says how long to wait before the next attempt
    /// at what is in `batch` already.
    pub(super) fn next(&self, batch: &mut Vec<Entry>, pause: Option<Duration>) -> Next {
        let mut state = self.lock();
        if batch.is_empty() {
            while state.waiting.is_empty() && !state.urgent && !state.closing {
                state.sleeping = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.sleeping = false;
        }
        let pause = pause.filter(|_| !batch.is_empty());
        let deadline = Instant::now() + pause.unwrap_or(GATHER);
        while !state.urgent && !state.closing && (pause.is_some() || !self.is_half_full(&state)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.urgent = false;
        state.attempts += 1;
        batch.append(&mut state.waiting);
        state.waiting = Vec::new();
        if state.closing { Next::StoreAndEnd } else { Next::Store }
    }

    fn is_half_full(&self, state: &State) -> bool {
        state.rows >= self.max_rows / 2 || state.bytes >= self.max_bytes / 2
    }

    /// The attempt went well: `batch` is on disk, and is emptied.
    pub(super) fn stored(&self, batch: &mut Vec<Entry>) {
        let entries = mem::take(batch);
        let bytes: usize = entries.iter().map(Entry::bytes).sum();
        let mut state = self.lock();
        state.stored += entries.len() as u64;
        state.rows -= entries.len();
        state.bytes -= bytes;
        state.failed = None;
        drop(state);
        self.progress.notify_all();
    }

    /// The attempt failed; its rows stay in the writer's hands.
    pub(super) fn failed(&self, reason: String) {
        let mut state = self.lock();
        state.failed = Some((state.attempts, reason));
        drop(state);
        self.progress.notify_all();
    }

    /// The writer ends, and `unwritten` rows with it.
    pub(super) fn end(&self, unwritten: usize) {
        let mut state = self.lock();
        state.lost += unwritten as u64;
        state.ended = true;
        drop(state);
        self.progress.notify_all();
    }

    pub(super) fn flush(&self, within: Duration) -> Result<(), RecordError> {
        let mut state = self.lock();
        let (target, attempts) = (state.accepted, state.attempts);
        if state.stored >= target {
            return Ok(());
        }
        state.urgent = true;
        self.work.notify_one();
        // An attempt under way may lack the newest rows: its failure says nothing of them.
        self.wait(state, within, |state| match &state.failed {
            _ if state.stored >= target => Some(Ok(())),
            Some((attempt, reason)) if *attempt > attempts || state.ended => Some(Err(RecordError::Refused(reason.clone()))),
            _ => None,
        })
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    pub(super) fn wait_for_end(&self, within: Duration) -> Result<(), RecordError> {
        self.wait(self.lock(), within, |state| {
            state.ended.then(|| match &state.failed {
                Some((_, reason)) if state.stored < state.accepted => Err(RecordError::Refused(reason.clone())),
                _ => Ok(()),
            })
        })
    }

    fn wait<T>(
        &self,
        mut state: MutexGuard<'_, State>,
        within: Duration,
        done: impl Fn(&State) -> Option<Result<T, RecordError>>,
    ) -> Result<T, RecordError> {
        let started = Instant::now();
        loop {
            if let Some(result) = done(&state) {
                return result;
            }
            let left = within.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(RecordError::Late(within));
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.row.input.len() + self.row.output.len()
    }
}

/// Whether adding the last `step` made `sum` reach `mark`.
fn crosses(sum: usize, step: usize, mark: usize) -> bool {
    sum >= mark && sum - step < mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Namespace;

    fn row(text: &str) -> Row {
        Row { uid: None, namespace: Namespace::ClientQueue, input: text.into(), output: String::new() }
    }

    fn texts(batch: &[Entry]) -> Vec<&str> {
        batch.iter().map(|entry| entry.row.input.as_str()).collect()
    }

    #[test]
    fn rows_beyond_the_bound_are_dropped_until_what_was_taken_is_stored() {
        let queue = Queue::new(2, 1000);
        let mut batch = Vec::new();
        for text in ["a", "b", "c"] {
            queue.push(row(text));
        }
        assert_eq!(queue.next(&mut batch, None), Next::Store);
        assert_eq!(texts(&batch), ["a", "b"]);
        queue.push(row("d"));
        assert_eq!(queue.lost(), 2, "rows in the writer's hands count");
        queue.stored(&mut batch);
        queue.push(row("e"));
        assert_eq!(queue.next(&mut batch, None), Next::Store);
        assert_eq!(texts(&batch), ["e"]);
        assert_eq!(queue.lost(), 2);
    }

    #[test]
    fn text_beyond_the_bound_is_dropped() {
        let queue = Queue::new(100, 10);
        for text in ["123456", "12345", "1234", "1", "12345678901"] {
            queue.push(row(text));
        }
        let mut batch = Vec::new();
        queue.next(&mut batch, None);
        assert_eq!(texts(&batch), ["123456", "1234"]);
        assert_eq!(queue.lost(), 3);
    }

    #[test]
    fn after_a_failure_the_batch_keeps_its_place() {
        let queue = Queue::new(100, 1000);
        let mut batch = Vec::new();
        queue.push(row("a"));
        queue.next(&mut batch, None);
        queue.failed("no".into());
        queue.push(row("b"));
        queue.close();
        assert_eq!(queue.next(&mut batch, Some(Duration::from_secs(3600))), Next::StoreAndEnd);
        assert_eq!(texts(&batch), ["a", "b"]);
    }

    #[test]
    fn what_comes_after_the_close_is_lost() {
        let queue = Queue::new(100, 1000);
        queue.close();
        queue.push(row("a"));
        assert_eq!(queue.lost(), 1);
    }

    #[test]
    fn a_flush_of_nothing_waits_for_nobody() {
        assert_eq!(Queue::new(1, 1).flush(Duration::ZERO), Ok(()));
    }

    #[test]
    fn a_flush_without_a_writer_is_late() {
        let queue = Queue::new(1, 1);
        queue.push(row("a"));
        let within = Duration::from_millis(1);
        assert_eq!(queue.flush(within).unwrap_err().to_string(), "The command log was not written within 1 ms.");
    }

    #[test]
    fn half_full_is_crossed_once() {
        assert!(crosses(10, 1, 10));
        assert!(crosses(12, 3, 10));
        assert!(!crosses(13, 3, 10));
        assert!(!crosses(9, 3, 10));
    }
}
