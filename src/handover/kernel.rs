//! What the kernel remembers of a module's stream while nobody holds it but the service manager.
//!
//! ```text
//!              bytes_received ─ FIN              bytes_sent ─ bytes_retrans + notsent_bytes
//!      ╭──────────────┴───────────────╮          ╭───────────────────┴──────────────────╮
//!      taken by the broker │ FIONREAD            sent once        │ waits in the send buffer
//! ```
//!
//! Both counts begin with 0 when a connection is accepted (tcp(7), `TCP_INFO`; Linux 4.19 and later). So whoever wrote down
//! what he was about to take or to write can find out whether he did.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};
use rustix::io::ioctl_fionread;

/// `struct tcp_info` (linux/tcp.h) as far as it is looked at.
type Information = [u8; 216];

sockopt_impl!(
    /// State and counts of a TCP socket.
    TcpInformation,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    Information,
    nix::sys::socket::sockopt::GetStruct<Information>
);

/// Offsets in it.
const RECEIVED: usize = 128;
const NOT_SENT: usize = 144;
const SENT: usize = 200;
const RETRANSMITTED: usize = 208;

/// `TCP_CLOSE`: after a reset, among others, and then nobody knows whether there was a FIN, too.
const CLOSED: u8 = 7;
/// `TCP_CLOSE_WAIT`, `TCP_LAST_ACK`, `TCP_CLOSING`, `TCP_TIME_WAIT`: a FIN has come, which counts as a byte received.
const FINISHED: [u8; 4] = [8, 9, 11, 6];

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Bytes taken out of the socket so far; one more, where that is not certain.
    taken: u64,
    /// Whether `taken` may be one too many.
    uncertain: bool,
    /// Bytes put into it so far.
    pub(crate) written: u64,
}

impl Counts {
    /// Asks the kernel.
    ///
    /// # Errors
    /// As getsockopt(2) and ioctl(2).
    pub(crate) fn of(stream: &impl AsFd) -> io::Result<Self> {
        let mut before = getsockopt(stream, TcpInformation)?;
        loop {
            let unread = ioctl_fionread(stream)?;
            let after = getsockopt(stream, TcpInformation)?;
            // Nothing came in between.
            if (number(&before, RECEIVED), before[0]) == (number(&after, RECEIVED), after[0]) {
                let finished = u64::from(FINISHED.contains(&after[0]));
                let half = after[NOT_SENT..].first_chunk().copied().map_or(0, u32::from_ne_bytes);
                return Ok(Self {
                    taken: number(&after, RECEIVED).saturating_sub(unread + finished),
                    uncertain: after[0] == CLOSED,
                    written: number(&after, SENT).saturating_sub(number(&after, RETRANSMITTED)) + u64::from(half),
                });
            }
            before = after;
        }
    }

    /// How many bytes are there still of those that were to be taken, when `expected` of them were understood and the last
    /// `step` of these may not have been taken: all of that step or none.
    pub(crate) const fn left(&self, expected: u64, step: u64) -> u64 {
        let before = expected.saturating_sub(step);
        if self.taken <= before || (self.uncertain && step > 1 && self.taken == before + 1) { step } else { 0 }
    }
}

fn number(information: &Information, offset: usize) -> u64 {
    information[offset..].first_chunk().copied().map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, theirs)
    }

    #[test]
    fn what_was_taken_and_what_was_written() {
        let (mut ours, mut theirs) = pair("127.0.0.1");
        assert_eq!(Counts::of(&ours).unwrap(), Counts { taken: 0, uncertain: false, written: 0 });
        theirs.write_all(b"0123456789").unwrap();
        ours.read_exact(&mut [0; 4]).unwrap();
        ours.write_all(b"abc").unwrap();
        let counts = Counts::of(&ours).unwrap();
        assert_eq!((counts.taken, counts.written), (4, 3));
        assert_eq!((counts.left(4, 2), counts.left(10, 6), counts.left(4, 4)), (0, 6, 0));
        // The end of a stream is no byte of it.
        drop(theirs.shutdown(std::net::Shutdown::Write));
        ours.read_exact(&mut [0; 6]).unwrap();
        assert_eq!(ours.read(&mut [0; 6]).unwrap(), 0);
        assert_eq!(Counts::of(&ours).unwrap().taken, 10);
    }

    #[test]
    fn what_waits_for_a_reader_is_written() {
        let (mut ours, mut theirs) = pair("127.0.0.1");
        ours.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(more) = ours.write(&[b'x'; 10_007]) {
            written += more as u64;
        }
        assert_eq!(Counts::of(&ours).unwrap().written, written);
        theirs.read_exact(&mut [0; 70_000]).unwrap();
        assert_eq!(Counts::of(&ours).unwrap().written, written);
    }

    #[test]
    fn what_a_module_said_before_it_broke_off_is_there_still() {
        let (mut ours, mut theirs) = pair("127.0.0.1");
        // It never reads, so that its end is a reset.
        ours.write_all(b"unread").unwrap();
        theirs.write_all(b"one\ntwo\n").unwrap();
        ours.read_exact(&mut [0; 4]).unwrap();
        drop(theirs);
        while Counts::of(&ours).unwrap() == (Counts { taken: 4, uncertain: false, written: 6 }) {}
        let counts = Counts::of(&ours).unwrap();
        assert!(counts.uncertain);
        assert_eq!((counts.left(4, 4), counts.left(8, 4), counts.left(8, 8)), (0, 4, 0));
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).unwrap_or_default();
        assert_eq!(rest, b"two\n");
    }
}
