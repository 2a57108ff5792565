//! Test machines: a really booted systemd for a test to run its commands in, with one interface and two makes.
//!
//! ```text
//!   test ──▶ Machine ──▶ Command ─┬─▶ container  systemd-nspawn   nsenter + systemd-run    boots in about a second
//!                                 └─▶ emulated   qemu (TCG)       agent  + systemd-run    all cgroup controllers,
//!                                                                                         real reboots, power cuts
//! ```
//!
//! - A [`Kind::Container`] is a copy-on-write view of a cached root. Its processes are the host's own, so it is fast, but
//!   it has what controllers the host's cgroup v2 has, which may be none: limits may be accepted and not enforced.
//! - A [`Kind::Emulated`] is a whole Debian with its own kernel on an emulated processor. Limits bite, power can be cut. It
//!   is slow, so [`Machine::boot`] takes it from a snapshot of a booted one; a real boot is [`Machine::reboot`].
//!
//! Roots are built once by `roots.sh` into a cache folder (`$SHMOOZE_TEST_CACHE`, by default `target/machines`) and anew
//! when the recipe changes. Every [`Machine`] starts from that state and forgets all that was done to it. When it is
//! dropped, or the test process ends in whatever way, the machine ends too: its processes carry a parent-death
//! signal, its mounts live in a mount namespace of its own, and a warden clears up the rest.
//!
//! [`Tests`] is the `main` of a test file: it runs each test on each kind, shows machines that were skipped, and
//! can run a test, or a whole test program, *inside* the machine. `docs/testing.md` has the story for people.
//!
//! Methods of this crate panic when something that must work does not: a panic is how a test fails. The message
//! is one sentence, and names the line of the test.

#![allow(clippy::panic, reason = "a panic is how a test fails")]

mod agent;
mod backend;
mod cache;
mod cgroup;
mod command;
mod container;
mod emulated;
mod files;
mod host;
mod kind;
mod machine;
mod monitor;
mod notices;
mod program;
mod recorded_disk;
mod running;
mod scratch;
mod tests;

pub use command::{Command, Output};
pub use kind::{Kind, Suite};
pub use machine::Machine;
pub use program::Program;
pub use recorded_disk::{Record, RecordedDisk};
pub use running::Running;
pub use tests::Tests;

/// What goes wrong inside this crate, as the sentence that the test will fail with.
type Outcome<T> = Result<T, String>;

/// Ends the test with a sentence, at the line of the test that asked.
#[track_caller]
fn required<T>(outcome: Outcome<T>) -> T {
    match outcome {
        Ok(value) => value,
        Err(sentence) => panic!("{sentence}"),
    }
}
