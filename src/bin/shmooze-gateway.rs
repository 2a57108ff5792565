//! `shmooze-gateway`: HTTP in front of the services.

use std::process::ExitCode;

use clap::Parser;
use shmooze::daemon::{self, Options, TokenOptions};
use shmooze::journal;

/// Serves the page, the settings that are public, and the services over HTTP.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    tokens: TokenOptions,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    journal::start();
    daemon::run("shmooze-gateway", daemon::gateway::main(&arguments.options, &arguments.tokens))
}
