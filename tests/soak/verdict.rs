//! What is said at the end: what was lost, left, or has grown.

use super::gauges::{Gauge, NAMES, count_scopes, gauges, kept};
use super::within::try_run;

/// The last line begins so.
pub const LAST: &str = "verdict: ";
/// And ends so where all is well.
pub const GOOD: &str = "nothing was lost, nothing is left, nothing has grown";

/// How much more memory a process may have at the end of a calm time than at its beginning, and in the second half of the run than it
/// ever had in the first: a tenth, and this in KiB.
const MORE_MEMORY: u64 = 4 * 1024;
/// Descriptors that a process may have more at the end than at the beginning, both without any module: connections between daemons
/// that are kept for the next request, and children of the launcher that wait for the next module.
const MORE_DESCRIPTORS: usize = 3;

/// The machine without any module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    gauges: [Gauge; 5],
}

impl Idle {
    pub fn now() -> Self {
        Self { gauges: gauges() }
    }
}

impl std::fmt::Display for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = |(name, gauge): (&&str, &Gauge)| {
            format!("{name} {:.1} MiB, {} descriptors", gauge.memory as f64 / 1024.0, gauge.descriptors)
        };
        f.write_str(&NAMES.iter().zip(&self.gauges).map(one).collect::<Vec<_>>().join("; "))
    }
}

fn is_more(before: u64, after: u64) -> bool {
    after > before + before / 10 + MORE_MEMORY
}

/// Who holds more at the end than before.
pub fn grown(before: &Idle, after: &Idle) -> Vec<String> {
    let mut grown = Vec::new();
    for ((name, before), after) in NAMES.iter().zip(&before.gauges).zip(&after.gauges) {
        if after.descriptors > before.descriptors + MORE_DESCRIPTORS {
            grown.push(format!("{name} holds {} descriptors, where it held {}", after.descriptors, before.descriptors));
        }
    }
    grown
}

/// What has grown in processes that lived from the first to the last of these samples of a calm time.
pub fn grown_in_calm(samples: &[[Gauge; 5]]) -> Vec<String> {
    // Those of the first quarter are of processes that have just begun.
    let settled = &samples[samples.len() / 4..];
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return Vec::new() };
    let pairs = NAMES.iter().zip(first.iter().zip(last));
    pairs
        .filter(|(_, (first, last))| first.pid == last.pid && is_more(first.memory, last.memory))
        .map(|(name, (first, last))| format!("{name} had {} KiB, and {} at the end of a calm time", first.memory, last.memory))
        .collect()
}

/// Who had more memory in the second half than ever in the first, whichever process it was.
pub fn grown_in_all(samples: &[[Gauge; 5]]) -> Vec<String> {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |samples: &[[Gauge; 5]], which: usize| samples.iter().map(|sample| sample[which].memory).max().unwrap_or(0);
    let both = NAMES.iter().enumerate().map(|(which, name)| (name, most(first, which), most(second, which)));
    both.filter(|(_, first, second)| is_more(*first, *second))
        .map(|(name, first, second)| format!("{name} had {second} KiB in the second half, and {first} at most in the first"))
        .collect()
}

/// What is there without any module, and must not be.
pub fn left() -> Vec<String> {
    let mut left = Vec::new();
    if count_scopes() != 0 {
        left.push(format!("{} scopes are left", count_scopes()));
    }
    if kept() != [1, 1] {
        left.push(format!("the manager keeps {:?} descriptors for queue and pool, where it keeps a log for each", kept()));
    }
    for (what, words) in [
        ("processes of modules", ["pgrep", "-a", "-u", "shmooze-module"].as_slice()),
        ("zombies", &["pgrep", "-a", "-r", "Z"]),
        ("transient units", &["find", "/run/systemd/transient", "-name", "shmooze-*"]),
        ("control groups", &["find", "/sys/fs/cgroup", "-name", "shmooze-*.scope"]),
    ] {
        match try_run(words) {
            none if none.is_empty() => {}
            some => left.push(format!("{what} are left: {}", some.replace('\n', ", "))),
        }
    }
    left
}
