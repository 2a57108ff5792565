//! Ratios, measured side by side: each figure of ours beside the least that could do the same on this machine, now.
//!
//! ```text
//!   cargo bench --bench ratios [-- [--rounds N] [--round-ms MS] FILTER…]
//!
//!   this process: the load ──▶ a daemon of ours                      A B A B A B …
//!                         └──▶ something bare that answers the same      │
//!                              (this program again, or nginx)            ▼
//!                                                  median of the ratios of neighbouring rounds
//! ```
//!
//! Absolute figures say little on a machine that does other things too; the ratio of two figures taken within the same
//! second says a lot. Each file here explains its rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark that cannot go on says why and ends")]

mod adding;
mod bare;
mod crowd;
mod events;
mod framing;
mod generating;
mod http;
mod idle;
mod load;
mod memory;
mod module;
mod process;
mod requests;
mod table;
mod tells;
mod updates;
mod world;

use std::time::Duration;

use clap::Parser;

use table::Table;

/// Measures shmooze's daemons against bare ones and prints a table of the ratios.
#[derive(Parser)]
struct Arguments {
    /// Only rows whose name holds one of these
    filters: Vec<String>,
    /// Rounds of each side
    #[arg(long, default_value_t = 41)]
    rounds: usize,
    /// Length of a round under load, in ms
    #[arg(long, default_value_t = 100)]
    round_ms: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) == Some(process::ROLE) {
        return match arguments[2].as_str() {
            "server" => bare::server(&arguments[3..]),
            "relay" => bare::relay(),
            "spread" => bare::spread(&arguments[3..]),
            "parse" => generating::parse(&arguments[3]),
            "module" => module::main(&arguments[3..]),
            other => panic!("no role is called {other}"),
        };
    }
    let arguments = Arguments::parse();
    let mut table = Table::new(arguments.filters, arguments.rounds.max(1), Duration::from_millis(arguments.round_ms));
    world::build();
    requests::measure(&mut table);
    tells::measure(&mut table);
    updates::measure(&mut table);
    http::measure(&mut table);
    adding::measure(&mut table);
    memory::measure(&mut table);
    events::measure(&mut table);
    idle::measure(&mut table);
    crowd::measure(&mut table);
    generating::measure(&mut table);
    table.end();
}
