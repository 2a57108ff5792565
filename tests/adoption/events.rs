//! One thing happens to a broker, and what goes on.

use std::time::Duration;

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host::{add, ending, eventually, exits_are_told, is_active, property, scopes, shmz};

/// The queue's answer to `status`, but for what changes by itself.
fn queue(machine: &Machine) -> Value {
    let mut report: Value = serde_json::from_str(&shmz(machine, &["--json", "--service", "queue", "status"])).unwrap();
    for item in report["queue"].as_array_mut().unwrap() {
        for changing in ["memory", "cpu", "tasks"] {
            item.as_object_mut().unwrap().remove(changing);
        }
    }
    let background = report["background"].as_object_mut();
    background
        .into_iter()
        .for_each(|background| ["memory", "cpu", "tasks"].iter().for_each(|name| drop(background.remove(*name))));
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
    let (pid, launcher) = (property(machine, "shmooze-queue", "MainPID"), property(machine, "shmooze-launcher", "MainPID"));
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
    let launcher_died = property(machine, "shmooze-launcher", "MainPID") != launcher;
    let is_told = !launcher_died || exits_are_told(machine);
    let exit = if is_told { json!({"status": 0}) } else { Value::Null };
    assert_eq!(ending(machine, "queue", playing.as_str().unwrap())["exit"], exit);
    assert_eq!(queue(machine)["playing"], second);
    rest(machine, "queue", second);
    for uid in [second, before["queue"][2]["uid"].as_str().unwrap()] {
        shmz(machine, &["rm", uid]);
    }
    assert_eq!(queue(machine)["playing"], before["background"]["uid"]);
    shmz(machine, &["rm", before["background"]["uid"].as_str().unwrap()]);
    eventually("no scope is left", || scopes(machine).is_empty());
    eventually("nothing but the log is kept", || property(machine, "shmooze-queue", "NFileDescriptorStore") == "1");
}

/// All numbers that it says it has announced are there.
fn rest(machine: &Machine, service: &str, uid: &str) {
    let last: u64 = shmz(machine, &["--json", "--service", service, "tell", uid, "rest"]).parse().unwrap();
    let names: Vec<String> = (1..=last).map(|number| format!("n{number}")).collect();
    for some in names.chunks(500) {
        let words: Vec<&str> =
            ["--json", "--service", service, "ask", uid].into_iter().chain(some.iter().map(String::as_str)).collect();
        let told: Value = serde_json::from_str(&shmz(machine, &words)).unwrap();
        assert_eq!(told.as_object().unwrap().len(), some.len(), "{told}");
    }
    let account = machine.run(&["cat", &format!("/tmp/counts/{uid}")]).success().text();
    assert!(!account.contains("wrong"), "{account}");
}

/// Whatever ends the process while its service goes on.
pub fn goes_on(machine: &Machine) {
    let short = "[Service]\nWatchdogSec=8\n";
    machine.write("/etc/systemd/system/shmooze-queue.service.d/short.conf", short);
    machine.run(&["systemctl", "daemon-reload"]).success();
    let run = |words: &[&str]| drop(machine.run(words).success());
    println!("kill -9");
    survives(machine, |pid| run(&["kill", "-KILL", pid]));
    println!("systemctl restart");
    survives(machine, |_| run(&["systemctl", "restart", "shmooze-queue"]));
    println!("the socket is restarted, and with it the service");
    survives(machine, |_| run(&["systemctl", "restart", "shmooze-queue.socket"]));
    println!("daemon-reload, kill -9");
    survives(machine, |pid| {
        run(&["systemctl", "daemon-reload"]);
        run(&["kill", "-KILL", pid]);
    });
    println!("daemon-reexec, kill -9");
    survives(machine, |pid| {
        // Whether its own command is answered is its business.
        machine.run(&["systemctl", "daemon-reexec"]);
        eventually("the manager is there again", || is_active(machine, "shmooze-queue"));
        run(&["kill", "-KILL", pid]);
    });
    println!("watchdog");
    survives(machine, |pid| run(&["kill", "-STOP", pid]));
    println!("all of the family at once");
    survives(machine, |pid| {
        let launcher = property(machine, "shmooze-launcher", "MainPID");
        run(&["kill", "-KILL", pid, &launcher]);
    });
    println!("systemctl restart of all of the family");
    survives(machine, |_| run(&["systemctl", "restart", "shmooze-queue", "shmooze-launcher", "shmooze-gateway"]));
    let journal = machine.journal(&["-u", "shmooze-queue", "-u", "shmooze-launcher", "-p", "warning", "-o", "cat"]);
    println!("{journal}");
    assert!(!journal.contains("nobody knows where it belongs"), "{journal}");
}

/// What is meant to end the service ends the modules.
pub fn ends(machine: &Machine) {
    let gone = |how: &str| {
        assert_eq!(scopes(machine), [] as [&str; 0], "{how}");
        assert_eq!(machine.run(&["pgrep", "-a", "-u", "shmooze-module"]).text(), "", "{how}");
        assert_eq!(property(machine, "shmooze-queue", "NFileDescriptorStore"), "0", "{how}");
    };
    play(machine);
    machine.run(&["systemctl", "stop", "shmooze-queue.socket", "shmooze-queue.service"]).success();
    gone("stop");
    play(machine);
    machine.run(&["systemctl", "enable", "shmooze.target"]).success();
    machine.run(&["systemctl", "disable", "--now", "shmooze.target"]).success();
    machine.run(&["systemctl", "stop", "shmooze-queue.service"]).success();
    gone("disable --now");
    play(machine);
    let pid = property(machine, "shmooze-queue", "MainPID");
    machine.run(&["kill", "-TERM", &pid]).success();
    eventually("it has ended", || property(machine, "shmooze-queue", "MainPID") == "0");
    gone("SIGTERM by hand");
    // One that begins anew knows nothing of them but how they ended.
    play(machine);
}

/// A service that is started anew waits until the gate is open.
const GATE: &str = "/run/shmooze-test-gate";

/// Kills these, ends the module meanwhile, and has them begin again while somebody asks for the list; answers that.
fn end_while_away(machine: &Machine, services: &[&str], uid: &str) -> String {
    machine.run(&["rm", GATE]).success();
    machine.run(&[&["systemctl", "kill", "-s", "KILL"], services].concat()).success();
    machine.run(&["systemctl", "kill", "-s", "ABRT", &format!("shmooze-pool-tiny-{uid}.scope")]).success();
    assert!(services.iter().all(|service| !is_active(machine, service)));
    // Asked while nobody is there, answered when somebody is.
    let mut asking = machine.command(&["shmz", "--json", "pool"]).spawn();
    machine.run(&["touch", GATE]).success();
    asking.line(Duration::from_secs(60)).unwrap()
}

/// What happens while nobody looks is known afterwards.
pub fn away(machine: &Machine) {
    let gated = format!("[Service]\nExecStartPre=bash -c 'until [ -e {GATE} ]; do sleep 0.1; done'\n");
    for service in ["pool", "launcher"] {
        machine.write(&format!("/etc/systemd/system/shmooze-{service}.service.d/gated.conf"), gated.as_str());
    }
    machine.run(&["touch", GATE]).success();
    machine.run(&["systemctl", "daemon-reload"]).success();
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let pool = |type_name: &str| add(machine, "pool", type_name);
    let (removed, crashed, stays) = (pool("tiny"), pool("tiny"), pool("counts"));
    shmz(machine, &["--service", "pool", "rm", &removed]);
    assert_eq!(ending(machine, "pool", &removed)["cause"], "removed");
    let list = end_while_away(machine, &["shmooze-pool"], &crashed);
    assert!(list.contains(&stays) && !list.contains(&removed), "{list}");
    let life = ending(machine, "pool", &crashed);
    assert_eq!((&life["cause"], &life["exit"]), (&json!("stream_lost"), &json!({"signal": 6})), "{life}");
    assert_eq!(ending(machine, "pool", &removed)["cause"], "removed", "of the time before");

    // Nobody knows what the launcher did not see either.
    let unseen = pool("tiny");
    let list = end_while_away(machine, &["shmooze-pool", "shmooze-launcher"], &unseen);
    assert!(list.contains(&stays), "{list}");
    let life = ending(machine, "pool", &unseen);
    assert_eq!((&life["cause"], &life["exit"]), (&json!("stream_lost"), &json!(null)), "{life}");
    rest(machine, "pool", &stays);
}

/// A module that crashed is started again by a process that has not seen it crash.
pub fn waits(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let uid = add(machine, "pool", "sign");
    let listed = || -> Value {
        let words = ["--json", "pool", "--parameters", "sign=shmooze_restarts,shmooze_restart_at"];
        serde_json::from_str::<Value>(&shmz(machine, &words)).unwrap()[0].clone()
    };
    let up = json!({"uid": uid, "type": "sign", "parameters": {}});
    assert_eq!(listed(), up);
    machine.run(&["systemctl", "kill", "-s", "ABRT", &format!("shmooze-pool-sign-{uid}.scope")]).success();
    eventually("it waits", || listed()["parameters"]["shmooze_restart_at"].is_number());
    let waiting = listed();
    assert_eq!((&waiting["uid"], &waiting["state"]), (&json!(uid), &json!("restarting")));
    assert_eq!(scopes(machine), [] as [&str; 0]);
    for _ in 0..2 {
        let pid = property(machine, "shmooze-pool", "MainPID");
        machine.run(&["kill", "-KILL", &pid]).success();
        eventually("there is another process", || {
            is_active(machine, "shmooze-pool") && property(machine, "shmooze-pool", "MainPID") != pid
        });
        assert_eq!(listed(), waiting, "to the same time");
    }
    eventually("it is back", || listed().get("state").is_none());
    assert_eq!(listed()["parameters"], json!({"shmooze_restarts": 1}));
    assert_eq!(scopes(machine), [format!("shmooze-pool-sign-{uid}.scope")], "once");
    assert_eq!(ending(machine, "pool", &uid)["exit"], json!({"signal": 6}));
    // It waits again, and the service is stopped.
    machine.run(&["systemctl", "kill", "-s", "ABRT", &format!("shmooze-pool-sign-{uid}.scope")]).success();
    eventually("it waits", || listed()["state"] == "restarting");
    machine.run(&["systemctl", "stop", "shmooze-pool.socket", "shmooze-pool.service"]).success();
    machine.run(&["systemctl", "start", "shmooze-pool.socket"]).success();
    assert_eq!(shmz(machine, &["--json", "pool"]).trim(), "[]");
}

/// Without any privilege, in the manager of a user.
pub fn of_a_user(machine: &Machine) {
    let alice = |words: &[&str]| machine.user_run("alice", words).success().text();
    alice(&["systemctl", "--user", "daemon-reload"]);
    alice(&["systemctl", "--user", "start", "shmooze.target"]);
    let uids = [(); 2].map(|()| alice(&["shmz", "add", "tiny"]));
    let show = |name: &str| alice(&["systemctl", "--user", "show", "--value", "-p", name, "shmooze-queue"]);
    let processes = || machine.run(&["pgrep", "-u", "alice", "-x", "tiny"]).text();
    let (list, before) = (alice(&["shmz", "--json", "queue"]), processes());
    for how in [["--user", "kill", "-s", "KILL"].as_slice(), &["--user", "restart"]] {
        let pid = show("MainPID");
        alice(&[&["systemctl"], how, &["shmooze-queue"]].concat());
        eventually("there is another process", || !["0", &pid].contains(&show("MainPID").as_str()));
        assert_eq!(alice(&["shmz", "--json", "queue"]), list);
        assert_eq!(processes(), before);
    }
    alice(&["shmz", "rm", &uids[0], &uids[1]]);
    eventually("nothing but the log is kept", || show("NFileDescriptorStore") == "1");
    eventually("they have ended", || processes().is_empty());
}
