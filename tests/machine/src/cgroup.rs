//! The cgroup of the host that holds a container: two containers in one would take each other's processes for their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;

/// A cgroup at the top of the host's cgroup v2 tree. It goes, with all in it, when dropped.
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Where systemd-nspawn makes a folder of the same name: on a host with both versions of the tree, `name=systemd` too.
    twins: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes the cgroup. An empty one of that name that was left by a run before is taken over.
    pub fn create(name: &str) -> Outcome<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| format!("/proc/self/mounts: {error}"))?;
        let (unified, named) = hierarchies(&mounts);
        let unified = unified.ok_or("this host has no cgroup v2 file system mounted, which containers need")?;
        let cgroup = Self { path: unified.join(name), twins: named.iter().map(|mount| mount.join(name)).collect() };
        fs::create_dir_all(&cgroup.path).map_err(|error| format!("cannot make the cgroup {}: {error}", cgroup.path.display()))?;
        Ok(cgroup)
    }

    /// The file to write the id of a process to that shall be in it.
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Kills every process in it, with all below.
    pub fn kill(&self) {
        // A kernel before 5.14 has no such file. Then the end of the container's first process must do, as it does.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        let deadline = Instant::now() + Duration::from_secs(10);
        for path in self.twins.iter().chain([&self.path]) {
            // A killed process keeps its cgroup until it is reaped, and no event tells of that for a whole tree.
            while remove(path).is_err() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Where a cgroup of that name is or may be on this host.
pub(crate) fn paths(name: &str) -> Vec<PathBuf> {
    let (unified, named) = hierarchies(&fs::read_to_string("/proc/self/mounts").unwrap_or_default());
    unified.into_iter().chain(named).map(|mount| mount.join(name)).collect()
}

/// Removes a cgroup and those below it; one that is not there is fine.
fn remove(path: &Path) -> io::Result<()> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(entries) => {
            for entry in entries.flatten() {
                if entry.file_type()?.is_dir() {
                    remove(&entry.path())?;
                }
            }
        }
    }
    fs::remove_dir(path)
}

/// The mount point of cgroup v2 and those of the named hierarchies of version 1, from the text of `/proc/self/mounts`.
fn hierarchies(mounts: &str) -> (Option<PathBuf>, Vec<PathBuf>) {
    let mut unified = None;
    let mut named = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(point), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if kind == "cgroup2" {
            unified.get_or_insert_with(|| PathBuf::from(point));
        } else if kind == "cgroup" && (point.ends_with("/systemd") || options.contains("name=")) {
            named.push(PathBuf::from(point));
        }
    }
    (unified, named)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn hierarchies_of_a_unified_host() {
        let (unified, named) = hierarchies("sysfs /sys sysfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n");
        assert_eq!(unified, Some(PathBuf::from("/sys/fs/cgroup")));
        assert!(named.is_empty());
    }

    #[test]
    fn hierarchies_of_a_hybrid_host() {
        let (unified, named) = hierarchies(
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
             cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
        );
        assert_eq!(unified, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(named, [PathBuf::from("/sys/fs/cgroup/systemd")]);
    }

    #[test]
    fn a_host_without_version_2() {
        assert_eq!(hierarchies("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), (None, Vec::new()));
    }
}
