//! What daemons and the service manager use, and what the journal says.

use std::collections::BTreeMap;

use super::faults::SERVICES;
use super::within::{property, resident_kib, scopes, try_run};

/// Names of what is measured, in the order of the columns.
pub const NAMES: [&str; 5] = ["queue", "pool", "launcher", "gateway", "PID 1"];

/// One process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauge {
    pub pid: u32,
    /// Resident, in KiB.
    pub memory: u64,
    pub descriptors: usize,
}

impl Gauge {
    fn of(pid: u32) -> Self {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self { pid, memory: resident_kib(pid).unwrap_or(0), descriptors }
    }
}

/// All of them, at one moment.
pub fn gauges() -> [Gauge; 5] {
    let pids = try_run(&[["systemctl", "show", "--value", "-p", "MainPID"].as_slice(), SERVICES.as_slice()].concat());
    let mut pids = pids.lines().filter(|line| !line.is_empty()).map(|line| line.parse().unwrap_or(0)).chain([0; 4]);
    let mut of_next = || Gauge::of(pids.next().unwrap_or(0));
    let [queue, pool, launcher, gateway] = [(); 4].map(|()| of_next());
    [queue, pool, launcher, gateway, Gauge::of(1)]
}

/// How many descriptors the manager keeps for the brokers.
pub fn kept() -> [usize; 2] {
    ["shmooze-queue", "shmooze-pool"].map(|service| property(service, "NFileDescriptorStore").parse().unwrap_or(0))
}

/// How many scopes modules have.
pub fn count_scopes() -> usize {
    scopes().len()
}

/// The time of processors that the whole machine has used so far, this program included, in µs.
pub fn processor_time() -> u64 {
    let statistics = std::fs::read_to_string("/sys/fs/cgroup/cpu.stat").unwrap_or_default();
    statistics.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok()).unwrap_or(0)
}

/// Reads on where it was, in what the journal has of warnings.
#[derive(Default)]
pub struct Journal {
    /// How often each was said, without what differs from one to the next.
    pub said: BTreeMap<String, usize>,
}

const CURSOR: &str = "/run/soak-cursor";

impl Journal {
    /// How many warnings, and worse, our units have given rise to since the last time.
    pub fn read(&mut self) -> usize {
        let argv =
            ["journalctl", "--no-pager", "--quiet", "--cursor-file", CURSOR, "-p", "warning", "-o", "cat", "-u", "shmooze-*"];
        let text = try_run(&argv);
        text.lines().for_each(|line| *self.said.entry(without_particulars(line)).or_default() += 1);
        text.lines().count()
    }
}

/// Each word that holds a digit is a number, an identifier or an address.
fn without_particulars(line: &str) -> String {
    let words = line.split(' ').map(|word| if word.contains(|letter: char| letter.is_ascii_digit()) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
