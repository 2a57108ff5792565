//! Sockets to accept from.

use std::io;
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use crate::loopback;

/// The sockets of one service.
#[derive(Debug)]
pub struct Listeners {
    pub(super) tcp: Vec<TcpListener>,
    pub(super) unix: Vec<UnixListener>,
}

impl Listeners {
    /// Listens on one socket that exists already.
    #[must_use]
    pub fn of(listener: TcpListener) -> Self {
        Self { tcp: vec![listener], unix: Vec::new() }
    }

    /// Listens on one Unix socket that exists already.
    #[must_use]
    pub fn of_unix(listener: UnixListener) -> Self {
        Self { tcp: Vec::new(), unix: vec![listener] }
    }

    /// The TCP sockets, for a service that speaks something else than JSON lines on them.
    #[must_use]
    pub fn into_tcp(self) -> Vec<TcpListener> {
        self.tcp
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
        let unix = self.unix.iter().filter_map(|listener| listener.local_addr().ok());
        let unix = unix.filter_map(|address| Some(address.as_pathname()?.display().to_string()));
        self.addresses().iter().map(ToString::to_string).chain(unix).collect::<Vec<_>>().join(" and ")
    }
}

/// The sockets that the service manager has opened for this process (`sd_listen_fds(3)`), TCP and Unix ones; `None` where
/// it has opened none.
///
/// # Errors
/// Where one of them is neither.
pub fn activated() -> io::Result<Option<Listeners>> {
    let mut given = ListenFd::from_env();
    if given.len() == 0 {
        return Ok(None);
    }
    let (mut tcp, mut unix) = (Vec::new(), Vec::new());
    for at in 0..given.len() {
        if let Ok(Some(listener)) = given.take_tcp_listener(at) {
            listener.set_nonblocking(true)?;
            tcp.push(TcpListener::from_std(listener)?);
        } else if let Ok(Some(listener)) = given.take_unix_listener(at) {
            listener.set_nonblocking(true)?;
            unix.push(UnixListener::from_std(listener)?);
        } else {
            let number = at + 3;
            return Err(io::Error::other(format!("descriptor {number} of socket activation is no listening stream socket")));
        }
    }
    Ok(Some(Listeners { tcp, unix }))
}

/// Binds a port on 127.0.0.1 and, where there is one, on ::1; port 0 takes any that is free.
///
/// # Errors
/// One sentence that names the address, such as `127.0.0.1:9420: Address already in use`.
pub async fn bind_loopback(port: u16) -> io::Result<Listeners> {
    let (v4, v6) = loopback::bind(port).await?;
    Ok(Listeners { tcp: std::iter::once(v4).chain(v6).collect(), unix: Vec::new() })
}
