//! `shmz settings`: the settings as they are in effect.

use clap::Args;

use super::{CliError, Shell};
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct Arguments {}

impl Arguments {
    pub(super) fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let settings = Settings::load(shell.options.settings.as_deref())?;
        shell.print(&format!("{}\n", settings.effective_json()))
    }
}
