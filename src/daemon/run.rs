//! `shmooze-run`: the whole family in one foreground process.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::broker;
use super::{HouseOptions, Options, apps, gateway, on_signal};
use crate::service::Notifier;
use crate::settings::{GATEWAY_PORT, Service};

/// Runs every queue and pool, the application's own services and the gateway of the settings.
///
/// # Errors
/// One sentence about settings that cannot be used or a port that cannot be had.
pub async fn main(options: &Options, house: HouseOptions) -> Result<(), String> {
    let settings = options.load()?;
    let shutdown = on_signal().map_err(|error| error.to_string())?;
    let house = house.open().await?;
    let launcher = house.launcher(Arc::clone(&settings)).inheriting();
    let tasks = TaskTracker::new();
    // Everything is bound before anything is started: a port that is taken ends all of it with one sentence.
    let mut services = Vec::new();
    for name in settings.services.iter().filter(|(_, service)| !matches!(service, Service::App(_))).map(|(name, _)| name) {
        services
            .push((name, broker::Running::start(&settings, name, None, Arc::new(launcher.clone()), Notifier::silent()).await?));
    }
    let gateway = match settings.ports.get(GATEWAY_PORT) {
        Some(_) => Some(gateway::Running::start(&settings, None).await?),
        None => None,
    };
    for (name, service) in services {
        tracing::info!("{name} serves {}", service.listeners.describe());
        tasks.spawn(service.until(shutdown.clone(), Notifier::silent()));
    }
    for (name, _) in settings.services.iter().filter(|(_, service)| matches!(service, Service::App(_))) {
        tasks.spawn(apps::keep(name.clone(), launcher.clone(), Arc::clone(&house.scopes), shutdown.clone()));
    }
    if let Some(gateway) = gateway {
        let url = gateway.url();
        tasks.spawn(gateway.until(shutdown.clone()));
        println!("{} is open at {url}", settings.name.as_deref().unwrap_or("shmooze"));
    }
    tasks.close();
    Notifier::new().ready();
    shutdown.cancelled().await;
    tasks.wait().await;
    Ok(())
}
