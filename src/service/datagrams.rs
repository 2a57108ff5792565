//! Datagrams to the service manager, without ever waiting for it.
//!
//! A manager that is busy with itself does not read, and who sends to it would wait with all that he has to do. So what
//! it does not take at once is kept and offered again, in the order in which it was said.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long what was not taken waits before it is offered again.
const PAUSE: Duration = Duration::from_millis(20);

/// Most that waits; beyond that the oldest is forgotten.
const MOST: usize = 64;

/// Where the manager listens.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// A path, or after `@` the name of a socket without one (`sd_notify(3)`).
    name: OsString,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<String>,
    /// A failure was said.
    failed: bool,
}

impl Datagrams {
    pub(super) fn to(name: OsString) -> Arc<Self> {
        Arc::new(Self { name, state: Arc::default() })
    }

    /// Sends `message`, now or when there is room. Must be called inside a tokio runtime.
    pub(super) fn send(self: &Arc<Self>, message: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_waiting = !state.waiting.is_empty();
        // Of what was said once more, the last counts.
        for kind in ["STATUS=", "WATCHDOG="] {
            if message.starts_with(kind) {
                state.waiting.retain(|waiting| !waiting.starts_with(kind));
            }
        }
        if state.waiting.len() == MOST {
            state.waiting.pop_front();
        }
        state.waiting.push_back(message.to_owned());
        self.flush(&mut state);
        if !was_waiting && !state.waiting.is_empty() {
            tokio::spawn(Arc::clone(self).offer());
        }
    }

    /// Offers what waits until nothing does.
    async fn offer(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            self.flush(&mut state);
            if state.waiting.is_empty() {
                return;
            }
        }
    }

    fn flush(&self, state: &mut State) {
        while let Some(message) = state.waiting.front() {
            match self.send_now(message) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if !std::mem::replace(&mut state.failed, true) => {
                    tracing::warn!("the service manager could not be told: {error}");
                }
                Ok(()) | Err(_) => {}
            }
            state.waiting.pop_front();
        }
    }

    fn send_now(&self, message: &str) -> io::Result<()> {
        let address = match self.name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&self.name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(message.as_bytes(), &address).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// A manager that does not read holds up nobody, and hears what counts once it does.
    #[tokio::test]
    async fn nobody_waits_for_the_manager() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let datagrams = Datagrams::to(path.into());
        let mut sent = 0;
        while datagrams.state.lock().unwrap().waiting.is_empty() {
            datagrams.send(&format!("X={sent}"));
            sent += 1;
        }
        for message in ["STATUS=a", "WATCHDOG=1", "READY=1", "STATUS=b", "WATCHDOG=1"] {
            datagrams.send(message);
        }
        for number in 0..sent {
            if number == sent - 1 {
                tokio::time::timeout(Duration::from_secs(30), async {
                    while !datagrams.state.lock().unwrap().waiting.is_empty() {
                        tokio::time::sleep(PAUSE).await;
                    }
                })
                .await
                .unwrap();
            }
            assert_eq!(receive(&manager), format!("X={number}"));
        }
        assert_eq!([(); 3].map(|()| receive(&manager)), ["READY=1", "STATUS=b", "WATCHDOG=1"]);
        manager.set_nonblocking(true).unwrap();
        assert!(manager.recv(&mut [0]).is_err(), "nothing else was said");
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _manager = UnixDatagram::bind(&path).unwrap();
        let datagrams = Datagrams::to(path.into());
        (0..10_000).for_each(|number| datagrams.send(&format!("X={number}")));
        let state = datagrams.state.lock().unwrap();
        assert_eq!((state.waiting.len(), state.waiting.back().unwrap().as_str()), (MOST, "X=9999"));
    }

    #[tokio::test]
    async fn a_socket_without_a_path() {
        let name = format!("shmooze-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Datagrams::to(format!("@{name}").into()).send("READY=1");
        assert_eq!(receive(&manager), "READY=1");
    }

    #[tokio::test]
    async fn a_manager_that_is_gone_is_no_matter() {
        let datagrams = Datagrams::to("/nowhere/notify".into());
        (0..3).for_each(|_| datagrams.send("READY=1"));
        assert!(datagrams.state.lock().unwrap().waiting.is_empty());
    }
}
