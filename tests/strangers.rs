//! Only a module itself may connect to its two streams: others who come first are turned away, and it gets in all the same.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Client, Daemon, PATIENCE, World, eventually, example};
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A user that has no processes but ours.
const NOBODY: u32 = 65534;

/// A queue with a module that says where it is awaited and then waits to be let go.
struct Stage {
    world: World,
    folder: TempDir,
    daemon: Daemon,
}

impl Stage {
    /// `becomes` is what the module does then; its arguments are those of a module.
    fn new(becomes: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        nix::unistd::mkfifo(&folder.path().join("go"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let script = format!(
            "#!/bin/sh\necho $2 $3 >{new}\nmv {new} {ports}\nread go <{go}\n{becomes}\n",
            new = path("new"),
            ports = path("ports"),
            go = path("go")
        );
        std::fs::write(folder.path().join("late"), script).unwrap();
        std::fs::set_permissions(folder.path().join("late"), PermissionsExt::from_mode(0o755)).unwrap();
        let timeouts = json!({"connect": 20_000, "command": 10_000, "exit": 300, "terminate": 300});
        let late = json!({"late": {"process": [path("late")], "timeouts": timeouts}});
        let world = World::with(&json!({"services": {"queue": {"kind": "queue", "modules": late}}}));
        let daemon = world.start_queue();
        Self { world, folder, daemon }
    }

    /// Begins to add the module; answers its client, and where it is awaited.
    fn add(&self) -> (Client, [u16; 2]) {
        let mut client = Client::connect(self.world.queue);
        client.send(&json!({"cmd": "add", "args": {"type": "late"}}).to_string());
        let path = self.folder.path().join("ports");
        eventually("the module has started", || path.exists());
        let ports = std::fs::read_to_string(path).unwrap();
        let ports: Vec<u16> = ports.split_ascii_whitespace().map(|port| port.parse().unwrap()).collect();
        (client, ports.try_into().unwrap())
    }

    /// Lets the module connect, and sees it play.
    fn goes_on(&self, client: &mut Client) {
        std::fs::write(self.folder.path().join("go"), "\n").unwrap();
        let answer = client.receive();
        assert_eq!(answer["success"], true, "{answer}");
        let state = || json!({"uid": answer["result"]["uid"], "parameters": ["state"]});
        eventually("it plays", || client.call("ask_module", &state())["result"]["state"] == "playing");
    }

    /// The next two refusals in the log.
    fn two_refusals(&self) -> [String; 2] {
        let mut lines = [(); 2].map(|()| self.daemon.wait_for_log("refused a connection to its "));
        // Both streams are looked after at the same time.
        lines.sort_by_key(|line| line.contains("its update stream"));
        lines
    }
}

fn echo() -> String {
    format!("exec python3 {} \"$@\"", example("modules/echo.py"))
}

/// Connects to both and waits for the end of both.
fn comes_first(ports: [u16; 2]) {
    let streams = ports.map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap());
    for mut stream in streams {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "a stranger was told something");
    }
}

#[test]
fn another_user_who_comes_first_is_turned_away() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can act as another user");
        return;
    }
    let stage = Stage::new(&echo());
    let (mut client, [command, update]) = stage.add();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{command} 4<>/dev/tcp/127.0.0.1/{update}; cat <&3; cat <&4; echo closed");
    let mut stranger = Command::new("bash");
    let stranger = stranger.args(["-c", &script]).current_dir("/").uid(NOBODY).gid(NOBODY).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stranger.stdout), "closed\n", "{}", String::from_utf8_lossy(&stranger.stderr));
    for (line, stream) in stage.two_refusals().iter().zip(["command", "update"]) {
        assert!(line.contains(" WARN "), "{line}");
        assert!(line.contains(&format!(" its {stream} stream by ")), "{line}");
        assert!(line.contains(&format!("(user {NOBODY}), process ")), "{line}");
    }
    stage.goes_on(&mut client);
}

#[test]
fn another_process_of_the_same_user_is_turned_away() {
    let stage = Stage::new(&echo());
    let (mut client, ports) = stage.add();
    comes_first(ports);
    for line in stage.two_refusals() {
        assert!(line.contains(&format!(", process {}:", std::process::id())), "{line}");
    }
    stage.goes_on(&mut client);
}

/// They come faster than anyone could connect, to both ports and over both protocols, and none is let in.
#[test]
fn a_crowd_does_not_keep_the_module_out() {
    let stage = Stage::new(&echo());
    let (mut client, ports) = stage.add();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for host in ["127.0.0.1", "localhost"] {
            for port in ports {
                let done = &done;
                scope.spawn(move || {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        // Nobody listens any more once the module is in.
                        let Ok(mut stream) = TcpStream::connect((host, port)) else { break };
                        assert!(!matches!(stream.read(&mut [0]), Ok(1..)), "a stranger was told something");
                    }
                });
            }
        }
        stage.daemon.wait_for_log("refused a connection to its ");
        let begun = Instant::now();
        stage.goes_on(&mut client);
        let taken = begun.elapsed();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(taken < Duration::from_secs(10), "{taken:?}");
    });
    let line = stage.daemon.wait_for_log(" more connections to its streams");
    let told = line.split(" refused ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse::<u32>().unwrap();
    assert!(told > 0, "{line}");
}

/// What a module's child connects is the module's, even where its parent has gone and it is in a session of its own.
#[test]
fn a_daemon_of_the_module_gets_in() {
    let stage = Stage::new(&format!("setsid python3 {} \"$@\" & exit 0", example("modules/echo.py")));
    let (mut client, ports) = stage.add();
    comes_first(ports);
    stage.two_refusals();
    stage.goes_on(&mut client);
}

/// Where the kernel may not be asked, modules are let in as ever, and one line says what is lost.
#[test]
fn without_netlink_everybody_is_let_in_with_one_warning() {
    let world = World::new();
    let filter = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/without_netlink.py");
    let mut queue = Command::new("python3");
    queue.args([filter, env!("CARGO_BIN_EXE_shmooze-queue"), "--settings"]).arg(&world.settings);
    let daemon = Daemon::start(&mut queue, 1);
    let mut client = Client::connect(world.queue);
    let uids: Vec<String> = (0..3).map(|_| client.add("tiny", &json!({}))).collect();
    assert_eq!(client.list("queue"), uids);
    let line = daemon.wait_for_log("is taken for it, any process of this machine: no netlink socket: ");
    assert!(line.contains(" WARN "), "{line}");
    // All that it logs until its end.
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let rest = daemon.log_to_its_end();
    assert!(rest.iter().all(|line| !line.contains("is taken for it")), "{rest:?}");
}

/// The check is for whoever connects, not for the module's time: it stays as long as it was.
#[test]
fn strangers_do_not_put_off_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let ports = folder.path().join("ports");
    let script = format!("echo $2 $3 >{0}.new; mv {0}.new {0}; exec sleep 1000", ports.display());
    let silent = json!({"silent": {
        "process": ["/bin/sh", "-c", script, "silent"],
        "timeouts": {"connect": 1000, "exit": 100, "terminate": 300},
    }});
    let world = World::with(&json!({"services": {"queue": {"kind": "queue", "modules": silent}}}));
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let begun = Instant::now();
    client.send(&json!({"cmd": "add", "args": {"type": "silent"}}).to_string());
    eventually("the module has started", || ports.exists());
    let text = std::fs::read_to_string(&ports).unwrap();
    let port = text.split_ascii_whitespace().next().unwrap().parse::<u16>().unwrap();
    while let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        let _ = stream.read(&mut [0]);
        assert!(begun.elapsed() < PATIENCE, "it is awaited still");
    }
    let answer: Value = client.receive();
    assert_eq!(answer["error"], "Could not connect to spawned module");
    daemon.wait_for_log(" more connections to its streams");
}
