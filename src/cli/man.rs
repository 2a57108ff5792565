//! `shmz man`: the manual pages that packages install.

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::{Cli, CliError, Shell};

/// What stands at the foot and at the head of each page.
const PROJECT: &str = "shmooze";

/// What else is to be read; the page of shmz itself lists those of its verbs.
const SEE_ALSO: &str = "\
.SH SEE ALSO
.BR shmz (1),
.BR shmooze\\-settings (5),
.BR shmooze\\-module (7),
.BR shmooze\\-pool (8),
.BR shmooze\\-queue (8)
";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The verb [default: the page of shmz itself]
    verb: Option<String>,
    /// The date of the page
    #[arg(long, value_name = "YYYY-MM-DD", default_value = "")]
    date: String,
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
        let man = Man::new(page).date(&self.date).source(PROJECT).manual(PROJECT);
        man.render(&mut text).map_err(CliError::Output)?;
        let see_also = if self.verb.is_none() { SEE_ALSO.replace(".BR shmz (1),\n", "") } else { SEE_ALSO.to_owned() };
        text.extend(see_also.bytes());
        shell.print_bytes(&text)
    }
}
