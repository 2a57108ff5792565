//! `shmooze-run`: the whole family in one foreground process.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::{HouseOptions, Options, Signals, StateOptions, TokenOptions, apps, broker, gateway, on_reload, restart};
use crate::service::{Activation, Notifiers};
use crate::settings::{GATEWAY_PORT, Service, Timeouts};

/// What the end of the application's own services may take beyond the time that they have.
const GRACE: Duration = Duration::from_secs(5);

/// Runs every queue and pool, the application's own services and the gateway of the settings.
///
/// # Errors
/// One sentence about settings or tokens that cannot be used, a port that cannot be had or a socket that nothing is served on.
pub async fn main(
    options: &Options,
    token_options: &TokenOptions,
    house: HouseOptions,
    state: &StateOptions,
) -> Result<(), String> {
    // First, while there is one thread: it takes the descriptors out of the environment.
    let mut given = Activation::of_process().map_err(|error| error.to_string())?;
    let signals = Signals::listen().map_err(|error| error.to_string())?;
    let settings = options.load()?;
    let tokens = token_options.load(&settings).await?;
    let house = house.open().await?;
    let launcher = house.launcher(Arc::clone(&settings)).inheriting();
    let notifiers = Notifiers::new();
    let is_app = |service: &Service| matches!(service, Service::App(_));
    let names = |apps: bool| settings.services.iter().filter(move |(_, service)| is_app(service) == apps).map(|(name, _)| name);
    let is_served = |name: &str| name == GATEWAY_PORT || settings.services.get(name).is_some_and(|service| !is_app(service));
    let mut take = |name: &str| {
        let port = settings.ports.get(name)?;
        given.as_mut()?.take(name, *port, is_served)
    };
    let (mut sockets, gateway_sockets) = (Vec::new(), take(GATEWAY_PORT));
    for name in names(false) {
        sockets.push((name, take(name)));
    }
    if let Some(left) = given.and_then(|given| given.left()) {
        let file = settings.file.display();
        return Err(format!("{left} of socket activation is neither named as a service of {file} nor on the port of one"));
    }
    // Everything is bound before anything is started: a port that is taken ends all of it with one sentence.
    let mut services = Vec::new();
    for (name, given) in sockets {
        let notifier = notifiers.part(name);
        let launcher = Arc::new(launcher.clone());
        let service = broker::Running::start(&settings, name, given, launcher, notifier.clone(), None, state).await?;
        services.push((name, service, notifier));
    }
    let gateway = match settings.ports.get(GATEWAY_PORT) {
        Some(_) => Some(gateway::Running::start(&settings, tokens, gateway_sockets, notifiers.part("gateway")).await?),
        None => None,
    };
    let brokers: Vec<_> = services.iter().map(|(name, service, _)| (*name, service.handle())).collect();
    let gateway_handle = gateway.as_ref().map(gateway::Running::handle);
    let tasks = TaskTracker::new();
    for (name, service, notifier) in services {
        tracing::info!("{name} serves {}", service.listeners.describe());
        tasks.spawn(service.until(signals.shutdown.clone(), notifier));
    }
    for name in names(true) {
        tasks.spawn(apps::keep(name.clone(), launcher.clone(), Arc::clone(&house.scopes), signals.shutdown.clone()));
    }
    if let Some(gateway) = gateway {
        // Nobody may be there to read it.
        let name = settings.name.as_deref().unwrap_or("shmooze");
        let _ = writeln!(std::io::stdout(), "{name} is open at {}", gateway.url());
        tasks.spawn(gateway.until(signals.shutdown.clone()));
    }
    tasks.close();
    let reloading = on_reload(options, signals.hangups, &notifiers, async |new| {
        let mut left = restart::of_services(&settings, new);
        let new = Arc::new(restart::kept(&settings, new));
        // Before anything goes by what is new: all of it is taken over or nothing.
        let tokens = token_options.load(&new).await?;
        launcher.set_settings(Arc::clone(&new));
        for (name, broker) in &brokers {
            if let Some(lists) = new.services.get(*name).and_then(Service::lists) {
                broker.configure(lists).await;
            }
            left.extend(restart::of_broker(&settings, &new, name));
        }
        if let Some(gateway) = &gateway_handle {
            gateway.apply(&new, tokens);
            left.extend(restart::of_gateway(&settings, &new));
        }
        Ok(left)
    });
    let ending = async {
        signals.shutdown.cancelled().await;
        if names(true).next().is_some() {
            notifiers.stopping(Timeouts::default().terminate + GRACE);
        }
        tasks.wait().await;
    };
    tokio::select! {
        () = ending => Ok(()),
        never = reloading => match never {},
    }
}
