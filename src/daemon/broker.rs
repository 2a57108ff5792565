//! `shmooze-queue` and `shmooze-pool`: one service of the settings.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{LauncherOptions, Options, on_reload, on_signal};
use crate::broker::{Broker, Configuration, Kind};
use crate::launcher::Launcher;
use crate::record::Record;
use crate::service::{Limits, Listeners, Notifier, activated, bind_loopback, serve};
use crate::settings::{Service, Settings};

/// How long the command log may take for its last rows when a service ends.
const RECORD_DEADLINE: Duration = Duration::from_secs(5);

/// Serves the queue or pool called `name`, or the only one of its kind that the settings have.
///
/// # Errors
/// One sentence about settings that cannot be used or a port that cannot be had.
pub async fn main(kind: Kind, name: Option<&str>, options: &Options, launching: &LauncherOptions) -> Result<(), String> {
    // First, while there is one thread: it takes the descriptors out of the environment.
    let given = activated().map_err(|error| error.to_string())?;
    let settings = options.load()?;
    let name = choose(&settings, kind, name)?;
    let shutdown = on_signal().map_err(|error| error.to_string())?;
    let launching = launching.open(&settings).await?;
    let notifier = Notifier::new();
    let service = Running::start(&settings, &name, given, launching.launcher(), notifier).await?;
    tracing::info!("{name} serves {}", service.listeners.describe());
    let broker = service.broker.clone();
    let reloading = on_reload(options, notifier, async |settings| {
        let Some(lists) = settings.services.get(&name).and_then(Service::lists) else {
            return Err(format!("{}: services has no {name} any more", settings.file.display()));
        };
        // First, so that what the broker asks for from now on is launched as it is now.
        launching.set_settings(settings).await?;
        broker.set_types(Arc::new(lists.clone())).await;
        Ok(())
    });
    tokio::select! {
        () = service.until(shutdown, notifier) => Ok(()),
        error = reloading => Err(error.to_string()),
    }
}

/// A service that is ready to be served.
pub(super) struct Running {
    broker: Broker,
    record: Record,
    pub(super) listeners: Listeners,
    limits: Limits,
}

impl Running {
    /// Starts the broker of a service on the sockets that were given, or else on its port.
    pub(super) async fn start(
        settings: &Settings,
        name: &str,
        given: Option<Listeners>,
        launcher: Arc<dyn Launcher>,
        notifier: Notifier,
    ) -> Result<Self, String> {
        let (Some(port), Some(service)) = (settings.ports.get(name), settings.services.get(name)) else {
            return Err(format!("{}: there is no service {name}", settings.file.display()));
        };
        let Some(configuration) = Configuration::of(name, service, settings.max_line_bytes) else {
            return Err(format!("{}: services.{name} is neither a queue nor a pool", settings.file.display()));
        };
        let listeners = match given {
            Some(listeners) => listeners,
            None => bind_loopback(*port).await.map_err(|error| format!("{name}: {error}"))?,
        };
        let record = Record::open(settings.log_database_path.clone(), name);
        let broker = Broker::start(Configuration { notifier, ..configuration }, launcher, record.clone());
        let limits = Limits { max_line_bytes: settings.max_line_bytes, ..Limits::default() };
        Ok(Self { broker, record, listeners, limits })
    }

    /// Serves until `shutdown`, then ends the modules in order, answers all that was asked and writes the last rows.
    pub(super) async fn until(self, shutdown: CancellationToken, notifier: Notifier) {
        let drained = CancellationToken::new();
        let serving = serve(self.listeners, Arc::new(self.broker.clone()), self.limits, drained.clone());
        let draining = async {
            // After `serving` was polled for the first time, so that it is true.
            notifier.ready();
            shutdown.cancelled().await;
            // Connections stay while modules end: whoever waits for an answer gets it, whoever asks for more is refused.
            self.broker.drain().await;
            drained.cancel();
        };
        tokio::join!(biased; serving, draining);
        let record = self.record;
        let closed = tokio::task::spawn_blocking(move || record.close(RECORD_DEADLINE)).await;
        if let Ok(Err(error)) = closed {
            tracing::warn!("{error}");
        }
    }
}

fn choose(settings: &Settings, kind: Kind, name: Option<&str>) -> Result<String, String> {
    let word = if kind == Kind::Queue { "queue" } else { "pool" };
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
