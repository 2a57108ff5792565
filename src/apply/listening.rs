//! On which addresses of this machine somebody listens (`proc_net_tcp(5)`).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// TCP over IPv4 and IPv6; the second is missing where there is no IPv6.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// The state of a socket that listens (`TCP_LISTEN`).
const LISTENS: &str = "0A";

/// All addresses on which somebody listens by TCP now.
#[must_use]
pub fn listening() -> HashSet<SocketAddr> {
    let tables = TABLES.iter().filter_map(|table| std::fs::read_to_string(table).ok());
    tables.flat_map(|table| table.lines().filter_map(listener).collect::<Vec<_>>()).collect()
}

/// The address of one line, where it is of a socket that listens.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut columns = line.split_whitespace().skip(1);
    let (address, port) = columns.next()?.split_once(':')?;
    if columns.nth(1)? != LISTENS {
        return None;
    }
    Some(SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words of 32 bits each, in the byte order of the machine, of an address in that of the network.
fn ip(hexadecimal: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    let mut rest = hexadecimal;
    while !rest.is_empty() {
        let (word, after) = rest.split_at_checked(8)?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
        rest = after;
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(&*bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    <[u8; 16]>::try_from(&*bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_there_and_who_has_stopped_is_not() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            // Without IPv6 there is nothing to show.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let address = listener.local_addr().unwrap();
            assert!(listening().contains(&address), "{address}");
            drop(listener);
            assert!(!listening().contains(&address), "{address}");
        }
    }

    #[test]
    fn lines() {
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue"), None);
        assert_eq!(listener("   0: 00000000:0016 00000000:0000 0A 0:0"), Some("0.0.0.0:22".parse().unwrap()));
        assert_eq!(listener("   1: 00000000:0016 00000000:0000 01 0:0"), None);
        assert_eq!(listener("   1: 000000:0016 00000000:0000 0A 0:0"), None);
    }
}
