//! What a test that runs inside a machine asks of its service manager.

use std::process::Command;
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The main process of a service; 0 where there is none, or the manager does not answer.
pub fn pid_of(unit: &str) -> u32 {
    property(unit, "MainPID").parse().unwrap_or(0)
}

/// Resident memory of a process in KiB.
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// One property of a unit; empty where the manager does not answer.
pub fn property(unit: &str, name: &str) -> String {
    try_run(&["systemctl", "show", "--value", "-p", name, unit])
}

/// Names of the scopes that modules have, loaded in any state, in the order of their names.
pub fn scopes() -> Vec<String> {
    let listed = patiently(&["systemctl", "list-units", "--all", "--plain", "--no-legend", "shmooze-*.scope"]);
    let mut names: Vec<String> = listed.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect();
    names.sort();
    names
}

pub fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Asks again while the manager does not answer, as when it executes itself anew.
fn patiently(words: &[&str]) -> String {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap().trim().to_owned();
        }
        assert!(Instant::now() < give_up, "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What it prints, whatever its status.
pub fn try_run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits for what no event tells.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "{what}: never");
    }
}
