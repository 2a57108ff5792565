//! The sockets that the service manager has opened for this process (`sd_listen_fds(3)`).

use std::io;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::{TcpListener, UnixListener};

use super::Listeners;
use crate::handover::{Stored, is_stored};

/// The first descriptor that a service manager hands over.
const FIRST: usize = 3;

/// More descriptors than any service manager hands over.
const MOST: usize = 65_536;

/// Sockets that listen already, TCP and Unix ones.
#[derive(Debug)]
pub struct Activation {
    sockets: Vec<Given>,
    /// What a process before had kept (`FDSTORE=1`, `sd_notify(3)`), by name.
    stored: Stored,
}

/// One of them.
#[derive(Debug)]
struct Given {
    /// Number of its descriptor.
    number: usize,
    /// `FileDescriptorName=` of the socket unit, by default the unit's name.
    name: Option<String>,
    /// The one socket.
    listeners: Listeners,
}

/// The sockets of activation, for a process that is one service; `None` where there are none.
///
/// # Errors
/// As [`Activation::of_process`].
pub fn activated() -> io::Result<Option<Listeners>> {
    Ok(activated_with_stored()?.0)
}

/// The sockets of activation, and what a process before had kept by the service manager.
///
/// # Errors
/// As [`Activation::of_process`].
pub fn activated_with_stored() -> io::Result<(Option<Listeners>, Stored)> {
    let Some(mut activation) = Activation::of_process()? else { return Ok((None, Vec::new())) };
    let stored = std::mem::take(&mut activation.stored);
    let listeners = (!activation.sockets.is_empty()).then(|| activation.into_listeners());
    Ok((listeners, stored))
}

impl Activation {
    /// The sockets that were handed to this process; `None` where there are none. To be called once, in a tokio runtime
    /// and before there are threads: it takes what tells of them out of the environment.
    ///
    /// # Errors
    /// One sentence that names a descriptor which is no listening stream socket.
    pub fn of_process() -> io::Result<Option<Self>> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        if std::env::var("LISTEN_FDS").is_ok_and(|count| count.parse().is_ok_and(|count: usize| count > MOST)) {
            return Err(io::Error::other(format!("LISTEN_FDS names more than {MOST} descriptors")));
        }
        let mut given = ListenFd::from_env();
        let (mut sockets, mut stored) = (Vec::new(), Vec::new());
        for at in 0..given.len() {
            let number = FIRST + at;
            let name = names.next().filter(|name| !name.is_empty()).map(str::to_owned);
            if let Some(name) = name.as_ref().filter(|name| is_stored(name)) {
                if let Some(descriptor) = given.take_raw_fd(at)? {
                    // SAFETY: it was handed to this process, and `given` has let go of it.
                    #[allow(unsafe_code)]
                    stored.push((name.clone(), unsafe { OwnedFd::from_raw_fd(descriptor) }));
                }
                continue;
            }
            let listeners = take(&mut given, at)
                .map_err(|error| io::Error::new(error.kind(), format!("descriptor {number} of socket activation {error}")))?;
            sockets.push(Given { number, name, listeners });
        }
        Ok(if sockets.is_empty() && stored.is_empty() { None } else { Some(Self { sockets, stored }) })
    }

    /// All of them.
    #[must_use]
    pub fn into_listeners(self) -> Listeners {
        let mut all = Listeners::default();
        for given in self.sockets {
            all.append(given.listeners);
        }
        all
    }

    /// Takes out those of the service `name`: the sockets that are called so, and those on its port whose own name is that
    /// of no service. `None` where there are none.
    pub fn take(&mut self, name: &str, port: u16, is_service: impl Fn(&str) -> bool) -> Option<Listeners> {
        let of_service = |given: &mut Given| match given.name.as_deref().filter(|name| is_service(name)) {
            Some(called) => called == name,
            None => given.listeners.addresses().iter().any(|address| address.port() == port),
        };
        let sockets: Vec<Given> = self.sockets.extract_if(.., of_service).collect();
        if sockets.is_empty() { None } else { Some(Self { sockets, stored: Vec::new() }.into_listeners()) }
    }

    /// Where nothing is left, nothing; else what is left, as people read it: `descriptor 3 (127.0.0.1:9420)`.
    #[must_use]
    pub fn left(&self) -> Option<String> {
        let shown = |given: &Given| format!("descriptor {} ({})", given.number, given.listeners.describe());
        let all: Vec<String> = self.sockets.iter().map(shown).collect();
        if all.is_empty() { None } else { Some(all.join(" and ")) }
    }
}

/// Takes one descriptor; an error says what it is or is not.
fn take(given: &mut ListenFd, at: usize) -> io::Result<Listeners> {
    let is_none = || io::Error::new(io::ErrorKind::InvalidInput, "is no listening stream socket");
    if let Ok(Some(socket)) = given.take_tcp_listener(at) {
        if !listens(&socket) {
            return Err(is_none());
        }
        socket.set_nonblocking(true)?;
        return TcpListener::from_std(socket).map(Listeners::of);
    }
    let socket = given.take_unix_listener(at).ok().flatten().filter(listens).ok_or_else(is_none)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket).map(Listeners::of_unix)
}

/// Whether it takes connections; a connected one (`Accept=yes` of the socket unit) does not.
fn listens(socket: &impl AsFd) -> bool {
    getsockopt(socket, sockopt::AcceptConn) == Ok(true)
}
