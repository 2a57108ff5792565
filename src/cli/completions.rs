//! `shmz completions`: what packages install for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell as Kind;

use super::{Cli, CliError, Shell};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Kind,
}

impl Arguments {
    pub(super) fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "shmz", &mut text);
        shell.print_bytes(&text)
    }
}
