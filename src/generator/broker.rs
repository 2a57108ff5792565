//! Socket and service of a queue or pool.

use std::net::SocketAddr;

use super::template::fill;
use super::{Manager, Surroundings, Tree, daemons, header, unit};
use crate::loopback;
use crate::settings::{Service, Settings};
use crate::unit_name;

const SYSTEM: [&str; 2] =
    [include_str!("../../units/templates/system/broker.socket"), include_str!("../../units/templates/system/broker.service")];
const USER: [&str; 2] =
    [include_str!("../../units/templates/user/broker.socket"), include_str!("../../units/templates/user/broker.service")];

/// Has `OnFailure=` mean that the broker is given up: with it systemd 254 and later count a crash as a failure only when there
/// is no restart after it, as those before do.
const DIRECT_RESTART: &str = "RestartMode=direct";

/// Has a service whose list is kept start with its socket: after a reboot nobody has to ask for what played before.
fn restore(settings: &Settings, name: &str) -> String {
    let is_kept = settings.services.get(name).and_then(Service::lists).is_some_and(|lists| lists.restore);
    if is_kept { format!("# Its list is launched again at boot.\nWants={}", unit(name, "service")) } else { String::new() }
}

/// Writes the units of the service `name` and has its socket wanted.
pub(super) fn write(tree: &mut Tree, settings: &Settings, name: &str, kind: &str, port: u16, surroundings: &Surroundings) {
    // "the queue", "the queue kitchen".
    let title = if name == kind { kind.to_owned() } else { format!("{kind} {name}") };
    let check = format!("--service {name}");
    let values = [
        ("HEADER", &*header(settings)),
        ("KIND", kind),
        ("LISTEN", &listen(&loopback(port, surroundings))),
        ("NAME", name),
        ("SETTINGS", &daemons::settings_variable(settings)),
        ("RESTORE", &restore(settings, name)),
        ("RESTART", if surroundings.knows_restart_mode() { DIRECT_RESTART } else { "" }),
        ("RELOAD", &daemons::reload_lines(surroundings, "", &check)),
        ("TITLE", &title),
        ("TYPE", daemons::service_type(surroundings)),
        ("UNIT", &unit_name::of_service(name)),
    ];
    let [socket, service] = match surroundings.manager {
        Manager::System => SYSTEM,
        Manager::User => USER,
    };
    let socket_unit = unit(name, "socket");
    tree.want(&socket_unit);
    tree.file(socket_unit, fill(socket, &values));
    tree.file(unit(name, "service"), fill(service, &values));
}

/// Where a service for this machine alone listens.
pub(super) fn loopback(port: u16, surroundings: &Surroundings) -> Vec<SocketAddr> {
    loopback::addresses(port).into_iter().filter(|address| address.is_ipv4() || surroundings.ipv6).collect()
}

/// The lines that listen there.
pub(super) fn listen(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| format!("ListenStream={address}\n")).collect()
}
