//! `shmz man`: the manual pages that packages install.

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::{Cli, CliError, Shell};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The verb [default: the page of shmz itself]
    verb: Option<String>,
}

impl Arguments {
    pub(super) fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let mut command = Cli::command();
        // Gives each verb the name of its page, such as `shmz-add`.
        command.build();
        let page = match &self.verb {
            None => command,
            Some(verb) => {
                command.find_subcommand(verb).cloned().ok_or_else(|| CliError::Usage(format!("There is no verb {verb:?}.")))?
            }
        };
        let mut text = Vec::new();
        Man::new(page).render(&mut text).map_err(CliError::Output)?;
        shell.print_bytes(&text)
    }
}
