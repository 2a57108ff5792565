//! How modules end.

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host::{add, ending, eventually, is_active, scopes, settings, shmz};

pub fn history(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let removed = |type_name: &str| {
        let uid = add(machine, "pool", type_name);
        shmz(machine, &["--service", "pool", "rm", &uid]);
        let life = ending(machine, "pool", &uid);
        assert_eq!((&life["cause"], &life["type"]), (&json!("removed"), &json!(type_name)));
        // The journal says the same.
        let line = life["text"].as_str().unwrap().to_owned();
        let said = format!("module {}: {line}", &uid[..8]);
        eventually(&said, || machine.journal(&["-u", "shmooze-pool", "-o", "cat"]).contains(&said));
        (life["reached"].clone(), life["exit"].clone())
    };
    assert_eq!(removed("tiny"), (json!("exit"), json!({"status": 0})));
    assert_eq!(removed("lingers"), (json!("terminate"), json!({"signal": 15})));
    assert_eq!(removed("stubborn"), (json!("kill"), json!({"signal": 9})));
    // The module itself ends well; what it left behind has to be killed.
    assert_eq!(removed("daemon"), (json!("kill"), json!({"status": 0})));

    let crashed = add(machine, "pool", "tiny");
    machine.run(&["pkill", "-ABRT", "-x", "tiny"]).success();
    let life = ending(machine, "pool", &crashed);
    assert_eq!((&life["cause"], &life["reached"], &life["exit"]), (&json!("stream_lost"), &json!("exit"), &json!({"signal": 6})));
    for (type_name, exit) in [("fails", json!({"status": 7})), ("never connects", json!({"signal": 15}))] {
        let output = machine.run(&["shmz", "--service", "pool", "add", type_name]);
        assert_eq!(output.status, 1, "{type_name}");
        let mut life = Value::Null;
        eventually(type_name, || {
            let request = json!({"cmd": "history", "args": {"limit": 1}}).to_string();
            let answer: Value = serde_json::from_str(&shmz(machine, &["--json", "send", "pool", &request])).unwrap();
            life = answer.as_array().map_or_else(|| answer["result"][0].clone(), |lives| lives[0].clone());
            life["type"] == type_name
        });
        assert_eq!((&life["cause"], &life["exit"]), (&json!("not_connected"), &exit), "{life}");
    }
    eventually("no scope is left", || scopes(machine).is_empty());
}

pub fn escape(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    for type_name in ["daemon", "stops itself", "forks", "stubborn", "lingers"] {
        let uid = add(machine, "pool", type_name);
        // Frozen by somebody, and removed all the same.
        if type_name == "stubborn" {
            machine.run(&["systemctl", "freeze", &scopes(machine)[0]]).success();
        }
        let output = machine.run(&["shmz", "--service", "pool", "rm", &uid]);
        println!("{type_name}: rm answered {} {}{}", output.status, output.text(), output.errors());
        let life = ending(machine, "pool", &uid);
        println!("{type_name}: {life}");
        let took = life["ended"].as_f64().unwrap() - life["added"].as_f64().unwrap();
        assert!(took < 30.0, "{type_name} took {took} s");
        let left = machine.run(&["pgrep", "-a", "-u", "shmooze-module"]).text();
        assert_eq!(left, "", "{type_name} left processes");
        assert_eq!(scopes(machine), [] as [&str; 0], "{type_name} left its scope");
    }
}

pub fn stop(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    for type_name in ["tiny", "lingers", "stubborn", "daemon", "tiny"] {
        add(machine, "queue", type_name);
    }
    let other = add(machine, "pool", "tiny");
    machine.run(&["systemctl", "stop", "shmooze-queue.socket", "shmooze-queue.service"]).success();
    assert_eq!(scopes(machine), [format!("shmooze-pool-tiny-{other}.scope")]);
    assert_eq!(machine.run(&["pgrep", "-u", "shmooze-module", "-c"]).text(), "1");
    let journal = machine.journal(&["-u", "shmooze-queue", "-o", "cat"]);
    println!("{journal}");
    assert!(journal.contains("Deactivated successfully."), "{journal}");
    // All at once.
    machine.run(&["systemctl", "stop", "shmooze.slice", "shmooze.target"]).success();
    assert_eq!(scopes(machine), [] as [&str; 0]);
    assert!(!is_active(machine, "shmooze-launcher.service"));
}

pub fn lifetime(machine: &Machine) {
    let mut limited = settings();
    limited["services"]["pool"]["modules"]["tiny"]["limits"] = json!({"RuntimeMaxSec": "1s"});
    machine.write("/etc/shmooze/settings.json", limited.to_string());
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let uid = add(machine, "pool", "tiny");
    let life = ending(machine, "pool", &uid);
    assert_eq!(
        (&life["exceeded"], &life["reached"], &life["cause"]),
        (&json!("time"), &json!("terminate"), &json!("stream_lost"))
    );
    assert_eq!(life["text"], "lost a stream, ended by SIGTERM, lived as long as it may, SIGTERM");
    assert_eq!(shmz(machine, &["--service", "pool", "--json", "pool"]), "[]");
}
