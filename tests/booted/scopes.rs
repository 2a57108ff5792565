//! What transient scopes do, by `systemd-run --scope`.

use std::time::Duration;

use shmooze_test_machine::{Machine, Running};

const LIMIT: Duration = Duration::from_secs(30);

/// A command in a scope, as which anything else that makes scopes could stand in. It is there when its first line comes.
pub fn in_scope<'a>(machine: &'a Machine, scope: &str, properties: &[&str], script: &str) -> Running<'a> {
    let mut argv = vec!["systemd-run".to_owned(), "--scope".into(), "--quiet".into(), format!("--unit={scope}")];
    argv.extend(properties.iter().map(|property| format!("--property={property}")));
    argv.extend(["bash".into(), "-c".into(), script.into()]);
    machine.command(&argv).spawn()
}

/// The processes of a scope, as the kernel counts them.
fn population(machine: &Machine, scope: &str) -> usize {
    let script = format!("cat /sys/fs/cgroup/system.slice/{scope}.scope/cgroup.procs | wc -l");
    machine.shell(&script).success().text().parse().unwrap()
}

pub fn ends_with_grandchildren(machine: &Machine) {
    // One of the grandchildren leaves its session, the other its parent too.
    let script = "setsid sleep 1111 & (setsid sleep 2222 &) ; echo there; wait";
    let mut running = in_scope(machine, "family", &[], script);
    assert_eq!(running.line(LIMIT).as_deref(), Some("there"));
    assert_eq!(machine.run(&["systemctl", "is-active", "family.scope"]).text(), "active");
    assert_eq!(population(machine, "family"), 3);
    machine.run(&["systemctl", "stop", "family.scope"]).success();
    assert_eq!(machine.shell("pgrep --full 'sleep (1111|222[2])'").status, 1);
    machine.run(&["test", "!", "-e", "/sys/fs/cgroup/system.slice/family.scope"]).success();
    running.wait(LIMIT);
}

pub fn freezes_and_thaws(machine: &Machine) {
    let script = "echo there; while read -r line; do echo \"$line\"; done";
    let mut running = in_scope(machine, "ice", &[], script);
    assert_eq!(running.line(LIMIT).as_deref(), Some("there"));
    machine.run(&["systemctl", "freeze", "ice.scope"]).success();
    let frozen = |value| {
        let events = machine.read("/sys/fs/cgroup/system.slice/ice.scope/cgroup.events");
        assert!(String::from_utf8_lossy(&events).contains(&format!("frozen {value}")), "not frozen {value}");
    };
    frozen(1);
    running.write(b"asked while frozen\n");
    machine.run(&["systemctl", "thaw", "ice.scope"]).success();
    frozen(0);
    assert_eq!(running.line(LIMIT).as_deref(), Some("asked while frozen"));
    assert_eq!(running.wait(LIMIT).status, 0);
}
