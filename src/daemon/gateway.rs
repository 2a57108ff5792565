//! `shmooze-gateway`: HTTP in front of the services.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Options, on_signal};
use crate::client::Endpoint;
use crate::gateway::{Configuration, Gateway};
use crate::settings::{GATEWAY_PORT, Settings};

/// Serves HTTP until it is told to end.
///
/// # Errors
/// One sentence about settings that cannot be used or a port that cannot be had.
pub async fn main(options: &Options) -> Result<(), String> {
    let settings = options.load()?;
    let shutdown = on_signal().map_err(|error| error.to_string())?;
    let running = Running::start(&settings).await?;
    tracing::info!("gateway serves {}", running.url());
    running.until(shutdown).await;
    Ok(())
}

/// A gateway that is ready to be served.
pub(super) struct Running {
    gateway: Gateway,
    listener: TcpListener,
    address: SocketAddr,
}

impl Running {
    /// Binds the port `wsgi` of the settings.
    pub(super) async fn start(settings: &Arc<Settings>) -> Result<Self, String> {
        let file = settings.file.display();
        let port = settings.ports.get(GATEWAY_PORT).ok_or_else(|| format!("{file}: ports.{GATEWAY_PORT} is missing"))?;
        let address = SocketAddr::new(settings.gateway.address, *port);
        let listener = TcpListener::bind(address).await.map_err(|error| format!("gateway: {address}: {error}"))?;
        let address = listener.local_addr().map_err(|error| format!("gateway: {error}"))?;
        Ok(Self { gateway: Gateway::new(configuration(settings)), listener, address })
    }

    /// Where to point a browser.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(super) async fn until(self, shutdown: CancellationToken) {
        self.gateway.serve(self.listener, shutdown).await;
    }
}

fn configuration(settings: &Settings) -> Configuration {
    let services = settings.ports.iter().filter(|(name, _)| *name != GATEWAY_PORT);
    Configuration {
        services: services.map(|(name, port)| (name.clone(), Endpoint::local(*port))).collect(),
        public: Bytes::from(settings.public_json()),
        static_path: settings.static_path.clone(),
        static_prefix: settings.static_prefix.clone(),
        wsgi_prefix: settings.wsgi_prefix.clone(),
        max_line_bytes: settings.max_line_bytes,
        max_body_bytes: settings.gateway.max_body_bytes,
        service_timeout: settings.gateway.service_timeout,
        header_timeout: settings.gateway.header_timeout,
        idle_timeout: settings.gateway.idle_timeout,
        max_connections: settings.gateway.max_connections,
        ..Configuration::default()
    }
}
