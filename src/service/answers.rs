//! What a client is answered, on its way: gathered while there is more to answer, written no faster than it is read.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::room::{Held, LITTLE, Room};
use crate::protocol::{ProtocolError, Response};

/// How long nothing of a long answer may be read while room is short.
const UNREAD: Duration = Duration::from_secs(10);
/// How long room for an answer that is there already, for everybody, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answers of one connection.
pub(super) struct Answers<'a, S> {
    pub(super) socket: S,
    room: &'a Room,
    out: Vec<u8>,
    /// Why nothing can be written any more.
    broken: Option<io::Error>,
}

impl<'a, S: AsyncWrite + Unpin> Answers<'a, S> {
    pub(super) const fn new(socket: S, room: &'a Room) -> Self {
        Self { socket, room, out: Vec::new(), broken: None }
    }

    /// Appends a few bytes.
    pub(super) fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Appends a response. One that is long and for which there is no room is an error instead.
    pub(super) async fn put(&mut self, response: Response) {
        let (begin, portion) = (self.out.len(), self.room.portion());
        response.write(&mut self.out);
        // Once is enough while it waits to be read.
        drop(response);
        let length = self.out.len() - begin;
        let mut held = self.room.answers.hold();
        if length > portion && !held.try_grow(length) {
            // No part of the long one is kept: what is small in its place would leave holes all over the memory.
            self.out = self.out[..begin].to_vec();
            self.refuse();
        }
        if self.out.len() >= portion {
            self.write_out(&held).await;
        }
    }

    /// Appends a response that many have in common; a long one is not copied.
    pub(super) async fn put_text(&mut self, text: &str) {
        let portion = self.room.portion();
        if text.len() <= portion {
            self.text(text);
        } else {
            let mut held = self.room.answers.hold();
            if !held.try_grow(text.len()) && timeout(PATIENCE, held.grow(text.len())).await.is_err() {
                return self.refuse();
            }
            self.write_out(&held).await;
            self.write(text.as_bytes(), &held).await;
        }
        if self.out.len() >= portion {
            self.write_out(&self.room.answers.hold()).await;
        }
    }

    fn refuse(&mut self) {
        Response::from(ProtocolError::NoRoomForAnswer(self.room.answers.total)).write(&mut self.out);
    }

    /// Ends a line; an error is that of an earlier write.
    pub(super) async fn end_line(&mut self) -> io::Result<()> {
        self.out.push(b'\n');
        if self.out.len() >= self.room.portion() {
            self.write_out(&self.room.answers.hold()).await;
        }
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Writes a line of its own.
    pub(super) async fn put_line(&mut self, response: Response) -> io::Result<()> {
        self.put(response).await;
        self.end_line().await?;
        self.flush().await
    }

    /// Writes what is left.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.write_out(&self.room.answers.hold()).await;
            // An idle client owns no large buffer.
            if self.out.capacity() > LITTLE {
                self.out = Vec::new();
            }
        }
        self.broken.take().map_or(Ok(()), Err)
    }

    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }

    async fn write_out(&mut self, held: &Held<'_>) {
        let out = std::mem::take(&mut self.out);
        self.write(&out, held).await;
        self.out = out;
        self.out.clear();
    }

    /// Writes as it is read. Who holds room that is short and reads nothing is let go.
    async fn write(&mut self, mut bytes: &[u8], held: &Held<'_>) {
        if self.broken.is_some() {
            return;
        }
        let written = async {
            if held.is_nothing() {
                return self.socket.write_all(bytes).await;
            }
            while !bytes.is_empty() {
                match timeout(UNREAD, self.socket.write(bytes)).await {
                    Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => bytes = &bytes[written?..],
                    Err(_) if self.room.answers.is_short() => {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "its answer is not read while others wait"));
                    }
                    Err(_) => {}
                }
            }
            Ok(())
        };
        self.broken = written.await.err();
    }
}
