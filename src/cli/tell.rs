//! `shmz tell`: a word to one module.

use clap::Args;
use serde::Serialize;

use super::connect::Kind;
use super::{CliError, Shell, arguments, modules, render};
use crate::protocol::Raw;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The module
    #[arg(value_name = "UID")]
    uid: String,
    /// What it shall do, such as `pause`
    #[arg(value_name = "COMMAND")]
    command: String,
    /// With what: KEY=VALUE, the value being JSON or else text; or one JSON object
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Tell<'a> {
    uid: &'a str,
    cmd: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Raw>,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let args = arguments::read(&self.arguments)?;
        let services = shell.services()?;
        let service = services.of_kind(&[Kind::Queue, Kind::Pool])?;
        for found in modules::find(&services, &service, std::slice::from_ref(&self.uid)).await? {
            let cmd = if found.is_background { "tell_background" } else { "tell_module" };
            let tell = Tell { uid: &found.uid, cmd: &self.command, args: args.clone() };
            let result = services.ask(&service, cmd, Some(&tell)).await?;
            shell.print_result(&result, |result| Ok(render::result(result)))?;
        }
        Ok(())
    }
}
