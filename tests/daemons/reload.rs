//! SIGHUP: the settings are read again.

use std::net::TcpStream;

use nix::sys::signal::Signal;
use sd_notify::NotifyState;
use serde_json::{Value, json};

use super::manager::{Manager, PROGRAMS, Program, number};
use crate::common::{Client, Daemon, PATIENCE, World, free_port, tiny};

/// Microseconds of the monotonic clock.
fn now() -> u64 {
    match NotifyState::monotonic_usec_now() {
        Ok(NotifyState::MonotonicUsec(now)) => u64::try_from(now).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Sends SIGHUP and answers what is told from then on, until the daemon is ready again.
fn reload(manager: &Manager, daemon: &Daemon) -> Vec<String> {
    let before = now();
    daemon.signal(Signal::SIGHUP);
    let begun = manager.wait("RELOADING=1");
    let said = number(&begun, "MONOTONIC_USEC");
    assert!((before..=now()).contains(&said), "{said} is not between {before} and now");
    manager.until("READY=1").concat()
}

fn new_type(settings: &mut Value) {
    for service in ["queue", "pool"] {
        settings["services"][service]["modules"]["brandnew"] = json!({"process": tiny()});
    }
}

/// The status and the body that GET is answered with.
fn get(world: &World, path: &str) -> (String, String) {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[test]
fn new_module_types_can_be_added() {
    for (program, port) in [(Program::Queue, 0), (Program::Pool, 1), (Program::Run, 0), (Program::Run, 1)] {
        let (world, manager) = (World::new(), Manager::new());
        let daemon = manager.ready(program, &world);
        let mut client = Client::connect([world.queue, world.pool][port]);
        let old = client.add("tiny", &json!({}));
        let unknown = client.call("add", &json!({"type": "brandnew"}));
        assert_eq!(unknown["error"], "Unrecognized module name");
        world.change(|settings| {
            new_type(settings);
            settings["services"]["queue"]["modules"].as_object_mut().unwrap().remove("tiny");
            settings["services"]["pool"]["modules"].as_object_mut().unwrap().remove("tiny");
        });
        reload(&manager, &daemon);
        let new = client.add("brandnew", &json!({}));
        assert_eq!(client.list(["queue", "pool"][port]), [old, new], "what lives, lives on");
        assert_eq!(client.call("add", &json!({"type": "tiny"}))["error"], "Unrecognized module name");
    }
}

#[test]
fn a_gateway_serves_what_the_settings_say_now() {
    for program in [Program::Gateway, Program::Run] {
        let (world, manager) = (World::new(), Manager::new());
        let daemon = manager.ready(program, &world);
        assert_eq!(get(&world, "/settings.json"), ("200".into(), "{}".into()));
        assert_eq!(get(&world, "/other").0, "404");
        std::fs::write(world.path("page.txt"), "page").unwrap();
        world.change(|settings| {
            settings["public"] = json!(["name"]);
            settings["static_path"] = json!(world.folder.path());
            settings["static_prefix"] = json!("/files/");
            settings["wsgi_prefix"] = json!("/api/");
            settings["ports"]["other"] = json!(free_port());
        });
        let told = reload(&manager, &daemon).concat();
        assert!(told.contains("serving 3 endpoints on"), "{told}");
        assert_eq!(get(&world, "/api/settings.json"), ("200".into(), r#"{"name":"Test"}"#.into()));
        assert_eq!(get(&world, "/files/page.txt"), ("200".into(), "page".into()));
        assert_eq!(get(&world, "/api/other").0, "405", "an endpoint, which is posted to");
        assert_eq!(get(&world, "/settings.json").0, "404");
    }
}

#[test]
fn a_file_at_fault_is_refused_and_the_old_settings_stay() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let daemon = manager.ready(program, &world);
        let good = std::fs::read(&world.settings).unwrap();
        std::fs::write(&world.settings, r#"{"ports": {"queue": -1}, "max_line_bytes": "many"}"#).unwrap();
        let ready = reload(&manager, &daemon);
        let [first, status] = &ready[..] else { panic!("{ready:?}") };
        assert_eq!(first, "READY=1");
        let file = world.settings.display();
        let beginning = format!("STATUS=the settings stay as they were: {file}: ");
        assert!(status.starts_with(&beginning) && status.contains("; ") && status.contains("max_line_bytes"), "{status}");
        daemon.wait_for_log("the settings stay as they were");
        let stream = TcpStream::connect(("127.0.0.1", program.port(&world))).unwrap();
        program.ask(stream);

        std::fs::write(&world.settings, good).unwrap();
        let told = reload(&manager, &daemon);
        let status = told.iter().find(|assignment| assignment.starts_with("STATUS="));
        assert!(status.is_some_and(|status| !status.contains("stay as they were")), "{told:?}");
    }
}

#[test]
fn the_next_status_replaces_that_of_a_refused_file() {
    let (world, manager) = (World::new(), Manager::new());
    let daemon = manager.ready(Program::Pool, &world);
    std::fs::remove_file(&world.settings).unwrap();
    assert!(reload(&manager, &daemon)[1].contains("cannot be read"));
    Client::connect(world.pool).add("tiny", &json!({}));
    manager.until("STATUS=1 module");
}

#[test]
fn a_service_that_is_gone_or_another_is_refused() {
    let (world, manager) = (World::new(), Manager::new());
    let daemon = manager.ready(Program::Queue, &world);
    for change in [
        |settings: &mut Value| settings["services"] = json!({}),
        |settings: &mut Value| {
            settings["services"] = json!({"queue": {"kind": "pool"}});
        },
    ] {
        world.change(change);
        let ready = reload(&manager, &daemon);
        assert!(ready[1].ends_with(": services has no queue called queue any more"), "{ready:?}");
        Client::connect(world.queue).add("tiny", &json!({}));
        manager.until("STATUS=playing");
    }
}

#[test]
fn what_takes_a_restart_is_said() {
    let (world, manager) = (World::new(), Manager::new());
    let daemon = manager.ready(Program::Run, &world);
    world.change(|settings| {
        settings["ports"] = json!({"queue": 7, "pool": world.pool, "wsgi": 8, "more": 9});
        settings["services"]["more"] = json!({"kind": "pool"});
        settings["services"].as_object_mut().unwrap().remove("pool");
    });
    reload(&manager, &daemon);
    reload(&manager, &daemon);
    // What is gone from the settings goes on as it was, module types and all; what moved stays.
    for port in [world.pool, world.queue] {
        Client::connect(port).add("tiny", &json!({}));
    }
    assert_eq!(get(&world, "/settings.json").0, "200");
    daemon.signal(Signal::SIGTERM);
    let (status, log) = daemon.end();
    assert!(status.success());
    for sentence in [
        "services.more is new; it takes a restart",
        "services.pool is gone; it goes on as it was until a restart",
        "ports.queue is 7 now; it stays where it is until it is restarted",
        "ports.wsgi is 8 now; it stays where it is until it is restarted",
    ] {
        assert_eq!(log.matches(sentence).count(), 2, "{sentence}, once for each time:\n{log}");
    }
}
