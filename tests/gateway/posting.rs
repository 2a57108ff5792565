//! Posting to services.

use std::time::Duration;

use shmooze::gateway::Configuration;

use super::http::{post, request};
use super::rig::{Rig, services};
use super::service::{Answering, Service};

const DONE: &str = r#"{"success": true}"#;

#[tokio::test]
async fn a_request_and_its_answer_pass_unchanged() {
    let answer = r#"{"result": [{"type": "y", "uid": "é", "n": 12345678901234567890123, "x": NaN}],   "success": true}"#;
    let fake = Answering::with(answer).await;
    let rig = Rig::start(services([("fake", fake.endpoint())])).await;
    let mut http = rig.connect().await;
    for (body, line) in [
        (r#"{"cmd":"x","args":{"b":1,"a":2}}"#, r#"{"cmd":"x","args":{"b":1,"a":2}}"#),
        (r#"[1,2.50,1e3,true,null,"é"]"#, r#"[1,2.50,1e3,true,null,"é"]"#),
        (r#"{"a":NaN,"b":12345678901234567890}"#, r#"{"a":NaN,"b":12345678901234567890}"#),
        ("  5 ", "  5 "),
        ("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}"),
        ("\r\n{\n\"cmd\":\r\n\"queue\"}\n", "  { \"cmd\":  \"queue\"} "),
    ] {
        let reply = http.post("/fake", body).await;
        assert_eq!((reply.status, reply.text()), (200, answer));
        assert_eq!(reply.header("content-type"), Some("text/json"));
        assert_eq!(fake.take_lines(), [line]);
    }
    assert_eq!(fake.connections(), 1, "the connection was kept");
}

#[tokio::test]
async fn paths_below_an_endpoint_and_queries() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(services([("fake", fake.endpoint())])).await;
    let mut http = rig.connect().await;
    for path in ["/fake", "/fake/", "/fake/a/b", "/fake?x=1", "/%66ake", "http://other.example/fake"] {
        assert_eq!(http.post(path, "{}").await.text(), DONE, "{path}");
    }
    for path in ["/", "/fakes", "/FAKE", "/wsgi", "//fake", "*"] {
        assert_ne!(http.post(path, "{}").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_told_which_is_allowed() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(services([("fake", fake.endpoint())])).await;
    let mut http = rig.connect().await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "FOO"] {
        http.send(request(method, "/fake", &[("Content-Type", "text/json")], "{}")).await;
        let reply = http.try_reply(method == "HEAD").await.unwrap().unwrap();
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
    }
    assert_eq!(http.post("/fake", "{}").await.status, 200, "the connection is as it was");
    assert_eq!(fake.take_lines(), ["{}"]);
}

#[tokio::test]
async fn only_json_is_taken() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(services([("fake", fake.endpoint())])).await;
    let mut http = rig.connect().await;
    for (content_type, status) in [
        ("text/json", 200),
        ("application/json; charset=utf-8", 200),
        ("TEXT/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
        ("text/json, text/plain", 415),
    ] {
        http.send(request("POST", "/fake", &[("Content-Type", content_type)], "{}")).await;
        let reply = http.reply().await;
        assert_eq!(reply.status, status, "{content_type}");
        if status == 415 {
            assert_eq!(reply.text(), "Endpoint only accepts JSON.");
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        }
    }
    http.send("POST /fake HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}").await;
    assert_eq!(http.reply().await.status, 415);
    assert_eq!(fake.take_lines().len(), 3);
}

#[tokio::test]
async fn what_is_not_json_never_reaches_the_service() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(services([("fake", fake.endpoint())])).await;
    let mut http = rig.connect().await;
    for body in ["", "{", "hello", "{'cmd': 1}", "[", "{} x", "\u{feff}{}", "{\"a\":\n\"b\nc\"}"] {
        let reply = http.post("/fake", body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.error().contains("not JSON"), "{body}");
    }
    http.send(b"POST /fake HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/json\r\nContent-Length: 3\r\n\r\n\"\xff\"").await;
    assert_eq!(http.reply().await.status, 400);
    assert_eq!(fake.take_lines(), [""; 0]);
    assert_eq!(http.post("/fake", "{}").await.status, 200);
}

#[tokio::test]
async fn bodies_in_chunks_and_with_expect() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(services([("fake", fake.endpoint())])).await;
    let mut http = rig.connect().await;
    http.send("POST /fake HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/json\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    http.send("3\r\n{\"a\r\n").await;
    http.send("4;x=y\r\n\": 5\r\n").await;
    http.send("1\r\n}\r\n0\r\n\r\n").await;
    assert_eq!(http.reply().await.text(), DONE);
    http.send(
        "POST /fake HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    )
    .await;
    assert_eq!(http.reply().await.status, 100);
    http.send("[]").await;
    assert_eq!(http.reply().await.text(), DONE);
    assert_eq!(fake.take_lines(), [r#"{"a": 5}"#, "[]"]);
}

#[tokio::test]
async fn a_body_that_does_not_come_whole() {
    let fake = Answering::with(DONE).await;
    let configuration = Configuration { idle_timeout: Duration::from_millis(50), ..services([("fake", fake.endpoint())]) };
    let rig = Rig::start(configuration).await;
    let half = "POST /fake HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/json\r\nContent-Length: 40\r\n\r\n{\"cmd\"";
    let mut stalled = rig.connect().await;
    stalled.send(half).await;
    let reply = stalled.reply().await;
    assert_eq!((reply.status, reply.error().as_str()), (408, "Nothing of the body came for 50 ms."));
    assert!(stalled.is_ended().await);

    let mut cut = rig.connect().await;
    cut.send(half).await;
    cut.finish().await;
    let reply = cut.reply().await;
    assert_eq!(reply.status, 400);
    assert!(reply.error().starts_with("Body cannot be read: "), "{}", reply.error());
    assert_eq!(fake.take_lines(), [""; 0]);
}

#[tokio::test]
async fn bodies_over_the_limit() {
    let fake = Answering::with(DONE).await;
    let configuration = Configuration { max_body_bytes: 1000, ..services([("fake", fake.endpoint())]) };
    let rig = Rig::start(configuration).await;
    let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    let mut http = rig.connect().await;
    assert_eq!(http.post("/fake", &body(1000)).await.status, 200);

    // Refused by its announcement: one who asks first sends nothing.
    let head = "POST /fake HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/json\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n";
    http.send(head).await;
    let reply = http.reply().await;
    assert_eq!((reply.status, reply.error().as_str()), (413, "Body is longer than 1000 bytes."));

    // One who does not ask gets to read the answer all the same, though it goes on sending.
    let mut http = rig.connect().await;
    let _ = http.try_send(post("/fake", &body(4 << 20))).await;
    assert_eq!(http.reply().await.status, 413);

    // Found out while it comes.
    let mut http = rig.connect().await;
    http.send("POST /fake HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/json\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = format!("258\r\n{}\r\n", " ".repeat(0x258));
    http.send(&chunk).await;
    http.send(&chunk).await;
    assert_eq!(http.reply().await.status, 413);
    assert_eq!(fake.take_lines().len(), 1);
}

#[tokio::test]
async fn a_large_body_and_a_large_answer() {
    let echo = Service::start().await.answer(str::to_owned);
    let rig = Rig::start(services([("echo", echo.endpoint())])).await;
    let body = format!("\"{}\"", "0123456789".repeat(500_000));
    let reply = rig.connect().await.post("/echo", &body).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body == body.as_bytes());
}

#[tokio::test]
async fn answers_that_are_none() {
    for (answer, error) in [
        ("hello", "answered with something that is not JSON: Line is not JSON: expected value at line 1 column 1."),
        ("{} x", "answered with something that is not JSON: Line is not JSON: trailing characters at line 1 column 4."),
        ("[1,2,3,4,5,6,7,8,9,10,11]", "answered with a line longer than 20 bytes."),
    ] {
        let fake = Answering::with(answer).await;
        let rig = Rig::start(Configuration { max_line_bytes: 20, ..services([("fake", fake.endpoint())]) }).await;
        let reply = rig.connect().await.post("/fake", "{}").await;
        assert_eq!(reply.status, 502);
        assert_eq!(reply.error(), format!("Service at {} {error}", fake.endpoint()));
    }
    let fake = Answering::with("[1, 2]").await;
    let rig = Rig::start(services([("fake", fake.endpoint())])).await;
    assert_eq!(rig.connect().await.post("/fake", "{}").await.text(), "[1, 2]", "any JSON is an answer");
}

#[tokio::test]
async fn a_service_that_is_not_there() {
    let gone = Service::start().await.endpoint();
    let rig = Rig::start(services([("fake", gone.clone())])).await;
    let mut http = rig.connect().await;
    let reply = http.post("/fake", "{}").await;
    assert_eq!(reply.status, 502);
    assert_eq!(reply.error(), format!("Service at {gone} cannot be reached: Connection refused."));
    assert_eq!(http.get("/settings.json").await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn a_silent_service_is_waited_for_only_so_long() {
    let silent = Service::start().await;
    let configuration = Configuration { service_timeout: Duration::from_millis(100), ..services([("fake", silent.endpoint())]) };
    let rig = Rig::start(configuration).await;
    let mut http = rig.connect().await;
    http.send(post("/fake", "[1]")).await;
    let (mut peer, line) = silent.line().await;
    assert_eq!(line, "[1]");
    let reply = http.reply().await;
    assert_eq!(reply.status, 504);
    assert_eq!(reply.error(), format!("Service at {} did not answer within 100 ms.", silent.endpoint()));
    assert_eq!(peer.line().await, None, "its connection is closed");

    // What comes too late is nobody's answer.
    peer.send("\"late\"").await;
    http.send(post("/fake", "[2]")).await;
    let (mut peer, line) = silent.line().await;
    assert_eq!(line, "[2]");
    peer.send("\"second\"").await;
    assert_eq!(http.reply().await.text(), "\"second\"");
}

#[tokio::test]
async fn a_slow_service_keeps_nobody_else_waiting() {
    let slow = Service::start().await;
    let quick = Answering::with(DONE).await;
    let rig = Rig::start(services([("slow", slow.endpoint()), ("quick", quick.endpoint())])).await;
    let mut waiting = rig.connect().await;
    waiting.send(post("/slow", "[1]")).await;
    let (mut first, _) = slow.line().await;
    let mut http = rig.connect().await;
    assert_eq!(http.get("/settings.json").await.status, 200);
    assert_eq!(http.post("/quick", "{}").await.text(), DONE);

    // Nor another request to the very same service.
    http.send(post("/slow", "[2]")).await;
    let (mut second, _) = slow.line().await;
    second.send("2").await;
    assert_eq!(http.reply().await.text(), "2");
    first.send("1").await;
    assert_eq!(waiting.reply().await.text(), "1");
}

#[tokio::test]
async fn a_connection_that_the_service_closed_is_not_used() {
    let service = Service::start().await;
    let rig = Rig::start(services([("fake", service.endpoint())])).await;
    let mut http = rig.connect().await;
    http.send(post("/fake", "[1]")).await;
    let (mut peer, _) = service.line().await;
    peer.send("1").await;
    assert_eq!(http.reply().await.text(), "1");
    drop(peer);

    http.send(post("/fake", "[2]")).await;
    let (mut peer, line) = service.line().await;
    assert_eq!(line, "[2]");
    peer.send("2").await;
    assert_eq!(http.reply().await.text(), "2");

    // Nor one on which something came unasked.
    peer.send("\"unasked\"").await;
    http.send(post("/fake", "[3]")).await;
    let (mut peer, line) = service.line().await;
    assert_eq!(line, "[3]");
    peer.send_bytes(b"3\n\"with the answer\"\n").await;
    assert_eq!(http.reply().await.text(), "3");
    assert_eq!(peer.line().await, None);
}

#[tokio::test]
async fn a_request_that_may_have_been_carried_out_is_not_repeated() {
    let service = Service::start().await;
    let rig = Rig::start(services([("fake", service.endpoint())])).await;
    let mut http = rig.connect().await;
    http.send(post("/fake", "[1]")).await;
    let (mut peer, _) = service.line().await;
    peer.send("1").await;
    assert_eq!(http.reply().await.text(), "1");

    http.send(post("/fake", "[2]")).await;
    assert_eq!(peer.line().await.as_deref(), Some("[2]"));
    drop(peer);
    let reply = http.reply().await;
    assert_eq!(reply.status, 502);
    assert_eq!(reply.error(), format!("Service at {} closed the connection without an answer.", service.endpoint()));

    // Half an answer is none.
    http.send(post("/fake", "[3]")).await;
    let (mut peer, line) = service.line().await;
    assert_eq!(line, "[3]", "[2] did not come again");
    peer.send_bytes(b"{\"success\": tr").await;
    drop(peer);
    assert_eq!(http.reply().await.status, 502);
}

#[tokio::test]
async fn many_at_once_each_get_their_own_answer() {
    let echo = Service::start().await.answer(|line| format!("{{\"echo\": {line}}}"));
    let rig = Rig::start(services([("echo", echo.endpoint())])).await;
    let clients = (0..40).map(|client| {
        let http = rig.connect();
        async move {
            let mut http = http.await;
            for request in 0..20 {
                let body = format!("[{client},{request}]");
                assert_eq!(http.post("/echo", &body).await.text(), format!("{{\"echo\": {body}}}"));
            }
        }
    });
    let tasks: tokio::task::JoinSet<()> = clients.collect();
    tasks.join_all().await;
    assert!(echo.connections() <= 40, "{} connections for 40 clients", echo.connections());
    assert_eq!(echo.take_lines().len(), 800);
}

#[tokio::test]
async fn settings() {
    let configuration = Configuration { public: "{\"name\": \"é\"}".into(), ..Configuration::default() };
    let rig = Rig::start(configuration).await;
    let mut http = rig.connect().await;
    for path in ["/settings.json", "/settings.json?x=1", "/settings.json/extra/path"] {
        let reply = http.get(path).await;
        assert_eq!((reply.status, reply.text()), (200, "{\"name\": \"é\"}"));
        assert_eq!(reply.header("content-type"), Some("text/json"));
    }
    http.send(request("HEAD", "/settings.json", &[], "")).await;
    let reply = http.try_reply(true).await.unwrap().unwrap();
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("14")));
    http.send(request("POST", "/settings.json", &[], "x")).await;
    let reply = http.reply().await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(http.get("/settings").await.status, 404);
}
