//! `shmooze-gateway`: HTTP in front of the services.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Options, Signals, TokenOptions, on_reload, restart, sockets};
use crate::access::Tokens;
use crate::gateway::{Accept, Configuration, Gateway};
use crate::service::{Heartbeat, Listeners, Notifier, Notifiers, Stream, activated, bind};
use crate::settings::{GATEWAY_PORT, Settings};

/// What the end may take beyond the time that requests under way have.
const GRACE: Duration = Duration::from_secs(5);

/// Serves HTTP until it is told to end.
///
/// # Errors
/// One sentence about settings or tokens that cannot be used or a port that cannot be had.
pub async fn main(options: &Options, token_options: &TokenOptions) -> Result<(), String> {
    // First, while there is one thread: it takes the descriptors out of the environment.
    let given = activated().map_err(|error| error.to_string())?;
    let signals = Signals::listen().map_err(|error| error.to_string())?;
    let settings = options.load()?;
    let tokens = token_options.load(&settings).await?;
    let notifiers = Notifiers::new();
    let running = Running::start(&settings, tokens, given, notifiers.part("gateway")).await?;
    tracing::info!("gateway serves {}", running.listeners.describe());
    let handle = running.handle();
    let reloading = on_reload(options, signals.hangups, &notifiers, async |new| {
        handle.apply(new, token_options.load(new).await?);
        Ok(restart::of_gateway(&settings, new))
    });
    tokio::select! {
        biased;
        () = running.until(signals.shutdown) => Ok(()),
        never = reloading => match never {},
    }
}

/// A gateway that is ready to be served.
pub(super) struct Running {
    handle: Handle,
    listeners: Listeners,
}

/// What remains of a gateway that serves, for those who configure it. Clones are the same.
#[derive(Clone)]
pub(super) struct Handle {
    gateway: Gateway,
    notifier: Notifier,
    /// Where it serves.
    place: Arc<str>,
}

impl Handle {
    /// Goes by other settings and tokens from now on.
    pub(super) fn apply(&self, settings: &Settings, tokens: Arc<Tokens>) {
        let configuration = configuration(settings, tokens);
        let status = self.describe(&configuration);
        self.gateway.configure(configuration);
        self.notifier.status(&status);
    }

    fn describe(&self, configuration: &Configuration) -> String {
        let count = configuration.services.len();
        let guarded = configuration.services.keys().filter(|name| configuration.tokens.guard_of(name).is_some()).count();
        let guarded = if guarded > 0 { format!(" ({guarded} for tokens)") } else { String::new() };
        format!("serving {count} endpoint{}{guarded} on {}", if count == 1 { "" } else { "s" }, self.place)
    }
}

/// What `settings` say, with `tokens` and with this machine's own name.
fn configuration(settings: &Settings, tokens: Arc<Tokens>) -> Configuration {
    let mut configuration = Configuration::from_settings(settings);
    if let Ok(name) = nix::unistd::gethostname() {
        configuration.hosts = configuration.hosts.and_machine(&name.to_string_lossy());
    }
    configuration.tokens = tokens;
    configuration
}

impl Running {
    /// Takes the sockets that were given, or else binds the port `wsgi` of the settings.
    pub(super) async fn start(
        settings: &Settings,
        tokens: Arc<Tokens>,
        given: Option<Listeners>,
        notifier: Notifier,
    ) -> Result<Self, String> {
        let file = &settings.file;
        let port = settings.ports.get(GATEWAY_PORT);
        let address = port.map(|port| SocketAddr::new(settings.gateway.address, *port));
        let listeners = match (given, address) {
            (Some(given), address) => {
                let expected = address.map(sockets::at);
                let expected = expected.as_ref().map_or(&[][..], |expected| expected);
                sockets::compare("gateway", &given, expected, &format!("ports.{GATEWAY_PORT}"), file);
                given
            }
            (None, Some(address)) => bind(address).await.map_err(|error| format!("gateway: {error}"))?,
            (None, None) => return Err(format!("{}: ports.{GATEWAY_PORT} is missing", file.display())),
        };
        let configuration = configuration(settings, tokens);
        let place = listeners.describe().into();
        let handle = Handle { gateway: Gateway::new(configuration.clone()), notifier, place };
        handle.notifier.status(&handle.describe(&configuration));
        Ok(Self { handle, listeners })
    }

    /// Where to point a browser.
    pub(super) fn url(&self) -> String {
        let address = self.listeners.addresses().into_iter().next();
        address.map_or_else(|| self.listeners.describe(), |address| format!("http://{address}/"))
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(super) async fn until(self, shutdown: CancellationToken) {
        let Handle { gateway, notifier, .. } = self.handle;
        let door = Door { listeners: self.listeners, heartbeat: notifier.heartbeat() };
        let serving = gateway.clone().serve(door, shutdown.clone());
        let (ended, is_ended) = tokio::sync::oneshot::channel::<()>();
        let telling = async {
            // After `serving` was polled for the first time, so that it is true.
            notifier.ready();
            shutdown.cancelled().await;
            notifier.stopping(gateway.drain_timeout() + GRACE);
            notifier.status("answering the last requests");
            // The door, which gave the signs of life, is closed.
            let _ = notifier.heartbeat().during(is_ended).await;
        };
        let serving = async {
            serving.await;
            drop(ended);
        };
        tokio::join!(biased; serving, telling);
        notifier.ended();
    }
}

/// Where connections come in. It is asked for the next by the loop that accepts them and gives that loop's signs of life.
struct Door {
    listeners: Listeners,
    heartbeat: Heartbeat,
}

impl Accept for Door {
    async fn accept(&mut self) -> io::Result<Stream> {
        self.heartbeat.during(self.listeners.accept()).await
    }
}
