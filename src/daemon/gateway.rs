//! `shmooze-gateway`: HTTP in front of the services.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Options, on_signal};
use crate::gateway::{Configuration, Gateway};
use crate::service::{Listeners, Notifier, activated};
use crate::settings::{GATEWAY_PORT, Settings};

/// How long requests under way may take when the gateway ends.
const DRAIN: Duration = Duration::from_secs(15);

/// Serves HTTP until it is told to end.
///
/// # Errors
/// One sentence about settings that cannot be used or a port that cannot be had.
pub async fn main(options: &Options) -> Result<(), String> {
    let given = activated().map_err(|error| error.to_string())?;
    let settings = options.load()?;
    let shutdown = on_signal().map_err(|error| error.to_string())?;
    let running = Running::start(&settings, given).await?;
    tracing::info!("gateway serves {}", running.url());
    let notifier = Notifier::new();
    let url = running.url();
    let serving = running.until(shutdown.clone());
    let ready = async {
        notifier.ready();
        notifier.status(&format!("serving {url}"));
        shutdown.cancelled().await;
        notifier.stopping(DRAIN);
    };
    tokio::join!(biased; serving, ready);
    Ok(())
}

/// A gateway that is ready to be served.
pub(super) struct Running {
    gateway: Gateway,
    listeners: Vec<TcpListener>,
}

impl Running {
    /// Takes the sockets that were given, or else binds the port `wsgi` of the settings.
    pub(super) async fn start(settings: &Arc<Settings>, given: Option<Listeners>) -> Result<Self, String> {
        let file = settings.file.display();
        let listeners = match given {
            Some(given) => given.into_tcp(),
            None => {
                let port = settings.ports.get(GATEWAY_PORT).ok_or_else(|| format!("{file}: ports.{GATEWAY_PORT} is missing"))?;
                let address = SocketAddr::new(settings.gateway.address, *port);
                vec![TcpListener::bind(address).await.map_err(|error| format!("gateway: {address}: {error}"))?]
            }
        };
        Ok(Self { gateway: Gateway::new(Configuration::from_settings(settings)), listeners })
    }

    /// Where to point a browser.
    pub(super) fn url(&self) -> String {
        let address = self.listeners.first().and_then(|listener| listener.local_addr().ok());
        address.map_or_else(|| "no address".to_owned(), |address| format!("http://{address}/"))
    }

    pub(super) async fn until(self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        for listener in self.listeners {
            tasks.spawn(self.gateway.clone().serve(listener, shutdown.clone()));
        }
        tasks.close();
        tasks.wait().await;
    }
}
