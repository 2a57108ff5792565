//! `/metrics` and `/healthz` of a real gateway in front of a real queue and pool.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "metrics/exposition.rs"]
mod exposition;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use common::{Client, Daemon, PATIENCE, World, eventually};
use exposition::Exposition;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn start_gateway(world: &World) -> Daemon {
    Daemon::start(Command::new(env!("CARGO_BIN_EXE_shmooze-gateway")).arg("--settings").arg(&world.settings), 1)
}

/// Status, head and body.
fn http(world: &World, request: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

fn scrape(world: &World) -> Exposition {
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1\r\n";
    let (status, head, body) = http(world, "GET /metrics", accept, "");
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    Exposition::read(&body)
}

fn health(world: &World, query: &str) -> (u16, Value) {
    let (status, _, body) = http(world, &format!("GET /healthz{query}"), "", "");
    (status, serde_json::from_str(&body).unwrap())
}

fn post(world: &World, service: &str, body: &str) -> u16 {
    http(world, &format!("POST /{service}"), "Content-Type: text/json\r\n", body).0
}

fn modules(scraped: &Exposition, service: &str, type_name: &str, state: &str) -> f64 {
    let labels = [("service", service), ("list", "modules"), ("type", type_name), ("state", state)];
    scraped.one("shmooze_modules", &labels)
}

fn endings(scraped: &Exposition, service: &str, cause: &str, reached: &str) -> f64 {
    scraped.one("shmooze_module_endings_total", &[("service", service), ("cause", cause), ("reached", reached)])
}

#[test]
fn what_happens_in_a_pool_is_counted() {
    let world = World::new();
    let (_pool, _gateway) = (world.start_pool(), start_gateway(&world));
    let mut client = Client::connect(world.pool);
    let before = scrape(&world);
    assert_eq!(modules(&before, "pool", "echo", "playing"), 0.0, "what is not there yet is 0");
    assert_eq!(before.sum("shmooze_module_endings_total", &[]), 0.0);
    assert_eq!(before.of("shmooze_module_endings_total").count(), 22, "7 causes, 3 steps, and set aside");

    let (one, two, three) = (client.add("echo", &json!({})), client.add("tiny", &json!({})), client.add("tiny", &json!({})));
    let after = scrape(&world);
    assert_eq!(modules(&after, "pool", "echo", "playing"), 1.0);
    assert_eq!(modules(&after, "pool", "tiny", "playing"), 2.0);
    assert_eq!(after.sum("shmooze_modules", &[("service", "pool")]), 3.0, "each is in one state");
    let launches = |scraped: &Exposition| scraped.one("shmooze_launch_duration_seconds_count", &[("service", "pool")]);
    assert_eq!((launches(&before), launches(&after)), (0.0, 3.0));
    let took = after.one("shmooze_launch_duration_seconds_sum", &[("service", "pool")]);
    assert!(took > 0.0 && took < 3.0 * PATIENCE.as_secs_f64(), "{took}");
    let revision = |scraped: &Exposition| scraped.one("shmooze_revision", &[("service", "pool")]);
    assert!(revision(&after) >= revision(&before) + 3.0);
    assert_eq!(after.of("shmooze_queue_length").count(), 0, "the queue does not run, and a pool is none");

    // Removed, its own end, a crash: as history has them.
    client.call("rm", &json!({"uids": [two]}));
    client.call("tell_module", &json!({"uid": one, "cmd": "finish"}));
    let third =
        client.call("status", &json!({}))["result"]["pool"].as_array().unwrap().iter().find_map(|module| {
            (module["uid"] == three.as_str()).then(|| i32::try_from(module["pid"].as_i64().unwrap()).unwrap())
        });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(third.unwrap()), Signal::SIGKILL).unwrap();
    eventually("all three have ended", || client.call("history", &json!({}))["result"].as_array().unwrap().len() == 3);
    let history = client.call("history", &json!({}))["result"].clone();
    let ended = scrape(&world);
    for life in history.as_array().unwrap() {
        assert_eq!(endings(&ended, "pool", life["cause"].as_str().unwrap(), life["reached"].as_str().unwrap()), 1.0, "{life}");
    }
    assert_eq!(ended.sum("shmooze_module_endings_total", &[("service", "pool")]), 3.0);
    assert_eq!(endings(&ended, "pool", "stream_lost", "exit"), 1.0, "{history}");
    assert_eq!(ended.sum("shmooze_modules", &[]), 0.0);

    // What ignores everything is ended by SIGKILL, and is seen to end until then.
    let stubborn = client.add("problem", &json!({"noquit": true, "noterm": true}));
    client.call("rm", &json!({"uids": [stubborn]}));
    eventually("it is killed", || {
        let scraped = scrape(&world);
        let (ending, killed) = (modules(&scraped, "pool", "problem", "ending"), endings(&scraped, "pool", "removed", "kill"));
        assert!(ending + killed >= 1.0, "neither ending nor ended");
        killed == 1.0
    });
    // One that cannot be started.
    assert_eq!(client.call("add", &json!({"type": "missing"}))["success"], false);
    let failed = scrape(&world);
    assert_eq!(failed.one("shmooze_launch_failures_total", &[("service", "pool")]), 1.0);
    assert_eq!(endings(&failed, "pool", "not_connected", "exit"), 1.0);
    assert_eq!(launches(&failed), 4.0);
}

#[test]
fn a_queue_and_its_background_and_who_starts() {
    let world = World::new();
    // It never connects, and is waited for as long as the test takes.
    world.change(|settings| {
        let silent = json!({"process": ["sh", "-c", "exec sleep 1000"], "timeouts": {"connect": 600_000}});
        settings["services"]["queue"]["modules"]["silent"] = silent;
    });
    let (_queue, _gateway) = (world.start_queue(), start_gateway(&world));
    let mut client = Client::connect(world.queue);
    client.call("set_bg", &json!({"type": "echo", "args": {}}));
    client.add("echo", &json!({}));
    let second = client.add("echo", &json!({}));
    assert_eq!(modules(&scrape(&world), "queue", "echo", "waiting"), 1.0, "told nothing yet");
    client.call("mv", &json!({"uids": [second]}));
    Client::connect(world.queue).send(&json!({"cmd": "add", "args": {"type": "silent"}}).to_string());
    eventually("it starts", || modules(&scrape(&world), "queue", "silent", "starting") == 1.0);
    let scraped = scrape(&world);
    assert_eq!(scraped.one("shmooze_queue_length", &[("service", "queue")]), 2.0);
    assert_eq!((modules(&scraped, "queue", "echo", "playing"), modules(&scraped, "queue", "echo", "suspended")), (1.0, 1.0));
    let background = [("service", "queue"), ("list", "backgrounds"), ("type", "echo"), ("state", "suspended")];
    assert_eq!(scraped.one("shmooze_modules", &background), 1.0);
}

#[test]
fn what_is_down_and_what_comes_again() {
    let world = World::new();
    let (pool, queue, _gateway) = (world.start_pool(), world.start_queue(), start_gateway(&world));
    assert_eq!(health(&world, ""), (200, json!({"status": "ok", "services": {"queue": "ok", "pool": "ok"}})));
    let up = |scraped: &Exposition, service| scraped.one("shmooze_service_up", &[("service", service)]);
    let before = scrape(&world);
    assert_eq!((up(&before, "pool"), up(&before, "queue")), (1.0, 1.0));
    assert_eq!(post(&world, "pool", r#"{"cmd": "pool"}"#), 200);

    drop(pool);
    let (status, body) = health(&world, "");
    assert_eq!((status, &body["status"], &body["services"]["queue"]), (503, &json!("failing"), &json!("ok")));
    let reason = body["services"]["pool"].as_str().unwrap();
    assert_eq!(reason, format!("Service at localhost:{} cannot be reached: Connection refused.", world.pool));
    assert_eq!(health(&world, "?service=queue"), (200, json!({"status": "ok", "services": {"queue": "ok"}})));
    assert_eq!(health(&world, "?service=pool").0, 503);
    assert_eq!(health(&world, "?service=gateway"), (200, json!({"status": "ok", "services": {}})));
    assert_eq!(health(&world, "?service=nope").0, 404);
    assert_eq!(post(&world, "pool", r#"{"cmd": "pool"}"#), 502);
    let down = scrape(&world);
    assert_eq!((up(&down, "pool"), up(&down, "queue")), (0.0, 1.0));
    assert_eq!(down.sum("shmooze_modules", &[("service", "pool")]), 0.0);
    assert_eq!(down.of("shmooze_launch_failures_total").count(), 1, "of the queue");
    for (code, count) in [("200", 1.0), ("502", 1.0), ("504", 0.0)] {
        assert_eq!(down.one("shmooze_requests_total", &[("service", "pool"), ("code", code)]), count, "{code}");
    }
    assert_eq!(down.one("shmooze_request_duration_seconds_count", &[("service", "pool")]), 2.0);

    let _pool = world.start_pool();
    let again = scrape(&world);
    assert_eq!((up(&again, "pool"), health(&world, "").0), (1.0, 200));
    let started = |scraped: &Exposition| scraped.one("shmooze_service_start_time_seconds", &[("service", "pool")]);
    assert!(started(&again) > started(&before), "it counts from its own beginning");
    assert!(again.one("process_start_time_seconds", &[]) > started(&before) - PATIENCE.as_secs_f64());
    assert_eq!(again.one("shmooze_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    drop(queue);
}

#[test]
fn a_reload_turns_it_off_and_on() {
    let world = World::new();
    let gateway = start_gateway(&world);
    assert_eq!(post(&world, "pool", "{}"), 502);
    for (metrics, status) in [(false, 404), (true, 200)] {
        world.change(|settings| {
            settings["gateway"] = json!({"metrics": metrics});
        });
        gateway.signal(Signal::SIGHUP);
        eventually("it has its settings", || http(&world, "GET /metrics", "", "").0 == status);
        assert_eq!(health(&world, "?service=gateway").0, 200);
    }
    assert_eq!(scrape(&world).one("shmooze_requests_total", &[("service", "pool"), ("code", "502")]), 1.0, "counted on");
}

#[test]
fn one_that_is_to_be_started_again_is_in_one_state() {
    let world = World::new();
    world.change(|settings| {
        settings["services"]["pool"]["modules"]["echo"]["restart"] = json!({"delay": 600_000, "max_delay": 600_000});
    });
    let (_pool, _gateway) = (world.start_pool(), start_gateway(&world));
    let mut client = Client::connect(world.pool);
    let uid = client.add("echo", &json!({}));
    assert_eq!(client.call("tell_module", &json!({"uid": uid, "cmd": "die"}))["success"], false);
    eventually("it has ended", || {
        let scraped = scrape(&world);
        assert_eq!(scraped.sum("shmooze_modules", &[]), 1.0);
        assert_eq!(modules(&scraped, "pool", "echo", "restarting"), 1.0);
        endings(&scraped, "pool", "stream_lost", "exit") == 1.0
    });
}
