//! Which process has a socket open, as far as `/proc` lets this process see (proc_pid_fd(5)).

use std::fs::read_dir;
use std::io;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::scope::sweep::session_of;

/// Descendants of a main process that are looked at before the whole process table is.
const DESCENDANTS: usize = 64;

/// Whether some process has a socket open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    /// It has not.
    No,
    /// It may: this process is not let see.
    Hidden,
    /// It has.
    Yes,
}

/// Whether a process has the socket open.
pub(super) fn holds(pid: i32, inode: u32) -> Holds {
    let error = match holds_readable(pid, inode) {
        Ok(true) => return Holds::Yes,
        Ok(false) => return Holds::No,
        Err(error) => error,
    };
    match error.kind() {
        // A zombie, which has nothing open, is hidden too.
        io::ErrorKind::PermissionDenied if session_of(pid).is_some() => Holds::Hidden,
        // It has ended, or `/proc` is mounted so that it shows nothing of other users.
        io::ErrorKind::NotFound if kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::EPERM) => Holds::Hidden,
        _ => Holds::No,
    }
}

fn holds_readable(pid: i32, inode: u32) -> io::Result<bool> {
    let link = format!("socket:[{inode}]");
    let mut entries = read_dir(format!("/proc/{pid}/fd"))?.filter_map(Result::ok);
    Ok(entries.any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == link.as_str())))
}

/// Whether any of these processes has.
pub(super) fn any_holds(pids: impl IntoIterator<Item = i32>, inode: u32) -> Holds {
    let mut most = Holds::No;
    for pid in pids {
        most = most.max(holds(pid, inode));
        if most == Holds::Yes {
            break;
        }
    }
    most
}

/// The process itself and what descends from it without a break: children of children, but not what has lost its parent.
pub(super) fn descent(pid: i32) -> impl Iterator<Item = i32> {
    let (mut waiting, mut last) = (vec![pid], None);
    std::iter::from_fn(move || {
        // Only now: most often nobody asks for more than the first.
        waiting.extend(last.take().into_iter().flat_map(children));
        last = waiting.pop();
        last
    })
    .take(DESCENDANTS)
}

fn children(pid: i32) -> Vec<i32> {
    let threads = read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

/// The users that a process acts as: real, effective, saved and of the file system. None of one that has ended.
pub(super) fn users(pid: i32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    users.split_ascii_whitespace().filter_map(|user| user.parse().ok()).collect()
}

/// Some process of this machine that has the socket open; takes milliseconds.
pub(super) fn holder(inode: u32) -> Option<i32> {
    let entries = read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| holds(*pid, inode) == Holds::Yes)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::super::tests::eventually;
    use super::*;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    fn socket() -> (TcpListener, u32) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let inode = u32::try_from(nix::sys::stat::fstat(&listener).unwrap().st_ino).unwrap();
        (listener, inode)
    }

    #[test]
    fn a_socket_is_found_where_it_is_open() {
        let (listener, inode) = socket();
        assert_eq!(holds(own(), inode), Holds::Yes);
        assert_eq!(holds(1, inode), if nix::unistd::geteuid().is_root() { Holds::No } else { Holds::Hidden });
        assert_eq!(holds(i32::MAX, inode), Holds::No);
        assert_eq!(any_holds([i32::MAX, own(), 1], inode), Holds::Yes);
        eventually("it is found", || holder(inode) == Some(own()));
        drop(listener);
        assert_eq!(holds(own(), inode), Holds::No);
    }

    #[test]
    fn zombies_hold_nothing() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        eventually("it has ended", || session_of(pid).is_none());
        assert_eq!(holds(pid, 1), Holds::No);
        child.wait().unwrap();
    }

    #[test]
    fn children_of_children_descend() {
        let script = "sh -c 'sleep 1000 & echo; wait' & wait";
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        // The innermost shell has said that its child is there.
        io::BufRead::read_line(&mut io::BufReader::new(child.stdout.take().unwrap()), &mut String::new()).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let family: Vec<i32> = descent(pid).collect();
        for pid in &family {
            let _ = kill(Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
        }
        child.wait().unwrap();
        assert_eq!(family.len(), 3, "{family:?}");
        assert!(descent(own()).any(|pid| pid == own()));
    }

    #[test]
    fn users_are_those_of_the_process() {
        assert_eq!(users(own()), [nix::unistd::geteuid().as_raw(); 4]);
        assert_eq!(users(i32::MAX), [] as [u32; 0]);
    }
}
