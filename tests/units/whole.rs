//! What only a whole machine shows: limits that bite, and a log of the kernel from its start on.

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host::{add, ending, eventually, is_active, property, scopes, settings, shmz};

const FILE: &str = "/etc/shmooze/settings.json";

/// One test, since each machine takes its time to start.
pub fn of_all(machine: &Machine) {
    machine.write(FILE, limited().to_string());
    machine.run(&["systemctl", "enable", "--now", "shmooze.target"]).success();
    memory(machine);
    tasks(machine);
    broken_at_boot(machine);
}

/// The smallest module, with a child that does something else once it is told to.
fn with_child(child: &str, limits: &Value) -> Value {
    let script = format!("(until [ -e /var/tmp/go ]; do sleep 0.2; done; exec perl -e '{child}') & exec tiny \"$@\"");
    json!({"process": ["bash", "-c", script, "module"], "limits": limits, "timeouts": {"connect": 60_000, "command": 60_000}})
}

fn limited() -> Value {
    let mut settings = settings();
    let types = &mut settings["services"]["pool"]["modules"];
    // The child fills more than all of it, touching each page, and would stay.
    types["greedy"] = with_child("$x = \"x\"; $x x= 128 << 20; sleep 1000", &json!({"MemoryMax": "64M", "MemorySwapMax": 0}));
    types["forks"] = with_child("while (1) { defined fork or select(undef, undef, undef, 0.1) }", &json!({"TasksMax": 12}));
    settings
}

fn memory(machine: &Machine) {
    let other = add(machine, "pool", "tiny");
    let greedy = add(machine, "pool", "greedy");
    let unit = format!("shmooze-pool-greedy-{greedy}.scope");
    assert_eq!(
        (property(machine, &unit, "MemoryMax"), property(machine, &unit, "OOMPolicy")),
        ("67108864".into(), "kill".into())
    );
    machine.run(&["touch", "/var/tmp/go"]).success();
    // The client reads why, though it was not the module itself that took the memory.
    let life = ending(machine, "pool", &greedy);
    println!("{life}");
    assert_eq!((&life["exceeded"], &life["exit"]), (&json!("memory"), &json!({"signal": 9})));
    assert_eq!((&life["cause"], &life["reached"]), (&json!("stream_lost"), &json!("exit")));
    let text = life["text"].as_str().unwrap();
    assert_eq!(text, "lost a stream, out of memory, SIGKILL");
    let said = format!("module {}: {text}", &greedy[..8]);
    eventually(&said, || machine.journal(&["-u", "shmooze-pool", "-o", "cat"]).contains(&said));
    // Both are gone, from the list too, and nobody else is.
    assert_eq!(machine.run(&["pgrep", "-a", "perl"]).text(), "");
    let list = shmz(machine, &["--service", "pool", "--json", "pool"]);
    assert!(list.contains(&other) && !list.contains(&greedy), "{list}");
    assert_eq!(scopes(machine), [format!("shmooze-pool-tiny-{other}.scope")]);
    shmz(machine, &["--service", "pool", "rm", &other]);
}

fn tasks(machine: &Machine) {
    let uid = add(machine, "pool", "forks");
    let unit = format!("shmooze-pool-forks-{uid}.scope");
    let group = format!("/sys/fs/cgroup{}", property(machine, &unit, "ControlGroup"));
    eventually("no more are made", || machine.shell(&format!("grep '^max ' {group}/pids.events")).text() != "max 0");
    // It goes on with what it has, and goes with all of them.
    let report: Value = serde_json::from_str(&shmz(machine, &["--json", "--service", "pool", "status"])).unwrap();
    assert!(report["pool"][0]["tasks"].as_u64() <= Some(12) && report["pool"][0]["uid"] == uid, "{report}");
    shmz(machine, &["--service", "pool", "rm", &uid]);
    assert_eq!(ending(machine, "pool", &uid)["exceeded"], json!(null));
    assert_eq!(machine.run(&["pgrep", "-a", "-u", "shmooze-module"]).text(), "");
}

fn broken_at_boot(machine: &Machine) {
    let mut moved = limited();
    moved["ports"]["queue"] = json!(9422);
    machine.write(FILE, moved.to_string());
    shmz(machine, &["apply"]);
    machine.write(FILE, "{\"ports\": {\"queue\": 9423,}}");
    // Twice as quick as an orderly end.
    machine.run(&["sync"]).success();
    machine.cut_power();
    machine.power_on();
    let kernel = machine.run(&["dmesg"]).success().text();
    let said: Vec<&str> = kernel
        .lines()
        .filter_map(|line| line.split_once("shmooze-generator[")?.1.split_once("]: "))
        .map(|(_, said)| said)
        .collect();
    let problem = format!("{FILE}: is not JSON at line 1, column 26: trailing comma.");
    let in_force = "The settings that were good last stay in force (/var/lib/shmooze/settings.json).";
    assert!(said.starts_with(&[problem.as_str(), in_force]), "{said:?}\n{kernel}");
    assert!(is_active(machine, "shmooze-queue.socket"));
    assert_eq!(shmz(machine, &["--url", "tcp://127.0.0.1:9422", "--json", "queue"]), "[]");
}
