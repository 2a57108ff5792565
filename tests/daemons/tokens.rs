//! Tokens as the daemons get them: as a credential, or as a file named on the command line.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use super::manager::{Manager, Program};
use crate::common::{Client, Daemon, PATIENCE, World};

/// What serves HTTP.
const PROGRAMS: [Program; 2] = [Program::Gateway, Program::Run];
const SECRET: &str = "topsecret-0123456789";
const OTHER: &str = "othersecret-0123456789";

/// Writes a file of tokens that `queue` takes, of the level control.
fn write(path: &Path, token: &str) {
    let text = json!({"endpoints": {"queue": {"tokens": [{"token": token, "level": "control"}]}}});
    write_text(path, &text.to_string());
}

fn write_text(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The status and the body that a command is answered with.
fn post(world: &World, service: &str, token: &str, command: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = json!({"cmd": command}).to_string();
    let head = "Host: localhost\r\nConnection: close\r\nContent-Type: text/json";
    let length = body.len();
    let request =
        format!("POST /{service} HTTP/1.1\r\n{head}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Who may do what, once [`write`] was for `token`: the gateway's own answers, whether or not the services run.
fn assert_takes(world: &World, token: &str) {
    assert_eq!(post(world, "queue", "0123456789-unknown", "queue").0, 401);
    let (status, body) = post(world, "queue", token, "rm");
    let error = "Command \\\"rm\\\" takes a token of the level remove, and this one has the level control.";
    assert_eq!(status, 403, "{body}");
    assert!(body.contains(error), "{body}");
    assert!(matches!(post(world, "pool", "x", "rm").0, 200 | 502), "open as ever");
}

/// Sends SIGHUP and answers the status that is told then.
fn reload(manager: &Manager, daemon: &Daemon) -> String {
    daemon.signal(Signal::SIGHUP);
    manager.until("RELOADING=1");
    manager.until("READY=1").concat().into_iter().find(|assignment| assignment.starts_with("STATUS=")).unwrap_or_default()
}

#[test]
fn a_credential() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let credentials = tempfile::tempdir().unwrap();
        write(&credentials.path().join("tokens"), SECRET);
        let mut command = manager.command(program, &world, Vec::new());
        let _daemon = Daemon::start(command.env("CREDENTIALS_DIRECTORY", credentials.path()), 0);
        let told = manager.until("READY=1").concat();
        assert!(told.iter().any(|told| told.contains("serving 2 endpoints (1 for tokens) on 127.0.0.1:")), "{told:?}");
        assert_takes(&world, SECRET);
    }
}

#[test]
fn no_credential() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let credentials = tempfile::tempdir().unwrap();
        let mut command = manager.command(program, &world, Vec::new());
        let _daemon = Daemon::start(command.env("CREDENTIALS_DIRECTORY", credentials.path()), 0);
        let told = manager.until("READY=1").concat();
        assert!(told.iter().any(|told| told.contains("serving 2 endpoints on 127.0.0.1:")), "{told:?}");
        assert!(matches!(post(&world, "queue", "x", "rm").0, 200 | 502));
    }
}

#[test]
fn a_file_at_fault_is_no_open_door() {
    for program in PROGRAMS {
        let world = World::new();
        let file = world.path("tokens");
        let start = |by_name: bool| {
            let mut command = Command::new(program.path());
            command.arg("--settings").arg(&world.settings).env("CREDENTIALS_DIRECTORY", world.folder.path());
            if by_name {
                command.env_remove("CREDENTIALS_DIRECTORY").arg("--tokens").arg(&file);
            }
            let output = command.env("SHMOOZE_SCOPES", "process-groups").stdin(Stdio::null()).output().unwrap();
            assert_eq!(output.status.code(), Some(78));
            assert!(output.stdout.is_empty());
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!said.contains(SECRET), "{said}");
            said
        };
        let shown = file.display();
        assert!(start(true).ends_with(&format!("{shown}: cannot be read: No such file or directory.\n")));
        for (text, sentence) in [
            (String::new(), "is not JSON at line 1, column 0: EOF while parsing a value."),
            (format!("{SECRET}\n"), "is not JSON at line 1, column 2: expected ident."),
            (
                format!(r#"{{"endpoints": {{"queu": {{"tokens": [{{"token": "{SECRET}", "level": "view"}}]}}}}}}"#),
                "endpoints names an endpoint that the settings do not have, which have queue, pool.",
            ),
            (
                format!(r#"{{"endpoints": {{"queue": {{"tokens": [{{"token": "{SECRET}", "level": "all"}}]}}}}}}"#),
                "endpoints.queue.tokens[0].level must be one of view, add, control and remove.",
            ),
        ] {
            write_text(&file, &text);
            for by_name in [true, false] {
                let said = start(by_name);
                assert!(said.ends_with(&format!("{shown}: {sentence}\n")), "{said}");
            }
        }
        // Whoever may read it might as well be given a token.
        write(&file, SECRET);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(start(true).ends_with("holds secrets and has the mode 0644: take it from others (chmod 600).\n"));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(start(false).ends_with(&format!("{shown}: cannot be read: Is a directory.\n")));
    }
}

#[test]
fn tokens_are_read_again() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let file = world.path("my-tokens.json");
        write(&file, SECRET);
        let mut command = manager.command(program, &world, Vec::new());
        let daemon = Daemon::start(command.arg("--tokens").arg(&file), 0);
        manager.until("READY=1");
        assert_takes(&world, SECRET);
        write(&file, OTHER);
        reload(&manager, &daemon);
        assert_takes(&world, OTHER);
        assert_eq!(post(&world, "queue", SECRET, "queue").0, 401);

        // At fault: nothing of what is new is taken over, neither the settings that are good.
        let good = fs::read(&world.settings).unwrap();
        world.change(|settings| settings["public"] = json!(["name"]));
        for text in ["{", r#"{"endpoints": {"nope": {"tokens": []}}}"#] {
            write_text(&file, text);
            let status = reload(&manager, &daemon);
            assert!(status.starts_with(&format!("STATUS=the settings stay as they were: {}: ", file.display())), "{status}");
            assert_takes(&world, OTHER);
        }
        fs::remove_file(&file).unwrap();
        let status = reload(&manager, &daemon);
        assert!(status.contains("cannot be read: No such file or directory"), "{status}");
        assert_takes(&world, OTHER);
        // Nor may the settings lose an endpoint that takes tokens: under another name it would be open.
        write(&file, OTHER);
        fs::write(&world.settings, good).unwrap();
        world.change(|settings| {
            settings["ports"].as_object_mut().unwrap().remove("queue");
            settings["services"].as_object_mut().unwrap().remove("queue");
        });
        let status = reload(&manager, &daemon);
        assert!(status.contains("names an endpoint that the settings do not have, which have pool"), "{status}");
        assert_eq!(post(&world, "queue", "0123456789-unknown", "queue").0, 401);
    }
}

#[test]
fn nothing_of_it_is_told() {
    let (world, manager) = (World::with(&json!({"public": ["name", "gateway", "tokens", "services", "ports"]})), Manager::new());
    let file = world.path("tokens.json");
    write(&file, SECRET);
    let mut command = manager.command(Program::Run, &world, Vec::new());
    let daemon = Daemon::start(command.arg("--tokens").arg(&file).env("RUST_LOG", "trace").env("SHMOOZE_LOG", "trace"), 0);
    let told = manager.until("READY=1").concat().concat();
    assert_eq!(post(&world, "queue", SECRET, "queue").0, 200);
    let mut stream = TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
    stream.write_all(b"GET /settings.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut public = String::new();
    stream.read_to_string(&mut public).unwrap();
    assert!(public.contains("\"services\"") && public.contains("\"tokens\":null"), "{public}");
    // The services' own ports know no tokens.
    assert_eq!(Client::connect(world.queue).call("queue", &json!({}))["success"], true);
    daemon.signal(Signal::SIGTERM);
    let (_, log) = daemon.end();
    for text in [told, public, log, manager.rest().concat()] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn it_is_bound_to_loopback_unless_the_settings_say_otherwise() {
    // 127.0.0.2 is this machine, too, and found only by who listens everywhere.
    let elsewhere = |world: &World| TcpStream::connect(("127.0.0.2", world.gateway)).is_ok();
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let _daemon = manager.ready(program, &world);
        TcpStream::connect(("127.0.0.1", world.gateway)).unwrap();
        assert!(!elsewhere(&world), "{program:?}");
        let (world, manager) = (World::with(&json!({"gateway": {"address": "0.0.0.0"}})), Manager::new());
        let _daemon = manager.ready(program, &world);
        assert!(elsewhere(&world), "{program:?}");
    }
}
