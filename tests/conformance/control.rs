//! The line between the suite and a puppet: a Unix socket over which the puppet's streams are handed to the suite.
//!
//! ```text
//!   suite                                  puppet, the process that the service started
//!         ◀──────── its hello, a line ──── says how it was started
//!         ───────────────── a port ──────▶ connects to it, as only the module itself may
//!         ◀── the stream (SCM_RIGHTS) ──── and keeps it open too
//!         ───────────────── the end ─────▶ ends
//! ```

use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::programs::Hello;

/// A puppet does what it is told after at most this.
const OBEDIENCE: Duration = Duration::from_secs(10);
/// Sent with a stream.
const STREAM: &[u8] = b"+";

/// The suite's end.
#[derive(Debug)]
pub struct Control(UnixStream);

impl Control {
    /// Takes over a puppet that has just connected.
    ///
    /// # Errors
    /// Where it does not say how it was started.
    pub fn meet(stream: UnixStream) -> io::Result<(Hello, Self)> {
        stream.set_read_timeout(Some(OBEDIENCE))?;
        let mut line = String::new();
        // Not a byte more than the line: what comes next may bring a stream.
        BufReader::with_capacity(1, &stream).read_line(&mut line)?;
        Ok((serde_json::from_str(&line)?, Self(stream)))
    }

    /// Has the puppet connect to this port and hand over the stream.
    ///
    /// # Errors
    /// Where it could not connect, in its words.
    pub fn connect(&mut self, port: u16) -> io::Result<TcpStream> {
        self.0.set_read_timeout(Some(OBEDIENCE))?;
        writeln!(self.0, "{port}")?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 200];
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
        for message in rights.drain() {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
                && let Some(descriptor) = descriptors.next()
            {
                return Ok(TcpStream::from(descriptor));
            }
        }
        Err(io::Error::other(String::from_utf8_lossy(&bytes[..received.bytes]).into_owned()))
    }

    /// Tells the puppet to end.
    pub fn let_go(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Whether the puppet's process has ended by `deadline`.
    pub fn has_ended(&mut self, deadline: Instant) -> bool {
        let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let _ = self.0.set_read_timeout(Some(patience));
        match self.0.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// The puppet's end: lives until the suite lets go.
///
/// # Errors
/// Where the suite is gone.
pub fn obey(control: &Path, hello: &Hello) -> io::Result<()> {
    let mut control = UnixStream::connect(control)?;
    writeln!(control, "{}", serde_json::to_string(hello)?)?;
    // A stream is the module's as long as a process of the module has it open.
    let mut streams = Vec::new();
    for port in BufReader::new(control.try_clone()?).lines() {
        let port: u16 = port?.parse().map_err(io::Error::other)?;
        match TcpStream::connect((hello.host.as_str(), port)) {
            Ok(stream) => {
                let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
                let mut rights = SendAncillaryBuffer::new(&mut space);
                let descriptors = [stream.as_fd()];
                rights.push(SendAncillaryMessage::ScmRights(&descriptors));
                sendmsg(&control, &[IoSlice::new(STREAM)], &mut rights, SendFlags::empty())?;
                streams.push(stream);
            }
            Err(error) => control.write_all(error.to_string().as_bytes())?,
        }
    }
    Ok(())
}
