//! `shmz rm`: modules away.

use clap::Args;
use serde::Serialize;

use super::connect::Kind;
use super::{CliError, Shell, modules};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The modules; where one is not there, none is removed
    #[arg(value_name = "UID", required = true)]
    uids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Uids {
    uids: Vec<String>,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let services = shell.services()?;
        let service = services.of_kind(&[Kind::Queue, Kind::Pool])?;
        let found = modules::find(&services, &service, &self.uids).await?;
        let uids = Uids { uids: found.into_iter().map(|found| found.uid).collect() };
        let result = services.ask(&service, "rm", Some(&uids)).await?;
        shell.print_result(&result, |_| Ok(String::new()))
    }
}
