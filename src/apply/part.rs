//! The parts of the family, read from their units: a queue or pool with its socket, a program, the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::generator::{Entry, TARGET, Tree};
use crate::unit_name;

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// What people call it.
    pub(super) name: String,
    /// Which unit the target wants: the socket, where there is one.
    pub(super) wanted: String,
    /// Its service.
    pub(super) service: String,
    /// Where the manager listens for it.
    pub(super) addresses: BTreeSet<SocketAddr>,
    /// The ports that it takes, by its socket or itself.
    pub(super) ports: BTreeSet<u16>,
    /// What takes a restart of its service when it changes: all of a program's unit, the command line of a broker.
    pub(super) essence: String,
}

/// Parts by the unit that the target wants.
pub(super) type Parts = BTreeMap<String, Part>;

const GATEWAY: &str = "shmooze-gateway";

/// The parts that the units of `tree` make.
pub(super) fn of(tree: &Tree) -> Parts {
    let wants = format!("{TARGET}.wants/");
    let wanted = tree.entries.keys().filter_map(|path| path.strip_prefix(&wants));
    wanted.filter_map(|unit| Some((unit.to_owned(), part(tree, unit)?))).collect()
}

impl Part {
    /// Whether systemd listens for it.
    pub(super) fn has_socket(&self) -> bool {
        self.wanted != self.service
    }

    /// Socket and service.
    pub(super) fn units(&self) -> Vec<String> {
        let socket = self.has_socket().then(|| self.wanted.clone());
        socket.into_iter().chain([self.service.clone()]).collect()
    }
}

fn part(tree: &Tree, wanted: &str) -> Option<Part> {
    let (stem, suffix) = wanted.rsplit_once('.')?;
    let service = format!("{stem}.service");
    let name =
        if stem == GATEWAY { "the gateway".to_owned() } else { unit_name::unescape(stem.strip_prefix(unit_name::PREFIX)?)? };
    let text = all_text(tree, wanted);
    let addresses: BTreeSet<SocketAddr> = values(&text, "ListenStream").filter_map(|value| value.parse().ok()).collect();
    let (ports, essence) = if suffix == "socket" {
        let service = all_text(tree, &service);
        let command = values(&service, "ExecStart").collect::<Vec<_>>().join("\n");
        (addresses.iter().map(SocketAddr::port).collect(), command)
    } else {
        let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
        (values(&text, "Port").filter_map(|value| value.parse().ok()).collect(), lines.join("\n"))
    };
    Some(Part { name, wanted: wanted.to_owned(), service, addresses, ports, essence })
}

/// A unit's own file and what is dropped in.
fn all_text(tree: &Tree, unit: &str) -> String {
    let drop_ins = format!("{unit}.d/");
    let of_unit = |path: &String| *path == unit || path.starts_with(&drop_ins);
    let texts = tree.entries.iter().filter(|(path, _)| of_unit(path)).filter_map(|(_, entry)| match entry {
        Entry::File(text) => Some(text.as_str()),
        Entry::Link(_) => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}
