//! A long run of mixed load with faults at random moments, on a booted machine, and a table of what was seen.
//!
//! ```text
//!   cargo test --test soak -- --minutes 60 [--suite bookworm] [--seed N] [--calm]
//!
//!   this program ──boots──▶ container ──▶ this program again, inside ──▶ a row each minute, a verdict
//!
//!   inside:  workers ──requests──▶ queue and pool, half of them over the gateway        workers never believe
//!            faults  ──kill, restart, reload──▶ daemons, service manager, bus, journal   what was not acknowledged
//!            gauges  ──look at──▶ memory, descriptors, scopes, journal
//! ```
//!
//! Two thirds of the time are stormy, with a fault every few seconds; in the others processes grow old enough to show whether they grow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;
use shmooze_test_machine::{Kind, Machine, Suite};

#[path = "units/host.rs"]
#[allow(dead_code, reason = "what other tests need of it")]
mod host;

#[path = "adoption/account.rs"]
#[allow(dead_code, reason = "what the kills need of it")]
mod account;
#[path = "adoption/asking.rs"]
mod asking;
#[path = "adoption/load.rs"]
#[allow(dead_code, reason = "what the kills need of it")]
mod load;
#[path = "adoption/within.rs"]
mod within;

mod soak {
    pub(crate) use crate::{account, asking, load, within};
    pub mod background;
    pub mod faults;
    pub mod gauges;
    pub mod inside;
    pub mod install;
    pub mod verdict;
    pub mod worker;
}

/// Where this program is inside the machine.
const INSIDE: &str = "/usr/local/bin/soak";

/// Puts a family under mixed load and faults, and says what was lost, left or grown.
#[derive(Parser)]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Repeats the choices of a run
    #[arg(long)]
    seed: Option<u64>,
    /// The Debian release, and with it that of systemd: bookworm (252) or trixie (257)
    #[arg(long, default_value = "trixie", value_parser = ["bookworm", "trixie"])]
    suite: String,
    /// No faults: then whatever grows does so in one process
    #[arg(long)]
    calm: bool,
    /// Here and now, without a machine
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = arguments.seed.unwrap_or(now.as_micros() as u64 | 1);
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    if arguments.inside {
        return soak::inside::run(length, seed, arguments.calm);
    }
    let suite = if arguments.suite == "bookworm" { Suite::Bookworm } else { Suite::Trixie };
    let machine = Machine::boot_for(Kind::Container(suite), "soak");
    soak::install::install(&machine);
    machine.copy_program(std::env::current_exe().unwrap(), INSIDE);
    println!("systemd {}, {} minutes, --seed {seed}\n", machine.systemd_version(), arguments.minutes);
    let (minutes, number) = (arguments.minutes.to_string(), seed.to_string());
    let mut words = vec![INSIDE, "--inside", "--minutes", &minutes, "--seed", &number];
    words.extend(arguments.calm.then_some("--calm"));
    let mut running = machine.command(&words).spawn();
    // Not until the command has ended: one that restarts bus and manager may never hear of that.
    let patience = Duration::from_secs(600);
    while let Some(line) = running.line(patience) {
        println!("{line}");
        if let Some(verdict) = line.strip_prefix(soak::verdict::LAST) {
            if verdict == soak::verdict::GOOD {
                return ExitCode::SUCCESS;
            }
            break;
        }
    }
    machine.keep_evidence("soak");
    ExitCode::FAILURE
}
