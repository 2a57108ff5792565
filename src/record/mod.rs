//! The command log: what clients asked, what modules were told and what they said, in SQLite (protocol.md section 9).
//!
//! ```text
//!   any task ──write()──▶ bounded queue ──▶ writer thread ──one transaction per batch──▶ <service>_log
//!            never waits       │                 │
//!                              ▼                 ▼
//!                    full: row dropped,   fails: rows kept, tried again after a pause that grows
//!                    counted              from 1 s to 60 s; one warning when it begins, one when it ends
//! ```
//!
//! **Invariants:** [`Record::write`] waits for nothing but a lock that is held for some instructions, and cannot fail.
//! Memory is bounded by [`MAX_ROWS`] and [`MAX_TEXT_BYTES`], rows in the hands of the writer included. Rows are written
//! in the order in which they came. A service that records nothing has no thread; one that is idle has no wake-ups.

mod database;
mod queue;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::Uid;
use database::Database;
use queue::Queue;

/// Most rows held that are not yet on disk. What comes beyond is dropped and counted.
pub const MAX_ROWS: usize = 65_536;

/// Most bytes of text (input and output) held that are not yet on disk. What comes beyond is dropped and counted.
pub const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// Whose words a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// A client's command to a queue, and its answer.
    ClientQueue,
    /// A client's command to a pool, and its answer.
    ClientPool,
    /// A command sent to a module of a queue or a pool, and its answer.
    QueueModule,
    /// An update that a module sent, and its answer.
    ModuleInstance,
}

impl Namespace {
    /// The name in the column `namespace`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientQueue => "client-queue",
            Self::ClientPool => "client-pool",
            Self::QueueModule => "queue-module",
            Self::ModuleInstance => "module-instance",
        }
    }
}

/// One row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The module; none for a client's command.
    pub uid: Option<Uid>,
    /// Whose words these are.
    pub namespace: Namespace,
    /// The request as JSON.
    pub input: String,
    /// The answer as JSON; `null` where there was none.
    pub output: String,
}

/// Why rows are not on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The database refused them.
    #[error("{0}.")]
    Refused(String),
    /// The time given was not enough.
    #[error("The command log was not written within {} ms.", .0.as_millis())]
    Late(Duration),
}

/// The command log of one service. Clones write into the same log.
///
/// When the last clone goes, the writer thread writes what is left and ends by itself; who wants to wait for that calls
/// [`Record::close`].
#[derive(Debug, Clone)]
pub struct Record {
    writer: Option<Arc<Handle>>,
}

/// Ends the writer thread when the last [`Record`] goes.
#[derive(Debug)]
struct Handle(Arc<Queue>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Record {
    /// The log of `service` in the file `database`; where there is none, nothing is recorded.
    ///
    /// Returns at once: the writer thread makes the file, the folder that it stands in (not that folder's parents) and
    /// the table. Where it cannot, it warns, and tries again as long as the service lives. Warnings go to the `tracing`
    /// subscriber of the calling thread.
    #[must_use]
    pub fn open(database: Option<PathBuf>, service: &str) -> Self {
        let Some(path) = database else { return Self::off() };
        let queue = Arc::new(Queue::new(MAX_ROWS, MAX_TEXT_BYTES));
        match writer::spawn(Arc::clone(&queue), Database::new(path, service), service) {
            Ok(()) => Self { writer: Some(Arc::new(Handle(queue))) },
            Err(error) => {
                tracing::warn!("The commands of {service} are not recorded: the writer thread cannot be started: {error}.");
                Self { writer: None }
            }
        }
    }

    /// A log that goes nowhere.
    #[must_use]
    pub const fn off() -> Self {
        Self { writer: None }
    }

    /// Hands a row to the writer. It is stored with the time of this call. Never waits for the disk, never fails: where
    /// too much is waiting already, the row is dropped and counted.
    pub fn write(&self, row: Row) {
        if let Some(writer) = &self.writer {
            writer.0.push(row);
        }
    }

    /// Whether rows go anywhere; where not, the caller need not make their texts.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// How many rows were lost since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.0.lost())
    }

    /// Waits until all rows written so far are on disk, trying at once where the writer is pausing after a failure.
    /// Blocks the thread for up to `within`.
    ///
    /// # Errors
    /// Where an attempt fails or takes longer. The rows are kept, and tried again later.
    pub fn flush(&self, within: Duration) -> Result<(), RecordError> {
        self.writer.as_ref().map_or(Ok(()), |writer| writer.0.flush(within))
    }

    /// Ends the log: makes a last attempt at all rows written so far, and closes the file. What is written to clones
    /// afterwards is lost. Blocks the thread for up to `within`.
    ///
    /// # Errors
    /// Where the attempt fails, in which case the rows are lost (a warning says how many), or takes longer, in which
    /// case it goes on for as long as the process lives.
    pub fn close(self, within: Duration) -> Result<(), RecordError> {
        self.writer.as_ref().map_or(Ok(()), |writer| {
            writer.0.close();
            writer.0.wait_for_end(within)
        })
    }
}
