//! The programs: what their mains consist of, and what these have in common (log, signals, exit status).

mod apps;
pub mod broker;
pub mod gateway;
mod house;
pub mod launcher;
mod lists;
mod restart;
pub mod run;
mod signals;
mod sockets;
mod tokens;

use std::convert::Infallible;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use broker::BrokerArguments;
pub use house::{Home, House, HouseOptions, LauncherOptions};
pub use launcher::LauncherArguments;
pub use lists::StateOptions;
pub use signals::{Hangups, Signals};
pub use tokens::TokenOptions;

use crate::service::Notifiers;
use crate::settings::Settings;

/// Exit status for a command line or settings that cannot be used (`EX_CONFIG` of sysexits(3)).
pub const BAD_CONFIGURATION: u8 = 78;

/// Reads the settings again at each SIGHUP and hands them to `apply`, which answers what of them is not taken over; a file
/// at fault is refused with its sentences, and what was in force stays.
pub async fn on_reload(
    options: &Options,
    mut hangups: Hangups,
    notifiers: &Notifiers,
    mut apply: impl AsyncFnMut(&Arc<Settings>) -> Result<Vec<String>, String>,
) -> Infallible {
    loop {
        hangups.next().await;
        notifiers.reloading();
        let applied = match options.load_again().await {
            Ok(settings) => apply(&settings).await,
            Err(error) => Err(error),
        };
        match applied {
            Ok(left) => {
                left.iter().for_each(|sentence| tracing::warn!("{sentence}"));
                tracing::info!("the settings were read again");
                notifiers.reloaded();
            }
            Err(error) => {
                tracing::error!("the settings stay as they were: {error}");
                notifiers.refused(&error);
            }
        }
    }
}

/// Raises the number of open files to what is allowed at most: each module has two streams, each client one. Modules get
/// the usual number back when they are launched.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match soft < hard {
        true => setrlimit(Resource::RLIMIT_NOFILE, hard, hard),
        // Where a unit has raised it, the call may not even be allowed.
        false => Ok(()),
    });
    if let Err(error) = raised {
        tracing::warn!("the limit of open files stays as it is: {}", error.desc());
    }
}

/// Runs a daemon on one thread and turns its error into one line on standard error.
pub fn run(name: &str, main: impl Future<Output = Result<(), String>>) -> ExitCode {
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{name}: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(main) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{name}: {error}");
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

/// Options that every daemon takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Settings file; else the one named by SHMOOZE_SETTINGS, else /etc/shmooze/settings.json
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
}

impl Options {
    /// Reads the settings to start with, and warns of what this machine lacks for them. Where the file of a service manager is
    /// at fault, those that were good last are in force, as they are for the units.
    ///
    /// # Errors
    /// All that is wrong with the file, one sentence a line.
    pub fn load(&self) -> Result<Arc<Settings>, String> {
        let path = self.settings.as_deref();
        let settings = Settings::load(path).or_else(|error| {
            let (settings, place) = Settings::last_good(path).ok_or_else(|| error.to_string())?;
            tracing::error!("{error}");
            tracing::warn!("the settings that were good last are in force ({})", place.copy.display());
            Ok::<_, String>(settings)
        })?;
        Ok(Self::look_at(settings))
    }

    /// Reads the settings again, and warns of what this machine lacks for them.
    ///
    /// # Errors
    /// As [`Options::load`], and nothing is in force in their place but what was.
    pub async fn load_again(&self) -> Result<Arc<Settings>, String> {
        let path = self.settings.clone();
        blocking(move || Settings::load(path.as_deref()).map(Self::look_at).map_err(|error| error.to_string())).await
    }

    fn look_at(settings: Settings) -> Arc<Settings> {
        for problem in settings.problems_of_machine() {
            tracing::warn!("{problem}");
        }
        Arc::new(settings)
    }
}

/// Reads files where nobody waits for the disk, which may sleep, or for a directory of users that is asked over the network.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
}
