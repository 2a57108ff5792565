//! No unit of ours holds anything that the manager would warn of, ignore or not find.

use shmooze_test_machine::{Machine, Output};

use super::host::more_settings;

fn put_settings(machine: &Machine) {
    machine.write("/etc/shmooze/settings.json", more_settings().to_string());
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
