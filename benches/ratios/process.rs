//! Processes of the benchmark, and what the kernel says of them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The first argument of this program where it plays the other side, or a module.
pub const ROLE: &str = "as";

/// This program, to be run in another role.
pub fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ROLE, name]);
    command
}

/// A process that is killed when it is dropped.
pub struct Process {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self { child, stdout }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The next line of its output, as a port.
    pub fn port(&mut self) -> u16 {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("not a port: {line:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn threads(pid: u32) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().path())
}

/// CPU time that the living threads of a process have used.
pub fn cpu_time(pid: u32) -> Duration {
    let of = |text: String| text.split_ascii_whitespace().next()?.parse::<u64>().ok();
    threads(pid).filter_map(|thread| of(fs::read_to_string(thread.join("schedstat")).ok()?)).map(Duration::from_nanos).sum()
}

/// How often threads of a process have gone to sleep, which is how often they were woken.
pub fn wake_ups(pid: u32) -> u64 {
    threads(pid).map(|thread| field(&thread.join("status"), "voluntary_ctxt_switches:")).sum()
}

/// Resident memory of a process in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    field(format!("/proc/{pid}/status").as_ref(), "VmRSS:")
}

fn field(path: &std::path::Path, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// Lets this process, and those that it starts, open as many files as it may.
pub fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}
