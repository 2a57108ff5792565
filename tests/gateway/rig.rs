//! A gateway on a port of its own.

use std::net::SocketAddr;
use std::time::Duration;

use shmooze::client::Endpoint;
use shmooze::gateway::{Configuration, Gateway};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::http::Http;

/// Fails a test that would hang.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("the test hangs")
}

pub struct Rig {
    pub gateway: Gateway,
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<()>,
}

impl Rig {
    pub async fn start(configuration: Configuration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let gateway = Gateway::new(configuration);
        let served = tokio::spawn(gateway.clone().serve(listener, shutdown.clone()));
        Self { gateway, address, shutdown, served }
    }

    pub fn connect(&self) -> impl Future<Output = Http> + use<> {
        Http::connect(self.address)
    }
}

/// A configuration with these services.
pub fn services<const N: usize>(services: [(&str, Endpoint); N]) -> Configuration {
    Configuration { services: services.map(|(name, endpoint)| (name.to_owned(), endpoint)).into(), ..Configuration::default() }
}
