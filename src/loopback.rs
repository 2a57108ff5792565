//! A port on this machine alone, by either protocol.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Clients that may wait to be accepted, as far as the kernel lets them (`net.core.somaxconn`): of one more, the kernel loses the
/// first packet, and a second passes until it tries again.
const BACKLOG: u32 = 4096;

/// Both addresses of a port, that of IPv4 first.
pub(crate) fn addresses(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

/// Binds a port on 127.0.0.1 and, where there is one, the same on ::1; port 0 takes any that is free on the former.
///
/// # Errors
/// One sentence that names the address, such as `127.0.0.1:9420: Address already in use`.
pub(crate) fn bind(port: u16) -> io::Result<(TcpListener, Option<TcpListener>)> {
    let v4 = bind_to((Ipv4Addr::LOCALHOST, port).into())?;
    let port = v4.local_addr()?.port();
    match bind_to((Ipv6Addr::LOCALHOST, port).into()) {
        Ok(v6) => Ok((v4, Some(v6))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        // No IPv6 here.
        Err(_) => Ok((v4, None)),
    }
}

/// Binds one address, of this machine alone or not.
///
/// # Errors
/// One sentence that names the address.
pub(crate) fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let listener = socket.and_then(|socket| {
        // What a process before left in TIME_WAIT does not keep the port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    listener.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}
