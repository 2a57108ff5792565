//! What the service manager keeps for this process (`FDSTORE=1`, sd_notify(3)).
//!
//! A message that its socket has taken is read before the manager looks at the end of whoever sent it (it has the higher priority in
//! its event loop), and messages are read in order. So what was pushed is kept as soon as [`Store::push`] returns, and
//! there is nothing more to wait for.
//!
//! All names of a service must fit into one variable of the environment of the next process (`LISTEN_FDNAMES`, 128 KiB at most, or
//! the program cannot be executed any more). So they are short: `@` and a number to the base 36, the same for both streams of
//! a module.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::time::{Instant, sleep};

/// What no socket unit is called.
const PREFIX: char = '@';
/// How long what the manager did not take waits before it is offered again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the manager may take to take something.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most descriptors in one message.
const MOST_AT_ONCE: usize = 2;
/// Descriptors of one module.
const STREAMS: usize = 2;
/// Descriptors of the log: two while one replaces the other.
const LOGS: usize = 2;

/// The store of this process's unit.
#[derive(Debug)]
pub(super) struct Store {
    socket: UnixDatagram,
    /// Most modules whose streams it takes.
    limit: usize,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    /// Numbers of modules.
    used: BTreeSet<u32>,
    /// Names that the manager has not been told yet are free.
    freed: Vec<String>,
    /// Somebody tells it.
    telling: bool,
}

/// A quarter of the descriptors that the service manager, our parent, may open: it duplicates all that it keeps for a unit when it starts
/// that (systemd 254 and later), and needs one for each scope besides. A manager without any is of no use to anybody. In most places it may
/// open a billion; in some containers it has the limit of whoever started them.
pub(super) fn share_of_manager() -> usize {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", nix::unistd::getppid())).unwrap_or_default();
    share_of(&limits)
}

/// The same, by the text of `/proc/PID/limits` (proc(5)).
fn share_of(limits: &str) -> usize {
    let soft =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<usize>().ok());
    soft.map_or(usize::MAX, |soft| soft / 4)
}

/// What a descriptor from the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// One of two logs.
    Log,
    /// A stream of the module with this number.
    Stream(u32),
}

impl Store {
    /// The store of the manager at `name` (`NOTIFY_SOCKET`), which takes `limit` descriptors.
    pub(super) fn connect(name: &std::ffi::OsStr, limit: usize) -> io::Result<Self> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, limit: limit.saturating_sub(LOGS) / STREAMS, names: Mutex::default() })
    }

    /// Has these descriptors kept under this name. They are as soon as this returns.
    pub(super) async fn push(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        // Also where the peer has hung up: what it said last is to be read.
        let message = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}\n");
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.send(&message, descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < give_up => sleep(PAUSE).await,
                sent => return sent,
            }
        }
    }

    /// Has what is kept under this name given up, soon.
    pub(super) fn remove(self: &Arc<Self>, name: String) {
        let mut names = self.names();
        names.freed.push(name);
        self.tell_freed(&mut names);
        if !names.freed.is_empty() && !std::mem::replace(&mut names.telling, true) {
            let store = Arc::clone(self);
            drop(tokio::spawn(async move {
                loop {
                    sleep(PAUSE).await;
                    let mut names = store.names();
                    store.tell_freed(&mut names);
                    if names.freed.is_empty() {
                        names.telling = false;
                        return;
                    }
                }
            }));
        }
    }

    fn tell_freed(&self, names: &mut Names) {
        while let Some(name) = names.freed.last() {
            match self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => tracing::warn!("the service manager could not be told: {error}"),
                Ok(()) => {}
            }
            if let Some(Named::Stream(number)) = names.freed.pop().as_deref().and_then(named) {
                names.used.remove(&number);
            }
        }
    }

    /// A number for a module; `None` where there is no room for more.
    pub(super) fn take(&self) -> Option<u32> {
        let mut names = self.names();
        if names.used.len() >= self.limit {
            return None;
        }
        // The lowest that is free: short names.
        let number = (0..).zip(&names.used).find(|(number, used)| number != *used).map(|(number, _)| number);
        let number = number.or_else(|| u32::try_from(names.used.len()).ok())?;
        names.used.insert(number);
        Some(number)
    }

    /// This number is taken.
    pub(super) fn claim(&self, number: u32) {
        self.names().used.insert(number);
    }

    fn send(&self, message: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(&self.socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a module's streams.
pub(super) fn of_streams(number: u32) -> String {
    let mut digits = Vec::new();
    let mut left = number;
    loop {
        digits.extend(char::from_digit(left % 36, 36));
        left /= 36;
        if left == 0 {
            break;
        }
    }
    std::iter::once(PREFIX).chain(digits.into_iter().rev()).collect()
}

/// The name of a log: two in turn.
pub(super) fn of_log(generation: u64) -> String {
    format!("{PREFIX}={}", generation % 2)
}

/// What is called so; `None` where that is nothing of ours.
pub(super) fn named(name: &str) -> Option<Named> {
    let rest = name.strip_prefix(PREFIX)?;
    match rest.strip_prefix('=') {
        Some("0" | "1") => Some(Named::Log),
        Some(_) => None,
        None => u32::from_str_radix(rest, 36).ok().filter(|number| of_streams(*number) == name).map(Named::Stream),
    }
}

/// Whether a descriptor of this name is one of the store, and no socket to listen on.
pub(crate) fn is_stored(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::super::testing::Manager;
    use super::*;

    fn manager(limit: usize) -> (Manager, Arc<Store>) {
        let manager = Manager::new();
        let store = Arc::new(Store::connect(manager.name(), limit).unwrap());
        (manager, store)
    }

    fn receive(manager: &Manager) -> (String, Vec<std::os::fd::OwnedFd>) {
        manager.receive().unwrap()
    }

    #[test]
    fn names_are_short_and_found_again() {
        for number in [0, 9, 10, 35, 36, 1295, 1296, 46_655, u32::MAX] {
            assert_eq!(named(&of_streams(number)), Some(Named::Stream(number)));
        }
        assert_eq!(of_streams(46_655), "@zzz");
        assert_eq!([of_log(6), of_log(7)].map(|name| named(&name)), [Some(Named::Log); 2]);
        for other in ["@", "@=2", "@-1", "@0a", "@A", "shmooze-queue.socket", "@shmooze-queue.socket"] {
            assert_eq!(named(other), None, "{other}");
        }
        // Nine thousand modules fit into one variable.
        let names: usize = (0..9000).map(|number| 2 * (of_streams(number).len() + 1)).sum();
        assert!(names < 100_000, "{names}");
    }

    #[test]
    fn the_manager_keeps_a_quarter_of_its_descriptors() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max cpu time              unlimited            unlimited            seconds   \n\
            Max open files            20000                30000                files     \n";
        assert_eq!(share_of(limits), 5_000);
        assert_eq!(share_of(""), usize::MAX, "who cannot look goes by what he was told");
        assert!(share_of_manager() > 0);
    }

    #[tokio::test]
    async fn what_is_pushed_is_there() {
        let (socket, store) = manager(8);
        let (one, other) = UnixStream::pair().unwrap();
        store.push("@0", &[one.as_fd(), other.as_fd()]).await.unwrap();
        let (text, descriptors) = receive(&socket);
        assert_eq!((text.as_str(), descriptors.len()), ("FDSTORE=1\nFDPOLL=0\nFDNAME=@0\n", 2));
        drop((one, other));
        let [mut one, mut other] = descriptors.into_iter().map(UnixStream::from).collect::<Vec<_>>().try_into().unwrap();
        io::Write::write_all(&mut one, b"x").unwrap();
        drop(one);
        let mut text = String::new();
        other.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[tokio::test]
    async fn numbers_are_used_again_once_the_manager_knows() {
        let (socket, store) = manager(2 * 3 + 2);
        store.claim(1);
        assert_eq!([(); 3].map(|()| store.take()), [Some(0), Some(2), None]);
        store.remove(of_streams(0));
        assert_eq!(receive(&socket).0, "FDSTOREREMOVE=1\nFDNAME=@0\n");
        assert_eq!([(); 2].map(|()| store.take()), [Some(0), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_is_busy_is_told_later() {
        let (socket, store) = manager(100);
        store.claim(7);
        let mut filled = 0;
        while store.send("X=1", &[]).is_ok() {
            filled += 1;
        }
        store.remove(of_streams(7));
        assert!(store.names().used.contains(&7), "not free as long as its streams are kept");
        let file = tempfile::tempfile().unwrap();
        let pushing = store.push("@1", std::slice::from_ref(&file.as_fd())).await;
        assert_eq!(pushing.unwrap_err().kind(), io::ErrorKind::WouldBlock, "within {PATIENCE:?}");
        (0..filled).for_each(|_| assert_eq!(receive(&socket).0, "X=1"));
        while store.names().used.contains(&7) {
            sleep(PAUSE).await;
        }
        assert_eq!(receive(&socket).0, "FDSTOREREMOVE=1\nFDNAME=@7\n");
        assert!(!store.names().telling);
    }
}
