//! No unit of ours holds anything that the manager would warn of, ignore or not find.

use serde_json::json;
use shmooze_test_machine::{Machine, Output};

use super::host::settings;

/// Every kind of service, one of them with a name that is escaped.
fn put_settings(machine: &Machine) {
    let mut more = settings();
    more["ports"]["more-music"] = json!(9430);
    more["services"]["more-music"] = json!({"kind": "queue"});
    more["ports"]["stays"] = json!(9431);
    more["services"]["stays"] =
        json!({"kind": "app", "process": ["sleep", "infinity"], "limits": {"MemoryMax": "25%", "TasksMax": 5}});
    machine.write("/etc/shmooze/settings.json", more.to_string());
}

fn assert_silent(verified: &Output) {
    assert_eq!((verified.status, verified.text(), verified.errors()), (0, String::new(), String::new()));
}

pub fn of_the_system(machine: &Machine) {
    put_settings(machine);
    machine.run(&["systemctl", "daemon-reload"]).success();
    // The pages of the manual are the packages' business.
    let files = "/run/systemd/generator/shmooze*.{socket,service} /usr/lib/systemd/system/shmooze*";
    assert_silent(&machine.shell(&format!("systemd-analyze verify --man=no {files}")));
    let reaper = machine.run(&["systemctl", "show", "-p", "LoadState", "--value", r"shmooze-reap@shmooze-more\x2dmusic.service"]);
    assert_eq!(reaper.text(), "loaded");
}

pub fn of_a_user(machine: &Machine) {
    put_settings(machine);
    let alice = |script: &str| machine.user_run("alice", &["bash", "-c", script]);
    alice("systemctl --user daemon-reload").success();
    let files = "$XDG_RUNTIME_DIR/systemd/generator/shmooze*.{socket,service} /usr/lib/systemd/user/shmooze*";
    assert_silent(&alice(&format!("systemd-analyze --user verify --man=no {files}")));
}
