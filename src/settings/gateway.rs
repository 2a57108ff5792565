//! The gateway's own settings: the top-level object `gateway`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::read::{Node, Reader};
use super::read_service::read_milliseconds;
use crate::access::{HostRule, Origin, ProxyRule};

/// What a message or body may be limited to, in bytes: 1 KiB to 1 GiB.
pub(super) const MESSAGE_BYTES: RangeInclusive<u64> = 1024..=1 << 30;

/// How many connections may be allowed.
const CONNECTIONS: RangeInclusive<u64> = 1..=1_000_000;

/// What a page may do unless the settings say otherwise: whatever comes from the gateway itself and stands in a file of its own.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Which requests the journal is told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// All of them.
    All,
    /// Those that may have changed something, and those that were refused.
    #[default]
    Changes,
    /// Those that were refused, failed, or had no answer.
    Errors,
    /// None.
    None,
}

impl AccessLog {
    fn from_name(name: &str) -> Option<Self> {
        [Self::All, Self::Changes, Self::Errors, Self::None].into_iter().find(|log| log.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Changes => "changes",
            Self::Errors => "errors",
            Self::None => "none",
        }
    }
}

/// Where the gateway listens, and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The address that it binds; loopback unless the settings say otherwise.
    pub address: IpAddr,
    /// Longest body taken of a request, in bytes; `max_line_bytes` unless the settings say otherwise.
    pub max_body_bytes: usize,
    /// How long a service may be silent before the client is answered 504.
    pub service_timeout: Duration,
    /// How long a connection may be open without a request.
    pub idle_timeout: Duration,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How many clients may be connected at once.
    pub max_connections: usize,
    /// How many of them may follow events at once.
    pub max_event_streams: usize,
    /// Whether it tells what it counts, at `/metrics`.
    pub metrics: bool,
    /// Names by which it may be asked, besides those that it has anyway ([`Hosts`](crate::access::Hosts)).
    pub hosts: Vec<HostRule>,
    /// Pages of other sites that may ask it.
    pub origins: Vec<Origin>,
    /// Proxies that are believed when they say for whom they ask.
    pub proxies: Vec<ProxyRule>,
    /// The header `Content-Security-Policy` of its answers; empty where there is to be none.
    pub content_security_policy: Cow<'static, str>,
    /// Which requests the journal is told of.
    pub access_log: AccessLog,
}

impl Gateway {
    /// The defaults, where a line of JSON may be as long as `max_line_bytes`.
    #[must_use]
    pub const fn with_max_line_bytes(max_line_bytes: usize) -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            max_body_bytes: max_line_bytes,
            service_timeout: Duration::from_millis(10_000),
            idle_timeout: Duration::from_millis(75_000),
            header_timeout: Duration::from_millis(10_000),
            max_connections: 10_000,
            max_event_streams: 8_000,
            metrics: true,
            hosts: Vec::new(),
            origins: Vec::new(),
            proxies: Vec::new(),
            content_security_policy: Cow::Borrowed(CONTENT_SECURITY_POLICY),
            access_log: AccessLog::Changes,
        }
    }

    /// Reads the object; what is at fault in it keeps its default.
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node<'_>, max_line_bytes: usize) -> Self {
        const KEYS: [&str; 13] = [
            "address",
            "max_body_bytes",
            "service_timeout",
            "idle_timeout",
            "header_timeout",
            "max_connections",
            "max_event_streams",
            "metrics",
            "hosts",
            "origins",
            "proxies",
            "content_security_policy",
            "access_log",
        ];
        let mut gateway = Self::with_max_line_bytes(max_line_bytes);
        let Some(fields) = reader.object_of(node, &KEYS) else { return gateway };
        if let Some(node) = fields.get("address") {
            match node.value.as_str().and_then(|text| text.parse().ok()) {
                Some(address) => gateway.address = address,
                None => reader.expected(&node, "an IP address such as \"127.0.0.1\" or \"::1\""),
            }
        }
        if let Some(bytes) = fields.get("max_body_bytes").and_then(|node| read_size(reader, &node, "bytes", &MESSAGE_BYTES)) {
            gateway.max_body_bytes = bytes;
        }
        for (key, time) in [
            ("service_timeout", &mut gateway.service_timeout),
            ("idle_timeout", &mut gateway.idle_timeout),
            ("header_timeout", &mut gateway.header_timeout),
        ] {
            if let Some(given) = fields.get(key).and_then(|node| read_milliseconds(reader, &node)) {
                *time = given;
            }
        }
        for (key, units, most) in [
            ("max_connections", "connections", &mut gateway.max_connections),
            ("max_event_streams", "streams", &mut gateway.max_event_streams),
        ] {
            if let Some(number) = fields.get(key).and_then(|node| read_size(reader, &node, units, &CONNECTIONS)) {
                *most = number;
            }
        }
        if let Some(metrics) = fields.get("metrics").and_then(|node| reader.truth(&node)) {
            gateway.metrics = metrics;
        }
        if let Some(node) = fields.get("hosts") {
            let expected = "a name such as \"kiosk.example\", \".example\" for all that end in it, or \"*\" for any";
            gateway.hosts = read_list(reader, &node, "a list of names of hosts", HostRule::parse, expected);
        }
        if let Some(node) = fields.get("origins") {
            let expected = "an origin such as \"https://kiosk.example\" or \"http://10.0.0.5:8080\"";
            gateway.origins = read_list(reader, &node, "a list of origins", Origin::parse, expected);
        }
        if let Some(node) = fields.get("proxies") {
            let expected = "an IP address such as \"127.0.0.1\", a network such as \"10.0.0.0/8\" with no bits set behind its prefix, \
                or \"unix\" for whoever connects over a Unix socket";
            gateway.proxies = read_list(reader, &node, "a list of proxies", ProxyRule::parse, expected);
        }
        if let Some(node) = fields.get("content_security_policy") {
            match node.value.as_str().filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
                Some(policy) => gateway.content_security_policy = Cow::Owned(policy.to_owned()),
                None => reader.expected(&node, "a policy in one line of ASCII such as \"default-src 'self'\", or \"\" for none"),
            }
        }
        if let Some(node) = fields.get("access_log") {
            match node.value.as_str().and_then(AccessLog::from_name) {
                Some(log) => gateway.access_log = log,
                None => reader.expected(&node, "\"all\", \"changes\", \"errors\" or \"none\""),
            }
        }
        gateway
    }

    pub(super) fn to_json(&self) -> Value {
        let milliseconds = |time: Duration| Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Map::from_iter([
            ("address".to_owned(), self.address.to_string().into()),
            ("max_body_bytes".to_owned(), self.max_body_bytes.into()),
            ("service_timeout".to_owned(), milliseconds(self.service_timeout)),
            ("idle_timeout".to_owned(), milliseconds(self.idle_timeout)),
            ("header_timeout".to_owned(), milliseconds(self.header_timeout)),
            ("max_connections".to_owned(), self.max_connections.into()),
            ("max_event_streams".to_owned(), self.max_event_streams.into()),
            ("metrics".to_owned(), self.metrics.into()),
            ("hosts".to_owned(), self.hosts.iter().map(ToString::to_string).collect()),
            ("origins".to_owned(), self.origins.iter().map(ToString::to_string).collect()),
            ("proxies".to_owned(), self.proxies.iter().map(ToString::to_string).collect()),
            ("content_security_policy".to_owned(), (*self.content_security_policy).into()),
            ("access_log".to_owned(), self.access_log.name().into()),
        ])
        .into()
    }
}

/// A list of texts that `parse` knows; others are noted as not what is expected, and left out.
fn read_list<T>(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    expected_list: &str,
    parse: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Vec<T> {
    let nodes = reader.list(node, expected_list).unwrap_or_default();
    let mut items = Vec::new();
    for node in &nodes {
        match node.value.as_str().and_then(&parse) {
            Some(item) => items.push(item),
            None => reader.expected(node, expected),
        }
    }
    items
}

/// A whole number within `range`, as a size.
pub(super) fn read_size(reader: &mut Reader<'_>, node: &Node<'_>, units: &str, range: &RangeInclusive<u64>) -> Option<usize> {
    reader.whole(node, units, range).and_then(|number| usize::try_from(number).ok())
}
