//! When a client's connection has been silent for too long.
//!
//! One timer for each connection, moved only when it fires or a request's head has begun and not ended: what a request
//! costs here is a few stores. The rules:
//!
//! | the connection | ends after |
//! |---|---|
//! | between requests, or while an answer is read | `idle_timeout` without a byte read or written |
//! | while a request's head comes in | `header_timeout` after its first byte, however it trickles |
//! | while a request is worked on | never; reading its body and asking its service have limits of their own |
//! | closing | [`LINGER`] |

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Version;
use tokio::time::{Instant, Sleep};

/// How long a closing connection is listened to. A client that was still sending when it was answered would have the
/// answer torn from its hands by a reset otherwise (RFC 9112 section 9.6).
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// "Not at the moment", for the times below.
const NEVER: u64 = u64::MAX;

/// What is known of one connection. Shared by its socket, its requests and its task; times in ms since it began.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    idle_timeout: Duration,
    header_timeout: Duration,
    /// When a byte was read or written last, or a request was done.
    moved: AtomicU64,
    /// When the first byte of the head under way came.
    head_began: AtomicU64,
    /// When closing began.
    closing: AtomicU64,
    /// Requests worked on; more than one only over HTTP/2.
    requests: AtomicU32,
    /// The answer under way goes on without end.
    is_streaming: AtomicBool,
    /// HTTP/2, where heads cannot be told from the rest by looking at bytes.
    is_multiplexed: AtomicBool,
}

impl Watch {
    pub(super) fn new(idle_timeout: Duration, header_timeout: Duration) -> Self {
        Self {
            began: Instant::now(),
            idle_timeout,
            header_timeout,
            moved: AtomicU64::new(0),
            head_began: AtomicU64::new(NEVER),
            closing: AtomicU64::new(NEVER),
            requests: AtomicU32::new(0),
            is_streaming: AtomicBool::new(false),
            is_multiplexed: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER)
    }

    /// Bytes were read.
    pub(super) fn received(&self) {
        let now = self.now();
        self.moved.store(now, Relaxed);
        let is_head = self.requests.load(Relaxed) == 0 && !self.is_multiplexed.load(Relaxed);
        if is_head && self.head_began.load(Relaxed) == NEVER {
            self.head_began.store(now, Relaxed);
        }
    }

    /// Bytes were written.
    pub(super) fn sent(&self) {
        self.moved.store(self.now(), Relaxed);
    }

    /// Our side is closed.
    pub(super) fn close(&self) {
        self.closing.store(self.now(), Relaxed);
    }

    /// The head of a request is there; the request is worked on until what is returned is dropped.
    pub(super) fn request(&self, version: Version) -> InRequest<'_> {
        if version == Version::HTTP_2 {
            self.is_multiplexed.store(true, Relaxed);
        }
        self.head_began.store(NEVER, Relaxed);
        self.is_streaming.store(false, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        InRequest(self)
    }

    /// The answer that begins goes on without end.
    pub(super) fn stream(&self) {
        // Over HTTP/2 a client says itself that it has had enough.
        self.is_streaming.store(!self.is_multiplexed.load(Relaxed), Relaxed);
    }

    /// Whether a client that has closed its side is gone: who has had enough of an answer without end says so by nothing else.
    pub(super) fn is_streaming(&self) -> bool {
        self.is_streaming.load(Relaxed)
    }

    /// When the connection ends if nothing more happens.
    fn deadline(&self) -> Option<Instant> {
        let after = |since: u64, timeout| self.began + Duration::from_millis(since) + timeout;
        let closing = self.closing.load(Relaxed);
        if closing != NEVER {
            return Some(after(closing, LINGER));
        }
        if self.requests.load(Relaxed) > 0 {
            return None;
        }
        match self.head_began.load(Relaxed) {
            NEVER => Some(after(self.moved.load(Relaxed), self.idle_timeout)),
            began => Some(after(began, self.header_timeout)),
        }
    }

    /// A timer for [`Watch::poll_expired`].
    pub(super) fn timer(&self) -> Sleep {
        tokio::time::sleep_until(self.began + self.idle_timeout)
    }

    /// Ready when the connection has to end. To be polled after everything that may have moved the deadline.
    pub(super) fn poll_expired(&self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(deadline) = self.deadline().filter(|deadline| *deadline < timer.deadline()) {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            match self.deadline() {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                Some(deadline) => timer.as_mut().reset(deadline),
                // A request's end moves the deadline on by as much at least.
                None => timer.as_mut().reset(now + self.idle_timeout),
            }
        }
    }
}

/// A request is worked on.
#[derive(Debug)]
pub(super) struct InRequest<'a>(&'a Watch);

impl Drop for InRequest<'_> {
    fn drop(&mut self) {
        self.0.moved.store(self.0.now(), Relaxed);
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    fn watch() -> Watch {
        Watch::new(Duration::from_secs(60), Duration::from_secs(10))
    }

    /// Seconds until the connection ends if nothing more happens.
    async fn expires(watch: &Watch) -> u64 {
        let started = Instant::now();
        let mut timer = pin!(watch.timer());
        poll_fn(|cx| watch.poll_expired(timer.as_mut(), cx)).await;
        started.elapsed().as_secs()
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence() {
        let watch = watch();
        pass(59).await;
        watch.sent();
        assert_eq!(expires(&watch).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles() {
        let watch = watch();
        pass(5).await;
        for _ in 0..8 {
            watch.received();
            pass(1).await;
        }
        assert_eq!(expires(&watch).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_late_is_seen_in_time() {
        let watch = watch();
        let mut timer = pin!(watch.timer());
        let started = Instant::now();
        assert!(poll_fn(|cx| Poll::Ready(watch.poll_expired(timer.as_mut(), cx))).await.is_pending());
        pass(30).await;
        watch.received();
        poll_fn(|cx| watch.poll_expired(timer.as_mut(), cx)).await;
        assert_eq!(started.elapsed().as_secs(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_its_time() {
        let watch = watch();
        watch.received();
        let request = watch.request(Version::HTTP_11);
        watch.received();
        let mut timer = pin!(watch.timer());
        let expired = poll_fn(|cx| watch.poll_expired(timer.as_mut(), cx));
        assert!(tokio::time::timeout(Duration::from_secs(1000), expired).await.is_err());
        drop(request);
        assert_eq!(expires(&watch).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn http_2_has_no_heads_to_see() {
        let watch = watch();
        watch.received();
        drop(watch.request(Version::HTTP_2));
        watch.received();
        assert_eq!(expires(&watch).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn closing() {
        let watch = watch();
        watch.close();
        watch.received();
        assert_eq!(expires(&watch).await, 1);
    }
}
