//! `shmz`, the command line: one file per verb.
//!
//! ```text
//!   words ──clap──▶ Options, Verb ──▶ queue.rs, add.rs, … ──Services──▶ gateway (HTTP) or service (TCP)
//!                                          │     ▲                          │
//!   standard output ◀──text or JSON────────┘     └── modules.rs: abbreviated uids ◀──┘
//! ```
//!
//! A verb of the wire has the same name here (`set_bg` is typed `set-bg`). Whatever goes wrong is one sentence on
//! standard error and an exit code of its own ([`CliError`]).

mod add;
mod apply;
mod arguments;
mod ask;
mod bg;
mod check;
mod completions;
mod connect;
mod r#do;
mod error;
mod list;
mod live;
mod logs;
mod man;
mod modules;
mod mv;
mod pool;
mod queue;
mod render;
mod rm;
mod send;
mod set_bg;
mod settings;
mod status;
mod tell;
mod top;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::value::RawValue;

use connect::Services;
pub use error::CliError;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the service refused, `check` found problems, or a step of `apply` failed
  2  the words given, or the settings, are at fault; nothing was changed
  3  no service was reached, or it gave no proper answer
  4  the service did not answer in time

Where requests go, the first that is there: --url, --settings, the variable SHMOOZE_URL, the settings file that
SHMOOZE_SETTINGS names, /etc/shmooze/settings.json, the gateway at http://127.0.0.1:9480. With a settings file they go
straight to the services' own ports on this machine.

A module may be named by the first digits of its uid, as many as make it the only one.";

/// Speak to queues, pools and other services of shmooze.
#[derive(Debug, Parser)]
#[command(name = "shmz", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Options {
    /// Send to the gateway at http://HOST:PORT[/PREFIX], or to the one service at tcp://HOST:PORT
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Take the services and their ports from this settings file
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Which queue or pool, where there are several [default: `queue` or `pool`, or the only one]
    #[arg(long, global = true, value_name = "NAME")]
    service: Option<String>,
    /// How long to wait for an answer, in milliseconds
    #[arg(long, global = true, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Print the service's result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the modules of a queue, the one that plays first
    Queue(queue::Arguments),
    /// List the modules of a pool
    Pool(pool::Arguments),
    /// Show the background of a queue
    Bg(bg::Arguments),
    /// Add a module, and print its uid
    Add(add::Arguments),
    /// Set the background of a queue, and print its uid
    #[command(name = "set-bg", alias = "set_bg")]
    SetBg(set_bg::Arguments),
    /// Remove modules
    Rm(rm::Arguments),
    /// Put modules first, in the order given
    Mv(mv::Arguments),
    /// Tell a module, or the background, to do something, and print its answer
    Tell(tell::Arguments),
    /// Print parameters of a module, or of the background
    Ask(ask::Arguments),
    /// Send a request or a list of them to any service, and print the answer
    Send(send::Arguments),
    /// Say something to the service `nlp`, and print its answer
    Do(r#do::Arguments),
    /// Show what queues and pools do, and what each module uses
    Status(status::Arguments),
    /// Show what happens in a queue or pool while it happens, until it is interrupted
    Watch(watch::Arguments),
    /// Show again and again which modules use how much, until it is interrupted
    Top(top::Arguments),
    /// Show one module's whole life from the journal
    Logs(logs::Arguments),
    /// Say what is wrong with the settings
    Check(check::Arguments),
    /// Have systemd go by the settings: move, start, stop and reload what they changed
    Apply(apply::Arguments),
    /// Print the settings as they are in effect
    Settings(settings::Arguments),
    /// Print the completions for a shell
    #[command(hide = true)]
    Completions(completions::Arguments),
    /// Print the manual page of shmz, or of one of its verbs
    #[command(hide = true)]
    Man(man::Arguments),
}

/// What every verb works with.
#[derive(Debug)]
struct Shell {
    options: Options,
}

impl Cli {
    /// Does what was asked, says on standard error what went wrong, and returns the exit code.
    pub async fn run(self) -> ExitCode {
        let shell = Shell { options: self.options };
        match self.verb.run(&shell).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                if let Some(sentence) = error.sentence() {
                    // Where standard error is closed there is nobody left to tell.
                    let _ = writeln!(io::stderr(), "shmz: {}", render::one_line(&sentence));
                }
                ExitCode::from(error.exit_code())
            }
        }
    }
}

impl Verb {
    async fn run(self, shell: &Shell) -> Result<(), CliError> {
        match self {
            Self::Queue(arguments) => arguments.run(shell).await,
            Self::Pool(arguments) => arguments.run(shell).await,
            Self::Bg(arguments) => arguments.run(shell).await,
            Self::Add(arguments) => arguments.run(shell).await,
            Self::SetBg(arguments) => arguments.run(shell).await,
            Self::Rm(arguments) => arguments.run(shell).await,
            Self::Mv(arguments) => arguments.run(shell).await,
            Self::Tell(arguments) => arguments.run(shell).await,
            Self::Ask(arguments) => arguments.run(shell).await,
            Self::Send(arguments) => arguments.run(shell).await,
            Self::Do(arguments) => arguments.run(shell).await,
            Self::Status(arguments) => arguments.run(shell).await,
            Self::Watch(arguments) => arguments.run(shell).await,
            Self::Top(arguments) => arguments.run(shell).await,
            Self::Logs(arguments) => arguments.run(shell).await,
            Self::Check(arguments) => arguments.run(shell),
            Self::Apply(arguments) => arguments.run(shell),
            Self::Settings(arguments) => arguments.run(shell),
            Self::Completions(arguments) => arguments.run(shell),
            Self::Man(arguments) => arguments.run(shell),
        }
    }
}

impl Shell {
    /// Where requests go.
    fn services(&self) -> Result<Services, CliError> {
        let options = &self.options;
        let timeout = Duration::from_millis(options.timeout);
        Services::find(options.url.as_deref(), options.settings.as_deref(), options.service.as_deref(), timeout)
    }

    /// Writes `text`, which ends its own lines, to standard output.
    fn print(&self, text: &str) -> Result<(), CliError> {
        self.print_bytes(text.as_bytes())
    }

    fn print_bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(CliError::Output)
    }

    /// Prints what a service answered: as JSON where that is asked for, else as `text` makes it.
    fn print_result(&self, result: &RawValue, text: impl FnOnce(&RawValue) -> Result<String, CliError>) -> Result<(), CliError> {
        if self.options.json { self.print(&format!("{}\n", result.get())) } else { self.print(&text(result)?) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        let command = Cli::command();
        // One name for two things would be filled in with either.
        let options: Vec<_> = command.get_arguments().map(clap::Arg::get_id).collect();
        for verb in command.get_subcommands() {
            for argument in verb.get_arguments() {
                assert!(!options.contains(&argument.get_id()), "{}: {}", verb.get_name(), argument.get_id());
            }
        }
        command.debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_verb() {
        for line in ["shmz --json --url tcp://a:1 rm x", "shmz rm x --url tcp://a:1 --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.options.json && cli.options.url.as_deref() == Some("tcp://a:1"), "{line}");
        }
    }

    #[test]
    fn the_help_tells_the_exit_codes_and_hides_what_packages_need() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains(EXIT_CODES), "{help}");
        assert!(!help.contains("completions"), "{help}");
    }
}
