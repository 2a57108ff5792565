//! What the service manager keeps for this process (`FDSTORE=1`, sd_notify(3)).
//!
//! A message that its socket has taken is read before the manager looks at the end of whoever sent it (it has the higher priority in
//! its event loop), and messages are read in order. So what was pushed is kept as soon as [`Store::push`] returns, and
//! there is nothing more to wait for.
//!
//! Streams are kept in bundles (`bundle.rs`), which are given up when all their modules have ended. The names of all bundles of a service must
//! fit into one variable of the environment of the next process (`LISTEN_FDNAMES`, 128 KiB at most, or the program cannot be executed any more).
//! So they are short: `@+` and a number to the base 36.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::time::{Instant, sleep};

use super::bundle::{Bundle, CAPACITY, STREAMS};

/// What no socket unit is called.
const PREFIX: char = '@';
/// What follows in the names of bundles and of logs.
const BUNDLE: char = '+';
const LOG: char = '=';
/// How long what the manager did not take waits before it is offered again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the manager may take to take something.
const PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors of the log: two while one replaces the other.
const LOGS: usize = 2;

/// The store of this process's unit.
#[derive(Debug)]
pub(super) struct Store {
    socket: UnixDatagram,
    /// Most bundles that it takes.
    limit: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The modules in each bundle that have not ended. An empty one is to be given up, and its number not free yet.
    bundles: BTreeMap<u32, BTreeSet<u32>>,
    /// The bundle of this process that takes more.
    open: Option<Open>,
    /// Names that the manager has not been told yet are free.
    freed: Vec<String>,
    /// Somebody tells it.
    telling: bool,
}

#[derive(Debug)]
struct Open {
    number: u32,
    /// The number of the next module in it.
    next: u32,
    bundle: Bundle,
}

/// What a descriptor from the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// One of two logs.
    Log,
    /// The bundle with this number.
    Bundle(u32),
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
        Ok(Self { socket, limit: limit.saturating_sub(LOGS), held: Mutex::default() })
    }

    /// Has this descriptor kept under this name. It is as soon as this returns.
    pub(super) async fn push(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        patiently(|| self.store(name, descriptor)).await
    }

    /// Has the streams of a module kept; answers by which number. They are as soon as this returns.
    pub(super) async fn keep(&self, streams: [BorrowedFd<'_>; STREAMS]) -> io::Result<u32> {
        patiently(|| self.try_keep(streams)).await
    }

    fn try_keep(&self, streams: [BorrowedFd<'_>; STREAMS]) -> io::Result<u32> {
        let mut held = self.held();
        if let Some(open) = held.open.as_mut().filter(|open| open.next % CAPACITY != 0) {
            let (bundle, number) = (open.number, open.next);
            open.bundle.put(number, streams)?;
            open.next += 1;
            held.bundles.entry(bundle).or_default().insert(number);
            return Ok(number);
        }
        if held.bundles.len() >= self.limit {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "there is no room for more (FileDescriptorStoreMax=)"));
        }
        // The lowest that is free: short names.
        let number = (0..).zip(held.bundles.keys()).find(|(number, used)| number != *used).map(|(number, _)| number);
        let number = number.or_else(|| u32::try_from(held.bundles.len()).ok()).ok_or(io::ErrorKind::QuotaExceeded)?;
        let first = number.checked_mul(CAPACITY).ok_or(io::ErrorKind::QuotaExceeded)?;
        let (bundle, kept) = Bundle::new()?;
        bundle.put(first, streams)?;
        self.store(&of_bundle(number), kept.as_fd())?;
        held.bundles.insert(number, BTreeSet::from([first]));
        held.open = Some(Open { number, next: first + 1, bundle });
        Ok(first)
    }

    /// Takes over a bundle that the process before has left, with these modules in it.
    pub(super) fn claim(&self, bundle: u32, modules: impl Iterator<Item = u32>) {
        self.held().bundles.insert(bundle, modules.collect());
    }

    /// The streams of this module need not be kept any more. Its bundle is given up with the last of them.
    pub(super) fn give_up(self: &Arc<Self>, module: u32) {
        let bundle = module / CAPACITY;
        let mut held = self.held();
        let Some(modules) = held.bundles.get_mut(&bundle) else { return };
        if modules.remove(&module) && modules.is_empty() {
            held.open.take_if(|open| open.number == bundle);
            drop(held);
            self.remove(of_bundle(bundle));
        }
    }

    /// Has what is kept under this name given up, soon.
    pub(super) fn remove(self: &Arc<Self>, name: String) {
        let mut held = self.held();
        held.freed.push(name);
        self.tell_freed(&mut held);
        if !held.freed.is_empty() && !std::mem::replace(&mut held.telling, true) {
            let store = Arc::clone(self);
            drop(tokio::spawn(async move {
                loop {
                    sleep(PAUSE).await;
                    let mut held = store.held();
                    store.tell_freed(&mut held);
                    if held.freed.is_empty() {
                        held.telling = false;
                        return;
                    }
                }
            }));
        }
    }

    fn tell_freed(&self, held: &mut Held) {
        while let Some(name) = held.freed.last() {
            match self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), None) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => tracing::warn!("the service manager could not be told: {error}"),
                Ok(()) => {}
            }
            if let Some(Named::Bundle(number)) = held.freed.pop().as_deref().and_then(named) {
                held.bundles.remove(&number);
            }
        }
    }

    fn store(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        // Also where the peer has hung up: what it said last is to be read.
        self.send(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}\n"), Some(descriptor))
    }

    fn send(&self, message: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if descriptor.is_some() {
            control.push(SendAncillaryMessage::ScmRights(descriptor.as_slice()));
        }
        sendmsg(&self.socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries again for some time while the manager takes nothing.
async fn patiently<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < give_up => sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// The name of a bundle.
fn of_bundle(number: u32) -> String {
    let mut digits = Vec::new();
    let mut left = number;
    loop {
        digits.extend(char::from_digit(left % 36, 36));
        left /= 36;
        if left == 0 {
            break;
        }
    }
    [PREFIX, BUNDLE].into_iter().chain(digits.into_iter().rev()).collect()
}

/// The name of a log: two in turn.
pub(super) fn of_log(generation: u64) -> String {
    format!("{PREFIX}{LOG}{}", generation % 2)
}

/// What is called so; `None` where that is nothing of ours.
pub(super) fn named(name: &str) -> Option<Named> {
    let rest = name.strip_prefix(PREFIX)?;
    match (rest.strip_prefix(LOG), rest.strip_prefix(BUNDLE)) {
        (Some("0" | "1"), _) => Some(Named::Log),
        (_, Some(digits)) => u32::from_str_radix(digits, 36).ok().filter(|number| of_bundle(*number) == name).map(Named::Bundle),
        _ => None,
    }
}

/// Whether a descriptor of this name is one of the store, and no socket to listen on.
pub(crate) fn is_stored(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::super::bundle::look;
    use super::super::testing::Manager;
    use super::*;

    fn manager(limit: usize) -> (Manager, Arc<Store>) {
        let manager = Manager::new();
        let store = Arc::new(Store::connect(manager.name(), limit).unwrap());
        (manager, store)
    }

    fn receive(manager: &Manager) -> (String, Vec<OwnedFd>) {
        manager.receive().unwrap()
    }

    #[test]
    fn names_are_short_and_found_again() {
        for number in [0, 9, 10, 35, 36, 1295, 1296, 46_655, u32::MAX] {
            assert_eq!(named(&of_bundle(number)), Some(Named::Bundle(number)));
        }
        assert_eq!(of_bundle(46_655), "@+zzz");
        assert_eq!([of_log(6), of_log(7)].map(|name| named(&name)), [Some(Named::Log); 2]);
        for other in ["@", "@=2", "@+", "@0", "@+-1", "@++1", "@+0a", "@+A", "shmooze-queue.socket", "@shmooze-queue.socket"] {
            assert_eq!(named(other), None, "{other}");
        }
        // Nine thousand modules fit into one variable, though each is the last of its bundle.
        let names: usize = (0..9000).map(|number| of_bundle(number).len() + 1).sum();
        assert!(names < 100_000, "{names}");
    }

    /// Two ends of a connection that stand for the streams of a module.
    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[tokio::test]
    async fn what_is_pushed_is_there() {
        let (socket, store) = manager(8);
        let (mut one, other) = pair();
        store.push("@=0", other.as_fd()).await.unwrap();
        let (text, mut descriptors) = receive(&socket);
        assert_eq!((text.as_str(), descriptors.len()), ("FDSTORE=1\nFDPOLL=0\nFDNAME=@=0\n", 1));
        drop(other);
        io::Write::write_all(&mut one, b"x").unwrap();
        drop(one);
        let mut text = String::new();
        UnixStream::from(descriptors.remove(0)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[tokio::test]
    async fn one_descriptor_holds_the_streams_of_many_modules() {
        let (socket, store) = manager(2 + LOGS);
        let (one, other) = pair();
        let keep = async || store.keep([one.as_fd(), other.as_fd()]).await;
        for number in 0..2 * CAPACITY {
            assert_eq!(keep().await.unwrap(), number);
        }
        assert_eq!(keep().await.unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        let [first, second] = [(); 2].map(|()| receive(&socket));
        assert_eq!([&first.0, &second.0].map(|text| text.rsplit('=').next().unwrap()), ["@+0\n", "@+1\n"]);
        let found =
            |(_, descriptors): &(String, Vec<OwnedFd>)| look(&descriptors[0]).unwrap().into_iter().map(|(number, _)| number);
        assert!(found(&first).chain(found(&second)).eq(0..2 * CAPACITY));
        // The numbers of a bundle are used again when all of it is given up.
        (1..CAPACITY).for_each(|number| store.give_up(number));
        assert!(keep().await.is_err());
        assert!(socket.receive().is_none());
        store.give_up(0);
        assert_eq!(receive(&socket).0, "FDSTOREREMOVE=1\nFDNAME=@+0\n");
        assert_eq!(keep().await.unwrap(), 0);
        store.give_up(0);
        assert_eq!(keep().await.unwrap(), 0, "in another one: an empty bundle is not kept for what may come");
        assert_eq!(store.held().bundles.len(), 2);
    }

    #[tokio::test]
    async fn a_bundle_from_before_takes_no_more() {
        let (socket, store) = manager(100);
        store.claim(0, [3, 5].into_iter());
        let (one, other) = pair();
        assert_eq!(store.keep([one.as_fd(), other.as_fd()]).await.unwrap(), CAPACITY);
        assert!(receive(&socket).0.ends_with("FDNAME=@+1\n"));
        [3, 4, 5, 5].into_iter().for_each(|module| store.give_up(module));
        assert_eq!(receive(&socket).0, "FDSTOREREMOVE=1\nFDNAME=@+0\n");
        assert!(socket.receive().is_none(), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_is_busy_is_told_later() {
        let (socket, store) = manager(100);
        store.claim(7, [7 * CAPACITY].into_iter());
        let mut filled = 0;
        while store.send("X=1", None).is_ok() {
            filled += 1;
        }
        store.give_up(7 * CAPACITY);
        assert!(store.held().bundles.contains_key(&7), "not free as long as its streams are kept");
        let (one, other) = pair();
        let keeping = store.keep([one.as_fd(), other.as_fd()]).await;
        assert_eq!(keeping.unwrap_err().kind(), io::ErrorKind::WouldBlock, "within {PATIENCE:?}");
        assert_eq!(store.held().bundles.len(), 1, "what was not kept takes no number");
        (0..filled).for_each(|_| assert_eq!(receive(&socket).0, "X=1"));
        while store.held().bundles.contains_key(&7) {
            sleep(PAUSE).await;
        }
        assert_eq!(receive(&socket).0, "FDSTOREREMOVE=1\nFDNAME=@+7\n");
        assert!(!store.held().telling);
    }
}
