//! What spares cost while they wait.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::process::{cpu_time, wake_ups};
use crate::sides::{House, SPARES};
use crate::table::{Aim, Table};

/// How long nothing is done.
const REST: Duration = Duration::from_secs(10);

pub fn measure(table: &mut Table, runtime: &Handle) {
    let side = House::new(runtime.clone(), "parked", SPARES);
    let pids = shims();
    assert_eq!(pids.len(), SPARES);
    let each = |field: &str| pids.iter().map(|pid| memory(*pid, field)).sum::<u64>() as f64 / SPARES as f64;
    table.absolute("spare: resident memory", "KiB", Aim::None, each("Rss:"));
    table.absolute("spare: memory of its own", "KiB", Aim::None, each("Private_Clean:") + each("Private_Dirty:"));
    table.absolute("spare: its share of what is shared (PSS)", "KiB", Aim::None, each("Pss:"));
    let used = || pids.iter().map(|pid| cpu_time(*pid)).sum::<Duration>() + cpu_time(std::process::id());
    // Not of this process: this thread sleeps.
    let woken = || pids.iter().map(|pid| wake_ups(*pid)).sum::<u64>();
    let (cpu, wakes) = (used(), woken());
    std::thread::sleep(REST);
    table.absolute("spare: 16 and their house: CPU in 10 s", "µs", Aim::None, (used() - cpu).as_secs_f64() * 1e6);
    table.absolute("spare: 16: wake-ups in 10 s", "", Aim::AtMost(0.0), (woken() - wakes) as f64);
    drop(side);
}

/// The shims that wait in scopes; those that wait elsewhere are the same program, and as large.
fn shims() -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is = |pid: &u32, file: &str, text: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).is_ok_and(|content| content.contains(text))
    };
    pids.filter(|pid| is(pid, "comm", "shmooze-shim") && is(pid, "cgroup", ".scope")).collect()
}

fn memory(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}
