//! The test machines themselves: what later tests build on, shown on really booted systemd of both releases.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use shmooze_test_machine::{Kind, Machine, Tests};

mod booted {
    pub mod emulated;
    pub mod host;
    pub mod scopes;
}

fn main() -> ExitCode {
    Tests::new()
        .each(Kind::CONTAINERS, "boots in seconds", boots)
        .each(Kind::CONTAINERS, "commands give status, output and errors", commands)
        .each(Kind::CONTAINERS, "a command that hangs is ended and named", hanging_command)
        .each(Kind::CONTAINERS, "files go in and out", files)
        .each(Kind::CONTAINERS, "a conversation with a running command", conversation)
        .each(Kind::CONTAINERS, "the journal tells by unit", journal)
        .each(Kind::CONTAINERS, "the manager of a user", user_manager)
        .each(Kind::CONTAINERS, "machines are alone and forget", forgets)
        .each(Kind::CONTAINERS, "reboots and keeps its disk", reboots)
        .each(Kind::CONTAINERS, "a scope ends with its grandchildren", booted::scopes::ends_with_grandchildren)
        .each(Kind::CONTAINERS, "a scope freezes and thaws", booted::scopes::freezes_and_thaws)
        .inside(Kind::ALL, "this program runs inside", runs_inside)
        .host("power-off leaves nothing", booted::host::power_off_leaves_nothing)
        .host("a killed test leaves nothing", booted::host::killed_test_leaves_nothing)
        .host("what is left all the same goes at the next start", booted::host::next_start_clears_up)
        .shared(Kind::EMULATED, "all controllers are there", booted::emulated::controllers)
        .shared(Kind::EMULATED, "MemoryMax bites", booted::emulated::memory)
        .shared(Kind::EMULATED, "CPUQuota bites", booted::emulated::processor)
        .shared(Kind::EMULATED, "TasksMax bites", booted::emulated::tasks)
        .each(Kind::EMULATED, "what was flushed survives a power cut", booted::emulated::power_cut)
        .main()
}

fn boots(machine: &Machine) {
    println!("{} booted in {:.2} s", machine.kind(), machine.boot_time().as_secs_f64());
    assert_eq!(machine.systemd_version(), machine.kind().suite().systemd());
    // A second where nothing else runs; the rest is for a host that is busy with other tests.
    assert!(machine.boot_time() < Duration::from_secs(15), "it took {:?}", machine.boot_time());
    assert_eq!(machine.run(&["cat", "/proc/1/comm"]).success().text(), "systemd");
}

fn commands(machine: &Machine) {
    let output = machine.shell("echo out; echo err >&2; exit 7");
    assert_eq!((output.status, &*output.text(), &*output.errors()), (7, "out", "err"));
    // Nothing in the words of a command means anything to systemd.
    let words = ["printf", "%s|", "a b", "$HOME", "${HOME}", "100%d", "\\n", "'\"", ""];
    assert_eq!(machine.run(&words).success().text(), "a b|$HOME|${HOME}|100%d|\\n|'\"||");
    assert_eq!(machine.command(&["tr", "a-z", "A-Z"]).input("shout").run().success().text(), "SHOUT");
    assert_eq!(machine.command(&["bash", "-c", "echo $COLOUR"]).env("COLOUR", "red").run().text(), "red");
    assert_eq!(machine.command(&["id", "-un"]).user("bob").run().success().text(), "bob");
    // A million bytes each way, while nobody has asked for the answer yet.
    let large = vec![b'x'; 1_000_000];
    assert_eq!(machine.command(&["cat"]).input(large.clone()).run().success().stdout, large);
    // Each in a service of its own, as the real thing would be.
    assert!(machine.run(&["cat", "/proc/self/cgroup"]).text().contains("system.slice/test-"));
}

fn hanging_command(machine: &Machine) {
    let limit = Duration::from_secs(3);
    let hang = || machine.command(&["bash", "-c", "echo before; exec sleep 1000"]).within(limit).run();
    let cause = std::panic::catch_unwind(std::panic::AssertUnwindSafe(hang)).unwrap_err();
    let sentence = cause.downcast_ref::<String>().unwrap();
    assert!(sentence.contains("sleep 1000: not ended within 3s"), "{sentence}");
    assert!(sentence.contains("output: before"), "{sentence}");
    assert_eq!(machine.shell("pgrep -f 'sleep 100[0]'").status, 1);
}

fn files(machine: &Machine) {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join("inner")).unwrap();
    fs::write(host.path().join("inner/data"), [0, 159, 146, 150, 10]).unwrap();
    machine.copy_in(host.path(), "/srv/tree");
    machine.copy_out("/srv/tree/inner/data", host.path().join("back"));
    assert_eq!(fs::read(host.path().join("back")).unwrap(), [0, 159, 146, 150, 10]);
    machine.copy_in("/bin/true", "/opt/deep/down/program");
    machine.run(&["/opt/deep/down/program"]).success();
    machine.write("/etc/deep/file", "text\n");
    assert_eq!(machine.read("/etc/deep/file"), b"text\n");
}

fn conversation(machine: &Machine) {
    let mut running = machine.command(&["cat"]).spawn();
    let second = Duration::from_secs(30);
    running.write(b"first\nsecond\n");
    assert_eq!(running.line(second).as_deref(), Some("first"));
    assert_eq!(running.line(second).as_deref(), Some("second"));
    assert_eq!(machine.run(&["systemctl", "is-active", running.unit()]).text(), "active");
    running.signal("TERM");
    assert_eq!(running.line(second), None);
    // systemd takes an end by SIGTERM for a good one.
    assert_eq!(running.wait(second).stdout, b"");
}

fn journal(machine: &Machine) {
    let running = machine.command(&["logger", "--stderr", "a word to remember"]).spawn();
    let unit = running.unit().to_owned();
    running.wait(Duration::from_secs(30)).success();
    let told = machine.journal(&["--output=cat", "--unit", &unit, "--identifier=root"]);
    assert_eq!(told, "a word to remember");
}

fn user_manager(machine: &Machine) {
    assert_eq!(machine.user_run("alice", &["id", "-un"]).success().text(), "alice");
    let cgroup = machine.user_run("alice", &["cat", "/proc/self/cgroup"]).success().text();
    assert!(cgroup.contains("user.slice/user-1000.slice/user@1000.service/app.slice/test-"), "{cgroup}");
    let state = machine.user_run("alice", &["systemctl", "--user", "is-system-running", "--wait"]);
    assert_eq!(state.text(), "running");
    assert_eq!(machine.user_run("alice", &["printf", "%s", "$HOME"]).text(), "$HOME");
    assert_eq!(machine.user_run("alice", &["bash", "-c", "echo $HOME; exit 3"]).text(), "/home/alice");
    assert_eq!(machine.user_run("alice", &["bash", "-c", "exit 3"]).status, 3);
    // Without any privilege the user's manager takes a scope, and ends it.
    let scope = "systemd-run --user --scope --quiet --unit=mine bash -c 'echo in; exec sleep 1000'";
    let mut running = machine.command(&["bash", "-c", scope]).in_manager_of("alice").spawn();
    assert_eq!(running.line(Duration::from_secs(30)).as_deref(), Some("in"));
    machine.user_run("alice", &["systemctl", "--user", "stop", "mine.scope"]).success();
    running.wait(Duration::from_secs(30));
    assert_eq!(machine.shell("pgrep -f 'sleep 100[0]'").status, 1);
}

fn forgets(machine: &Machine) {
    let other = Machine::boot(machine.kind());
    machine.write("/etc/mark", "here");
    other.run(&["test", "!", "-e", "/etc/mark"]).success();
    let running = machine.command(&["sleep", "1000"]).spawn();
    assert_eq!(other.shell("pgrep -f 'sleep 100[0]'").status, 1);
    drop(other);
    assert_eq!(machine.run(&["systemctl", "is-active", running.unit()]).text(), "active");
}

fn reboots(machine: &Machine) {
    machine.shell("echo kept >/var/lib/mark; echo gone >/run/mark").success();
    let boot = machine.run(&["cut", "-d ", "-f22", "/proc/1/stat"]).text();
    machine.reboot();
    assert_ne!(machine.run(&["cut", "-d ", "-f22", "/proc/1/stat"]).text(), boot);
    assert_eq!(machine.shell("cat /var/lib/mark; test ! -e /run/mark").success().text(), "kept");
    machine.power_off();
    machine.power_on();
    assert_eq!(machine.read("/var/lib/mark"), b"kept\n");
    machine.cut_power();
    machine.power_on();
    assert_eq!(machine.read("/var/lib/mark"), b"kept\n");
}

fn runs_inside() {
    assert_eq!(fs::read_to_string("/proc/1/comm").unwrap().trim(), "systemd");
    assert_eq!(fs::read_to_string("/etc/hostname").unwrap().trim(), "shmooze-test");
}
