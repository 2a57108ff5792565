//! A connection that the suite plays: lines out, lines in, and how it ended.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// No single write may hang the suite for longer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A line without its newline.
    Line(String),
    /// The end of the stream, orderly or not.
    End,
}

/// One connection. A thread of its own reads it, so that whatever the suite is doing the peer is never held up.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    items: Receiver<Item>,
    ended: bool,
    /// Whether this side closed it: its end is then no news.
    pub closed_here: bool,
    /// Whether this side told the peer that nothing more will be sent.
    pub half_closed: bool,
}

impl Wire {
    /// Takes a connection over.
    ///
    /// # Errors
    /// Where the operating system refuses a second handle or a time-out.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let (sender, items) = channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            loop {
                line.clear();
                let more = reader.read_until(b'\n', &mut line).is_ok() && line.last() == Some(&b'\n');
                if more {
                    line.pop();
                    let text = String::from_utf8_lossy(&line).into_owned();
                    if sender.send(Item::Line(text)).is_err() {
                        return;
                    }
                    continue;
                }
                if !line.is_empty() {
                    let _ = sender.send(Item::Line(format!("{} (without a newline)", String::from_utf8_lossy(&line))));
                }
                let _ = sender.send(Item::End);
                return;
            }
        });
        Ok(Self { stream, items, ended: false, closed_here: false, half_closed: false })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// Where the peer is gone or takes nothing for [`WRITE_TIMEOUT`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next line or the end, or `None` where nothing came before `deadline`.
    pub fn next(&mut self, deadline: Instant) -> Option<Item> {
        if self.ended {
            return Some(Item::End);
        }
        match self.items.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Item::Line(line)) => Some(Item::Line(line)),
            Ok(Item::End) | Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                Some(Item::End)
            }
            Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// Whether the end was seen.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Says that nothing more will be sent.
    pub fn shut_sending(&mut self) {
        self.half_closed = true;
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes both directions.
    pub fn close(&mut self) {
        self.closed_here = true;
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Ends the reading thread too.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
