//! What happens when a part fails.

use serde_json::json;
use shmooze_test_machine::Machine;

use super::host::{add, ending, eventually, is_active, property, scopes, shmz};

pub fn watchdog(machine: &Machine) {
    machine.write("/etc/systemd/system/shmooze-queue.service.d/short.conf", "[Service]\nWatchdogSec=2\n");
    machine.run(&["systemctl", "daemon-reload"]).success();
    machine.run(&["systemctl", "start", "shmooze-queue.service"]).success();
    let pid = property(machine, "shmooze-queue", "MainPID");
    // Fed while it is well: longer than it may be silent.
    machine.run(&["sleep", "3"]).success();
    assert_eq!(
        (property(machine, "shmooze-queue", "MainPID"), property(machine, "shmooze-queue", "NRestarts")),
        (pid.clone(), "0".into())
    );
    machine.run(&["kill", "-STOP", &pid]).success();
    eventually("it is started anew", || {
        property(machine, "shmooze-queue", "NRestarts") == "1" && is_active(machine, "shmooze-queue")
    });
    let journal = machine.journal(&["-u", "shmooze-queue", "-o", "cat"]);
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    assert_eq!(shmz(machine, &["--json", "queue"]), "[]");
}

pub fn launcher(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let (one, other) = (add(machine, "queue", "tiny"), add(machine, "queue", "stubborn"));
    machine.run(&["systemctl", "kill", "-s", "KILL", "shmooze-launcher"]).success();
    eventually("it is started anew", || {
        property(machine, "shmooze-launcher", "NRestarts") == "1" && is_active(machine, "shmooze-launcher")
    });
    assert_eq!(scopes(machine).len(), 2);
    // Its successor ends what it launched, and launches more.
    let third = add(machine, "queue", "tiny");
    shmz(machine, &["rm", &other]);
    let life = ending(machine, "queue", &other);
    assert_eq!((&life["reached"], &life["exit"]), (&json!("kill"), &json!(null)), "{life}");
    machine.run(&["systemctl", "restart", "shmooze-launcher"]).success();
    shmz(machine, &["rm", &one]);
    assert_eq!(ending(machine, "queue", &one)["reached"], "exit");
    assert!(shmz(machine, &["--json", "queue"]).contains(&third));
    assert_eq!(scopes(machine), [format!("shmooze-queue-tiny-{third}.scope")]);
    println!("{}", machine.journal(&["-u", "shmooze-*", "-o", "short"]));
}
