//! Which of those who connect are proxies that are believed when they say for whom they ask (`gateway.proxies`).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// Who holds the other end of a connection, as far as that says whom to believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Somebody at this address.
    Address(IpAddr),
    /// A process of this machine, over a Unix socket.
    Unix,
}

impl Peer {
    /// Whoever is at `address`. One of IPv4 stays what it is where a socket of IPv6 writes it as its own (`::ffff:192.0.2.7`).
    #[must_use]
    pub const fn at(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Proxies that the settings list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyRule {
    /// `192.0.2.7`, `10.0.0.0/8`: all addresses of this network.
    Network(IpNet),
    /// `unix`: whoever connects over a Unix socket.
    Unix,
}

impl ProxyRule {
    /// Reads one as the settings have it. A network has no bits set behind its prefix: `10.1.2.3/8` may be meant for either.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "unix" {
            return Some(Self::Unix);
        }
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address.to_canonical()),
            Err(_) => text.parse().ok()?,
        };
        (network == network.trunc()).then_some(Self::Network(network))
    }

    /// Whether `peer` is one of these.
    #[must_use]
    pub fn holds(&self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Network(network), Peer::Address(address)) => network.contains(&address),
            (Self::Unix, Peer::Unix) => true,
            _ => false,
        }
    }
}

impl fmt::Display for ProxyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        for (text, shown, held, others) in [
            ("unix", "unix", &["unix"][..], &["127.0.0.1", "::1"][..]),
            ("192.0.2.7", "192.0.2.7", &["192.0.2.7", "::ffff:192.0.2.7"], &["192.0.2.8", "unix"]),
            ("::ffff:192.0.2.7", "192.0.2.7", &["192.0.2.7"], &["::1"]),
            ("10.0.0.0/8", "10.0.0.0/8", &["10.0.0.0", "10.255.1.2"], &["11.0.0.0", "::a00:1"]),
            ("192.0.2.7/32", "192.0.2.7", &["192.0.2.7"], &["192.0.2.6"]),
            ("0.0.0.0/0", "0.0.0.0/0", &["255.255.255.255"], &["::1", "unix"]),
            ("2001:DB8::/33", "2001:db8::/33", &["2001:db8:7fff::1"], &["2001:db8:8000::1", "10.0.0.1"]),
        ] {
            let rule = ProxyRule::parse(text).unwrap();
            assert_eq!(rule.to_string(), shown);
            let peer = |text: &str| text.parse().map_or(Peer::Unix, Peer::at);
            assert!(held.iter().all(|peer_text| rule.holds(peer(peer_text))), "{text}");
            assert!(!others.iter().any(|peer_text| rule.holds(peer(peer_text))), "{text}");
        }
        for text in
            ["", "Unix", "unix:", "localhost", "10.1.2.3/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "1", "*", "[::1]"]
        {
            assert_eq!(ProxyRule::parse(text), None, "{text}");
        }
    }
}
