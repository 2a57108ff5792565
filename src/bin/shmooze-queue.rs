//! `shmooze-queue`: serves one queue of the settings.

use std::process::ExitCode;

use clap::Parser;
use shmooze::broker::Kind;
use shmooze::daemon::{self, BrokerArguments};
use shmooze::journal;

/// Serves a queue: starts modules, commands them, and ends them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    broker: BrokerArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    journal::start();
    daemon::run("shmooze-queue", daemon::broker::main(&arguments.broker, Kind::Queue))
}
