//! `shmz logs`: one module's whole life, as the journal has it.

use std::process::Stdio;

use clap::Args;
use tokio::process::Command;

use super::{CliError, Shell};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The module, or the first digits of its uid; it may have ended long ago
    #[arg(value_name = "UID")]
    uid: String,
    /// Go on with what is logged from now on
    #[arg(short, long)]
    follow: bool,
    /// Show this many of the last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<u32>,
    /// Read the journal of your own services
    #[arg(long)]
    user: bool,
}

/// The field that marks what is told of a module.
const UID: &str = "SHMOOZE_UID";
/// The field that names its scope, where what it prints itself stands.
const SCOPE: &str = "SHMOOZE_SCOPE";

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let uid = self.find().await?;
        let of_module = format!("{UID}={uid}");
        let scopes =
            self.read(&["--output=json", &format!("--output-fields={SCOPE}"), &of_module, "SHMOOZE_EVENT=launched"]).await?;
        let unit = if self.user { "_SYSTEMD_USER_UNIT" } else { "_SYSTEMD_UNIT" };
        let mut command = self.journalctl();
        command.arg(if shell.options.json { "--output=json" } else { "--output=short" }).arg("--all");
        if self.follow {
            // A module's life is shown from its beginning, as it is without.
            command.args(["--follow", "--no-tail"]);
        }
        if let Some(lines) = self.lines {
            command.arg(format!("--lines={lines}"));
        }
        command.arg(&of_module);
        for scope in scopes.lines().filter_map(scope_of) {
            command.arg("+").arg(format!("{unit}={scope}"));
        }
        let status = command.status().await.map_err(|error| unusable(&error))?;
        // It has said itself what is wrong.
        if status.success() { Ok(()) } else { Err(CliError::Problems) }
    }

    /// The one uid in the journal that begins so.
    async fn find(&self) -> Result<String, CliError> {
        let digits = |c: char| c == '-' || c.is_ascii_hexdigit();
        if self.uid.is_empty() || !self.uid.chars().all(digits) {
            return Err(CliError::Usage(format!("{:?} is no uid.", self.uid)));
        }
        let all = self.read(&["--field", UID]).await?;
        let mut found: Vec<&str> = all.lines().filter(|uid| uid.starts_with(&self.uid)).collect();
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [] => Err(CliError::Refused(format!(
                "The journal knows no module {}, or you may not read it (journalctl(1)).",
                self.uid
            ))),
            [one] => Ok(one.to_owned()),
            _ => Err(CliError::Usage(format!("Several modules begin with {}: {}.", self.uid, found.join(", ")))),
        }
    }

    fn journalctl(&self) -> Command {
        let mut command = Command::new("journalctl");
        command.args(["--quiet", "--no-pager"]);
        if self.user {
            command.arg("--user");
        }
        command
    }

    async fn read(&self, words: &[&str]) -> Result<String, CliError> {
        let output = self.journalctl().args(words).stderr(Stdio::inherit()).output().await.map_err(|error| unusable(&error))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn unusable(error: &std::io::Error) -> CliError {
    CliError::Usage(format!("The program journalctl cannot be run: {error}."))
}

/// The scope of a journal entry.
fn scope_of(entry: &str) -> Option<String> {
    serde_json::from_str::<serde_json::Value>(entry).ok()?.get(SCOPE)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_entries() {
        assert_eq!(
            scope_of(r#"{"SHMOOZE_SCOPE": "shmooze-queue-a.scope", "__CURSOR": "x"}"#).as_deref(),
            Some("shmooze-queue-a.scope")
        );
        // In process groups there is none.
        assert_eq!(scope_of(r#"{"__CURSOR": "x"}"#), None);
        assert_eq!(scope_of("nonsense"), None);
    }
}
