//! Events of services that the test plays; tests/events.rs has those of real ones.

use std::sync::Arc;

use serde_json::json;
use shmooze::access::{Grant, Guard, Level, Token, Tokens};
use shmooze::gateway::Configuration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::{Rig, services, within};
use super::service::{Answering, Service};

/// A stream of events, read as it comes.
struct Raw(TcpStream, String);

impl Raw {
    async fn open(rig: &Rig, lines: &str) -> Self {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let request = format!("GET /fake/events HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(stream, String::new())
    }

    /// Reads until there is `text`, which is forgotten with all before it.
    async fn until(&mut self, text: &str) {
        within(async {
            loop {
                if let Some(at) = self.1.find(text) {
                    self.1.drain(..at + text.len());
                    return;
                }
                let mut bytes = [0; 4096];
                let length = self.0.read(&mut bytes).await.unwrap();
                assert!(length > 0, "no {text:?} in {:?}", self.1);
                self.1.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
        })
        .await;
    }
}

fn news(revision: u64, events: &serde_json::Value) -> String {
    json!({"success": true, "result": {"revision": revision, "events": events}}).to_string()
}

fn state(revision: u64) -> String {
    news(revision, &json!([{"event": "state", "revision": revision, "data": {"revision": revision}}]))
}

#[tokio::test]
async fn a_service_of_another_make_may_tell_events() {
    let service = Service::start().await;
    let rig = Rig::start(services([("fake", service.endpoint())])).await;
    let mut browser = Raw::open(&rig, "").await;
    let (mut asking, line) = service.line().await;
    assert_eq!(line, r#"{"cmd":"watch","args":{}}"#);
    asking.send(&state(5)).await;
    browser.until("id: 5\nevent: state\ndata: {\"revision\":5}\n\n").await;
    let (mut waiting, line) = service.line().await;
    assert_eq!(line, r#"{"cmd":"watch","args":{"revision":5,"timeout":25000}}"#);
    // Whoever comes now asks nobody anything.
    let mut other = Raw::open(&rig, "").await;
    other.until("event: state").await;
    let mut third = Raw::open(&rig, "Last-Event-ID: 5\r\n").await;
    third.until(":\n\n").await;
    waiting.send(&news(6, &json!([{"event": "volume", "revision": 6, "data": 30}]))).await;
    for browser in [&mut browser, &mut other, &mut third] {
        browser.until("id: 6\nevent: volume\ndata: 30\n\n").await;
    }
    // It has forgotten what was: all begin anew.
    assert!(within(waiting.line()).await.unwrap().contains("\"revision\":6"));
    waiting.send(&state(2)).await;
    for browser in [&mut browser, &mut other, &mut third] {
        browser.until("id: 2\nevent: state").await;
    }
    assert!(within(waiting.line()).await.unwrap().contains("\"revision\":2"));
    // The last that goes is noticed, and nobody is asked any more.
    drop((browser, other, third));
    assert_eq!(within(waiting.line()).await, None);
    // The end of the gateway.
    let mut last = Raw::open(&rig, "").await;
    assert_eq!(within(asking.line()).await.unwrap(), r#"{"cmd":"watch","args":{}}"#);
    asking.send(&state(3)).await;
    last.until("event: state").await;
    rig.shutdown.cancel();
    last.until("0\r\n\r\n").await;
    within(rig.served).await.unwrap();
}

#[tokio::test]
async fn one_that_has_none_is_asked_otherwise() {
    for answer in [r#"{"success": false, "error": "Bad command."}"#, r#"{"success": true}"#, "5"] {
        let fake = Answering::with(answer).await;
        let rig = Rig::start(services([("fake", fake.endpoint())])).await;
        let reply = rig.connect().await.get("/fake/events").await;
        assert_eq!(reply.status, 404, "{answer}");
        assert!(!reply.error().is_empty());
    }
}

fn tokens(text: &str) -> Arc<Tokens> {
    let grants = vec![Grant { token: Token::parse(text).unwrap(), level: Level::View }];
    let guard = Arc::new(Guard { grants, ..Guard::default() });
    Arc::new(Tokens { endpoints: [("fake".to_owned(), guard)].into(), others: None })
}

#[tokio::test]
async fn who_may_follow_is_asked_for_a_token_and_again_when_tokens_change() {
    let answer = |line: &str| match line.contains("revision") {
        true => news(5, &json!([])),
        false => state(5),
    };
    // It answers at once, whatever it is asked.
    let fake = Service::start().await.answer(answer);
    let configuration = services([("fake", fake.endpoint())]);
    let rig = Rig::start(Configuration { tokens: tokens("0123456789-first-0123"), ..configuration.clone() }).await;
    assert_eq!(rig.connect().await.get("/fake/events").await.status, 401);
    let mut browser = Raw::open(&rig, "Authorization: Bearer 0123456789-first-0123\r\n").await;
    browser.until("HTTP/1.1 200 OK").await;
    browser.until("event: state").await;
    rig.gateway.configure(Configuration { tokens: tokens("0123456789-other-0123"), ..configuration });
    browser.until("0\r\n\r\n").await;
    let mut again = Raw::open(&rig, "Authorization: Bearer 0123456789-first-0123\r\n").await;
    again.until("HTTP/1.1 401").await;
}
