//! The SQLite side of the log: one table in one file, opened when needed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use super::queue::Entry;

/// How long one attempt waits for another program that has the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it looks whether a lock that SQLite itself does not wait for is gone.
const BUSY_POLL: Duration = Duration::from_millis(10);

/// Memory for pages of the file, in KiB: the writer only appends, and needs little more than the end of the table.
const CACHE_KIB: i64 = 512;

/// What is left of the write-ahead log after a burst, in bytes.
const JOURNAL_SIZE_LIMIT: i64 = 4 * 1024 * 1024;

/// The table of one service in the log file.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    create: String,
    insert: String,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// Device and inode: another file of the same name is another log.
    identity: (u64, u64),
}

/// Why rows could not be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("cannot make the folder {}: {}", .0.display(), .1)]
    Folder(PathBuf, io::Error),
}

impl Database {
    /// The table `<service>_log` in the file at `path`. Touches nothing yet.
    pub(super) fn new(path: PathBuf, service: &str) -> Self {
        let table = identifier(&format!("{service}_log"));
        // Letter by letter as the original made it: applications read this table.
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (
            pk INTEGER PRIMARY KEY,
            uid TEXT,
            namespace TEXT,
            timestamp DATETIME DEFAULT CURRENT_TIMESTAMP,
            input_json TEXT,
            output_json TEXT
        )"
        );
        let insert = format!(
            "INSERT INTO {table} (uid, namespace, timestamp, input_json, output_json) \
             VALUES (?1, ?2, datetime(?3, 'unixepoch'), ?4, ?5)"
        );
        Self { path, create, insert, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Stores all of `batch` or nothing of it, opening the file where it is not open. After an error the file is closed.
    ///
    /// # Errors
    /// Whatever SQLite or the file system has against it, another program's lock of more than [`BUSY_TIMEOUT`] included.
    pub(super) fn store(&mut self, batch: &[Entry]) -> Result<(), StoreError> {
        // A log that was moved away or removed would swallow rows for ever.
        let open = match self.open.take() {
            Some(open) if identity(&self.path).is_ok_and(|identity| identity == open.identity) => open,
            moved => {
                drop(moved);
                self.connect()?
            }
        };
        let open = self.open.insert(open);
        let stored = insert(&mut open.connection, &self.insert, batch);
        if stored.is_err() {
            self.open = None;
        }
        Ok(stored?)
    }

    fn connect(&self) -> Result<Open, StoreError> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            match fs::create_dir(folder) {
                // Another service was quicker.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(|error| StoreError::Folder(folder.to_owned(), error))?,
            }
        }
        // Without SQLITE_OPEN_URI: a path is a path, whatever it looks like.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        write_ahead(&connection)?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update_and_check(None, "journal_size_limit", JOURNAL_SIZE_LIMIT, |_| Ok(()))?;
        connection.execute(&self.create, [])?;
        Ok(Open { connection, identity: identity(&self.path)? })
    }
}

/// Switches the file to write-ahead logging, so that readers and the writer do not wait for each other.
///
/// SQLite does not wait for a lock here, so this does. A file that stays locked or cannot have it (on some network file
/// systems) is used as it is.
fn write_ahead(connection: &Connection) -> Result<(), rusqlite::Error> {
    let started = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                if started.elapsed() >= BUSY_TIMEOUT {
                    return Ok(());
                }
                thread::sleep(BUSY_POLL);
            }
            done => return done,
        }
    }
}

fn insert(connection: &mut Connection, sql: &str, batch: &[Entry]) -> Result<(), rusqlite::Error> {
    if batch.is_empty() {
        return Ok(());
    }
    // Immediate: a transaction that took the lock only at its first row could be refused without waiting.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut statement = transaction.prepare_cached(sql)?;
        for Entry { row, seconds } in batch {
            let uid = row.uid.map(|uid| uid.to_string());
            statement.execute(params![uid, row.namespace.name(), seconds, row.input, row.output])?;
        }
    }
    transaction.commit()
}

/// `name` as it stands in SQL; quoted only where it must be.
fn identifier(name: &str) -> String {
    let plain =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Namespace, Row};

    fn entry(input: &str, seconds: i64) -> Entry {
        Entry { row: Row { uid: None, namespace: Namespace::ClientPool, input: input.into(), output: "{}".into() }, seconds }
    }

    #[test]
    fn names_in_sql() {
        assert_eq!(identifier("queue_log"), "queue_log");
        assert_eq!(identifier("2_log"), "\"2_log\"");
        assert_eq!(identifier("play-list_log"), "\"play-list_log\"");
        assert_eq!(identifier("a\"b_log"), "\"a\"\"b_log\"");
    }

    #[test]
    fn the_time_is_that_of_the_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.sqlite3");
        Database::new(path.clone(), "pool").store(&[entry("a", 0), entry("b", 1_583_020_799)]).unwrap();
        let reader = Connection::open(path).unwrap();
        let mut statement = reader.prepare("SELECT timestamp, typeof(timestamp) FROM pool_log ORDER BY pk").unwrap();
        let times = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let times: Vec<(String, String)> = times.map(Result::unwrap).collect();
        assert_eq!(times, [("1970-01-01 00:00:00".into(), "text".into()), ("2020-02-29 23:59:59".into(), "text".into())]);
    }

    #[test]
    fn a_batch_is_stored_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.sqlite3");
        let mut database = Database::new(path.clone(), "pool");
        database.store(&[entry("a", 1)]).unwrap();
        let other = Connection::open(path).unwrap();
        other
            .execute_batch(
                "CREATE TRIGGER refuse BEFORE INSERT ON pool_log WHEN new.input_json = 'c' BEGIN SELECT raise(ABORT, 'no'); END",
            )
            .unwrap();
        let batch = [entry("b", 2), entry("c", 3)];
        assert_eq!(database.store(&batch).unwrap_err().to_string(), "no");
        let count = || -> i64 { other.query_row("SELECT count(*) FROM pool_log", [], |row| row.get(0)).unwrap() };
        assert_eq!(count(), 1);
        other.execute_batch("DROP TRIGGER refuse").unwrap();
        database.store(&batch).unwrap();
        assert_eq!(count(), 3);
    }
}
