//! How a process ended that is no child of this one, where the kernel tells: Linux 6.15 and later do (`PIDFD_GET_INFO`).
//!
//! A descriptor that was opened while the process lived answers after its parent, for an orphan the service manager, has asked.

use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use tokio::time::{Instant, sleep};

use super::super::Exit;

/// How long its parent may take to ask.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks: no event tells on all these kernels.
const PAUSE: Duration = Duration::from_millis(1);

/// `struct pidfd_info` in its first version (linux/pidfd.h).
#[repr(C)]
#[derive(Debug, Default)]
struct Info {
    /// What is asked for, and then what was answered.
    mask: u64,
    cgroup: u64,
    identities: [u32; 11],
    /// As of wait(2).
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`.
const EXIT: u64 = 1 << 3;
/// `PIDFD_GET_INFO`.
const GET_INFO: Opcode = opcode::read_write::<Info>(0xff, 11);

/// How the process of this descriptor ended, which it has.
pub(super) async fn of(pid_fd: BorrowedFd<'_>) -> Exit {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match ask(pid_fd) {
            Ok(Info { mask, exit_code, .. }) if mask & EXIT != 0 => return ExitStatus::from_raw(exit_code).into(),
            Ok(_) if Instant::now() < give_up => sleep(PAUSE).await,
            // A kernel that does not tell, or a parent that does not ask.
            _ => return Exit::Unknown,
        }
    }
}

fn ask(pid_fd: BorrowedFd<'_>) -> rustix::io::Result<Info> {
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: the number names a call that reads and writes a structure of this layout, and no more of it than the number says.
    #[allow(unsafe_code)]
    unsafe {
        ioctl(pid_fd, Updater::<GET_INFO, Info>::new(&mut info))?;
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::process::Command;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    /// Whether this kernel tells.
    fn tells() -> bool {
        let version = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(6), Some(15))
    }

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<Info>(), 64);
    }

    #[tokio::test]
    async fn what_the_parent_was_told() {
        for (script, told) in [("exit 7", Exit::Status(7)), ("kill -TERM $$", Exit::Signal(15)), ("exit 0", Exit::Status(0))] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let pid_fd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
            child.wait().unwrap();
            assert_eq!(of(pid_fd.as_fd()).await, if tells() { told } else { Exit::Unknown });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_for_whom_nobody_asks() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid_fd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        assert_eq!(of(pid_fd.as_fd()).await, Exit::Unknown);
        child.wait().unwrap();
    }
}
