//! The Debian packages: built as people build them, installed, used, upgraded, removed and purged on booted machines.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::process::ExitCode;

use shmooze_test_machine::{Kind, Tests};

mod packages {
    pub mod build;
    pub mod content;
    pub mod life;
    pub mod upgrade;
}

fn main() -> ExitCode {
    use packages::{content, life, upgrade};
    Tests::new()
        .host("lintian has nothing to say", content::lintian)
        .host("manual pages are in order", content::manual_pages)
        .host("completions load", content::completions)
        .each(Kind::CONTAINERS, "installed, used, removed, purged", life::whole)
        .each(Kind::CONTAINERS, "what the README says", life::readme)
        .each(Kind::CONTAINERS, "the tests of the package pass", life::autopkgtest)
        .each(Kind::CONTAINERS, "an upgrade while something plays", upgrade::while_playing)
        .each(Kind::CONTAINERS, "an upgrade while nothing plays", upgrade::while_idle)
        .main()
}
