//! The same units in the manager of a user without any right.

use shmooze_test_machine::Machine;

use super::host::eventually;

pub fn family(machine: &Machine) {
    let alice = |words: &[&str]| machine.user_run("alice", words);
    alice(&["systemctl", "--user", "daemon-reload"]).success();
    alice(&["systemctl", "--user", "start", "shmooze.target"]).success();
    let uid = alice(&["shmz", "add", "stubborn"]).success().text();
    let unit = format!("shmooze-queue-stubborn-{uid}.scope");
    let tree = alice(&["systemd-cgls", "--no-pager", "-l", "--user-unit", "shmooze.slice"]).success().text();
    println!("{tree}");
    for part in ["shmooze-launcher.service", "shmooze-queue.service", "shmooze-queue.slice", &unit, "tiny localhost"] {
        assert!(tree.contains(part), "{part} is missing in\n{tree}");
    }
    assert_eq!(machine.shell("ps -o user= -C tiny").text(), "alice");
    let scopes =
        || alice(&["systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "shmooze-*.scope"]).success().text();
    assert!(scopes().starts_with(&unit), "{}", scopes());
    alice(&["shmz", "rm", &uid]).success();
    eventually("it is gone", || scopes().is_empty());
    // Without a launcher, a broker houses its modules itself.
    alice(&["systemctl", "--user", "stop", "shmooze.slice", "shmooze.target"]).success();
    let alone = alice(&["systemd-run", "--user", "-q", "-u", "alone", "-p", "Type=notify", "/usr/libexec/shmooze/shmooze-pool"]);
    alone.success();
    let uid = alice(&["shmz", "--service", "pool", "add", "tiny"]).success().text();
    assert!(scopes().starts_with(&format!("shmooze-pool-tiny-{uid}.scope")), "{}", scopes());
    alice(&["systemctl", "--user", "stop", "alone.service"]).success();
    assert_eq!(scopes(), "");
}

pub fn given_up(machine: &Machine) {
    let alice = |words: &[&str]| machine.user_run("alice", words);
    alice(&["systemctl", "--user", "start", "shmooze.target"]).success();
    let (own, other) = ("stubborn", "tiny");
    let uid = alice(&["shmz", "add", own]).success().text();
    let other = alice(&["shmz", "--service", "pool", "add", other]).success().text();
    alice(&["systemctl", "--user", "freeze", &format!("shmooze-queue-{own}-{uid}.scope")]).success();
    let scopes =
        || alice(&["systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "shmooze-*.scope"]).success().text();
    assert_eq!(scopes().lines().count(), 2, "{}", scopes());
    machine.write("/etc/systemd/user/shmooze-queue.service.d/never.conf", "[Service]\nExecStartPre=false\n");
    alice(&["systemctl", "--user", "daemon-reload"]).success();
    alice(&["systemctl", "--user", "kill", "-s", "KILL", "shmooze-queue"]).success();
    eventually("its modules are ended", || scopes().lines().count() == 1);
    assert!(scopes().contains(&other), "{}", scopes());
    assert_eq!(alice(&["systemctl", "--user", "is-failed", "shmooze-queue.service"]).text(), "failed");
}
