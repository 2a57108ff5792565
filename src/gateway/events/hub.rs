//! One service's events: the one subscription, and everybody who follows it.
//!
//! ```text
//!   nobody ──join──▶ asks once: events since, or a state ──▶ follows ──▶ … ──the last leaves──▶ nobody
//!                      │ no answer: 502, 504                   │ lost: tries again for GRACE, then all streams end,
//!                      ╰ not offered: 404                      ╰ and who comes again is told why
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep};

use super::browser::Browser;
use super::ring::{After, Place, Ring};
use super::said::{self, Said};
use crate::client::{Client, ClientError, Endpoint};
use crate::gateway::{endpoint, serve};

/// How long a service is asked to wait for something newer.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often at least something is sent, so that nobody takes a quiet stream for a lost one.
const BEAT: Duration = Duration::from_secs(20);
/// How long streams stay open while the service does not answer: a restart takes less.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait before a service that did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// A state is sent again to whoever comes until so many events have come after it.
const MOST_BEHIND: usize = 64;

/// Why somebody cannot follow.
#[derive(Debug)]
pub(super) enum Refused {
    /// The service has no events, in its own words.
    NotOffered(String),
    /// It does not answer.
    Failed(StatusCode, String),
}

/// What those who follow are woken by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signal {
    /// Goes up now and then.
    pub(super) beats: u64,
    /// Goes up when every stream is to end.
    pub(super) ends: u64,
}

#[derive(Debug)]
pub(in crate::gateway) struct Hub {
    name: String,
    /// For what is answered at once, and for what is waited for.
    asking: Client,
    waiting: Client,
    beat: Duration,
    inner: Mutex<Inner>,
    signal: watch::Sender<Signal>,
    /// Who holds it asks for all who need the same.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    ring: Ring,
    /// The last whole state, at its place.
    state: Option<(Place, Bytes)>,
    browsers: usize,
    is_following: bool,
    is_closed: bool,
}

impl Hub {
    /// For the service at `endpoint`, whose answers have `max_line_bytes` bytes at most and come within `timeout`.
    /// Connections silent for `idle_timeout` would be closed.
    pub(in crate::gateway) fn new(
        name: &str,
        endpoint: &Endpoint,
        max_line_bytes: usize,
        timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            name: name.to_owned(),
            asking: Client::with(endpoint.clone(), max_line_bytes, timeout),
            waiting: Client::with(endpoint.clone(), max_line_bytes, PATIENCE + timeout),
            beat: BEAT.min(idle_timeout / 2).max(Duration::from_millis(1)),
            inner: Mutex::default(),
            signal: watch::Sender::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many follow.
    pub(in crate::gateway) fn browsers(&self) -> usize {
        self.lock().browsers
    }

    /// Lets somebody follow who has seen everything up to `revision`, or nothing.
    pub(super) async fn join(self: Arc<Self>, revision: Option<u64>, place: serve::Place) -> Result<Browser, Refused> {
        let mut browser = Browser::new(&self, self.signal.subscribe(), place);
        {
            let mut inner = self.lock();
            if inner.is_closed {
                return Err(Refused::Failed(StatusCode::SERVICE_UNAVAILABLE, "The gateway ends.".to_owned()));
            }
            inner.browsers += 1;
        }
        // From here on it counts, and no longer when it is dropped.
        browser.is_counted = true;
        let known = || {
            let inner = self.lock();
            inner.is_following.then(|| revision.and_then(|revision| inner.ring.place(revision)))
        };
        let mut found = known();
        if found.is_none() {
            let turn = self.turn.lock().await;
            found = known();
            if found.is_none() {
                self.begin(revision).await?;
                found = Some(revision.and_then(|revision| self.lock().ring.place(revision)));
            }
            drop(turn);
        }
        match found.flatten() {
            Some(place) => browser.begin_at(place),
            None => {
                let (place, state) = self.state().await?;
                browser.begin_with(place, state);
            }
        }
        Ok(browser)
    }

    /// Asks for the first time and goes on asking.
    async fn begin(self: &Arc<Self>, revision: Option<u64>) -> Result<(), Refused> {
        let said = self.ask(&self.asking, revision, Duration::ZERO).await?;
        let mut inner = self.lock();
        inner.ring.begin(revision.unwrap_or_default());
        inner.take(said);
        inner.is_following = true;
        drop(inner);
        tokio::spawn(Arc::clone(self).follow());
        Ok(())
    }

    /// One question and its answer.
    async fn ask(&self, client: &Client, revision: Option<u64>, patience: Duration) -> Result<(u64, Vec<said::Event>), Refused> {
        let mut args = json!({});
        if let Some(revision) = revision {
            args["revision"] = revision.into();
            args["timeout"] = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).into();
        }
        let request = json!({"cmd": super::COMMAND, "args": args}).to_string();
        let senseless = || format!("Service {} answers {} by something else.", self.name, super::COMMAND);
        match client.request_line(request.as_bytes()).await.map(|line| said::read(&line)) {
            Ok(Some(Said::Events(revision, events))) => Ok((revision, events)),
            Ok(Some(Said::Refused(error))) => Err(Refused::NotOffered(error)),
            // Who knows no commands by name may answer anything.
            Ok(None) => Err(Refused::NotOffered(senseless())),
            Err(error) => Err(error.into()),
        }
    }

    /// A state that is recent, for one who needs it.
    pub(super) async fn state(&self) -> Result<(Place, Bytes), Refused> {
        let recent = || {
            let inner = self.lock();
            let (place, state) = inner.state.as_ref()?;
            let (events, bytes) = inner.ring.distance(*place)?;
            (events <= MOST_BEHIND && bytes <= state.len()).then(|| (*place, state.clone()))
        };
        if let Some(state) = recent() {
            return Ok(state);
        }
        let _turn = self.turn.lock().await;
        if let Some(state) = recent() {
            return Ok(state);
        }
        let (revision, events) = self.ask(&self.asking, None, Duration::ZERO).await?;
        let Some(event) = events.into_iter().next().filter(|event| event.is_state) else {
            return Err(Refused::NotOffered(format!("Service {} tells no state.", self.name)));
        };
        let mut inner = self.lock();
        if inner.ring.is_before(revision) {
            // It counts anew.
            inner.ring.begin(revision);
        }
        let state = (Place { epoch: inner.ring.end().epoch, revision }, event.text);
        inner.state = Some(state.clone());
        Ok(state)
    }

    /// What comes after `place`.
    pub(super) fn after(&self, place: Place) -> After {
        self.lock().ring.after(place)
    }

    /// Asks for what is newer, again and again, until nobody follows.
    async fn follow(self: Arc<Self>) {
        let mut beats = interval_at(Instant::now() + self.beat, self.beat);
        let mut lost: Option<Instant> = None;
        // One that does not wait is not asked all the time.
        let mut is_hasty = false;
        loop {
            let revision = self.lock().ring.end().revision;
            let must_wait = lost.is_some() || is_hasty;
            let asking = async {
                if must_wait {
                    sleep(PAUSE).await;
                }
                self.ask(&self.waiting, Some(revision), PATIENCE).await
            };
            let asked = Instant::now();
            let mut asking = std::pin::pin!(asking);
            let answer = loop {
                tokio::select! {
                    answer = &mut asking => break Some(answer),
                    _ = beats.tick() => self.signal.send_modify(|signal| signal.beats += 1),
                    () = self.is_left() => break None,
                }
            };
            match answer {
                None => {}
                Some(Ok(said)) => {
                    if lost.take().is_some() {
                        tracing::info!("Service {} tells its events again.", self.name);
                    }
                    is_hasty = said.1.is_empty() && asked.elapsed() < 2 * PAUSE;
                    self.lock().take(said);
                    self.signal.send_modify(|_| {});
                }
                Some(Err(refused)) => {
                    let since = *lost.get_or_insert_with(|| {
                        tracing::warn!("Service {} does not tell its events: {}", self.name, refused.sentence());
                        Instant::now()
                    });
                    if since.elapsed() > GRACE {
                        self.lock().stop();
                        self.end();
                        return;
                    }
                }
            }
            let mut inner = self.lock();
            if inner.browsers == 0 {
                inner.stop();
                return;
            }
        }
    }

    /// Waits until nobody follows.
    async fn is_left(&self) {
        let mut signal = self.signal.subscribe();
        while self.lock().browsers > 0 {
            // The sender is this.
            let _ = signal.changed().await;
        }
    }

    /// Somebody is gone.
    pub(super) fn leave(&self) {
        let mut inner = self.lock();
        inner.browsers -= 1;
        if inner.browsers == 0 {
            drop(inner);
            self.signal.send_modify(|_| {});
        }
    }

    /// Ends every stream there is; who comes again may follow again.
    pub(in crate::gateway) fn end(&self) {
        self.signal.send_modify(|signal| signal.ends += 1);
    }

    /// Ends every stream, for good.
    pub(in crate::gateway) fn close(&self) {
        self.lock().is_closed = true;
        self.end();
    }
}

impl Inner {
    /// Takes what the service has said. A state means that it has not told all since.
    fn take(&mut self, (revision, events): (u64, Vec<said::Event>)) {
        for event in events {
            if event.is_state {
                self.ring.begin(revision);
                self.state = Some((self.ring.end(), event.text));
            } else {
                self.ring.push(event);
            }
        }
    }

    fn stop(&mut self) {
        self.is_following = false;
        self.state = None;
        self.ring.begin(0);
    }
}

impl Refused {
    fn sentence(&self) -> &str {
        match self {
            Self::NotOffered(error) | Self::Failed(_, error) => error,
        }
    }
}

impl From<ClientError> for Refused {
    fn from(error: ClientError) -> Self {
        Self::Failed(endpoint::status(&error), error.to_string())
    }
}
