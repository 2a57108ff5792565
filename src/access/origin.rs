//! Whether a request was made by a page of another site.
//!
//! Browsers say in `Origin` which page makes a request that may change something, and most say in `Sec-Fetch-Site` how it
//! is related to whom it is made to; no page can say otherwise. Who is no browser says nothing.

use std::fmt;

use super::host::{Authority, Host};
use crate::protocol::shown;

/// How a page is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Over HTTP.
    Http,
    /// Over HTTPS.
    Https,
}

impl Scheme {
    /// The one called `name`, in whatever capitals.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    /// Its name in URLs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where a page comes from: `scheme://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: Host,
    /// As it is written, or that of the scheme where that has one.
    port: Option<u16>,
}

impl Origin {
    /// Reads one; `null`, which is what a browser says that does not tell, is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme || authority.ends_with(':') {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let Authority { host, port } = Authority::parse(authority)?;
        let port = port.or(default_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// Whether a page from here that asks `authority` by `scheme` asks where it comes from. Which of both schemes that is may not
    /// be known, where a proxy may speak HTTPS for the gateway.
    fn is_at(&self, authority: &Authority, scheme: Option<Scheme>) -> bool {
        let default = default_port(&self.scheme);
        let is_scheme = default.is_some() && scheme.is_none_or(|scheme| scheme.name() == self.scheme);
        is_scheme && self.host == authority.host && self.port == authority.port.or(default)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if self.port != default_port(&self.scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A program, a person, or the gateway's own page.
    Own,
    /// A page of another site, which the settings list (`gateway.origins`).
    Listed,
}

/// Why a request of a page is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// `Origin` is another's.
    #[error("Pages of {} may not ask here; the gateway's settings may add it to gateway.origins.", shown(.0))]
    Foreign(String),
    /// `Sec-Fetch-Site` says so.
    #[error("Pages of other sites may not ask here.")]
    CrossSite,
}

/// Answers who makes a request to `authority`, by the values of the headers `Origin` and `Sec-Fetch-Site`. By which `scheme` the
/// browser asks is `None` where nobody has said so who is believed.
///
/// # Errors
/// [`SenderError`] where it is the page of another site that is not `listed`.
pub fn check_sender<'a>(
    origins: impl IntoIterator<Item = &'a [u8]>,
    sites: impl IntoIterator<Item = &'a [u8]>,
    authority: Option<&Authority>,
    scheme: Option<Scheme>,
    listed: &[Origin],
) -> Result<Sender, SenderError> {
    let mut origins = origins.into_iter();
    if let Some(text) = origins.next() {
        let foreign = || SenderError::Foreign(String::from_utf8_lossy(text).into_owned());
        let origin = std::str::from_utf8(text).ok().and_then(Origin::parse).ok_or_else(foreign)?;
        if origins.next().is_some() {
            return Err(foreign());
        }
        if listed.contains(&origin) {
            return Ok(Sender::Listed);
        }
        if !authority.is_some_and(|authority| origin.is_at(authority, scheme)) {
            return Err(foreign());
        }
    }
    // "none" is a person, by the address bar or a bookmark. "same-site" is another port, or another name below one domain.
    let is_own = |site: &[u8]| matches!(site, b"same-origin" | b"none");
    if sites.into_iter().all(is_own) { Ok(Sender::Own) } else { Err(SenderError::CrossSite) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_an_origin() {
        for (text, expected) in [
            ("http://localhost:9480", "http://localhost:9480"),
            ("HTTPS://Kiosk.Example.:443", "https://kiosk.example"),
            ("http://kiosk.example:80", "http://kiosk.example"),
            ("https://kiosk.example:80", "https://kiosk.example:80"),
            ("http://[::1]:9480", "http://[::1]:9480"),
            ("app://-", "app://-"),
            ("chrome-extension://abc", "chrome-extension://abc"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), expected);
        }
        for text in [
            "",
            "null",
            "kiosk.example",
            "//kiosk",
            "://kiosk",
            "http://",
            "http:/kiosk",
            "http://kiosk/",
            "http://kiosk/x",
            "http://u@kiosk",
            "http://kiosk:",
            "http://kiosk:65536",
            "http://a http://b",
            "http://a,http://b",
            "1http://a",
            "file://",
            "http://kiosk?",
            "*",
            "http://*",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    fn check(origins: &[&str], sites: &[&str], host: Option<&str>) -> Result<Sender, SenderError> {
        let bytes = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        let (origins, sites) = (bytes(origins), bytes(sites));
        let authority = host.map(|host| Authority::parse(host).unwrap());
        let listed = [Origin::parse("https://kiosk.example").unwrap(), Origin::parse("app://-").unwrap()];
        check_sender(origins.iter().map(Vec::as_slice), sites.iter().map(Vec::as_slice), authority.as_ref(), None, &listed)
    }

    #[test]
    fn who_may_ask() {
        for (origins, sites, host) in [
            (&[][..], &[][..], Some("localhost:9480")),
            (&[], &[], None),
            (&[], &["none"], Some("localhost:9480")),
            (&[], &["same-origin"], Some("localhost:9480")),
            (&["http://localhost:9480"], &[], Some("localhost:9480")),
            (&["http://localhost:9480"], &["same-origin"], Some("LOCALHOST.:9480")),
            (&["http://127.0.0.1"], &[], Some("127.0.0.1")),
            (&["http://127.0.0.1"], &[], Some("127.0.0.1:80")),
            (&["http://[::1]:9480"], &[], Some("[0::1]:9480")),
            // A proxy speaks HTTPS for the gateway, and passes on by which name it was asked.
            (&["https://kiosk.lan"], &["same-origin"], Some("kiosk.lan")),
            (&["https://kiosk.lan"], &[], Some("kiosk.lan:443")),
        ] {
            assert_eq!(check(origins, sites, host), Ok(Sender::Own), "{origins:?} {sites:?} {host:?}");
        }
        for sites in [&[][..], &["same-site"], &["cross-site"]] {
            assert_eq!(check(&["https://kiosk.example:443"], sites, Some("127.0.0.1:9480")), Ok(Sender::Listed));
            assert_eq!(check(&["app://-"], sites, None), Ok(Sender::Listed));
        }
    }

    #[test]
    fn who_may_not() {
        for (origin, host) in [
            ("http://evil.example", Some("localhost:9480")),
            ("http://localhost", Some("localhost:9480")),
            ("http://localhost:3000", Some("localhost:9480")),
            ("http://127.0.0.1:9480", Some("localhost:9480")),
            ("http://localhost:9480.evil.example", Some("localhost:9480")),
            ("http://kiosk.example", Some("localhost:9480")),
            ("https://kiosk.example:8443", Some("localhost:9480")),
            ("https://kiosk.lan", Some("kiosk.lan:80")),
            ("ftp://localhost:9480", Some("localhost:9480")),
            ("http://localhost:9480", None),
            ("null", Some("localhost:9480")),
            ("", Some("localhost:9480")),
            ("http://localhost:9480 http://localhost:9480", Some("localhost:9480")),
        ] {
            for sites in [&[][..], &["same-origin"], &["none"]] {
                assert_eq!(check(&[origin], sites, host), Err(SenderError::Foreign(origin.to_owned())), "{origin} {host:?}");
            }
        }
        let twice = ["https://kiosk.example", "http://evil.example"];
        assert!(check(&twice, &[], Some("localhost")).is_err());
        for sites in [&["cross-site"][..], &["same-site"], &["same-origin", "cross-site"], &["Same-Origin"], &[""], &["x"]] {
            assert_eq!(check(&[], sites, Some("localhost")), Err(SenderError::CrossSite), "{sites:?}");
            assert_eq!(check(&["http://localhost"], sites, Some("localhost")), Err(SenderError::CrossSite), "{sites:?}");
        }
        assert_eq!(
            SenderError::Foreign("null".into()).to_string(),
            "Pages of \"null\" may not ask here; the gateway's settings may add it to gateway.origins."
        );
    }

    #[test]
    fn where_it_is_known_how_a_page_was_loaded() {
        let authority = Authority::parse("kiosk.lan").unwrap();
        let check = |origin: &str, scheme| check_sender([origin.as_bytes()], [], Some(&authority), scheme, &[]).is_ok();
        for (origin, http, https) in [
            ("http://kiosk.lan", true, false),
            ("https://kiosk.lan", false, true),
            ("HTTPS://kiosk.lan:443", false, true),
            ("http://kiosk.lan:443", false, false),
            ("ftp://kiosk.lan", false, false),
        ] {
            let found = [Some(Scheme::Http), Some(Scheme::Https), None].map(|scheme| check(origin, scheme));
            assert_eq!(found, [http, https, http || https], "{origin}");
        }
        assert_eq!(["HTTP", "https", "wss", ""].map(Scheme::from_name), [Some(Scheme::Http), Some(Scheme::Https), None, None]);
    }

    proptest! {
        #[test]
        fn an_origin_reads_as_it_is_written(text in "(http|https|app)://([a-z]{1,5}\\.){0,2}[a-z]{1,5}(:[1-9][0-9]{0,3})?") {
            let origin = Origin::parse(&text).unwrap();
            prop_assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
        }
    }
}
