//! `shmooze-launcher`: launches modules for brokers that have no privilege of their own.

use std::process::ExitCode;

use clap::Parser;
use shmooze::daemon::{self, LauncherArguments};
use shmooze::journal;

/// Launches modules for shmooze-queue and shmooze-pool, each in a scope of its own, and ends them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    arguments: LauncherArguments,
}

fn main() -> ExitCode {
    let Arguments { arguments } = Arguments::parse();
    journal::start();
    daemon::run("shmooze-launcher", daemon::launcher::main(&arguments))
}
