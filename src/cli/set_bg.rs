//! `shmz set-bg`: another background for a queue.

use clap::Args;

use super::connect::Kind;
use super::{CliError, Shell, add};

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    #[command(flatten)]
    new: add::Arguments,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        self.new.create(shell, "set_bg", &[Kind::Queue]).await
    }
}
