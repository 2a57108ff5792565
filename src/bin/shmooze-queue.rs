//! `shmooze-queue`: serves one queue of the settings.

use std::process::ExitCode;

use clap::Parser;
use shmooze::broker::Kind;
use shmooze::daemon::{self, LauncherOptions, Options};
use shmooze::journal;

/// Serves a queue: starts modules, commands them, and ends them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    launching: LauncherOptions,
    /// Which queue of the settings; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    journal::start();
    let Arguments { options, launching, service } = &arguments;
    daemon::run("shmooze-queue", daemon::broker::main(Kind::Queue, service.as_deref(), options, launching))
}
