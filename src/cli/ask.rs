//! `shmz ask`: what a module says of itself.

use clap::Args;
use serde::Serialize;

use super::connect::Kind;
use super::{CliError, Shell, modules, render};
use crate::protocol::parse_object;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The module
    #[arg(value_name = "UID")]
    uid: String,
    /// The parameters; those that it does not have are left out
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Ask<'a> {
    uid: &'a str,
    parameters: &'a [String],
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let services = shell.services()?;
        let service = services.of_kind(&[Kind::Queue, Kind::Pool])?;
        for found in modules::find(&services, &service, std::slice::from_ref(&self.uid)).await? {
            let cmd = if found.is_background { "ask_background" } else { "ask_module" };
            let ask = Ask { uid: &found.uid, parameters: &self.names };
            let result = services.ask(&service, cmd, Some(&ask)).await?;
            shell.print_result(&result, |result| {
                let parameters = parse_object(result).ok_or_else(|| services.senseless(&service))?;
                let lines =
                    parameters.iter().map(|(name, value)| format!("{}={}\n", render::one_line(name), render::value(value)));
                Ok(lines.collect())
            })?;
        }
        Ok(())
    }
}
