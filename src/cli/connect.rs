//! Where requests go: to a gateway, to one service, or to the services of a settings file.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::http::uri::Authority;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::CliError;
use crate::client::{Client, Endpoint, http};
use crate::protocol::{DEFAULT_MAX_LINE_BYTES, Raw, Response, raw, raw_null, write_request};
use crate::settings::{GATEWAY_PORT, Service, Settings};

/// The gateway that is tried where nothing says where to send.
const DEFAULT_URL: &str = "http://127.0.0.1:9480";

/// The variable that holds a URL where `--url` is not given.
const URL_VARIABLE: &str = "SHMOOZE_URL";

/// What a path segment holds of a service's name as it stands (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which kind of service a verb is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Queue,
    Pool,
}

impl Kind {
    /// What the service is called where nothing else is said, and what its kind is called.
    const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Pool => "pool",
        }
    }

    fn is_of(self, service: &Service) -> bool {
        service.kind() == self.name()
    }
}

/// The services that can be spoken to.
#[derive(Debug)]
pub(super) struct Services {
    route: Route,
    /// The one named by `--service`.
    chosen: Option<String>,
    timeout: Duration,
}

#[derive(Debug)]
enum Route {
    /// A gateway, by its URL without a slash at the end.
    Gateway(String),
    /// One service, whatever it is called.
    One(Endpoint),
    /// The services of these settings, on this machine.
    Local(Box<Settings>),
}

impl Services {
    /// The services to send to; the order is told in `shmz --help`.
    ///
    /// # Errors
    /// [`CliError::Usage`] where a URL or the settings are at fault.
    pub(super) fn find(
        url: Option<&str>,
        settings: Option<&Path>,
        chosen: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let variable = std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
        let route = Route::choose(url, settings, variable.as_deref())?;
        if let (Route::One(endpoint), Some(chosen)) = (&route, chosen) {
            let sentence = format!("The URL names the one service at {endpoint}: --service {chosen} has no place beside it.");
            return Err(CliError::Usage(sentence));
        }
        Ok(Self { route, chosen: chosen.map(str::to_owned), timeout })
    }

    /// The name of the service to use for a verb that is for these kinds, the first of which is tried first.
    ///
    /// # Errors
    /// [`CliError::Usage`] where there is none, or several to choose from.
    pub(super) fn of_kind(&self, kinds: &[Kind]) -> Result<String, CliError> {
        match &self.route {
            Route::Local(settings) => choose(settings, self.chosen.as_deref(), kinds).map_err(CliError::Usage),
            Route::Gateway(_) | Route::One(_) => {
                let default = kinds.first().map_or("queue", |kind| kind.name());
                Ok(self.chosen.clone().unwrap_or_else(|| default.to_owned()))
            }
        }
    }

    /// The names of all queues and pools, or of the one that was chosen.
    ///
    /// # Errors
    /// [`CliError::Usage`] where there is none.
    pub(super) fn brokers(&self) -> Result<Vec<String>, CliError> {
        match (&self.route, &self.chosen) {
            (Route::Local(settings), None) => {
                let lists = settings.services.iter().filter(|(_, service)| service.lists().is_some());
                let names: Vec<String> = lists.map(|(name, _)| name.clone()).collect();
                if names.is_empty() { self.of_kind(&[Kind::Queue, Kind::Pool]).map(|name| vec![name]) } else { Ok(names) }
            }
            _ => self.of_kind(&[Kind::Queue, Kind::Pool]).map(|name| vec![name]),
        }
    }

    /// Asks `service` for `cmd` with `args`, and returns its result, `null` where it has none.
    ///
    /// # Errors
    /// [`CliError::Refused`] with the service's own words, or whatever kept it from answering.
    pub(super) async fn ask<T: Serialize>(&self, service: &str, cmd: &str, args: Option<&T>) -> Result<Raw, CliError> {
        let args = args.map(raw).transpose().map_err(|error| CliError::Usage(format!("Arguments are not JSON: {error}.")))?;
        let mut line = Vec::new();
        write_request(cmd, args.as_deref(), &mut line);
        let answer = self.send(service, line).await?;
        result(Response::parse(&answer).map_err(|_| self.senseless(service))?)
    }

    /// Asks `service` for several things at once, none of which has arguments; one response each.
    ///
    /// # Errors
    /// As for [`Services::send`].
    pub(super) async fn ask_all<const N: usize>(&self, service: &str, cmds: [&str; N]) -> Result<[Response; N], CliError> {
        let mut line = b"[".to_vec();
        for (index, cmd) in cmds.into_iter().enumerate() {
            line.extend_from_slice(if index > 0 { b", " } else { b"" });
            write_request(cmd, None, &mut line);
        }
        line.push(b']');
        let answer = self.send(service, line).await?;
        // A service that is no queue and no pool may refuse a list as a whole.
        if let Ok(Response::Failure(error)) = Response::parse(&answer) {
            return Err(CliError::Refused(error));
        }
        let responses = std::str::from_utf8(&answer).ok().and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
        let responses = responses.unwrap_or_default().into_iter().map(|text| Response::parse(text.get().as_bytes()));
        let responses: Result<Vec<Response>, _> = responses.collect();
        responses.ok().and_then(|responses| responses.try_into().ok()).ok_or_else(|| self.senseless(service))
    }

    /// Sends one line of JSON, a request or a list of them, to `service`, and returns the line that it answers.
    ///
    /// # Errors
    /// [`CliError::Unreachable`] or [`CliError::TimedOut`] where there is no answer, [`CliError::Refused`] where the
    /// gateway itself refused, [`CliError::Usage`] where there is no such service.
    pub(super) async fn send(&self, service: &str, line: Vec<u8>) -> Result<Bytes, CliError> {
        match &self.route {
            Route::Gateway(url) => self.post(&format!("{url}/{}", utf8_percent_encode(service, SEGMENT)), line).await,
            Route::One(endpoint) => self.exchange(endpoint.clone(), DEFAULT_MAX_LINE_BYTES, &line).await,
            Route::Local(settings) => {
                let port = port(settings, service).map_err(CliError::Usage)?;
                self.exchange(Endpoint::local(port), settings.max_line_bytes, &line).await
            }
        }
    }

    async fn exchange(&self, endpoint: Endpoint, max_line_bytes: usize, line: &[u8]) -> Result<Bytes, CliError> {
        Ok(Client::with(endpoint, max_line_bytes, self.timeout).request_line(line).await?)
    }

    async fn post(&self, url: &str, body: Vec<u8>) -> Result<Bytes, CliError> {
        let Ok(answer) = tokio::time::timeout(self.timeout, http::post_json(url, body.into())).await else {
            return Err(CliError::TimedOut(format!("{url} did not answer within {} ms.", self.timeout.as_millis())));
        };
        let (status, body) = answer?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let Ok(Response::Failure(error)) = Response::parse(&body) else {
            return Err(CliError::Unreachable(format!("{url} answered with the status {status}.")));
        };
        Err(match status {
            StatusCode::BAD_GATEWAY => CliError::Unreachable(error),
            StatusCode::GATEWAY_TIMEOUT => CliError::TimedOut(error),
            _ => CliError::Refused(error),
        })
    }

    /// What is said of an answer of `service` that is not what was asked for.
    pub(super) fn senseless(&self, service: &str) -> CliError {
        let place = match &self.route {
            Route::Gateway(url) => format!("Service {service} at {url}"),
            Route::One(endpoint) => format!("Service at {endpoint}"),
            Route::Local(_) => format!("Service {service}"),
        };
        CliError::Unreachable(format!("{place} gave an answer that makes no sense."))
    }
}

/// The result that a response holds, `null` where it has none.
pub(super) fn result(response: Response) -> Result<Raw, CliError> {
    match response {
        Response::Success(result) => Ok(result.unwrap_or_else(raw_null)),
        Response::Failure(error) => Err(CliError::Refused(error)),
    }
}

impl Route {
    fn choose(url: Option<&str>, settings: Option<&Path>, variable: Option<&str>) -> Result<Self, CliError> {
        if let Some(url) = url {
            return Self::parse(url).map_err(CliError::Usage);
        }
        if settings.is_none() {
            if let Some(url) = variable {
                return Self::parse(url).map_err(|error| CliError::Usage(format!("{URL_VARIABLE}: {error}")));
            }
            let file = Settings::file_of(None);
            if file == Path::new(crate::settings::DEFAULT_FILE) && !file.exists() {
                return Ok(Self::Gateway(DEFAULT_URL.to_owned()));
            }
        }
        Ok(Self::Local(Box::new(Settings::load(settings)?)))
    }

    fn parse(url: &str) -> Result<Self, String> {
        let scheme = url.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        match scheme {
            Some((scheme, rest)) if scheme == "tcp" => match endpoint(rest.trim_end_matches('/')) {
                Some(endpoint) => Ok(Self::One(endpoint)),
                None => Err(format!("{url:?} is not a URL of the form tcp://HOST:PORT.")),
            },
            // What is wrong with it is said when it is used.
            Some((scheme, _)) if scheme == "http" || scheme == "https" => match url.find(['?', '#']) {
                Some(_) => Err(format!("{url:?} is not a URL of the form http://HOST[:PORT][/PREFIX].")),
                None => Ok(Self::Gateway(url.trim_end_matches('/').to_owned())),
            },
            _ => Err(format!("{url:?} is not a URL that starts with http:// or tcp://.")),
        }
    }
}

fn endpoint(authority: &str) -> Option<Endpoint> {
    let authority: Authority = authority.parse().ok().filter(|_| !authority.contains('@'))?;
    // An IPv6 address stands in brackets, which the resolver does not know.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some(Endpoint::Tcp { host, port })
}

/// The service to use, or a sentence.
fn choose(settings: &Settings, chosen: Option<&str>, kinds: &[Kind]) -> Result<String, String> {
    let wanted = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
    if let Some(name) = chosen {
        port(settings, name)?;
        return match settings.services.get(name) {
            Some(service) if !kinds.iter().any(|kind| kind.is_of(service)) => {
                Err(format!("Service {name} is of the kind {:?}, and this is for a {wanted}.", service.kind()))
            }
            _ => Ok(name.to_owned()),
        };
    }
    for kind in kinds {
        // The original's settings tell ports and no kinds: a service called `queue` is one.
        let is_one =
            settings.services.get(kind.name()).map_or(settings.ports.contains_key(kind.name()), |service| kind.is_of(service));
        if is_one {
            return Ok(kind.name().to_owned());
        }
        let names: Vec<&str> =
            settings.services.iter().filter(|(_, service)| kind.is_of(service)).map(|(name, _)| name.as_str()).collect();
        match names.as_slice() {
            [] => {}
            [name] => return Ok((*name).to_owned()),
            names => return Err(format!("There are several {}s, choose one with --service: {}.", kind.name(), names.join(", "))),
        }
    }
    Err(format!("There is no {wanted} in {}.", settings.file.display()))
}

/// The port of a service, or a sentence.
fn port(settings: &Settings, service: &str) -> Result<u16, String> {
    let services = || settings.ports.iter().filter(|(name, _)| *name != GATEWAY_PORT);
    if let Some((_, port)) = services().find(|(name, _)| *name == service) {
        return Ok(*port);
    }
    let known: Vec<&str> = services().map(|(name, _)| name.as_str()).collect();
    let known = if known.is_empty() { "no service".to_owned() } else { known.join(", ") };
    Err(format!("There is no service {service:?} in {}; it has {known}.", settings.file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::parse(text, Path::new("/s.json")).unwrap()
    }

    fn chosen(text: &str, name: Option<&str>, kinds: &[Kind]) -> String {
        choose(&settings(text), name, kinds).unwrap_or_else(|sentence| sentence)
    }

    const BOTH: &[Kind] = &[Kind::Queue, Kind::Pool];

    #[test]
    fn the_original_has_ports_alone() {
        let text = r#"{"ports": {"queue": 1, "pool": 2, "nlp": 3, "wsgi": 4}}"#;
        assert_eq!(chosen(text, None, &[Kind::Queue]), "queue");
        assert_eq!(chosen(text, None, &[Kind::Pool]), "pool");
        assert_eq!(chosen(text, None, BOTH), "queue");
        assert_eq!(chosen(text, Some("nlp"), BOTH), "nlp", "it may be a queue of another make");
        assert_eq!(chosen(text, Some("wsgi"), BOTH), "There is no service \"wsgi\" in /s.json; it has queue, pool, nlp.");
        assert_eq!(chosen("{}", Some("x"), BOTH), "There is no service \"x\" in /s.json; it has no service.");
        assert_eq!(chosen("{}", None, BOTH), "There is no queue or pool in /s.json.");
    }

    #[test]
    fn the_only_one_of_the_kind() {
        let text = r#"{"ports": {"music": 1, "tiles": 2}, "services": {"music": {"kind": "queue"}, "tiles": {"kind": "pool"}}}"#;
        assert_eq!(chosen(text, None, BOTH), "music");
        assert_eq!(chosen(text, None, &[Kind::Pool]), "tiles");
        assert_eq!(chosen(text, Some("tiles"), BOTH), "tiles");
        assert_eq!(
            chosen(text, Some("tiles"), &[Kind::Queue]),
            "Service tiles is of the kind \"pool\", and this is for a queue."
        );
    }

    #[test]
    fn several_of_the_kind() {
        let text = r#"{"ports": {"a": 1, "b": 2}, "services": {"a": {"kind": "queue"}, "b": {"kind": "queue"}}}"#;
        assert_eq!(chosen(text, None, BOTH), "There are several queues, choose one with --service: a, b.");
        assert_eq!(chosen(text, None, &[Kind::Pool]), "There is no pool in /s.json.");
        assert_eq!(chosen(text, Some("b"), BOTH), "b");
        let text = r#"{"ports": {"a": 1, "queue": 2}, "services": {"a": {"kind": "queue"}, "queue": {"kind": "queue"}}}"#;
        assert_eq!(chosen(text, None, BOTH), "queue");
        let text = r#"{"ports": {"a": 1, "queue": 2}, "services": {"a": {"kind": "queue"}, "queue": {"kind": "pool"}}}"#;
        assert_eq!(chosen(text, None, BOTH), "a", "a pool that is called queue is no queue");
    }

    #[test]
    fn urls() {
        let parse = |url: &str| match Route::parse(url) {
            Ok(Route::Gateway(url)) => url,
            Ok(Route::One(endpoint)) => format!("one {endpoint}"),
            Ok(Route::Local(_)) => "local".to_owned(),
            Err(sentence) => sentence,
        };
        assert_eq!(parse("http://a:1"), "http://a:1");
        assert_eq!(parse("http://a/api/"), "http://a/api");
        assert_eq!(parse("tcp://localhost:15580"), "one localhost:15580");
        assert_eq!(parse("TCP://[::1]:80/"), "one [::1]:80");
        for bad in ["tcp://a", "tcp://:80", "tcp://a:0", "tcp://a:99999", "tcp://a:1/x", "tcp://u@a:1", "tcp://"] {
            assert_eq!(parse(bad), format!("{bad:?} is not a URL of the form tcp://HOST:PORT."));
        }
        assert_eq!(parse("http://a?b"), "\"http://a?b\" is not a URL of the form http://HOST[:PORT][/PREFIX].");
        for bad in ["localhost:80", "", "ftp://a"] {
            assert_eq!(parse(bad), format!("{bad:?} is not a URL that starts with http:// or tcp://."));
        }
    }

    #[test]
    fn what_is_said_first_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.json");
        std::fs::write(&file, r#"{"ports": {"queue": 1}}"#).unwrap();
        let choose = |url, settings, variable| Route::choose(url, settings, variable);
        assert!(matches!(choose(Some("http://a"), Some(&file), Some("tcp://b:1")), Ok(Route::Gateway(url)) if url == "http://a"));
        assert!(matches!(choose(None, Some(&file), Some("tcp://b:1")), Ok(Route::Local(_))));
        assert!(matches!(choose(None, None, Some("tcp://b:1")), Ok(Route::One(_))));
        let sentence = choose(None, None, Some("b")).unwrap_err().to_string();
        assert_eq!(sentence, "SHMOOZE_URL: \"b\" is not a URL that starts with http:// or tcp://.");
    }
}
