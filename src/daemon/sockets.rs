//! Where the sockets that the service manager has opened differ from what the settings say.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::loopback;
use crate::service::Listeners;

/// Where one is that the settings give `address`: what it means in the one protocol it means in the other.
pub(super) fn at(address: SocketAddr) -> [SocketAddr; 2] {
    let (ip, port) = (address.ip(), address.port());
    match ip {
        _ if ip.is_loopback() => loopback::addresses(port),
        _ if ip.is_unspecified() => [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()],
        _ => [address; 2],
    }
}

/// Warns where the sockets given to `name` are not those that `key` of the settings `file` means, of which `expected` are
/// all that count. Unix sockets differ from nothing.
pub(super) fn compare(name: &str, given: &Listeners, expected: &[SocketAddr], key: &str, file: &Path) {
    if let Some(difference) = difference(name, given, expected, key, file) {
        tracing::warn!("{difference}");
    }
}

fn difference(name: &str, given: &Listeners, expected: &[SocketAddr], key: &str, file: &Path) -> Option<String> {
    let addresses = given.addresses();
    let is_served = addresses.iter().any(|address| expected.iter().any(|expected| covers(*address, *expected)));
    let others: Vec<String> = addresses.iter().filter(|address| !expected.contains(address)).map(ToString::to_string).collect();
    if is_served && others.is_empty() {
        return None;
    }
    let file = file.display();
    let said = expected.first().map_or_else(|| format!("has no {key}"), |expected| format!("has {expected} ({key})"));
    let given = given.describe();
    Some(if is_served || expected.is_empty() {
        format!("{name} serves {given}, as the service manager has it, while {file} {said}")
    } else {
        format!(
            "{name} serves {given}, as the service manager has it, while {file} {said}: who goes by the settings does not find it"
        )
    })
}

/// Whether who connects to `wanted` comes to `socket`.
fn covers(socket: SocketAddr, wanted: SocketAddr) -> bool {
    let is_everywhere = socket.ip().is_unspecified() && (socket.is_ipv6() || wanted.is_ipv4());
    socket.port() == wanted.port() && (socket.ip() == wanted.ip() || is_everywhere)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::bind;

    async fn said(given: &[&str], expected: &[SocketAddr]) -> Option<String> {
        let mut listeners = Listeners::default();
        for address in given {
            listeners.append(bind(address.parse().unwrap()).await.unwrap());
        }
        difference("queue", &listeners, expected, "ports.queue", Path::new("x.json"))
    }

    /// Ports that are free now, on 127.0.0.1 at least.
    fn free() -> [u16; 2] {
        let sockets = [(); 2].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
        sockets.map(|socket| socket.local_addr().unwrap().port())
    }

    #[tokio::test]
    async fn what_is_said() {
        let [port, other] = free();
        let (here, there, everywhere) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{other}"), format!("0.0.0.0:{port}"));
        assert_eq!(said(&[&here], &loopback::addresses(port)).await, None);
        assert_eq!(
            said(&[&there], &loopback::addresses(port)).await.unwrap(),
            format!(
                "queue serves {there}, as the service manager has it, while x.json has {here} (ports.queue): who goes by the settings \
                 does not find it"
            )
        );
        assert_eq!(
            said(&[&here, &there], &loopback::addresses(port)).await.unwrap(),
            format!("queue serves {here} and {there}, as the service manager has it, while x.json has {here} (ports.queue)")
        );
        assert_eq!(
            said(&[&everywhere], &loopback::addresses(port)).await.unwrap(),
            format!("queue serves {everywhere}, as the service manager has it, while x.json has {here} (ports.queue)"),
            "other machines reach it, too"
        );
        assert_eq!(
            said(&[&here], &[]).await.unwrap(),
            format!("queue serves {here}, as the service manager has it, while x.json has no ports.queue")
        );
    }

    #[test]
    fn what_an_address_means() {
        let meant = |address: &str| at(address.parse().unwrap()).map(|address| address.to_string());
        for loopback in ["127.0.0.1:1", "[::1]:1"] {
            assert_eq!(meant(loopback), ["127.0.0.1:1", "[::1]:1"]);
        }
        assert_eq!(meant("0.0.0.0:1"), ["0.0.0.0:1", "[::]:1"]);
        assert_eq!(meant("192.0.2.1:1"), ["192.0.2.1:1"; 2]);
    }

    #[test]
    fn a_socket_for_both_protocols_covers_both() {
        let [v4, v6] = loopback::addresses(1);
        let everywhere = (Ipv6Addr::UNSPECIFIED, 1).into();
        assert!(covers(everywhere, v4) && covers(everywhere, v6));
        assert!(!covers((Ipv4Addr::UNSPECIFIED, 1).into(), v6));
        assert!(!covers(everywhere, (Ipv4Addr::LOCALHOST, 2).into()));
    }
}
