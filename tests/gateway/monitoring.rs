//! `/healthz` and `/metrics` in front of services that the test plays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shmooze::access::{Grant, Guard, Level, Token, Tokens};
use shmooze::client::Endpoint;
use shmooze::gateway::Configuration;

use super::http::{Http, Reply};
use super::rig::{Rig, services};
use super::service::{Answering, Service};

const METRICS: &str = r#"{"success": true, "result": {"kind": "queue", "length": 7, "modules": {"a\"\\\n": {"playing": 3}}}}"#;
const DONE: &str = r#"{"success": true}"#;
const QUESTION: &str = r#"{"cmd": "metrics"}"#;

/// All of these are queues.
fn brokers<const N: usize>(of: [(&str, Endpoint); N]) -> Configuration {
    let configuration = services(of);
    Configuration { brokers: configuration.services.keys().cloned().collect(), ..configuration }
}

async fn ask(http: &mut Http, method: &str, path: &str, headers: &str) -> Reply {
    http.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await;
    http.try_reply(method == "HEAD").await.unwrap().unwrap()
}

fn json(reply: &Reply) -> Value {
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    serde_json::from_slice(&reply.body).unwrap()
}

fn guard(level: Level, commands: HashMap<String, Level>) -> Arc<Guard> {
    let token = Token::parse(&format!("secret-of-{level}-0123456789")).unwrap();
    Arc::new(Guard { grants: vec![Grant { token, level }], commands })
}

#[tokio::test]
async fn the_gateway_itself_waits_for_nobody() {
    let slow = Service::start().await;
    let rig = Rig::start(brokers([("slow", slow.endpoint())])).await;
    let mut all = rig.connect().await;
    all.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let (mut peer, line) = slow.line().await;
    assert_eq!(line, QUESTION);
    assert_eq!(rig.connect().await.get("/healthz?service=gateway").await.status, 200);
    peer.send(METRICS).await;
    assert_eq!(all.reply().await.status, 200);
    // The next is asked over the same connection.
    all.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(peer.line().await.as_deref(), Some(QUESTION));
    peer.send(METRICS).await;
    assert_eq!(all.reply().await.status, 200);
}

#[tokio::test]
async fn a_service_that_is_silent_is_waited_for_only_so_long() {
    let (silent, well) = (Service::start().await, Answering::with(METRICS).await);
    let configuration = Configuration {
        service_timeout: Duration::from_millis(150),
        ..brokers([("silent", silent.endpoint()), ("well", well.endpoint())])
    };
    let rig = Rig::start(configuration).await;
    let mut http = rig.connect().await;
    let reply = http.get("/healthz").await;
    let reason = format!("Service at {} did not answer within 150 ms.", silent.endpoint());
    assert_eq!(reply.status, 503);
    assert_eq!(json(&reply), json!({"status": "failing", "services": {"silent": reason, "well": "ok"}}));
    let reply = http.get("/metrics").await;
    assert_eq!(reply.status, 200);
    for line in ["shmooze_service_up{service=\"silent\"} 0", "shmooze_service_up{service=\"well\"} 1"] {
        assert!(reply.text().lines().any(|one| one == line), "{line} in {}", reply.text());
    }
}

#[tokio::test]
async fn only_queues_and_pools_are_asked() {
    let (queue, volume, old) = (
        Answering::with(METRICS).await,
        Answering::with(DONE).await,
        Answering::with(r#"{"success": false, "error": "Bad command."}"#).await,
    );
    let configuration = Configuration {
        brokers: vec!["queue".to_owned(), "old".to_owned()],
        ..services([("queue", queue.endpoint()), ("volume", volume.endpoint()), ("old", old.endpoint())])
    };
    let rig = Rig::start(configuration).await;
    let mut http = rig.connect().await;
    assert_eq!(json(&http.get("/healthz").await), json!({"status": "ok", "services": {"queue": "ok", "old": "ok"}}));
    assert_eq!(http.get("/healthz?service=volume").await.status, 404);
    let text = http.get("/metrics").await.text().to_owned();
    assert!(volume.take_lines().is_empty());
    for line in [
        "shmooze_service_up{service=\"old\"} 1",
        "shmooze_queue_length{service=\"queue\"} 7",
        "shmooze_modules{service=\"queue\",list=\"modules\",type=\"a\\\"\\\\\\n\",state=\"playing\"} 3",
        "shmooze_requests_total{service=\"volume\",code=\"200\"} 0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in {text}");
    }
    assert!(!text.contains("_revision{service=\"old\"}") && !text.contains("_up{service=\"volume\"}"), "{text}");
}

#[tokio::test]
async fn what_takes_tokens_is_shown_to_who_has_one() {
    let open = Answering::with(METRICS).await;
    let gone = Service::start().await.endpoint();
    let configuration = |guard: Arc<Guard>| {
        let tokens = Tokens { endpoints: [("secret".to_owned(), guard)].into_iter().collect(), others: None };
        Configuration { tokens: Arc::new(tokens), ..brokers([("open", open.endpoint()), ("secret", gone.clone())]) }
    };
    let rig = Rig::start(configuration(guard(Level::View, HashMap::new()))).await;
    let mut http = rig.connect().await;
    let reason = format!("Service at {gone} cannot be reached: Connection refused.");
    for (authorization, is_seen) in [
        ("", false),
        ("Authorization: Bearer 0123456789abcdef\r\n", false),
        ("Authorization: Bearer secret-of-view-0123456789\r\n", true),
    ] {
        let reply = ask(&mut http, "GET", "/metrics", authorization).await;
        assert_eq!((reply.status, reply.text().contains("secret"), reply.text().contains("open")), (200, is_seen, true));
        let reply = ask(&mut http, "GET", "/healthz", authorization).await;
        assert_eq!(reply.status, 503);
        assert_eq!(json(&reply)["services"]["secret"], if is_seen { reason.as_str() } else { "failing" });
    }
    // The file of tokens may ask for more.
    let view = "Authorization: Bearer secret-of-view-0123456789\r\n";
    rig.gateway.configure(configuration(guard(Level::View, [("metrics".to_owned(), Level::Control)].into())));
    assert!(!ask(&mut http, "GET", "/metrics", view).await.text().contains("secret"));
}

#[tokio::test]
async fn methods_forms_and_names() {
    let (queue, own) = (Answering::with(METRICS).await, Answering::with(DONE).await);
    let rig = Rig::start(brokers([("queue", queue.endpoint())])).await;
    let mut http = rig.connect().await;
    for path in ["/metrics", "/healthz"] {
        let (got, head) = (ask(&mut http, "GET", path, "").await, ask(&mut http, "HEAD", path, "").await);
        assert_eq!((head.status, head.body.len(), head.header("content-type")), (200, 0, got.header("content-type")));
        assert_eq!(head.header("content-length"), Some(got.body.len().to_string().as_str()));
        let post = http.post(path, "{}").await;
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
        assert_eq!(ask(&mut http, "GET", &format!("{path}/below"), "").await.status, 404);
    }
    // Of Prometheus' own form, where nothing else is asked for.
    for (accept, content_type, type_line, end) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", "# TYPE shmooze_requests_total counter\n", "\n"),
        ("Accept: */*\r\n", "text/plain; version=0.0.4; charset=utf-8", "# TYPE shmooze_requests_total counter\n", "\n"),
        (
            "Accept: text/plain, Application/OpenMetrics-Text; version=1.0.0\r\n",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# TYPE shmooze_requests counter\n",
            "# EOF\n",
        ),
    ] {
        let reply = ask(&mut http, "GET", "/metrics", accept).await;
        assert_eq!((reply.header("content-type"), reply.header("vary")), (Some(content_type), Some("Accept")));
        assert!(reply.text().contains(type_line) && reply.text().ends_with(end), "{}", reply.text());
    }
    // A service of that name is still where it was.
    rig.gateway.configure(services([("metrics", own.endpoint()), ("healthz", own.endpoint())]));
    for path in ["/metrics", "/healthz"] {
        assert_eq!(http.post(path, "{}").await.text(), DONE);
        assert_eq!(http.get(path).await.status, 405);
    }
    // Below the prefix of services, and not beside it; and only if it is wanted.
    rig.gateway.configure(Configuration { wsgi_prefix: "/api/".to_owned(), ..brokers([("queue", queue.endpoint())]) });
    for (path, status) in [("/api/metrics", 200), ("/api/healthz", 200), ("/metrics", 404), ("/healthz", 404)] {
        assert_eq!(http.get(path).await.status, status, "{path}");
    }
    rig.gateway.configure(Configuration { metrics: false, ..brokers([("queue", queue.endpoint())]) });
    assert_eq!((http.get("/metrics").await.status, http.get("/healthz").await.status), (404, 200));
    // By the name of another.
    http.send("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(http.reply().await.status, 421);
}
