//! READY: when requests are served, and not before.

use std::net::TcpStream;

use super::manager::{Manager, PROGRAMS, Program};
use crate::common::{Daemon, PATIENCE, World};

#[test]
fn who_asks_right_after_ready_is_answered() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let _daemon = manager.start(program, &world, Vec::new());
        let told = manager.until("READY=1");
        let stream = TcpStream::connect(("127.0.0.1", program.port(&world))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        program.ask(stream);
        assert!(told.concat().iter().any(|assignment| assignment.starts_with("STATUS=")), "{told:?}");
    }
}

#[test]
fn a_family_is_ready_once_when_all_of_it_is() {
    let (world, manager) = (World::new(), Manager::new());
    let daemon = manager.ready(Program::Run, &world);
    for program in [Program::Queue, Program::Pool, Program::Gateway] {
        program.ask(TcpStream::connect(("127.0.0.1", program.port(&world))).unwrap());
    }
    assert!(daemon.terminate().success());
    assert!(!manager.rest().contains(&"READY=1".to_owned()));
}

#[test]
fn who_cannot_serve_is_never_ready() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        // Of the family, the member that is bound last.
        let port = if program == Program::Run { world.gateway } else { program.port(&world) };
        let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (status, log) = Daemon::start(&mut manager.command(program, &world, Vec::new()), 0).end();
        assert_eq!(status.code(), Some(78), "{log}");
        assert!(log.lines().last().unwrap().contains(": Address already in use"), "{log}");
        assert!(!manager.rest().contains(&"READY=1".to_owned()));
    }
}
