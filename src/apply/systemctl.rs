//! The program `systemctl`, for one of the managers.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use crate::generator::Manager;

/// State of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Whether there is a file for it: `loaded`, `not-found`, `bad-setting` …
    pub load: String,
    /// `active`, `activating`, `failed`, `inactive` …
    pub active: String,
}

/// Units that are loaded, by their names.
pub type Units = BTreeMap<String, Unit>;

/// Asks and tells one manager.
#[derive(Debug, Clone, Copy)]
pub struct Systemctl {
    manager: Manager,
}

impl Systemctl {
    /// The one for this manager.
    #[must_use]
    pub const fn new(manager: Manager) -> Self {
        Self { manager }
    }

    /// Does what `words` say; answers what it prints.
    ///
    /// # Errors
    /// What the program itself says, as one sentence that begins with the command.
    pub fn run(&self, words: &[&str]) -> Result<String, String> {
        let shown = || shown(self.manager, words);
        let mut command = Command::new("systemctl");
        if self.manager == Manager::User {
            command.arg("--user");
        }
        let output = command.args(words).env("SYSTEMD_COLORS", "0").output();
        let Output { status, stdout, stderr } = output.map_err(|error| format!("{} cannot be executed: {error}.", shown()))?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&stderr);
        let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(if said.is_empty() {
            format!("{} failed: {status}.", shown())
        } else {
            format!("{} failed: {}", shown(), said.join(" "))
        })
    }

    /// The units of this project that are loaded.
    ///
    /// # Errors
    /// As [`Systemctl::run`].
    pub fn units(&self) -> Result<Units, String> {
        let words = ["list-units", "--all", "--plain", "--full", "--no-legend", "--no-pager", "shmooze*"];
        Ok(self.run(&words)?.lines().filter_map(unit).collect())
    }

    /// The variables of the environment that the manager gives to what it starts.
    ///
    /// # Errors
    /// As [`Systemctl::run`].
    pub fn variables(&self) -> Result<BTreeMap<String, String>, String> {
        let text = self.run(&["show-environment"])?;
        Ok(text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), unquoted(value))).collect())
    }
}

/// The command as people would type it.
pub(super) fn shown(manager: Manager, words: &[&str]) -> String {
    let user = if manager == Manager::User { " --user" } else { "" };
    let words = words.iter().map(|word| if word.contains('\\') { format!("'{word}'") } else { (*word).to_owned() });
    format!("systemctl{user} {}", words.collect::<Vec<_>>().join(" "))
}

/// One line of a list: `UNIT LOAD ACTIVE SUB DESCRIPTION`.
fn unit(line: &str) -> Option<(String, Unit)> {
    let mut columns = line.split_whitespace();
    let (name, load, active) = (columns.next()?, columns.next()?, columns.next()?);
    Some((name.to_owned(), Unit { load: load.to_owned(), active: active.to_owned() }))
}

/// A value as `systemctl show-environment` writes it, for a shell: `$'a b'`, where it needs quotes.
fn unquoted(value: &str) -> String {
    match value.strip_prefix("$'").and_then(|rest| rest.strip_suffix('\'')) {
        Some(quoted) => quoted.replace("\\'", "'").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let (name, state) = unit(r"shmooze-my\x2dqueue.socket loaded active listening Where clients ask").unwrap();
        assert_eq!(name, r"shmooze-my\x2dqueue.socket");
        assert_eq!((state.load.as_str(), state.active.as_str()), ("loaded", "active"));
        assert_eq!(unit(""), None);
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        let words = ["restart", r"shmooze-my\x2dqueue.socket"];
        assert_eq!(shown(Manager::System, &words), r"systemctl restart 'shmooze-my\x2dqueue.socket'");
        assert_eq!(shown(Manager::User, &["daemon-reload"]), "systemctl --user daemon-reload");
    }

    #[test]
    fn values() {
        assert_eq!(unquoted("/home/alice"), "/home/alice");
        assert_eq!(unquoted(r"$'/home/a b\'c\\d'"), r"/home/a b'c\d");
    }
}
