//! Reboots and power cuts: the list of a queue with `"restore": true` on a really booted Debian with a kernel and a disk of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::process::ExitCode;

use serde_json::json;
use shmooze_test_machine::{Kind, Machine, Suite, Tests};

#[path = "units/host.rs"]
pub mod host;

mod power {
    pub use crate::host;
    pub mod cuts;
    pub mod reboot;
}

/// Brokers and launcher, with a module type that shows its arguments, and a queue that comes back.
fn install(machine: &Machine) {
    host::install_brokers(machine);
    machine.write("/opt/shows.py", include_str!("power/shows.py"));
    let mut settings = host::settings();
    // However busy the machine is.
    let patient = json!({"connect": 120_000, "command": 120_000});
    let shows = json!({"process": ["python3", "/opt/shows.py"], "timeouts": patient});
    for types in ["modules", "backgrounds"] {
        settings["services"]["queue"][types]["tiny"]["timeouts"] = patient.clone();
        settings["services"]["queue"][types]["shows"] = shows.clone();
    }
    settings["services"]["queue"]["restore"] = json!(true);
    machine.write("/etc/shmooze/settings.json", settings.to_string());
    machine.run(&["systemctl", "daemon-reload"]).success();
}

fn main() -> ExitCode {
    use power::{cuts, reboot};
    let emulated = &[Kind::Emulated(Suite::Trixie)];
    Tests::new()
        .prepare(install)
        .each(Kind::CONTAINERS, "the list comes back after a stop and a reboot", reboot::comes_back)
        .each(emulated, "power is cut in the midst of writing, and the list comes back after a reboot", |machine| {
            // In this order on one machine, which takes its time to boot.
            cuts::in_the_midst_of_writing(machine);
            reboot::comes_back(machine);
        })
        .main()
}
