//! `shmooze-run`: the whole family in one foreground process.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::broker::{Running, addresses, shim};
use super::{Options, on_signal};
use crate::launcher::{Launcher, Local};
use crate::scope::ProcessGroup;
use crate::settings::{GATEWAY_PORT, Service};

/// Runs every queue and pool, the application's own services and the gateway of the settings.
///
/// # Errors
/// One sentence about settings that cannot be used or a port that cannot be had.
pub async fn main(options: &Options) -> Result<(), String> {
    let settings = options.load()?;
    let shutdown = on_signal().map_err(|error| error.to_string())?;
    let scopes = Arc::new(ProcessGroup::new(shim()?));
    let launcher: Arc<dyn Launcher> = Arc::new(Local::new(Arc::clone(&settings), scopes).inheriting());
    let tasks = TaskTracker::new();
    // Everything is bound before anything is served: a port that is taken ends all of it with one sentence.
    let mut services = Vec::new();
    for (name, service) in &settings.services {
        if !matches!(service, Service::App(_)) {
            services.push((name, Running::start(&settings, name, Arc::clone(&launcher)).await?));
        }
    }
    let _ = GATEWAY_PORT;
    for (name, service) in services {
        tracing::info!("{name} serves {}", addresses(&service.listeners));
        tasks.spawn(service.until(shutdown.clone()));
    }
    ended(&tasks, &shutdown).await;
    Ok(())
}

async fn ended(tasks: &TaskTracker, shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tasks.close();
    tasks.wait().await;
}
