//! What happens when a part fails.

use serde_json::json;
use shmooze_test_machine::Machine;

use super::host::{add, ending, eventually, exits_are_told, is_active, property, scopes, shmz};

const REAPER: &str = "shmooze-reap@shmooze-queue.service";

/// Has a service fail whenever it is started.
const NEVER_STARTS: &str = "[Service]\nExecStartPre=false\n";

pub fn watchdog(machine: &Machine) {
    let units = ["shmooze-queue", "shmooze-gateway", "shmooze-launcher"];
    for unit in units {
        assert!(machine.run(&["systemctl", "cat", unit]).success().text().contains("\nWatchdogSec=30\n"), "{unit}");
        machine.write(&format!("/etc/systemd/system/{unit}.service.d/short.conf"), "[Service]\nWatchdogSec=2\n");
    }
    machine.run(&["systemctl", "daemon-reload"]).success();
    let services = units.map(|unit| format!("{unit}.service"));
    machine.run(&[&["systemctl", "start"], &services.each_ref().map(String::as_str)[..]].concat()).success();
    let pids = units.map(|unit| property(machine, unit, "MainPID"));
    // Fed while they are well: longer than they may be silent.
    machine.run(&["sleep", "3"]).success();
    for (unit, pid) in units.iter().zip(&pids) {
        let now = (property(machine, unit, "MainPID"), property(machine, unit, "NRestarts"));
        assert_eq!(now, (pid.clone(), "0".into()), "{unit}");
        machine.run(&["kill", "-STOP", pid]).success();
    }
    for unit in units {
        eventually("it is started anew", || property(machine, unit, "NRestarts") == "1" && is_active(machine, unit));
        let journal = machine.journal(&["-u", unit, "-o", "cat"]);
        assert!(journal.contains("Watchdog timeout"), "{unit}: {journal}");
    }
    assert_eq!(shmz(machine, &["--url", "http://127.0.0.1:9480/", "--json", "queue"]), "[]");
    add(machine, "queue", "tiny");
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
    let exit = if exits_are_told(machine) { json!({"signal": 9}) } else { json!(null) };
    assert_eq!((&life["reached"], &life["exit"]), (&json!("kill"), &exit), "{life}");
    machine.run(&["systemctl", "restart", "shmooze-launcher"]).success();
    shmz(machine, &["rm", &one]);
    assert_eq!(ending(machine, "queue", &one)["reached"], "exit");
    assert!(shmz(machine, &["--json", "queue"]).contains(&third));
    assert_eq!(scopes(machine), [format!("shmooze-queue-tiny-{third}.scope")]);
    println!("{}", machine.journal(&["-u", "shmooze-*", "-o", "short"]));
}

pub fn given_up(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    // None of them ends because nobody speaks with it any more.
    let (stubborn, lingers) = (add(machine, "queue", "stubborn"), add(machine, "queue", "lingers"));
    let other = add(machine, "pool", "lingers");
    machine.run(&["systemctl", "freeze", &format!("shmooze-queue-lingers-{lingers}.scope")]).success();
    // Whoever asks for the reaper while the broker is well does no harm.
    machine.run(&["systemctl", "start", REAPER]);
    assert_eq!(scopes(machine).len(), 3);

    machine.write("/etc/systemd/system/shmooze-queue.service.d/never.conf", NEVER_STARTS);
    machine.run(&["systemctl", "daemon-reload"]).success();
    machine.run(&["systemctl", "kill", "-s", "KILL", "shmooze-queue"]).success();
    eventually("it is given up", || property(machine, "shmooze-queue", "ActiveState") == "failed");
    assert_eq!(property(machine, "shmooze-queue.socket", "ActiveState"), "failed", "nobody waits at a door that stays shut");
    let kept = format!("shmooze-pool-lingers-{other}.scope");
    eventually("its modules are ended", || scopes(machine) == [kept.clone()]);
    eventually("so says the reaper", || property(machine, REAPER, "ActiveState") == "inactive");
    assert_eq!(property(machine, REAPER, "Result"), "success");
    let left = machine.run(&["pgrep", "-a", "-u", "shmooze-module"]).text();
    assert!(!left.contains(&stubborn) && left.lines().count() > 0, "{left}");
    assert!(shmz(machine, &["--service", "pool", "--json", "pool"]).contains(&other));

    // Once the fault is found, one command is enough: nobody has to wait until the manager would try again.
    machine.run(&["rm", "/etc/systemd/system/shmooze-queue.service.d/never.conf"]).success();
    machine.run(&["systemctl", "daemon-reload"]).success();
    let said = shmz(machine, &["apply"]);
    assert!(said.contains("systemctl reset-failed shmooze-queue.socket shmooze-queue.service\n"), "{said}");
    assert_eq!(shmz(machine, &["--json", "queue"]), "[]");
}

pub fn crash(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    add(machine, "queue", "lingers");
    machine.run(&["systemctl", "kill", "-s", "KILL", "shmooze-queue"]).success();
    eventually("it is started anew", || {
        property(machine, "shmooze-queue", "NRestarts") == "1" && is_active(machine, "shmooze-queue")
    });
    let journal = machine.journal(&["-o", "cat", &format!("UNIT={REAPER}"), "+", &format!("_SYSTEMD_UNIT={REAPER}")]);
    assert_eq!(journal, "", "a crash is not the end");
}
