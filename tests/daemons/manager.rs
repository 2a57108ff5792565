//! A service manager in small.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;

use crate::common::{Daemon, PATIENCE, World};

/// Programs that are one service each, with the port of a world that they serve.
pub const SERVICES: [Program; 3] = [Program::Queue, Program::Pool, Program::Gateway];

/// All that serve.
pub const PROGRAMS: [Program; 4] = [Program::Queue, Program::Pool, Program::Gateway, Program::Run];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Queue,
    Pool,
    Gateway,
    Run,
}

impl Program {
    pub const fn path(self) -> &'static str {
        match self {
            Self::Queue => env!("CARGO_BIN_EXE_shmooze-queue"),
            Self::Pool => env!("CARGO_BIN_EXE_shmooze-pool"),
            Self::Gateway => env!("CARGO_BIN_EXE_shmooze-gateway"),
            Self::Run => env!("CARGO_BIN_EXE_shmooze-run"),
        }
    }

    pub fn name(self) -> &'static str {
        self.path().rsplit('/').next().unwrap()
    }

    /// The port that it serves; of `shmooze-run` that of its queue.
    pub const fn port(self, world: &World) -> u16 {
        match self {
            Self::Queue | Self::Run => world.queue,
            Self::Pool => world.pool,
            Self::Gateway => world.gateway,
        }
    }

    /// A request of its own kind.
    pub const fn request(self) -> &'static str {
        match self {
            Self::Queue | Self::Run => "{\"cmd\": \"queue\"}\n",
            Self::Pool => "{\"cmd\": \"pool\"}\n",
            Self::Gateway => "GET /settings.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        }
    }

    /// How the answer to it ends.
    pub const fn answer(self) -> &'static str {
        match self {
            Self::Gateway => "\r\n\r\n{}",
            Self::Queue | Self::Pool | Self::Run => "{\"success\": true, \"result\": []}\n",
        }
    }

    /// Sends the request and waits for the answer.
    pub fn ask(self, mut stream: impl Read + Write) {
        stream.write_all(self.request().as_bytes()).unwrap();
        self.expect_answer(stream);
    }

    pub fn expect_answer(self, mut stream: impl Read) {
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        while !answer.ends_with(self.answer().as_bytes()) {
            let length = stream.read(&mut piece).unwrap();
            assert!(length > 0, "{self:?} answered {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..length]);
        }
    }
}

/// A socket that is handed over under a name.
pub struct Socket(pub &'static str, pub OwnedFd);

pub fn unnamed(socket: impl Into<OwnedFd>) -> Socket {
    Socket("", socket.into())
}

/// Listens to what a daemon tells.
pub struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { folder, socket }
    }

    /// A command that starts the program with these sockets.
    pub fn command(&self, program: Program, world: &World, sockets: Vec<Socket>) -> Command {
        self.command_of(program.path(), world, sockets)
    }

    /// A command that starts the program at this path with these sockets.
    pub fn command_of(&self, path: &str, world: &World, sockets: Vec<Socket>) -> Command {
        let mut command = if sockets.is_empty() {
            Command::new(path)
        } else {
            // The shell becomes the program and keeps its process id.
            let mut command = Command::new("sh");
            command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\"", path]);
            let names: Vec<&str> = sockets.iter().map(|Socket(name, _)| *name).collect();
            command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
            let mapping = |(child_fd, Socket(_, parent_fd))| FdMapping { parent_fd, child_fd };
            command.fd_mappings((3..).zip(sockets).map(mapping).collect()).unwrap();
            command
        };
        command.arg("--settings").arg(&world.settings);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify")).stdout(Stdio::null());
        command
    }

    pub fn start(&self, program: Program, world: &World, sockets: Vec<Socket>) -> Daemon {
        Daemon::start(&mut self.command(program, world, sockets), 0)
    }

    /// Starts it without sockets and waits until it is ready.
    pub fn ready(&self, program: Program, world: &World) -> Daemon {
        let daemon = self.start(program, world, Vec::new());
        self.until("READY=1");
        daemon
    }

    /// The next datagram, unless it takes longer.
    fn within(&self, time: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).unwrap();
        let mut datagram = [0; 8192];
        let length = self.socket.recv(&mut datagram).ok()?;
        Some(String::from_utf8(datagram[..length].to_vec()).unwrap().lines().map(str::to_owned).collect())
    }

    /// Datagrams up to the first with an assignment that begins like this, which is the last of them.
    pub fn until(&self, beginning: &str) -> Vec<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        let mut datagrams = Vec::new();
        loop {
            match self.within(deadline.saturating_duration_since(Instant::now())) {
                Some(datagram) => {
                    let is_last = datagram.iter().any(|assignment| assignment.starts_with(beginning));
                    datagrams.push(datagram);
                    if is_last {
                        return datagrams;
                    }
                }
                None => panic!("it was never told {beginning:?}, but {datagrams:?}"),
            }
        }
    }

    /// Waits for the first datagram with an assignment that begins like this, and answers it.
    pub fn wait(&self, beginning: &str) -> Vec<String> {
        self.until(beginning).pop().unwrap()
    }

    /// What was told and not read yet, in one list.
    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.within(Duration::ZERO)).flatten().collect()
    }
}

/// The value of a variable that is a number.
pub fn number(datagram: &[String], name: &str) -> u64 {
    let value = datagram.iter().find_map(|assignment| assignment.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {datagram:?}")).parse().unwrap()
}
