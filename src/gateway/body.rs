//! Reading the body of a request, within limits of size and time.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// It is over the limit, or says that it will be.
    #[error("Body is longer than {limit} bytes.")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Nothing more came for a while.
    #[error("Nothing of the body came for {} ms.", after.as_millis())]
    Stalled {
        /// How long it was waited for.
        after: Duration,
    },
    /// It dribbles.
    #[error("Body came more slowly than {RATE} bytes a second.")]
    TooSlow,
    /// Others have so many bytes of bodies received that there is no room for this one.
    #[error("No room for so long a body: {total} bytes of bodies are being received.")]
    NoRoom {
        /// How many there may be, in bytes.
        total: usize,
    },
    /// It ended early, or its framing is wrong.
    #[error("Body cannot be read: {reason}.")]
    Broken {
        /// What is wrong.
        reason: String,
    },
}

impl BodyError {
    /// The status that says it.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled { .. } | Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoom { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken { .. } => StatusCode::BAD_REQUEST,
        }
    }
}

/// What bodies that are being received or answered may take, in bytes; room for two of the longest there is always.
const ROOM: usize = 64 * 1024 * 1024;
/// What of each takes no room, in bytes.
const SMALL: usize = 8 * 1024;
/// Room is counted in these, in bytes.
const UNIT: usize = 1024;
/// The least that comes in a second once patience is over, in bytes.
const RATE: usize = 1024;

/// The room of all bodies together.
#[derive(Debug)]
pub(super) struct Room {
    total: usize,
    free: Semaphore,
}

impl Room {
    /// Where none is longer than `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        let total = ROOM.max(limit.saturating_mul(2));
        Self { total, free: Semaphore::new(total / UNIT) }
    }

    /// Room for a body that has grown to `length` bytes, in what is `held` of it.
    fn hold<'a>(&'a self, length: usize, held: &mut Held<'a>) -> Result<(), BodyError> {
        let wanted = if length <= SMALL { 0 } else { length.next_power_of_two().div_ceil(UNIT) };
        let more = wanted.saturating_sub(held.as_ref().map_or(0, SemaphorePermit::num_permits));
        if more == 0 {
            return Ok(());
        }
        let no_room = || BodyError::NoRoom { total: self.total };
        let more = u32::try_from(more).map_err(|_| no_room())?;
        let permit = self.free.try_acquire_many(more).map_err(|_| no_room())?;
        match held {
            Some(held) => held.merge(permit),
            None => *held = Some(permit),
        }
        Ok(())
    }
}

/// What a body holds of the room until it is dropped.
pub(super) type Held<'a> = Option<SemaphorePermit<'a>>;

/// Reads a body of up to `limit` bytes, waiting at most `patience` for each piece, and for all of it twice as long and
/// what it takes at [`RATE`]; what it takes of the `room` is to be held as long as it is kept. One that came in one piece is not
/// copied; one that announces too much is refused before a byte of it is read, so that a client which asks first
/// (`Expect: 100-continue`) sends nothing in vain.
pub(super) async fn read<B>(body: B, limit: usize, patience: Duration, room: &Room) -> Result<(Bytes, Held<'_>), BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let too_long = BodyError::TooLong { limit };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_long);
    }
    let mut held = None;
    let begun = Instant::now();
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while !body.is_end_stream() {
        let received = first.len() + all.len();
        let silence = Instant::now() + patience;
        let end = begun + 2 * patience + Duration::from_secs((received / RATE) as u64);
        let frame = tokio::time::timeout_at(end.min(silence), body.frame()).await;
        let late = |_| if silence <= end { BodyError::Stalled { after: patience } } else { BodyError::TooSlow };
        let frame = frame.map_err(late)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| BodyError::Broken { reason: error.to_string() })?;
        // Trailers say nothing here.
        let Ok(piece) = frame.into_data() else { continue };
        if received + piece.len() > limit {
            return Err(too_long);
        }
        room.hold(received + piece.len(), &mut held)?;
        if first.is_empty() && all.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.reserve(first.len() + piece.len());
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&piece);
    }
    Ok((if all.is_empty() { first } else { all.freeze() }, held))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::{Empty, Full};
    use hyper::body::Frame;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Comes in pieces; `None` is a piece that never comes.
    struct Pieces(VecDeque<Option<&'static str>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.0.front() == Some(&None) {
                return Poll::Pending;
            }
            Poll::Ready(self.0.pop_front().flatten().map(|piece| Ok(Frame::data(piece.into()))))
        }
    }

    async fn read_alone<B: Body<Data = Bytes, Error = Infallible>>(body: B, limit: usize) -> Result<Bytes, BodyError> {
        read(body, limit, PATIENCE, &Room::new(limit)).await.map(|(bytes, _)| bytes)
    }

    /// A byte a minute but one second, for ever.
    struct Dribble(Pin<Box<tokio::time::Sleep>>);

    impl Body for Dribble {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::task::ready!(self.0.as_mut().poll(cx));
            let next = self.0.deadline() + PATIENCE - Duration::from_secs(1);
            self.0.as_mut().reset(next);
            Poll::Ready(Some(Ok(Frame::data("x".into()))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_minute() {
        let started = Instant::now();
        let error = read_alone(Dribble(Box::pin(tokio::time::sleep(Duration::ZERO))), 100).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(error.to_string(), "Body came more slowly than 1024 bytes a second.");
        assert_eq!(started.elapsed().as_secs(), 120);
    }

    #[tokio::test]
    async fn all_bodies_together_have_an_end() {
        let room = Room::new(ROOM / 4);
        let read_one = || read(Full::new(Bytes::from(vec![b' '; ROOM / 4])), ROOM / 4, PATIENCE, &room);
        let held = [read_one().await.unwrap(), read_one().await.unwrap(), read_one().await.unwrap(), read_one().await.unwrap()];
        let error = read_one().await.unwrap_err();
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error.to_string(), "No room for so long a body: 67108864 bytes of bodies are being received.");
        // What is small is taken all the same.
        assert!(read(Full::new(Bytes::from(vec![b' '; SMALL])), ROOM, PATIENCE, &room).await.is_ok());
        drop(held);
        assert!(read_one().await.is_ok());
    }

    #[tokio::test]
    async fn whole() {
        assert_eq!(read_alone(Empty::new(), 0).await.unwrap(), "");
        let bytes = Bytes::from("hello");
        let read_bytes = read_alone(Full::new(bytes.clone()), 5).await.unwrap();
        assert_eq!((read_bytes.as_ptr(), read_bytes.len()), (bytes.as_ptr(), 5), "not copied");
        assert_eq!(read_alone(Full::new(bytes), 4).await.unwrap_err().to_string(), "Body is longer than 4 bytes.");
    }

    #[tokio::test]
    async fn in_pieces() {
        for (limit, expected) in [(6, "abcdef"), (5, "Body is longer than 5 bytes.")] {
            let pieces = Pieces(["ab", "", "cd", "ef"].map(Some).into());
            let result = read_alone(pieces, limit).await;
            assert_eq!(result.map_or_else(|error| error.to_string(), |all| String::from_utf8(all.into()).unwrap()), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stalled() {
        let started = Instant::now();
        let error = read_alone(Pieces([Some("ab"), None].into()), 100).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(error.to_string(), "Nothing of the body came for 60000 ms.");
        assert_eq!(started.elapsed().as_secs(), 60);
    }
}
