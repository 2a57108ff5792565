//! The stored list: what of a service is launched again after a reboot or a power cut, in an SQLite database of its own.
//!
//! ```text
//!   driver ──push(Change)──▶ List in memory ──▶ writer thread ──one transaction for all that waits──▶ list-<service>.sqlite3
//!          ──after(reply)──▶ waits ──────────────────┤
//!   modules ─mark(uid)─────▶ parameters to be read ──╯  with the next transaction, else within a second
//!                                       │ committed, or the disk does not take it
//!                                       ▼
//!                                    reply()
//! ```
//!
//! **Write-ahead logging, `synchronous=FULL`.** A commit is one append to the log and one fsync(2) where a rollback journal takes
//! three; each frame has a checksum, so one that a power cut tore is not there. `locking_mode=EXCLUSIVE`: a second broker on the
//! same list is told so, and there is no shared memory beside the file.
//!
//! **Invariants.** [`Store::push`] and [`Store::after`] wait for nothing but a lock that is held for some instructions. What was
//! pushed before `after` is on disk before the reply is given, unless the disk does not take it: then the reply is given all the
//! same, and the list is written anew, whole, once the disk takes it again. Memory is bounded by the list itself and
//! [`MOST_CHANGES`]. A file that cannot be read is kept under another name. This room knows nothing of drivers and modules.

mod database;
mod list;
#[cfg(test)]
mod tests;
mod writer;

pub use database::{FORMAT, OpenError};
pub use list::{Change, List, Module};
pub use writer::{MOST_CHANGES, Source, Store};

use std::path::{Path, PathBuf};

/// The file of a service's list in the folder of all that is stored.
#[must_use]
pub fn file_in(folder: &Path, service: &str) -> PathBuf {
    folder.join(format!("list-{service}.sqlite3"))
}
