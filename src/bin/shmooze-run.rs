//! `shmooze-run`: the whole family in one foreground process.

use std::process::ExitCode;

use clap::Parser;
use shmooze::daemon::{self, HouseOptions, Options, StateOptions, TokenOptions};
use shmooze::journal;

/// Runs every service of the settings and the gateway until it is interrupted.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    tokens: TokenOptions,
    #[command(flatten)]
    house: HouseOptions,
    #[command(flatten)]
    state: StateOptions,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    journal::start();
    daemon::run("shmooze-run", daemon::run::main(&arguments.options, &arguments.tokens, arguments.house, &arguments.state))
}
