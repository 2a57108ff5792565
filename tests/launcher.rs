//! The real launcher and brokers that ask it, with real modules.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Client, Daemon, World, eventually, processes};
use nix::sys::signal::Signal;
use serde_json::json;

/// A world with a launcher in it.
struct Launched {
    world: World,
    launcher: Option<Daemon>,
}

impl Launched {
    fn new() -> Self {
        let mut new = Self { world: World::new(), launcher: None };
        new.start();
        new
    }

    fn socket(&self) -> PathBuf {
        self.world.path("run/launcher.sock")
    }

    fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shmooze-launcher"));
        command.arg("--settings").arg(&self.world.settings).arg("--socket").arg(self.socket());
        self.launcher = Some(Daemon::start(&mut command, 1));
    }

    fn broker(&self, program: &str) -> Daemon {
        let mut command = Command::new(program);
        command.arg("--settings").arg(&self.world.settings).arg("--launcher").arg(self.socket());
        Daemon::start(&mut command, 1)
    }

    fn queue(&self) -> Daemon {
        self.broker(env!("CARGO_BIN_EXE_shmooze-queue"))
    }
}

/// The parent of a process.
fn parent(pid: i32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

#[test]
fn a_broker_has_its_modules_launched() {
    let launched = Launched::new();
    assert_eq!(launched.socket().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let queue = launched.queue();
    let mut client = Client::connect(launched.world.queue);
    let a = client.add("echo", &json!({"title": "one"}));
    let b = client.add("tiny", &json!({}));
    assert_eq!(client.list("queue"), [a.clone(), b.clone()]);
    let launcher = launched.launcher.as_ref().unwrap().pid();
    assert_eq!(processes(&a).into_iter().map(parent).collect::<Vec<_>>(), [launcher]);

    // Why a module did not start is known to the broker, and how one ended.
    let missing = client.call("add", &json!({"type": "missing"}));
    assert!(missing["error"].as_str().unwrap().contains("/does/not/exist could not be started: No such file"), "{missing}");
    assert_eq!(client.call("rm", &json!({"uids": [a]})), json!({"success": true}));
    let ended = |client: &mut Client| client.call("history", &json!({"limit": 1}))["result"][0].clone();
    eventually("the first has ended", || ended(&mut client)["uid"] == json!(a));
    assert_eq!(ended(&mut client)["exit"], json!({"status": 0}));
    assert!(queue.terminate().success());
    assert_eq!(processes(&b), [] as [i32; 0]);
}

#[test]
fn a_module_that_ignores_everything_is_killed_by_the_launcher() {
    let launched = Launched::new();
    let queue = launched.queue();
    let mut client = Client::connect(launched.world.queue);
    let uid = client.add("problem", &json!({"noquit": true, "noterm": true}));
    client.call("rm", &json!({"uids": [uid]}));
    eventually("it is gone", || processes(&uid).is_empty());
    eventually("the broker knows how", || client.call("history", &json!({"limit": 1}))["result"][0]["reached"] == json!("kill"));
    assert!(queue.terminate().success());
}

#[test]
fn two_brokers_share_a_launcher() {
    let launched = Launched::new();
    let (queue, pool) = (launched.queue(), launched.broker(env!("CARGO_BIN_EXE_shmooze-pool")));
    let (mut one, mut other) = (Client::connect(launched.world.queue), Client::connect(launched.world.pool));
    let (a, b) = (one.add("tiny", &json!({})), other.add("tiny", &json!({})));
    assert!(queue.terminate().success());
    assert_eq!((processes(&a).len(), processes(&b).len()), (0, 1));
    assert_eq!(other.list("pool"), [b]);
    assert!(pool.terminate().success());
}

#[test]
fn while_no_launcher_is_there() {
    let mut launched = Launched::new();
    let queue = launched.queue();
    let mut client = Client::connect(launched.world.queue);
    let uid = client.add("tiny", &json!({}));
    // Without systemd it ends its modules, since nobody could end them after it.
    assert!(launched.launcher.take().unwrap().terminate().success());
    assert_eq!(processes(&uid), [] as [i32; 0]);
    assert!(!launched.socket().exists());
    eventually("the broker has seen it", || client.list("queue").is_empty());
    let answer = client.call("add", &json!({"type": "tiny"}));
    let error = answer["error"].as_str().unwrap();
    assert!(error.starts_with("Could not start module: the launcher at "), "{error}");
    assert!(error.contains("run/launcher.sock does not answer: "), "{error}");

    launched.start();
    let uid = client.add("tiny", &json!({}));
    assert_eq!(client.list("queue"), [uid]);
    assert!(queue.terminate().success());
}

#[test]
fn a_launcher_that_is_killed_leaves_a_socket_that_the_next_takes() {
    let mut launched = Launched::new();
    let mut launcher = launched.launcher.take().unwrap();
    launcher.signal(Signal::SIGKILL);
    launcher.wait();
    assert!(launched.socket().exists());
    launched.start();
    let queue = launched.queue();
    Client::connect(launched.world.queue).add("tiny", &json!({}));
    assert!(queue.terminate().success());
}

#[test]
fn what_waits_is_no_module_and_ends_with_the_launcher_however_that_ends() {
    let mut launched = Launched::new();
    let queue = launched.queue();
    let mut client = Client::connect(launched.world.queue);
    for how in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut launcher = launched.launcher.take().unwrap();
        assert_eq!(launcher.waiting(), [] as [i32; 0], "before there is a need");
        let uid = client.add("tiny", &json!({}));
        eventually("one waits", || launcher.waiting().len() == 1);
        let waits = launcher.waiting()[0];
        assert_eq!(std::fs::read(format!("/proc/{waits}/environ")).unwrap(), b"");
        let open = || std::fs::read_dir(format!("/proc/{waits}/fd")).unwrap().count();
        eventually("three streams, and what it reads by", || open() == 4);
        assert_eq!(client.list("queue"), std::slice::from_ref(&uid));
        // Killed from outside it is waited for at once, and missed by nobody.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(waits), Signal::SIGKILL).unwrap();
        eventually("it is gone", || !Path::new(&format!("/proc/{waits}")).exists());
        let other = client.add("tiny", &json!({}));
        assert_eq!(client.list("queue").len(), 2);
        eventually("another one waits", || launcher.waiting().len() == 1);
        let waits = launcher.waiting()[0];
        launcher.signal(how);
        launcher.wait();
        eventually("it has ended", || !Path::new(&format!("/proc/{waits}")).exists());
        for pid in [uid, other].iter().flat_map(|uid| processes(uid)) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
        launched.start();
        eventually("the broker has seen it", || client.list("queue").is_empty());
    }
    assert!(queue.terminate().success());
}

#[test]
fn settings_are_read_again() {
    let launched = Launched::new();
    let queue = launched.queue();
    let mut client = Client::connect(launched.world.queue);
    let launcher = launched.launcher.as_ref().unwrap();
    let settings = std::fs::read_to_string(&launched.world.settings).unwrap();
    std::fs::write(&launched.world.settings, settings.replace("\"exits\"", "\"other\"")).unwrap();
    launcher.signal(Signal::SIGHUP);
    launcher.wait_for_log("read again");
    // The broker still knows it, and the launcher decides.
    let answer = client.call("add", &json!({"type": "exits"}));
    assert_eq!(answer["error"], "Could not start module: queue has no module type exits");
    // A broker that reads its settings again has the launcher read them, too.
    std::fs::write(&launched.world.settings, settings.replace("\"exits\"", "\"new\"").replace("/bin/true", &common::tiny_path()))
        .unwrap();
    queue.signal(Signal::SIGHUP);
    queue.wait_for_log("read again");
    client.add("new", &json!({}));
    std::fs::write(&launched.world.settings, "{").unwrap();
    launcher.signal(Signal::SIGHUP);
    launcher.wait_for_log("the settings stay as they were");
    client.add("tiny", &json!({}));
    assert!(queue.terminate().success());
}

fn refused(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shmooze-launcher"));
    command.arg("--settings").arg(&world.settings).args(arguments).env("RUST_LOG", "off").env_remove("DBUS_SESSION_BUS_ADDRESS");
    command.env("XDG_RUNTIME_DIR", world.folder.path()).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere").output().unwrap()
}

#[test]
fn what_cannot_be_used_gets_a_sentence() {
    let world = World::new();
    let socket = |path: &Path| path.display().to_string();
    let taken = world.path("taken");
    let _listener = UnixListener::bind(&taken).unwrap();
    let file = world.path("file");
    std::fs::write(&file, "precious").unwrap();
    let groups = ["--scopes", "process-groups", "--socket"];
    for (arguments, sentence) in [
        ([&groups[..], &[&socket(&taken)]].concat(), "taken: another launcher answers there"),
        ([&groups[..], &[&socket(&file)]].concat(), "file: Address already in use"),
        ([&groups[..], &[&socket(&file.join("socket"))]].concat(), "file/socket: "),
        (vec!["--scopes", "systemd"], "manager of systemd does not answer: "),
        (vec!["--allow", "no-such-user"], "--allow names the user \"no-such-user\", who does not exist"),
        (vec!["--module-user", "no-such-user"], "--module-user names the user \"no-such-user\", who does not exist"),
    ] {
        let output = refused(&world, &arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {errors}");
        assert!(errors.starts_with("shmooze-launcher: ") && errors.contains(sentence), "{arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
}
