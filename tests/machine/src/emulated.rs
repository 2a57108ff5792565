//! A machine as a whole Debian, emulated by qemu.
//!
//! ```text
//!   roots/SUITE-emulated-HASH/disk.ext4            as built, never written
//!   └ roots/SUITE-booted-HASH/disk.qcow2 + state   as it was right after a boot, with all of its memory
//!     └ run/ID/disk.qcow2                          this machine's
//! ```
//!
//! An emulated processor boots in a quarter of a minute at best, so a machine does not start by booting but from the saved
//! state. From then on it is a machine like any: it reboots, and after a power cut it boots from its disk.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::backend::Backend;
use crate::cache::{self, Cached};
use crate::host::{guarded, spawn};
use crate::monitor::Monitor;
use crate::recorded_disk::RecordedDisk;
use crate::running::Process;
use crate::scratch::Scratch;
use crate::{Kind, Outcome, agent};

/// How long a boot may take; about 20 s where nothing else runs.
const BOOT: Duration = Duration::from_secs(600);

/// How long the network of a machine may need that goes on from a saved state.
const NETWORK: Duration = Duration::from_secs(60);

/// How often a boot may prove to be of no use.
const TRIES: u32 = 4;

/// What the agent writes to the console when it listens.
const READY: &str = "test-agent: ready";

/// The machine. A saved state fits no other, so this is part of its recipe.
const HARDWARE: &[&str] = &[
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "1024",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-device",
    "virtio-rng-pci",
];

/// Told to the kernel: the disk, a console, and nothing that an emulated processor would need long for.
const KERNEL: &str =
    "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off random.trust_cpu=on systemd.show_status=false";

pub(crate) struct Emulated {
    kind: Kind,
    root: Cached,
    booted: Cached,
    disk: PathBuf,
    console: PathBuf,
    running: Mutex<Option<Emulator>>,
}

impl Emulated {
    /// Makes one that is off.
    pub fn new(kind: Kind, scratch: &Scratch) -> Outcome<Self> {
        let root = cache::root(kind)?;
        let booted = booted(kind, &root.path)?;
        let disk = scratch.path.join("disk.qcow2");
        overlay(&booted.path.join("disk.qcow2"), "qcow2", &disk)?;
        Ok(Self { kind, root, booted, disk, console: scratch.console(), running: Mutex::default() })
    }

    /// Starts it where the saved state left off.
    pub fn resume(&self) -> Outcome<()> {
        let emulator = Emulator::resume(&self.root.path, &self.disk, &self.console, &self.booted.path.join("state"))?;
        *self.running() = Some(emulator);
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Option<Emulator>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Emulated {
    fn power_on(&self) -> Outcome<()> {
        let emulator = Emulator::start(&self.root.path, &self.disk, &self.console, &[])?;
        emulator.wait_ready().map_err(|sentence| format!("{} does not boot: {sentence}", self.kind))?;
        *self.running() = Some(emulator);
        Ok(())
    }

    fn start(&self, argv: &[String]) -> Outcome<Process> {
        let port = self.running().as_ref().map(|emulator| emulator.port);
        agent::start(port.ok_or_else(|| format!("{} is off", self.kind))?, argv)
    }

    fn wait_rebooted(&self) -> Outcome<()> {
        let running = self.running();
        let emulator = running.as_ref().ok_or_else(|| format!("{} is off", self.kind))?;
        emulator.wait_ready().map_err(|sentence| format!("{} does not boot again: {sentence}", self.kind))
    }

    fn wait_off(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            match self.running().as_mut().map(|emulator| emulator.child().try_wait()) {
                Some(Ok(None)) if Instant::now() < deadline => {}
                Some(Ok(None)) => return false,
                _ => return true,
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn cut_power(&self) {
        // Dropping it kills it.
        drop(self.running().take());
    }

    fn attach(&self, image: &Path) -> Outcome<RecordedDisk> {
        let trouble = |error: std::io::Error| format!("cannot make the disk {}: {error}", image.display());
        let beside = |extension: &str| image.with_extension(extension);
        let disk = RecordedDisk { image: image.to_owned(), original: beside("original"), log: beside("log") };
        std::fs::copy(image, &disk.original).map_err(trouble)?;
        File::create(&disk.log).map_err(trouble)?;
        let mut running = self.running();
        let emulator = running.as_mut().ok_or_else(|| format!("{} is off", self.kind))?;
        let file = |path: &Path| json!({"driver": "raw", "file": {"driver": "file", "filename": path}});
        let node = json!({
            "driver": "blklogwrites", "node-name": "recorded", "file": file(&disk.image), "log": file(&disk.log),
            "log-sector-size": 512});
        emulator.monitor.execute("blockdev-add", &node)?;
        let device = json!({"driver": "virtio-blk-pci", "drive": "recorded", "id": "recorded", "serial": "recorded"});
        emulator.monitor.execute("device_add", &device)?;
        Ok(disk)
    }

    fn patience(&self) -> u32 {
        10
    }
}

/// A running qemu. It is killed when dropped.
struct Emulator {
    child: Arc<Mutex<Child>>,
    monitor: Monitor,
    port: u16,
    /// One message for each time that the machine has come up.
    ready: mpsc::Receiver<()>,
}

impl Emulator {
    fn start(root: &Path, disk: &Path, console: &Path, more: &[&str]) -> Outcome<Self> {
        let trouble = |error: std::io::Error| format!("cannot start qemu: {error}");
        // Another process may take the port in between; then the next one will do.
        let mut attempt = 0;
        loop {
            attempt += 1;
            let port = free_port().map_err(trouble)?;
            let mut command = guarded("qemu-system-x86_64");
            command
                .args(HARDWARE)
                .args(["-append", KERNEL, "-kernel"])
                .arg(root.join("vmlinuz"))
                .arg("-initrd")
                .arg(root.join("initrd.img"))
                .arg("-drive")
                .arg(format!("file={},format=qcow2,if=virtio", disk.display()))
                .arg("-netdev")
                .arg(format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:4000"))
                .args(["-device", "virtio-net-pci,netdev=net,romfile="])
                .args(["-chardev", "stdio,id=qmp", "-mon", "chardev=qmp,mode=control", "-serial", "file:/dev/stderr"])
                .args(more)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = spawn(command).map_err(trouble)?;
            let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
                return Err("cannot start qemu: no pipes".into());
            };
            let log = OpenOptions::new().create(true).append(true).open(console).map_err(trouble)?;
            let (sender, ready) = mpsc::channel();
            let child = Arc::new(Mutex::new(child));
            let panicked = Arc::clone(&child);
            let reader = thread::spawn(move || copy_console(errors, log, &sender, &panicked));
            match Monitor::new(input, output) {
                Ok(monitor) => return Ok(Self { child, monitor, port, ready }),
                Err(sentence) => {
                    end(&child);
                    let last = reader.join().unwrap_or_default();
                    if attempt == 5 || !last.contains("host forwarding") {
                        return Err(format!("{sentence}: {last}"));
                    }
                }
            }
        }
    }

    /// Starts one where a saved state left off, and sets its clock, which stood still meanwhile.
    fn resume(root: &Path, disk: &Path, console: &Path, state: &Path) -> Outcome<Self> {
        let incoming = format!("exec:cat {}", state.display());
        let mut emulator = Self::start(root, disk, console, &["-incoming", &incoming])?;
        emulator.monitor.running()?;
        // Setting it twice does no harm, and the first connections may find a network that has not noticed yet that it goes on.
        let deadline = Instant::now() + NETWORK;
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let date = agent::start(emulator.port, &["date".into(), "--set".into(), format!("@{now:.3}")])?;
            match finish(&date, "date") {
                Ok(()) => return Ok(emulator),
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
                Err(sentence) => return Err(sentence),
            }
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        locked(&self.child)
    }

    fn wait_ready(&self) -> Outcome<()> {
        self.ready.recv_timeout(BOOT).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => "it takes too long".to_owned(),
            mpsc::RecvTimeoutError::Disconnected => "it has gone off".to_owned(),
        })
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        end(&self.child);
    }
}

fn locked(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(child: &Mutex<Child>) {
    let mut child = locked(child);
    let _ = child.kill();
    let _ = child.wait();
}

/// Writes the console to its file and tells when the machine has come up. Answers with the last line.
fn copy_console(errors: ChildStderr, mut log: File, ready: &mpsc::Sender<()>, emulator: &Mutex<Child>) -> String {
    let mut reader = BufReader::new(errors);
    let mut line = Vec::new();
    let mut last = String::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
        let _ = log.write_all(&line);
        last = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        if last.ends_with(READY) {
            let _ = ready.send(());
        }
        if last.contains("Kernel panic") {
            // The reason came before. It will not come up any more, and nobody shall wait for it.
            end(emulator);
            let _ = std::io::copy(&mut reader, &mut log);
            break;
        }
    }
    last
}

/// The state right after a boot, made if need be by booting.
fn booted(kind: Kind, root: &Path) -> Outcome<Cached> {
    let version = Command::new("qemu-system-x86_64").arg("--version").output();
    let version = version.map_err(|error| format!("cannot start qemu: {error}"))?.stdout;
    let hardware = HARDWARE.join(" ");
    // The path too: the disk of the saved state names the one that it is laid over.
    let recipe = [&*String::from_utf8_lossy(&version), &hardware, KERNEL, &root.to_string_lossy()].map(str::to_owned);
    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
    cache::cached(&format!("{}-booted", kind.suite().name()), &recipe, |partial| {
        for _ in 1..TRIES {
            match save(kind, root, partial) {
                Ok(()) => return Ok(()),
                Err(sentence) => eprintln!("{sentence}; once more"),
            }
            std::fs::remove_dir_all(partial).map_err(|error| format!("cannot remove {}: {error}", partial.display()))?;
        }
        save(kind, root, partial)
    })
}

/// Boots one and saves its state, which must prove to be of use: now and then a kernel panics as soon as it goes on.
fn save(kind: Kind, root: &Path, partial: &Path) -> Outcome<()> {
    std::fs::create_dir_all(partial).map_err(|error| format!("cannot make {}: {error}", partial.display()))?;
    let disk = partial.join("disk.qcow2");
    overlay(&root.join("disk.ext4"), "raw", &disk)?;
    let mut emulator = Emulator::start(root, &disk, &partial.join("console.txt"), &[])?;
    emulator.wait_ready().map_err(|sentence| format!("{kind} does not boot: {sentence}"))?;
    for settled in ["systemctl is-system-running --wait", "udevadm settle"] {
        let argv: Vec<String> = settled.split(' ').map(str::to_owned).collect();
        finish(&agent::start(emulator.port, &argv)?, settled)?;
    }
    // The end of a state is told by an event, if one asks for it.
    let events = json!({"capabilities": [{"capability": "events", "state": true}]});
    emulator.monitor.execute("migrate-set-capabilities", &events)?;
    let state = partial.join("state");
    emulator.monitor.execute("migrate", &json!({"uri": format!("exec:cat >{}", state.display())}))?;
    emulator.monitor.event("STOP")?;
    loop {
        let migration = emulator.monitor.execute("query-migrate", &json!({}))?;
        match migration.get("status").and_then(|status| status.as_str()) {
            Some("completed") => break,
            Some("failed" | "cancelled") => return Err(format!("the state of {kind} cannot be saved: {migration}")),
            _ => emulator.monitor.event("MIGRATION")?,
        }
    }
    emulator.monitor.execute("quit", &json!({}))?;
    let _ = emulator.child().wait();
    let tried = partial.join("tried.qcow2");
    overlay(&disk, "qcow2", &tried)?;
    Emulator::resume(root, &tried, &partial.join("console.txt"), &state)
        .map_err(|sentence| format!("{kind} cannot go on from its saved state: {sentence}"))?;
    std::fs::remove_file(&tried).map_err(|error| format!("cannot remove {}: {error}", tried.display()))
}

/// A disk that is another one until it is written to.
fn overlay(base: &Path, format: &str, disk: &Path) -> Outcome<()> {
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .args([base, disk])
        .output()
        .map_err(|error| format!("cannot start qemu-img: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("cannot make the disk {}: {}", disk.display(), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Waits for the end of a command that must succeed.
fn finish(process: &Process, what: &str) -> Outcome<()> {
    match process.exit.recv_timeout(BOOT) {
        Ok(0) => Ok(()),
        Ok(status) => Err(format!("{what} fails in the emulated machine with status {status}")),
        Err(_) => Err(format!("{what} does not end in the emulated machine")),
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
