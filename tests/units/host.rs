//! What the tests have in common: the family installed as a package would, and its clients.

use std::path::Path;

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

const PROGRAMS: [&str; 6] =
    ["shmooze-launcher", "shmooze-queue", "shmooze-pool", "shmooze-gateway", "shmooze-shim", "shmooze-generator"];

/// Puts programs, units, users and settings in their places.
pub fn install(machine: &Machine) {
    put(machine, &PROGRAMS, &["system", "user"]);
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    machine.copy_in(units.join("shmooze.catalog"), "/usr/lib/systemd/catalog/shmooze.catalog");
    machine.run(&["journalctl", "--update-catalog"]).success();
}

/// The same without gateway, catalog and what is for the managers of users: an emulated machine takes seconds for each.
pub fn install_brokers(machine: &Machine) {
    let brokers: Vec<&str> = PROGRAMS.into_iter().filter(|name| *name != "shmooze-gateway").collect();
    put(machine, &brokers, &["system"]);
}

fn put(machine: &Machine, programs: &[&str], managers: &[&str]) {
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(2).unwrap();
    for name in programs {
        machine.copy_program(target.join(name), &format!("/usr/libexec/shmooze/{name}"));
    }
    machine.copy_program(target.join("shmz"), "/usr/local/bin/shmz");
    machine.copy_program(target.join("examples/tiny"), "/usr/local/bin/tiny");
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    for manager in managers {
        machine.copy_in(units.join(manager), &format!("/usr/lib/systemd/{manager}"));
    }
    machine.copy_in(units.join("shmooze.sysusers"), "/usr/lib/sysusers.d/shmooze.conf");
    machine.write("/etc/shmooze/settings.json", settings().to_string());
    let generators = managers.iter().map(|manager| format!("/usr/lib/systemd/{manager}-generators/"));
    let copies: Vec<String> =
        generators.map(|folder| format!("mkdir -p {folder} && cp /usr/libexec/shmooze/shmooze-generator {folder}")).collect();
    machine.shell(&format!("{} && systemd-sysusers && systemctl daemon-reload", copies.join(" && "))).success();
}

/// As [`settings`], with each other kind of service besides, one of them with a name that is escaped.
pub fn more_settings() -> Value {
    let mut more = settings();
    more["ports"]["more-music"] = json!(9430);
    more["services"]["more-music"] = json!({"kind": "queue"});
    more["ports"]["stays"] = json!(9431);
    more["services"]["stays"] =
        json!({"kind": "app", "process": ["sleep", "infinity"], "limits": {"MemoryMax": "25%", "TasksMax": 5}});
    more
}

/// Module types: each a line of shell around the smallest module.
pub fn settings() -> Value {
    let bash = |script: &str| json!({"process": ["bash", "-c", script, "module"], "timeouts": {"exit": 500, "terminate": 500}});
    let types = json!({
        "tiny": {"process": ["tiny"]},
        "says": bash("echo hello from the module; exec tiny \"$@\""),
        // Obeys SIGTERM, but not the end of its conversation.
        "lingers": bash("tiny \"$@\"; sleep 1000"),
        "stubborn": bash("trap '' TERM; tiny \"$@\"; while :; do sleep 1000; done"),
        "daemon": bash("(setsid bash -c 'trap \"\" TERM HUP; (setsid sleep 1001 &) ; sleep 1002; sleep 1003' &); exec tiny \"$@\""),
        "stops itself": bash("bash -c 'kill -STOP $$' & exec tiny \"$@\""),
        "forks": bash("bash -c 'trap \"\" TERM; while :; do (setsid sleep 1000 &) ; sleep 0.01; done' & exec tiny \"$@\""),
        "fails": bash("exit 7"),
        "never connects": {"process": ["bash", "-c", "exec sleep 1000"], "timeouts": {"connect": 500, "exit": 200, "terminate": 500}},
        "waits": {
            "process": ["bash", "-c", "echo $2 $3 > /tmp/ports.new; mv /tmp/ports.new /tmp/ports; until [ -e /tmp/go ]; do sleep 0.05; done; exec tiny \"$@\"", "module"],
            "timeouts": {"connect": 60_000},
        },
    });
    json!({
        "name": "Test",
        "ports": {"queue": 9420, "pool": 9421, "wsgi": 9480},
        "services": {"queue": {"kind": "queue", "modules": types, "backgrounds": types}, "pool": {"kind": "pool", "modules": types}},
    })
}

/// Runs `shmz` and answers what it prints. It may have to wait for services that start on a busy machine.
pub fn shmz(machine: &Machine, words: &[&str]) -> String {
    machine.run(&[&["shmz", "--timeout", "60000"], words].concat()).success().text()
}

/// Adds a module and answers its uid.
pub fn add(machine: &Machine, service: &str, type_name: &str) -> String {
    shmz(machine, &["--service", service, "add", type_name])
}

/// The last ending, once it is that of this module.
pub fn ending(machine: &Machine, service: &str, uid: &str) -> Value {
    let request = json!({"cmd": "history", "args": {"limit": 10}}).to_string();
    let mut found = Value::Null;
    eventually("the module has ended", || {
        let answer: Value = serde_json::from_str(&shmz(machine, &["--json", "send", service, &request])).unwrap();
        let lives = answer.as_array().or_else(|| answer["result"].as_array()).cloned().unwrap_or_default();
        found = lives.into_iter().find(|life| life["uid"] == uid).unwrap_or_default();
        !found.is_null()
    });
    found
}

/// Whether a launcher learns how modules ended that an earlier one launched: the kernel tells since Linux 6.15.
pub fn exits_are_told(machine: &Machine) -> bool {
    let release = machine.run(&["uname", "-r"]).success().text();
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|number| number.parse().ok()).take(2).collect();
    numbers >= vec![6, 15]
}

/// Whether the unit is active.
pub fn is_active(machine: &Machine, unit: &str) -> bool {
    machine.run(&["systemctl", "is-active", unit]).text() == "active"
}

/// One property of a unit.
pub fn property(machine: &Machine, unit: &str, name: &str) -> String {
    machine.run(&["systemctl", "show", "--value", "-p", name, unit]).success().text()
}

/// Names of the scopes that modules have, loaded in any state.
pub fn scopes(machine: &Machine) -> Vec<String> {
    let list = machine.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "shmooze-*.scope"]).success().text();
    list.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// Waits for what no event tells; each look costs a command.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "{what}: never");
    }
}
