//! What systemd-nspawn says of its container (sd_notify(3)).
//!
//! It is read for as long as the container lives, although only the first words count: every `daemon-reexec` inside says
//! `READY=1` again, nspawn waits until that is taken, and the container's systemd waits for nspawn.

use std::io;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// The longest that is sent.
const LONGEST: usize = 8192;

/// Read by a thread of its own until this is dropped.
pub(crate) struct Notices {
    socket: UnixDatagram,
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Notices {
    /// Listens at that address, which is no path but an abstract name.
    pub(crate) fn listen(address: &str) -> io::Result<Self> {
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(address)?)?;
        let reader = socket.try_clone()?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut notice = vec![0; LONGEST];
            while let Ok(length) = reader.recv(&mut notice) {
                let text = String::from_utf8_lossy(&notice[..length]);
                // Nothing at all is what a socket reads that was shut down.
                if length == 0 || text.lines().any(|line| sender.send(line.to_owned()).is_err()) {
                    return;
                }
            }
        });
        Ok(Self { socket, lines: Mutex::new(lines) })
    }

    /// The next line, if one comes in time.
    pub(crate) fn line(&self, limit: Duration) -> Option<String> {
        self.lines().recv_timeout(limit).ok()
    }

    /// Forgets what was said before now.
    pub(crate) fn forget(&self) {
        self.lines().try_iter().for_each(drop);
    }

    fn lines(&self) -> MutexGuard<'_, mpsc::Receiver<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn nobody_who_says_something_waits() {
        let address = format!("shmooze-test-notices-{}", std::process::id());
        let notices = Notices::listen(&address).unwrap();
        let nspawn = UnixDatagram::unbound().unwrap();
        nspawn.connect_addr(&SocketAddr::from_abstract_name(&address).unwrap()).unwrap();
        nspawn.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        // More than a socket holds.
        for number in 0..1000 {
            nspawn.send(format!("STATUS={number}\nREADY=1").as_bytes()).unwrap();
        }
        let second = Duration::from_secs(20);
        assert_eq!(notices.line(second).as_deref(), Some("STATUS=0"));
        assert_eq!(notices.line(second).as_deref(), Some("READY=1"));
        while notices.line(second).as_deref() != Some("STATUS=999") {}
        assert_eq!(notices.line(second).as_deref(), Some("READY=1"));
        assert_eq!(notices.line(Duration::from_millis(10)), None);
        drop(notices);
        let gone = |error: &io::Error| [io::ErrorKind::ConnectionRefused, io::ErrorKind::BrokenPipe].contains(&error.kind());
        assert!(nspawn.send(b"READY=1").is_err_and(|error| gone(&error)));
    }
}
