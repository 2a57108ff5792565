//! The family as units of a really booted systemd: the system's manager, and that of a user.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::process::ExitCode;

use shmooze_test_machine::{Kind, Suite, Tests};

mod units {
    pub mod apply;
    pub mod begin;
    pub mod end;
    pub mod gateway;
    pub mod host;
    pub mod security;
    pub mod trouble;
    pub mod user;
    pub mod verify;
    pub mod whole;
}

fn main() -> ExitCode {
    use units::{apply, begin, end, gateway, host, security, trouble, user, verify, whole};
    Tests::new()
        .prepare(host::install)
        .each(Kind::CONTAINERS, "only sockets until somebody asks", begin::on_demand)
        .each(Kind::CONTAINERS, "a module lives in a scope of its own", begin::scope)
        .each(Kind::CONTAINERS, "little is exposed", security::exposure)
        .each(Kind::CONTAINERS, "the gateway takes tokens", gateway::tokens)
        .each(Kind::CONTAINERS, "tokens at fault are no open door", gateway::tokens_at_fault)
        .each(Kind::CONTAINERS, "a user's gateway takes tokens", gateway::tokens_of_a_user)
        .each(Kind::CONTAINERS, "systemctl tells what goes on", begin::status)
        .each(Kind::CONTAINERS, "the journal tells a module's life", begin::journal)
        .each(Kind::CONTAINERS, "a reload is heard by all who must", begin::reload)
        .each(Kind::CONTAINERS, "a reload changes and lifts limits", begin::limits_of_a_reload)
        .each(Kind::CONTAINERS, "only the module itself connects", begin::strangers)
        .each(Kind::CONTAINERS, "how a module ended is known", end::history)
        .each(Kind::CONTAINERS, "a module lives as long as it may", end::lifetime)
        .each(Kind::CONTAINERS, "nothing of a module stays", end::escape)
        .each(Kind::CONTAINERS, "stopping a service ends its modules", end::stop)
        .each(Kind::CONTAINERS, "a stuck service is found out", trouble::watchdog)
        .each(Kind::CONTAINERS, "modules outlive the launcher", trouble::launcher)
        .each(Kind::CONTAINERS, "modules of a broker that is given up", trouble::given_up)
        .each(Kind::CONTAINERS, "a crash is not the end", trouble::crash)
        .each(Kind::CONTAINERS, "in the manager of a user", user::family)
        .each(Kind::CONTAINERS, "a user's broker that is given up", user::given_up)
        .each(Kind::CONTAINERS, "a boot opens the ports of the settings", apply::boot)
        .each(Kind::CONTAINERS, "an edit is applied", apply::edit)
        .each(Kind::CONTAINERS, "settings at fault take nothing away", apply::broken)
        .each(Kind::CONTAINERS, "programs of the application", apply::programs)
        .each(Kind::CONTAINERS, "words reach a program as they are", apply::words)
        .each(Kind::CONTAINERS, "units of the system are well-formed", verify::of_the_system)
        .each(Kind::CONTAINERS, "units of a user are well-formed", verify::of_a_user)
        .each(Kind::CONTAINERS, "an edit is applied by a user", apply::of_a_user)
        .prepare(host::install_brokers)
        .each(&[Kind::Emulated(Suite::Bookworm)], "limits bite, and the kernel is told", whole::of_all)
        .main()
}
