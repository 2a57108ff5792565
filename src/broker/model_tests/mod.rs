//! The whole broker against a naive model: random lives in simulated time, each of which its seed repeats.
//!
//! ```text
//!   plan: what happens next, by chance
//!     │
//!     ▼ one thing at a time                 the broker does what it can    ┌── house: launches, stops (simulated)
//!   world ──────────────────────────▶ process: the real broker, its ───────┼── modules' streams   (real sockets)
//!     │                               serving of clients, its handover     ├── clients' connections (real sockets)
//!     ▼ the same                                                           └── service manager's store (simulated)
//!   model: lists, changes, orders, deadlines, the naive way                   │
//!     │                                                                       ▼
//!     ╰───────────────────────────────▶ check: they say the same ◀─────────── all that was written is read
//! ```
//!
//! **What is checked**, after each thing that happens: the list, its order, what each module was told, the background, the
//! revision (one more for each change that is published, and never less than before); every request of a client is answered once,
//! in order, as the model does; every module was asked what it should have been, once and in order, and its updates are answered
//! once, unless it ends in the same go; at most one module of a queue is told to play; parameters are what the module set last;
//! each time limit is over when it should be, and not 1 ms before; the cause of each end in `history`, once. And at the end, after
//! draining: nothing runs in the house, and the service manager keeps no stream.
//!
//! **Time** stands still in each process but for what the world lets pass ([`process`]). **A kill** drops a process with all its tasks,
//! between any two of their steps; the next one begins with what the service manager has. Where nobody can know whether a
//! request was taken up before, there are several models, and those that the broker contradicts are dropped. So there are where requests of
//! several clients begin at the same moment: in any order, each carried out between its beginning and its answer.
//!
//! **What is not the same each time**: numbers of ports, times of day (which nothing here depends on), and which branch a
//! `select!` that is not `biased` looks at first. What is sent over loopback is taken to be there at once, as Linux does it.
//!
//! **What is not covered**: modules that are started again (`restart`), lists that survive a reboot (`restore`), those who `watch`, what is
//! beyond a limit, changed settings, `status`, lists of requests in one line, strangers at a module's ports, a log that is summed up, a
//! kill while the service drains, `shmooze-launcher` itself.

mod check;
mod house;
mod model;
mod plan;
mod process;
mod random;
mod wire;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Kind;
use world::World;

/// Lives of each kind that `cargo test` looks at.
const SEEDS: u64 = 300;
/// Steps of one life.
const STEPS: usize = 40;
/// How long all modules may take to end, in ms.
const LAST: u64 = 20_000;
/// Lines of the trace that a failure shows.
const SHOWN: usize = 60;

/// Lives the life of a seed; answers what happened in it.
fn live(kind: Kind, seed: u64) -> Vec<String> {
    let world = RefCell::new(World::new(kind, seed));
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let world = &mut *world.borrow_mut();
        for _ in 0..STEPS {
            world.step();
        }
        world.drain();
        let end = world.now + LAST;
        while world.has_plans() && world.now < end {
            world.pass(160);
        }
        world.check_end();
    }));
    let world = world.into_inner();
    if let Err(failure) = lived {
        let from = world.trace.len().saturating_sub(SHOWN);
        println!("{}\nSHMOOZE_SEED={seed} cargo test --lib broker::model_tests::{}", world.trace[from..].join("\n"), kind.name());
        resume_unwind(failure);
    }
    world.trace
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

fn live_all(kind: Kind) {
    if let Some(seed) = number("SHMOOZE_SEED") {
        let _ = tracing_subscriber::fmt().with_test_writer().without_time().with_ansi(false).try_init();
        println!("{}", live(kind, seed).join("\n"));
        return;
    }
    for seed in 0..number("SHMOOZE_SEEDS").unwrap_or(SEEDS) {
        live(kind, seed);
    }
}

#[test]
fn queue() {
    live_all(Kind::Queue);
}

#[test]
fn pool() {
    live_all(Kind::Pool);
}

#[test]
fn a_seed_repeats_its_life() {
    for seed in 0..10 {
        assert_eq!(live(Kind::Queue, seed), live(Kind::Queue, seed), "seed {seed}");
    }
}
