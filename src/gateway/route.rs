//! Which path leads where.

use std::borrow::Cow;
use std::sync::Arc;

use indexmap::IndexMap;
use percent_encoding::percent_decode_str;

use super::Configuration;
use super::endpoint::Service;
use super::openapi;

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Route<'a> {
    /// To a service.
    Service(&'a Service),
    /// To the events of a service.
    Events(&'a Service),
    /// To the public settings.
    Settings,
    /// To how the services are.
    Health,
    /// To what is counted.
    Metrics,
    /// To the description of all of this.
    Description,
    /// To the static file of this path below `static_path`.
    File(&'a str),
    /// Nowhere.
    Nowhere,
}

/// All paths that lead somewhere.
#[derive(Debug)]
pub(super) struct Routes {
    services: IndexMap<String, Arc<Service>>,
    wsgi_prefix: String,
    static_prefix: String,
    has_metrics: bool,
}

impl Routes {
    /// Services that are the same in `before` are taken from there, with the connections that they have.
    pub(super) fn new(configuration: &Configuration, before: Option<&Self>) -> Self {
        let service = |(name, endpoint): (&String, _)| {
            let before = before.and_then(|before| before.services.get(name));
            let same = before.filter(|same| same.is_at(endpoint, configuration));
            let new = || Arc::new(Service::new(name, endpoint, configuration, before.map(AsRef::as_ref)));
            let service = same.map_or_else(new, Arc::clone);
            (name.clone(), service)
        };
        Self {
            services: configuration.services.iter().map(service).collect(),
            wsgi_prefix: configuration.wsgi_prefix.clone(),
            static_prefix: configuration.static_prefix.clone(),
            has_metrics: configuration.metrics,
        }
    }

    /// Ends the events of services that `new` has no more, and makes those who follow others come again where who may do so is not
    /// as it was.
    pub(super) fn give_way(&self, new: &Self, is_guarded_alike: impl Fn(&str) -> bool) {
        for (name, service) in &self.services {
            if new.services.get(name).is_none_or(|same| !Arc::ptr_eq(same, service)) {
                service.hub().close();
            } else if !is_guarded_alike(name) {
                service.hub().end();
            }
        }
    }

    /// All services.
    pub(super) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(AsRef::as_ref)
    }

    /// Ends all events, for good.
    pub(super) fn end_events(&self) {
        self.services.values().for_each(|service| service.hub().close());
    }

    /// Where `path`, decoded, leads. As in the original a path below that of a service or of the settings leads there,
    /// too, and those come before a static file of the same name; so do our own, of which no path is below.
    pub(super) fn find<'a>(&'a self, path: &'a str) -> Route<'a> {
        if let Some(below) = path.strip_prefix(&*self.wsgi_prefix) {
            let (name, rest) = below.split_once('/').unwrap_or((below, ""));
            if let Some(service) = self.services.get(name) {
                return if rest == "events" { Route::Events(service) } else { Route::Service(service) };
            }
            match below {
                _ if name == "settings.json" => return Route::Settings,
                openapi::NAME => return Route::Description,
                "healthz" => return Route::Health,
                "metrics" if self.has_metrics => return Route::Metrics,
                _ => {}
            }
        }
        match path.strip_prefix(&*self.static_prefix) {
            _ if path == "/" => Route::File("index.html"),
            Some(below) => Route::File(below),
            None => Route::Nowhere,
        }
    }
}

/// The path without its percent-encoding; `None` where that is not UTF-8.
pub(super) fn decode(path: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(path).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Endpoint;

    fn routes(wsgi_prefix: &str, static_prefix: &str) -> Routes {
        let services = [("queue", 1), ("fake/x", 2), ("café", 3)];
        let configuration = Configuration {
            services: services.map(|(name, port)| (name.to_owned(), Endpoint::local(port))).into(),
            wsgi_prefix: wsgi_prefix.to_owned(),
            static_prefix: static_prefix.to_owned(),
            ..Configuration::default()
        };
        Routes::new(&configuration, None)
    }

    fn find(routes: &Routes, path: &str) -> String {
        match routes.find(&decode(path).unwrap()) {
            Route::Service(service) => service.name().to_owned(),
            Route::Events(service) => format!("events of {}", service.name()),
            Route::File(path) => format!("file {path}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_usual_prefixes() {
        let routes = routes("/", "/static/");
        for (path, leads_to) in [
            ("/queue", "queue"),
            ("/queue/", "queue"),
            ("/queue/extra/path", "queue"),
            ("/queue/../pool", "queue"),
            ("/%71ueue", "queue"),
            ("/queue%2f", "queue"),
            ("/queue/events", "events of queue"),
            ("/caf%C3%A9/events", "events of café"),
            ("/queue/events/", "queue"),
            ("/settings.json/events", "Settings"),
            ("/caf%C3%A9", "café"),
            ("/QUEUE", "Nowhere"),
            ("/queuex", "Nowhere"),
            ("/wsgi", "Nowhere"),
            ("/nope", "Nowhere"),
            ("//", "Nowhere"),
            ("*", "Nowhere"),
            ("/index.html", "Nowhere"),
            ("/static", "Nowhere"),
            ("/settings.json", "Settings"),
            ("/settings.json/extra/path", "Settings"),
            ("/healthz", "Health"),
            ("/healthz/", "Nowhere"),
            ("/metrics", "Metrics"),
            ("/metrics/x", "Nowhere"),
            ("/openapi.json", "Description"),
            ("/openapi.json/extra", "Nowhere"),
            ("/settings", "Nowhere"),
            ("/settings.jsonx", "Nowhere"),
            ("/", "file index.html"),
            ("/static/", "file "),
            ("/static/a%20b.txt", "file a b.txt"),
            ("/static/%252e", "file %2e"),
            ("/static/queue", "file queue"),
        ] {
            assert_eq!(find(&routes, path), leads_to, "{path}");
        }
        assert!(decode("/caf%E9").is_none());
    }

    #[test]
    fn other_prefixes() {
        let routes = routes("/api/", "/");
        for (path, leads_to) in [
            ("/api/queue", "queue"),
            ("/api/settings.json", "Settings"),
            ("/api/metrics", "Metrics"),
            ("/metrics", "file metrics"),
            ("/api/nope", "file api/nope"),
            ("/queue", "file queue"),
            ("/", "file index.html"),
        ] {
            assert_eq!(find(&routes, path), leads_to, "{path}");
        }
    }

    #[test]
    fn both_prefixes_the_root() {
        let routes = routes("/", "/");
        for (path, leads_to) in [
            ("/queue", "queue"),
            ("/queue/a.css", "queue"),
            ("/settings.json", "Settings"),
            ("/metrics", "Metrics"),
            ("/metrics/x", "file metrics/x"),
            ("/a.css", "file a.css"),
            ("/", "file index.html"),
        ] {
            assert_eq!(find(&routes, path), leads_to, "{path}");
        }
    }
}
