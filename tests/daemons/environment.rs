//! What a service manager tells a daemon is nobody else's business.

use std::net::TcpListener;

use serde_json::json;

use super::manager::{Manager, Program, unnamed};
use crate::common::{Client, Daemon, World, eventually, processes};

/// What no module may find.
const PRIVATE: [&str; 17] = [
    "CREDENTIALS_DIRECTORY",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];
/// Those of them that mean nothing to the daemon itself, so that any value will do.
const MEANINGLESS: [&str; 9] = [
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_PIDFDID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
];

fn start(manager: &Manager, program: Program, world: &World) -> Daemon {
    let listener = TcpListener::bind(("127.0.0.1", program.port(world))).unwrap();
    let mut command = manager.command(program, world, vec![unnamed(listener)]);
    command.env("WATCHDOG_USEC", "1000000").env("CREDENTIALS_DIRECTORY", world.folder.path());
    let daemon = Daemon::start(command.envs(MEANINGLESS.map(|name| (name, "7"))), 0);
    manager.until("READY=1");
    // It is there for the daemon, so that it is its doing where modules do not find it.
    let variables = variables(i32::try_from(daemon.pid()).unwrap());
    assert!(variables.iter().any(|name| name == "NOTIFY_SOCKET") && variables.iter().any(|name| name == "LISTEN_FDS"));
    daemon
}

fn variables(pid: i32) -> Vec<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let names = environment.split(|byte| *byte == 0).filter_map(|variable| variable.split(|byte| *byte == b'=').next());
    names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
}

fn assert_knows_nothing(pid: i32) {
    let known = variables(pid);
    assert!(known.iter().any(|name| name == "SHMOOZE_UID"), "{known:?}");
    for private in PRIVATE {
        assert!(!known.iter().any(|name| name == private), "{private} in {known:?}");
    }
}

#[test]
fn modules_know_nothing_of_the_service_manager() {
    for program in [Program::Queue, Program::Pool, Program::Run] {
        let (world, manager) = (World::new(), Manager::new());
        let _daemon = start(&manager, program, &world);
        let uid = Client::connect(program.port(&world)).add("tiny", &json!({}));
        let [pid] = processes(&uid)[..] else { panic!("one process") };
        assert_knows_nothing(pid);
        let mut descriptors: Vec<u32> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        descriptors.sort_unstable();
        // Its two streams, of which it has duplicated one.
        assert_eq!(descriptors, [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn nor_do_the_services_of_an_application() {
    let world = World::new();
    world.change(|settings| {
        settings["services"]["volume"] = json!({"kind": "app", "process": ["sleep", "1000"]});
        settings["ports"]["volume"] = json!(crate::common::free_port());
    });
    let manager = Manager::new();
    let daemon = start(&manager, Program::Run, &world);
    // It is called by its name, being no module.
    daemon.wait_for_log("volume: launched as process ");
    let mark = world.settings.display().to_string();
    let mut found = Vec::new();
    eventually("it runs", || {
        let command = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        found = processes(&mark).into_iter().filter(|pid| command(pid).starts_with("sleep")).collect();
        !found.is_empty()
    });
    assert_knows_nothing(found[0]);
}
