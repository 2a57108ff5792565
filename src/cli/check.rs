//! `shmz check`: what is wrong with the settings, with the gateway's tokens for them, and with the machine.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{CliError, Shell};
use crate::settings::{Keeper, Problem, Settings, load_tokens};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The settings file [default: that of --settings, else of SHMOOZE_SETTINGS, else /etc/shmooze/settings.json]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The gateway's tokens [default: tokens.json beside the settings file, where you may read it]
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Leave out what this machine lacks: programs, users and directories
    #[arg(long)]
    only_file: bool,
    /// Print nothing where there is nothing wrong
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    path: &'a str,
    sentence: &'a str,
}

impl Arguments {
    pub(super) fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let file = Settings::file_of(self.file.as_deref().or(shell.options.settings.as_deref()));
        let problems = match Settings::load(Some(&file)) {
            Ok(settings) => self.problems(&settings, shell.options.service.as_deref()),
            Err(error) => error.problems,
        };
        if shell.options.json {
            let shown: Vec<Shown<'_>> =
                problems.iter().map(|problem| Shown { path: &problem.path, sentence: &problem.sentence }).collect();
            let text = serde_json::to_string(&shown).map_err(|error| CliError::Output(error.into()))?;
            shell.print(&format!("{text}\n"))?;
        } else if problems.is_empty() {
            if self.quiet {
                return Ok(());
            }
            shell.print(&format!("{}: ok\n", file.display()))?;
        } else {
            shell.print(&problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
        }
        if problems.is_empty() { Ok(()) } else { Err(CliError::Problems) }
    }

    /// What is wrong with settings that can be read, for `service` where one is named.
    fn problems(&self, settings: &Settings, service: Option<&str>) -> Vec<Problem> {
        let missing = service.filter(|name| !settings.services.contains_key(*name)).map(|name| Problem {
            path: "services".to_owned(),
            sentence: format!("{}: services has no {name}.", settings.file.display()),
        });
        let mut problems: Vec<Problem> = missing.into_iter().collect();
        let tokens = match &self.tokens {
            Some(path) => load_tokens(path, Keeper::Owner, settings).map(|_| ()),
            None => settings.tokens_beside().map(|_| ()),
        };
        if let Err(error) = tokens {
            problems.extend(error.problems);
        }
        if !self.only_file {
            problems.extend(settings.problems_of_machine());
        }
        problems
    }
}
