//! From the first request to a module that plays.

use std::time::Duration;

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host::{add, ending, eventually, is_active, property, scopes, settings, shmz};

pub fn on_demand(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    for name in ["launcher", "queue", "pool", "gateway"] {
        assert!(is_active(machine, &format!("shmooze-{name}.socket")), "{name}");
        assert!(!is_active(machine, &format!("shmooze-{name}.service")), "{name}");
    }
    assert_eq!(machine.run(&["stat", "-c", "%U %G %a", "/run/shmooze/launcher.sock"]).text(), "root shmooze 660");
    // A client that is there before the service is served.
    assert_eq!(shmz(machine, &["--json", "pool"]), "[]");
    assert!(is_active(machine, "shmooze-pool.service") && is_active(machine, "shmooze-launcher.service"));
    assert!(!is_active(machine, "shmooze-queue.service"));
    // The Unix socket is for those of its group.
    let ask = "echo '{\"cmd\": \"pool\"}' | socat -t 10 - UNIX-CONNECT:/run/shmooze/pool.sock";
    let answer = machine.command(&["bash", "-c", ask]).user("shmooze").run().success().text();
    assert_eq!(answer, "{\"success\": true, \"result\": []}");
    assert_ne!(machine.command(&["bash", "-c", ask]).user("bob").run().status, 0);
    // Over HTTP it is two services that start.
    assert_eq!(shmz(machine, &["--url", "http://127.0.0.1:9480/", "--json", "queue"]), "[]");
    assert!(is_active(machine, "shmooze-gateway.service") && is_active(machine, "shmooze-queue.service"));
    assert_eq!(machine.journal(&["-p", "warning", "-u", "shmooze-*", "-o", "cat"]), "");
}

pub fn scope(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let uid = add(machine, "queue", "says");
    let unit = format!("shmooze-queue-says-{uid}.scope");
    assert_eq!(scopes(machine), std::slice::from_ref(&unit));
    assert_eq!(property(machine, &unit, "Slice"), "shmooze-queue.slice");
    assert_eq!(property(machine, &unit, "PartOf"), "shmooze-queue.service");
    assert!(property(machine, &unit, "Before").split(' ').any(|unit| unit == "shmooze-queue.service"));
    assert_eq!(property(machine, &unit, "TimeoutStopUSec"), "500ms");
    let tree = machine.run(&["systemd-cgls", "--no-pager", "-l", "-u", "shmooze.slice"]).success().text();
    println!("{tree}");
    for part in ["shmooze-launcher.service", "shmooze-queue.service", "shmooze-queue.slice", &unit, "tiny localhost"] {
        assert!(tree.contains(part), "{part} is missing in\n{tree}");
    }
    // As a user who owns nothing, by the launcher's hand.
    let parent = property(machine, "shmooze-launcher.service", "MainPID");
    assert_eq!(
        machine.shell("ps -o user:20=,ppid= -C tiny").text().split_whitespace().collect::<Vec<_>>(),
        ["shmooze-module", &parent]
    );
    // What it prints is told by its unit and its type.
    eventually("the journal has it", || {
        machine.journal(&["-u", &unit, "-t", "says", "-o", "cat"]).trim() == "hello from the module"
    });
    println!("{}", machine.journal(&["-u", "shmooze-*", "-o", "short"]));
    shmz(machine, &["rm", &uid]);
    eventually("its scope is gone", || scopes(machine).is_empty());
}

pub fn status(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze-queue.service", "shmooze-pool.service"]).success();
    let text = |service: &str| property(machine, service, "StatusText");
    assert_eq!(text("shmooze-queue"), "nothing to play");
    assert_eq!(text("shmooze-pool"), "0 modules");
    let uid = add(machine, "queue", "tiny");
    add(machine, "queue", "tiny");
    add(machine, "pool", "tiny");
    // It is told ten times a second at most.
    eventually("the queue says it", || text("shmooze-queue") == format!("playing tiny {}, 1 waiting", &uid[..8]));
    eventually("the pool says it", || text("shmooze-pool") == "1 module");
    println!("{}", machine.run(&["systemctl", "--no-pager", "status", "shmooze-queue"]).text());
    let status = shmz(machine, &["status"]);
    println!("{status}");
    assert!(status.contains(&format!("queue: playing tiny {}, 1 waiting\n#  UID", &uid[..8])), "{status}");
    let report: Value = serde_json::from_str(&shmz(machine, &["--json", "--service", "queue", "status"])).unwrap();
    let module = &report["queue"][0];
    assert_eq!(module["scope"], format!("shmooze-queue-tiny-{uid}.scope"));
    assert!(module["memory"].as_u64() > Some(0) && module["tasks"] == 1, "{report}");
}

pub fn journal(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let uid = add(machine, "queue", "says");
    let other = add(machine, "queue", "tiny");
    shmz(machine, &["mv", &other]);
    shmz(machine, &["rm", &uid]);
    ending(machine, "queue", &uid);
    let events = || -> Vec<Value> {
        let entries = machine.journal(&["-o", "json", &format!("SHMOOZE_UID={uid}")]);
        entries.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    eventually("all of it is told", || events().len() >= 4);
    let events = events();
    let names: Vec<&str> = events.iter().map(|entry| entry["SHMOOZE_EVENT"].as_str().unwrap()).collect();
    assert_eq!(names, ["launched", "playing", "suspended", "ended"]);
    for entry in &events {
        assert_eq!((&entry["SHMOOZE_SERVICE"], &entry["SHMOOZE_TYPE"]), (&json!("queue"), &json!("says")));
        let program = if entry["SHMOOZE_EVENT"] == "launched" { "shmooze-launcher" } else { "shmooze-queue" };
        let unit = format!("{program}.service");
        assert_eq!((&entry["_SYSTEMD_UNIT"], &entry["SYSLOG_IDENTIFIER"]), (&json!(unit), &json!(program)));
    }
    let ended = &events[3];
    assert_eq!(
        (&ended["EXIT_CODE"], &ended["EXIT_STATUS"], &ended["SHMOOZE_REACHED"]),
        (&json!("exited"), &json!("0"), &json!("exit"))
    );
    assert_eq!((&ended["PRIORITY"], &ended["SHMOOZE_CAUSE"]), (&json!("6"), &json!("removed")));
    let explained = machine.journal(&["--catalog", &format!("SHMOOZE_UID={uid}"), "SHMOOZE_EVENT=ended"]);
    assert!(explained.contains(&format!("Module {uid} of queue has ended")), "{explained}");

    // One command shows what happened to it and what it said, in order.
    let life = shmz(machine, &["logs", &uid[..13]]);
    println!("{life}");
    let at = |text: &str| life.find(text).unwrap_or_else(|| panic!("{text} is missing in\n{life}"));
    assert!(at("is launched as process") < at("hello from the module"), "{life}");
    assert!(
        at("hello from the module") < at("plays") && at("plays") < at("is suspended") && at("is suspended") < at("removed"),
        "{life}"
    );
    assert!(!life.contains(&other[..8]), "{life}");
    let unknown = machine.run(&["shmz", "logs", "00000000"]);
    assert_eq!((unknown.status, unknown.text()), (1, String::new()), "{}", unknown.errors());

    let mut following = machine.command(&["shmz", "logs", "--follow", &other]).spawn();
    let mut seen = String::new();
    while !seen.contains("plays") {
        seen = following.line(Duration::from_secs(30)).unwrap();
    }
    shmz(machine, &["rm", &other]);
    while !seen.contains("removed") {
        seen = following.line(Duration::from_secs(30)).unwrap();
    }
}

pub fn reload(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze-queue.service"]).success();
    let kept = add(machine, "queue", "tiny");
    let mut changed = settings();
    let tiny = changed["services"]["queue"]["modules"]["tiny"].clone();
    changed["services"]["queue"]["modules"]["new"] = tiny;
    machine.write("/etc/shmooze/settings.json", changed.to_string());
    machine.run(&["systemctl", "reload", "shmooze-queue"]).success();
    // Both have read it, before the command was done or a moment later: 252 does not wait for a service of `notify`.
    eventually("the launcher launches it", || machine.run(&["shmz", "add", "new"]).status == 0);
    let list = shmz(machine, &["--json", "queue"]);
    assert!(list.contains(&kept), "what lives is left alone: {list}");

    // Refused, whoever is asked.
    machine.write("/etc/shmooze/settings.json", "{\"ports\": 7}");
    for service in ["queue", "launcher"] {
        let reload = machine.run(&["systemctl", "reload", &format!("shmooze-{service}")]);
        assert_eq!(reload.status, 1, "{service}: {reload:?}");
        let said = machine.journal(&["-u", &format!("shmooze-{service}"), "-o", "cat"]);
        assert!(said.contains("/etc/shmooze/settings.json: ports must be an object, not 7."), "{service}: {said}");
        assert!(is_active(machine, &format!("shmooze-{service}")), "{service}");
    }
    shmz(machine, &["--url", "tcp://127.0.0.1:9420", "add", "new"]);
    // There is nothing wrong with a file that another machine could use.
    changed["services"]["queue"]["modules"]["lacking"] = json!({"process": ["/nowhere/x"]});
    machine.write("/etc/shmooze/settings.json", changed.to_string());
    machine.run(&["systemctl", "reload", "shmooze-queue"]).success();
    add(machine, "queue", "new");
    // But with one that has nothing for this service.
    changed["services"].as_object_mut().unwrap().remove("queue");
    machine.write("/etc/shmooze/settings.json", changed.to_string());
    assert_eq!(machine.run(&["systemctl", "reload", "shmooze-queue"]).status, 1);
    assert!(shmz(machine, &["--url", "tcp://127.0.0.1:9420", "--json", "queue"]).contains(&kept));
}

pub fn limits_of_a_reload(machine: &Machine) {
    let limited = |limits: Value| {
        let mut changed = settings();
        changed["services"]["pool"]["modules"]["tiny"]["limits"] = limits;
        machine.write("/etc/shmooze/settings.json", changed.to_string());
    };
    limited(json!({"MemoryMax": "512M", "TasksMax": 50, "CPUQuota": "50%", "IOWeight": 50, "RuntimeMaxSec": 3600, "Nice": 5}));
    machine.run(&["systemctl", "start", "shmooze-pool.service"]).success();
    let uid = add(machine, "pool", "tiny");
    let unit = format!("shmooze-pool-tiny-{uid}.scope");
    let names = ["MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "IOWeight", "RuntimeMaxUSec", "OOMPolicy"];
    let shown = || names.map(|name| property(machine, &unit, name));
    assert_eq!(shown(), ["536870912", "50", "500ms", "50", "1h", "kill"]);
    limited(json!({"MemoryMax": "256M", "RuntimeMaxSec": 1800}));
    machine.run(&["systemctl", "reload", "shmooze-pool"]).success();
    eventually("the new one is in force", || shown()[0] == "268435456");
    let default = machine.run(&["systemctl", "show", "-p", "DefaultTasksMax", "--value"]).text();
    assert_eq!(shown()[1..], [&default, "infinity", "[not set]", "1h", "kill"]);
    // What stays is said.
    let log = || machine.journal(&["-u", "shmooze-pool", "-o", "cat"]);
    let said = "pool: modules of type tiny that live keep their Nice, RuntimeMaxSec until they end";
    eventually(said, || log().contains(said));
    limited(json!({}));
    machine.run(&["systemctl", "reload", "shmooze-pool"]).success();
    eventually("none is left", || shown()[0] == "infinity");
    assert!(shmz(machine, &["--service", "pool", "--json", "pool"]).contains(&uid), "it goes on");
}

pub fn strangers(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let mut adding = machine.command(&["shmz", "--timeout", "60000", "--service", "pool", "add", "waits"]).spawn();
    let mut ports = String::new();
    eventually("the module has its ports", || {
        ports = machine.shell("cat /tmp/ports").text();
        !ports.is_empty()
    });
    // Somebody else is quicker, on both streams: he is let go, and root is no better.
    for port in ports.split(' ') {
        for user in ["bob", "root"] {
            let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -t 30 -u 3; echo $?");
            assert_eq!(machine.command(&["bash", "-c", &connect]).user(user).run().text(), "1", "{user} at {port}");
        }
    }
    let refusals = machine.journal(&["-u", "shmooze-pool", "-o", "cat", "-g", "refused"]);
    assert_eq!(refusals.lines().count(), 4, "{refusals}");
    assert!(refusals.contains("bob"), "{refusals}");
    machine.run(&["touch", "/tmp/go"]).success();
    let uid = adding.line(Duration::from_secs(30)).unwrap();
    let list: Value = serde_json::from_str(&shmz(machine, &["--json", "pool"])).unwrap();
    assert_eq!(list[0]["uid"], uid);
}
