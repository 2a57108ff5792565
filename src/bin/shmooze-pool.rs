//! `shmooze-pool`: serves one pool of the settings.

use std::process::ExitCode;

use clap::Parser;
use shmooze::broker::Kind;
use shmooze::daemon::{self, BrokerArguments};
use shmooze::journal;

/// Serves a pool: starts modules, commands them, and ends them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    broker: BrokerArguments,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    journal::start();
    daemon::run("shmooze-pool", daemon::broker::main(&arguments.broker, Kind::Pool))
}
