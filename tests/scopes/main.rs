//! The house of systemd against a real manager: run inside a booted system as root, or as a user with a user manager.
//!
//! Where no manager answers, each test says so and is skipped; with `SHMOOZE_REQUIRE_SYSTEMD=1` it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod begin;
mod connect;
mod crowd;
mod end;
mod escape;
mod latency;
mod limits;
mod spare;
mod system;
mod trouble;
mod warm;
mod world;
