//! Work goes on while nobody writes down what is said: the journal stands still, or there is no room for it or for the command log.

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host::{self, add, ending, eventually, property, scopes, shmz};

/// Where the command log is.
const LOGS: &str = "/var/log/shmooze";

/// What somebody whom nothing has happened to sees: all kinds of requests, in every way, are answered.
fn work_goes_on(machine: &Machine, stays: &str) {
    let (one, pooled) = (add(machine, "queue", "says"), add(machine, "pool", "tiny"));
    shmz(machine, &["mv", &one]);
    shmz(machine, &["tell", &one, "something"]);
    shmz(machine, &["mv", stays]);
    let list: Value = serde_json::from_str(&shmz(machine, &["--url", "http://127.0.0.1:9480/", "--json", "queue"])).unwrap();
    assert_eq!((&list[0]["uid"], &list[1]["uid"]), (&json!(stays), &json!(one)));
    shmz(machine, &["rm", &one]);
    shmz(machine, &["--service", "pool", "rm", &pooled]);
    for (service, uid) in [("queue", &one), ("pool", &pooled)] {
        assert_eq!(ending(machine, service, uid)["reached"], "exit");
    }
}

/// One line of so many requests to the queue, each of which is answered well.
fn send(machine: &Machine, count: usize, request: impl Fn(usize) -> Value) {
    let requests: Value = (0..count).map(request).collect();
    // By a file: a command line would be too long.
    machine.write("/tmp/requests", requests.to_string() + "\n");
    let ask = "socat -t 60 - TCP:127.0.0.1:9420 < /tmp/requests";
    let answers: Value = serde_json::from_str(&machine.shell(ask).success().text()).unwrap();
    let good = answers.as_array().unwrap().iter().filter(|answer| answer["success"] == true).count();
    assert_eq!(good, count, "{answers}");
}

/// How often a service has said that.
fn said(machine: &Machine, unit: &str, what: &str) -> usize {
    machine.journal(&["-u", unit, "-o", "cat"]).lines().filter(|line| line.contains(what)).count()
}

pub fn journal_stands_still(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target", "shmooze-gateway.service"]).success();
    let (stays, other) = (add(machine, "queue", "tiny"), add(machine, "queue", "tiny"));
    let journald = property(machine, "systemd-journald", "MainPID");
    machine.run(&["kill", "-STOP", &journald]).success();
    // Each tells of two modules: more than a socket keeps, however it is set up.
    send(machine, 600, |number| json!({"cmd": "mv", "args": {"uids": [if number % 2 == 0 { &other } else { &stays }]}}));
    work_goes_on(machine, &stays);
    // Nor does it matter to a process that begins, and adopts.
    for service in ["shmooze-queue", "shmooze-launcher"] {
        let before = property(machine, service, "MainPID");
        machine.run(&["kill", "-KILL", &before]).success();
        eventually("it is started anew", || !["0", &before].contains(&property(machine, service, "MainPID").as_str()));
        work_goes_on(machine, &stays);
    }
    send(machine, 600, |number| json!({"cmd": "mv", "args": {"uids": [if number % 2 == 0 { &other } else { &stays }]}}));
    work_goes_on(machine, &stays);
    machine.run(&["kill", "-CONT", &journald]).success();

    // Told with the next message, once it is clear that the trouble is over.
    let again = || said(machine, "shmooze-queue", "The journal takes messages again; ");
    eventually("it is told that messages were lost", || {
        work_goes_on(machine, &stays);
        again() > 0
    });
    work_goes_on(machine, &stays);
    assert_eq!(again(), 1);
    let last = add(machine, "queue", "says");
    assert!(machine.journal(&["-o", "cat", &format!("SHMOOZE_UID={last}")]).contains("is launched as process"));
    assert_eq!(scopes(machine).len(), 3);
}

pub fn journal_has_no_room(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target", "shmooze-gateway.service"]).success();
    let stays = add(machine, "queue", "tiny");
    machine.shell("mount -t tmpfs -o size=1m tmpfs /run/log && systemctl restart systemd-journald").success();
    // It ends when nothing more can be written.
    machine.shell("cat /dev/zero > /run/log/filler");
    assert_eq!(machine.shell("df --output=avail /run/log | tail -n 1").success().text(), "0");
    send(machine, 600, |_| json!({"cmd": "mv", "args": {"uids": [stays]}}));
    work_goes_on(machine, &stays);
    machine.shell("umount --lazy /run/log && systemctl restart systemd-journald").success();
    let last = add(machine, "queue", "says");
    let life = machine.journal(&["-o", "cat", &format!("SHMOOZE_UID={last}")]);
    assert!(life.contains("is launched as process"), "{life}");
}

pub fn log_has_no_room(machine: &Machine) {
    let mut settings = host::settings();
    settings["log_database_path"] = json!(format!("{LOGS}/log.sqlite3"));
    machine.write("/etc/shmooze/settings.json", settings.to_string());
    for service in ["queue", "pool"] {
        let writes = format!("[Service]\nReadWritePaths={LOGS}\n");
        machine.write(&format!("/etc/systemd/system/shmooze-{service}.service.d/log.conf"), writes);
    }
    machine.shell(&format!("mkdir -p {LOGS} && mount -t tmpfs -o size=1m,mode=777 tmpfs {LOGS}")).success();
    machine.shell("systemctl daemon-reload && systemctl start shmooze.target shmooze-gateway").success();
    let stays = add(machine, "queue", "tiny");
    let rows = || {
        let of_tells = "SELECT count(*) FROM queue_log WHERE namespace = 'client-queue' AND input_json LIKE '%tell_module%'";
        machine.run(&["sqlite3", &format!("{LOGS}/log.sqlite3"), of_tells]).text()
    };
    let tell = |_| json!({"cmd": "tell_module", "args": {"uid": stays, "cmd": "x", "args": {"much": "x".repeat(20_000)}}});
    send(machine, 1, tell);
    eventually("it is written", || rows() == "1");

    machine.shell(&format!("cat /dev/zero > {LOGS}/filler"));
    let begins = "Cannot write the command log /var/log/shmooze/log.sqlite3: ";
    send(machine, 50, tell);
    work_goes_on(machine, &stays);
    eventually("it is told", || said(machine, "shmooze-queue", begins) == 1);
    send(machine, 50, tell);
    work_goes_on(machine, &stays);

    // Room for all of it.
    machine.shell(&format!("rm {LOGS}/filler && mount -o remount,size=64m {LOGS}")).success();
    // Those of `work_goes_on` as well.
    eventually("all is written", || rows() == "103");
    let ends = "The command log /var/log/shmooze/log.sqlite3 is written again; 0 rows of queue lost.";
    eventually("it is told", || said(machine, "shmooze-queue", ends) == 1);
    send(machine, 1, tell);
    eventually("and so it goes on", || rows() == "104");
    assert_eq!((said(machine, "shmooze-queue", begins), said(machine, "shmooze-queue", "is written again")), (1, 1));
}
