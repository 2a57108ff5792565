//! What a scope costs, and what spares save: on booted machines, beside the least that could do the same and beside
//! `systemd-run --scope`.
//!
//! ```text
//!   cargo bench --bench scopes [-- [--rounds N] FILTER…]
//!
//!   this process ──boots──▶ container, systemd 252 ──▶ this program again, inside ──▶ a table
//!                └─boots──▶ container, systemd 257 ──▶ this program again, inside ──▶ a table
//!
//!   inside, in each round:  bare · StartTransientUnit · systemd-run · house · house with spares · pool · pool with spares ·
//!                           house without a shim that waits
//! ```
//!
//! Every side starts the same module (`examples/tiny.rs`) and is measured until that has connected and answered; ratios are
//! of figures of the same round. Needs what the tests on machines need (`docs/testing.md`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that cannot go on says why and ends")]

mod bus;
mod inside;
mod parked;
#[path = "../ratios/process.rs"]
#[allow(dead_code, reason = "what the other benchmark needs of it")]
mod process;
mod sides;
mod slot;
#[path = "../ratios/table.rs"]
#[allow(dead_code, reason = "what the other benchmark needs of it")]
mod table;
#[path = "../ratios/world.rs"]
#[allow(dead_code, reason = "what the other benchmark needs of it")]
mod world;

use std::time::Duration;

use clap::Parser;
use shmooze_test_machine::{Kind, Machine};

/// Where this program and those that it needs are inside a machine, laid out as cargo does.
const FOLDER: &str = "/opt/shmooze-bench";
/// Longer than any row takes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Measures launches in scopes on systemd 252 and 257 and prints a table of the ratios for each.
#[derive(Parser)]
struct Arguments {
    /// Only rows whose name holds one of these
    filters: Vec<String>,
    /// Rounds of each side
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Measure here and now, without a machine
    #[arg(long)]
    inside: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.inside {
        return inside::measure(arguments.filters, arguments.rounds.max(1));
    }
    world::build();
    for kind in Kind::CONTAINERS {
        let machine = Machine::boot_for(*kind, "benchmark");
        let copy = |file: &std::path::Path, folder: &str| {
            machine.copy_in(file, &format!("{FOLDER}/{folder}{}", file.file_name().unwrap().to_str().unwrap()));
        };
        let own = std::env::current_exe().unwrap();
        copy(&own, "deps/");
        copy(&world::tiny(), "deps/");
        for program in ["shmooze-pool", "shmooze-shim"] {
            copy(&world::programs().join(program), "");
        }
        println!("\nsystemd {}:\n", machine.systemd_version());
        let own = format!("{FOLDER}/deps/{}", own.file_name().unwrap().to_str().unwrap());
        let mut argv = vec![own, "--inside".to_owned(), "--rounds".to_owned(), arguments.rounds.to_string()];
        argv.extend(arguments.filters.clone());
        // As the daemons' own units say.
        let mut running = machine.command(&argv).property("TasksMax=infinity").property("LimitNOFILE=524288").spawn();
        while let Some(line) = running.line(PATIENCE) {
            println!("{line}");
        }
        running.wait(PATIENCE).success();
    }
}
