//! The other end of a connection of the broker's, which waits for nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

pub(super) struct Wire {
    stream: TcpStream,
    rest: Vec<u8>,
    /// Lines received so far.
    pub(super) lines: Vec<String>,
    /// The broker has closed it.
    pub(super) closed: bool,
}

impl Wire {
    pub(super) fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, rest: Vec::new(), lines: Vec::new(), closed: false })
    }

    /// Closes it, both ways.
    pub(super) fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.closed = true;
    }

    pub(super) fn write(&mut self, line: &str) {
        // One that the broker has closed takes nothing more.
        let _ = self.stream.write_all(format!("{line}\n").as_bytes());
    }

    /// Reads what is there; answers the lines that are new.
    pub(super) fn read(&mut self) -> Vec<String> {
        let mut buffer = [0; 8192];
        while !self.closed {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(bytes) => self.rest.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.closed = true,
            }
        }
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let new: Vec<String> = String::from_utf8(whole).unwrap().lines().map(str::to_owned).collect();
        self.lines.extend(new.iter().cloned());
        new
    }
}
