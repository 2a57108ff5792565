//! A pool of many modules, each in a scope of its own, and what becomes of them when their broker is killed and when it is stopped.
//!
//! `SHMOOZE_MODULES` says how many (250 by default, more than one slice takes; 9,000 are the promise of docs/reliability.md).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;

use super::asking::POOL;
use super::within::{pid_of, resident_kib, run, scopes, until};

/// Where the host says how many.
pub const PLAN: &str = "/etc/shmooze-test-modules";
const MODULES: usize = 250;
/// What they are compared with.
const FEW: usize = 100;
/// Clients that add at once.
const CLIENTS: usize = 8;
/// Adds that are timed.
const A_ROUND: usize = 30;
/// Scopes of one slice.
const SLICE: usize = 200;
const PROGRAMS: [&str; 2] = ["shmooze-pool", "shmooze-launcher"];

/// All of it, and a line of figures for each step.
pub fn live_in_scopes() {
    let modules = std::fs::read_to_string(PLAN).ok().and_then(|plan| plan.trim().parse().ok()).unwrap_or(MODULES);
    println!("SHMOOZE_MODULES={modules}");
    run(&["systemctl", "start", "shmooze-pool.socket"]);
    fill(FEW);
    report("with few");
    fill(modules);
    report("with all");

    let before = processes();
    assert_eq!(before.len(), modules);
    let (mut slices, mut names) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    for pid in before.values() {
        let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let (slice, scope) = group.trim().rsplit_once('/').unwrap();
        *slices.entry(slice.to_owned()).or_default() += 1;
        names.insert(scope.to_owned());
    }
    assert_eq!(names, scopes().into_iter().collect(), "each has a scope of its own");
    assert!(slices.len() >= modules.div_ceil(SLICE), "{slices:?}");
    assert!(slices.values().all(|scopes| *scopes <= SLICE), "{slices:?}");
    each_answers();

    let broker = pid_of("shmooze-pool");
    let begun = Instant::now();
    run(&["systemctl", "kill", "--signal=KILL", "shmooze-pool.service"]);
    until("there is another broker", || !matches!(pid_of("shmooze-pool"), pid if pid == 0 || pid == broker));
    assert_eq!(processes(), before, "the same modules are there, in the same processes");
    println!("killed, they were all there again after {:.1} s", begun.elapsed().as_secs_f64());
    each_answers();
    report("adopted");

    let begun = Instant::now();
    run(&["systemctl", "stop", "shmooze-pool.socket", "shmooze-pool.service"]);
    println!("stopped within {:.1} s", begun.elapsed().as_secs_f64());
    until("no scope is left", || scopes().is_empty());
    let alive: Vec<i64> = before.values().copied().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(alive.is_empty(), "processes that are left: {alive:?}");
}

/// Adds until there are so many.
fn fill(modules: usize) {
    let begun = Instant::now();
    let missing = modules - POOL.list().len();
    let added = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while added.fetch_add(1, Ordering::Relaxed) < missing {
                    drop(add());
                }
            });
        }
    });
    println!("{missing} added within {:.1} s", begun.elapsed().as_secs_f64());
}

fn add() -> String {
    POOL.ask("add", &json!({"type": "tiny"})).unwrap()["uid"].as_str().unwrap().to_owned()
}

/// List, ask and tell answer for every one.
fn each_answers() {
    for (uid, _) in POOL.list() {
        assert_eq!(POOL.insist("ask_module", &json!({"uid": uid, "parameters": []})), json!({}));
        POOL.insist("tell_module", &json!({"uid": uid, "cmd": "ping"}));
    }
}

/// Uid and process of each.
fn processes() -> BTreeMap<String, i64> {
    let status = POOL.insist("status", &json!({}));
    let modules = status["pool"].as_array().unwrap();
    modules.iter().map(|item| (item["uid"].as_str().unwrap().to_owned(), item["pid"].as_i64().unwrap())).collect()
}

/// What one more costs now, and what the programs hold.
fn report(when: &str) {
    let programs = PROGRAMS.map(|unit| (unit, pid_of(unit)));
    let programs = programs.iter().chain(&[("PID 1", 1)]);
    let before: Vec<f64> = programs.clone().map(|(_, pid)| cpu_ms(*pid)).collect();
    let (mut took, mut uids) = (Vec::new(), BTreeSet::new());
    for _ in 0..A_ROUND {
        let begun = Instant::now();
        uids.insert(add());
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    println!("{when}: {} modules, add {:.1} ms (median of {A_ROUND})", POOL.list().len(), took[A_ROUND / 2].as_secs_f64() * 1e3);
    for ((name, pid), before) in programs.zip(before) {
        let memory = resident_kib(*pid).unwrap() as f64 / 1024.0;
        println!("    {name}: {:.2} ms of CPU for each, {memory:.1} MiB", (cpu_ms(*pid) - before) / A_ROUND as f64);
    }
    POOL.insist("rm", &json!({"uids": uids}));
    until("they have ended", || {
        let history = POOL.insist("history", &json!({"limit": A_ROUND}));
        let ended: BTreeSet<_> =
            history.as_array().unwrap().iter().map(|life| life["uid"].as_str().unwrap().to_owned()).collect();
        ended == uids
    });
}

/// The processor time of all threads of a process so far.
fn cpu_ms(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        let told = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        told.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(0.0)
    };
    threads.map(of_thread).sum::<f64>() / 1e6
}
