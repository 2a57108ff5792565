//! `shmooze-launcher`: the only program of the family that needs any privilege.

use std::convert::Infallible;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::{HouseOptions, Options, Signals, on_reload};
use crate::launcher::{self, Local};
use crate::scope::{Scopes, State};
use crate::service::{Listeners, Notifiers, activated};
use crate::settings::{self, Lists, Place, Service, Settings};

/// What the end may take beyond that of modules.
const GRACE: Duration = Duration::from_secs(5);
/// As whom the brokers of a package run.
const BROKERS: &str = "shmooze";
/// Who may connect to a socket that this program makes itself: its own user.
const SOCKET_MODE: u32 = 0o600;

/// Command line of `shmooze-launcher`.
#[derive(Debug, clap::Args)]
pub struct LauncherArguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    house: HouseOptions,
    /// Where brokers ask, unless the service manager gives a socket; else launcher.sock in /run/shmooze, or of a user who is
    /// not root in $XDG_RUNTIME_DIR/shmooze
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A user whose programs may ask, besides root, this program's own and shmooze; may be given several times
    #[arg(long, value_name = "USER")]
    allow: Vec<String>,
    /// As whom modules run whose settings name no user; else as this program's own
    #[arg(long, value_name = "USER")]
    module_user: Option<String>,
}

/// Launches modules for the brokers that ask, until it is told to end; modules live on where systemd holds them.
///
/// # Errors
/// One sentence about settings that cannot be used, a socket that cannot be had, or a manager that does not answer.
pub async fn main(arguments: &LauncherArguments) -> Result<(), String> {
    // First, while there is one thread: it takes the descriptors out of the environment.
    let given = activated().map_err(|error| error.to_string())?;
    let signals = Signals::listen().map_err(|error| error.to_string())?;
    let settings = arguments.options.load()?;
    keep(&settings);
    let users = users(&arguments.allow)?;
    if let Some(name) = &arguments.module_user {
        settings::find_user(name).map_err(|problem| format!("--module-user {problem}"))?;
    }
    let house = arguments.house.open().await?;
    let local = house.launcher(Arc::clone(&settings)).part_of(None).default_user(arguments.module_user.clone());
    // Before anybody asks: what an earlier process launched is this one's to end.
    let found = local.find().await.map_err(|error| error.to_string())?;
    let (listeners, made) = match given {
        Some(given) => (given, None),
        None => {
            let path = arguments.socket.clone().unwrap_or_else(default_socket);
            let listener = bind(&path).await.map_err(|error| format!("{}: {error}", path.display()))?;
            (Listeners::of_unix(listener), Some(path))
        }
    };
    let reload: launcher::Reload = {
        let (options, local) = (arguments.options.clone(), local.clone());
        Arc::new(move || {
            let (options, local) = (options.clone(), local.clone());
            Box::pin(async move {
                apply(&local, &options.load_again().await?);
                Ok(())
            })
        })
    };
    let described = listeners.describe();
    let listeners = listeners.into_unix()?;
    let mut serving = JoinSet::new();
    for listener in listeners {
        serving.spawn(launcher::serve(
            listener,
            local.clone(),
            Arc::clone(&users),
            Arc::clone(&reload),
            signals.shutdown.clone(),
        ));
    }
    tracing::info!("the launcher serves {described}");
    let notifiers = Notifiers::new();
    let notifier = notifiers.part("launcher");
    notifier.ready();
    notifier.status(&format!("{} modules found", found.len()));
    let reloading = on_reload(&arguments.options, signals.hangups, &notifiers, async |settings| {
        apply(&local, settings);
        Ok(Vec::new())
    });
    let mut heartbeat = notifier.heartbeat();
    let stopping = async {
        signals.shutdown.cancelled().await;
        notifier.stopping(longest_stop(&settings));
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        // Said before it is over.
        never = stopping => match never {},
        () = heartbeat.during(async { while serving.join_next().await.is_some() {} }) => {}
        never = reloading => match never {},
    }
    if let Some(path) = made {
        let _ = std::fs::remove_file(path);
    }
    if !house.lasting {
        heartbeat.during(end_all(house.scopes.as_ref())).await;
    }
    Ok(())
}

/// Launches by these settings from now on.
fn apply(local: &Local, settings: &Arc<Settings>) {
    keep(settings);
    local.set_settings(Arc::clone(settings));
}

/// Keeps settings that are good for the day on which their file is not.
fn keep(settings: &Settings) {
    let Some(place) = Place::of_file(&settings.file) else { return };
    match place.keep(settings) {
        Ok(true) => tracing::debug!("the settings are kept in {}", place.copy.display()),
        Ok(false) => {}
        Err(error) => tracing::debug!("the settings could not be kept in {}: {error}", place.copy.display()),
    }
}

/// How long the end may take at most, that of modules which do not live on included.
fn longest_stop(settings: &Settings) -> Duration {
    let types = settings.services.values().filter_map(Service::lists).flat_map(Lists::all);
    types.map(|module_type| module_type.timeouts.terminate).max().unwrap_or_default() + GRACE
}

/// The ids of those who may ask.
fn users(allowed: &[String]) -> Result<Arc<[u32]>, String> {
    let mut users = vec![0, geteuid().as_raw()];
    // Missing where there is no package.
    users.extend(settings::find_user(BROKERS).ok().map(|user| user.uid.as_raw()));
    for name in allowed {
        users.push(settings::find_user(name).map_err(|problem| format!("--allow {problem}"))?.uid.as_raw());
    }
    Ok(users.into())
}

fn default_socket() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !geteuid().is_root());
    runtime.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("shmooze/launcher.sock")
}

/// Binds a socket; one that a process left which is gone is replaced.
async fn bind(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let stale = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if stale {
        if UnixStream::connect(path).await.is_ok() {
            return Err(std::io::Error::other("another launcher answers there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

/// Ends every module of a house that does not last.
async fn end_all(scopes: &dyn Scopes) {
    for listed in scopes.list().await.unwrap_or_default() {
        let state = scopes.watch(listed.uid);
        if let Err(error) = scopes.stop(listed.uid).await {
            tracing::error!("module {} could not be stopped: {error}", listed.uid.short());
        } else if let Some(mut state) = state {
            let _ = state.wait_for(State::is_gone).await;
        }
    }
}
