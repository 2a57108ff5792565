//! One who follows: a body that goes on until somebody has enough.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame};
use tokio::sync::watch;

use super::hub::{Hub, Signal};
use super::ring::{After, Place};
use crate::gateway::serve;

/// A line that means nothing, by which a quiet stream shows that it is there.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

#[derive(Debug)]
pub(super) struct Browser {
    hub: Arc<Hub>,
    signal: watch::Receiver<Signal>,
    /// What was signalled when something was sent last.
    seen: Signal,
    place: Option<Place>,
    /// What is sent before anything else.
    first: Option<Bytes>,
    /// The hub counts it.
    pub(super) is_counted: bool,
    _place: serve::Place,
}

impl Browser {
    pub(super) fn new(hub: &Arc<Hub>, signal: watch::Receiver<Signal>, place: serve::Place) -> Self {
        let seen = *signal.borrow();
        Self { hub: Arc::clone(hub), signal, seen, place: None, first: None, is_counted: false, _place: place }
    }

    /// It goes on from `place`. A comment says at once that it may.
    pub(super) fn begin_at(&mut self, place: Place) {
        self.place = Some(place);
        self.first = Some(COMMENT);
    }

    /// It begins with a state.
    pub(super) fn begin_with(&mut self, place: Place, state: Bytes) {
        self.place = Some(place);
        self.first = Some(state);
    }

    /// What to send next, and who sends what comes after; `None` at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(first) = self.first.take() {
            return Some((first, self));
        }
        loop {
            let signal = *self.signal.borrow_and_update();
            if signal.ends != self.seen.ends {
                return None;
            }
            match self.hub.after(self.place?) {
                After::Events(place, events) => {
                    self.place = Some(place);
                    self.seen = signal;
                    return Some((events, self));
                }
                After::Nothing => {}
                After::Lost => {
                    // Without one, the stream ends and whoever comes again is told why.
                    let (place, state) = self.hub.state().await.ok()?;
                    self.place = Some(place);
                    self.seen = signal;
                    return Some((state, self));
                }
            }
            if signal.beats != self.seen.beats {
                self.seen = signal;
                return Some((COMMENT, self));
            }
            self.signal.changed().await.ok()?;
        }
    }

    pub(super) fn into_body(self) -> UnsyncBoxBody<Bytes, io::Error> {
        Following(Some(Box::pin(self.next()))).boxed_unsync()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.is_counted {
            self.hub.leave();
        }
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Browser)>> + Send>>;

/// The body.
struct Following(Option<Next>);

impl Body for Following {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(next) = &mut self.0 else { return Poll::Ready(None) };
        match ready!(next.as_mut().poll(cx)) {
            Some((bytes, browser)) => {
                self.0 = Some(Box::pin(browser.next()));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}
