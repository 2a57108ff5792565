//! `shmz queue`: the modules of a queue.

use clap::Args;

use super::connect::Kind;
use super::list::{self, Wanted};
use super::{CliError, Shell};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        list::show(shell, Kind::Queue, "queue", &self.wanted).await
    }
}
