//! All sides in turns, inside a machine.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::parked;
use crate::process::raise_open_files;
use crate::sides::{AT_ONCE, Bare, House, Pool, SPARES, Side, SystemdRun, Tired, Transient};
use crate::table::{Aim, Table, median};

/// Modules started after a pause each in a round.
const PAUSES: usize = 4;
/// Times that [`AT_ONCE`] modules are started at once in a round.
const BATCHES: usize = 2;
/// How long nothing is done between starts, or several of them. By then a house has its shims again, and the kernel has forgotten
/// that processes were moved between control groups: the next move waits for each processor to have slept or switched (a grace
/// period of RCU).
const QUIET: Duration = Duration::from_millis(250);
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
/// Only where modules are started one after the other: those before them are what tires it.
const TIRED_HOUSE: usize = 7;
const SIDES: usize = 8;

/// Makes a side when its turn comes: one that waits for its next turn would be woken by what the manager signals to all, and
/// take its time from those that are measured.
type Make<'a> = Box<dyn Fn() -> Box<dyn Side> + 'a>;

/// What rows begin with that are measured after a while in which nothing was started.
const AFTER_A_PAUSE: &str = "after a pause: ";

/// What nobody is faster than who has a scope first and executes then.
const FLOOR: &[usize] = &[TRANSIENT, BARE];

/// A row.
struct Row {
    name: &'static str,
    ours: usize,
    /// What ours is compared with: the sum of these.
    theirs: &'static [usize],
    /// What the ratio should be.
    aim: Aim,
    /// And what after a pause. There the kernel makes all wait that move a process into a scope, so that nobody can be much
    /// faster than anybody else, and the floor is the measure.
    after_a_pause: Aim,
}

const fn row(name: &'static str, ours: usize, theirs: &'static [usize], aim: Aim, after_a_pause: Aim) -> Row {
    Row { name, ours, theirs, aim, after_a_pause }
}

const ROWS: [Row; 17] = [
    row("launch / systemd-run", HOUSE, &[SYSTEMD_RUN], Aim::AtMost(0.45), Aim::None),
    row("launch / StartTransientUnit", HOUSE, &[TRANSIENT], Aim::None, Aim::None),
    row("launch / bare", HOUSE, &[BARE], Aim::None, Aim::None),
    row("launch / StartTransientUnit + bare", HOUSE, FLOOR, Aim::None, Aim::AtMost(1.25)),
    row("launch, no shim waits / systemd-run", TIRED_HOUSE, &[SYSTEMD_RUN], Aim::None, Aim::None),
    row("launch, no shim waits / StartTransientUnit + bare", TIRED_HOUSE, FLOOR, Aim::None, Aim::None),
    row("launch, spare / systemd-run", READY_HOUSE, &[SYSTEMD_RUN], Aim::None, Aim::None),
    row("launch, spare / StartTransientUnit", READY_HOUSE, &[TRANSIENT], Aim::None, Aim::None),
    row("launch, spare / bare", READY_HOUSE, &[BARE], Aim::AtMost(2.0), Aim::AtMost(2.0)),
    row("add / systemd-run", POOL, &[SYSTEMD_RUN], Aim::AtMost(0.45), Aim::None),
    row("add / StartTransientUnit", POOL, &[TRANSIENT], Aim::None, Aim::None),
    row("add / bare", POOL, &[BARE], Aim::None, Aim::None),
    row("add / StartTransientUnit + bare", POOL, FLOOR, Aim::None, Aim::AtMost(1.25)),
    row("add, spare / systemd-run", READY_POOL, &[SYSTEMD_RUN], Aim::None, Aim::None),
    row("add, spare / StartTransientUnit", READY_POOL, &[TRANSIENT], Aim::None, Aim::None),
    row("add, spare / bare", READY_POOL, &[BARE], Aim::AtMost(2.0), Aim::AtMost(2.0)),
    row("systemd-run / bare", SYSTEMD_RUN, &[BARE], Aim::None, Aim::None),
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
    let runtime = || handle.clone();
    let sides: [Make<'_>; SIDES] = [
        Box::new(|| Box::new(Bare::new())),
        Box::new(|| Box::new(Transient::new(runtime()))),
        Box::new(|| Box::new(SystemdRun::new())),
        Box::new(|| Box::new(House::new(runtime(), "house", 0))),
        Box::new(|| Box::new(House::new(runtime(), "ready-house", SPARES))),
        Box::new(|| Box::new(Pool::new("pool", 0))),
        Box::new(|| Box::new(Pool::new("ready", SPARES))),
        Box::new(|| Box::new(Tired::new(runtime(), "tired-house"))),
    ];
    rows(&mut table, "", &sides, one_by_one);
    rows(&mut table, "8 at once: ", &sides[..TIRED_HOUSE], at_once);
    rows(&mut table, AFTER_A_PAUSE, &sides[..TIRED_HOUSE], after_a_pause);
    if table.wants_some_of("1,000 alive: ") {
        let crowd = House::new(runtime(), "crowd", 0);
        let end = crowd.crowd(CROWD);
        rows(&mut table, "1,000 alive: ", &sides, one_by_one);
        end();
    }
    table.end();
}

/// Whether a row is asked for.
fn is_wanted(table: &Table, label: &str) -> bool {
    ROWS.iter().any(|Row { name, .. }| table.wants(&format!("{label}{name}")))
}

fn rows(table: &mut Table, label: &str, sides: &[Make<'_>], measure: fn(&dyn Side) -> f64) {
    if !is_wanted(table, label) {
        return;
    }
    let turn = |make: &Make<'_>| {
        let side = make();
        rest(side.as_ref());
        let figure = measure(side.as_ref());
        drop(side);
        // What waited in it ends.
        std::thread::sleep(QUIET);
        figure
    };
    // The first round does not count.
    let rounds: Vec<Vec<f64>> = (0..=table.rounds).map(|_| sides.iter().map(turn).collect()).skip(1).collect();
    for Row { name, ours, theirs, aim, after_a_pause } in ROWS {
        if ours < sides.len() {
            let pair = |round: &Vec<f64>| (round[ours], theirs.iter().map(|side| round[*side]).sum());
            let aim = if label == AFTER_A_PAUSE { after_a_pause } else { aim };
            table.ratio(&format!("{label}{name}"), "ms", aim, &rounds.iter().map(pair).collect::<Vec<_>>());
        }
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
