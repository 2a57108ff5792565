//! The family as packages install it, with module types of every kind for each worker.

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::account::FOLDER;
use super::worker::WORKERS;
use crate::host;

/// The settings file.
pub const SETTINGS: &str = "/etc/shmooze/settings.json";

pub fn install(machine: &Machine) {
    host::install(machine);
    let own = std::env::current_exe().unwrap();
    machine.copy_program(own.ancestors().nth(2).unwrap().join("examples/counts"), "/usr/local/bin/counts");
    machine.run(&["install", "-d", "-m", "777", FOLDER]).success();
    let mut types = serde_json::Map::new();
    for worker in WORKERS {
        types.extend(kinds(worker.name));
    }
    types.extend(kinds("bg"));
    let mut settings = host::settings();
    for (service, places) in [("queue", ["modules", "backgrounds"].as_slice()), ("pool", &["modules"])] {
        places.iter().for_each(|place| settings["services"][service][*place] = Value::Object(types.clone()));
    }
    machine.write(SETTINGS, settings.to_string());
    // Faults come more often than a broker may crash before it is given up. And what is freed goes back to the system at once
    // (mallopt(3)): else the most that was ever used, with what lies between, would hide what is lost for ever.
    let unlimited = "[Unit]\nStartLimitIntervalSec=0\n";
    let exact = "[Service]\nEnvironment=MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=16384 MALLOC_TRIM_THRESHOLD_=65536\n";
    for service in ["queue", "pool", "launcher", "gateway"] {
        machine.write(&format!("/etc/systemd/system/shmooze-{service}.service.d/soak.conf"), format!("{unlimited}{exact}"));
    }
    // What a restart of the bus brings down with it is not what is looked at here.
    machine.write("/etc/systemd/system/dbus.service.d/unlimited.conf", unlimited);
    machine.write("/etc/systemd/system/systemd-journald.service.d/unlimited.conf", unlimited);
    machine.run(&["systemctl", "daemon-reload"]).success();
}

/// What the parameters of a module of that kind are: how many at most, and how many bytes each has besides a number.
pub fn habits(kind: &str) -> (u64, Option<usize>) {
    if kind.ends_with("big") { (6, Some(100_000)) } else { (100, None) }
}

/// Module types of one worker: each counts, and does something else besides.
fn kinds(worker: &str) -> Vec<(String, Value)> {
    let one = |name: &str, script: &str| {
        let name = format!("{worker}-{name}");
        let (keep, size) = habits(&name);
        let mut environment = json!({"COUNTS_FOLDER": FOLDER, "COUNTS_KEEP": keep.to_string(), "COUNTS_PAUSE": "250"});
        if let Some(size) = size {
            environment["COUNTS_SIZE"] = json!(size.to_string());
            environment["COUNTS_PAUSE"] = json!("3000");
        }
        // As long as a machine may be busy; what lingers need not linger long.
        let timeouts = json!({"connect": 60_000, "command": 60_000, "exit": 500, "terminate": 500});
        let process = if script.is_empty() { json!(["counts"]) } else { json!(["bash", "-c", script, "module"]) };
        (name, json!({"process": process, "environment": environment, "timeouts": timeouts}))
    };
    vec![
        one("counts", ""),
        one("big", ""),
        // Its processes have to be killed.
        one("stubborn", "trap '' TERM; counts \"$@\"; while :; do sleep 1000; done"),
        // It leaves a family behind, in sessions of their own.
        one(
            "forks",
            "(setsid bash -c 'trap \"\" TERM HUP; (setsid sleep 1001 &) ; sleep 1002; sleep 1003' &); exec counts \"$@\"",
        ),
        // It ends by itself after some seconds.
        one("crashes", "ulimit -c 0; counts \"$@\" & sleep $((RANDOM % 20 + 2)); kill -ABRT $!; wait $!"),
        one("fails", "exit 7"),
    ]
}
