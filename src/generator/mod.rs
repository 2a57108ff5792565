//! The systemd generator (`systemd.generator(7)`): units from the settings, so that ports are in one place.
//!
//! ```text
//!   settings.json ──input──▶ Settings ──generate──▶ Tree ──▶ /run/systemd/generator/
//!        │                                           │          shmooze-queue.socket, shmooze-queue.service
//!     broken: last good copy                         │          shmooze-volume.service
//!                                                    │          shmooze-gateway.socket.d/50-settings.conf
//!                                                    │          shmooze.target.wants/…
//!                                                    ╰─ `shmz apply` compares it with what the manager has loaded
//! ```
//!
//! It runs early at boot and at every `daemon-reload`: it talks to nobody, reads a handful of files and writes a handful.
//! **Invariant:** whatever the settings hold, no port is served that they do not name, and the start of the machine goes on.

mod app;
mod broker;
mod daemons;
mod input;
mod log;
mod program;
mod quote;
mod surroundings;
mod template;
mod tree;

pub use input::Input;
pub use program::main;
pub use surroundings::{Manager, Surroundings, Variables};
pub use tree::{Entry, Tree};

use std::fmt::Display;

use crate::settings::{GATEWAY_PORT, Service, Settings};
use crate::unit_name;

/// What everything that is wanted is wanted by.
pub const TARGET: &str = "shmooze.target";

/// Name of our drop-ins.
const DROP_IN: &str = "50-settings.conf";

/// What came of some settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Generated {
    /// The units.
    pub tree: Tree,
    /// What could not be made a unit, one sentence each.
    pub problems: Vec<String>,
}

/// The units for `settings`.
#[must_use]
pub fn generate(settings: &Settings, surroundings: &Surroundings) -> Generated {
    let mut generated = Generated::default();
    let tree = &mut generated.tree;
    daemons::launcher(tree, settings, surroundings);
    for (name, service) in &settings.services {
        // Settings without it are refused.
        let Some(port) = settings.ports.get(name) else { continue };
        match service {
            Service::Queue(_) | Service::Pool(_) => broker::write(tree, settings, name, service.kind(), *port, surroundings),
            Service::App(app) => {
                if let Err(problem) = app::write(tree, settings, name, app, *port, surroundings) {
                    generated.problems.push(format!("{}: {problem}.", settings.file.display()));
                }
            }
        }
    }
    if let Some(port) = settings.ports.get(GATEWAY_PORT) {
        daemons::gateway(tree, settings, *port, surroundings);
    }
    generated
}

/// How every file begins. There is no `SourcePath=`: it would have `systemctl` recommend `daemon-reload` after each edit, which
/// closes a port that moved and does not open the new one.
fn header(settings: &Settings) -> String {
    let file = settings.file.display().to_string().replace(char::is_control, "?");
    format!("# Written by shmooze-generator from {file}: edit that, then run shmz apply.")
}

/// The unit of a service with this suffix.
fn unit(service: &str, suffix: impl Display) -> String {
    format!("{}.{suffix}", unit_name::of_service(service))
}
