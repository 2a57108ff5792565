//! Sockets to accept from.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::loopback;

/// The connection of a client, over TCP or a Unix socket.
pub type Stream = Either<TcpStream, UnixStream>;

/// The sockets of one service.
#[derive(Debug, Default)]
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Vec<UnixListener>,
    /// Which of them is looked at first: each in turn, so that one that is never silent does not silence the others.
    first: AtomicUsize,
}

impl Listeners {
    /// Listens on one socket that exists already.
    #[must_use]
    pub fn of(listener: TcpListener) -> Self {
        Self { tcp: vec![listener], ..Self::default() }
    }

    /// Listens on one Unix socket that exists already.
    #[must_use]
    pub fn of_unix(listener: UnixListener) -> Self {
        Self { unix: vec![listener], ..Self::default() }
    }

    /// Listens on those of `other`, too.
    pub fn append(&mut self, mut other: Self) {
        self.tcp.append(&mut other.tcp);
        self.unix.append(&mut other.unix);
    }

    /// The next client, whichever socket it comes by. May be dropped and asked again.
    ///
    /// # Errors
    /// As accept(2); the next may be better.
    pub async fn accept(&self) -> io::Result<Stream> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let count = self.tcp.len() + self.unix.len();
        let first = self.first.load(Relaxed);
        for at in (first..first + count).map(|at| at % count) {
            let accepted = match self.tcp.get(at) {
                Some(tcp) => tcp.poll_accept(cx).map_ok(|(stream, _)| Stream::Left(stream)),
                None => self.unix[at - self.tcp.len()].poll_accept(cx).map_ok(|(stream, _)| Stream::Right(stream)),
            };
            if accepted.is_ready() {
                self.first.store(at + 1, Relaxed);
                return accepted;
            }
        }
        Poll::Pending
    }

    /// The Unix sockets, for a service that takes no others.
    ///
    /// # Errors
    /// One sentence that names a socket of another kind.
    pub fn into_unix(self) -> Result<Vec<UnixListener>, String> {
        match self.addresses().first() {
            Some(address) => Err(format!("{address}: this program is asked at Unix sockets only")),
            None => Ok(self.unix),
        }
    }

    /// Where clients connect over TCP.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// All addresses, as people read them.
    #[must_use]
    pub fn describe(&self) -> String {
        let unix = self.unix.iter().map(|listener| match listener.local_addr() {
            Ok(address) => address.as_pathname().map_or_else(|| "a Unix socket".to_owned(), |path| path.display().to_string()),
            Err(error) => error.to_string(),
        });
        self.addresses().iter().map(ToString::to_string).chain(unix).collect::<Vec<_>>().join(" and ")
    }
}

/// Binds a port on 127.0.0.1 and, where there is one, on ::1; port 0 takes any that is free.
///
/// # Errors
/// One sentence that names the address, such as `127.0.0.1:9420: Address already in use`.
pub async fn bind_loopback(port: u16) -> io::Result<Listeners> {
    let (v4, v6) = loopback::bind(port)?;
    Ok(Listeners { tcp: std::iter::once(v4).chain(v6).collect(), ..Listeners::default() })
}

/// Binds one address.
///
/// # Errors
/// One sentence that names the address.
pub async fn bind(address: SocketAddr) -> io::Result<Listeners> {
    loopback::bind_to(address).map(Listeners::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While clients queue up at both sockets, each is served in its turn.
    #[tokio::test]
    async fn no_socket_silences_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut listeners = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listeners.addresses()[0];
        listeners.append(Listeners::of_unix(UnixListener::bind(&path).unwrap()));
        let tcp: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let unix: Vec<_> = (0..4).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
        let mut kinds = String::new();
        while kinds.len() < tcp.len() + unix.len() {
            kinds.push(if matches!(listeners.accept().await.unwrap(), Stream::Left(_)) { 't' } else { 'u' });
        }
        // Which of them the reactor hears of first is its own business, but from then on they take turns.
        assert!(kinds.contains("tutut") || kinds.contains("ututu"), "{kinds}");
        assert_eq!(listeners.describe(), format!("{address} and {}", path.display()));
    }
}
