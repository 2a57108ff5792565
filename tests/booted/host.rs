//! What a machine leaves on the host: nothing, however it ends.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use shmooze_test_machine::{Kind, Machine, Suite};

/// Set for the process that boots a machine and waits to be killed.
const VICTIM: &str = "SHMOOZE_TEST_VICTIM";

/// Processes of the host whose command line has that word.
fn processes(word: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(word)).collect()
}

/// Cgroups of the host for machines of that process.
fn cgroups(owner: u32) -> Vec<String> {
    let trees = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
    let entries = trees.iter().filter_map(|tree| fs::read_dir(tree).ok()).flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("shmooze-test-{owner}-"))).collect()
}

/// Waits until that holds.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn power_off_leaves_nothing() {
    if env::var_os(VICTIM).is_some() {
        wait_to_be_killed();
    }
    for (how, end) in [("power-off", Machine::power_off as fn(&Machine)), ("power cut", Machine::cut_power), ("drop", |_| ())] {
        let machine = Machine::boot(Kind::Container(Suite::Bookworm));
        let mark = format!("sleep 4{}.5", process::id());
        let running = machine.command(&["bash", "-c", &mark]).spawn();
        eventually("it never ran", || !processes(&mark).is_empty());
        let run = machine.folder().to_owned();
        assert!(!processes(run.to_str().unwrap()).is_empty());
        end(&machine);
        drop(running);
        drop(machine);
        // The processes inside die by the kernel's hand, in its own time.
        eventually(how, || processes(&mark).is_empty());
        assert_eq!(processes(run.to_str().unwrap()), [""; 0], "after {how}");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains("shmooze-test") && !mounts.contains(run.to_str().unwrap()), "after {how}: {mounts}");
        let id = run.file_name().unwrap().to_str().unwrap();
        assert!(!cgroups(process::id()).contains(&format!("shmooze-test-{id}")), "after {how}");
        assert!(!run.exists(), "after {how}");
    }
}

/// Runs in a process of its own: boots a machine, says where, and never ends.
fn wait_to_be_killed() -> ! {
    let machine = Machine::boot(Kind::Container(Suite::Bookworm));
    let _running = machine.command(&["sleep", &format!("5{}.5", process::id())]).spawn();
    println!("\nvictim: {}", machine.folder().display());
    loop {
        thread::park();
    }
}

/// A process that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another process of this program that has booted a machine in which a command runs.
struct Victim {
    process: Killed,
    folder: String,
    mark: String,
}

impl Victim {
    fn boot() -> Self {
        // Whoever starts the tests in the background of a script has them ignore SIGINT.
        let victim = Command::new("env")
            .arg("--default-signal=INT,TERM")
            .arg(env::current_exe().unwrap())
            .args(["--exact", "host/power-off leaves nothing", "--nocapture"])
            .env(VICTIM, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Killed(victim);
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let folder = lines.find_map(|line| line.strip_prefix("victim: ").map(str::to_owned)).unwrap();
        let mark = format!("sleep 5{}.5", process.0.id());
        let victim = Self { process, folder, mark };
        // The keeper of its mounts, systemd-nspawn and the warden; and the command inside.
        eventually("it never ran", || processes(&victim.folder).len() >= 3 && !processes(&victim.mark).is_empty());
        victim
    }

    fn send(&mut self, signal: &str) {
        signal_to(signal, &self.process.0.id().to_string());
        self.process.0.wait().unwrap();
    }
}

fn signal_to(signal: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success());
}

pub fn killed_test_leaves_nothing() {
    for signal in ["INT", "TERM", "KILL"] {
        let mut victim = Victim::boot();
        victim.send(signal);
        eventually(&format!("something is left after SIG{signal}"), || {
            processes(&victim.folder).is_empty() && processes(&victim.mark).is_empty() && !Path::new(&victim.folder).exists()
        });
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&victim.folder), "{mounts}");
        assert_eq!(cgroups(victim.process.0.id()), [""; 0]);
    }
}

pub fn next_start_clears_up() {
    let mut victim = Victim::boot();
    let warden = Command::new("pgrep").args(["--full", &format!("warden {}", victim.folder)]).output().unwrap();
    signal_to("KILL", String::from_utf8_lossy(&warden.stdout).trim());
    victim.send("KILL");
    // The first process of the container is nobody's child now, and goes on.
    eventually("systemd-nspawn lives on", || processes(&victim.folder).is_empty());
    assert!(!processes(&victim.mark).is_empty());
    let next = Command::new(env::current_exe().unwrap())
        .args(["--exact", "bookworm-container/boots in seconds"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(next.success());
    eventually("something is left", || processes(&victim.mark).is_empty() && !Path::new(&victim.folder).exists());
    assert_eq!(cgroups(victim.process.0.id()), [""; 0]);
}
