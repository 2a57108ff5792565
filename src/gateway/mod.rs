//! The gateway: HTTP in front of the services (protocol.md section 7).
//!
//! ```text
//!   serve ──▶ connection ──▶ Gateway::handle ──route──▶ endpoint ──▶ client ──▶ a service
//!  (accept,   (time-outs,      │  ▲     │     ├────────▶ events ◀─watch─ the same service
//!   limits,    drain)          ▼  │     │     ├────────▶ document: settings.json, openapi.json
//!   drain)                     guard    │     ├────────▶ files ──▶ static_path
//!           (proxy, host, origin,      │     ├────────▶ monitoring ◀─metrics─ every queue and pool
//!                           token)      │     └────────▶ answer: 404, 405
//!                                       ▼
//!                                   delivery (compression, headers) ──▶ the client
//! ```
//!
//! Everything that looks at a whole request whatever its path belongs at the top of [`Gateway::handle`], what looks at a whole
//! answer, into `delivery`; what answers below one service belongs beside `endpoint`; a path of our own gets a `route::Route`.
//!
//! All of it is made after a [`Configuration`], and made anew where [`Gateway::configure`] gives another: a request goes by
//! the one in force when its head has come, a connection by that of its first byte.
//!
//! **Invariants:** a request waits for nothing but its own service or file; memory for each is bounded by the limits of the
//! [`Configuration`]; a client that stops talking or listening is let go.

mod access_log;
mod answer;
mod body;
mod coding;
mod compressed;
mod configuration;
mod connection;
mod delivery;
mod document;
mod endpoint;
mod events;
mod files;
mod forwarded;
mod guard;
mod monitoring;
mod openapi;
mod route;
mod serve;
mod socket;
mod watch;

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

pub use answer::{Answer, AnswerBody};
pub use configuration::Configuration;
pub use serve::{Accept, Stream};

use access_log::Noted;
use coding::Compressor;
use connection::Protocol;
use delivery::Delivery;
use document::Document;
use events::Browsers;
use files::Files;
use forwarded::Forwarded;
use guard::Admitted;
use monitoring::Monitoring;
use openapi::Description;
use route::{Route, Routes};

/// The gateway. Clones share everything; each may be used as a [`tower::Service`], without a port.
#[derive(Debug, Clone)]
pub struct Gateway {
    shared: Arc<RwLock<Arc<Shared>>>,
}

/// What is made after one configuration.
#[derive(Debug)]
struct Shared {
    configuration: Configuration,
    routes: Routes,
    settings: Document,
    files: Option<Files>,
    delivery: Delivery,
    protocol: Protocol,
    bodies: body::Room,
    browsers: Browsers,
    monitoring: Monitoring,
    description: Description,
}

impl Shared {
    /// Services that `before` knew, too, keep their connections.
    fn new(configuration: Configuration, before: Option<&Self>) -> Self {
        let routes = Routes::new(&configuration, before.map(|before| &before.routes));
        let compressor = Compressor::default();
        let settings = Document::new(configuration.public.clone());
        let files = configuration.static_path.as_deref().map(|path| Files::new(path, compressor.clone()));
        let delivery = Delivery::new(&configuration, compressor);
        let protocol = connection::protocol(&configuration);
        let bodies = body::Room::new(configuration.max_body_bytes);
        let browsers = before.map(|before| Arc::clone(&before.browsers)).unwrap_or_default();
        let monitoring = Monitoring::new(&configuration, before.map(|before| &before.monitoring));
        Self {
            configuration,
            routes,
            settings,
            files,
            delivery,
            protocol,
            bodies,
            browsers,
            monitoring,
            description: Description::default(),
        }
    }

    /// Answers a request that is for us.
    async fn answer<B>(&self, parts: &Parts, body: B, noted: &mut Option<Noted>) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Display,
    {
        let Self { configuration, routes, settings, files, delivery: _, protocol: _, bodies, browsers, monitoring, description } =
            self;
        let Some(path) = route::decode(parts.uri.path()) else { return answer::not_found() };
        match routes.find(&path) {
            Route::Service(service) => service.answer(configuration, bodies, parts, body, noted).await,
            Route::Events(service) => service.events(configuration, browsers, parts).await,
            Route::Settings => settings.answer(parts),
            Route::Health if is_read(&parts.method) => monitoring.health(configuration, parts).await,
            Route::Metrics if is_read(&parts.method) => monitoring.metrics(configuration, routes, parts).await,
            Route::Health | Route::Metrics => answer::method_not_allowed("GET, HEAD"),
            Route::Description => description.answer(configuration, parts),
            Route::File(path) => match files {
                Some(files) => files.answer(parts, path).await,
                None => answer::not_found(),
            },
            Route::Nowhere => answer::not_found(),
        }
    }
}

impl Gateway {
    /// A gateway after `configuration`. Nothing is opened yet.
    #[must_use]
    pub fn new(configuration: Configuration) -> Self {
        Self { shared: Arc::new(RwLock::new(Arc::new(Shared::new(configuration, None)))) }
    }

    /// Goes by another configuration from now on. Requests that are worked on end as they began; connections that are open
    /// keep their limits. Whoever follows events of a service that has moved, or takes other tokens, has to come again.
    pub fn configure(&self, configuration: Configuration) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        let new = Arc::new(Shared::new(configuration, Some(&shared)));
        shared
            .routes
            .give_way(&new.routes, |name| shared.configuration.tokens.guard_of(name) == new.configuration.tokens.guard_of(name));
        *shared = new;
    }

    /// Answers one request. Whatever goes wrong is an answer, too. Who asks is told by an extension of the type
    /// [`Peer`](crate::access::Peer), which [`Gateway::serve`] sees to; without it no proxy is believed.
    pub async fn handle<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Display,
    {
        let shared = self.shared();
        let (parts, body) = request.into_parts();
        let forwarded = Forwarded::read(&parts, &shared.configuration.proxies);
        let client = forwarded.as_ref().map_or_else(|_| parts.extensions.get().copied(), |forwarded| forwarded.client);
        let mut noted = Noted::note(shared.configuration.access_log, &parts, client);
        let admitted = match forwarded {
            Ok(forwarded) => Admitted::admit(&parts, forwarded, &shared.configuration),
            Err(error) => Err(guard::refuse(&parts, StatusCode::BAD_REQUEST, &error).into()),
        };
        let answer = match admitted {
            Ok(admitted) => match admitted.preflight(&parts) {
                Some(answer) => admitted.tell(answer),
                None => admitted.tell(shared.answer(&parts, body, &mut noted).await),
            },
            Err(answer) => *answer,
        };
        let answer = shared.delivery.finish(&parts, answer).await;
        match noted {
            Some(noted) => noted.answered(answer),
            None => answer,
        }
    }

    /// How long requests under way are waited for at the end.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.shared().configuration.drain_timeout
    }

    /// What is in force.
    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<B> tower::Service<Request<B>> for Gateway
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display + Send,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let gateway = self.clone();
        Box::pin(async move { Ok(gateway.handle(request).await) })
    }
}

/// Whether `method` only reads.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
