//! Who may ask the gateway for what.

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host::{is_active, property, settings};

const FILE: &str = "/etc/shmooze/tokens.json";
const GUEST: &str = "guest-secret-0123456789";
const STAFF: &str = "staff-secret-0123456789";

/// Guests may add to the queue, and staff may do everything.
fn tokens_of_queue() -> Value {
    let queue = json!([{"name": "guests", "token": GUEST, "level": "add"}, {"token": STAFF, "level": "remove"}]);
    json!({"endpoints": {"queue": {"tokens": queue}}})
}

/// Writes a file that root alone may read, wherever its folder is.
fn write_secret(machine: &Machine, file: &str, owner: &str, text: &str) {
    machine.write(file, text);
    machine.run(&["chown", owner, file]).success();
    machine.run(&["chmod", "600", file]).success();
}

/// The first line and the body of the answer to a POST with these header lines.
fn post(machine: &Machine, service: &str, lines: &[&str], cmd: &str) -> (String, String) {
    let body = json!({"cmd": cmd}).to_string();
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("POST /{service} HTTP/1.0\r\nContent-Type: text/json\r\n{lines}Content-Length: {}", body.len());
    let answer = machine.command(&["socat", "-t", "20", "-", "TCP:127.0.0.1:9480"]).input(format!("{head}\r\n\r\n{body}"));
    let answer = answer.run().success().text();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn status(machine: &Machine, token: &str, cmd: &str) -> String {
    let (line, _) = post(machine, "queue", &[&bearer(token)], cmd);
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// That the tokens of [`tokens_of_queue`] are in force.
fn assert_guarded(machine: &Machine) {
    let allowed = [(GUEST, "queue"), (GUEST, "rm"), (STAFF, "queue"), (STAFF, "nope"), ("0123456789abcdef", "queue")];
    let said = allowed.map(|(token, cmd)| status(machine, token, cmd));
    assert_eq!(said, ["200", "403", "200", "200", "401"]);
}

/// That everybody may do everything.
fn assert_open(machine: &Machine) {
    assert_eq!(["queue", "nope"].map(|cmd| status(machine, "0123456789abcdef", cmd)), ["200"; 2]);
}

/// That no secret is told where anybody may read it.
fn assert_secret(machine: &Machine) {
    let told = [
        machine.journal(&["-o", "verbose"]),
        machine.run(&["systemctl", "show", "shmooze-gateway.service"]).success().text(),
        machine.run(&["systemctl", "cat", "shmooze-gateway.service"]).success().text(),
        machine.run(&["systemctl", "status", "--full", "--no-pager", "shmooze-gateway.service"]).text(),
        machine.shell("printf 'GET /settings.json HTTP/1.0\\r\\n\\r\\n' | socat -t 20 - TCP:127.0.0.1:9480").text(),
    ];
    for text in told {
        for secret in [GUEST, STAFF] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

pub fn tokens(machine: &Machine) {
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    // Without a file of them everything is open: to who names a host of this machine, and is no page of another site.
    assert_open(machine);
    assert_eq!(machine.journal(&["-p", "warning", "-u", "shmooze-*", "-o", "cat"]), "");
    let name = machine.run(&["hostname"]).success().text();
    for (lines, expected) in [
        (vec![format!("Host: {name}:9480")], "200"),
        (vec![format!("Host: {name}.local"), format!("Origin: http://{name}.local")], "200"),
        (vec!["Host: 10.1.2.3".to_owned()], "200"),
        (vec!["Host: evil.example".to_owned()], "421"),
        (vec!["Host: localhost:9480".to_owned(), "Origin: http://evil.example".to_owned()], "403"),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (line, body) = post(machine, "queue", &lines, "queue");
        assert!(line.contains(&format!(" {expected} ")), "{lines:?}: {line} {body}");
    }

    write_secret(machine, FILE, "root:root", &tokens_of_queue().to_string());
    machine.run(&["systemctl", "restart", "shmooze-gateway"]).success();
    assert_guarded(machine);
    assert_eq!(
        property(machine, "shmooze-gateway", "StatusText"),
        "serving 2 endpoints (1 for tokens) on 127.0.0.1:9480 and [::1]:9480"
    );
    assert!(post(machine, "pool", &[], "pool").0.contains(" 200 "), "it takes none");
    // The service itself may read it, and nobody else.
    let read = "cat /etc/shmooze/tokens.json /run/credentials/shmooze-gateway.service/tokens";
    for user in ["bob", "shmooze-module"] {
        let output = machine.command(&["bash", "-c", read]).user(user).run();
        assert!(output.status != 0 && output.text().is_empty(), "{user}: {output:?}");
    }
    // A reload keeps them, and takes over what else there is.
    machine.run(&["systemctl", "reload", "shmooze-gateway"]).success();
    assert_guarded(machine);
    machine.run(&["shmz", "check"]).success();
    assert_secret(machine);
    machine.run(&["rm", FILE]).success();
    machine.run(&["systemctl", "restart", "shmooze-gateway"]).success();
    assert_open(machine);
}

pub fn tokens_at_fault(machine: &Machine) {
    let at_fault = tokens_of_queue().to_string().replace("remove", "everything");
    let sentence = "endpoints.queue.tokens[1].level must be one of view, add, control and remove.";
    write_secret(machine, FILE, "root:root", &at_fault);
    machine.run(&["systemctl", "start", "shmooze.target"]).success();
    assert_ne!(machine.run(&["systemctl", "start", "shmooze-gateway.service"]).status, 0);
    assert!(!is_active(machine, "shmooze-gateway.service"));
    let journal = machine.journal(&["-u", "shmooze-gateway", "-o", "cat"]);
    assert!(journal.contains(sentence), "{journal}");
    // No more so if somebody comes.
    let come = "printf 'POST /queue HTTP/1.0\\r\\n\\r\\n' | socat -t 20 - TCP:127.0.0.1:9480";
    assert_eq!(machine.shell(come).text(), "");
    for words in [&["shmz", "check"][..], &["shmz", "apply"]] {
        let output = machine.run(words);
        assert_ne!(output.status, 0, "{words:?}");
        assert!(format!("{}{}", output.text(), output.errors()).contains(sentence), "{words:?}: {output:?}");
    }

    machine.run(&["systemctl", "stop", "shmooze-gateway.service", "shmooze-gateway.socket"]).success();
    machine.run(&["systemctl", "reset-failed"]).success();
    write_secret(machine, FILE, "root:root", &tokens_of_queue().to_string());
    machine.run(&["systemctl", "start", "shmooze-gateway.socket", "shmooze-gateway.service"]).success();
    assert_guarded(machine);
    // A reload fails, and what was in force is.
    write_secret(machine, FILE, "root:root", &at_fault);
    assert_eq!(machine.run(&["systemctl", "reload", "shmooze-gateway"]).status, 1);
    assert_guarded(machine);
    // As it does where the settings have no more what is named, and the endpoint would be open under another name.
    write_secret(machine, FILE, "root:root", &tokens_of_queue().to_string());
    let mut renamed = settings();
    for key in ["ports", "services"] {
        let queue = renamed[key].as_object_mut().unwrap().remove("queue").unwrap();
        renamed[key]["jukebox"] = queue;
    }
    machine.write("/etc/shmooze/settings.json", renamed.to_string());
    for words in [&["systemctl", "reload", "shmooze-gateway"][..], &["shmz", "apply"]] {
        assert_ne!(machine.run(words).status, 0, "{words:?}");
        assert_guarded(machine);
    }
    let journal = machine.journal(&["-u", "shmooze-gateway", "-o", "cat"]);
    assert!(journal.contains("names an endpoint that the settings do not have, which have"), "{journal}");
    assert_secret(machine);
}

pub fn tokens_of_a_user(machine: &Machine) {
    let alice = |words: &[&str]| machine.user_run("alice", words);
    alice(&["systemctl", "--user", "daemon-reload"]).success();
    alice(&["systemctl", "--user", "start", "shmooze.target"]).success();
    assert_open(machine);
    alice(&["mkdir", "-p", "/home/alice/.config/shmooze"]).success();
    write_secret(machine, "/home/alice/.config/shmooze/tokens.json", "alice:alice", &tokens_of_queue().to_string());
    alice(&["systemctl", "--user", "restart", "shmooze-gateway"]).success();
    assert_guarded(machine);
    alice(&["systemctl", "--user", "reload", "shmooze-gateway"]).success();
    assert_guarded(machine);
    write_secret(machine, "/home/alice/.config/shmooze/tokens.json", "alice:alice", "{");
    assert_ne!(alice(&["systemctl", "--user", "restart", "shmooze-gateway"]).status, 0);
}
