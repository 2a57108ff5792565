//! Sockets to accept from.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

/// The sockets of one service.
#[derive(Debug)]
pub struct Listeners {
    pub(super) tcp: Vec<TcpListener>,
}

impl Listeners {
    /// Listens on one socket that exists already.
    #[must_use]
    pub fn of(listener: TcpListener) -> Self {
        Self { tcp: vec![listener] }
    }

    /// Where clients connect.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

/// Binds a port on 127.0.0.1 and, where there is one, on ::1; port 0 takes any that is free.
///
/// # Errors
/// One sentence that names the address, such as `127.0.0.1:9420: Address already in use`.
pub async fn bind_loopback(port: u16) -> io::Result<Listeners> {
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
    };
    let v4 = bind((Ipv4Addr::LOCALHOST, port).into()).await?;
    let port = v4.local_addr()?.port();
    let mut tcp = vec![v4];
    match bind((Ipv6Addr::LOCALHOST, port).into()).await {
        Ok(v6) => tcp.push(v6),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // No IPv6 here.
        Err(_) => {}
    }
    Ok(Listeners { tcp })
}
