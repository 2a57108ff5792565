//! The socket of a client's connection: tells the [`Watch`] what moves, and closes without tearing down what the client
//! has yet to read.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::Stream;
use super::watch::Watch;

#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    watch: Arc<Watch>,
    /// The client has closed its side.
    is_ended: bool,
    /// We have closed ours.
    is_closed: bool,
}

impl Socket {
    pub(super) fn new(stream: Stream, watch: Arc<Watch>) -> Self {
        Self { stream, watch, is_ended: false, is_closed: false }
    }
}

impl Socket {
    /// Ready where the client has closed its side and nothing is left to be read.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        let peek = |socket: BorrowedFd<'_>| Ok(recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK)?);
        loop {
            let peeked = match &self.stream {
                Stream::Left(tcp) => match ready!(tcp.poll_read_ready(cx)) {
                    Ok(()) => tcp.try_io(Interest::READABLE, || peek(tcp.as_fd())),
                    Err(error) => Err(error),
                },
                Stream::Right(unix) => match ready!(unix.poll_read_ready(cx)) {
                    Ok(()) => unix.try_io(Interest::READABLE, || peek(unix.as_fd())),
                    Err(error) => Err(error),
                },
            };
            match peeked {
                Ok(0) => return Poll::Ready(()),
                Ok(_) => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut this.stream).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            this.watch.received();
        } else if buffer.remaining() > 0 {
            this.is_ended = true;
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices));
        if result.as_ref().is_ok_and(|written| *written > 0) {
            this.watch.sent();
        }
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Nobody reads while an answer is under way, and this is asked whenever there is nothing left to write.
        if this.watch.is_streaming() && this.poll_end(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    /// Closes our side and, unless the client has closed its own, goes on reading until it does; the [`Watch`] sees to
    /// it that this comes to an end.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_closed {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.is_closed = true;
            this.watch.close();
        }
        while !this.is_ended {
            let mut discarded = [0; 4096];
            let mut buffer = ReadBuf::new(&mut discarded);
            let result = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer));
            this.is_ended = result.is_err() || buffer.filled().is_empty();
        }
        Poll::Ready(Ok(()))
    }
}
