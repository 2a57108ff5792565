//! What goes on while brokers and launchers are killed and started anew, on a really booted systemd.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::process::ExitCode;

use shmooze_test_machine::{Kind, Machine, Tests};

#[path = "units/host.rs"]
pub mod host;

mod adoption {
    pub use crate::host;
    pub mod events;
}

/// The family, with a module type that counts aloud.
fn install(machine: &Machine) {
    host::install(machine);
    let own = std::env::current_exe().unwrap();
    machine.copy_program(own.ancestors().nth(2).unwrap().join("examples/counts"), "/usr/local/bin/counts");
    machine.run(&["install", "-d", "-m", "777", "/tmp/counts"]).success();
    let mut settings = host::settings();
    let counts = serde_json::json!({"process": ["counts"], "environment": {"COUNTS_FOLDER": "/tmp/counts"}});
    for service in ["queue", "pool"] {
        settings["services"][service]["modules"]["counts"] = counts.clone();
    }
    machine.write("/etc/shmooze/settings.json", settings.to_string());
    machine.run(&["systemctl", "daemon-reload"]).success();
}

fn main() -> ExitCode {
    use adoption::events;
    Tests::new()
        .prepare(install)
        .each(Kind::CONTAINERS, "a broker that is killed", events::kill)
        .main()
}
