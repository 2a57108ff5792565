//! One test's corner of the system: its own service, hence its own slice, and eyes that do not trust the house.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use shmooze::protocol::Uid;
use shmooze::scope::{End, Exit, Launched, Program, Reached, ScopeError, Scopes as _, Spec, State, Systemd};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Longer than any wait that goes well; a test that reaches it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a module may take to obey SIGTERM, where a test does not say otherwise.
pub const TERMINATE: Duration = Duration::from_secs(20);
/// For modules that will not obey: long enough to tell it from nothing, short enough to wait for.
pub const SHORT: Duration = Duration::from_millis(700);
/// How much longer than it is given an ending may take on a machine that is busy with other tests.
const MARGIN: Duration = Duration::from_secs(15);

/// Held for reading by tests that mind what happens to the manager, and for writing by those that do it.
static MANAGER: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// Kept until the test is over.
#[allow(dead_code)]
enum Peace {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

pub struct World {
    pub house: Systemd,
    pub service: String,
    /// For files that modules write.
    pub directory: tempfile::TempDir,
    pub root: bool,
    _peace: Peace,
}

impl World {
    /// `None`, and a word about it, where no manager answers.
    pub async fn new(name: &str) -> Option<Self> {
        Self::with_peace(name, Peace::Shared(Arc::clone(&MANAGER).read_owned().await)).await
    }

    /// For a test that restarts things which others need.
    pub async fn alone(name: &str) -> Option<Self> {
        Self::with_peace(name, Peace::Alone(Arc::clone(&MANAGER).write_owned().await)).await
    }

    async fn with_peace(name: &str, peace: Peace) -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        let booted = Path::new("/run/systemd/system").exists();
        let house = Self::house_of(root, shim());
        if let (true, Ok(_)) = (booted, house.probe().await) {
            let directory = tempfile::tempdir().unwrap();
            // Modules of other users write here too.
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
            let service = format!("{name}-{}", std::process::id());
            return Some(Self { house, service, directory, root, _peace: peace });
        }
        assert!(std::env::var_os("SHMOOZE_REQUIRE_SYSTEMD").is_none(), "no manager of systemd answers");
        // Not `eprintln!`, which is shown for failed tests only.
        let _ = writeln!(std::io::stderr(), "scopes: {name} SKIPPED, no manager of systemd answers here");
        None
    }

    fn house_of(root: bool, shim: PathBuf) -> Systemd {
        if root { Systemd::system(shim) } else { Systemd::user(shim) }
    }

    /// Another process's house, as it were.
    pub fn other_house(&self) -> Systemd {
        Self::house_of(self.root, shim())
    }

    /// A house whose shim is this script.
    pub fn house_with_shim(&self, script: &str) -> Systemd {
        let path = self.directory.path().join("shim");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.house_with_shim_at(path)
    }

    /// A house whose shim is this program.
    pub fn house_with_shim_at(&self, path: PathBuf) -> Systemd {
        Self::house_of(self.root, path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What runs is `script`, with `$uid` and `$dir` set; the uid is in the command line, where [`alive`] finds it.
    pub fn spec(&self, script: &str) -> Spec {
        let uid = Uid::new();
        let directory = self.directory.path().to_string_lossy().into_owned();
        let script = format!("uid={uid} dir={directory}\n{script}");
        let environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("SHMOOZE_UID".to_owned(), uid.to_string())];
        Spec {
            uid,
            service: self.service.clone(),
            type_name: "clock".to_owned(),
            is_app: false,
            program: Program { command: vec!["/bin/sh".into(), "-c".into(), script], environment, ..Program::default() },
            terminate: TERMINATE,
            limits: Vec::new(),
            part_of: None,
            spares: 0,
        }
    }

    pub async fn launch(&self, spec: Spec) -> Module {
        let uid = spec.uid;
        self.try_launch(spec).await.unwrap_or_else(|error| panic!("{uid}: {error}"))
    }

    pub async fn try_launch(&self, spec: Spec) -> Result<Module, ScopeError> {
        self.launch_in(&self.house, spec).await
    }

    pub async fn launch_in(&self, house: &Systemd, spec: Spec) -> Result<Module, ScopeError> {
        let (uid, terminate) = (spec.uid, spec.terminate);
        let launched = house.launch(spec).await?;
        Ok(Module { uid, unit: self.unit(uid), terminate, launched })
    }

    pub fn unit(&self, uid: Uid) -> String {
        format!(r"shmooze-{}-clock-{uid}.scope", self.service.replace('-', r"\x2d"))
    }

    /// systemctl(1) of the right manager.
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("systemctl");
        if !self.root {
            command.arg("--user");
        }
        command.args(arguments).output().unwrap()
    }

    /// A property of a unit, as systemctl(1) shows it.
    pub fn show(&self, unit: &str, property: &str) -> String {
        let output = self.systemctl(&["show", "--value", "-p", property, unit]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The lines in the journal that are booked to a module's scope. Whoever runs this must be allowed to read them.
    pub fn journal(&self, module: &Module) -> Vec<serde_json::Value> {
        let unit = format!("{}={}", if self.root { "_SYSTEMD_UNIT" } else { "_SYSTEMD_USER_UNIT" }, module.unit);
        let fields = "--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER";
        let output = Command::new("journalctl").args(["-q", "-o", "json", fields, &unit]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The scopes of this test that the manager knows.
    pub fn units(&self) -> Vec<String> {
        // A backslash means itself in these patterns.
        let pattern = format!(r"shmooze-{}-*.scope", self.service.replace('-', r"\x2d"));
        let output = self.systemctl(&["list-units", "--all", "--plain", "--no-legend", "--full", &pattern]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// Until whatever is opened once and kept is open, and as many processes wait to become modules as ever will.
    pub async fn accustomed(&self) {
        while self.house.warm() < 8 {
            let mut modules = Vec::new();
            for _ in 0..8 {
                modules.push(self.launch(self.spec("exit 0")).await);
            }
            for module in &mut modules {
                module.gone(self).await;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Neither unit nor process is left of any scope of this test.
    pub async fn nothing_is_left(&self) {
        eventually("all units gone", || self.units().is_empty()).await;
        let marked = alive(&self.service);
        assert!(marked.is_empty(), "processes {marked:?} are left");
    }

    pub async fn stop(&self, module: &Module) {
        self.house.stop(module.uid).await.unwrap();
    }
}

/// A launched module.
pub struct Module {
    pub uid: Uid,
    pub unit: String,
    terminate: Duration,
    pub launched: Launched,
}

impl Module {
    /// How it ended, once it has; then no process and no unit of it is left.
    pub async fn gone(&mut self, world: &World) -> End {
        let end = self.state(State::is_gone).await.end().unwrap();
        let left = alive(&self.uid.to_string());
        assert!(left.is_empty(), "{}: processes {left:?} are left", self.unit);
        assert!(!world.units().contains(&self.unit), "{} is left", self.unit);
        end
    }

    /// Stops it and answers how it ended: in time, to the last process.
    pub async fn stopped(&mut self, world: &World) -> End {
        let begun = Instant::now();
        world.stop(self).await;
        let end = self.gone(world).await;
        let took = begun.elapsed();
        let given = if end.reached == Reached::Kill { self.terminate } else { Duration::ZERO };
        assert!(took >= given, "{} had {took:?} of {given:?}", self.unit);
        assert!(took <= given + MARGIN, "{} took {took:?}, and was given {given:?}", self.unit);
        end
    }

    pub async fn exited(&mut self) -> Exit {
        self.state(|state| state.exit().is_some()).await.exit().unwrap()
    }

    async fn state(&mut self, is: impl FnMut(&State) -> bool) -> State {
        let state = tokio::time::timeout(PATIENCE, self.launched.state.wait_for(is)).await;
        *state.unwrap_or_else(|_| panic!("{} did not change in time", self.unit)).unwrap()
    }
}

pub fn ended(exit: Exit, reached: Reached) -> End {
    End { exit, reached, exceeded: None }
}

/// Polls until it is so.
pub async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every process, zombies excepted, with `mark` in its command line or environment, wherever it lives.
pub fn alive(mark: &str) -> Vec<u32> {
    let own = std::process::id();
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own && holds(*pid, mark.as_bytes())).collect()
}

fn holds(pid: u32, mark: &[u8]) -> bool {
    // A zombie has neither.
    ["cmdline", "environ"].iter().any(|file| {
        let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        text.windows(mark.len()).any(|window| window == mark)
    })
}

/// The path of a process's control group.
pub fn cgroup(pid: u32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

/// The directory of a process's control group.
pub fn cgroup_directory(pid: u32) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(cgroup(pid).trim_start_matches('/'))
}

/// How many processes are in a group.
pub fn population(directory: &Path) -> usize {
    std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default().lines().count()
}

/// The shim beside this program, where it was put for a test system, else where it was built.
pub fn shim() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let near = own.ancestors().skip(1).take(2).map(|folder| folder.join("shmooze-shim"));
    near.chain([PathBuf::from(env!("CARGO_BIN_EXE_shmooze-shim"))]).find(|path| path.exists()).expect("shmooze-shim")
}

/// What this process has open, and its children, by kind. Not what a runtime has for itself: other tests have theirs,
/// even while they wait for their turn.
pub type Held = BTreeMap<String, usize>;

/// What is held once nothing changes any more: what another test gave up may take a moment to be closed.
pub async fn held() -> Held {
    loop {
        let before = held_now();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if held_now() == before {
            return before;
        }
    }
}

/// Waits until no more is held than before.
pub async fn nothing_is_held_but(before: &Held) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut more = held_now();
        more.retain(|kind, count| *count > before.get(kind).copied().unwrap_or(0));
        if more.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{more:?} are held, and before: {before:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn held_now() -> Held {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let mut open: Vec<String> = open.map(|target| target.to_string_lossy().into_owned()).collect();
    open.retain(|target| !["anon_inode:[eventpoll]", "anon_inode:[eventfd]"].contains(&target.as_str()));
    open.sort();
    // All runtimes have the same socket for signals.
    open.dedup_by(|one, other| one == other && one.starts_with("socket:"));
    let mut held = Held::new();
    for target in open {
        let kind = if target.starts_with("anon_inode:") { &target } else { target.split(":[").next().unwrap() };
        *held.entry(kind.to_owned()).or_default() += 1;
    }
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let children = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    held.insert("child".to_owned(), children.map(|pids| pids.split_whitespace().count()).sum());
    // The directory that is being read.
    held.retain(|kind, _| !kind.ends_with("/fd"));
    held
}
