//! Our side of the comparisons: the real programs, with settings of their own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

/// Nothing that is waited for takes longer, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings in a folder, for daemons to be started with.
pub struct World {
    pub folder: TempDir,
    pub queue: u16,
    pub pool: u16,
    pub gateway: u16,
}

impl World {
    /// With module types `tiny` and `updater`; a service called `bare` is at this port.
    pub fn new(bare: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (queue, pool, gateway) = (free_port(), free_port(), free_port());
        let own = std::env::current_exe().unwrap();
        let timeouts = json!({"connect": 60_000, "command": 60_000});
        let types = json!({
            "tiny": {"process": [tiny()], "timeouts": timeouts},
            "updater": {"process": [own, crate::process::ROLE, "module"], "timeouts": timeouts},
        });
        let mut ports = json!({"queue": queue, "pool": pool, "wsgi": gateway});
        if bare > 0 {
            ports["bare"] = json!(bare);
        }
        let settings = json!({
            "ports": ports,
            "services": {
                "queue": {"kind": "queue", "modules": types, "backgrounds": types},
                "pool": {"kind": "pool", "modules": types},
            },
        });
        std::fs::write(folder.path().join("settings.json"), settings.to_string()).unwrap();
        Self { folder, queue, pool, gateway }
    }

    pub fn start_queue(&self) -> Daemon {
        Daemon::start("shmooze-queue", &self.settings())
    }

    pub fn start_pool(&self) -> Daemon {
        Daemon::start("shmooze-pool", &self.settings())
    }

    /// A launcher of process groups, for pools that are not to be launchers themselves.
    pub fn start_launcher(&self) -> Daemon {
        let socket = self.folder.path().join("launcher.sock");
        Daemon::start_with(
            "shmooze-launcher",
            &self.settings(),
            &["--scopes".as_ref(), "process-groups".as_ref(), "--socket".as_ref(), socket.as_os_str()],
        )
    }

    pub fn start_pool_of_launcher(&self) -> Daemon {
        let socket = self.folder.path().join("launcher.sock");
        Daemon::start_with("shmooze-pool", &self.settings(), &["--launcher".as_ref(), socket.as_os_str()])
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("settings.json")
    }

    pub fn start_gateway(&self) -> Daemon {
        Daemon::start("shmooze-gateway", &self.settings())
    }
}

/// A port that nobody uses now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Builds the programs as they are released: cargo makes those that it hands to a benchmark so that they can unwind.
pub fn build() {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--bins", "--quiet", "--manifest-path"]);
    build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    assert!(build.status().unwrap().success(), "the programs do not compile");
}

/// Where the programs are.
pub fn programs() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// The smallest module there is, examples/tiny.rs, built once.
pub fn tiny() -> PathBuf {
    let program = std::env::current_exe().unwrap().with_file_name("ratios-tiny");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny.rs");
    let time = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    if time(&program) <= time(&source) {
        let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
        let mut build = Command::new(compiler);
        build.args(["--edition=2024", "-Copt-level=3", "-Cpanic=abort", "-o"]).arg(&program).arg(&source);
        assert!(build.status().unwrap().success(), "{} does not compile", source.display());
    }
    program
}

/// One of our daemons. Ended in good order when dropped, and its modules with it.
pub struct Daemon {
    process: Process,
    log: Receiver<String>,
}

impl Daemon {
    pub fn start(program: &str, settings: &Path) -> Self {
        Self::start_with(program, settings, &[])
    }

    fn start_with(program: &str, settings: &Path, arguments: &[&OsStr]) -> Self {
        let mut command = Command::new(programs().join(program));
        command.arg("--settings").arg(settings).args(arguments).stderr(Stdio::piped()).env_remove("RUST_LOG");
        let mut process = Process::start(&mut command);
        let stderr = BufReader::new(process.child().stderr.take().unwrap());
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let daemon = Self { process, log };
        daemon.wait_for_log(" serves ");
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for a line of its log that holds `text`.
    pub fn wait_for_log(&self, text: &str) {
        while !self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("the log never said {text:?}")).contains(text) {}
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.child().wait();
    }
}

/// A client that asks one thing after another.
pub struct Client {
    reader: BufReader<TcpStream>,
    line: String,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        Self::on(stream)
    }

    pub fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream), line: String::new() }
    }

    pub fn send(&mut self, line: &str) {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn receive(&mut self) -> &str {
        self.line.clear();
        assert!(self.reader.read_line(&mut self.line).unwrap() > 0, "the connection was closed");
        &self.line
    }

    pub fn ask(&mut self, line: &str) -> &str {
        self.send(line);
        self.receive()
    }

    /// Adds a module without arguments and answers its uid.
    pub fn add(&mut self, type_name: &str) -> String {
        let answer = self.ask(&format!(r#"{{"cmd": "add", "args": {{"type": "{type_name}"}}}}"#));
        let value: Value = serde_json::from_str(answer).unwrap();
        value["result"]["uid"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}
