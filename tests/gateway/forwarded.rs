//! What a proxy in front says, over real connections: who is believed is whoever holds the other end.

use std::net::Ipv6Addr;

use shmooze::access::{HostRule, Hosts, ProxyRule};
use shmooze::gateway::{Configuration, Gateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::http::{Http, request};
use super::rig::{Rig, services, within};
use super::service::Answering;

const DONE: &str = r#"{"success": true}"#;

fn proxies(texts: &[&str]) -> Vec<ProxyRule> {
    texts.iter().map(|text| ProxyRule::parse(text).unwrap()).collect()
}

fn behind(fake: &Answering, texts: &[&str]) -> Configuration {
    let hosts = Hosts::new(&[HostRule::parse("kiosk.example").unwrap()]);
    Configuration { hosts, proxies: proxies(texts), ..services([("fake", fake.endpoint())]) }
}

/// A POST to `localhost` by a page of `origin`, with what a proxy says of it.
fn forwarded(origin: &str, said: &[(&str, &str)]) -> String {
    let mut headers = vec![("Content-Type", "text/json"), ("Origin", origin)];
    headers.extend(said);
    request("POST", "/fake", &headers, "{}")
}

const HTTPS: (&str, &str) = ("X-Forwarded-Proto", "https");
const KIOSK: (&str, &str) = ("X-Forwarded-Host", "kiosk.example");

#[tokio::test]
async fn the_host_and_scheme_that_a_listed_proxy_was_asked_by() {
    let fake = Answering::with(DONE).await;
    let rig = Rig::start(behind(&fake, &["127.0.0.0/8"])).await;
    let mut http = rig.connect().await;
    let mut ask = async |origin: &str, said: &[(&str, &str)]| {
        http.send(forwarded(origin, said)).await;
        http.reply().await
    };
    assert_eq!(ask("https://kiosk.example", &[KIOSK, HTTPS]).await.text(), DONE);
    assert_eq!(ask("https://kiosk.example:8443", &[("X-Forwarded-Host", "kiosk.example:8443"), HTTPS]).await.text(), DONE);
    // Which scheme a page was loaded with is looked at where it is known.
    assert_eq!(ask("http://kiosk.example", &[KIOSK]).await.text(), DONE);
    assert_eq!(ask("http://kiosk.example", &[KIOSK, HTTPS]).await.status, 403);
    // Its own page, too, is now that of the name outside.
    assert_eq!(ask("http://localhost", &[KIOSK]).await.status, 403);
    let foreign = ask("https://evil.example", &[("X-Forwarded-Host", "evil.example"), HTTPS]).await;
    let sentence = "\"evil.example\" is no name of this gateway; its settings may add it to gateway.hosts.";
    assert_eq!((foreign.status, foreign.error().as_str()), (421, sentence));
    for said in [("X-Forwarded-Proto", "wss"), ("X-Forwarded-Host", "a/b"), ("X-Forwarded-For", "somebody")] {
        let reply = ask("https://kiosk.example", &[KIOSK, HTTPS, said]).await;
        // The nearest proxy is who wrote the last of them.
        assert_eq!(reply.status, 400, "{said:?}");
        assert!(reply.error().starts_with(&format!("Header \"{}\" of a proxy ", said.0)), "{}", reply.error());
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let fake = Answering::with(DONE).await;
    for texts in [&[][..], &["unix", "192.0.2.0/24", "::1"]] {
        let rig = Rig::start(behind(&fake, texts)).await;
        let mut http = rig.connect().await;
        http.send(forwarded("https://kiosk.example", &[KIOSK, HTTPS])).await;
        assert_eq!(http.reply().await.status, 403, "{texts:?}");
        http.send(forwarded("http://localhost", &[("X-Forwarded-Host", "a/b"), ("X-Forwarded-For", "?"), HTTPS])).await;
        assert_eq!(http.reply().await.text(), DONE, "{texts:?}");
        // Until it is listed.
        rig.gateway.configure(behind(&fake, &["127.0.0.1"]));
        http.send(forwarded("https://kiosk.example", &[KIOSK, HTTPS])).await;
        assert_eq!(http.reply().await.text(), DONE, "{texts:?}");
    }
}

#[tokio::test]
async fn an_address_of_ipv4_stays_one_on_a_socket_of_ipv6() {
    let fake = Answering::with(DONE).await;
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(Gateway::new(behind(&fake, &["127.0.0.1"])).serve(listener, CancellationToken::new()));
    for (address, status) in [("127.0.0.1", 200), ("[::1]", 403)] {
        let mut http = Http::connect(format!("{address}:{port}").parse().unwrap()).await;
        http.send(forwarded("https://kiosk.example", &[KIOSK, HTTPS])).await;
        assert_eq!(http.reply().await.status, status, "{address}");
    }
    serving.abort();
}

#[tokio::test]
async fn a_proxy_on_a_unix_socket() {
    let fake = Answering::with(DONE).await;
    let folder = tempfile::tempdir().unwrap();
    for (texts, status) in [(&["unix"][..], "200"), (&["0.0.0.0/0", "::/0"], "403")] {
        let path = folder.path().join(status);
        let listener = UnixListener::bind(&path).unwrap();
        let serving = tokio::spawn(Gateway::new(behind(&fake, texts)).serve(listener, CancellationToken::new()));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let said = [KIOSK, HTTPS, ("Connection", "close")];
        stream.write_all(forwarded("https://kiosk.example", &said).as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        serving.abort();
    }
}
