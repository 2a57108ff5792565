//! The thread that stores rows, and what it says when it cannot.

use std::io;
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::dispatcher;

use super::database::{Database, StoreError};
use super::queue::{Entry, Next, Queue};

/// Pause after the first failure; it doubles with each failure that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Starts the thread. Its warnings go to the `tracing` subscriber of the calling thread.
pub(super) fn spawn(queue: Arc<Queue>, database: Database, service: &str) -> io::Result<()> {
    let dispatch = dispatcher::get_default(Clone::clone);
    let writer = Writer::new(queue, database, service);
    thread::Builder::new()
        .name(format!("record-{service}").replace('\0', ""))
        .spawn(move || dispatcher::with_default(&dispatch, || writer.run()))
        .map(drop)
}

struct Writer {
    queue: Arc<Queue>,
    database: Database,
    service: String,
    /// How long to wait before the next attempt; none while all is well.
    pause: Option<Duration>,
    outage: Outage,
    /// Rows lost before the present outage, and those lost when it was last looked.
    lost_before: u64,
    lost_seen: u64,
}

/// What keeps rows from being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    /// Nothing.
    None,
    /// Attempts fail.
    Refused,
    /// More comes than can be stored.
    Overload,
}

impl Writer {
    fn new(queue: Arc<Queue>, database: Database, service: &str) -> Self {
        let service = service.to_owned();
        Self { queue, database, service, pause: None, outage: Outage::None, lost_before: 0, lost_seen: 0 }
    }

    fn run(mut self) {
        let mut batch: Vec<Entry> = Vec::new();
        // Before the first row: the table is there as soon as the service is, and an outage is told at the start.
        self.attempt(&mut batch);
        let mut next = Next::Store;
        while next == Next::Store {
            next = self.queue.next(&mut batch, self.pause);
            self.attempt(&mut batch);
        }
        // Before the end is told, so that who waits for it finds the file closed and the last word said.
        drop(self.database);
        let lost = self.queue.lost() + batch.len() as u64 - self.lost_before;
        if lost > 0 {
            tracing::warn!("The command log of {} ends; {} lost.", self.service, rows(lost));
        }
        self.queue.end(batch.len());
    }

    /// Tries to store `batch`, which is empty afterwards where that went well, and tells the beginning and the end of
    /// an outage.
    fn attempt(&mut self, batch: &mut Vec<Entry>) {
        match self.database.store(batch) {
            Ok(()) => {
                self.queue.stored(batch);
                self.pause = None;
                self.after_success();
            }
            Err(error) => {
                self.pause = Some(self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
                self.after_failure(&error);
            }
        }
    }

    fn after_failure(&mut self, error: &StoreError) {
        let reason = format!("Cannot write the command log {}: {error}", self.database.path().display());
        if self.outage != Outage::Refused {
            tracing::warn!("{reason}; requests are served all the same, their rows are kept in memory.");
            self.outage = Outage::Refused;
        }
        self.queue.failed(reason);
    }

    fn after_success(&mut self) {
        let lost = self.queue.lost();
        let more = lost > mem::replace(&mut self.lost_seen, lost);
        let path = self.database.path().display();
        match self.outage {
            Outage::None if more => {
                self.outage = Outage::Overload;
                tracing::warn!("The command log {path} falls behind; rows of {} are being dropped.", self.service);
            }
            Outage::None => {}
            // While rows go on being dropped the overload lasts.
            Outage::Overload if more => {}
            Outage::Refused | Outage::Overload => {
                self.outage = Outage::None;
                let lost = lost - mem::replace(&mut self.lost_before, lost);
                tracing::warn!("The command log {path} is written again; {} of {} lost.", rows(lost), self.service);
            }
        }
    }
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Namespace, Row};
    use std::fs::{self, File};

    #[test]
    fn an_overload_is_told_when_it_begins_and_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.sqlite3");
        let queue = Arc::new(Queue::new(1, 1000));
        let mut writer = Writer::new(Arc::clone(&queue), Database::new(path.clone(), "queue"), "queue");
        // With one subscriber alone, tracing would remember for all threads what a thread without one made of a warning.
        let _ = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new());
        let told = folder.path().join("told");
        let file = Arc::new(File::create(&told).unwrap());
        let subscriber = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).with_writer(file);
        tracing::subscriber::with_default(subscriber.finish(), || {
            // So many rows for each batch, of which one finds room.
            for rows in [1, 3, 2, 1, 1] {
                for _ in 0..rows {
                    queue.push(Row { uid: None, namespace: Namespace::ClientQueue, input: "x".into(), output: "y".into() });
                }
                let mut batch = Vec::new();
                queue.next(&mut batch, None);
                writer.attempt(&mut batch);
                assert!(batch.is_empty());
            }
        });
        let path = path.display();
        assert_eq!(
            fs::read_to_string(told).unwrap(),
            format!(
                " WARN The command log {path} falls behind; rows of queue are being dropped.\n \
                 WARN The command log {path} is written again; 3 rows of queue lost.\n"
            )
        );
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let queue = Arc::new(Queue::new(10, 1000));
        let mut writer = Writer::new(queue, Database::new("/dev/null/log.sqlite3".into(), "queue"), "queue");
        let pauses = [(); 8].map(|()| {
            writer.attempt(&mut Vec::new());
            writer.pause.map(|pause| pause.as_secs())
        });
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60].map(Some));
    }
}
