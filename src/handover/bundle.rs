//! A bundle: the streams of a few modules behind one descriptor.
//!
//! The service manager looks through all that it keeps of a unit for each descriptor that it is given (`FDSTORE=1` of one that is kept already
//! counts once), so what one more costs it would grow with the number of modules. A descriptor can also wait in a message that nobody has
//! received (unix(7), `SCM_RIGHTS`). So the manager keeps one end of a socket pair, in whose queue the streams wait.
//!
//! ```text
//!   put ──message: number, two streams──▶ ▓▓▓▓▓▓▓ the manager's end ──▶ the next process: look (nothing is taken out)
//! ```
//!
//! What waits in a queue stays open until the queue is closed: whoever ends a module's streams shuts them down, since to close them is
//! not enough.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Most modules in one: few messages, which the smallest send buffer takes.
pub(super) const CAPACITY: u32 = 16;
/// Descriptors of a module.
pub(super) const STREAMS: usize = 2;

sockopt_impl!(
    /// Where the next look begins, in bytes (`SO_PEEK_OFF`, socket(7)).
    PeekOffset,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_PEEK_OFF,
    i32
);

/// The end into which streams are put. Lost with this process, which no later one minds.
#[derive(Debug)]
pub(super) struct Bundle(OwnedFd);

impl Bundle {
    /// An empty one, and the end that is to be kept.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, kept) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(ours), kept))
    }

    /// Puts the streams of a module into it, which are found by `number`.
    pub(super) fn put(&self, number: u32, streams: [BorrowedFd<'_>; STREAMS]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&streams));
        sendmsg(&self.0, &[IoSlice::new(&number.to_le_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// All that is in a bundle of which `kept` is the end that was kept, by numbers. It stays there.
pub(super) fn look(kept: &impl AsFd) -> io::Result<Vec<(u32, Vec<OwnedFd>)>> {
    setsockopt(&kept.as_fd(), PeekOffset, &0)?;
    let mut found = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut number = [0; 4];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match retry_on_intr(|| recvmsg(kept, &mut [IoSliceMut::new(&mut number)], &mut control, flags)) {
            // Whoever put it there may be gone, or not yet.
            Ok(received) if received.bytes == 0 => return Ok(found),
            Err(Errno::AGAIN) => return Ok(found),
            received => received?,
        };
        if received.bytes != number.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let streams = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => rights.collect(),
            _ => Vec::new(),
        });
        found.push((u32::from_le_bytes(number), streams.collect()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_was_put_into_it_is_there_again_and_again() {
        let (bundle, kept) = Bundle::new().unwrap();
        assert!(look(&kept).unwrap().is_empty());
        let mut peers = Vec::new();
        for number in 100..100 + CAPACITY {
            let (peer, stream) = UnixStream::pair().unwrap();
            bundle.put(number, [stream.as_fd(), peer.as_fd()]).unwrap();
            peers.push(peer);
        }
        for is_left in [false, true] {
            let found = look(&kept).unwrap();
            assert!(found.iter().map(|(number, _)| *number).eq(100..100 + CAPACITY));
            assert!(found.iter().all(|(_, streams)| streams.len() == STREAMS));
            let stream = found.into_iter().nth(7).unwrap().1.remove(0);
            UnixStream::from(stream).write_all(b"x").unwrap();
            peers[7].read_exact(&mut [0]).unwrap();
            if !is_left {
                // As when the process ends that had put it there.
                drop(look(&kept).unwrap());
            }
        }
        drop(bundle);
        assert_eq!(look(&kept).unwrap().len(), CAPACITY as usize);
        drop(kept);
        assert_eq!(peers[0].read(&mut [0]).unwrap(), 0, "nobody has it any more");
    }

    #[test]
    fn another_socket_is_no_bundle() {
        let (mut other, kept) = UnixStream::pair().unwrap();
        other.write_all(b"x").unwrap();
        assert!(look(&kept).is_err());
        assert!(look(&std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
