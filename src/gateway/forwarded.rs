//! What a proxy in front says of the request that it was asked itself: `X-Forwarded-For`, `X-Forwarded-Host`, `X-Forwarded-Proto`.
//!
//! Anybody can send these headers, so they are looked at only where whoever has connected is a proxy that the settings list
//! (`gateway.proxies`), and of each only what such a proxy has written: proxies add to the end, and before that stands whatever
//! clients send. `Forwarded` (RFC 7239), which neither nginx nor Caddy writes, is not looked at.

use hyper::header::{HeaderMap, HeaderName};
use hyper::http::request::Parts;

use super::guard::values;
use crate::access::{Authority, Host, Peer, ProxyRule, Scheme};
use crate::protocol::shown;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// For whom a request is made, and as which one he made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// Who asks; `None` where even who has connected is not known.
    pub(super) client: Option<Peer>,
    /// Whom he asked; `None` where no proxy says so.
    pub(super) authority: Option<Authority>,
    /// How he asked; `None` where no proxy says so.
    pub(super) scheme: Option<Scheme>,
}

/// Why what a listed proxy says is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ForwardedError {
    /// `X-Forwarded-For`
    #[error("Header \"X-Forwarded-For\" of a proxy names no IP address: {}.", shown(.0))]
    For(String),
    /// `X-Forwarded-Host`
    #[error("Header \"X-Forwarded-Host\" of a proxy names no host: {}.", shown(.0))]
    Host(String),
    /// `X-Forwarded-Proto`
    #[error("Header \"X-Forwarded-Proto\" of a proxy is neither http nor https: {}.", shown(.0))]
    Proto(String),
}

impl Forwarded {
    /// What the head `parts` says, if it comes from one of the `proxies`.
    pub(super) fn read(parts: &Parts, proxies: &[ProxyRule]) -> Result<Self, ForwardedError> {
        let peer = parts.extensions.get::<Peer>().copied();
        let is_listed = |peer| proxies.iter().any(|rule| rule.holds(peer));
        let Some(proxy) = peer.filter(|peer| is_listed(*peer)) else {
            return Ok(Self { client: peer, authority: None, scheme: None });
        };
        let headers = &parts.headers;
        let mut client = proxy;
        for text in elements(headers, &X_FORWARDED_FOR) {
            client = address(&text).ok_or(ForwardedError::For(text))?;
            if !is_listed(client) {
                break;
            }
        }
        let authority = elements(headers, &X_FORWARDED_HOST).next();
        let authority = authority.map(|text| Authority::parse(&text).ok_or(ForwardedError::Host(text))).transpose()?;
        let scheme = elements(headers, &X_FORWARDED_PROTO).next();
        let scheme = scheme.map(|text| Scheme::from_name(&text).ok_or(ForwardedError::Proto(text))).transpose()?;
        Ok(Self { client: Some(client), authority, scheme })
    }
}

/// The elements of the list that all headers of this `name` are together, the last first.
fn elements(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    let texts = values(headers, name).rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    texts.map(|text| String::from_utf8_lossy(text.trim_ascii()).into_owned())
}

/// The address that `text` is: bare, or with a port behind it and then, where it is one of IPv6, in brackets.
fn address(text: &str) -> Option<Peer> {
    if let Ok(address) = text.parse() {
        return Some(Peer::at(address));
    }
    match Authority::parse(text)?.host {
        Host::Ip(address) => Some(Peer::at(address)),
        Host::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    /// What is made of these header lines if they come from `peer`: client, host, scheme, or the sentence against it.
    fn read(peer: Option<Peer>, lines: &[(&str, &str)]) -> String {
        let proxies = ["unix", "127.0.0.1", "10.0.0.0/8", "2001:db8::/32"].map(|text| ProxyRule::parse(text).unwrap());
        let mut request = Request::builder();
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        if let Some(peer) = peer {
            parts.extensions.insert(peer);
        }
        match Forwarded::read(&parts, &proxies) {
            Err(error) => error.to_string(),
            Ok(Forwarded { client, authority, scheme }) => {
                let client = client.map_or("-".to_owned(), |client| client.to_string());
                let host = authority.map_or("-".to_owned(), |Authority { host, port }| format!("{host}:{}", port.unwrap_or(0)));
                format!("{client} {host} {}", scheme.map_or("-", Scheme::name))
            }
        }
    }

    fn at(text: &str) -> Option<Peer> {
        Some(Peer::at(text.parse().unwrap()))
    }

    #[test]
    fn only_listed_proxies_are_believed() {
        let lines =
            [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Host", "kiosk.example:8443"), ("X-Forwarded-Proto", "https")];
        for peer in [Some(Peer::Unix), at("127.0.0.1"), at("::ffff:127.0.0.1"), at("10.9.9.9"), at("2001:db8::5")] {
            assert_eq!(read(peer, &lines), "192.0.2.7 kiosk.example:8443 https", "{peer:?}");
        }
        for (peer, client) in [(None, "-"), (at("127.0.0.2"), "127.0.0.2"), (at("::1"), "::1"), (at("192.0.2.7"), "192.0.2.7")] {
            assert_eq!(read(peer, &lines), format!("{client} - -"));
            let malformed = [("X-Forwarded-For", "?"), ("X-Forwarded-Host", "?"), ("X-Forwarded-Proto", "?")];
            assert_eq!(read(peer, &malformed), format!("{client} - -"));
        }
        assert_eq!(read(at("10.0.0.1"), &[]), "10.0.0.1 - -");
        assert_eq!(read(at("10.0.0.1"), &[("Forwarded", "for=192.0.2.7;host=a;proto=https")]), "10.0.0.1 - -");
    }

    #[test]
    fn the_client_is_the_last_who_is_no_proxy() {
        for (values, client) in [
            (&["192.0.2.7"][..], "192.0.2.7"),
            (&["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            (&["192.0.2.7,10.0.0.2 ,\t2001:db8::2"], "192.0.2.7"),
            // What stands before it is the client's own word.
            (&["198.51.100.9, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            (&["?", "<script>, 192.0.2.7"], "192.0.2.7"),
            (&["198.51.100.9", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            // All of them are proxies: the first asks for itself.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["192.0.2.7:4711"], "192.0.2.7"),
            (&["[2001:db9::7]:4711"], "2001:db9::7"),
            (&["[2001:db9::7]"], "2001:db9::7"),
            (&["2001:db9::7"], "2001:db9::7"),
            (&["::ffff:192.0.2.7"], "192.0.2.7"),
        ] {
            let lines: Vec<_> = values.iter().map(|value| ("X-Forwarded-For", *value)).collect();
            assert_eq!(read(at("127.0.0.1"), &lines), format!("{client} - -"), "{values:?}");
        }
        for (value, shown) in [
            ("unknown", "unknown"),
            ("192.0.2.7, localhost", "localhost"),
            ("198.51.100.9, ?, 10.0.0.2", "?"),
            ("192.0.2.7,", ""),
            ("", ""),
            ("192.0.2.7:x", "192.0.2.7:x"),
        ] {
            let expected = format!("Header \"X-Forwarded-For\" of a proxy names no IP address: \"{shown}\".");
            assert_eq!(read(at("127.0.0.1"), &[("X-Forwarded-For", value)]), expected);
        }
    }

    #[test]
    fn of_several_hosts_and_schemes_the_last_counts() {
        let twice = [("X-Forwarded-Host", "evil.example, a.example"), ("X-Forwarded-Proto", "http, HTTPS")];
        assert_eq!(read(Some(Peer::Unix), &twice), "unix a.example:0 https");
        let lines = ["evil.example", "a.example"].map(|host| ("X-Forwarded-Host", host));
        assert_eq!(read(Some(Peer::Unix), &lines), "unix a.example:0 -");
        for host in ["", "a b", "http://a.example", "a.example/"] {
            let expected = format!("Header \"X-Forwarded-Host\" of a proxy names no host: \"{host}\".");
            assert_eq!(read(Some(Peer::Unix), &[("X-Forwarded-Host", host)]), expected);
        }
        for scheme in ["", "wss", "https:"] {
            let expected = format!("Header \"X-Forwarded-Proto\" of a proxy is neither http nor https: \"{scheme}\".");
            assert_eq!(read(Some(Peer::Unix), &[("X-Forwarded-Proto", scheme)]), expected);
        }
    }
}
