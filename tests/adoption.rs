//! What goes on while brokers and launchers are killed and started anew, on a really booted systemd.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::process::ExitCode;

use shmooze_test_machine::{Kind, Machine, Tests};

#[path = "units/host.rs"]
pub mod host;

mod adoption {
    pub use crate::host;
    pub mod account;
    #[allow(dead_code, reason = "what the soak needs of it")]
    pub mod asking;
    pub mod events;
    pub mod full;
    pub mod kills;
    #[allow(dead_code, reason = "what the soak needs of it")]
    pub mod load;
    pub mod many;
    pub mod within;
}

/// The family, with a module type that counts aloud.
fn install(machine: &Machine) {
    use adoption::{kills, many};
    host::install(machine);
    let own = std::env::current_exe().unwrap();
    machine.copy_program(own.ancestors().nth(2).unwrap().join("examples/counts"), "/usr/local/bin/counts");
    machine.run(&["install", "-d", "-m", "777", "/tmp/counts"]).success();
    let mut settings = host::settings();
    // However busy the machine is.
    let patient = serde_json::json!({"connect": 60_000, "command": 60_000});
    let counts = serde_json::json!({
        "process": ["counts"], "environment": {"COUNTS_FOLDER": "/tmp/counts"}, "timeouts": patient});
    for service in ["queue", "pool"] {
        settings["services"][service]["modules"]["tiny"]["timeouts"] = patient.clone();
        settings["services"][service]["modules"]["counts"] = counts.clone();
    }
    let mut sign = settings["services"]["pool"]["modules"]["tiny"].clone();
    sign["restart"] = serde_json::json!({"delay": 20_000});
    settings["services"]["pool"]["modules"]["sign"] = sign;
    machine.write("/etc/shmooze/settings.json", settings.to_string());
    let unlimited = "[Unit]\nStartLimitIntervalSec=0\n";
    for service in ["queue", "pool", "launcher", "gateway"] {
        machine.write(&format!("/etc/systemd/system/shmooze-{service}.service.d/unlimited.conf"), unlimited);
    }
    let number = |variable: &str| std::env::var(variable).unwrap_or_default();
    machine.write(many::PLAN, number("SHMOOZE_MODULES"));
    machine.write(kills::PLAN, format!("{} {}", number("SHMOOZE_KILLS"), number("SHMOOZE_SEED")));
    machine.run(&["systemctl", "daemon-reload"]).success();
}

fn main() -> ExitCode {
    use adoption::{events, full, kills, many};
    Tests::new()
        .prepare(install)
        .each(Kind::CONTAINERS, "modules outlive the broker", events::goes_on)
        .each(Kind::CONTAINERS, "what is to end ends", events::ends)
        .each(Kind::CONTAINERS, "what happens meanwhile is known", events::away)
        .each(Kind::CONTAINERS, "what waits to be started again waits on", events::waits)
        .each(Kind::CONTAINERS, "in the manager of a user", events::of_a_user)
        .each(Kind::CONTAINERS, "the journal stands still", full::journal_stands_still)
        .each(Kind::CONTAINERS, "the journal has no room", full::journal_has_no_room)
        .each(Kind::CONTAINERS, "the command log has no room", full::log_has_no_room)
        .inside(Kind::CONTAINERS, "many modules live in scopes", many::live_in_scopes)
        .inside(Kind::CONTAINERS, "a broker is killed again and again", kills::of_the_broker)
        .inside(Kind::CONTAINERS, "all are killed again and again", kills::of_all)
        .main()
}
