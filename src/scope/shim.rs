//! The held child: a process that waits, does nothing and prints nothing until it is told what to become.
//!
//! ```text
//!   launcher                         shmooze-shim (stdin is a socket pair, the gate)
//!   Held::spawn ────fork, exec──────▶ waits at the gate
//!   (puts it into its scope)
//!   release ──length, Program, ─────▶ session, limits, user, directory, environment
//!             where it prints
//!            ◀──end of file────────── exec of the program (the gate closes by itself)
//!            ◀──a sentence─────────── or why not, exit 125
//! ```
//!
//! A module is thus in its scope before its first instruction, and the launcher forks by `posix_spawn`, which costs the
//! same however large it is: user and limits are set here and not between its fork and exec.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, ExitStatus};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, initgroups, setgid, setsid, setuid};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::ScopeError;

/// Exit status of a shim that could not become the program (as of `systemd.exec(5)`: something before the exec failed).
const COULD_NOT_EXECUTE: i32 = 125;

/// Room for one descriptor that goes down a gate.
const SPACE: usize = rustix::cmsg_space!(ScmRights(1));

/// A program to execute, and everything that is set before it is.
///
/// A launcher may be older than the shim that it executes, where an upgrade has replaced both and the launcher runs on: what it
/// does not tell is as if there were no such thing, and nothing that has been told may come to mean something else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    /// The command line; the first element is looked up in `PATH` of `environment` where it holds no slash.
    pub command: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Where it starts.
    pub working_directory: Option<PathBuf>,
    /// As whom; `None` for whoever the launcher is.
    pub user: Option<User>,
    /// Resource limits: name as in `systemd.exec(5)` (`LimitNOFILE`), soft and hard value.
    pub resource_limits: Vec<(String, u64, u64)>,
    /// Scheduling priority, -20 to 19.
    pub nice: Option<i32>,
    /// How readily the kernel kills it when memory runs out, -1000 to 1000.
    pub oom_score_adjust: Option<i32>,
    /// File mode creation mask.
    pub umask: Option<u32>,
}

/// A user to become, with the groups that the system's database gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// A child that waits at its gate.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) child: Child,
    pub(super) pid: u32,
    gate: UnixStream,
}

impl Held {
    /// Forks a shim. It prints nothing; what keeps it from starting, and the program where nothing else is said, go where this
    /// process's standard error goes.
    pub(super) fn spawn(shim: &Path) -> std::io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(shim)
            .stdin(OwnedFd::from(theirs))
            .stdout(std::io::stderr())
            .env_clear()
            .spawn()
            .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", shim.display())))?;
        let pid = child.id().ok_or_else(|| std::io::Error::other("the shim ended at once"))?;
        Ok(Self { child, pid, gate: UnixStream::from_std(ours)? })
    }

    /// Whether the child has ended, and how. Until this or [`Held::give_up`] asks, its number belongs to nobody else.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Lets the child become `program`, which prints to `output`; answers when it has.
    pub(super) async fn release(&mut self, program: &Program, output: Option<BorrowedFd<'_>>) -> Result<(), ScopeError> {
        let system = |error: std::io::Error| ScopeError::System(format!("the shim does not answer: {error}"));
        // In one piece, so that the child is woken once.
        let mut message = vec![0; 4];
        serde_json::to_writer(&mut message, program).map_err(|error| ScopeError::System(error.to_string()))?;
        let length = u32::try_from(message.len() - 4).map_err(|error| ScopeError::System(error.to_string()))?;
        message[..4].copy_from_slice(&length.to_le_bytes());
        self.tell(&message, output).await.map_err(system)?;
        let mut reason = String::new();
        self.gate.read_to_string(&mut reason).await.map_err(system)?;
        if reason.is_empty() {
            return Ok(());
        }
        Err(ScopeError::Execute { program: program.command.first().cloned().unwrap_or_default(), reason })
    }

    /// Sends a message, and with its first byte a descriptor.
    async fn tell(&mut self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let send = || {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if descriptor.is_some() {
                control.push(SendAncillaryMessage::ScmRights(descriptor.as_slice()));
            }
            Ok(sendmsg(&self.gate, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?)
        };
        let sent = self.gate.async_io(Interest::WRITABLE, send).await?;
        self.gate.write_all(&message[sent..]).await
    }

    /// The child. One that was not released ends by itself: its gate is closed.
    pub(super) fn give_up(self) -> Child {
        self.child
    }
}

/// The whole of the program `shmooze-shim`. Returns only when it could not become what it was told, with its exit status.
#[must_use]
pub fn shim_main() -> i32 {
    // Not kept for as long as it waits.
    close_inherited();
    // A duplicate above the standard streams, which closes by itself when the program is executed.
    let Ok(gate) = std::io::stdin().as_fd().try_clone_to_owned() else { return COULD_NOT_EXECUTE };
    let mut gate = StdUnixStream::from(gate);
    let mut length = [0; 4];
    // End of file: the launcher is gone or has thought better of it.
    let Ok(output) = hear(&gate, &mut length) else { return COULD_NOT_EXECUTE };
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    if gate.read_exact(&mut text).is_err() {
        return COULD_NOT_EXECUTE;
    }
    let reason = match serde_json::from_slice::<Program>(&text) {
        Ok(program) => become_program(&program, output),
        Err(error) => format!("the shim was told nonsense: {error}"),
    };
    let _ = gate.write_all(reason.as_bytes());
    COULD_NOT_EXECUTE
}

/// Waits for the first bytes of a message. Answers the descriptor that comes with them.
fn hear(gate: &StdUnixStream, begin: &mut [u8]) -> std::io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let (wanted, mut parts) = (begin.len(), [IoSliceMut::new(begin)]);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = retry_on_intr(|| recvmsg(gate, &mut parts, &mut control, flags))?;
    if received.bytes != wanted {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

/// Answers only where something failed: with what and why.
fn become_program(program: &Program, output: Option<OwnedFd>) -> String {
    match prepare(program, output) {
        Err(reason) => reason,
        Ok(mut command) => system_sentence(&command.exec()),
    }
}

fn prepare(program: &Program, output: Option<OwnedFd>) -> Result<StdCommand, String> {
    let what = |what: &'static str| move |error: nix::errno::Errno| format!("{what}: {}", error.desc());
    let null = std::fs::File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    dup2_stdin(&null).map_err(what("standard input"))?;
    if let Some(output) = output {
        dup2_stdout(&output).map_err(what("standard output"))?;
        dup2_stderr(&output).map_err(what("standard error"))?;
    }
    // A session of its own: a terminal's signals do not reach it, and its process group is its own.
    setsid().map_err(what("session"))?;
    for (name, soft, hard) in &program.resource_limits {
        let resource = resource(name).ok_or_else(|| format!("{name}: no such resource limit"))?;
        setrlimit(resource, *soft, *hard).map_err(|error| format!("{name}: {}", error.desc()))?;
    }
    if let Some(adjust) = program.oom_score_adjust {
        std::fs::write("/proc/self/oom_score_adj", adjust.to_string()).map_err(|error| format!("OOMScoreAdjust: {error}"))?;
    }
    if let Some(nice) = program.nice {
        rustix::process::setpriority_process(None, nice).map_err(|error| format!("Nice: {error}"))?;
    }
    if let Some(mask) = program.umask {
        umask(Mode::from_bits_truncate(mask));
    }
    if let Some(user) = &program.user {
        let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| "the user's name holds a NUL".to_owned())?;
        let gid = Gid::from_raw(user.gid);
        if nix::unistd::geteuid().is_root() {
            initgroups(&name, gid).map_err(what("groups"))?;
            setgid(gid).map_err(what("group"))?;
            setuid(Uid::from_raw(user.uid)).map_err(what("user"))?;
        } else if nix::unistd::geteuid().as_raw() != user.uid {
            return Err(format!("only root can start a program as user {}", user.name));
        }
    }
    if let Some(directory) = &program.working_directory {
        std::env::set_current_dir(directory).map_err(|error| format!("{}: {}", directory.display(), system_sentence(&error)))?;
    }
    let (path, arguments) = program.command.split_first().ok_or_else(|| "the command line is empty".to_owned())?;
    let mut command = StdCommand::new(path);
    command.args(arguments).env_clear().envs(program.environment.iter().map(|(name, value)| (name, value)));
    Ok(command)
}

/// Ends descriptors that this program was given by mistake, by whoever started the launcher. Nothing else is open yet.
fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // That of the list itself is closed already.
        let _ = nix::unistd::close(number);
    }
}

/// The system's reason without Rust's `(os error 2)`.
fn system_sentence(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| nix::errno::Errno::from_raw(code).desc().to_owned())
}

/// The resource limit called `name` in `systemd.exec(5)`.
fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "LimitAS" => Resource::RLIMIT_AS,
        "LimitCORE" => Resource::RLIMIT_CORE,
        "LimitCPU" => Resource::RLIMIT_CPU,
        "LimitDATA" => Resource::RLIMIT_DATA,
        "LimitFSIZE" => Resource::RLIMIT_FSIZE,
        "LimitLOCKS" => Resource::RLIMIT_LOCKS,
        "LimitMEMLOCK" => Resource::RLIMIT_MEMLOCK,
        "LimitMSGQUEUE" => Resource::RLIMIT_MSGQUEUE,
        "LimitNICE" => Resource::RLIMIT_NICE,
        "LimitNOFILE" => Resource::RLIMIT_NOFILE,
        "LimitNPROC" => Resource::RLIMIT_NPROC,
        "LimitRSS" => Resource::RLIMIT_RSS,
        "LimitRTPRIO" => Resource::RLIMIT_RTPRIO,
        "LimitRTTIME" => Resource::RLIMIT_RTTIME,
        "LimitSIGPENDING" => Resource::RLIMIT_SIGPENDING,
        "LimitSTACK" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_of_another_version_is_understood() {
        let older: Program = serde_json::from_str(r#"{"command": ["x"]}"#).unwrap();
        assert_eq!(older, Program { command: vec!["x".to_owned()], ..Program::default() });
        let newer: Program = serde_json::from_str(r#"{"command": ["x"], "umask": 7, "to come": {}}"#).unwrap();
        assert_eq!(newer, Program { umask: Some(7), ..older });
    }
}
