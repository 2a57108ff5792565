//! `shmz add`: a new module.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::connect::Kind;
use super::{CliError, Shell, arguments};
use crate::protocol::Raw;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The type of the module, as the settings call it
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// What to start it with: KEY=VALUE, the value being JSON or else text; or one JSON object
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
}

#[derive(Debug, Serialize)]
struct New<'a> {
    #[serde(rename = "type")]
    type_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Raw>,
}

#[derive(Debug, Deserialize)]
struct Added {
    uid: String,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        self.create(shell, "add", &[Kind::Queue, Kind::Pool]).await
    }

    /// Asks for `cmd`, which makes a module, and prints its uid.
    pub(super) async fn create(&self, shell: &Shell, cmd: &str, kinds: &[Kind]) -> Result<(), CliError> {
        let new = New { type_name: &self.type_name, args: arguments::read(&self.arguments)? };
        let services = shell.services()?;
        let service = services.of_kind(kinds)?;
        let result = services.ask(&service, cmd, Some(&new)).await?;
        shell.print_result(&result, |result| {
            let added: Added = serde_json::from_str(result.get()).map_err(|_| services.senseless(&service))?;
            Ok(format!("{}\n", added.uid))
        })
    }
}
