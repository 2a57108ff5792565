//! The control group of a scope, as the kernel shows it: the truth about which processes live.
//!
//! Read from `/sys/fs/cgroup` (cgroups(7), version 2), where a read costs some microseconds and waits for nobody.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::XattrFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::sleep;

use super::super::process::Stat;
use crate::protocol::Uid;

/// Where version 2 is mounted, alone or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The extended attribute that says which module lives in a group whose name does not; as systemd's own `user.delegate`
/// (Linux 5.7). Only whoever may make groups there can set it.
const MARK: &str = "user.shmooze.module";
/// Which process is its main one.
const MAIN: &str = "user.shmooze.main";
/// What it says while no module does.
const NOBODY: &str = "-";
/// How often one is looked at that is about to be frozen or thawed. The manager answers much sooner.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// One control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Its path below the mount.
    path: String,
    directory: PathBuf,
}

impl Cgroup {
    /// The control group called `path`, as the manager or `/proc` names it.
    pub(super) fn new(path: &str) -> Self {
        let mount = MOUNTS.iter().map(Path::new).find(|mount| mount.join("cgroup.procs").exists());
        let directory = mount.unwrap_or_else(|| Path::new(MOUNTS[0])).join(path.trim_start_matches('/'));
        Self { path: path.to_owned(), directory }
    }

    /// That of a living process.
    pub(super) fn of_process(pid: u32) -> io::Result<Self> {
        path_of(pid).map(|path| Self::new(&path))
    }

    /// Where it stands below the mount.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it is that of the unit itself and not one below or above.
    pub(super) fn is_of_unit(&self, unit: &str) -> bool {
        self.path.rsplit('/').next() == Some(unit)
    }

    /// Whether it is `other` or below.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        Path::new(&self.path).starts_with(&other.path)
    }

    /// Whether a process lives in it or below. One that does not exist has none.
    pub(super) fn is_populated(&self) -> bool {
        self.event("populated")
    }

    /// Whether all its processes are frozen.
    pub(super) fn is_frozen(&self) -> bool {
        self.event("frozen")
    }

    /// Notes on it which module lives in it, or that none does yet.
    pub(super) fn mark(&self, uid: Option<Uid>) -> io::Result<()> {
        let value = uid.map_or_else(|| NOBODY.to_owned(), |uid| uid.to_string());
        Ok(rustix::fs::setxattr(&self.directory, MARK, value.as_bytes(), XattrFlags::empty())?)
    }

    /// Which module was noted on it.
    pub(super) fn marked(&self) -> Option<Uid> {
        self.note(MARK)
    }

    /// Notes on it which process is the main one, so that a later launcher takes no descendant for it.
    pub(super) fn mark_main(&self, pid: u32) -> io::Result<()> {
        Ok(rustix::fs::setxattr(&self.directory, MAIN, pid.to_string().as_bytes(), XattrFlags::empty())?)
    }

    /// Which main process was noted on it.
    pub(super) fn marked_main(&self) -> Option<u32> {
        self.note(MAIN)
    }

    fn note<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(&self.directory, name, value.as_mut_slice()).ok()?;
        std::str::from_utf8(value.get(..length)?).ok()?.parse().ok()
    }

    fn event(&self, name: &str) -> bool {
        event(&self.directory, name)
    }

    /// The processes in it and below.
    pub(super) fn processes(&self) -> Vec<u32> {
        let mut processes = Vec::new();
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            let procs = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            processes.extend(procs.lines().filter_map(|pid| pid.parse::<u32>().ok()));
            let below = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
            directories.extend(below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
        }
        processes
    }

    /// The process that has lived longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.processes().into_iter().filter_map(|pid| Some((started(pid)?, pid))).min().map(|(_, pid)| pid)
    }

    /// Sends a signal to every process, one after the other: one that forks meanwhile may leave a child without it.
    pub(super) fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { continue };
            // The number may have gone to another process before it was opened; what is opened stays the same.
            if Self::of_process(pid).is_ok_and(|now| now.is_within(self)) {
                let _ = pidfd_send_signal(process, signal);
            }
        }
    }

    /// Lets its processes run on, whatever the manager thinks of them.
    pub(super) fn thaw(&self) {
        if self.is_frozen() {
            let _ = std::fs::write(self.directory.join("cgroup.freeze"), "0");
        }
    }

    /// SIGKILL to every process at once, frozen and forking ones included.
    pub(super) fn kill(&self) {
        // `cgroup.kill` came with Linux 5.14.
        if self.directory.exists() && std::fs::write(self.directory.join("cgroup.kill"), "1").is_err() {
            self.signal(Signal::KILL);
        }
    }
}

/// Whether what `cgroup.events` calls `name` is so.
fn event(directory: &Path, name: &str) -> bool {
    let events = std::fs::read_to_string(directory.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line.strip_prefix(name) == Some(" 1"))
}

/// Looks, now and then, until the processes of the group in `directory` are frozen, or until they are not: a manager that is
/// reloaded meanwhile does it and may forget whom to answer.
pub(super) async fn until_frozen(directory: &Path, frozen: bool) {
    loop {
        sleep(LOOK_PERIOD).await;
        if event(directory, "frozen") == frozen {
            return;
        }
    }
}

/// The service that a process is of: the innermost unit of its control group, where that is one. What somebody runs by hand
/// is in the scope of a session, which may outlive it.
pub fn service_of_process(pid: u32) -> Option<String> {
    let path = path_of(pid).ok()?;
    let unit = path.rsplit('/').find(|part| part.ends_with(".service") || part.ends_with(".scope"))?;
    unit.ends_with(".service").then(|| unit.to_owned())
}

/// The path of a process's control group of version 2.
fn path_of(pid: u32) -> io::Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or_else(|| io::Error::other("this system has no control groups of version 2"))?;
    // As of a process that has outlived its group, which only a zombie does.
    Ok(path.trim_end_matches(" (deleted)").to_owned())
}

/// When a process was started, in clock ticks since boot; `None` for a zombie.
fn started(pid: u32) -> Option<u64> {
    Stat::of(pid).filter(|stat| !stat.is_zombie())?.field(22)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unit_itself() {
        let cgroup = Cgroup::new("/shmooze.slice/shmooze-queue.slice/shmooze-queue-a-1.scope");
        assert!(cgroup.is_of_unit("shmooze-queue-a-1.scope"));
        assert!(!cgroup.is_of_unit("shmooze-queue.slice"));
        assert!(!Cgroup::new("/a.scope/below").is_of_unit("a.scope"));
        assert!(!Cgroup::new("/").is_of_unit("a.scope"));
    }

    #[test]
    fn one_that_does_not_exist_is_empty() {
        let cgroup = Cgroup::new("/no-such-group.scope");
        assert!(!cgroup.is_populated() && !cgroup.is_frozen());
        assert_eq!((cgroup.processes(), cgroup.oldest()), (Vec::new(), None));
        cgroup.signal(Signal::TERM);
        cgroup.thaw();
        cgroup.kill();
    }

    #[test]
    fn what_lies_in_a_directory_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let cgroup = Cgroup { path: "/x".into(), directory: directory.path().to_owned() };
        std::fs::write(directory.path().join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        std::fs::write(directory.path().join("cgroup.procs"), "1\n").unwrap();
        std::fs::create_dir(directory.path().join("below")).unwrap();
        std::fs::write(directory.path().join("below/cgroup.procs"), format!("{own}\n4294967295\n")).unwrap();
        assert!(cgroup.is_populated() && !cgroup.is_frozen());
        assert_eq!(cgroup.processes(), [1, own, u32::MAX]);
        assert_eq!(cgroup.oldest(), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_frozen_is_thawed() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = Cgroup { path: "/x".into(), directory: directory.path().to_owned() };
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        cgroup.thaw();
        assert!(!file("cgroup.freeze").exists(), "nothing to thaw");
        until_frozen(directory.path(), false).await;
        std::fs::write(file("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        until_frozen(directory.path(), true).await;
        cgroup.thaw();
        assert_eq!(std::fs::read_to_string(file("cgroup.freeze")).unwrap(), "0");
    }

    #[test]
    fn who_lives_in_it_is_noted_on_it() {
        // Not in /tmp: a tmpfs takes such attributes only from Linux 6.6 on.
        let program = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let cgroup = Cgroup { path: "/x".into(), directory: directory.path().to_owned() };
        assert_eq!(cgroup.marked(), None);
        cgroup.mark(None).unwrap();
        assert_eq!(cgroup.marked(), None);
        let uid = Uid::new();
        cgroup.mark(Some(uid)).unwrap();
        assert_eq!((cgroup.marked(), cgroup.marked_main()), (Some(uid), None));
        cgroup.mark_main(7).unwrap();
        assert_eq!((cgroup.marked(), cgroup.marked_main()), (Some(uid), Some(7)));
        drop(directory);
        assert!(cgroup.mark(None).is_err());
    }

    #[test]
    fn start_times_grow() {
        assert!(started(1) < started(std::process::id()));
        assert_eq!(started(u32::MAX), None);
    }
}
