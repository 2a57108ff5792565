//! One of a module's two streams and the lines that come in on it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

use crate::handover::{self, Rest, Side};
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
    /// Bytes written so far.
    written: u64,
    /// What is read stays in the socket until it is [taken](Stream::take).
    peeks: bool,
    /// Bytes read and not taken.
    peeked: usize,
}

thread_local! {
    /// Where streams of this thread are peeked at, and what is taken is thrown away.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MUCH]);
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
        Self { socket, lines: LineBuffer::new(limit), appetite: LITTLE, written: 0, peeks: false, peeked: 0 }
    }

    /// From now on what is read stays in the socket until it is [taken](Stream::take).
    pub(super) fn peek_only(&mut self) {
        self.peeks = true;
    }

    /// Goes on where the process before has left it, and peeks. What that one has read and written down, and not
    /// taken, is taken now.
    pub(super) fn resume(self, limit: usize, side: &Side) -> io::Result<Self> {
        let counts = handover::Counts::of(&self.socket)?;
        let rest: Vec<u8> = side.rest.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect();
        let left = usize::try_from(counts.left(side.read, side.step)).unwrap_or(usize::MAX);
        let lines = LineBuffer::new(limit).resume(&rest, side.skipping);
        let mut stream = Self { lines, written: counts.written, peeks: true, peeked: left, ..self };
        stream.take();
        Ok(stream)
    }

    /// How many bytes were written so far.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that are read and not taken.
    pub(super) const fn peeked(&self) -> usize {
        self.peeked
    }

    /// What there is of a line, now that all whole ones are out; `before` is how many bytes there were before the last read.
    pub(super) fn understood(&self, before: usize) -> handover::Read {
        let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        let (rest, skipping) = self.lines.rest();
        let rest = if skipping {
            Rest::Skipped
        } else if rest.is_empty() {
            Rest::None
        } else if before > 0 && rest.len() == before + self.peeked {
            Rest::More(text(&rest[before..]))
        } else {
            Rest::Is(text(rest))
        };
        handover::Read { bytes: self.peeked as u64, rest }
    }

    /// Takes what was read out of the socket.
    pub(super) fn take(&mut self) {
        SCRATCH.with_borrow_mut(|scratch| {
            while self.peeked > 0 {
                let most = self.peeked.min(scratch.len());
                match recv(&self.socket, &mut scratch[..most], RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
                    Ok((_, taken)) if taken > 0 => self.peeked = self.peeked.saturating_sub(taken),
                    // It is there, or the stream is broken.
                    _ => self.peeked = 0,
                }
            }
        });
    }

    /// Closes the stream for good, whoever else has it open.
    pub(super) fn close(&self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
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
        if self.peeks {
            return self.peek();
        }
        let appetite = self.appetite;
        let read = poll_fn(|cx| Poll::Ready(pin!(self.socket.read_buf(self.lines.space(appetite))).poll(cx)));
        match read.await {
            Poll::Pending => Read::Nothing,
            Poll::Ready(Ok(0) | Err(_)) => Read::Closed,
            Poll::Ready(Ok(bytes)) => self.fed(bytes),
        }
    }

    /// So many bytes came.
    const fn fed(&mut self, bytes: usize) -> Read {
        let more = bytes >= self.appetite;
        self.appetite = if more { MUCH } else { LITTLE };
        Read::Bytes { more }
    }

    /// As [`Stream::read`], and leaves all where it is.
    fn peek(&mut self) -> Read {
        let appetite = self.appetite;
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let scratch = &mut scratch[..appetite];
            let mut read = None;
            let done = self.socket.try_io(Interest::READABLE, || {
                let (_, bytes) = recv(&self.socket, &mut *scratch, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
                read = Some(bytes);
                // All of it: what comes later is heard of.
                if bytes > 0 && bytes < appetite { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            if let Some(bytes) = read {
                self.lines.space(bytes).extend_from_slice(&scratch[..bytes]);
            }
            read.map_or_else(
                || if done.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) { None } else { Some(0) },
                Some,
            )
        });
        match read {
            None => Read::Nothing,
            Some(0) => Read::Closed,
            Some(bytes) => {
                self.peeked = bytes;
                self.fed(bytes)
            }
        }
    }

    /// Writes some of `bytes`; answers how many, none where there is no room. One that broke takes none: the next read
    /// notices.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let written = self.socket.try_write(bytes).unwrap_or(0);
        self.written += written as u64;
        written
    }
}
