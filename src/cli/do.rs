//! `shmz do`: plain words to the application's service `nlp`, which knows what they mean.

use clap::Args;
use serde::Serialize;

use super::{CliError, Shell, render};

/// The service that takes words.
const SERVICE: &str = "nlp";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to say; all that follows belongs to it
    #[arg(value_name = "WORD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Message {
    message: String,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let services = shell.services()?;
        let message = Message { message: self.words.join(" ") };
        let result = services.ask(SERVICE, "do", Some(&message)).await?;
        shell.print_result(&result, |result| Ok(render::result(result)))
    }
}
