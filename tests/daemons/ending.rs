//! STOPPING and EXTEND_TIMEOUT_USEC: an end in order takes its time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::json;

use super::manager::{Manager, PROGRAMS, Program, number};
use crate::common::{Client, PATIENCE, World, processes};

#[test]
fn it_is_said_that_the_end_begins() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let daemon = manager.ready(program, &world);
        daemon.signal(Signal::SIGTERM);
        let told = manager.wait("STOPPING=1");
        assert!(number(&told, "EXTEND_TIMEOUT_USEC") > 0);
        assert!(daemon.end().0.success());
        let rest = manager.rest();
        assert!(!rest.contains(&"STOPPING=1".to_owned()) && !rest.contains(&"READY=1".to_owned()), "{rest:?}");
    }
}

#[test]
fn a_module_that_ignores_all_but_sigkill_has_its_time() {
    for (program, service) in [(Program::Queue, "queue"), (Program::Pool, "pool"), (Program::Run, "pool")] {
        let (world, manager) = (World::new(), Manager::new());
        world.change(|settings| {
            let types = settings["services"][service]["modules"].as_object_mut().unwrap();
            types.retain(|name, _| name == "problem");
            types["problem"]["timeouts"] = json!({"connect": 20_000, "command": 700, "exit": 400, "terminate": 600});
        });
        let daemon = manager.ready(program, &world);
        let mut client = Client::connect(if service == "queue" { world.queue } else { world.pool });
        let uid = client.add("problem", &json!({"noquit": true, "noterm": true}));
        let begun = std::time::Instant::now();
        daemon.signal(Signal::SIGTERM);
        let mut told = manager.until("STOPPING=1");
        let of_part = if program == Program::Run { "pool: " } else { "" };
        told.append(&mut manager.until(&format!("STATUS={of_part}ending, 1 module left")));
        let (status, log) = daemon.end();
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap();
        assert!(status.success() && log.contains("ended by SIGKILL"), "{log}");
        assert!(took >= 1_000_000, "exit and terminate were not waited for: {took}");
        assert_eq!(processes(&uid), [] as [i32; 0]);
        let of_extension = |datagram: &&Vec<String>| datagram.iter().any(|assignment| assignment.starts_with("EXTEND_TIMEOUT"));
        let granted = told.iter().filter(of_extension).map(|datagram| number(datagram, "EXTEND_TIMEOUT_USEC")).max().unwrap();
        assert!((1_000_000 + 2 * 700_000..60_000_000).contains(&granted), "{granted}");
        assert!(granted >= took, "{granted} were asked for, {took} taken");
    }
}

/// Types that the settings no longer have were granted their time when they were started.
#[test]
fn a_module_of_a_type_that_is_gone_has_its_time() {
    let (world, manager) = (World::new(), Manager::new());
    world.change(|settings| settings["services"]["pool"]["modules"]["tiny"]["timeouts"]["exit"] = json!(3_600_000));
    let daemon = manager.ready(Program::Pool, &world);
    let mut client = Client::connect(world.pool);
    client.add("tiny", &json!({}));
    world.change(|settings| drop(settings["services"]["pool"]["modules"].as_object_mut().unwrap().remove("tiny")));
    daemon.signal(Signal::SIGHUP);
    manager.until("RELOADING=1");
    manager.until("READY=1");
    daemon.signal(Signal::SIGTERM);
    assert!(number(&manager.wait("STOPPING=1"), "EXTEND_TIMEOUT_USEC") >= 3_600_000_000);
    assert!(daemon.end().0.success());
}

#[test]
fn a_gateway_answers_what_it_was_asked() {
    let (world, manager) = (World::new(), Manager::new());
    let service = TcpListener::bind(("127.0.0.1", world.queue)).unwrap();
    let daemon = manager.ready(Program::Gateway, &world);
    let mut client = TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /queue HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n";
    client.write_all(format!("{head}{{\"cmd\": \"queue\"}}").as_bytes()).unwrap();
    let mut asked = BufReader::new(service.accept().unwrap().0);
    asked.read_line(&mut String::new()).unwrap();
    daemon.signal(Signal::SIGTERM);
    let told = manager.wait("STOPPING=1");
    // As long as a service may take to answer.
    assert!(number(&told, "EXTEND_TIMEOUT_USEC") >= 10_000_000);
    manager.until("STATUS=answering the last requests");
    asked.get_mut().write_all(b"{\"success\": true}\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("{\"success\": true}"), "{answer}");
    assert!(daemon.end().0.success());
}
