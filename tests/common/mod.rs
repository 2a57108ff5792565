//! What the tests of services have in common: settings on free ports, the real programs, clients.

// Each test binary uses its own part of this.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing that is waited for takes longer, unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).display().to_string()
}

/// The smallest module, as a command line.
pub fn tiny() -> Value {
    json!([tiny_path()])
}

/// The program of the smallest module.
pub fn tiny_path() -> String {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("examples/tiny");
    assert!(program.exists(), "{} is not built: cargo build --examples", program.display());
    program.display().to_string()
}

/// A port that nobody uses now, and nobody is given who asks for any: those are from another range. Each is given once.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let first = u16::try_from(std::process::id() % 250).unwrap() * 80;
    loop {
        let port = 10_000 + (first + GIVEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
        // By both protocols, as services bind them.
        let is_free = |address: &str| {
            TcpListener::bind((address, port)).map_or_else(|error| error.kind() != ErrorKind::AddrInUse, |_| true)
        };
        if is_free("127.0.0.1") && is_free("::1") {
            return port;
        }
    }
}

/// Module types that the tests use, with time-outs that do not keep them waiting.
pub fn types() -> Value {
    let quick = json!({"connect": 20_000, "command": 10_000, "exit": 300, "terminate": 300});
    let python = |name: &str, timeouts: Value| json!({"process": ["python3", example(name)], "timeouts": timeouts});
    json!({
        "echo": python("modules/echo.py", quick.clone()),
        "problem": python("modules/problem.py", json!({"connect": 20_000, "command": 700, "exit": 300, "terminate": 300})),
        "tiny": {"process": tiny(), "timeouts": quick},
        "missing": {"process": ["/does/not/exist"]},
        "exits": {"process": ["/bin/true"]},
        "silent": {"process": ["sleep", "1000"], "timeouts": {"connect": 300, "exit": 100, "terminate": 300}},
    })
}

/// A folder with settings for one queue and one pool.
pub struct World {
    pub folder: TempDir,
    pub settings: PathBuf,
    pub queue: u16,
    pub pool: u16,
    pub gateway: u16,
}

impl World {
    pub fn new() -> Self {
        Self::with(&json!({}))
    }

    /// Settings with these top-level keys besides.
    pub fn with(more: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (queue, pool, gateway) = (free_port(), free_port(), free_port());
        let mut settings = json!({
            "name": "Test",
            "ports": {"queue": queue, "pool": pool, "wsgi": gateway},
            "services": {
                "queue": {"kind": "queue", "modules": types(), "backgrounds": types()},
                "pool": {"kind": "pool", "modules": types()},
            },
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = folder.path().join("settings.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&settings).unwrap()).unwrap();
        Self { folder, settings: path, queue, pool, gateway }
    }

    /// Writes the settings file anew.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut settings = serde_json::from_slice(&std::fs::read(&self.settings).unwrap()).unwrap();
        change(&mut settings);
        std::fs::write(&self.settings, serde_json::to_vec_pretty(&settings).unwrap()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start_queue(&self) -> Daemon {
        Daemon::start(Command::new(env!("CARGO_BIN_EXE_shmooze-queue")).arg("--settings").arg(&self.settings), 1)
    }

    pub fn start_pool(&self) -> Daemon {
        Daemon::start(Command::new(env!("CARGO_BIN_EXE_shmooze-pool")).arg("--settings").arg(&self.settings), 1)
    }
}

/// A daemon that serves. Killed, with all that it started, when dropped.
pub struct Daemon {
    child: Child,
    log: std::sync::mpsc::Receiver<String>,
}

impl Daemon {
    /// Starts it and waits until it has said `serving` times that it serves.
    pub fn start(command: &mut Command, serving: usize) -> Self {
        // The same on every machine; tests/scopes and the booted machines show the other house.
        command.env("SHMOOZE_SCOPES", "process-groups");
        let mut child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let daemon = Self { child, log };
        for _ in 0..serving {
            daemon.wait_for_log(" serves ");
        }
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its log that holds `text`.
    pub fn wait_for_log(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = String::new();
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen = seen + &line + "\n",
                Err(_) => panic!("the log never said {text:?}; it said:\n{seen}"),
            }
        }
    }

    /// All that it logs from now on until it ends.
    pub fn log_to_its_end(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end; it said {lines:?}"),
            }
        }
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait()
    }

    /// Waits for the end, and answers what of the log was not read yet.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = self.wait();
        (status, self.log.iter().map(|line| line + "\n").collect())
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What `/proc/PID/status` says, in kB.
    pub fn memory_kb(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Its children that wait to become modules.
    pub fn waiting(&self) -> Vec<i32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().map(|task| task.unwrap().path());
        let texts: Vec<String> = tasks.map(|task| std::fs::read_to_string(task.join("children")).unwrap_or_default()).collect();
        let children = texts.iter().flat_map(|pids| pids.split_whitespace()).map(|pid| pid.parse::<i32>().unwrap());
        let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        children.filter(|pid| name(pid).trim() == "shmooze-shim").collect()
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let modules = descendants(self.child.id());
            let _ = self.child.kill();
            let _ = self.child.wait();
            for pid in modules {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

fn descendants(of: u32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Living processes whose environment marks them as of this module, or of any module of this settings file.
pub fn processes(mark: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.ends_with(mark.as_bytes()) && variable.starts_with(b"SHMOOZE_"))
    })
    .collect()
}

/// Waits until `condition` holds; for what no event tells.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client's connection.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub fn send(&mut self, line: &str) {
        let stream = self.reader.get_mut();
        stream.write_all(line.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
    }

    pub fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub fn ask(&mut self, request: &Value) -> Value {
        self.send(&request.to_string());
        self.receive()
    }

    pub fn call(&mut self, cmd: &str, args: &Value) -> Value {
        self.ask(&json!({"cmd": cmd, "args": args}))
    }

    /// Adds a module and answers its uid.
    pub fn add(&mut self, type_name: &str, args: &Value) -> String {
        let answer = self.call("add", &json!({"type": type_name, "args": args}));
        answer["result"]["uid"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Uids of the list, in order.
    pub fn list(&mut self, kind: &str) -> Vec<String> {
        let answer = self.call(kind, &json!({}));
        answer["result"].as_array().unwrap().iter().map(|item| item["uid"].as_str().unwrap().to_owned()).collect()
    }

    /// Closes the sending side.
    pub fn close_sending(&mut self) {
        self.reader.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Whether nothing has been received that is not read yet.
    pub fn is_silent(&mut self) -> bool {
        let stream = self.reader.get_mut();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        self.reader.buffer().is_empty() && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Whether the service has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        self.reader.read(&mut [0]).is_ok_and(|bytes| bytes == 0)
    }
}
