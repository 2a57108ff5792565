//! One of a module's two streams and the lines that come in on it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::protocol::LineBuffer;

/// Read at a time from a quiet stream, in bytes.
const LITTLE: usize = 4 * 1024;
/// Read at a time from a busy stream, in bytes: after that much, others get their turn.
const MUCH: usize = 64 * 1024;

/// A stream.
pub(super) struct Stream {
    socket: TcpStream,
    pub(super) lines: LineBuffer,
    /// How much to read next.
    appetite: usize,
}

/// What can be done with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Ready {
    /// Whether anything can be done.
    pub(super) const fn any(self) -> bool {
        self.readable || self.writable
    }
}

/// What became of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Nothing came although the socket seemed ready.
    Nothing,
    /// Bytes came; whether there may be more at once.
    Bytes { more: bool },
    /// The peer has closed, or the stream is broken.
    Closed,
}

impl Stream {
    /// Lines of up to `limit` bytes on `socket`.
    pub(super) fn new(socket: TcpStream, limit: usize) -> Self {
        Self { socket, lines: LineBuffer::new(limit), appetite: LITTLE }
    }

    /// What can be done; the task is woken once there is more. Whether it can be written to is looked at only where
    /// somebody `wants_to_write`. One that broke is readable, so that reading finds out.
    pub(super) fn poll_ready(&self, wants_to_write: bool, cx: &mut Context<'_>) -> Ready {
        Ready {
            readable: self.socket.poll_read_ready(cx).is_ready(),
            writable: wants_to_write && self.socket.poll_write_ready(cx).is_ready(),
        }
    }

    /// Reads what is there, without waiting for it. A read that does not fill its room has emptied the socket, and the
    /// runtime takes that into account: unlike `try_read` it needs no second, vain read to find out.
    pub(super) async fn read(&mut self) -> Read {
        let appetite = self.appetite;
        let read = poll_fn(|cx| Poll::Ready(pin!(self.socket.read_buf(self.lines.space(appetite))).poll(cx)));
        match read.await {
            Poll::Pending => Read::Nothing,
            Poll::Ready(Ok(0) | Err(_)) => Read::Closed,
            Poll::Ready(Ok(bytes)) => {
                let more = bytes >= appetite;
                self.appetite = if more { MUCH } else { LITTLE };
                Read::Bytes { more }
            }
        }
    }

    /// Writes some of `bytes`; answers how many, none where there is no room. One that broke takes none: the next read
    /// notices.
    pub(super) fn write(&self, bytes: &[u8]) -> usize {
        self.socket.try_write(bytes).unwrap_or(0)
    }
}
