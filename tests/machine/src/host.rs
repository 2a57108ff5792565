//! What the host must have, and processes that cannot outlive the tests.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

use crate::{Kind, Outcome};

/// Set to anything but `0`, tests that need a machine are skipped, visibly, instead of failing.
pub(crate) const SKIP: &str = "SHMOOZE_SKIP_MACHINES";

/// Whether machines are to be skipped.
pub(crate) fn skip() -> bool {
    env::var_os(SKIP).is_some_and(|value| !value.is_empty() && value != "0")
}

/// One sentence about what this host lacks for machines of that kind, if it lacks anything.
pub(crate) fn check(kind: Kind) -> Outcome<()> {
    let hint = format!("(tests/setup installs what is missing; {SKIP}=1 skips these tests)");
    if !nix::unistd::geteuid().is_root() {
        return Err(format!("test machines need root {hint}"));
    }
    let common = ["mmdebstrap", "setpriv", "unshare", "nsenter", "tar"];
    let own: &[&str] = match kind {
        Kind::Container(_) => &["systemd-nspawn"],
        Kind::Emulated(_) => &["qemu-system-x86_64", "qemu-img", "mke2fs"],
    };
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    let missing: Vec<&str> = common.iter().chain(own).copied().filter(|program| !installed(program, &path)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("this host has no {} {hint}", missing.join(", no "))) }
}

fn installed(program: &str, path: &str) -> bool {
    path.split(':').any(|folder| Path::new(folder).join(program).is_file())
}

/// A command that gets SIGKILL when this process dies, and no Ctrl-C from the terminal. Start it with [`spawn`] only.
pub(crate) fn guarded(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]).process_group(0);
    command
}

/// Starts a [`guarded`] command from a thread that lasts as long as the process does: the signal is sent when the *thread*
/// that started the child ends, and threads of tests end early.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts machines is gone");
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (sender, answer) = mpsc::channel();
    spawner.send((command, sender)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_program_that_nobody_has_is_not_installed() {
        assert!(installed("sh", "/nowhere:/bin"));
        assert!(!installed("no-such-program-anywhere", "/nowhere:/bin"));
    }

    #[test]
    fn a_guarded_child_outlives_the_thread_that_ordered_it() {
        let mut child = thread::spawn(|| {
            let mut command = guarded("cat");
            command.stdin(std::process::Stdio::piped());
            spawn(command).unwrap()
        })
        .join()
        .unwrap();
        assert!(child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}
