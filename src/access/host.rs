//! Which names of hosts are this gateway's own.
//!
//! A page of `evil.example` may have its name lead to this machine once it is loaded (DNS rebinding): its requests are
//! then of the same origin to the browser, but still name `evil.example` as host. An IP address or `localhost` cannot be
//! made to lead elsewhere, and so they are always right.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::protocol::shown;

/// A host as a URL names it; names are the same in capitals and with a dot at their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An IP address. Which of several links an IPv6 address is on does not matter here.
    Ip(IpAddr),
    /// A name, in lower case and without a dot at its end.
    Name(String),
}

impl Host {
    /// Reads a host as it stands in `Host` and in URLs, an IPv6 address in brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']')?;
            let address = address.split_once('%').map_or(address, |(address, _)| address);
            return address.parse::<Ipv6Addr>().ok().map(|address| Self::Ip(address.into()));
        }
        match text.parse::<IpAddr>() {
            Ok(address @ IpAddr::V4(_)) => Some(Self::Ip(address)),
            // Only in brackets.
            Ok(IpAddr::V6(_)) => None,
            Err(_) => name(text).map(Self::Name),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `text` as the name of a host: labels of letters, digits, `-` and `_`, with dots between them.
fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    text.split('.').all(is_label).then(|| text.to_ascii_lowercase())
}

/// A host and, where one is given, its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port; `None` where it is that of the scheme.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `HOST` or `HOST:PORT`, as in the header `Host`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The colons of an IPv6 address are before the bracket.
        let after_brackets = text.rfind(']').unwrap_or(0);
        let (host, port) = match text[after_brackets..].find(':') {
            None => (text, ""),
            Some(at) => (&text[..after_brackets + at], &text[after_brackets + at + 1..]),
        };
        let port = match port {
            "" => None,
            // `parse` would take a sign.
            _ if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            _ => return None,
        };
        Some(Self { host: Host::parse(host)?, port })
    }
}

/// Names that the settings give the gateway (`gateway.hosts`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// `*`: any name.
    Any,
    /// `.kiosk.example`: this name and all that end in it.
    Below(String),
    /// `kiosk.example`: this name.
    Name(String),
}

impl HostRule {
    /// Reads one as the settings have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match (text, text.strip_prefix('.')) {
            ("*", _) => Some(Self::Any),
            (_, Some(below)) => name(below).map(Self::Below),
            (_, None) => name(text).map(Self::Name),
        }
    }

    fn allows(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(allowed) => name == allowed,
            Self::Below(domain) => is_below(name, domain) || name == domain,
        }
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(domain) => write!(f, ".{domain}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|before| before.ends_with('.'))
}

/// All names of the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    rules: Vec<HostRule>,
}

impl Hosts {
    /// Every IP address, `localhost` and what ends in it (which is this machine, RFC 6761 section 6.3), and these.
    #[must_use]
    pub fn new(rules: &[HostRule]) -> Self {
        Self { rules: rules.to_vec() }
    }

    /// And the machine's own name, `machine`: as it is, as far as its first dot, and that with `.local`, which is what
    /// the neighbours in a network without a name server call it (RFC 6762).
    #[must_use]
    pub fn and_machine(mut self, machine: &str) -> Self {
        if let Some(full) = name(machine) {
            let first = full.split('.').next().unwrap_or(&full).to_owned();
            self.rules.extend([HostRule::Name(format!("{first}.local")), HostRule::Name(first), HostRule::Name(full)]);
        }
        self
    }

    /// `authority`, where its host is the gateway's.
    ///
    /// # Errors
    /// [`HostError::Foreign`] where it is another's.
    pub fn check(&self, authority: Authority) -> Result<Authority, HostError> {
        if self.allow(&authority.host) { Ok(authority) } else { Err(HostError::Foreign(authority.host.to_string())) }
    }

    /// Whether `host` is the gateway's.
    #[must_use]
    pub fn allow(&self, host: &Host) -> bool {
        match host {
            Host::Ip(_) => true,
            Host::Name(name) => {
                name == "localhost" || is_below(name, "localhost") || self.rules.iter().any(|rule| rule.allows(name))
            }
        }
    }
}

/// Why a request is not for this gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// HTTP/1.1 demands one (RFC 9112 section 3.2).
    #[error("Header \"Host\" is missing.")]
    Missing,
    /// There are several headers `Host`.
    #[error("Header \"Host\" must be there once.")]
    Several,
    /// It is neither a name nor an address.
    #[error("Header \"Host\" names no host.")]
    Unclear,
    /// It is another's name.
    #[error("{} is no name of this gateway; its settings may add it to gateway.hosts.", shown(.0))]
    Foreign(String),
}

/// Answers whom a request is for, `None` where it does not say. `headers` are the values of `Host`, `target` is the
/// authority of the request's own URL where that has one, as over HTTP/2; where both are there `Host` counts, as in the
/// original: over HTTP/1 no browser sends such a URL to anybody but a proxy. Who speaks HTTP/1.1 `must_say` it.
///
/// # Errors
/// [`HostError`] where the request is for somebody else, or it is unclear for whom.
pub fn check_host<'a>(
    target: Option<&'a str>,
    headers: impl IntoIterator<Item = &'a [u8]>,
    must_say: bool,
    hosts: &Hosts,
) -> Result<Option<Authority>, HostError> {
    let mut headers = headers.into_iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(HostError::Several);
    }
    let said = match header.or(target.map(str::as_bytes)) {
        None if must_say => return Err(HostError::Missing),
        // Who has no host in his URL sends it empty (RFC 9110 section 7.2): no browser does.
        None | Some(b"") => return Ok(None),
        Some(said) => said,
    };
    let authority = std::str::from_utf8(said).ok().and_then(Authority::parse).ok_or(HostError::Unclear)?;
    hosts.check(authority).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn authority(text: &str) -> Option<String> {
        Authority::parse(text).map(|Authority { host, port }| format!("{host} {port:?}"))
    }

    #[test]
    fn what_is_a_host() {
        for (text, expected) in [
            ("localhost", "localhost None"),
            ("LocalHost:9480", "localhost Some(9480)"),
            ("kiosk.example.", "kiosk.example None"),
            ("kiosk.example.:80", "kiosk.example Some(80)"),
            ("kiosk:", "kiosk None"),
            ("my_box-2", "my_box-2 None"),
            ("127.0.0.1", "127.0.0.1 None"),
            ("127.0.0.1:65535", "127.0.0.1 Some(65535)"),
            ("[::1]", "[::1] None"),
            ("[0:0::1]:9480", "[::1] Some(9480)"),
            ("[fe80::1%25eth0]:1", "[fe80::1] Some(1)"),
            ("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1] None"),
        ] {
            assert_eq!(authority(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            ":80",
            "::1",
            "::1:80",
            "[::1",
            "::1]",
            "[]",
            "[127.0.0.1]",
            "[::1]x",
            "[::1]80",
            "a:65536",
            "a:+80",
            "a:-1",
            "a:80:80",
            "a:8O",
            "a b",
            " a",
            "a ",
            "a/b",
            "u@a",
            "a,b",
            "é.example",
            "a%2eb",
            "*",
            "a\0",
        ] {
            assert_eq!(authority(text), None, "{text}");
        }
    }

    #[test]
    fn rules() {
        let hosts = |rules: &[&str]| Hosts::new(&rules.iter().map(|rule| HostRule::parse(rule).unwrap()).collect::<Vec<_>>());
        let allowed = |hosts: &Hosts, host: &str| hosts.allow(&Host::parse(host).unwrap());
        let ours = hosts(&["kiosk.example", ".Bar.Example.", "intranet"]);
        for host in [
            "127.0.0.1",
            "10.1.2.3",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST.",
            "app.localhost",
            "kiosk.example",
            "Kiosk.Example.",
            "bar.example",
            "a.bar.example",
            "a.b.bar.example",
            "intranet",
        ] {
            assert!(allowed(&ours, host), "{host}");
        }
        for host in [
            "evil.example",
            "a.kiosk.example",
            "xbar.example",
            "kiosk.example.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "0x7f.1",
            "intranet.evil",
            "local",
            "example",
        ] {
            assert!(!allowed(&ours, host), "{host}");
        }
        assert!(allowed(&hosts(&["*"]), "anything.example"));
        for rule in ["", ".", "..a", "*.a", "a.*", "a:80", "http://a", "a/", "é", "[::1]", "a b"] {
            assert_eq!(HostRule::parse(rule), None, "{rule}");
        }
    }

    #[test]
    fn the_name_of_the_machine() {
        let allowed = |machine: &str| {
            let hosts = Hosts::default().and_machine(machine);
            ["box", "box.lan", "box.local", "lan", "other"].map(|name| hosts.allow(&Host::Name(name.to_owned())))
        };
        assert_eq!(allowed("Box"), [true, false, true, false, false]);
        assert_eq!(allowed("box.lan"), [true, true, true, false, false]);
        assert_eq!(allowed("not a name"), [false; 5]);
        assert_eq!(allowed(""), [false; 5]);
    }

    #[test]
    fn whom_a_request_is_for() {
        let hosts = Hosts::new(&[HostRule::Name("kiosk".into())]);
        let check = |target: Option<&str>, headers: &[&str], must_say| {
            let checked = check_host(target, headers.iter().map(|header| header.as_bytes()), must_say, &hosts);
            checked.map(|authority| authority.map(|authority| authority.host.to_string()))
        };
        let ours = |name: &str| Ok(Some(name.to_owned()));
        let foreign = |name: &str| Err(HostError::Foreign(name.to_owned()));
        assert_eq!(check(None, &["kiosk:80"], true), ours("kiosk"));
        assert_eq!(check(None, &["evil:80"], true), foreign("evil"));
        assert_eq!(check(None, &[], true), Err(HostError::Missing));
        assert_eq!(check(None, &[], false), Ok(None));
        assert_eq!(check(None, &[""], true), Ok(None));
        assert_eq!(check(None, &["kiosk", "kiosk"], true), Err(HostError::Several));
        assert_eq!(check(None, &["kiosk", "evil"], false), Err(HostError::Several));
        assert_eq!(check(None, &["kiosk, evil"], true), Err(HostError::Unclear));
        assert_eq!(check(Some("kiosk"), &[], true), ours("kiosk"));
        assert_eq!(check(Some("evil"), &[], true), foreign("evil"));
        assert_eq!(check(Some("evil"), &["kiosk"], true), ours("kiosk"));
        assert_eq!(check(Some("kiosk"), &["evil"], true), foreign("evil"));
        assert_eq!(check(Some("u@kiosk"), &[], true), Err(HostError::Unclear));
        assert_eq!(check_host(None, [&b"kiosk\xff"[..]], true, &hosts), Err(HostError::Unclear));
        assert_eq!(
            HostError::Foreign("evil".into()).to_string(),
            "\"evil\" is no name of this gateway; its settings may add it to gateway.hosts."
        );
    }

    proptest! {
        /// Whatever comes, what is let in is an address, `localhost` or a name that was given.
        #[test]
        fn nothing_else_gets_in(text in "[a-z0-9.:%\\[\\]@ -]{0,24}|([a-z]{1,3}\\.)?(kiosk|localhost)\\.?(:[0-9]{0,6})?") {
            let hosts = Hosts::new(&[HostRule::Name("kiosk".into())]);
            if let Ok(Some(Authority { host: Host::Name(name), .. })) = check_host(None, [text.as_bytes()], true, &hosts) {
                prop_assert!(name == "kiosk" || name == "localhost" || name.ends_with(".localhost"), "{name}");
                prop_assert!(text.starts_with(&name));
            }
        }

        #[test]
        fn an_authority_reads_as_it_is_written(host in "([a-z0-9_-]{1,8}\\.){0,3}[a-z]{1,8}", port in any::<Option<u16>>()) {
            let text = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
            prop_assert_eq!(Authority::parse(&text), Some(Authority { host: Host::Name(host), port }));
        }
    }
}
