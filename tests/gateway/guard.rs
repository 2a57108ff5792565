//! Who is let in: by which name, from which page, with which token.

use std::collections::HashMap;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use shmooze::access::{Grant, Guard, HostRule, Hosts, Level, Origin, Token, Tokens};
use shmooze::gateway::{Configuration, Gateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::http::{Http, Reply};
use super::rig::{Rig, services, within};
use super::service::{Answering, Service};

const DONE: &str = r#"{"success": true}"#;

async fn ask(http: &mut Http, request: &str) -> Reply {
    http.send(request).await;
    http.try_reply(request.starts_with("HEAD")).await.unwrap().unwrap()
}

/// A POST of `body` with these header lines, to the host `localhost` unless they name another.
fn post(path: &str, lines: &[&str], body: &str) -> String {
    let host = if lines.iter().any(|line| line.starts_with("Host")) { "" } else { "Host: localhost\r\n" };
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\n{host}{lines}Content-Type: text/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn kiosk() -> Hosts {
    Hosts::new(&[HostRule::parse("kiosk.example").unwrap()])
}

#[tokio::test]
async fn only_names_of_the_gateway() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(Configuration { hosts: kiosk(), ..services([("fake", fake.endpoint())]) }).await;
    let mut http = rig.connect().await;
    for host in ["127.0.0.1:9480", "[::1]:80", "10.0.0.5", "LOCALHOST", "localhost.:1", "a.localhost", "Kiosk.Example.:8080", ""]
    {
        let reply = ask(&mut http, &post("/fake", &[&format!("Host: {host}")], "{}")).await;
        assert_eq!((reply.status, reply.text()), (200, DONE), "{host}");
        assert_eq!(ask(&mut http, &format!("GET /settings.json HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status, 200, "{host}");
    }
    fake.take_lines();
    for (host, status, error) in [
        ("Evil.Example:9480", 421, "\"evil.example\" is no name of this gateway; its settings may add it to gateway.hosts."),
        ("a.kiosk.example", 421, "\"a.kiosk.example\" is no name of this gateway; its settings may add it to gateway.hosts."),
        ("kiosk.example, evil.example", 400, "Header \"Host\" names no host."),
        ("kiosk.example\r\nHost: kiosk.example", 400, "Header \"Host\" must be there once."),
        ("kiosk.example\r\nHost: evil.example", 400, "Header \"Host\" must be there once."),
        ("::1", 400, "Header \"Host\" names no host."),
    ] {
        let reply = ask(&mut http, &post("/fake", &[&format!("Host: {host}")], "{}")).await;
        assert_eq!((reply.status, reply.error().as_str()), (status, error), "{host}");
        // Whatever is asked for, and by whatever method.
        for path in ["/", "/settings.json", "/static/x", "/nope"] {
            let reply = ask(&mut http, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!((reply.status, reply.text()), (status, format!("{error}\n").as_str()), "{host} {path}");
            assert_eq!(ask(&mut http, &format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status, status);
        }
        assert_eq!(ask(&mut http, &format!("OPTIONS /fake HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status, status);
    }
    assert_eq!(fake.take_lines(), [""; 0], "nothing of it came to the service");
}

#[tokio::test]
async fn who_names_no_host() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(Configuration { hosts: kiosk(), ..services([("fake", fake.endpoint())]) }).await;
    let old = "POST /fake HTTP/1.0\r\nContent-Type: text/json\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(ask(&mut rig.connect().await, old).await.status, 200);
    let foreign = "POST /fake HTTP/1.0\r\nHost: evil.example\r\nContent-Type: text/json\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(ask(&mut rig.connect().await, foreign).await.status, 421);
    let page = "POST /fake HTTP/1.0\r\nOrigin: http://kiosk.example\r\nContent-Type: text/json\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(ask(&mut rig.connect().await, page).await.status, 403, "its page is nobody's");
    let mut http = rig.connect().await;
    let reply = ask(&mut http, "GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!((reply.status, reply.text()), (400, "Header \"Host\" is missing.\n"));
    // The URL itself may name a host, which nobody but a proxy is sent: `Host` counts.
    for (url, host, status) in [
        ("http://kiosk.example/settings.json", "kiosk.example", 200),
        ("http://kiosk.example/settings.json", "evil.example", 421),
        ("http://evil.example/settings.json", "kiosk.example", 200),
    ] {
        let reply = ask(&mut http, &format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(reply.status, status, "{url} {host}");
    }
}

#[tokio::test]
async fn over_http_2() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(Configuration { hosts: kiosk(), ..services([("fake", fake.endpoint())]) }).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    for (authority, origin, status) in [
        ("kiosk.example", "http://kiosk.example", 200),
        ("127.0.0.1:9480", "http://127.0.0.1:9480", 200),
        ("evil.example", "http://evil.example", 421),
        ("kiosk.example", "http://evil.example", 403),
    ] {
        let request = hyper::Request::post(format!("http://{authority}/fake")).header("content-type", "text/json");
        let request = request.header("origin", origin).body(Full::<bytes::Bytes>::from("{}")).unwrap();
        let answer = within(sender.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), status, "{authority} {origin}");
        within(answer.into_body().collect()).await.unwrap();
    }
}

#[tokio::test]
async fn over_a_unix_socket_behind_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let fake = Answering::with(DONE).await;
    let configuration = Configuration {
        hosts: kiosk(),
        origins: vec![Origin::parse("https://jukebox.example").unwrap()],
        ..services([("fake", fake.endpoint())])
    };
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(Gateway::new(configuration).serve(listener, CancellationToken::new()));
    for (lines, status) in [
        // What a proxy passes on that keeps the name by which it was asked, over HTTPS.
        (&["Host: kiosk.example", "Origin: https://kiosk.example", "Sec-Fetch-Site: same-origin"][..], 200),
        (&["Host: evil.example", "Origin: https://evil.example", "Sec-Fetch-Site: same-origin"], 421),
        // And one that does not.
        (&["Host: localhost", "Origin: https://jukebox.example", "Sec-Fetch-Site: same-origin"], 200),
        (&["Host: localhost", "Origin: https://kiosk.example", "Sec-Fetch-Site: same-origin"], 403),
        (&["Host: localhost"], 200),
    ] {
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(post("/fake", &[lines, &["Connection: close"]].concat(), "{}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{lines:?} {answer}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_post_nothing() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(services([("fake", fake.endpoint())])).await;
    let mut http = rig.connect().await;
    for lines in [
        &["Host: localhost:9480"][..],
        &["Host: localhost:9480", "Origin: http://localhost:9480"],
        &["Host: localhost:9480", "Origin: http://localhost:9480", "Sec-Fetch-Site: same-origin"],
        &["Host: [::1]:9480", "origin: HTTP://[0::1]:9480"],
        &["Host: LOCALHOST.", "Origin: http://localhost:80"],
        &["Host: localhost", "Sec-Fetch-Site: none"],
    ] {
        assert_eq!(ask(&mut http, &post("/fake", lines, "{}")).await.status, 200, "{lines:?}");
    }
    fake.take_lines();
    for (lines, error) in [
        (
            &["Host: localhost:9480", "Origin: http://evil.example"][..],
            "Pages of \"http://evil.example\" may not ask here; the gateway's settings may add it to gateway.origins.",
        ),
        (
            &["Host: localhost:9480", "Origin: null"],
            "Pages of \"null\" may not ask here; the gateway's settings may add it to gateway.origins.",
        ),
        (
            &["Host: localhost:9480", "Origin: http://localhost:3000", "Sec-Fetch-Site: same-site"],
            "Pages of \"http://localhost:3000\" may not ask here; the gateway's settings may add it to gateway.origins.",
        ),
        (&["Sec-Fetch-Site: cross-site"], "Pages of other sites may not ask here."),
        (
            &["Host: localhost", "Origin: http://localhost", "Sec-Fetch-Site: cross-site"],
            "Pages of other sites may not ask here.",
        ),
    ] {
        for content_type in ["Content-Type: text/json", "Content-Type: text/plain"] {
            let reply = ask(&mut http, &post("/fake", &[lines, &[content_type]].concat(), "{}")).await;
            assert_eq!((reply.status, reply.error().as_str()), (403, error), "{lines:?}");
            assert_eq!(reply.header("access-control-allow-origin"), None);
        }
    }
    let delete = "DELETE /fake HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n";
    assert_eq!(ask(&mut http, delete).await.status, 403);
    // What only reads is kept from foreign pages by their browser, which is told nothing to the contrary.
    for method in ["GET", "HEAD", "OPTIONS"] {
        let read = format!("{method} /settings.json HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n");
        let reply = ask(&mut http, &read).await;
        assert_eq!(reply.status, if method == "OPTIONS" { 405 } else { 200 });
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    assert_eq!(fake.take_lines(), [""; 0]);
}

#[tokio::test]
async fn pages_of_a_listed_site() {
    let fake = Answering::with(DONE).await;
    let origins = vec![Origin::parse("https://wall.example").unwrap()];
    let rig = Rig::start(Configuration { origins, ..services([("fake", fake.endpoint())]) }).await;
    let mut http = rig.connect().await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /fake HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nSec-Fetch-Site: cross-site\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,content-type\r\n\r\n"
        )
    };
    let reply = ask(&mut http, &preflight("https://wall.example")).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, Some("https://wall.example")));
    assert_eq!(reply.header("access-control-allow-headers"), Some("Authorization, Content-Type, Last-Event-ID"));
    assert_eq!(reply.header("access-control-allow-methods"), Some("GET, HEAD, POST"));
    assert_eq!(reply.header("vary"), Some("Origin"));
    let reply = ask(&mut http, &preflight("https://evil.example")).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin"), reply.header("vary")), (405, None, Some("Origin")));
    let lines = ["Origin: https://wall.example", "Sec-Fetch-Site: cross-site"];
    let reply = ask(&mut http, &post("/fake", &lines, "{}")).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("https://wall.example")));
    // It may read why it failed, too.
    let reply = ask(&mut http, &post("/fake", &lines, "{")).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (400, Some("https://wall.example")));
    let reply = ask(&mut http, &post("/fake", &["Host: evil.example", lines[0]], "{}")).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (421, None));
}

fn token(level: Level) -> String {
    format!("0123456789-{level}-0123456789")
}

fn bearer(level: Level) -> String {
    format!("Authorization: Bearer {}", token(level))
}

/// A token of each level, for the endpoint `queue`.
fn tokens() -> Arc<Tokens> {
    let grants = Level::ALL.map(|level| Grant { token: Token::parse(&token(level)).unwrap(), level });
    let commands = HashMap::from([("get_volume".to_owned(), Level::View)]);
    let queue = Arc::new(Guard { grants: grants.to_vec(), commands });
    Arc::new(Tokens { endpoints: [("queue".to_owned(), queue)].into(), others: None })
}

#[tokio::test]
async fn an_endpoint_that_takes_tokens() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "page").unwrap();
    let (queue, pool) = (Answering::with(DONE).await, Answering::with(DONE).await);
    let configuration = Configuration {
        tokens: tokens(),
        static_path: Some(folder.path().into()),
        ..services([("queue", queue.endpoint()), ("pool", pool.endpoint())])
    };
    let rig = Rig::start(configuration).await;
    let mut http = rig.connect().await;
    let body = r#"{"cmd": "queue"}"#;
    for (line, challenge, error) in [
        ("X: y", "Bearer realm=\"shmooze\"", "queue takes a token: \"Authorization: Bearer TOKEN\"."),
        ("Authorization: Basic eDp5", "Bearer realm=\"shmooze\"", "queue takes a token: \"Authorization: Bearer TOKEN\"."),
        (
            "Authorization: Bearer 0123456789-view-012345678",
            "Bearer realm=\"shmooze\", error=\"invalid_token\"",
            "Token is not known to queue.",
        ),
        ("Authorization: Bearer ", "Bearer realm=\"shmooze\"", "queue takes a token: \"Authorization: Bearer TOKEN\"."),
        (
            "Authorization: Bearer x\r\nAuthorization: Bearer 0123456789-view-0123456789",
            "Bearer realm=\"shmooze\", error=\"invalid_request\"",
            "Header \"Authorization\" must be there once.",
        ),
    ] {
        for path in ["/queue", "/queue/", "/queue/below", "/%71ueue?access_token=0123456789-view-0123456789"] {
            let reply = ask(&mut http, &post(path, &[line], body)).await;
            assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some(challenge)), "{line} {path}");
            assert_eq!(reply.error(), error, "{line}");
        }
    }
    // It is asked for before anything is read.
    let head = "POST /queue HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/json\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(ask(&mut rig.connect().await, head).await.status, 401);
    assert_eq!(queue.take_lines(), [""; 0]);
    for level in Level::ALL {
        assert_eq!(ask(&mut http, &post("/queue", &[&bearer(level)], body)).await.text(), DONE, "{level}");
        let lower_case = format!("authorization: bearer  {}", token(level));
        assert_eq!(ask(&mut http, &post("/queue", &[&lower_case], body)).await.text(), DONE, "{level}");
    }
    assert_eq!(queue.take_lines().len(), 8);
    // All else is open as before.
    assert_eq!(http.post("/pool", r#"{"cmd": "rm"}"#).await.text(), DONE);
    assert_eq!(ask(&mut http, &post("/pool", &["Authorization: Bearer x"], "{}")).await.text(), DONE);
    assert_eq!(http.get("/settings.json").await.status, 200);
    assert_eq!(http.get("/").await.text(), "page");
    assert_eq!(http.get("/queue").await.status, 405);
}

#[tokio::test]
async fn what_a_level_allows() {
    let queue = Answering::with(DONE).await;
    let rig = Rig::start(Configuration { tokens: tokens(), ..services([("queue", queue.endpoint())]) }).await;
    let mut http = rig.connect().await;
    for (command, needed) in [
        ("queue", Level::View),
        ("status", Level::View),
        ("types", Level::View),
        ("get_volume", Level::View),
        ("add", Level::Add),
        ("mv", Level::Control),
        ("tell_module", Level::Control),
        ("set_bg", Level::Remove),
        ("rm", Level::Remove),
        ("rm_all", Level::Remove),
    ] {
        let body = format!(r#"{{"cmd": "{command}"}}"#);
        for given in Level::ALL {
            let reply = ask(&mut http, &post("/queue", &[&bearer(given)], &body)).await;
            if given >= needed {
                assert_eq!((reply.status, reply.text()), (200, DONE), "{command} {given}");
                assert_eq!(queue.take_lines(), [&*body]);
                continue;
            }
            assert_eq!(reply.status, 403, "{command} {given}");
            let sentence =
                format!("Command \"{command}\" takes a token of the level {needed}, and this one has the level {given}.");
            assert_eq!(reply.error(), sentence);
            let challenge = format!("Bearer realm=\"shmooze\", error=\"insufficient_scope\", scope=\"{needed}\"");
            assert_eq!(reply.header("www-authenticate"), Some(&*challenge));
            assert_eq!(queue.take_lines(), [""; 0]);
        }
    }
    let reply = ask(&mut http, &post("/queue", &[&bearer(Level::View)], "{}")).await;
    assert_eq!((reply.status, reply.error().as_str()), (200, "No command given."));
    assert_eq!(ask(&mut http, &post("/queue", &[&bearer(Level::View)], "{")).await.status, 400);
}

#[tokio::test]
async fn a_list_is_judged_one_by_one() {
    let queue = Service::start().await.answer(|line| {
        let requests: Vec<Value> = serde_json::from_str(line).unwrap();
        if requests.len() == 3 {
            return "{\"success\": false}".to_owned();
        }
        let answers: Vec<String> =
            requests.iter().map(|request| format!("{{\"success\": true, \"result\": {request}}}")).collect();
        format!("[{}]", answers.join(","))
    });
    let rig = Rig::start(Configuration { tokens: tokens(), ..services([("queue", queue.endpoint())]) }).await;
    let mut http = rig.connect().await;
    let line = bearer(Level::Add);
    let body = "[{\"cmd\": \"rm\"},\n{\"cmd\": \"add\", \"args\":\n{\"type\": \"x\"}}, 5, {\"cmd\": \"queue\"}]";
    let reply = ask(&mut http, &post("/queue", &[&line], body)).await;
    let answers: Value = serde_json::from_slice(&reply.body).unwrap();
    let refused = "Command \"rm\" takes a token of the level remove, and this one has the level add.";
    let expected = json!([
        {"success": false, "error": refused},
        {"success": true, "result": {"cmd": "add", "args": {"type": "x"}}},
        {"success": false, "error": "Command not a dict."},
        {"success": true, "result": {"cmd": "queue"}},
    ]);
    assert_eq!((reply.status, answers), (200, expected));
    assert_eq!(queue.take_lines(), ["[{\"cmd\": \"add\", \"args\": {\"type\": \"x\"}}, {\"cmd\": \"queue\"}]"]);
    // Where there is nothing to ask, nobody is asked.
    let reply = ask(&mut http, &post("/queue", &[&line], r#"[{"cmd": "rm"}]"#)).await;
    assert_eq!((reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap()[0]["error"].as_str()), (200, Some(refused)));
    assert_eq!(queue.take_lines(), [""; 0]);
    assert_eq!(ask(&mut http, &post("/queue", &[&line], "[]")).await.text(), "[]");
    // One that answers something else to a list cannot be completed.
    let body = r#"[{"cmd": "queue"}, {"cmd": "rm"}, {"cmd": "queue"}, {"cmd": "queue"}]"#;
    let reply = ask(&mut http, &post("/queue", &[&line], body)).await;
    assert_eq!(reply.status, 502);
    assert!(reply.error().ends_with("did not answer a list of requests by as many responses."), "{}", reply.error());
}

#[tokio::test]
async fn tokens_change_while_it_serves() {
    let queue = Answering::with(DONE).await;
    let open = services([("queue", queue.endpoint())]);
    let guarded = Configuration { tokens: tokens(), ..open.clone() };
    let rig = Rig::start(open.clone()).await;
    let mut http = rig.connect().await;
    assert_eq!(http.post("/queue", "{}").await.status, 200);
    rig.gateway.configure(guarded);
    assert_eq!(http.post("/queue", "{}").await.status, 401);
    let everything = Tokens { endpoints: Default::default(), others: Some(Arc::default()) };
    rig.gateway.configure(Configuration { tokens: Arc::new(everything), ..open.clone() });
    assert_eq!(ask(&mut http, &post("/queue", &[&bearer(Level::Remove)], "{}")).await.status, 401);
    rig.gateway.configure(open);
    assert_eq!(http.post("/queue", "{}").await.status, 200);
    assert_eq!(queue.connections(), 1, "the service keeps its connections");
}
