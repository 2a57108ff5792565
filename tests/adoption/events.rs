//! One thing happens to a broker, and what goes on.

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host::{add, ending, eventually, is_active, property, scopes, shmz};

/// The queue's answer to `status`, but for what changes by itself.
fn queue(machine: &Machine) -> Value {
    let mut report: Value = serde_json::from_str(&shmz(machine, &["--json", "--service", "queue", "status"])).unwrap();
    for item in report["queue"].as_array_mut().unwrap() {
        for changing in ["memory", "cpu", "tasks"] {
            item.as_object_mut().unwrap().remove(changing);
        }
    }
    let background = report["background"].as_object_mut();
    background.into_iter().for_each(|background| ["memory", "cpu", "tasks"].iter().for_each(|name| drop(background.remove(*name))));
    report.as_object_mut().unwrap().remove("revision");
    report
}

fn set_background(machine: &Machine, type_name: &str) -> String {
    shmz(machine, &["set_bg", type_name])
}

/// Three in the queue, the last moved to the top, and a background that waits.
fn play(machine: &Machine) -> Value {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let background = set_background(machine, "tiny");
    let uids = [(); 3].map(|()| add(machine, "queue", "counts"));
    shmz(machine, &["mv", &uids[2]]);
    let report = queue(machine);
    assert_eq!(report["queue"][0]["uid"], uids[2]);
    assert_eq!((&report["queue"][0]["state"], &report["queue"][1]["state"]), (&json!("playing"), &json!("suspended")));
    assert_eq!((&report["background"]["uid"], &report["background"]["state"]), (&json!(background), &json!("suspended")));
    report
}

/// Does something that gives the queue another process, and shows that nothing else has changed.
fn survives(machine: &Machine, act: impl FnOnce(&str)) {
    let before = play(machine);
    let pid = property(machine, "shmooze-queue", "MainPID");
    let counted = |uid: &Value| {
        let uid = uid.as_str().unwrap();
        shmz(machine, &["--json", "ask", uid, "n1", "n5"])
    };
    let playing = &before["queue"][0]["uid"];
    eventually("it counts", || counted(playing).contains("n5"));
    act(&pid);
    eventually("there is another process", || {
        is_active(machine, "shmooze-queue") && property(machine, "shmooze-queue", "MainPID") != pid
    });
    assert_eq!(queue(machine), before);
    assert!(counted(playing).contains("n1"), "what it announced before is there");
    // They obey.
    let second = before["queue"][1]["uid"].as_str().unwrap();
    shmz(machine, &["rm", playing.as_str().unwrap()]);
    assert_eq!(ending(machine, "queue", playing.as_str().unwrap())["exit"], json!({"status": 0}));
    assert_eq!(queue(machine)["playing"], second);
    rest(machine, second);
    for uid in [second, before["queue"][2]["uid"].as_str().unwrap()] {
        shmz(machine, &["rm", uid]);
    }
    assert_eq!(queue(machine)["playing"], before["background"]["uid"]);
    shmz(machine, &["rm", before["background"]["uid"].as_str().unwrap()]);
    eventually("no scope is left", || scopes(machine).is_empty());
    eventually("nothing but the log is kept", || property(machine, "shmooze-queue", "NFileDescriptorStore") == "1");
}

/// All numbers that it says it has announced are there.
fn rest(machine: &Machine, uid: &str) {
    let last: u64 = shmz(machine, &["--json", "tell", uid, "rest"]).parse().unwrap();
    let names: Vec<String> = (1..=last).map(|number| format!("n{number}")).collect();
    for some in names.chunks(500) {
        let words: Vec<&str> = ["--json", "ask", uid].into_iter().chain(some.iter().map(String::as_str)).collect();
        let told: Value = serde_json::from_str(&shmz(machine, &words)).unwrap();
        assert_eq!(told.as_object().unwrap().len(), some.len(), "{told}");
    }
    let account = machine.run(&["cat", &format!("/tmp/counts/{uid}")]).success().text();
    assert!(!account.contains("wrong"), "{account}");
}

pub fn kill(machine: &Machine) {
    survives(machine, |pid| drop(machine.run(&["kill", "-KILL", pid]).success()));
}
