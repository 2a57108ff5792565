//! The client of services.

use std::time::Duration;

use shmooze::client::{Client, ClientError, Connection, Endpoint, Limits, Pool, http};
use shmooze::gateway::Configuration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};

use super::rig::{Rig, within};
use super::service::{Answering, Service};

const MAX: usize = 1 << 20;

#[tokio::test]
async fn a_request_and_its_response() {
    let service = Service::start().await.answer(|line| match line {
        r#"{"cmd": "no"}"# => r#"{"success": false, "error": "Bad command."}"#.into(),
        r#"{"cmd": "none"}"# => "[]".into(),
        r#"{"cmd": "junk"}"# => "{".into(),
        _ => format!(r#"{{"success": true, "result": [{line}]}}"#),
    });
    let client = Client::new(service.endpoint());
    let args = serde_json::value::to_raw_value(&[1]).unwrap();
    let response = client.request("x", Some(&args)).await.unwrap();
    assert_eq!(response.to_text(), r#"{"success": true, "result": [{"cmd": "x", "args": [1]}]}"#);
    let spread = serde_json::value::RawValue::from_string("[\n1\n]".into()).unwrap();
    let response = client.request("x", Some(&spread)).await.unwrap();
    assert_eq!(response.to_text(), r#"{"success": true, "result": [{"cmd": "x", "args": [ 1 ]}]}"#);
    assert_eq!(client.request("no", None).await.unwrap().to_text(), r#"{"success": false, "error": "Bad command."}"#);
    assert!(matches!(client.request("none", None).await, Err(ClientError::NotAResponse { .. })));
    assert!(matches!(client.request("junk", None).await, Err(ClientError::NotJson { .. })));
    assert_eq!(service.connections(), 1);
}

#[tokio::test]
async fn over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::new(Endpoint::Unix(path));
    let (response, _stream) = tokio::join!(client.request("x", None), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"{\"success\": true}\n").await.unwrap();
        stream
    });
    assert!(response.unwrap().is_success());
}

#[tokio::test]
async fn localhost_may_be_version_6_only() {
    // Not every machine has it.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let port = listener.local_addr().unwrap().port();
    let connection = within(Connection::open(&Endpoint::local(port), MAX)).await;
    assert!(connection.is_ok());
}

#[tokio::test]
async fn errors_name_the_service() {
    let service = Service::start().await;
    let endpoint = service.endpoint();
    let client = Client::with(endpoint.clone(), MAX, Duration::from_millis(50));
    let (result, _peer) = tokio::join!(client.request("x", None), service.accept());
    assert_eq!(result.unwrap_err().to_string(), format!("Service at {endpoint} did not answer within 50 ms."));
    let (result, ()) = tokio::join!(client.request("x", None), async { drop(service.line().await) });
    assert_eq!(result.unwrap_err().to_string(), format!("Service at {endpoint} closed the connection without an answer."));
    drop(service);
    let error = client.request("x", None).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("Service at {endpoint} cannot be reached: ")), "{error}");
}

#[tokio::test]
async fn a_newline_is_not_sent() {
    let service = Answering::with("1").await;
    let mut connection = Connection::open(&service.endpoint(), MAX).await.unwrap();
    assert!(matches!(connection.request_line(b"[1]\n[2]").await, Err(ClientError::NotOneLine { .. })));
    assert_eq!(&*connection.request_line(b"[3]").await.unwrap(), b"1");
    assert_eq!(service.take_lines(), ["[3]"]);
}

#[tokio::test]
async fn a_connection_whose_request_was_given_up_is_done_with() {
    let service = Service::start().await;
    let mut connection = Connection::open(&service.endpoint(), MAX).await.unwrap();
    let mut peer = service.accept().await;
    tokio::select! {
        biased;
        _ = connection.request_line(b"[1]") => unreachable!("there is no answer"),
        line = peer.line() => assert_eq!(line.as_deref(), Some("[1]")),
    }
    peer.send("\"late\"").await;
    assert!(!connection.is_usable());
    assert!(matches!(connection.request_line(b"[2]").await, Err(ClientError::Closed { .. })));
    drop(connection);
    assert_eq!(peer.line().await, None, "[2] was never sent");
}

#[tokio::test]
async fn an_answer_over_the_limit_ends_the_connection() {
    let service = Answering::with("\"0123456789\"").await;
    let mut connection = Connection::open(&service.endpoint(), 10).await.unwrap();
    assert!(matches!(connection.request_line(b"[1]").await, Err(ClientError::TooLong { limit: 10, .. })));
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn the_connection_used_last_is_taken_first() {
    let service = Service::start().await;
    let pool = Pool::new(service.endpoint(), MAX, Limits::default());
    let both = async { tokio::join!(pool.request_line(b"[1]"), pool.request_line(b"[2]")) };
    let ((first, second), mut last) = tokio::join!(both, async {
        let ((mut a, _), (mut b, _)) = (service.line().await, service.line().await);
        a.send("\"a\"").await;
        // The first is back in the pool before the second is.
        while pool.idle() == 0 {
            tokio::task::yield_now().await;
        }
        b.send("\"b\"").await;
        b
    });
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(pool.idle(), 2);
    let (answer, ()) = tokio::join!(pool.request_line(b"[3]"), async {
        assert_eq!(last.line().await.as_deref(), Some("[3]"));
        last.send("3").await;
    });
    assert_eq!(&*answer.unwrap(), b"3");
}

#[tokio::test]
async fn the_pool_keeps_to_its_limits() {
    let service = Service::start().await;
    let pool = Pool::new(service.endpoint(), MAX, Limits { busy: 2, idle: 1, ..Limits::default() });
    let requests = async { tokio::join!(pool.request_line(b"1"), pool.request_line(b"2"), pool.request_line(b"3")) };
    let (answers, (first, second)) = tokio::join!(requests, async {
        let ((mut first, _), (mut second, _)) = (service.line().await, service.line().await);
        first.send("\"1\"").await;
        assert_eq!(first.line().await.as_deref(), Some("3"), "the third waits until one is free");
        first.send("\"3\"").await;
        second.send("\"2\"").await;
        (first, second)
    });
    let text = |answer: Result<bytes::Bytes, ClientError>| String::from_utf8(answer.unwrap().to_vec()).unwrap();
    assert_eq!([answers.0, answers.1, answers.2].map(text), ["\"1\"", "\"2\"", "\"3\""]);
    assert_eq!(pool.idle(), 1);
    drop((first, second));
}

#[tokio::test]
async fn old_connections_make_room() {
    let service = Answering::with("1").await;
    let pool = Pool::new(service.endpoint(), MAX, Limits { idle_time: Duration::ZERO, ..Limits::default() });
    let _ = tokio::join!(pool.request_line(b"1"), pool.request_line(b"2"), pool.request_line(b"3"));
    assert!(pool.idle() < 3);
}

#[tokio::test]
async fn posting_to_a_gateway() {
    let service = Service::start().await.answer(str::to_owned);
    let rig =
        Rig::start(Configuration { services: [("echo".to_owned(), service.endpoint())].into(), ..Configuration::default() })
            .await;
    let url = format!("http://{}/echo?x", rig.address);
    let (status, body) = within(http::post_json(&url, "[1]".into())).await.unwrap();
    assert_eq!((status.as_u16(), &*body), (200, &b"[1]"[..]));
    let (status, body) = within(http::post_json(&url, "[".into())).await.unwrap();
    assert_eq!(status.as_u16(), 400);
    assert!(String::from_utf8_lossy(&body).contains("not JSON"));
    let (status, _) = within(http::post_json(&format!("http://{}", rig.address), "[1]".into())).await.unwrap();
    assert_eq!(status.as_u16(), 404);
}

#[tokio::test]
async fn posting_to_what_is_no_gateway() {
    let service = Service::start().await;
    let Endpoint::Tcp { port, .. } = service.endpoint() else { unreachable!() };
    let url = format!("http://127.0.0.1:{port}/");
    let (result, ()) = tokio::join!(within(http::post_json(&url, "[1]".into())), async {
        service.accept().await.send("hello").await;
    });
    let error = result.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{url} gave no answer: ")), "{error}");
    drop(service);
    let error = http::post_json(&url, "[1]".into()).await.unwrap_err().to_string();
    assert_eq!(error, format!("{url} cannot be reached: Connection refused."));
}
