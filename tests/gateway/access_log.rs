//! What the journal is told of requests: `gateway.access_log`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use shmooze::access::{Grant, Guard, Level, ProxyRule, Token, Tokens};
use shmooze::gateway::Configuration;
use shmooze::settings::AccessLog;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::http::{post, request};
use super::rig::{Rig, services, within};
use super::service::{Answering, Service};

const DONE: &str = r#"{"success": true}"#;

type Fields = BTreeMap<&'static str, String>;

struct Reading(Fields);

impl Visit for Reading {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// Sends on what is told of requests.
struct Sending(mpsc::UnboundedSender<Fields>);

impl<S: tracing::Subscriber> Layer<S> for Sending {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Reading(Fields::new());
        event.record(&mut fields);
        if fields.0.get("SHMOOZE_EVENT").is_some_and(|event| event == "request") {
            let _ = self.0.send(fields.0);
        }
    }
}

/// The access log of everything that this thread serves.
struct Log {
    told: mpsc::UnboundedReceiver<Fields>,
    _subscribed: DefaultGuard,
}

impl Log {
    fn start() -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let subscriber = tracing_subscriber::registry().with(Sending(sender));
        Self { told, _subscribed: tracing::subscriber::set_default(subscriber) }
    }

    async fn next(&mut self) -> Fields {
        within(self.told.recv()).await.unwrap()
    }

    /// All that was told until now, in words without its time.
    fn take(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.told.try_recv().ok()).map(|fields| words(&fields)).collect()
    }
}

fn words(fields: &Fields) -> String {
    let (words, _time) = fields["message"].rsplit_once(" in ").unwrap();
    words.to_owned()
}

#[tokio::test]
async fn what_each_choice_tells_of() {
    let mut log = Log::start();
    let fake = Answering::with(DONE).await;
    let dead = Service::start().await.endpoint();
    let with = |access_log| Configuration { access_log, ..services([("queue", fake.endpoint()), ("dead", dead.clone())]) };
    let rig = Rig::start(with(AccessLog::None)).await;
    let mut http = rig.connect().await;
    let all = [
        "127.0.0.1 POST /queue queue 200 17 bytes",
        "127.0.0.1 POST /queue queue,bg 200 17 bytes",
        "127.0.0.1 POST /queue add 200 17 bytes",
        "127.0.0.1 POST /queue queue,rm 200 17 bytes",
        "127.0.0.1 POST /queue get_volume 200 17 bytes",
        "127.0.0.1 POST /queue queue 200 17 bytes",
        "127.0.0.1 POST /queue ? 200 17 bytes",
        "127.0.0.1 GET /settings.json 200 2 bytes",
        "127.0.0.1 HEAD /settings.json 200 0 bytes",
        "127.0.0.1 GET /nothing%20here 404 11 bytes",
        "127.0.0.1 POST /queue 400",
        "127.0.0.1 POST /dead queue 502",
    ];
    for (choice, expected) in [
        (AccessLog::None, &[][..]),
        (AccessLog::All, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (AccessLog::Changes, &[2, 3, 4, 5, 6, 9, 10]),
        (AccessLog::Errors, &[9, 10, 11]),
    ] {
        rig.gateway.configure(with(choice));
        for body in [
            r#"{"cmd": "queue"}"#,
            r#"[{"cmd": "queue"}, {"cmd": "bg"}]"#,
            r#"{"cmd": "add", "args": {"cmd": "secret"}}"#,
            r#"[{"cmd": "queue"}, {"cmd": "rm"}]"#,
            r#"{"cmd": "get_volume"}"#,
            // Which a service may take for either.
            r#"{"cmd": "queue", "cmd": "rm"}"#,
            r#"{"cmd": 5}"#,
        ] {
            assert_eq!(http.post("/queue", body).await.text(), DONE);
        }
        assert_eq!(http.get("/settings.json?token=secret").await.status, 200);
        http.send(request("HEAD", "/settings.json", &[], "")).await;
        assert_eq!(http.try_reply(true).await.unwrap().unwrap().status, 200);
        assert_eq!(http.get("/nothing%20here?x").await.status, 404);
        assert_eq!(http.post("/queue", "{").await.status, 400);
        assert_eq!(http.post("/dead", r#"{"cmd": "queue"}"#).await.status, 502);
        let told = log.take();
        assert_eq!(told.len(), expected.len(), "{choice:?} {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(all[*expected]), "{choice:?}: {told} is not {}", all[*expected]);
        }
    }
}

#[tokio::test]
async fn who_asked_as_a_proxy_says_it() {
    let mut log = Log::start();
    let fake = Answering::with(DONE).await;
    let proxies = vec![ProxyRule::parse("127.0.0.1").unwrap()];
    let rig = Rig::start(Configuration { proxies, ..services([("queue", fake.endpoint())]) }).await;
    let mut http = rig.connect().await;
    for (said, client) in [("198.51.100.9, 192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7"), ("\"", "127.0.0.1")] {
        http.send(request("POST", "/queue", &[("Content-Type", "text/json"), ("X-Forwarded-For", said)], r#"{"cmd":"rm"}"#))
            .await;
        let status = http.reply().await.status;
        let fields = log.next().await;
        assert_eq!((&*fields["SHMOOZE_CLIENT"], &*fields["SHMOOZE_STATUS"]), (client, &*status.to_string()));
        assert!(fields["SHMOOZE_MICROSECONDS"].parse::<u64>().is_ok());
    }
}

#[tokio::test]
async fn a_list_without_end_has_an_entry_with_one() {
    let mut log = Log::start();
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(services([("queue", fake.endpoint())])).await;
    let body = format!("[{}]", vec![r#"{"cmd": "rm"}"#; 1000].join(","));
    assert_eq!(rig.connect().await.post("/queue", &body).await.status, 200);
    assert_eq!(log.take(), ["127.0.0.1 POST /queue rm,rm,rm,rm,rm,rm,rm,rm,… 200 17 bytes"]);
    let name = "x".repeat(100_000);
    let body = format!("[{}]", vec![format!(r#"{{"cmd": "{name}\u0007"}}"#); 3].join(","));
    assert_eq!(rig.connect().await.post("/queue", &body).await.status, 200);
    let told = log.take();
    assert!(told[0].len() < 400, "{told:?}");
}

#[tokio::test]
async fn what_a_command_takes_by_the_file_of_tokens_counts() {
    let mut log = Log::start();
    let fake = Answering::with(DONE).await;
    let token = "0123456789abcdef";
    let grants = vec![Grant { token: Token::parse(token).unwrap(), level: Level::Remove }];
    let guard = Guard { grants, commands: [("get_volume".to_owned(), Level::View)].into() };
    let tokens = Arc::new(Tokens { endpoints: [("volume".to_owned(), Arc::new(guard))].into(), others: None });
    let rig = Rig::start(Configuration { tokens, ..services([("volume", fake.endpoint())]) }).await;
    let mut http = rig.connect().await;
    let bearer = format!("Bearer {token}");
    for command in ["get_volume", "set_volume"] {
        let headers = [("Content-Type", "text/json"), ("Authorization", bearer.as_str())];
        http.send(request("POST", "/volume", &headers, &format!(r#"{{"cmd": "{command}"}}"#))).await;
        assert_eq!(http.reply().await.status, 200);
    }
    assert_eq!(http.post("/volume", r#"{"cmd": "get_volume"}"#).await.status, 401);
    let told = log.take();
    assert_eq!(told[0], "127.0.0.1 POST /volume set_volume 200 17 bytes");
    assert!(told[1].starts_with("127.0.0.1 POST /volume 401 ") && told.len() == 2, "{told:?}");
}

#[tokio::test]
async fn a_file_is_told_when_it_was_sent_and_a_client_that_left_when_he_did() {
    let mut log = Log::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "x".repeat(300_000)).unwrap();
    let slow = Service::start().await;
    let configuration = Configuration {
        access_log: AccessLog::All,
        static_path: Some(folder.path().to_owned()),
        ..services([("slow", slow.endpoint())])
    };
    let rig = Rig::start(configuration).await;
    assert_eq!(rig.connect().await.get("/").await.body.len(), 300_000);
    assert_eq!(words(&log.next().await), "127.0.0.1 GET / 200 300000 bytes");
    rig.connect().await.send(post("/slow", r#"{"cmd": "add"}"#)).await;
    // The gateway ends, and with it what is under way.
    let (_peer, _) = slow.line().await;
    rig.served.abort();
    let fields = log.next().await;
    assert!(!fields.contains_key("SHMOOZE_STATUS"));
    assert!(fields["message"].starts_with("127.0.0.1 POST /slow add not answered: the client went away after "), "{fields:?}");
}
