//! `shmooze-queue` and `shmooze-pool`: one service of the settings.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{LauncherOptions, Options, Signals, StateOptions, on_reload, restart, sockets};
use crate::broker::{Broker, Configuration, Kind};
use crate::handover::{Keeper, Legacy, Stored};
use crate::launcher::Launcher;
use crate::loopback;
use crate::record::Record;
use crate::service::{LAST_ANSWERS, Limits, Listeners, Notifier, Notifiers, Room, activated_with_stored, bind_loopback, serve};
use crate::settings::{Lists, Service, Settings};
use crate::store::Store;

/// How long the launcher may take to find out why a service ends.
const JOB_DEADLINE: Duration = Duration::from_secs(5);

/// How long the command log may take for its last rows when a service ends, and the stored list for its last changes.
const RECORD_DEADLINE: Duration = Duration::from_secs(5);

/// Command line of `shmooze-queue` and `shmooze-pool`.
#[derive(Debug, clap::Args)]
pub struct BrokerArguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    launching: LauncherOptions,
    /// Which of its kind of the settings; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// How many descriptors the service manager keeps for this service (FileDescriptorStoreMax=): modules go on while it is
    /// started anew, where a launcher holds them
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    store: usize,
    #[command(flatten)]
    state: StateOptions,
}

/// Serves the queue or pool that the arguments name, or the only one of its kind that the settings have.
///
/// # Errors
/// One sentence about settings that cannot be used or a port that cannot be had.
pub async fn main(arguments: &BrokerArguments, kind: Kind) -> Result<(), String> {
    let BrokerArguments { options, launching, service, store, state } = arguments;
    // First, while there is one thread: it takes the descriptors out of the environment.
    let (given, stored) = activated_with_stored().map_err(|error| error.to_string())?;
    let signals = Signals::listen().map_err(|error| error.to_string())?;
    let settings = options.load()?;
    let name = choose(&settings, kind, service.as_deref())?;
    let launching = launching.open(&settings).await?;
    let notifiers = Notifiers::new();
    let notifier = notifiers.part(&name);
    let (keeper, legacy) = keep(stored, if launching.is_lasting() { *store } else { 0 }, kind).await;
    let kept = legacy.map(|legacy| (keeper, legacy));
    let service = Running::start(&settings, &name, given, launching.launcher(), notifier.clone(), kept, state).await?;
    tracing::info!("{name} serves {}", service.listeners.describe());
    let handle = service.handle();
    let reloading = on_reload(options, signals.hangups, &notifiers, async |new| {
        let same = new.services.get(&name).filter(|service| service.kind() == kind.name());
        let Some(lists) = same.and_then(Service::lists) else {
            return Err(format!("{}: services has no {} called {name} any more", new.file.display(), kind.name()));
        };
        // First, so that what the broker offers is launched as it is now.
        launching.set_settings(new).await?;
        handle.configure(lists).await;
        Ok(restart::of_broker(&settings, new, &name))
    });
    tokio::select! {
        biased;
        () = service.until(signals.shutdown, notifier) => Ok(()),
        never = reloading => match never {},
    }
}

/// What remains of a service that is served, for those who configure it.
pub(super) struct Handle {
    broker: Broker,
    room: Arc<Room>,
}

impl Handle {
    /// Goes by other types and bounds from now on; what is there already stays.
    pub(super) async fn configure(&self, lists: &Lists) {
        self.room.set_max_connections(lists.bounds.max_connections);
        self.broker.set_types(Arc::new(lists.clone())).await;
    }
}

/// A service that is ready to be served.
pub(super) struct Running {
    broker: Broker,
    record: Record,
    store: Store,
    pub(super) listeners: Listeners,
    room: Arc<Room>,
    launcher: Arc<dyn Launcher>,
    /// Modules may go on when this process ends.
    lasting: bool,
}

impl Running {
    /// Starts the broker of a service on the sockets that were given, or else on its port.
    pub(super) async fn start(
        settings: &Settings,
        name: &str,
        given: Option<Listeners>,
        launcher: Arc<dyn Launcher>,
        notifier: Notifier,
        kept: Option<(Keeper, Legacy)>,
        state: &StateOptions,
    ) -> Result<Self, String> {
        let (Some(port), Some(service)) = (settings.ports.get(name), settings.services.get(name)) else {
            return Err(format!("{}: there is no service {name}", settings.file.display()));
        };
        let Some(configuration) = Configuration::of(name, service, settings.max_line_bytes) else {
            return Err(format!("{}: services.{name} is neither a queue nor a pool", settings.file.display()));
        };
        let listeners = match given {
            Some(listeners) => {
                sockets::compare(name, &listeners, &loopback::addresses(*port), &format!("ports.{name}"), &settings.file);
                listeners
            }
            None => bind_loopback(*port).await.map_err(|error| format!("{name}: {error}"))?,
        };
        let record = Record::open(settings.log_database_path.clone(), name);
        let (store, stored) = state.open(name, service).await?;
        let configuration = Configuration { notifier, store: store.clone(), stored, ..configuration };
        let lasting = kept.is_some();
        let broker = match kept {
            Some((keeper, legacy)) => Broker::resume(configuration, Arc::clone(&launcher), record.clone(), keeper, legacy),
            None => Broker::start(configuration, Arc::clone(&launcher), record.clone()),
        };
        let max_connections = service.lists().map_or(0, |lists| lists.bounds.max_connections);
        let room = Room::new(Limits { max_line_bytes: settings.max_line_bytes, max_connections });
        Ok(Self { broker, record, store, listeners, room, launcher, lasting })
    }

    /// For those who configure it.
    pub(super) fn handle(&self) -> Handle {
        Handle { broker: self.broker.clone(), room: Arc::clone(&self.room) }
    }

    /// Serves until `shutdown`, then ends the modules in order, answers all that was asked and writes the last rows.
    pub(super) async fn until(self, shutdown: CancellationToken, notifier: Notifier) {
        let drained = CancellationToken::new();
        let serving = serve(self.listeners, Arc::new(self.broker.clone()), self.room, drained.clone());
        let draining = async {
            // `serving` was polled for the first time, so that it is true once the driver runs.
            self.broker.ping().await;
            notifier.ready();
            shutdown.cancelled().await;
            if self.lasting && is_restart(&*self.launcher).await {
                tracing::info!("modules go on, since the service is started anew");
                notifier.stopping(LAST_ANSWERS + 2 * RECORD_DEADLINE);
                drained.cancel();
                return;
            }
            // Connections stay while modules end: whoever waits for an answer gets it, whoever asks for more is refused.
            self.broker.drain().await;
            notifier.extend(LAST_ANSWERS + 2 * RECORD_DEADLINE);
            drained.cancel();
        };
        let (record, store) = (self.record, self.store);
        let ending = async {
            tokio::join!(biased; serving, draining);
            tokio::task::spawn_blocking(move || (store.close(RECORD_DEADLINE), record.close(RECORD_DEADLINE))).await
        };
        // The driver, which gave the signs of life, ends before the rest.
        let beating = async {
            drained.cancelled().await;
            notifier.heartbeat().during(std::future::pending::<()>()).await;
        };
        tokio::select! {
            biased;
            closed = ending => if let Ok((is_stored, recorded)) = closed {
                if !is_stored {
                    tracing::warn!("the last changes of the list may not be on disk, which took too long");
                }
                if let Err(error) = recorded {
                    tracing::warn!("{error}");
                }
            },
            () = beating => {}
        }
        notifier.ended();
    }
}

/// Takes over what a process before has left, and leaves as much to the next; nothing where the service manager keeps nothing.
async fn keep(stored: Stored, limit: usize, kind: Kind) -> (Keeper, Option<Legacy>) {
    if limit == 0 {
        return (Keeper::off(), None);
    }
    match Keeper::open(stored, limit, kind.engine()).await {
        Ok((keeper, legacy)) if keeper.is_on() => (keeper, Some(legacy)),
        Ok(_) => (Keeper::off(), None),
        Err(error) => {
            tracing::warn!("modules will not outlive this program: the service manager keeps nothing of them: {error}");
            (Keeper::off(), None)
        }
    }
}

/// Whether this process ends to be started anew. Where nobody can tell, it is taken to be: were it not, the scopes of
/// modules end with the unit.
async fn is_restart(launcher: &dyn Launcher) -> bool {
    match tokio::time::timeout(JOB_DEADLINE, launcher.job()).await {
        Ok(Ok(job)) => job.as_deref() == Some("restart"),
        Ok(Err(error)) => {
            tracing::warn!("modules are left to the service manager, since nobody knows why this service ends: {error}");
            true
        }
        Err(_) => {
            tracing::warn!("modules are left to the service manager, since the launcher does not tell why this service ends");
            true
        }
    }
}

fn choose(settings: &Settings, kind: Kind, name: Option<&str>) -> Result<String, String> {
    let word = kind.name();
    let file = settings.file.display();
    let of_kind: Vec<&String> =
        settings.services.iter().filter(|(_, service)| service.kind() == word).map(|(name, _)| name).collect();
    match name {
        Some(name) if of_kind.iter().any(|other| *other == name) => Ok(name.to_owned()),
        Some(name) => Err(format!("{file}: services has no {word} called {name}")),
        None => match of_kind[..] {
            [] => Err(format!("{file}: services has no {word}")),
            [only] => Ok(only.clone()),
            _ if of_kind.iter().any(|name| *name == word) => Ok(word.to_owned()),
            _ => Err(format!("{file}: services has several {word}s; choose one with --service")),
        },
    }
}
