//! `shmz rm`: modules away.

use clap::Args;

use super::connect::Kind;
use super::modules::{self, Uids};
use super::{CliError, Shell};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The modules; where one is not there, none is removed
    #[arg(value_name = "UID", required = true)]
    uids: Vec<String>,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let services = shell.services()?;
        let service = services.of_kind(&[Kind::Queue, Kind::Pool])?;
        let found = modules::find(&services, &service, &self.uids).await?;
        let uids = Uids::of(found);
        let result = services.ask(&service, "rm", Some(&uids)).await?;
        shell.print_result(&result, |_| Ok(String::new()))
    }
}
