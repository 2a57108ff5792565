//! `shmooze-pool`: serves one pool of the settings.

use std::process::ExitCode;

use clap::Parser;
use shmooze::broker::Kind;
use shmooze::daemon::{self, LauncherOptions, Options};
use shmooze::journal;

/// Serves a pool: starts modules, commands them, and ends them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    launching: LauncherOptions,
    /// Which pool of the settings; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    journal::start();
    let Arguments { options, launching, service } = &arguments;
    daemon::run("shmooze-pool", daemon::broker::main(Kind::Pool, service.as_deref(), options, launching))
}
