//! `shmz mv`: another order.

use clap::Args;

use super::connect::Kind;
use super::modules::{self, Uids};
use super::{CliError, Shell};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The modules to put first, in this order; the others follow in theirs
    #[arg(value_name = "UID", required = true)]
    uids: Vec<String>,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let services = shell.services()?;
        let service = services.of_kind(&[Kind::Queue])?;
        let found = modules::find(&services, &service, &self.uids).await?;
        if let Some(background) = found.iter().find(|found| found.is_background) {
            return Err(CliError::Usage(format!(
                "Module {} is the background, which has no place in the order.",
                background.uid
            )));
        }
        let uids = Uids::of(found);
        let result = services.ask(&service, "mv", Some(&uids)).await?;
        shell.print_result(&result, |_| Ok(String::new()))
    }
}
