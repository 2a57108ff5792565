//! `shmz pool`: the modules of a pool.

use clap::Args;

use super::connect::Kind;
use super::list::{self, Wanted};
use super::{CliError, Shell, modules};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    wanted: Wanted,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let arguments = self.wanted.arguments()?;
        let services = shell.services()?;
        let service = services.of_kind(&[Kind::Pool])?;
        let result = services.ask(&service, "pool", arguments.as_ref()).await?;
        shell.print_result(&result, |result| {
            let modules = modules::list(result).ok_or_else(|| services.senseless(&service))?;
            Ok(list::table(&modules, true))
        })
    }
}
