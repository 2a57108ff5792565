//! The description of what is served.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use shmooze::access::{Grant, Guard, Level, Token, Tokens};
use shmooze::gateway::Configuration;
use shmooze::settings::Settings;

use super::http::{Http, Reply, request};
use super::rig::Rig;

const VIEW: &str = "view-0123456789abcdef";
const ADD: &str = "add-0123456789abcdef";

/// A pool with modules of a type of this name.
fn pool(module_type: &str) -> Configuration {
    let settings = json!({
        "ports": {"pool": 1},
        "services": {"pool": {"kind": "pool", "modules": {module_type: {"process": ["/bin/true"]}}}},
    });
    Configuration::from_settings(&Settings::parse(&settings.to_string(), Path::new("/settings.json")).unwrap())
}

async fn description(http: &mut Http, path: &str) -> Value {
    let reply = http.get(path).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn it_is_that_of_the_settings_in_force() {
    let rig = Rig::start(pool("before")).await;
    let mut http = rig.connect().await;
    let before = description(&mut http, "/openapi.json").await;
    assert_eq!(before["openapi"], "3.1.1");
    assert!(before["paths"]["/pool"]["post"].is_object() && before.to_string().contains("\"before\""));
    rig.gateway.configure(Configuration { wsgi_prefix: "/api/".to_owned(), ..pool("after") });
    let after = description(&mut http, "/api/openapi.json").await;
    assert!(after["paths"]["/api/pool"]["post"].is_object() && after.to_string().contains("\"after\""));
    assert!(!after.to_string().contains("\"before\""));
    assert_eq!(http.get("/openapi.json").await.status, 404);
}

#[tokio::test]
async fn it_is_only_read() {
    let rig = Rig::start(pool("some")).await;
    let mut http = rig.connect().await;
    let reply = http.post("/openapi.json", "{}").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    http.send("HEAD /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(http.try_reply(true).await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn a_service_of_that_name_comes_first() {
    let settings = Settings::parse(r#"{"ports": {"openapi.json": 1}}"#, Path::new("/settings.json")).unwrap();
    let rig = Rig::start(Configuration::from_settings(&settings)).await;
    let reply = rig.connect().await.get("/openapi.json").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn what_types_tells_is_for_those_who_may_ask_for_it() {
    let grants = [(VIEW, Level::View), (ADD, Level::Add)];
    let grants = grants.map(|(token, level)| Grant { token: Token::parse(token).unwrap(), level }).into();
    let guard = Guard { grants, commands: [("types".to_owned(), Level::Add)].into() };
    let tokens = Arc::new(Tokens { endpoints: [("pool".to_owned(), Arc::new(guard))].into(), others: None });
    let rig = Rig::start(Configuration { tokens, ..pool("secret") }).await;
    let mut http = rig.connect().await;
    for (token, is_shown) in [(None, false), (Some("nobody-0123456789abcdef"), false), (Some(VIEW), false), (Some(ADD), true)] {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        http.send(request("GET", "/openapi.json", &headers, "")).await;
        let reply: Reply = http.reply().await;
        assert_eq!((reply.status, reply.header("vary")), (200, Some("Authorization")));
        assert_eq!(reply.text().contains("\"secret\""), is_shown, "{token:?}");
        let description: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(description["paths"]["/pool"]["post"]["security"], json!([{"token": []}]));
    }
}
