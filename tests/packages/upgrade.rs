//! From the version before to this one.

use shmooze_test_machine::Machine;

use super::build::packages;
use super::life::{active, ask, shmz};

/// The main process of a service, and its program.
fn process(machine: &Machine, service: &str) -> (String, String) {
    let pid = machine.run(&["systemctl", "show", "--value", "-p", "MainPID", service]).success().text();
    let program = machine.run(&["readlink", &format!("/proc/{pid}/exe")]).success().text();
    (pid, program)
}

fn is_outdated(machine: &Machine, service: &str) -> bool {
    process(machine, service).1.ends_with(" (deleted)")
}

fn version(machine: &Machine) -> String {
    machine.run(&["dpkg-query", "-W", "-f", "${Version} ", "shmooze", "shmooze-cli", "python3-shmooze"]).success().text()
}

pub fn while_playing(machine: &Machine) {
    packages().install_before(machine);
    assert!(version(machine).starts_with("0.0.1~before 0.0.1~before"), "{}", version(machine));
    // An edit of the administrator's.
    machine.shell("sed -i 's/\"Slide show\"/\"Slides of ours\"/' /etc/shmooze/settings.json && shmz apply").success();
    let uid = shmz(machine, &["add", "slides", "slides=One|Two", "seconds=600"]);
    machine.shell("curl -sSf http://127.0.0.1:9480/").success();
    let position = ask(machine, &uid, "position").as_f64().unwrap();
    let scopes = active(machine, "shmooze-*.scope");
    let module = machine.shell("pgrep -u shmooze-module -f slides.py").success().text();
    let kept: Vec<_> = ["shmooze-launcher", "shmooze-queue"].map(|service| process(machine, service)).into();
    let sockets = "systemctl show --value -p ActiveEnterTimestampMonotonic shmooze-queue.socket shmooze-gateway.socket";
    let open = machine.shell(sockets).success().text();
    // A client that stays connected.
    let mut client = machine.command(&["socat", "-t", "60", "-", "TCP:127.0.0.1:9420"]).spawn();

    packages().install(machine);
    let now = env!("CARGO_PKG_VERSION");
    assert_eq!(version(machine), format!("{now} {now} {now}"));

    // It plays on: the same process, in the same scope, under the same broker, and its client is heard.
    client.write(b"{\"cmd\": \"queue\"}\n");
    assert!(client.line(std::time::Duration::from_secs(60)).unwrap().contains(&uid));
    assert_eq!(active(machine, "shmooze-*.scope"), scopes);
    assert_eq!(machine.shell("pgrep -u shmooze-module -f slides.py").success().text(), module);
    assert_eq!(ask(machine, &uid, "state"), "playing");
    assert!(ask(machine, &uid, "position").as_f64().unwrap() >= position);
    for (service, (pid, _)) in ["shmooze-launcher", "shmooze-queue"].iter().zip(&kept) {
        assert_eq!(&process(machine, service).0, pid, "{service}");
    }
    assert_eq!(machine.shell(sockets).success().text(), open, "no socket was closed");
    assert!(!is_outdated(machine, "shmooze-gateway"));
    assert!(machine.shell("cat /etc/shmooze/settings.json").success().text().contains("Slides of ours"));

    // What is launched now is launched by a launcher and a broker of before, with the shim of now.
    let next = shmz(machine, &["add", "tones", "duration=600"]);
    shmz(machine, &["mv", &next]);
    assert_eq!((ask(machine, &next, "state"), ask(machine, &uid, "state")), ("playing".into(), "suspended".into()));
    // A broker of now asks a launcher of before.
    let other = shmz(machine, &["--service", "pool", "add", "clock"]);
    assert!(!is_outdated(machine, "shmooze-pool") && is_outdated(machine, "shmooze-launcher"));
    shmz(machine, &["rm", &next, &uid]);
    shmz(machine, &["--service", "pool", "rm", &other]);

    let said = machine.journal(&["-p", "warning", "-u", "shmooze-*", "-o", "cat"]);
    assert_eq!(said, "");

    // When it suits.
    machine.run(&["systemctl", "restart", "shmooze-launcher.service", "shmooze-queue.service"]).success();
    assert!(!is_outdated(machine, "shmooze-queue") && !is_outdated(machine, "shmooze-launcher"));
    shmz(machine, &["add", "slides"]);
}

pub fn while_idle(machine: &Machine) {
    packages().install_before(machine);
    let services = ["shmooze-gateway", "shmooze-launcher", "shmooze-pool", "shmooze-queue"];
    for service in ["queue", "pool"] {
        shmz(machine, &["--url", "http://127.0.0.1:9480", "--service", service, service]);
    }
    packages().install(machine);
    for service in services {
        assert!(!is_outdated(machine, service), "{service}");
    }
    shmz(machine, &["add", "slides"]);
}
