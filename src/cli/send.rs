//! `shmz send`: any request to any service.

use std::io::Read;

use clap::Args;
use serde_json::value::RawValue;

use super::{CliError, Shell, arguments};
use crate::protocol::Response;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The service, as the settings call it
    #[arg(value_name = "SERVICE")]
    to: String,
    /// A request, or a list of requests, as JSON; `-` reads it from standard input
    #[arg(value_name = "JSON")]
    request: String,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let text = if self.request == "-" { standard_input()? } else { self.request.clone() };
        let request = arguments::json(&text).map_err(|error| CliError::Usage(format!("The request is not JSON: {error}.")))?;
        let answer = shell.services()?.send(&self.to, request.get().as_bytes().to_vec()).await?;
        shell.print_bytes(&[answer.trim_ascii_end(), b"\n"].concat())?;
        match refusal(&answer) {
            Some(error) => Err(CliError::Refused(error)),
            None => Ok(()),
        }
    }
}

fn standard_input() -> Result<String, CliError> {
    let mut text = String::new();
    match std::io::stdin().lock().read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(CliError::Usage(format!("Standard input cannot be read: {error}."))),
    }
}

/// The first error in an answer to one request or to a list of them.
fn refusal(answer: &[u8]) -> Option<String> {
    let error = |text: &[u8]| match Response::parse(text) {
        Ok(Response::Failure(error)) => Some(error),
        _ => None,
    };
    let list = std::str::from_utf8(answer).ok().and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
    match list {
        Some(responses) => responses.into_iter().find_map(|response| error(response.get().as_bytes())),
        None => error(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals() {
        assert_eq!(refusal(br#"{"success": true, "result": [1]}"#), None);
        assert_eq!(refusal(br#"{"success": false, "error": "no"}"#).unwrap(), "no");
        assert_eq!(refusal(br#"[{"success": true}, {"success": false, "error": "b"}]"#).unwrap(), "b");
        assert_eq!(refusal(b"[]"), None);
        assert_eq!(refusal(b"5"), None);
    }
}
