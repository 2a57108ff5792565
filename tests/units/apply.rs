//! From the settings to what listens and runs: the generator, and `shmz apply`.

use std::time::Duration;

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host::{add, eventually, is_active, more_settings, property, settings, shmz};

const FILE: &str = "/etc/shmooze/settings.json";

/// Shows the words that it was given and what it finds, and stays.
const SHOW: &str = "\
import json, os, signal, sys
name = os.environ['SHMOOZE_SERVICE']
shown = {'words': sys.argv[1:], 'environment': dict(os.environ), 'folder': os.getcwd(), 'user': os.getuid()}
with open(f'/tmp/{name}.new', 'w') as file:
    json.dump(shown, file)
os.rename(f'/tmp/{name}.new', f'/tmp/{name}.json')
signal.pause()
";

fn apply(machine: &Machine) -> String {
    let output = machine.run(&["shmz", "apply"]);
    println!("{}{}", output.text(), output.errors());
    output.success().text()
}

/// What the queue or pool at a port answers, where there is one.
fn at(machine: &Machine, port: u16, list: &str) -> Option<String> {
    let output = machine.run(&["shmz", "--url", &format!("tcp://127.0.0.1:{port}"), "--json", list]);
    assert!(output.status == 0 || output.errors().contains("cannot be reached"), "{output:?}");
    (output.status == 0).then(|| output.text())
}

/// What the manager has loaded, and what there is on disk for it.
fn state(machine: &Machine) -> String {
    machine.shell("systemctl list-units --all --plain --no-legend 'shmooze*'; ss -Hltn; find /run/systemd/generator /var/lib/shmooze -ls").text()
}

pub fn boot(machine: &Machine) {
    machine.write(FILE, more_settings().to_string());
    machine.run(&["systemctl", "enable", "shmooze.target"]).success();
    machine.reboot();
    let up = machine.shell("systemctl list-units --plain --no-legend --state=active 'shmooze*.s[eo]*' | cut -d' ' -f1").text();
    let expected = [
        "shmooze-stays.service",
        "shmooze-gateway.socket",
        "shmooze-launcher.socket",
        r"shmooze-more\x2dmusic.socket",
        "shmooze-pool.socket",
        "shmooze-queue.socket",
    ];
    assert_eq!(up.lines().collect::<Vec<_>>(), expected);
    assert_eq!(at(machine, 9430, "queue").as_deref(), Some("[]"));
    assert!(is_active(machine, r"shmooze-more\x2dmusic.service") && !is_active(machine, "shmooze-queue.service"));
    // None of it is anything that the manager would not take.
    for unit in [
        "stays.service",
        r"more\x2dmusic.socket",
        r"more\x2dmusic.service",
        "gateway.socket",
        "gateway.service",
        "launcher.service",
    ] {
        assert_eq!(property(machine, &format!("shmooze-{unit}"), "LoadState"), "loaded", "{unit}");
    }
    assert_eq!(property(machine, "shmooze-stays", "TasksMax"), "5");
    let reload = if machine.systemd_version() < 253 { "notify" } else { "notify-reload" };
    for service in ["queue", "pool", "gateway", "launcher"] {
        assert_eq!(property(machine, &format!("shmooze-{service}"), "Type"), reload, "{service}");
    }
    assert_eq!(machine.shell("journalctl -q -b -p warning -o cat | grep shmooze").text(), "");
}

pub fn edit(machine: &Machine) {
    let mut changed = settings();
    changed["ports"]["gone"] = json!(9431);
    changed["services"]["gone"] = json!({"kind": "queue", "modules": {"tiny": {"process": ["tiny"]}}});
    machine.write(FILE, changed.to_string());
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    // What the machine has by its own hand is made known.
    assert!(apply(machine).contains("gone is new, at port 9431.\n"));
    let kept = add(machine, "pool", "tiny");
    let lost = add(machine, "gone", "tiny");
    assert_eq!(shmz(machine, &["--url", "http://127.0.0.1:9480/", "--json", "queue"]), "[]");
    let pid = |unit: &str| property(machine, unit, "MainPID");
    let (pool, queue) = (pid("shmooze-pool"), pid("shmooze-queue"));

    // One moves, another takes its place, one is gone, and a module type is new.
    let tiny = changed["services"]["pool"]["modules"]["tiny"].clone();
    changed["services"]["pool"]["modules"]["new"] = tiny;
    changed["ports"] = json!({"queue": 9422, "pool": 9421, "more": 9420, "wsgi": 9481});
    changed["services"].as_object_mut().unwrap().remove("gone");
    changed["services"]["more"] = json!({"kind": "pool"});
    machine.write(FILE, changed.to_string());
    let before = state(machine);
    let dry = shmz(machine, &["apply", "--dry-run"]);
    assert!(dry.contains("would do: systemctl restart shmooze-queue.socket\n"), "{dry}");
    assert_eq!(state(machine), before);
    let said = apply(machine);
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "gone is gone.",
            "the gateway moves from port 9480 to port 9481.",
            "more is new, at port 9420.",
            "queue moves from port 9420 to port 9422.",
            "systemctl stop shmooze-gone.socket shmooze-gone.service",
            "systemctl daemon-reload",
            "systemctl restart shmooze-gateway.socket",
            "systemctl restart shmooze-queue.socket",
            "systemctl reload shmooze-launcher.service",
            "systemctl start shmooze-more.socket",
            "systemctl reload shmooze-pool.service",
        ]
    );
    assert_eq!(said.replace("systemctl", "would do: systemctl"), dry, "what was said is what was done");
    assert_eq!(at(machine, 9422, "queue").as_deref(), Some("[]"));
    assert_ne!(pid("shmooze-queue"), queue);
    assert_eq!((at(machine, 9420, "pool").as_deref(), at(machine, 9431, "queue")), (Some("[]"), None));
    assert_eq!(machine.run(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "shmooze-gone*.s[eo]*"]).text(), "");
    assert!(machine.run(&["systemctl", "status", &format!("shmooze-gone-tiny-{lost}.scope")]).status != 0);
    assert_eq!(shmz(machine, &["--url", "http://127.0.0.1:9481/", "--json", "queue"]), "[]");
    assert_eq!(machine.run(&["shmz", "--url", "http://127.0.0.1:9480/", "queue"]).status, 3);
    // The pool went on, knows the new type, and so does the launcher.
    assert_eq!(pid("shmooze-pool"), pool);
    eventually("the new type can be added", || machine.run(&["shmz", "--service", "pool", "add", "new"]).status == 0);
    assert!(shmz(machine, &["--service", "pool", "--json", "pool"]).contains(&kept));

    // By hand meanwhile: the old port is closed, and nothing has opened the new one.
    changed["ports"]["queue"] = json!(9423);
    machine.write(FILE, changed.to_string());
    machine.run(&["systemctl", "daemon-reload"]).success();
    assert!(apply(machine).starts_with("queue is not yet at port 9423.\nsystemctl restart shmooze-queue.socket\n"));
    assert_eq!((at(machine, 9423, "queue").as_deref(), at(machine, 9422, "queue")), (Some("[]"), None));
    // Two change places.
    changed["ports"]["queue"] = json!(9420);
    changed["ports"]["more"] = json!(9423);
    machine.write(FILE, changed.to_string());
    apply(machine);
    assert_eq!((at(machine, 9420, "queue").as_deref(), at(machine, 9423, "pool").as_deref()), (Some("[]"), Some("[]")));

    // Somebody else has the port: the step fails with a sentence, and goes well when they are gone.
    let mut other = machine.command(&["socat", "-d", "-d", "TCP-LISTEN:9440,bind=127.0.0.1", "STDOUT"]).spawn();
    eventually("it listens", || machine.shell("ss -Hltn 'sport = 9440'").text().contains("9440"));
    changed["ports"]["more"] = json!(9440);
    machine.write(FILE, changed.to_string());
    let failed = machine.run(&["shmz", "apply"]);
    assert_eq!((failed.status, failed.errors().lines().count()), (1, 1), "{failed:?}");
    assert!(failed.errors().starts_with("shmz: systemctl restart shmooze-more.socket failed: "), "{failed:?}");
    other.close_input();
    other.signal("TERM");
    other.wait(Duration::from_secs(30));
    apply(machine);
    assert_eq!(at(machine, 9440, "pool").as_deref(), Some("[]"));
    assert_eq!(pid("shmooze-pool"), pool);
    assert!(shmz(machine, &["--service", "pool", "--json", "pool"]).contains(&kept), "it has played through all of it");
    // There is nothing more to change.
    assert!(apply(machine).lines().all(|line| line.starts_with("systemctl reload ")));
}

pub fn broken(machine: &Machine) {
    machine.run(&["systemctl", "enable", "--now", "shmooze.target"]).success();
    let mut moved = settings();
    moved["ports"]["queue"] = json!(9422);
    machine.write(FILE, moved.to_string());
    apply(machine);
    machine.write(FILE, "{\"ports\": {\"queue\": 9423,}}");
    let refused = machine.run(&["shmz", "apply"]);
    let sentence = format!("shmz: {FILE}: is not JSON at line 1, column 26: trailing comma.");
    assert_eq!((refused.status, refused.text(), refused.errors().trim()), (2, String::new(), sentence.as_str()));
    // There is no log of the kernel in a container, and nobody else when it starts.
    let journal = || machine.journal(&["-b", "-o", "cat", "SYSLOG_IDENTIFIER=shmooze-generator"]);
    let seen = std::cell::Cell::new(0);
    let console = || {
        let all = machine.console();
        let new = all[seen.replace(all.len())..].to_owned();
        new.lines()
            .filter(|line| line.contains("shmooze-generator"))
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    };
    let problem = format!("{FILE}: is not JSON at line 1, column 26: trailing comma.");
    let in_force = "The settings that were good last stay in force (/var/lib/shmooze/settings.json).";
    machine.run(&["systemctl", "daemon-reload"]).success();
    assert_eq!(journal(), format!("{problem}\n{in_force}"));
    assert_eq!(at(machine, 9422, "queue").as_deref(), Some("[]"), "the one that was started by the settings of before");
    // And so it is at the next boot, with all that they say.
    console();
    machine.reboot();
    assert_eq!(console(), format!("shmooze-generator: {problem}\nshmooze-generator: {in_force}"));
    assert_eq!(at(machine, 9422, "queue").as_deref(), Some("[]"));
    assert_eq!(shmz(machine, &["--url", "http://127.0.0.1:9480/", "--json", "pool"]), "[]");
    let uid = shmz(machine, &["--url", "tcp://127.0.0.1:9422", "add", "tiny"]);
    assert!(at(machine, 9422, "queue").unwrap().contains(&uid));
    let log = machine.journal(&["-b", "-u", "shmooze-queue", "-o", "cat"]);
    assert!(log.contains("trailing comma") && log.contains("the settings that were good last are in force"), "{log}");
    // Where there are none, nothing is served, least of all at a port that nobody asked for.
    machine.run(&["rm", "-r", "/var/lib/shmooze"]).success();
    machine.reboot();
    let nothing = format!("There is no last good copy /var/lib/shmooze/settings.json. So no service of {FILE} has units.");
    assert_eq!(console(), format!("shmooze-generator: {problem}\nshmooze-generator: {nothing}"));
    assert_eq!(machine.shell("ls -d /run/systemd/generator/shmooze*").text(), "");
    assert_eq!(machine.shell("ss -Hltn").text(), "");
    assert_eq!(machine.run(&["systemctl", "start", "shmooze-gateway.socket"]).status, 1);
    // Without a file there is nothing to say either.
    machine.run(&["rm", FILE]).success();
    machine.reboot();
    assert_eq!(machine.shell("ls -d /run/systemd/generator/shmooze*; ss -Hltn").text(), "");
    assert_eq!((console(), journal()), (String::new(), String::new()));
    // From there the first settings are one command away.
    machine.write(FILE, settings().to_string());
    assert!(apply(machine).contains("systemctl start shmooze-queue.socket"));
    assert_eq!(at(machine, 9420, "queue").as_deref(), Some("[]"));
}

pub fn programs(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    let mut changed = settings();
    changed["ports"]["say"] = json!(9450);
    let serve = |word: &str| json!({"kind": "app", "process": ["socat", "TCP-LISTEN:9450,fork,reuseaddr", format!("SYSTEM:echo {word}")]});
    changed["services"]["say"] = serve("hello");
    machine.write(FILE, changed.to_string());
    apply(machine);
    let ask = |answer: &str| {
        eventually(answer, || machine.shell("socat -T 5 - TCP:127.0.0.1:9450 </dev/null").text() == answer);
    };
    ask("hello");
    let pid = || property(machine, "shmooze-say", "MainPID");
    assert_eq!(machine.run(&["ps", "-o", "user:20=", "-p", &pid()]).text().trim(), "shmooze-module");
    let tree = machine.run(&["systemd-cgls", "--no-pager", "-l", "-u", "shmooze.slice"]).text();
    assert!(tree.contains("shmooze-say.service"), "{tree}");
    // It ends, and comes again.
    for signal in ["KILL", "TERM"] {
        let before = pid();
        machine.run(&["kill", "-s", signal, &before]).success();
        eventually("it is started anew", || is_active(machine, "shmooze-say") && pid() != before && pid() != "0");
        ask("hello");
    }
    // What did not change is left alone, what did is not.
    let before = pid();
    changed["services"]["pool"]["modules"]["new"] = json!({"process": ["tiny"]});
    machine.write(FILE, changed.to_string());
    apply(machine);
    assert_eq!(pid(), before);
    changed["services"]["say"] = serve("goodbye");
    machine.write(FILE, changed.to_string());
    assert!(apply(machine).starts_with("say is changed.\n"));
    ask("goodbye");
    changed["services"].as_object_mut().unwrap().remove("say");
    changed["ports"].as_object_mut().unwrap().remove("say");
    machine.write(FILE, changed.to_string());
    assert!(apply(machine).contains("systemctl stop shmooze-say.service\n"));
    assert_eq!(machine.run(&["pgrep", "-x", "socat"]).text(), "");
    assert_eq!(property(machine, "shmooze-say", "LoadState"), "not-found");
}

pub fn words(machine: &Machine) {
    machine.write("/opt/show it.py", SHOW);
    // Not by way of a shell, which keeps variables with odd names to itself.
    for program in ["/opt/$say \"it\"\\=", "/opt/bin/show"] {
        machine.write(program, format!("#!/usr/bin/python3\n{SHOW}"));
        machine.run(&["chmod", "+x", program]).success();
    }
    machine.run(&["mkdir", "-p", "/opt/a b%h/'c", "/opt/end "]).success();
    let words = json!([
        "",
        "$HOME ${HOME} $$ $1",
        "%n %% %",
        "\"'`\\\\ \\n",
        ";",
        ";x",
        "two  words ",
        "a\tb\nc\r\\",
        "\u{1b}[2J",
        "é\u{2028}",
        "-x",
        "#",
        "@NAME@",
        "{}",
        "~"
    ]);
    let odd = json!({"A-B": "$x \"y\" %h\n", "3": "", "PLAIN": "%h \"x\" 'y' \\ $HOME\n ", "EMPTY": ""});
    let cases: [(&str, Value, &str); 6] = [
        ("plain", json!({"process": ["/usr/bin/python3", "/opt/show it.py"]}), "/"),
        ("bare", json!({"process": ["python3", "/opt/show it.py"], "working_directory": "/opt/a b%h/'c"}), "/opt/a b%h/'c"),
        ("nasty", json!({"process": ["/opt/$say \"it\"\\="], "environment": odd, "working_directory": "/opt/end "}), "/opt/end "),
        ("search", json!({"process": ["show"], "environment": {"PATH": "/opt/bin:/usr/bin:/bin"}}), "/"),
        ("relative", json!({"process": ["./show"], "environment": odd, "working_directory": "/opt/bin"}), "/opt/bin"),
        (
            "variables",
            json!({"process": ["python3", "/opt/show it.py"], "environment": odd, "working_directory": "/usr/../opt"}),
            "/opt",
        ),
    ];
    let mut changed = settings();
    for (index, (name, program, _)) in cases.iter().enumerate() {
        let mut program = program.clone();
        program["kind"] = json!("app");
        program["process"].as_array_mut().unwrap().extend(words.as_array().unwrap().iter().cloned());
        changed["ports"][name] = json!(9500 + index);
        changed["services"][name] = program;
    }
    machine.write(FILE, changed.to_string());
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    apply(machine);
    let user: Value = machine.run(&["id", "-u", "shmooze-module"]).text().parse::<u32>().unwrap().into();
    for (name, program, folder) in cases {
        let file = format!("/tmp/{name}.json");
        eventually(name, || machine.run(&["test", "-e", &file]).status == 0);
        let shown: Value = serde_json::from_slice(&machine.read(&file)).unwrap();
        assert_eq!(shown["words"], words, "{name}");
        assert_eq!((&shown["folder"], &shown["user"]), (&json!(folder), &user), "{name}");
        let environment = &shown["environment"];
        assert_eq!((&environment["SHMOOZE_SERVICE"], &environment["SHMOOZE_SETTINGS"]), (&json!(name), &json!(FILE)), "{name}");
        assert_eq!(environment["USER"], "shmooze-module", "{name}");
        for (variable, value) in program["environment"].as_object().into_iter().flatten() {
            assert_eq!(&environment[variable], value, "{name}: {variable}");
        }
        assert_eq!(property(machine, &format!("shmooze-{name}"), "NRestarts"), "0", "{name}");
    }
    // Nor was there anything in the units that systemd would rather not.
    assert_eq!(machine.shell("journalctl -q -b -p warning -o cat | grep -E '(run/systemd/generator|shmooze-).*'").text(), "");
}

pub fn of_a_user(machine: &Machine) {
    let alice = |words: &[&str]| machine.user_run("alice", words);
    alice(&["systemctl", "--user", "start", "shmooze.target"]).success();
    // Who has no settings of their own goes by those of the machine.
    alice(&["systemctl", "--user", "is-active", "shmooze-queue.socket", "shmooze-pool.socket", "shmooze-gateway.socket"])
        .success();
    let own = |port: u16| {
        json!({
            "ports": {"music": port, "say": 9601},
            "services": {
                "music": {"kind": "queue", "modules": {"tiny": {"process": ["tiny"]}}},
                "say": {"kind": "app", "process": ["sleep", "infinity"]},
            },
        })
    };
    let write = |port: u16| {
        alice(&["mkdir", "-p", "/home/alice/.config/shmooze"]).success();
        machine.write("/home/alice/.config/shmooze/settings.json", own(port).to_string());
        let output = alice(&["shmz", "apply", "--user"]);
        println!("{}{}", output.text(), output.errors());
        output.success().text()
    };
    let said = write(9600);
    for step in
        ["stop shmooze-queue.socket", "stop shmooze-gateway.socket", "start shmooze-music.socket", "start shmooze-say.service"]
    {
        assert!(said.contains(&format!("systemctl --user {step}")), "{step} is missing in\n{said}");
    }
    let add = |port: u16| alice(&["shmz", "--url", &format!("tcp://127.0.0.1:{port}"), "add", "tiny"]);
    add(9600).success();
    assert_eq!(machine.shell("ps -o user= -C tiny,sleep | sort -u").text(), "alice");
    assert!(write(9602).contains("systemctl --user restart shmooze-music.socket\n"));
    add(9602).success();
    assert_eq!(add(9600).status, 3);
    let copy: Value = serde_json::from_slice(&machine.read("/home/alice/.local/state/shmooze/settings.json")).unwrap();
    assert_eq!(copy, own(9602));
    // That of the machine is another matter.
    assert_eq!(at(machine, 9420, "queue"), None);
}
