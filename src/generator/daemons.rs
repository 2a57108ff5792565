//! Launcher and gateway, whose units are the package's own: drop-ins for what depends on settings and machine.

use std::net::SocketAddr;

use super::{DROP_IN, Surroundings, Tree, broker, header, quote};
use crate::settings::{FILE_VARIABLE, Settings};

const LAUNCHER: &str = "shmooze-launcher.service";
const GATEWAY: &str = "shmooze-gateway.service";
const GATEWAY_SOCKET: &str = "shmooze-gateway.socket";

/// Fails where the file is at fault, with its sentences; what the machine lacks is no reason.
const CHECK: &str = "shmz check --quiet --only-file";

/// Has it run as root in the system's manager: the gateway's user may not read the file of its tokens.
const AS_ROOT: &str = "+";

/// Has the launcher read these settings.
pub(super) fn launcher(tree: &mut Tree, settings: &Settings, surroundings: &Surroundings) {
    drop_in(tree, LAUNCHER, service(settings, surroundings, ""));
}

/// Has the gateway listen on `port` and read these settings, and its socket wanted.
pub(super) fn gateway(tree: &mut Tree, settings: &Settings, port: u16, surroundings: &Surroundings) {
    let listen = broker::listen(&gateway_addresses(settings, port, surroundings));
    // The empty one first: it is the drop-in that says where, whatever the unit has.
    drop_in(tree, GATEWAY_SOCKET, format!("{}\n[Socket]\nListenStream=\n{listen}", header(settings)));
    drop_in(tree, GATEWAY, service(settings, surroundings, AS_ROOT));
    tree.want(GATEWAY_SOCKET);
}

/// Where the gateway listens: both loopback addresses, unless the settings name another.
fn gateway_addresses(settings: &Settings, port: u16, surroundings: &Surroundings) -> Vec<SocketAddr> {
    let loopback = broker::loopback(port, surroundings);
    let address = SocketAddr::new(settings.gateway.address, port);
    if loopback.contains(&address) { loopback } else { vec![address] }
}

/// What a service is that reads the settings again when it is told to.
pub(super) fn service_type(surroundings: &Surroundings) -> &'static str {
    if surroundings.knows_notify_reload() { "notify-reload" } else { "notify" }
}

/// The lines of such a service by which `systemctl reload` fails where the settings are at fault. `check` is what else is asked
/// of them, `prefix` what stands before the program.
pub(super) fn reload_lines(surroundings: &Surroundings, prefix: &str, check: &str) -> String {
    let space = if check.is_empty() { "" } else { " " };
    let check = format!("ExecReload={prefix}{CHECK}{space}{check}\n");
    if surroundings.knows_notify_reload() {
        format!("# The manager itself sends SIGHUP, and a file at fault is refused. This tells who asked for it.\n{check}")
    } else {
        format!("# A file at fault is refused before anybody is asked to read it.\n{check}ExecReload=kill -HUP $MAINPID\n")
    }
}

/// The variable that tells a service where its settings are.
pub(super) fn settings_variable(settings: &Settings) -> String {
    quote::word(&format!("{FILE_VARIABLE}={}", settings.file.display()))
}

fn service(settings: &Settings, surroundings: &Surroundings, prefix: &str) -> String {
    let variable = settings_variable(settings);
    let mut text = format!("{}\n[Service]\nEnvironment={variable}\n", header(settings));
    if surroundings.knows_notify_reload() {
        // The unit has it as older ones need it.
        let (kind, reload) = (service_type(surroundings), reload_lines(surroundings, prefix, ""));
        text.push_str(&format!("Type={kind}\nExecReload=\n{reload}"));
    }
    text
}

fn drop_in(tree: &mut Tree, unit: &str, text: String) {
    tree.file(format!("{unit}.d/{DROP_IN}"), text);
}
