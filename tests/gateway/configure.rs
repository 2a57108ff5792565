//! Another configuration while the gateway serves, and other sockets than TCP.

use std::time::Duration;

use shmooze::gateway::{Configuration, Gateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::http::post;
use super::rig::{Rig, services, within};
use super::service::{Answering, Service};

const A: &str = r#"{"success": true, "result": "a"}"#;
const B: &str = r#"{"success": true, "result": "b"}"#;

#[tokio::test]
async fn a_service_that_is_the_same_keeps_its_connections() {
    let (a, b) = (Answering::with(A).await, Answering::with(B).await);
    let rig = Rig::start(services([("a", a.endpoint())])).await;
    let mut http = rig.connect().await;
    assert_eq!(http.post("/a", "{}").await.text(), A);
    assert_eq!(http.post("/b", "{}").await.status, 404);
    rig.gateway.configure(services([("a", a.endpoint()), ("b", b.endpoint())]));
    assert_eq!(http.post("/a", "{}").await.text(), A);
    assert_eq!(http.post("/b", "{}").await.text(), B);
    assert_eq!(a.connections(), 1);
    // Elsewhere, or within other limits, it is another.
    rig.gateway.configure(services([("a", b.endpoint())]));
    assert_eq!(http.post("/a", "{}").await.text(), B);
    let limited = Configuration { service_timeout: Duration::from_secs(3), ..services([("a", b.endpoint())]) };
    rig.gateway.configure(limited);
    assert_eq!(http.post("/a", "{}").await.text(), B);
    assert_eq!(b.connections(), 3);
}

#[tokio::test]
async fn a_request_under_way_ends_as_it_began() {
    let slow = Service::start().await;
    let rig = Rig::start(services([("slow", slow.endpoint())])).await;
    let mut http = rig.connect().await;
    http.send(post("/slow", "{}")).await;
    let (mut peer, _) = slow.line().await;
    rig.gateway.configure(Configuration::default());
    peer.send(A).await;
    assert_eq!(http.reply().await.text(), A);
    assert_eq!(http.post("/slow", "{}").await.status, 404);
}

#[tokio::test]
async fn how_many_may_connect_changes() {
    let with = |max_connections| Configuration { max_connections, ..Configuration::default() };
    let rig = Rig::start(with(1)).await;
    let mut first = rig.connect().await;
    assert_eq!(first.get("/settings.json").await.status, 200);
    assert_eq!(rig.connect().await.reply().await.status, 503);
    rig.gateway.configure(with(2));
    let mut second = rig.connect().await;
    assert_eq!(second.get("/settings.json").await.status, 200);
    rig.gateway.configure(with(1));
    // Who is there already stays.
    assert_eq!(second.get("/settings.json").await.status, 200);
    assert_eq!(rig.connect().await.reply().await.status, 503);
}

#[tokio::test]
async fn public_settings_prefixes_and_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "a").unwrap();
    let rig = Rig::start(Configuration::default()).await;
    let mut http = rig.connect().await;
    assert_eq!(http.get("/settings.json").await.text(), "{}");
    assert_eq!(http.get("/files/a.txt").await.status, 404);
    rig.gateway.configure(Configuration {
        public: r#"{"x":1}"#.into(),
        wsgi_prefix: "/api/".into(),
        static_prefix: "/files/".into(),
        static_path: Some(folder.path().into()),
        ..Configuration::default()
    });
    assert_eq!(http.get("/api/settings.json").await.text(), r#"{"x":1}"#);
    assert_eq!(http.get("/files/a.txt").await.text(), "a");
    assert_eq!(http.get("/settings.json").await.status, 404);
}

#[tokio::test]
async fn http_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(Gateway::new(Configuration::default()).serve(listener, shutdown.clone()));
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET /settings.json HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\n{}"), "{answer}");
    shutdown.cancel();
    within(served).await.unwrap();
}
