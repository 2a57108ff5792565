//! The launcher, which serves brokers and no clients.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use super::manager::{Manager, Program, Socket, number, unnamed};
use crate::common::{Client, Daemon, World, processes, tiny};

const PATH: &str = env!("CARGO_BIN_EXE_shmooze-launcher");

fn listen(path: &Path) -> Vec<Socket> {
    vec![unnamed(UnixListener::bind(path).unwrap())]
}

#[test]
fn a_broker_that_was_there_before_it_is_served() {
    let (world, manager) = (World::new(), Manager::new());
    let path = world.path("launcher");
    let listener = listen(&path);
    let mut queue = Command::new(Program::Queue.path());
    let _queue = Daemon::start(queue.arg("--settings").arg(&world.settings).arg("--launcher").arg(&path), 1);
    let mut client = Client::connect(world.queue);
    client.send(&json!({"cmd": "add", "args": {"type": "tiny"}}).to_string());
    let mut command = manager.command_of(PATH, &world, listener);
    let _launcher = Daemon::start(command.env("WATCHDOG_USEC", "1000000"), 0);
    let added = client.receive();
    let uid = added["result"]["uid"].as_str().unwrap_or_else(|| panic!("{added}"));
    let [pid] = processes(uid)[..] else { panic!("one process") };
    let environment = String::from_utf8(std::fs::read(format!("/proc/{pid}/environ")).unwrap()).unwrap();
    for private in ["NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_"] {
        assert!(!environment.contains(private), "{private} in {environment:?}");
    }
}

#[test]
fn it_tells_what_it_does() {
    let (world, manager) = (World::new(), Manager::new());
    let path = world.path("launcher");
    let mut command = manager.command_of(PATH, &world, listen(&path));
    let launcher = Daemon::start(command.env("WATCHDOG_USEC", "20000"), 0);
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    world.change(|settings| settings["services"]["queue"]["modules"]["brandnew"] = json!({"process": tiny()}));
    launcher.signal(Signal::SIGHUP);
    manager.until("RELOADING=1");
    manager.until("READY=1");
    std::fs::write(&world.settings, "{").unwrap();
    launcher.signal(Signal::SIGHUP);
    assert!(manager.wait("READY=1")[1].starts_with("STATUS=the settings stay as they were: "));
    launcher.signal(Signal::SIGTERM);
    // Modules of process groups end with it, each within 300 ms, and the rest is done in no time.
    assert!(number(&manager.wait("STOPPING=1"), "EXTEND_TIMEOUT_USEC") >= 300_000);
    assert!(launcher.end().0.success());
}

#[test]
fn a_port_is_no_place_for_it() {
    let (world, manager) = (World::new(), Manager::new());
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (status, log) = Daemon::start(&mut manager.command_of(PATH, &world, vec![unnamed(listener)]), 0).end();
    assert_eq!(status.code(), Some(78));
    let expected = format!("shmooze-launcher: {address}: this program is asked at Unix sockets only");
    assert_eq!(log.lines().last().unwrap(), expected);
}
