//! Connections of clients: how many, how long, and their end.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use shmooze::gateway::Configuration;
use tokio::net::TcpStream;

use super::http::{Http, post, request};
use super::rig::{Rig, services, within};
use super::service::{Answering, Service};

const DONE: &str = r#"{"success": true}"#;
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn silent_connections_are_closed() {
    let rig = Rig::start(Configuration { idle_timeout: SHORT, ..Configuration::default() }).await;
    let mut fresh = rig.connect().await;
    let mut used = rig.connect().await;
    assert_eq!(used.get("/settings.json").await.status, 200);
    assert!(fresh.is_ended().await);
    assert!(used.is_ended().await);
}

#[tokio::test]
async fn heads_that_trickle_are_cut_off() {
    let rig = Rig::start(Configuration { header_timeout: SHORT, ..Configuration::default() }).await;
    // The first has the first letter of HTTP/2's preface, too.
    for beginning in ["P", "GET / HTTP/1.1\r\n"] {
        let mut http = rig.connect().await;
        http.send(beginning).await;
        assert!(within(http.try_reply(false)).await.is_ok_and(|reply| reply.is_none()), "{beginning}");
        let mut http = rig.connect().await;
        assert_eq!(http.get("/settings.json").await.status, 200);
        http.send(beginning).await;
        assert!(within(http.try_reply(false)).await.is_ok_and(|reply| reply.is_none()), "{beginning}");
    }
}

#[tokio::test]
async fn clients_that_do_not_read_are_let_go() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("big"), vec![0; 64 << 20]).unwrap();
    let configuration =
        Configuration { idle_timeout: SHORT, static_path: Some(directory.path().into()), ..Configuration::default() };
    let rig = Rig::start(Configuration { max_connections: 1, ..configuration }).await;
    let mut http = rig.connect().await;
    http.send("GET /static/big HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    // The only place is free again when the gateway has let go.
    within(async { while rig.connect().await.get("/settings.json").await.status != 200 {} }).await;
}

#[tokio::test]
async fn heads_over_the_limit() {
    let rig = Rig::start(Configuration { max_header_bytes: 8192, ..Configuration::default() }).await;
    let long = |length| request("GET", "/settings.json", &[("X", &"x".repeat(length))], "");
    let mut http = rig.connect().await;
    http.send(long(4000)).await;
    assert_eq!(http.reply().await.status, 200);
    let _ = http.try_send(long(100_000)).await;
    assert_eq!(http.reply().await.status, 431);
    assert!(http.is_ended().await);
}

#[tokio::test]
async fn what_is_no_http() {
    let rig = Rig::start(Configuration::default()).await;
    for text in ["GET  HTTP/1.1\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /a b HTTP/1.1\r\n\r\n"] {
        let mut http = rig.connect().await;
        http.send(text).await;
        assert_eq!(http.reply().await.status, 400, "{text}");
        assert!(http.is_ended().await);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let slow = Service::start().await;
    let rig = Rig::start(services([("slow", slow.endpoint())])).await;
    let mut http = rig.connect().await;
    http.send(format!("{}GET /settings.json HTTP/1.1\r\nHost: localhost\r\n\r\n{}", post("/slow", "[1]"), post("/slow", "[2]")))
        .await;
    let (mut peer, _) = slow.line().await;
    peer.send("\"first\"").await;
    assert_eq!(http.reply().await.text(), "\"first\"");
    assert_eq!(http.reply().await.text(), "{}");
    assert_eq!(peer.line().await.as_deref(), Some("[2]"));
    peer.send("\"second\"").await;
    assert_eq!(http.reply().await.text(), "\"second\"");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_still_gets_its_answer() {
    let slow = Service::start().await;
    let rig = Rig::start(services([("slow", slow.endpoint())])).await;
    let mut http = rig.connect().await;
    http.send(post("/slow", "[1]")).await;
    http.finish().await;
    let (mut peer, _) = slow.line().await;
    peer.send("1").await;
    assert_eq!(http.reply().await.text(), "1");
    assert!(http.is_ended().await);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let rig = Rig::start(Configuration::default()).await;
    let mut http = rig.connect().await;
    http.send("GET /settings.json HTTP/1.0\r\n\r\n").await;
    assert_eq!(http.reply().await.text(), "{}");
    assert!(http.is_ended().await);
}

#[tokio::test]
async fn connections_over_the_limit_are_told_so() {
    let rig = Rig::start(Configuration { max_connections: 2, ..Configuration::default() }).await;
    let mut first = rig.connect().await;
    let mut second = rig.connect().await;
    assert_eq!(first.get("/settings.json").await.status, 200);
    assert_eq!(second.get("/settings.json").await.status, 200);
    let mut third = rig.connect().await;
    // It is told whether or not it has asked anything.
    let reply = third.reply().await;
    assert_eq!((reply.status, reply.text()), (503, "Too many connections.\n"));
    assert!(third.is_ended().await);
    assert_eq!(first.get("/settings.json").await.status, 200);
    drop(second);
    within(async { while rig.connect().await.get("/settings.json").await.status != 200 {} }).await;
}

#[tokio::test]
async fn at_the_end_requests_under_way_are_answered() {
    let slow = Service::start().await;
    let rig = Rig::start(services([("slow", slow.endpoint())])).await;
    let mut idle = rig.connect().await;
    assert_eq!(idle.get("/settings.json").await.status, 200);
    let mut fresh = rig.connect().await;
    let mut waiting = rig.connect().await;
    waiting.send(post("/slow", "[1]")).await;
    let (mut peer, _) = slow.line().await;

    rig.shutdown.cancel();
    assert!(idle.is_ended().await);
    assert!(fresh.is_ended().await);
    assert!(Http::try_connect(rig.address).await.is_err(), "nobody is accepted any more");
    assert!(!rig.served.is_finished());

    peer.send("1").await;
    let reply = waiting.reply().await;
    assert_eq!((reply.text(), reply.header("connection")), ("1", Some("close")));
    assert!(waiting.is_ended().await);
    drop((idle, fresh, waiting));
    within(rig.served).await.unwrap();
}

#[tokio::test]
async fn the_end_comes_in_time_whatever_is_under_way() {
    let silent = Service::start().await;
    let rig = Rig::start(Configuration { drain_timeout: SHORT, ..services([("silent", silent.endpoint())]) }).await;
    let mut waiting = rig.connect().await;
    waiting.send(post("/silent", "[1]")).await;
    let (mut peer, _) = silent.line().await;
    rig.shutdown.cancel();
    within(rig.served).await.unwrap();
    assert_eq!(peer.line().await, None);
    assert!(waiting.try_reply(false).await.is_ok_and(|reply| reply.is_none()));
}

#[tokio::test]
async fn http_2_by_prior_knowledge() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.js"), "a").unwrap();
    let slow = Service::start().await;
    let quick = Answering::with(DONE).await;
    let configuration = Configuration {
        static_path: Some(directory.path().into()),
        ..services([("slow", slow.endpoint()), ("quick", quick.endpoint())])
    };
    let rig = Rig::start(configuration).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = |path: &str| format!("http://{}{path}", rig.address);
    let post = |path: &str| {
        let request = Request::post(uri(path)).header("content-type", "application/json");
        request.body(Full::new(Bytes::from("[1]"))).unwrap()
    };
    let body = async |response: hyper::Response<hyper::body::Incoming>| response.into_body().collect().await.unwrap().to_bytes();

    // One after the other on one connection, answered as each is ready.
    let waiting = tokio::spawn(sender.send_request(post("/slow")));
    let (mut peer, _) = slow.line().await;
    let response = within(sender.send_request(post("/quick"))).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/json");
    assert_eq!(body(response).await, DONE);

    let head = |path: &str| {
        let request = Request::builder().method(Method::HEAD).uri(uri(path));
        request.body(Full::new(Bytes::new())).unwrap()
    };
    for (path, status, length) in [("/static/a.js", 200, "1"), ("/settings.json", 200, "2"), ("/nope", 404, "11")] {
        let response = within(sender.send_request(head(path))).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["content-length"]), (status, &length.parse().unwrap()));
        assert_eq!(body(response).await, "");
    }

    rig.shutdown.cancel();
    peer.send("1").await;
    assert_eq!(body(within(waiting).await.unwrap().unwrap()).await, "1");
    within(connection).await.unwrap().unwrap();
    within(rig.served).await.unwrap();
}

#[tokio::test]
async fn idle_http_2_connections_are_closed() {
    let rig = Rig::start(Configuration { idle_timeout: SHORT, ..Configuration::default() }).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://{}/settings.json", rig.address)).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(within(sender.send_request(request)).await.unwrap().status(), 200);
    let _ = within(connection).await.unwrap();
    assert!(sender.is_closed());
}
