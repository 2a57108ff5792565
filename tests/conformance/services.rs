//! The services under test: their settings, their processes, and the puppets that they start.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::control::Control;
use super::programs::Hello;
use super::wire::Wire;

/// A service accepts connections after at most this.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// A service ends after SIGTERM after at most this: a module's own time-outs are 3 s and 5 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// A puppet reports after at most this.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at something that no event announces.
const LOOK: Duration = Duration::from_millis(2);
/// Where puppets say that they were started.
const PUPPETS: &str = "puppets";
/// When the recorded static files were last changed, in seconds.
const STATIC_FILES_CHANGED: u64 = 1_577_934_245;

/// The ports of the application that was recorded.
pub const RECORDED_PORTS: [(&str, u16); 4] = [("queue", 15580), ("pool", 15581), ("fake", 15599), ("wsgi", 15888)];

/// An application of its own in a directory of its own, of which some services run.
pub struct Application {
    directory: TempDir,
    ports: Vec<(&'static str, u16)>,
    running: Vec<(String, Child)>,
    puppets: UnixListener,
}

impl Application {
    /// Writes the settings of the application that was recorded, on ports of its own, and starts `services`.
    ///
    /// # Errors
    /// A sentence that says which service did not start, with what it wrote to its standard error.
    pub fn start(services: &[&str]) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let directory = TempDir::new().map_err(text)?;
        let puppets = UnixListener::bind(directory.path().join(PUPPETS)).map_err(text)?;
        puppets.set_nonblocking(true).map_err(text)?;
        let ports = RECORDED_PORTS.iter().map(|(name, _)| Ok((*name, free_port()?))).collect::<Result<_, String>>()?;
        let mut application = Self { directory, ports, running: Vec::new(), puppets };
        application.write().map_err(text)?;
        for service in services {
            application.start_service(service)?;
        }
        // The program that does not exist did when the settings were read.
        fs::remove_file(application.path("missing")).map_err(text)?;
        Ok(application)
    }

    /// A file of the application.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The port of a service.
    pub fn port(&self, service: &str) -> u16 {
        self.ports.iter().find(|(name, _)| *name == service).map_or(0, |(_, port)| *port)
    }

    /// A new connection to a service.
    ///
    /// # Errors
    /// Where nothing listens.
    pub fn connect(&self, service: &str) -> Result<Wire, String> {
        let refused = |error: io::Error| format!("no connection to {service}: {error}");
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port(service))).and_then(Wire::new).map_err(refused)
    }

    /// The next puppet that a service has started.
    ///
    /// # Errors
    /// Where there is none in time.
    pub fn next_puppet(&self) -> Result<(Hello, Control), String> {
        let deadline = Instant::now() + HELLO_TIMEOUT;
        let stream = loop {
            match self.puppets.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.to_string()),
                Err(_) if Instant::now() > deadline => return Err("no puppet was started".to_owned()),
                Err(_) => sleep(LOOK),
            }
        };
        stream.set_nonblocking(false).and_then(|()| Control::meet(stream)).map_err(|error| format!("a puppet: {error}"))
    }

    /// Whether no puppet waits to be taken over.
    pub fn no_more_puppets(&self) -> bool {
        self.puppets.accept().is_err()
    }

    /// Sends every service SIGTERM and waits for its end.
    ///
    /// # Errors
    /// A sentence that says which service ended otherwise than with status 0, or not in time.
    pub fn stop(&mut self) -> Result<(), String> {
        let mut problems = Vec::new();
        // The last that was started first: the gateway before what it speaks to.
        while let Some((name, mut child)) = self.running.pop() {
            if let Err(problem) = end(&mut child) {
                problems.push(format!("{name} {problem}"));
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// The last of what the services wrote to their standard error.
    pub fn stderr(&self) -> String {
        let mut text = String::new();
        for (name, _) in RECORDED_PORTS {
            let written = fs::read_to_string(self.path(&format!("{name}.stderr"))).unwrap_or_default();
            let lines: Vec<&str> = written.lines().collect();
            for line in &lines[lines.len().saturating_sub(15)..] {
                text += &format!("    {name}: {line}\n");
            }
        }
        text
    }

    fn start_service(&mut self, service: &str) -> Result<(), String> {
        let (port, binary) = match service {
            "queue" => (self.port("queue"), env!("CARGO_BIN_EXE_shmooze-queue")),
            "pool" => (self.port("pool"), env!("CARGO_BIN_EXE_shmooze-pool")),
            _ => (self.port("wsgi"), env!("CARGO_BIN_EXE_shmooze-gateway")),
        };
        let name = if service == "gateway" { "wsgi" } else { service };
        let output = File::create(self.path(&format!("{name}.stderr"))).map_err(|error| error.to_string())?;
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(this);
        command.args(["--tied", binary, "--settings"]).arg(self.path("settings.json")).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = command.spawn().map_err(|error| format!("{binary}: {error}"))?;
        self.running.push((service.to_owned(), child));
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = self.running.last_mut().and_then(|(_, child)| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(format!("{service} ended at its start ({status})\n{}", self.stderr()));
            }
            if Instant::now() > deadline {
                return Err(format!("{service} does not listen on its port\n{}", self.stderr()));
            }
            sleep(LOOK);
        }
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let root = self.directory.path();
        write_static_files(root)?;
        fs::write(root.join("missing"), "#!/bin/sh\n")?;
        fs::set_permissions(root.join("missing"), fs::Permissions::from_mode(0o755))?;
        let this = std::env::current_exe()?;
        let program = |args: &[&str]| {
            let mut process = vec![this.to_string_lossy().into_owned()];
            process.extend(args.iter().map(|arg| (*arg).to_owned()));
            json!({ "process": process })
        };
        let control = root.join(PUPPETS);
        let puppet = program(&["--puppet", &control.to_string_lossy()]);
        let echo = program(&["--echo"]);
        // In the order in which the original listed them, which was its dictionary's.
        let modules = json!({
            "exits": {"process": ["/bin/true"]},
            "missing": {"process": [root.join("missing")]},
            "cmod": echo,
            "echo": echo,
            "puppet": puppet,
            "echo2": echo,
            "problem": program(&["--problem"]),
        });
        let backgrounds = json!({"bgecho": echo, "bgcmod": echo, "bgpuppet": puppet});
        let ports: Map<String, Value> = self.ports.iter().map(|(name, port)| ((*name).to_owned(), json!(port))).collect();
        let settings = json!({
            "ports": ports,
            "public": ["fg_color", "bg_color", "name", "ports", "not_there"],
            "fg_color": "#EBEBEB",
            "bg_color": "#675098",
            "name": "Baseline \u{e9} App",
            "secret_key": "must-not-be-public",
            "wsgi_prefix": "/",
            "static_prefix": "/static/",
            "static_path": root.join("static"),
            "log_database_path": root.join("log.sqlite"),
            // By this name it was asked where the requests were written by hand.
            "gateway": {"hosts": ["x"]},
            "services": {
                "queue": {"kind": "queue", "modules": modules, "backgrounds": backgrounds},
                "pool": {"kind": "pool", "modules": modules},
            },
        });
        fs::write(root.join("settings.json"), settings.to_string())
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn end(child: &mut Child) -> Result<(), String> {
    let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
    kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|error| format!("cannot be ended: {error}"))?;
    let deadline = Instant::now() + STOP_TIMEOUT;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("ended with {status} after SIGTERM")),
            None if Instant::now() > deadline => return Err("did not end after SIGTERM".to_owned()),
            None => sleep(LOOK),
        }
    }
}

fn write_static_files(root: &Path) -> io::Result<()> {
    let folder = root.join("static");
    fs::create_dir_all(folder.join("sub"))?;
    let big: Vec<u8> = (0..1_048_576_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let script = format!("(function(exports){{{}}})(window);\n", " ".repeat(3798 - 31));
    let files: [(&str, &[u8]); 12] = [
        ("app.js", b"var a=1;\n"),
        ("data.json", b"{\"x\":1}\n"),
        ("index.html", b"<!doctype html><title>baseline</title><p>index\n"),
        ("note.txt", b"plain text\n"),
        ("noext", b"no extension\n"),
        ("odd.zzz", b"odd\n"),
        ("style.css", b"body{color:red}\n"),
        ("a b.txt", b"with space\n"),
        ("empty.txt", b""),
        ("big.bin", &big),
        ("sub/inner.html", b"inner\n"),
        ("shmooze.js", script.as_bytes()),
    ];
    for (name, content) in files {
        fs::write(folder.join(name), content)?;
        let changed = UNIX_EPOCH + Duration::from_secs(STATIC_FILES_CHANGED);
        File::options().write(true).open(folder.join(name))?.set_modified(changed)?;
    }
    fs::write(root.join("hostname"), "vm\n")?;
    std::os::unix::fs::symlink(root.join("hostname"), folder.join("link.txt"))
}

/// A port that nobody listens on, below those that the system hands out by itself.
///
/// Every run of the suite has a block of ports of its own: whoever listens on the first of a block has all of it.
fn free_port() -> Result<u16, String> {
    const LOWEST: u16 = 10_000;
    const BLOCK: u16 = 500;
    const BLOCKS: u16 = 40;
    static OURS: OnceLock<Option<(TcpListener, u16)>> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let take = |block| {
        let first = LOWEST + block * BLOCK;
        Some((TcpListener::bind((Ipv4Addr::LOCALHOST, first)).ok()?, first))
    };
    let (_, first) = OURS.get_or_init(|| (0..BLOCKS).find_map(take)).as_ref().ok_or("no block of ports is free")?;
    for _ in 1..BLOCK {
        let port = first + 1 + NEXT.fetch_add(1, Ordering::Relaxed) % (BLOCK - 1);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".to_owned())
}
