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

pub fn killed_test_leaves_nothing() {
    for signal in ["INT", "TERM", "KILL"] {
        let victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", "host/power-off leaves nothing", "--nocapture"])
            .env(VICTIM, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut victim = Killed(victim);
        let mut lines = BufReader::new(victim.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let folder = lines.find_map(|line| line.strip_prefix("victim: ").map(str::to_owned)).unwrap();
        // Both the processes that make up the machine and the one inside it.
        let mark = format!("sleep 5{}.5", victim.0.id());
        eventually("it never ran", || processes(&folder).len() >= 2 && !processes(&mark).is_empty());
        Command::new("kill").args(["-s", signal, &victim.0.id().to_string()]).status().unwrap();
        victim.0.wait().unwrap();
        eventually(&format!("processes are left after SIG{signal}"), || {
            processes(&folder).is_empty() && processes(&mark).is_empty()
        });
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&folder), "{mounts}");
        eventually(&format!("{folder} is left after SIG{signal}"), || !Path::new(&folder).exists());
        assert_eq!(cgroups(victim.0.id()), [""; 0]);
    }
}
