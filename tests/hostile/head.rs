//! What the gateway makes of the heads of requests: the input is what a client sends on one connection.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Collected, Full};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version, body};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shmooze::access::{Grant, Guard, HostRule, Hosts, Level, Origin, Token, Tokens};
use shmooze::client::Endpoint;
use shmooze::gateway::{Configuration, Gateway};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::sentence;

const PUBLIC: &str = "anybody may read this";
const SECRET: &str = "nobody may read this";
const TOKENS: [(&str, Level); 2] = [("view-view-view-view", Level::View), ("root-root-root-root", Level::Remove)];

/// A gateway before an open service `queue` and a guarded one `pool`, neither of which is there.
struct World {
    runtime: Runtime,
    gateway: Gateway,
    _folder: TempDir,
}

thread_local!(static WORLD: World = World::new());

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text| std::fs::write(folder.path().join(path), text).unwrap();
        for path in ["files", "files/below", "files/.below"] {
            std::fs::create_dir(folder.path().join(path)).unwrap();
        }
        ["files/index.html", "files/a b.txt", "files/below/x.css"].into_iter().for_each(|path| write(path, PUBLIC));
        ["secret", "files/.secret", "files/.below/secret"].into_iter().for_each(|path| write(path, SECRET));
        let grants = TOKENS.map(|(token, level)| Grant { token: Token::parse(token).unwrap(), level });
        let guard = Guard { grants: grants.into(), ..Guard::default() };
        let nowhere = |name: &str| (name.to_owned(), Endpoint::Unix(Path::new("/nowhere").join(name)));
        let gateway = Gateway::new(Configuration {
            services: [nowhere("queue"), nowhere("pool")].into(),
            static_path: Some(folder.path().join("files")),
            hosts: Hosts::new(&[HostRule::parse(".kiosk.example").unwrap()]),
            origins: vec![Origin::parse("https://page.example").unwrap()],
            tokens: Arc::new(Tokens { endpoints: [("pool".to_owned(), Arc::new(guard))].into(), others: None }),
            ..Configuration::default()
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, gateway, _folder: folder }
    }
}

/// Whatever a client sends, each request has an answer; nobody gets further than his host, his page and his token let him, as
/// far as can be told of them by simpler means; and no file is read that is not public.
pub fn check(input: &[u8]) {
    WORLD.with(|world| {
        let service = service_fn(|request: Request<body::Incoming>| async {
            let (parts, body) = request.into_parts();
            let answer = world.gateway.handle(Request::from_parts(parts.clone(), body)).await;
            let (head, body) = answer.into_parts();
            // One that breaks off is a client's affair.
            let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
            judge(&parts, head.status, &head.headers, &body);
            Ok::<_, Infallible>(Response::from_parts(head, Full::new(body)))
        });
        let mut http = http1::Builder::new();
        http.half_close(true).max_buf_size(16 * 1024).header_read_timeout(None);
        let stream = TokioIo::new(tokio::io::join(input, tokio::io::sink()));
        // What is no HTTP is answered by the library.
        let _ = world.runtime.block_on(http.serve_connection(stream, service));
    });
}

fn judge(parts: &Parts, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    // What is refused may be quoted.
    assert!(!status.is_success() || !text.contains(SECRET), "{parts:?}");
    let is_failure = status.is_client_error() || status.is_server_error();
    match headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap()) {
        Some("text/json") if is_failure => {
            let answer: Value = serde_json::from_slice(body).unwrap();
            sentence::check(answer["error"].as_str().unwrap());
        }
        Some(_) if is_failure && !body.is_empty() => sentence::check(text.trim_end_matches('\n')),
        _ => {}
    }
    let host = host(parts);
    let is_refused = [400, 421].contains(&status.as_u16()) && !text.contains("JSON") && !text.contains("Body");
    if is_refused {
        assert!(host.as_ref().is_none_or(|host| !is_ours(&host.0)), "{parts:?}: {text}");
        return;
    }
    match &host {
        Some((name, _)) => assert!(is_ours(name), "{parts:?}: {status}"),
        None => {
            let sent: Vec<_> = values(&parts.headers, &HOST).collect();
            assert!(sent == [""] || (sent.is_empty() && parts.version == Version::HTTP_10), "{parts:?}: {status}");
        }
    }
    let origins: Vec<&str> = values(&parts.headers, &ORIGIN).collect();
    if let Some(allowed) = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN) {
        assert!(origins == [allowed.to_str().unwrap()] && is_listed(origins[0]), "{parts:?}");
    }
    let is_harmless = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method);
    if !is_harmless && status != StatusCode::FORBIDDEN {
        let is_own = |origin: &str| is_listed(origin) || is_of(origin, host.as_ref());
        assert!(origins.len() <= 1 && origins.iter().all(|origin| is_own(origin)), "{parts:?}: {status}");
        let sites = HeaderName::from_static("sec-fetch-site");
        let is_foreign = values(&parts.headers, &sites).any(|site| !["same-origin", "none"].contains(&site));
        assert!(!is_foreign || origins.iter().any(|origin| is_listed(origin)), "{parts:?}: {status}");
    }
    let tokens: Vec<&str> = values(&parts.headers, &AUTHORIZATION).collect();
    let is_known =
        |header: &str| TOKENS.iter().any(|(token, _)| header.to_ascii_lowercase().trim_start_matches("bearer").trim() == *token);
    let asks_pool = parts.method == Method::POST && first_of(parts.uri.path()) == "pool";
    if status == StatusCode::UNAUTHORIZED {
        assert!(asks_pool && !(tokens.len() == 1 && TOKENS.iter().any(|(token, _)| tokens[0] == format!("Bearer {token}"))));
    } else if asks_pool && status != StatusCode::FORBIDDEN {
        assert!(tokens.len() == 1 && is_known(tokens[0]), "{parts:?}: {status}");
    }
}

/// The texts of a header; one that is no text is some other.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or("\u{fffd}"))
}

/// Name and port of whom the request is for, where it says so once and clearly.
fn host(parts: &Parts) -> Option<(String, Option<u16>)> {
    let mut headers = values(&parts.headers, &HOST);
    let said = headers.next().or(parts.uri.authority().map(Authority::as_str))?;
    if headers.next().is_some() { None } else { split(said) }
}

/// `HOST:PORT`, the host as it is compared.
fn split(text: &str) -> Option<(String, Option<u16>)> {
    let colon = text.rfind(':').filter(|at| text[at + 1..].bytes().all(|byte| byte.is_ascii_digit()));
    let (host, port) = colon.map_or((text, ""), |at| (&text[..at], &text[at + 1..]));
    let port = if port.is_empty() { None } else { Some(port.parse().ok()?) };
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address = address.split('%').next()?.parse::<Ipv6Addr>().ok()?;
        return Some((format!("[{address}]"), port));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_name = name.split('.').all(|label| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
    });
    is_name.then_some((name, port))
}

fn is_ours(name: &str) -> bool {
    let is_address = name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok();
    let is_at_or_below = |domain: &str| name == domain || name.ends_with(&format!(".{domain}"));
    is_address || is_at_or_below("localhost") || is_at_or_below("kiosk.example")
}

fn is_listed(origin: &str) -> bool {
    let is = |scheme: &str, rest: &str| {
        scheme.eq_ignore_ascii_case("https")
            && split(rest).is_some_and(|(name, port)| name == "page.example" && port.is_none_or(|port| port == 443))
    };
    origin.split_once("://").is_some_and(|(scheme, rest)| is(scheme, rest))
}

fn is_of(origin: &str, host: Option<&(String, Option<u16>)>) -> bool {
    let (Some((scheme, rest)), Some(host)) = (origin.split_once("://"), host) else { return false };
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    split(rest).is_some_and(|(name, port)| name == host.0 && port.unwrap_or(default) == host.1.unwrap_or(default))
}

/// The first step of a path, decoded.
fn first_of(path: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (bytes, mut out, mut at) = (path.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out)
        .unwrap_or_default()
        .strip_prefix('/')
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}
