//! A module's own stream into the journal, so that each line carries the module's type and scope and outlives this process.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::SndBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::journal::stream_name;

/// Where journald listens for streams.
const SOCKET: &str = "/run/systemd/journal/stdout";
/// How long it may take to accept one; without it a module prints where this process does.
const DEADLINE: Duration = Duration::from_millis(500);
/// How much a module may print while journald is busy, in bytes: what systemd gives its services.
const BUFFER: usize = 8 << 20;
/// Priority of lines that do not begin with one of their own (`<3>`): informational (`syslog(3)`).
const PRIORITY: u8 = 6;

/// A stream, and what `JOURNAL_STREAM` must hold for a program to recognise it (`systemd.exec(5)`).
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) output: OwnedFd,
    pub(super) name: String,
}

impl Stream {
    /// Whether journald has closed it: it holds 4,096 streams of a machine, and no more. Who printed there would be killed by SIGPIPE.
    pub(super) fn is_refused(&self) -> bool {
        let mut looked = [PollFd::new(&self.output, PollFlags::empty())];
        poll(&mut looked, Some(&Timespec::default())).is_ok() && looked[0].revents().contains(PollFlags::HUP)
    }
}

/// Opens a stream whose lines carry `identifier` as their `SYSLOG_IDENTIFIER`; `None` where journald does not answer.
///
/// Journald finds the unit of a line by the process that wrote it. Where that has ended already, it takes `unit`, if this
/// process is root.
pub(super) async fn open(identifier: &str, unit: &str) -> Option<Stream> {
    // Not the blocking call: it would wait for room in the backlog of a journald that hangs.
    let stream = timeout(DEADLINE, UnixStream::connect(SOCKET)).await.ok()?.ok()?;
    begin(stream.into_std().ok()?, identifier, unit).ok()
}

fn begin(mut stream: StdUnixStream, identifier: &str, unit: &str) -> std::io::Result<Stream> {
    let _ = setsockopt(&stream, SndBuf, &BUFFER);
    // Programs do not expect their output not to block.
    stream.set_nonblocking(false)?;
    // Identifier, unit, priority, lines may begin with a priority, and nothing to forward to syslog, kernel or console.
    stream.write_all(format!("{identifier}\n{unit}\n{PRIORITY}\n1\n0\n0\n0\n").as_bytes())?;
    stream.shutdown(Shutdown::Read)?;
    let name = stream_name(stream.as_fd())?;
    Ok(Stream { output: stream.into(), name })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_protocol_of_journald() {
        let (ours, mut journald) = StdUnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = begin(ours, "clock", "x.scope").unwrap();
        let mut output = File::from(stream.output);
        let metadata = output.metadata().unwrap();
        assert_eq!(stream.name, format!("{}:{}", metadata.dev(), metadata.ino()));
        writeln!(output, "tick").unwrap();
        drop(output);
        let mut received = String::new();
        journald.read_to_string(&mut received).unwrap();
        assert_eq!(received, "clock\nx.scope\n6\n1\n0\n0\n0\ntick\n");
    }
    #[test]
    fn a_stream_that_journald_closes_is_refused() {
        let (ours, journald) = StdUnixStream::pair().unwrap();
        let stream = begin(ours, "clock", "x.scope").unwrap();
        assert!(!stream.is_refused());
        drop(journald);
        assert!(stream.is_refused());
    }
}
