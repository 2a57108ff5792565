//! What holds for all answers: compression, what may be kept, what pages may do.

use std::io::Read;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use shmooze::access::Origin;
use shmooze::gateway::Configuration;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::http::{Http, Reply, request};
use super::rig::{Rig, services, within};
use super::service::{Answering, Service};

/// What is asked for as a browser does.
const BROWSER: (&str, &str) = ("Accept-Encoding", "gzip, deflate, br, zstd");

/// Text of about as many bytes.
fn text(length: usize) -> String {
    (0..length / 8).map(|number| format!("{number:06}, ")).collect()
}

/// The answer of a service that has 200 modules.
fn list() -> String {
    let module =
        |number| json!({"uid": format!("uid {number}"), "type": "slides", "parameters": {"title": number, "state": "suspended"}});
    json!({"success": true, "result": (0..200).map(module).collect::<Vec<_>>()}).to_string()
}

/// A service that answers everything so.
async fn answering(answer: &str) -> Answering {
    let answer = answer.to_owned();
    Service::start().await.answer(move |_| answer.clone())
}

/// A gateway with these files.
async fn with_files(files: &[(&str, &[u8])]) -> (Rig, TempDir) {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let rig = Rig::start(Configuration { static_path: Some(folder.path().into()), ..Configuration::default() }).await;
    (rig, folder)
}

async fn ask(http: &mut Http, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    http.send(request(method, path, headers, body)).await;
    http.try_reply(method == "HEAD").await.unwrap().expect("an answer")
}

async fn get(http: &mut Http, path: &str, headers: &[(&str, &str)]) -> Reply {
    ask(http, "GET", path, headers, "").await
}

fn decoded(reply: &Reply) -> String {
    decode(reply.header("content-encoding"), &reply.body)
}

fn decode(coding: Option<&str>, body: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        None => return String::from_utf8(body.to_vec()).unwrap(),
        Some(other) => panic!("{other}"),
    }
    .unwrap();
    text
}

#[tokio::test]
async fn a_long_list_is_compressed_as_the_client_wants_it() {
    let list = list();
    let service = answering(&list).await;
    let rig = Rig::start(services([("queue", service.endpoint())])).await;
    let mut http = rig.connect().await;
    for (accepted, coding) in [
        (Some("gzip, deflate, br"), Some("br")),
        (Some("gzip;q=1.0, br;q=0.1"), Some("gzip")),
        (Some("br;q=0, *;q=0.5"), Some("gzip")),
        (Some("identity"), None),
        (Some("zstd"), None),
        (None, None),
    ] {
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(accepted.map(|accepted| ("Accept-Encoding", accepted)));
        let reply = ask(&mut http, "POST", "/queue", &headers, r#"{"cmd": "queue"}"#).await;
        assert_eq!((reply.status, reply.header("content-encoding")), (200, coding), "{accepted:?}");
        assert_eq!(reply.header("vary"), Some("accept-encoding"), "{accepted:?}");
        assert_eq!((reply.header("content-type"), reply.header("cache-control")), (Some("text/json"), Some("no-store")));
        assert_eq!(decoded(&reply), list, "{accepted:?}");
        assert!(coding.is_none() || reply.body.len() < list.len() / 4);
    }
}

#[tokio::test]
async fn what_is_short_stays_as_it_is() {
    let short = answering(&json!("x".repeat(1021)).to_string()).await;
    let enough = answering(&json!("x".repeat(1022)).to_string()).await;
    let rig = Rig::start(services([("short", short.endpoint()), ("enough", enough.endpoint())])).await;
    let mut http = rig.connect().await;
    let headers = [("Content-Type", "application/json"), BROWSER];
    let reply = ask(&mut http, "POST", "/short", &headers, "{}").await;
    assert_eq!((reply.header("content-encoding"), reply.header("vary"), reply.body.len()), (None, None, 1023));
    let reply = ask(&mut http, "POST", "/enough", &headers, "{}").await;
    assert_eq!((reply.header("content-encoding"), decoded(&reply).len()), (Some("br"), 1024));
}

#[tokio::test]
async fn files_are_compressed_and_heads_say_so() {
    let script = text(50_000);
    let page = text(9_000);
    let (rig, folder) = with_files(&[("a.js", script.as_bytes()), ("index.html", page.as_bytes())]).await;
    let mut http = rig.connect().await;
    for (path, content) in [("/static/a.js", &script), ("/", &page), ("/static/./index.html", &page)] {
        for (accepted, coding) in [("br", Some("br")), ("gzip", Some("gzip")), ("identity", None), ("br", Some("br"))] {
            let headers = [("Accept-Encoding", accepted)];
            let head = ask(&mut http, "HEAD", path, &headers, "").await;
            let reply = get(&mut http, path, &headers).await;
            for name in ["content-encoding", "content-length", "content-type", "etag", "last-modified", "vary", "cache-control"] {
                assert_eq!(head.header(name), reply.header(name), "{path} {accepted} {name}");
            }
            assert_eq!((reply.status, reply.header("content-encoding")), (200, coding), "{path} {accepted}");
            assert_eq!((reply.header("vary"), reply.header("cache-control")), (Some("accept-encoding"), Some("no-cache")));
            assert_eq!(reply.header("accept-ranges"), coding.is_none().then_some("bytes"));
            assert_eq!(&decoded(&reply), content, "{path} {accepted}");
            // What one has in one coding need not be sent again in another.
            let tag = reply.header("etag").unwrap();
            let again = get(&mut http, path, &[("If-None-Match", tag), BROWSER]).await;
            assert_eq!((again.status, again.header("etag"), again.header("vary")), (304, Some(tag), Some("accept-encoding")));
            assert_eq!((again.header("content-encoding"), again.header("content-length")), (None, None));
        }
    }
    // Another version is another file.
    let changed = text(60_000);
    std::fs::write(folder.path().join("a.js"), &changed).unwrap();
    assert_eq!(decoded(&get(&mut http, "/static/a.js", &[BROWSER]).await), changed);
}

#[tokio::test]
async fn what_is_not_compressed() {
    let script = text(50_000);
    let big = text(3 << 20);
    let names = ["a.png", "a.woff2", "a.mp4", "a.zip", "a.bin", "noext", "a.js", "big.txt", "short.css"];
    let content = |name: &str| match name {
        "big.txt" => big.clone(),
        "short.css" => text(1000),
        _ => script.clone(),
    };
    let contents = names.map(content);
    let files: Vec<_> = names.iter().zip(&contents).map(|(name, content)| (*name, content.as_bytes())).collect();
    let (rig, _folder) = with_files(&files).await;
    let mut http = rig.connect().await;
    for name in names.iter().filter(|name| **name != "a.js") {
        let reply = get(&mut http, &format!("/static/{name}"), &[BROWSER]).await;
        assert_eq!((reply.status, reply.header("content-encoding")), (200, None), "{name}");
        assert_eq!(reply.text(), content(name));
    }
    // Ranges are of the file as it is.
    let reply = get(&mut http, "/static/a.js", &[BROWSER, ("Range", "bytes=2000-5999")]).await;
    assert_eq!((reply.status, reply.header("content-encoding"), reply.text()), (206, None, &script[2000..6000]));
    // A part of a version that may be another is answered with the whole.
    let tag = reply.header("etag").unwrap();
    let reply = get(&mut http, "/static/a.js", &[BROWSER, ("Range", "bytes=2000-5999"), ("If-Range", tag)]).await;
    assert_eq!((reply.status, reply.header("content-encoding"), decoded(&reply)), (200, Some("br"), script));
}

#[tokio::test]
async fn the_public_settings_are_asked_after() {
    let public: Bytes = json!({"list": text(3000)}).to_string().into();
    let rig = Rig::start(Configuration { public: public.clone(), ..Configuration::default() }).await;
    let mut http = rig.connect().await;
    let reply = get(&mut http, "/settings.json", &[BROWSER]).await;
    assert_eq!((reply.header("content-encoding"), reply.header("cache-control")), (Some("br"), Some("no-cache")));
    assert_eq!(decoded(&reply), public);
    let tag = reply.header("etag").unwrap().to_owned();
    for method in ["GET", "HEAD"] {
        let reply = ask(&mut http, method, "/settings.json", &[("If-None-Match", &tag)], "").await;
        assert_eq!((reply.status, reply.header("etag"), reply.header("vary")), (304, Some(&*tag), Some("accept-encoding")));
        assert_eq!((reply.header("cache-control"), reply.header("content-length")), (Some("no-cache"), None));
        assert!(reply.body.is_empty());
    }
    let head = ask(&mut http, "HEAD", "/settings.json", &[], "").await;
    assert_eq!(head.header("content-length"), Some(&*public.len().to_string()));
    // Other settings have another.
    rig.gateway.configure(Configuration::default());
    let reply = get(&mut http, "/settings.json", &[("If-None-Match", &tag)]).await;
    assert_eq!((reply.status, reply.text()), (200, "{}"));
}

#[tokio::test]
async fn every_answer_says_what_a_page_may_do() {
    let service = answering("{}").await;
    let rig = Rig::start(services([("queue", service.endpoint())])).await;
    let mut http = rig.connect().await;
    let json = ("Content-Type", "application/json");
    for (method, path, headers, status) in [
        ("GET", "/settings.json", &[][..], 200),
        ("HEAD", "/settings.json", &[], 200),
        ("GET", "/nope", &[], 404),
        ("GET", "/queue", &[], 405),
        ("GET", "/settings.json", &[("Host", "evil.example")], 400),
        ("POST", "/queue", &[json], 200),
        ("POST", "/queue", &[], 415),
        ("POST", "/queue", &[json, ("Origin", "http://evil.example")], 403),
        ("POST", "/settings.json", &[], 405),
    ] {
        let reply = ask(&mut http, method, path, headers, "[]").await;
        assert_eq!(reply.status, status, "{method} {path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"), "{method} {path}");
        let is_kept = path == "/settings.json" && status == 200;
        assert_eq!(reply.header("cache-control"), Some(if is_kept { "no-cache" } else { "no-store" }), "{method} {path}");
        let of_pages =
            ["content-security-policy", "referrer-policy", "cross-origin-opener-policy"].map(|name| reply.header(name));
        let policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
        let expected = match method {
            "POST" => [None; 3],
            _ => [policy, "same-origin", "same-origin"].map(Some),
        };
        assert_eq!(of_pages, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn another_policy_and_none() {
    let rig = Rig::start(Configuration { content_security_policy: "default-src *".into(), ..Configuration::default() }).await;
    let mut http = rig.connect().await;
    assert_eq!(http.get("/nope").await.header("content-security-policy"), Some("default-src *"));
    rig.gateway.configure(Configuration { content_security_policy: "".into(), ..Configuration::default() });
    let reply = http.get("/nope").await;
    assert_eq!((reply.header("content-security-policy"), reply.header("referrer-policy")), (None, Some("same-origin")));
}

#[tokio::test]
async fn pages_of_listed_sites_may_use_what_is_here() {
    let origins = vec![Origin::parse("https://wall.example").unwrap()];
    let public: Bytes = json!({"list": text(3000)}).to_string().into();
    let rig = Rig::start(Configuration { origins, public, ..Configuration::default() }).await;
    let mut http = rig.connect().await;
    http.send(request("GET", "/settings.json", &[BROWSER, ("Origin", "https://wall.example")], "")).await;
    let reply = http.reply().await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://wall.example"));
    assert_eq!(reply.header("cross-origin-resource-policy"), Some("cross-origin"));
    assert_eq!(reply.headers("vary"), ["Origin", "accept-encoding"], "neither displaces the other");
}

#[tokio::test]
async fn over_http_2_answers_are_compressed_and_events_are_not_held_back() {
    let list = list();
    let queue = answering(&list).await;
    let fake = Service::start().await;
    let configuration = services([("queue", queue.endpoint()), ("fake", fake.endpoint())]);
    let rig = Rig::start(configuration).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = |method: &str, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", rig.address));
        let request = request.header("content-type", "application/json").header(BROWSER.0, BROWSER.1);
        request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
    };
    let mut following = tokio::spawn(sender.send_request(ask("GET", "/fake/events", "")));
    let news = |revision: u64, event: &str| {
        json!({"success": true, "result": {"revision": revision, "events": [{"event": event, "revision": revision, "data": {}}]}})
            .to_string()
    };
    let (mut asking, _) = fake.line().await;
    asking.send(&news(1, "state")).await;
    let mut events = within(&mut following).await.unwrap().unwrap();
    assert_eq!(
        (&events.headers()["content-type"], events.headers().get("content-encoding")),
        (&"text/event-stream".parse().unwrap(), None)
    );
    let mut next = async || {
        let frame = within(events.frame()).await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    assert_eq!(next().await, "id: 1\nevent: state\ndata: {}\n\n");
    // Meanwhile, on the same connection, others are answered; then the next event comes as soon as there is one.
    let response = within(sender.send_request(ask("POST", "/queue", "[1]"))).await.unwrap();
    assert_eq!(
        (&response.headers()["content-encoding"], &response.headers()["cache-control"]),
        (&"br".parse().unwrap(), &"no-store".parse().unwrap())
    );
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(decode(Some("br"), &body), list);
    let (mut waiting, _) = fake.line().await;
    waiting.send(&news(2, "volume")).await;
    assert_eq!(next().await, "id: 2\nevent: volume\ndata: {}\n\n");
    rig.shutdown.cancel();
    drop((events, sender));
    within(connection).await.unwrap().unwrap();
    within(rig.served).await.unwrap();
}
