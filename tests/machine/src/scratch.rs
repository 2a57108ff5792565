//! The cache folder, and in it a folder for each machine while it lives.
//!
//! ```text
//! target/machines/            or $SHMOOZE_TEST_CACHE; may be shared by several work trees
//!   roots/NAME-HASH/          what machines start from (cache.rs)
//!   roots/NAME-HASH.lock      shared by those that use it, exclusive for who builds or removes it
//!   run/PID-N/                a living machine; its file `lock` is held by the process that owns it
//!   failed/TEST-PID-N/        console and journal of a machine whose test failed
//! ```

use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Outcome;
use crate::cgroup::{self, Cgroup};

/// The variable that names the cache folder.
const CACHE: &str = "SHMOOZE_TEST_CACHE";

/// How long what is left of failed tests is kept.
const KEEP_FAILED: Duration = Duration::from_secs(7 * 24 * 3600);

/// The cache folder, made if it is not there.
pub(crate) fn cache() -> Outcome<PathBuf> {
    let folder = match env::var_os(CACHE) {
        Some(folder) => PathBuf::from(folder),
        None => env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
            .join("machines"),
    };
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make the cache folder {}: {error}", folder.display()))?;
    let folder = folder.canonicalize().map_err(|error| format!("the cache folder {}: {error}", folder.display()))?;
    // These separate the options of a mount and of a drive.
    if folder.to_str().is_none_or(|path| path.contains([',', ':', '\\', ' '])) {
        return Err(format!("the path of the cache folder {} must have no comma, colon, backslash or space", folder.display()));
    }
    Ok(folder)
}

/// Opens and locks a file, which is made if it is not there.
pub(crate) fn lock(path: &Path, how: FlockArg) -> Outcome<Flock<File>> {
    let file = File::create(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    Flock::lock(file, how).map_err(|(_, error)| format!("cannot lock {}: {error}", path.display()))
}

/// Waits until its standard input is closed, which the kernel does when this process dies in whatever way. Then it ends what is
/// left in the cgroups that it is given, and removes them and the folder. It is not enough to kill systemd-nspawn, which
/// the parent-death signal does: the first process of the container outlives that.
const WARDEN: &str = r#"
read -r -d ''
folder=$1
shift
for cgroup; do
    for ((n = 0; n < 1000; n++)); do
        [[ -d $cgroup ]] || break
        find "$cgroup" -name cgroup.procs -exec cat {} + | xargs --no-run-if-empty kill -KILL
        find "$cgroup" -depth -type d -exec rmdir {} + || sleep 0.01
    done
done 2>/dev/null
rm -rf --one-file-system "$folder"
"#;

/// The folder of one machine, removed when dropped.
pub(crate) struct Scratch {
    /// Unlike that of any other machine alive, also of other processes.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    warden: Child,
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes the folder. The first of a process first ends what a killed process before has left.
    pub fn create() -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static CLEANED: Once = Once::new();
        let run = cache()?.join("run");
        fs::create_dir_all(&run).map_err(|error| format!("cannot make {}: {error}", run.display()))?;
        CLEANED.call_once(|| clean(&run));
        let id = format!("{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = run.join(&id);
        fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        let lock = lock(&path.join("lock"), FlockArg::LockExclusiveNonblock)?;
        let warden = Command::new("bash")
            .args(["-c", WARDEN, "warden"])
            .arg(&path)
            .args(cgroup::paths(&cgroup_name(&id)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start bash: {error}"))?;
        Ok(Self { id, path, warden, _lock: lock })
    }

    /// Keeps what is known about a machine whose test failed; answers where.
    pub fn keep(&self, test: &str, journal: &str) -> Outcome<PathBuf> {
        let name: String = test.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
        let kept = cache()?.join("failed").join(format!("{name}-{}", self.id));
        let saved = fs::create_dir_all(&kept).and_then(|()| fs::write(kept.join("journal.txt"), journal));
        saved.map_err(|error| format!("cannot keep the journal in {}: {error}", kept.display()))?;
        // A machine that never came so far has no console.
        let _ = fs::copy(self.console(), kept.join("console.txt"));
        Ok(kept)
    }

    /// What the machine writes to its console.
    pub fn console(&self) -> PathBuf {
        self.path.join("console.txt")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        let _ = self.warden.wait();
    }
}

/// The name of a machine's cgroup on the host.
pub(crate) fn cgroup_name(id: &str) -> String {
    format!("shmooze-test-{id}")
}

/// Ends machines whose owner is dead and removes their folders.
fn clean(run: &Path) {
    for folder in entries(run) {
        // A folder without a lock is just being made by another process, or just being removed.
        let Ok(file) = File::open(folder.join("lock")) else { continue };
        let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
        for pid in processes_about(&folder) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        if let Some(id) = folder.file_name().and_then(|name| name.to_str()) {
            drop(Cgroup::create(&cgroup_name(id)));
        }
        let _ = fs::remove_dir_all(&folder);
    }
    let failed = run.with_file_name("failed");
    let old = SystemTime::now() - KEEP_FAILED;
    for folder in entries(&failed) {
        if folder.metadata().and_then(|about| about.modified()).is_ok_and(|changed| changed < old) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

/// The processes of the host that were started for the machine of that folder: its path is in their command lines.
pub(crate) fn processes_about(folder: &Path) -> Vec<Pid> {
    let needle = format!("{}/", folder.display());
    entries(Path::new("/proc"))
        .into_iter()
        .filter(|process| {
            fs::read(process.join("cmdline")).is_ok_and(|line| line.windows(needle.len()).any(|part| part == needle.as_bytes()))
        })
        .filter_map(|process| process.file_name()?.to_str()?.parse().ok().map(Pid::from_raw))
        .collect()
}
