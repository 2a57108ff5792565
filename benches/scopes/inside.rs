//! All sides in turns, inside a machine.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::parked;
use crate::process::raise_open_files;
use crate::sides::{AT_ONCE, Bare, House, Pool, SPARES, Side, SystemdRun, Transient};
use crate::table::{Aim, Table, median};

/// Modules started after a pause each in a round.
const PAUSES: usize = 4;
/// Times that [`AT_ONCE`] modules are started at once in a round.
const BATCHES: usize = 2;
/// How long nothing is done between starts, or several of them: by then the kernel has forgotten that processes were moved
/// between control groups, and the next move waits for each processor to have slept or switched (a grace period of RCU).
const QUIET: Duration = Duration::from_millis(30);
/// Scopes that are alive in the last rows.
const CROWD: usize = 1000;

/// The sides, in the order in which they take turns.
const BARE: usize = 0;
const TRANSIENT: usize = 1;
const SYSTEMD_RUN: usize = 2;
const HOUSE: usize = 3;
const READY_HOUSE: usize = 4;
const POOL: usize = 5;
const READY_POOL: usize = 6;

/// Each row: its name, ours, what it is compared with, and what the ratio should be.
const ROWS: [(&str, usize, usize, Aim); 13] = [
    ("launch / systemd-run", HOUSE, SYSTEMD_RUN, Aim::AtMost(0.45)),
    ("launch / StartTransientUnit", HOUSE, TRANSIENT, Aim::None),
    ("launch / bare", HOUSE, BARE, Aim::None),
    ("launch, spare / systemd-run", READY_HOUSE, SYSTEMD_RUN, Aim::None),
    ("launch, spare / StartTransientUnit", READY_HOUSE, TRANSIENT, Aim::None),
    ("launch, spare / bare", READY_HOUSE, BARE, Aim::AtMost(2.0)),
    ("add / systemd-run", POOL, SYSTEMD_RUN, Aim::AtMost(0.45)),
    ("add / StartTransientUnit", POOL, TRANSIENT, Aim::None),
    ("add / bare", POOL, BARE, Aim::None),
    ("add, spare / systemd-run", READY_POOL, SYSTEMD_RUN, Aim::None),
    ("add, spare / StartTransientUnit", READY_POOL, TRANSIENT, Aim::None),
    ("add, spare / bare", READY_POOL, BARE, Aim::AtMost(2.0)),
    ("systemd-run / bare", SYSTEMD_RUN, BARE, Aim::None),
];

pub fn measure(filters: Vec<String>, rounds: usize) {
    raise_open_files();
    // One thread, as the daemons have.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    let mut table = Table::new(filters, rounds, Duration::ZERO);
    if table.wants_some_of("spare: ") {
        parked::measure(&mut table, &handle);
    }
    let ready_house = House::new(handle.clone(), "ready-house", SPARES);
    let house = House::new(handle.clone(), "house", 0);
    let sides: [Box<dyn Side>; 7] = [
        Box::new(Bare::new()),
        Box::new(Transient::new(handle.clone())),
        Box::new(SystemdRun::new()),
        Box::new(house),
        Box::new(ready_house),
        Box::new(Pool::new("pool", 0)),
        Box::new(Pool::new("ready", SPARES)),
    ];
    rows(&mut table, "", &sides, one_by_one);
    rows(&mut table, "8 at once: ", &sides, at_once);
    rows(&mut table, "after a pause: ", &sides, after_a_pause);
    if table.wants_some_of("1,000 alive: ") {
        let crowd = House::new(handle, "crowd", 0);
        let end = crowd.crowd(CROWD);
        rows(&mut table, "1,000 alive: ", &sides, one_by_one);
        end();
    }
    table.end();
}

/// Whether a row is asked for.
fn is_wanted(table: &Table, label: &str) -> bool {
    ROWS.iter().any(|(name, ..)| table.wants(&format!("{label}{name}")))
}

fn rows(table: &mut Table, label: &str, sides: &[Box<dyn Side>; 7], measure: fn(&dyn Side) -> f64) {
    if !is_wanted(table, label) {
        return;
    }
    // The first round does not count.
    let rounds: Vec<Vec<f64>> =
        (0..=table.rounds).map(|_| sides.iter().map(|side| measure(side.as_ref())).collect()).skip(1).collect();
    for (name, ours, theirs, aim) in ROWS {
        let pairs: Vec<(f64, f64)> = rounds.iter().map(|round| (round[ours], round[theirs])).collect();
        table.ratio(&format!("{label}{name}"), "ms", aim, &pairs);
    }
}

/// Waits until nothing of the last start is under way any more.
fn rest(side: &dyn Side) {
    side.settle();
    std::thread::sleep(QUIET);
    side.settle();
}

/// Milliseconds that one of several takes that are started one after the other.
fn one_by_one(side: &dyn Side) -> f64 {
    (0..AT_ONCE).for_each(|slot| side.prepare(slot));
    let start = |slot| {
        let begun = Instant::now();
        let end = side.start(slot);
        (begun.elapsed().as_secs_f64() * 1e3, end)
    };
    let (took, ends): (Vec<_>, Vec<_>) = (0..AT_ONCE).map(start).unzip();
    ends.into_iter().for_each(|end| end());
    rest(side);
    median(took.into_iter())
}

/// Milliseconds that one takes after a while in which nothing was started.
fn after_a_pause(side: &dyn Side) -> f64 {
    let one = |_| {
        side.prepare(0);
        let begun = Instant::now();
        let end = side.start(0);
        let took = begun.elapsed();
        end();
        rest(side);
        took.as_secs_f64() * 1e3
    };
    median((0..PAUSES).map(one).collect::<Vec<_>>().into_iter())
}

/// Milliseconds until all that were started at once have answered.
fn at_once(side: &dyn Side) -> f64 {
    let batch = |_| {
        (0..AT_ONCE).for_each(|slot| side.prepare(slot));
        let barrier = Barrier::new(AT_ONCE + 1);
        let (took, ends) = std::thread::scope(|scope| {
            let start = |slot| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let end = side.start(slot);
                    (Instant::now(), end)
                })
            };
            let threads: Vec<_> = (0..AT_ONCE).map(start).collect();
            barrier.wait();
            let begun = Instant::now();
            let started: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            let last = started.iter().map(|(at, _)| *at).max().unwrap();
            (last.saturating_duration_since(begun), started.into_iter().map(|(_, end)| end).collect::<Vec<_>>())
        });
        ends.into_iter().for_each(|end| end());
        rest(side);
        took.as_secs_f64() * 1e3
    };
    median((0..BATCHES).map(batch).collect::<Vec<_>>().into_iter())
}
