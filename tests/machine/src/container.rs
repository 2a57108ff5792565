//! A machine as a container of systemd-nspawn.
//!
//! ```text
//!   keeper (sleep)           owns a mount namespace: a tmpfs, and on it an overlay over the cached root
//!   └ systemd-nspawn         enters that namespace, and a cgroup of its own on the host
//!     └ leader (PID 1)       nsenter joins its namespaces
//! ```
//!
//! The overlay outlives the container, so that it can be booted again, and ends with the keeper; nothing of it is ever
//! visible in the host's own mount table.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::cache::{self, Cached};
use crate::cgroup::Cgroup;
use crate::host::{guarded, spawn};
use crate::notices::Notices;
use crate::recorded_disk::RecordedDisk;
use crate::running::{LOST, Process};
use crate::scratch::{Scratch, cgroup_name};
use crate::{Kind, Outcome};

/// How long a container may take to come up; under a second where nothing else runs.
const BOOT: Duration = Duration::from_secs(120);

/// In the mount namespace of the keeper: the root, writable, and nspawn's own book-keeping out of the host's sight.
const MOUNTS: &str = r#"
set -e
mount -t tmpfs -o mode=755 shmooze-test "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" shmooze-test "$2/root"
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=755 shmooze-test /run/systemd/nspawn
echo ready
# Under a name by which it is found again, should it ever be left.
exec -a "keeper of $2/" sleep infinity
"#;

pub(crate) struct Container {
    kind: Kind,
    keeper: Mutex<Child>,
    keeper_pid: u32,
    root: PathBuf,
    console: PathBuf,
    notices: Notices,
    address: String,
    state: Mutex<State>,
    _cached: Cached,
}

#[derive(Default)]
struct State {
    nspawn: Option<Child>,
    cgroup: Option<Cgroup>,
    leader: Option<u32>,
}

impl Container {
    /// Makes one that is off.
    pub fn new(kind: Kind, scratch: &Scratch) -> Outcome<Self> {
        let cached = cache::root(kind)?;
        let mounts = scratch.path.join("mounts");
        std::fs::create_dir_all(&mounts).map_err(|error| format!("cannot make {}: {error}", mounts.display()))?;
        let address = cgroup_name(&scratch.id);
        let trouble = |error| format!("cannot listen for the notices of a container: {error}");
        let notices = Notices::listen(&address).map_err(trouble)?;

        let mut command = guarded("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-c", MOUNTS, "keeper"]);
        command.arg(cached.path.join("root")).arg(&mounts);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut keeper = spawn(command).map_err(|error| format!("cannot start the keeper of a container: {error}"))?;
        let mut answer = String::new();
        if let Some(output) = keeper.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut answer);
        }
        if answer != "ready\n" {
            let _ = keeper.kill();
            let errors = keeper.wait_with_output().map(|output| output.stderr).unwrap_or_default();
            return Err(format!("cannot mount the root of {kind}: {}", String::from_utf8_lossy(&errors).trim()));
        }
        Ok(Self {
            kind,
            keeper_pid: keeper.id(),
            keeper: Mutex::new(keeper),
            root: mounts.join("root"),
            console: scratch.console(),
            notices,
            address,
            state: Mutex::default(),
            _cached: cached,
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for nspawn's word on who is PID 1, and for the word of that one that it is ready.
    fn wait_ready(&self) -> Outcome<()> {
        let deadline = Instant::now() + BOOT;
        loop {
            // A short wait, because an nspawn that ends says nothing here.
            let line = self.notices.line(Duration::from_millis(200));
            if let Some(leader) = line.as_ref().and_then(|line| line.strip_prefix("X_NSPAWN_LEADER_PID=")) {
                self.state().leader = leader.parse().ok();
            }
            if line.as_deref() == Some("READY=1") && self.state().leader.is_some() {
                return Ok(());
            }
            let ended = self.state().nspawn.as_mut().is_none_or(|nspawn| !matches!(nspawn.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                self.cut_power();
                let console = std::fs::read(&self.console).unwrap_or_default();
                let how = if ended { "ended while it booted" } else { "did not boot in time" };
                return Err(format!("{} {how}: {}", self.kind, String::from_utf8_lossy(&console)));
            }
        }
    }
}

impl Backend for Container {
    fn power_on(&self) -> Outcome<()> {
        let trouble = |error: std::io::Error| format!("cannot start systemd-nspawn: {error}");
        // A new one each time: Linux 6.18 kills what systemd 257 starts in a cgroup that was once killed as a whole.
        let cgroup = Cgroup::create(&self.address)?;
        let console = File::options().create(true).append(true).open(&self.console).map_err(trouble)?;
        let mut command = guarded("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.keeper_pid))
            .args(["--", "bash", "-c", r#"echo $$ >"$1" && shift && exec "$@""#, "enter"])
            .arg(cgroup.procs())
            .args(["systemd-nspawn", "--boot", "--notify-ready=yes", "--register=no", "--keep-unit"])
            .args(["--private-network", "--resolv-conf=off", "--timezone=off", "--machine=shmooze-test", "--directory"])
            .arg(&self.root)
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .env("NOTIFY_SOCKET", format!("@{}", self.address))
            .stdin(Stdio::null())
            .stderr(console.try_clone().map_err(trouble)?)
            .stdout(console);
        self.notices.forget();
        let nspawn = spawn(command).map_err(trouble)?;
        *self.state() = State { nspawn: Some(nspawn), cgroup: Some(cgroup), leader: None };
        self.wait_ready()
    }

    fn start(&self, argv: &[String]) -> Outcome<Process> {
        let leader = self.state().leader.ok_or_else(|| format!("{} is off", self.kind))?;
        let trouble = |error: std::io::Error| format!("cannot enter {}: {error}", self.kind);
        let mut command = Command::new("nsenter");
        command
            .args(["--all", &format!("--target={leader}"), "--"])
            .args(argv)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(trouble)?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(format!("cannot enter {}: no pipes", self.kind));
        };
        let (sender, exit) = mpsc::channel();
        thread::spawn(move || {
            let status = child.wait().ok().and_then(|status| status.code());
            let _ = sender.send(status.unwrap_or(LOST));
        });
        Ok(Process { input: Box::new(input), output: Box::new(output), errors: Box::new(errors), exit })
    }

    fn wait_rebooted(&self) -> Outcome<()> {
        // nspawn leaves it to who runs it to start it again: with `--keep-unit` that is systemd, and here it is this.
        if !self.wait_off(BOOT) {
            return Err(format!("{} does not shut down to boot again", self.kind));
        }
        self.cut_power();
        self.power_on()
    }

    fn wait_off(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            match self.state().nspawn.as_mut().map(Child::try_wait) {
                Some(Ok(None)) if Instant::now() < deadline => {}
                Some(Ok(None)) => return false,
                _ => return true,
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn cut_power(&self) {
        let mut state = self.state();
        if let Some(mut nspawn) = state.nspawn.take() {
            let _ = nspawn.kill();
            let _ = nspawn.wait();
        }
        // With it goes whatever may still be in it.
        state.cgroup = None;
        state.leader = None;
    }

    fn attach(&self, _: &Path) -> Outcome<RecordedDisk> {
        Err("a container has no disks".into())
    }

    fn patience(&self) -> u32 {
        1
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.cut_power();
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = keeper.kill();
        let _ = keeper.wait();
    }
}
