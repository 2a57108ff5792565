//! Where modules live: which house of scopes a program launches them in, or which launcher it asks.

use std::path::PathBuf;
use std::sync::Arc;

use crate::launcher::{Launcher, Local, Remote};
use crate::scope::{ProcessGroup, Scopes, Systemd, service_of_process};
use crate::settings::Settings;

/// Where packages install programs that people do not run by hand.
const LIBEXEC: &str = "/usr/libexec/shmooze";

/// Where the processes of modules are to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Home {
    /// In scopes of systemd where a manager answers, else in process groups
    #[default]
    Auto,
    /// In scopes of systemd, or not at all
    Systemd,
    /// In process groups
    ProcessGroups,
}

/// Options of a program that launches modules itself.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct HouseOptions {
    /// Where modules live
    #[arg(long, value_name = "WHERE", value_enum, default_value_t, env = "SHMOOZE_SCOPES")]
    pub scopes: Home,
}

/// Options of a program that launches modules or has them launched.
#[derive(Debug, Clone, clap::Args)]
pub struct LauncherOptions {
    /// Socket of the shmooze-launcher that launches modules; without it this program does
    #[arg(long, value_name = "SOCKET", env = "SHMOOZE_LAUNCHER")]
    pub launcher: Option<PathBuf>,
    #[command(flatten)]
    house: HouseOptions,
}

/// A house of scopes.
pub struct House {
    /// The house itself.
    pub scopes: Arc<dyn Scopes>,
    /// Whether modules live on when this process ends, and are found again by the next.
    pub lasting: bool,
}

impl HouseOptions {
    /// Opens the house: root's modules live in the system's manager, others in that of their user. Where no manager answers
    /// it says in one warning what is lost.
    ///
    /// # Errors
    /// One sentence, where `shmooze-shim` is missing or systemd was asked for and does not answer.
    pub async fn open(self) -> Result<House, String> {
        let shim = shim()?;
        if self.scopes == Home::ProcessGroups {
            return Ok(House::of_process_groups(shim));
        }
        let root = nix::unistd::geteuid().is_root();
        let systemd = if root { Systemd::system(shim.clone()) } else { Systemd::user(shim.clone()) };
        let manager = if root { "the system's manager" } else { "the user's manager" };
        match systemd.probe().await {
            Ok(version) => {
                tracing::info!("modules live in scopes of {manager} (systemd {version})");
                Ok(House { scopes: Arc::new(systemd), lasting: true })
            }
            Err(error) if self.scopes == Home::Systemd => Err(format!("{manager} of systemd does not answer: {error}")),
            Err(error) => {
                tracing::warn!(
                    "modules live in process groups, since {manager} of systemd does not answer: what they start may outlive \
                     them where it hides, limits on memory, tasks and CPU do not hold, and they end with this program ({error})"
                );
                Ok(House::of_process_groups(shim))
            }
        }
    }
}

impl House {
    fn of_process_groups(shim: PathBuf) -> Self {
        Self { scopes: Arc::new(ProcessGroup::new(shim)), lasting: false }
    }

    /// A launcher in this house. Its modules end with the unit of this process, where it is the service of one.
    pub fn launcher(&self, settings: Arc<Settings>) -> Local {
        let unit = service_of_process(std::process::id());
        Local::new(settings, Arc::clone(&self.scopes)).part_of(unit)
    }
}

/// Whom a broker asks.
pub(super) enum Launching {
    /// This process itself.
    Local(Local),
    /// A program of its own, which reads the settings itself.
    Remote(Remote),
}

impl LauncherOptions {
    /// The launcher of these options.
    ///
    /// # Errors
    /// As [`HouseOptions::open`].
    pub(super) async fn open(&self, settings: &Arc<Settings>) -> Result<Launching, String> {
        match &self.launcher {
            Some(path) => Ok(Launching::Remote(Remote::new(path.clone()))),
            None => Ok(Launching::Local(self.house.open().await?.launcher(Arc::clone(settings)))),
        }
    }
}

impl Launching {
    pub(super) fn launcher(&self) -> Arc<dyn Launcher> {
        match self {
            Self::Local(local) => Arc::new(local.clone()),
            Self::Remote(remote) => Arc::new(remote.clone()),
        }
    }

    /// Whether modules may go on when this process ends: another one holds them.
    pub(super) const fn is_lasting(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// Launches by other settings from now on; a launcher of its own reads them itself.
    pub(super) async fn set_settings(&self, settings: &Arc<Settings>) -> Result<(), String> {
        match self {
            Self::Local(local) => local.set_settings(Arc::clone(settings)),
            Self::Remote(remote) => remote.reload().await.map_err(|error| format!("launcher: {error}"))?,
        }
        Ok(())
    }
}

/// The program `shmooze-shim`: beside this one, else where packages install it.
fn shim() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("the path of this program is not known: {error}"))?;
    let beside = own.with_file_name("shmooze-shim");
    let installed = PathBuf::from(LIBEXEC).join("shmooze-shim");
    [beside, installed]
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| format!("the program shmooze-shim is neither beside {} nor in {LIBEXEC}", own.display()))
}
