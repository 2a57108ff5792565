//! What is compared: each side starts one module in a way of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;
use shmooze::protocol::Uid;
use shmooze::scope::{Launched, Program, Scopes as _, Spec, State, Systemd};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::bus::Bus;
use crate::slot::{Slot, Streams};
use crate::world::{Client, Daemon, free_port, programs};

/// Modules that are started at once at most.
pub const AT_ONCE: usize = 8;
/// Spares where there are any.
pub const SPARES: usize = 16;

/// Ends what was started, and waits until nothing is left of it.
pub type End<'a> = Box<dyn FnOnce() + Send + 'a>;

pub trait Side: Sync {
    /// Starts a module in a slot that is free, until it has answered.
    fn start(&self, slot: usize) -> End<'_>;

    /// Whatever is done before anything is measured.
    fn prepare(&self, _slot: usize) {}

    /// Waits until the next start finds all as the first did.
    fn settle(&self) {}
}

fn slots() -> Vec<Slot> {
    (0..AT_ONCE).map(|_| Slot::new()).collect()
}

/// The control group of a process.
fn group(pid: u32) -> PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    Path::new("/sys/fs/cgroup").join(path)
}

fn until(mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < deadline, "it never was so");
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Fork and exec, and nothing else.
pub struct Bare(Vec<Slot>);

impl Bare {
    pub fn new() -> Self {
        Self(slots())
    }
}

impl Side for Bare {
    fn start(&self, slot: usize) -> End<'_> {
        let words = self.0[slot].module();
        let mut child = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).spawn().unwrap();
        let streams = self.0[slot].greet();
        Box::new(move || {
            streams.end();
            child.wait().unwrap();
        })
    }
}

/// What people would write without this project.
pub struct SystemdRun(Vec<Slot>);

impl SystemdRun {
    pub fn new() -> Self {
        Self(slots())
    }
}

impl Side for SystemdRun {
    fn start(&self, slot: usize) -> End<'_> {
        let words = self.0[slot].module();
        let mut command = Command::new("systemd-run");
        command.args(["--scope", "--quiet", "--collect", "--"]).args(words);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let streams = self.0[slot].greet();
        Box::new(move || {
            // It has become the module.
            let group = group(child.id());
            streams.end();
            child.wait().unwrap();
            until(|| !group.exists());
        })
    }
}

/// The manager's part alone, around a process that is there already.
pub struct Transient {
    bus: Bus,
    children: Vec<Mutex<Option<Child>>>,
}

impl Transient {
    pub fn new(runtime: Handle) -> Self {
        let children = (0..AT_ONCE).map(|_| Mutex::default()).collect();
        Self { bus: Bus::connect(runtime), children }
    }
}

impl Side for Transient {
    fn prepare(&self, slot: usize) {
        let child = Command::new("sleep").arg("infinity").stdin(Stdio::null()).spawn().unwrap();
        *self.children[slot].lock().unwrap() = Some(child);
    }

    fn start(&self, slot: usize) -> End<'_> {
        let mut child = self.children[slot].lock().unwrap().take().unwrap();
        self.bus.start_scope(&format!("bench-{}.scope", Uid::new()), child.id());
        Box::new(move || {
            let group = group(child.id());
            child.kill().unwrap();
            child.wait().unwrap();
            until(|| !group.exists());
        })
    }
}

/// The house of systemd by itself.
pub struct House {
    pub house: Systemd,
    runtime: Handle,
    service: &'static str,
    spares: usize,
    slots: Vec<Slot>,
}

impl House {
    /// With its spares made, and after as many launches as there will be at once.
    pub fn new(runtime: Handle, service: &'static str, spares: usize) -> Self {
        let house = {
            let _inside = runtime.enter();
            Systemd::system(programs().join("shmooze-shim"))
        };
        let side = Self { house, runtime, service, spares, slots: slots() };
        let ends: Vec<_> = (0..AT_ONCE).map(|slot| side.start(slot)).collect();
        ends.into_iter().for_each(|end| end());
        side.settle();
        side
    }

    fn spec(&self, command: Vec<String>) -> Spec {
        Spec {
            uid: Uid::new(),
            service: self.service.to_owned(),
            type_name: "tiny".to_owned(),
            is_app: false,
            program: Program { command, ..Program::default() },
            terminate: Duration::from_secs(5),
            limits: Vec::new(),
            part_of: None,
            spares: self.spares,
        }
    }

    /// Fills the house with so many modules that do nothing; answers what ends them.
    pub fn crowd(&self, modules: usize) -> impl FnOnce() + use<'_> {
        let launch = async {
            let mut launches = tokio::task::JoinSet::new();
            for _ in 0..modules {
                let spec = Spec { spares: 0, ..self.spec(vec!["/bin/sleep".to_owned(), "infinity".to_owned()]) };
                let house = self.house.clone();
                launches.spawn_on(async move { (spec.uid, house.launch(spec).await.unwrap()) }, &self.runtime);
            }
            launches.join_all().await
        };
        let launched = self.runtime.block_on(launch);
        move || {
            self.runtime.block_on(async {
                for (uid, _) in &launched {
                    self.house.stop(*uid).await.unwrap();
                }
                for (_, mut it) in launched {
                    it.state.wait_for(State::is_gone).await.unwrap();
                }
            });
        }
    }
}

impl House {
    fn launch(&self, slot: usize) -> (Streams, Launched) {
        let spec = self.spec(self.slots[slot].module());
        let launched = self.runtime.block_on(self.house.launch(spec)).unwrap();
        (self.slots[slot].greet(), launched)
    }

    fn end(&self, (streams, mut launched): (Streams, Launched)) {
        streams.end();
        self.runtime.block_on(launched.state.wait_for(State::is_gone)).unwrap();
    }
}

impl Side for House {
    fn start(&self, slot: usize) -> End<'_> {
        let module = self.launch(slot);
        Box::new(move || self.end(module))
    }

    fn settle(&self) {
        until(|| self.house.spares() == self.spares);
    }
}

/// A house of which more is asked than it was prepared for: all shims that waited were taken a moment ago.
pub struct Tired {
    house: House,
    before: Mutex<Vec<(Streams, Launched)>>,
}

impl Tired {
    pub fn new(runtime: Handle, service: &'static str) -> Self {
        Self { house: House::new(runtime, service, 0), before: Mutex::default() }
    }
}

impl Side for Tired {
    fn prepare(&self, slot: usize) {
        // The first prepares for all.
        let mut before = self.before.lock().unwrap();
        while slot == 0 && self.house.house.warm() > 0 {
            before.push(self.house.launch(slot));
        }
    }

    fn start(&self, slot: usize) -> End<'_> {
        let end = self.house.start(slot);
        Box::new(move || {
            end();
            std::mem::take(&mut *self.before.lock().unwrap()).into_iter().for_each(|module| self.house.end(module));
        })
    }
}

/// A whole pool: `add`, until it is answered.
pub struct Pool {
    _folder: TempDir,
    daemon: Mutex<Daemon>,
    clients: Vec<Mutex<Client>>,
    service: &'static str,
    spares: usize,
}

impl Pool {
    /// As [`House::new`].
    pub fn new(service: &'static str, spares: usize) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let timeouts = json!({"connect": 60_000, "command": 60_000});
        let tiny = json!({"process": [crate::world::tiny()], "timeouts": timeouts, "spare_scopes": spares});
        let mut settings = json!({"ports": {}, "services": {}});
        settings["ports"][service] = json!(port);
        settings["services"][service] = json!({"kind": "pool", "modules": {"tiny": tiny}});
        let file = folder.path().join("settings.json");
        std::fs::write(&file, settings.to_string()).unwrap();
        let daemon = Mutex::new(Daemon::start("shmooze-pool", &file));
        let clients = (0..AT_ONCE).map(|_| Mutex::new(Client::connect(port))).collect();
        let side = Self { _folder: folder, daemon, clients, service, spares };
        let ends: Vec<_> = (0..AT_ONCE).map(|slot| side.start(slot)).collect();
        ends.into_iter().for_each(|end| end());
        side.settle();
        side
    }

    /// The control groups of its scopes, of modules and spares alike.
    fn groups(&self) -> usize {
        let slice = format!("/sys/fs/cgroup/shmooze.slice/shmooze-{}.slice", self.service);
        let Ok(entries) = std::fs::read_dir(slice) else { return 0 };
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".scope"))).count()
    }
}

impl Side for Pool {
    fn start(&self, slot: usize) -> End<'_> {
        let uid = self.clients[slot].lock().unwrap().add("tiny");
        Box::new(move || {
            self.clients[slot].lock().unwrap().ask(&format!(r#"{{"cmd": "rm", "args": {{"uids": ["{uid}"]}}}}"#));
        })
    }

    fn settle(&self) {
        // Modules go and spares come.
        until(|| self.groups() == self.spares);
        let _alive = self.daemon.lock().unwrap();
    }
}
