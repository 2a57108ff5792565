//! The run itself, in a booted machine.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::account::Account;
use super::asking::{POOL, QUEUE, Random, Tally, tally};
use super::background;
use super::faults::{SERVICES, strike};
use super::gauges::{Gauge, Journal, NAMES, count_scopes, gauges, kept, processor_time};
use super::verdict::{GOOD, Idle, LAST, grown, grown_in_all, grown_in_calm, left};
use super::within::{run as command, until};
use super::worker::{Left, WORKERS};

/// The longest time between two faults of a storm, in ms.
const LONGEST_PEACE: usize = 10_000;
/// Between two looks at what processes use.
const LOOK: Duration = Duration::from_secs(5);

/// What was wrong, as it was found.
static WRONG: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn wrong(sentence: String) {
    println!("WRONG: {sentence}");
    WRONG.lock().unwrap().push(sentence);
}

/// Runs for that long, and prints a row each minute and a verdict.
pub fn run(length: Duration, seed: u64, calm: bool) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| wrong(panic.to_string().replace('\n', " "))));
    command(&["systemctl", "start", "shmooze.target", "shmooze-gateway.service"]);
    warm_up();
    let before = Idle::now();
    println!("before: {before}\n");
    let mut journal = Journal::default();
    let left = storm_and_calm(length, seed, calm, &mut journal);
    let _ = catch_unwind(|| clear_up(&left));
    let after = Idle::now();
    println!("\nafter: {after}");
    grown(&before, &after).into_iter().for_each(wrong);
    journal.read();
    println!("\nwarnings in the journal:");
    print_counted(&journal.said);
    let wrong = WRONG.lock().unwrap().len();
    if wrong == 0 {
        println!("\n{LAST}{GOOD}");
        return ExitCode::SUCCESS;
    }
    println!("\n{LAST}{wrong} things were wrong, with --seed {seed}");
    ExitCode::FAILURE
}

/// The most frequent first.
fn print_counted(counted: &BTreeMap<String, usize>) {
    let mut counted: Vec<(&String, &usize)> = counted.iter().collect();
    counted.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    counted.iter().for_each(|(what, times)| println!("{times:6}  {what}"));
}

/// Each way has been gone once.
fn warm_up() {
    for worker in WORKERS {
        for kind in ["counts", "big", "stubborn", "forks"] {
            let service = worker.service;
            let uid = service.insist("add", &json!({"type": format!("{}-{kind}", worker.name)}))["uid"].clone();
            service.insist("rm", &json!({"uids": [uid]}));
        }
    }
    until("those of the beginning have ended", || left().is_empty());
    for account in Account::all() {
        std::fs::remove_file(Account::path(account.uid())).unwrap();
    }
}

/// The time of load; answers what modules are left.
fn storm_and_calm(length: Duration, seed: u64, always_calm: bool, journal: &mut Journal) -> Vec<Left> {
    let (over, faults, begun) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()), Instant::now());
    // Two sixths of the time are stormy, one is calm, and so again.
    let is_calm = |elapsed: Duration| {
        let sixth = (elapsed.as_secs_f64() * 6.0 / length.as_secs_f64()).min(5.0) as u32;
        always_calm || sixth % 3 == 2
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = WORKERS
            .iter()
            .zip(1..)
            .map(|(worker, number)| {
                let over = &over;
                scope.spawn(move || worker.work(seed.wrapping_mul(number) | 1, over))
            })
            .collect();
        scope.spawn(|| background::work(seed ^ 0x5555, &over));
        scope.spawn(|| {
            let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(random.below(LONGEST_PEACE) as u64));
                if over.load(Ordering::Relaxed) || is_calm(begun.elapsed()) {
                    continue;
                }
                if let Ok(fault) = catch_unwind(AssertUnwindSafe(|| strike(&mut random))) {
                    *faults.lock().unwrap().entry(fault).or_insert(0) += 1;
                }
            }
        });
        let mut table = Table::new(&faults);
        let (mut calm, mut all) = (Vec::new(), Vec::new());
        loop {
            std::thread::sleep(LOOK.min(length.saturating_sub(begun.elapsed())));
            let (elapsed, now) = (begun.elapsed(), gauges());
            all.push(now);
            if is_calm(elapsed) {
                calm.push(now);
            }
            if elapsed >= length || !is_calm(elapsed) {
                grown_in_calm(&std::mem::take(&mut calm)).into_iter().for_each(wrong);
            }
            if elapsed >= length || elapsed.as_secs() / 60 >= table.minutes {
                let weather = if is_calm(elapsed) { "calm" } else { "storm" };
                // Whatever it may not see: the run is to come to its end.
                let _ = catch_unwind(AssertUnwindSafe(|| table.row(elapsed, weather, &now, journal)));
            }
            if elapsed >= length {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        grown_in_all(&all).into_iter().for_each(wrong);
        println!("\nfaults:");
        print_counted(&faults.lock().unwrap());
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    })
}

struct Table<'a> {
    faults: &'a Mutex<BTreeMap<String, usize>>,
    /// The next row is printed when so many are over.
    minutes: u64,
    before: Tally,
    faults_before: usize,
    time: (Instant, u64),
}

impl<'a> Table<'a> {
    fn new(faults: &'a Mutex<BTreeMap<String, usize>>) -> Self {
        let head = [
            "minute", "weather", "faults", "requests", "add", "rm", "mv", "tell", "modules", "scopes", "kept", "CPU %",
            "warnings",
        ];
        let columns: Vec<&str> = head.iter().chain(&NAMES).chain(&["without a good answer"]).copied().collect();
        println!("| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
        Self { faults, minutes: 1, before: tally(), faults_before: 0, time: (Instant::now(), processor_time()) }
    }

    fn row(&mut self, elapsed: Duration, weather: &str, now: &[Gauge; 5], journal: &mut Journal) {
        let seen = tally();
        let faults = self.faults.lock().unwrap().values().sum::<usize>();
        let done = |name: &str| {
            let of = |tally: &Tally| tally.done.get(name).copied().unwrap_or(0);
            (of(&seen) - of(&self.before)).to_string()
        };
        let time = (Instant::now(), processor_time());
        let share = (time.1 - self.time.1) as f64 / (time.0 - self.time.0).as_micros() as f64 * 100.0;
        let modules = QUEUE.list().len() + POOL.list().len();
        let [queue, pool] = kept();
        let mut cells = vec![
            format!("{:.1}", elapsed.as_secs_f64() / 60.0),
            weather.to_owned(),
            (faults - self.faults_before).to_string(),
            (seen.requests - self.before.requests).to_string(),
            done("add"),
            done("rm"),
            done("mv"),
            done("tell_module"),
            modules.to_string(),
            count_scopes().to_string(),
            format!("{queue}+{pool}"),
            format!("{share:.0}"),
            journal.read().to_string(),
        ];
        cells.extend(now.iter().map(|gauge| format!("{:.1} MiB {}", gauge.memory as f64 / 1024.0, gauge.descriptors)));
        cells.push(difference(&self.before.errors, &seen.errors));
        println!("| {} |", cells.join(" | "));
        (self.before, self.faults_before, self.time) = (seen, faults, time);
        self.minutes = elapsed.as_secs() / 60 + 1;
    }
}

/// How often each was seen since.
fn difference(before: &BTreeMap<String, usize>, after: &BTreeMap<String, usize>) -> String {
    let since = after.iter().map(|(what, count)| (count - before.get(what).copied().unwrap_or(0), what));
    since.filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// What is there is what the workers know of; then all is removed, and nothing is left.
fn clear_up(left_by_workers: &[Left]) {
    for service in [QUEUE, POOL] {
        let known: Vec<&(String, String)> =
            left_by_workers.iter().filter(|left| left.service.name == service.name).flat_map(|left| &left.modules).collect();
        for listed in service.list() {
            assert!(known.contains(&&listed), "{listed:?} is there, and nobody has added it");
        }
        let background = if service.name == "queue" { service.insist("bg", &json!({})) } else { json!(null) };
        let uids: Vec<_> = known.iter().map(|(uid, _)| json!(uid)).chain(background.get("uid").cloned()).collect();
        service.insist("rm", &json!({"uids": uids}));
        let lives = service.insist("history", &json!({}));
        let mut ended = BTreeMap::new();
        lives.as_array().unwrap().iter().for_each(|life| *ended.entry(life["uid"].to_string()).or_insert(0) += 1);
        assert!(ended.values().all(|times| *times == 1), "a module has ended twice in the history of the {}", service.name);
    }
    let give_up = Instant::now() + Duration::from_secs(60);
    while !left().is_empty() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(200));
    }
    left().into_iter().for_each(wrong);
    Account::all().iter().for_each(Account::check);
    SERVICES.iter().for_each(|service| drop(command(&["systemctl", "is-active", service])));
}
