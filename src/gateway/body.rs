//! Reading the body of a request, within limits of size and time.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;

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
            Self::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Broken { .. } => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body of up to `limit` bytes, waiting at most `patience` for each piece. One that came in one piece is not
/// copied; one that announces too much is refused before a byte of it is read, so that a client which asks first
/// (`Expect: 100-continue`) sends nothing in vain.
pub(super) async fn read<B>(body: B, limit: usize, patience: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let too_long = BodyError::TooLong { limit };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_long);
    }
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while !body.is_end_stream() {
        let frame = tokio::time::timeout(patience, body.frame()).await;
        let frame = frame.map_err(|_| BodyError::Stalled { after: patience })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| BodyError::Broken { reason: error.to_string() })?;
        // Trailers say nothing here.
        let Ok(piece) = frame.into_data() else { continue };
        if first.len() + all.len() + piece.len() > limit {
            return Err(too_long);
        }
        if first.is_empty() && all.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.reserve(first.len() + piece.len() + usize::try_from(body.size_hint().lower()).unwrap_or(0));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&piece);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
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

    #[tokio::test]
    async fn whole() {
        assert_eq!(read(Empty::new(), 0, PATIENCE).await.unwrap(), "");
        let bytes = Bytes::from("hello");
        let read_bytes = read(Full::new(bytes.clone()), 5, PATIENCE).await.unwrap();
        assert_eq!((read_bytes.as_ptr(), read_bytes.len()), (bytes.as_ptr(), 5), "not copied");
        assert_eq!(read(Full::new(bytes), 4, PATIENCE).await.unwrap_err().to_string(), "Body is longer than 4 bytes.");
    }

    #[tokio::test]
    async fn in_pieces() {
        for (limit, expected) in [(6, "abcdef"), (5, "Body is longer than 5 bytes.")] {
            let pieces = Pieces(["ab", "", "cd", "ef"].map(Some).into());
            let result = read(pieces, limit, PATIENCE).await;
            assert_eq!(result.map_or_else(|error| error.to_string(), |all| String::from_utf8(all.into()).unwrap()), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stalled() {
        let started = tokio::time::Instant::now();
        let error = read(Pieces([Some("ab"), None].into()), 100, PATIENCE).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(error.to_string(), "Nothing of the body came for 60000 ms.");
        assert_eq!(started.elapsed().as_secs(), 60);
    }
}
