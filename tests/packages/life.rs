//! From the installation to the last trace.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::build::packages;

/// What a machine has of all kinds, for comparison. Logs, caches and what programs of the system write down for themselves are no part
/// of it.
struct Inventory {
    files: BTreeSet<String>,
    accounts: String,
}

impl Inventory {
    fn of(machine: &Machine) -> Self {
        let list = machine.shell(
            "find /etc /opt /root /srv /usr /var /run -xdev \
                \\( -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /run/systemd -o -path /run/log \
                    -o -path /opt/packages -o -path /run/user \\) -prune -o -print",
        );
        let is_noise = |path: &str| {
            // Copies of before, what services of the system have for themselves, and locks.
            path.starts_with("/etc/") && path.ends_with('-')
                || path.starts_with("/var/tmp/systemd-private-") && !path.contains("shmooze")
                || path.starts_with("/var/lib/dpkg/") && (path.ends_with("-old") || path.contains("lock"))
        };
        let files = list.success().text().lines().filter(|path| !is_noise(path)).map(str::to_owned).collect();
        let accounts = machine.shell("sort /etc/passwd /etc/group /etc/shadow /etc/gshadow").success().text();
        Self { files, accounts }
    }
}

/// Runs `shmz` and answers what it prints.
pub fn shmz(machine: &Machine, words: &[&str]) -> String {
    machine.run(&[&["shmz"], words].concat()).success().text()
}

/// One parameter of the module.
pub fn ask(machine: &Machine, uid: &str, parameter: &str) -> Value {
    let answer: Value = serde_json::from_str(&shmz(machine, &["--json", "ask", uid, parameter])).unwrap();
    answer[parameter].clone()
}

/// The units of that kind that run.
pub fn active(machine: &Machine, pattern: &str) -> BTreeSet<String> {
    let list = machine.run(&["systemctl", "list-units", "--plain", "--no-legend", "--state=active", pattern]).success().text();
    list.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// The processes of ours and of modules, one line each.
fn processes(machine: &Machine) -> String {
    machine.shell("ps -eo user:20=,args= | grep -E 'shmooze' | grep -v -e grep -e 'ps -eo' || true").text()
}

pub fn whole(machine: &Machine) {
    // Her manager runs, and leaves its own traces, before there is anything of ours.
    machine.user_run("alice", &["systemctl", "--user", "is-active", "basic.target"]).success();
    let before = Inventory::of(machine);
    packages().install(machine);
    machine.run(&["systemctl", "is-enabled", "shmooze.target"]).success();
    only_sockets(machine);
    machine.reboot();
    only_sockets(machine);
    assert_eq!(processes(machine), "");

    plays(machine);
    stops(machine);

    // An edit outlives removal, and is in force after it.
    let edit = "sed -i s/9421/9521/ /etc/shmooze/settings.json && shmz apply";
    let applied = machine.shell(edit).success().text();
    assert!(applied.contains("pool moves from port 9421 to port 9521."), "{applied}");
    let uid = shmz(machine, &["add", "slides", "seconds=600"]);
    let apt = |words: &str| {
        let script = format!("apt-get -y -o Dpkg::Use-Pty=0 {words}");
        let done = machine.command(&["bash", "-c", &script]).env("DEBIAN_FRONTEND", "noninteractive").run().success();
        println!("{}", done.text());
    };
    assert!(active(machine, "shmooze-*.scope").iter().any(|scope| scope.contains(&uid)));
    apt("remove shmooze");
    nothing_runs(machine);
    assert!(machine.shell("cat /etc/shmooze/settings.json").success().text().contains("9521"));
    apt("install /opt/packages/*.deb");
    only_sockets(machine);
    assert_eq!(shmz(machine, &["--json", "--url", "tcp://127.0.0.1:9521", "pool"]), "[]");
    let uid = shmz(machine, &["add", "slides", "seconds=600"]);
    assert_eq!(ask(machine, &uid, "state"), "playing");

    // While it plays, and while a user has a family of their own.
    family_of_alice(machine);
    apt("purge shmooze shmooze-cli python3-shmooze");
    nothing_runs(machine);
    let units = ["systemctl", "--user", "list-units", "--plain", "--no-legend", "--state=active,failed", "shmooze*"];
    assert_eq!(machine.user_run("alice", &units).success().text(), "");
    let after = Inventory::of(machine);
    let left: Vec<&String> = after.files.difference(&before.files).collect();
    assert!(left.is_empty(), "{left:?}");
    let lost: Vec<&String> = before.files.difference(&after.files).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(after.accounts, before.accounts);
    let units = machine.run(&["systemctl", "list-unit-files", "--plain", "--no-legend", "shmooze*"]).text();
    assert_eq!(units, "");
    let units = machine.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "shmooze*"]).success().text();
    assert_eq!(units, "");
    assert_eq!(machine.shell("ls -d /run/shmooze /run/systemd/generator/shmooze* 2>/dev/null || true").text(), "");
    let said = machine.journal(&["-p", "err", "-o", "cat", "--identifier", "systemd"]);
    assert!(!said.contains("shmooze"), "{said}");
}

fn only_sockets(machine: &Machine) {
    let sockets = ["shmooze-gateway.socket", "shmooze-launcher.socket", "shmooze-pool.socket", "shmooze-queue.socket"];
    assert_eq!(active(machine, "shmooze-*.socket"), sockets.map(str::to_owned).into());
    assert_eq!(active(machine, "shmooze*.service"), BTreeSet::new());
    machine.run(&["systemctl", "is-active", "shmooze.target"]).success();
}

/// The demo, and what administrators see of it.
fn plays(machine: &Machine) {
    let background = shmz(machine, &["set-bg", "clock"]);
    let time = ask(machine, &background, "time");
    assert!(time.as_str().is_some_and(|time| time.len() == 8), "{time}");
    // The gateway has not been asked yet.
    let services = active(machine, "shmooze-*.service");
    assert_eq!(services, ["shmooze-launcher.service", "shmooze-queue.service"].map(str::to_owned).into());
    let uid = shmz(machine, &["add", "tones", "title=Evening", "frequency=440", "duration=600"]);
    assert_eq!(ask(machine, &uid, "state"), "playing");
    let page = machine.shell("curl -sSf http://127.0.0.1:9480/ http://127.0.0.1:9480/settings.json").success().text();
    assert!(page.contains("<html") && page.contains("\"shmooze\""), "{page}");
    assert!(active(machine, "shmooze-gateway.service").len() == 1);
    assert_eq!(active(machine, "shmooze-pool.service").len(), 0);
    assert!(processes(machine).lines().any(|line| line.starts_with("shmooze-module ") && line.contains("tones.py")));
    println!("{}", machine.run(&["systemd-cgls", "--no-pager", "-l", "-u", "shmooze.slice"]).text());
    println!("{}", shmz(machine, &["status"]));
    // What happened is in the journal, and explained there.
    let life = shmz(machine, &["logs", &uid]);
    println!("{life}");
    assert!(life.contains("is launched as process") && life.contains("plays"), "{life}");
    let explained = machine.journal(&["--catalog", "SHMOOZE_EVENT=playing", &format!("SHMOOZE_UID={uid}")]);
    assert!(explained.contains(&format!("Module {uid} of queue plays")), "{explained}");
}

fn stops(machine: &Machine) {
    machine.run(&["systemctl", "stop", "shmooze-queue.service"]).success();
    assert_eq!(active(machine, "shmooze-*.scope"), BTreeSet::new());
    assert!(!processes(machine).contains(".py"));
    // And is there again for the next who asks.
    assert_eq!(shmz(machine, &["--json", "queue"]), "[]");
}

fn family_of_alice(machine: &Machine) {
    let file = "/home/alice/.config/shmooze/settings.json";
    let types = json!({"slides": {"process": ["python3", "/usr/share/shmooze/modules/slides.py"]}});
    let settings = json!({"ports": {"queue": 9620}, "services": {"queue": {"kind": "queue", "modules": types}}});
    machine.write(file, settings.to_string());
    machine.user_run("alice", &["systemctl", "--user", "daemon-reload"]).success();
    machine.user_run("alice", &["systemctl", "--user", "start", "shmooze.target"]).success();
    let add = ["shmz", "--settings", file, "add", "slides", "seconds=600"];
    machine.user_run("alice", &add).success();
    assert!(processes(machine).lines().any(|line| line.starts_with("alice ") && line.contains("slides.py")));
}

fn nothing_runs(machine: &Machine) {
    assert_eq!(processes(machine), "");
    let units = machine.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "shmooze*"]).success().text();
    // The name of the target is remembered, as what the machine starts with wants it until the purge.
    let kept = units.lines().filter(|line| !line.starts_with("shmooze.target not-found inactive ")).collect::<Vec<_>>();
    assert!(kept.is_empty(), "{kept:?}");
    assert_eq!(machine.shell("ss -tln | grep -E ':(9420|9421|9480|9521) ' || true").text(), "");
}

pub fn autopkgtest(machine: &Machine) {
    packages().install(machine);
    machine.copy_in(concat!(env!("CARGO_MANIFEST_DIR"), "/debian/tests/demo"), "/opt/demo");
    let output = machine.command(&["/opt/demo"]).within(Duration::from_secs(180)).run();
    assert_eq!((output.status, output.text().as_str(), output.errors().as_str()), (0, "demo: done", ""), "{output:?}");
}

/// What the README tells administrators to type.
pub fn readme(machine: &Machine) {
    let readme = include_str!("../../README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with("On a Debian host\n")).unwrap();
    let commands = section.lines().filter_map(|line| line.strip_prefix("    # ")).filter(|command| !command.starts_with(' '));
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    packages().bring(machine);
    for command in commands {
        let output = machine.command(&["bash", "-c", &format!("cd /opt/packages && {command}")]).run().success();
        println!("# {command}\n{}", output.text());
    }
    assert!(shmz(machine, &["--json", "status"]).contains("\"state\":\"playing\""), "{}", shmz(machine, &["--json", "status"]));
}
