//! `shmz`: the command line of shmooze.

use std::process::ExitCode;

use clap::Parser;
use shmooze::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => {
            eprintln!("shmz: The runtime cannot be started: {error}.");
            ExitCode::FAILURE
        }
    }
}
