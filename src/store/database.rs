//! The SQLite side: one file, two tables, and what becomes of a file that is none of ours.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};

use super::list::{Change, List, Module};
use crate::protocol::Uid;

/// Version of what is stored (`PRAGMA user_version`): raised with each change of the schema, and then a list of the version before
/// is read too.
pub const FORMAT: i32 = 1;

/// What is stored. `position` orders the list and has gaps; times are ms since 1970.
pub(super) const SCHEMA: &str = "\
CREATE TABLE module (
    uid TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    type TEXT NOT NULL,
    background INTEGER NOT NULL,
    args TEXT,
    parameters TEXT NOT NULL,
    added INTEGER NOT NULL,
    waiting INTEGER NOT NULL
) STRICT;
CREATE INDEX module_position ON module (position);
CREATE TABLE set_aside (
    uid TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    background INTEGER NOT NULL,
    args TEXT,
    parameters TEXT NOT NULL,
    added INTEGER NOT NULL,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
";

/// How long is waited for another process that has the file locked: one that just ended may not be gone yet.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// What is left of the write-ahead log after a burst, in bytes.
const JOURNAL_SIZE_LIMIT: i64 = 4 * 1024 * 1024;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process: two brokers cannot keep one list", .0.display())]
    InUse(PathBuf),
    /// It is none, damaged, or of a later version.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, String),
    /// The file system or the disk has something against it.
    #[error("{}: {}", .0.display(), .1)]
    Trouble(PathBuf, String),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    /// Device and inode: another file of the same name is another list.
    identity: (u64, u64),
}

impl Database {
    /// Opens the file at `path`, making it and its folder where they are missing, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let trouble = |error: &dyn std::fmt::Display| OpenError::Trouble(path.to_owned(), error.to_string());
        make_folder(path).map_err(|error| trouble(&error))?;
        // Without SQLITE_OPEN_URI: a path is a path, whatever it looks like.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| trouble(&error))?;
        let version = begin(&connection).map_err(|error| sorted(path, &error))?;
        let identity = identity(path).map_err(|error| trouble(&error))?;
        let mut database = Self { connection, identity };
        match version {
            0 => database.create().map_err(|error| sorted(path, &error))?,
            FORMAT => {}
            other => {
                let reason = format!("its format is {other}, and this program knows {FORMAT}");
                return Err(OpenError::Unreadable(path.to_owned(), reason));
            }
        }
        Ok(database)
    }

    /// Moves a file that cannot be read out of the way; answers where it is now.
    pub(super) fn keep_aside(path: &Path) -> io::Result<PathBuf> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let with = |end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let free = |number: &u32| !with(&format!(".unreadable-{seconds}-{number}")).exists();
        let number = (1..).find(free).unwrap_or_default();
        let aside = with(&format!(".unreadable-{seconds}-{number}"));
        // First: a new list must not find a log that is not its own.
        match fs::rename(with("-wal"), with(&format!(".unreadable-{seconds}-{number}-wal"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(path, &aside)?;
        Ok(aside)
    }

    /// Whether the file is still where it was.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        identity(path).is_ok_and(|identity| identity == self.identity)
    }

    fn create(&mut self) -> Result<(), rusqlite::Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()
    }

    /// All that is stored.
    pub(super) fn read(&self, path: &Path) -> Result<List, OpenError> {
        let damage = |reason: String| OpenError::Unreadable(path.to_owned(), reason);
        let check: String =
            self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| sorted(path, &error))?;
        if check != "ok" {
            return Err(damage(check));
        }
        let mut list = List::default();
        let sql = "SELECT uid, type, background, args, parameters, added, waiting FROM module ORDER BY position";
        let mut statement = self.connection.prepare(sql).map_err(|error| sorted(path, &error))?;
        let mut rows = statement.query([]).map_err(|error| sorted(path, &error))?;
        while let Some(row) = rows.next().map_err(|error| sorted(path, &error))? {
            let module = module(row).map_err(|error| damage(error.to_string()))?;
            list.apply(&Change::Add(module.ok_or_else(|| damage("a module's identifier is none".to_owned()))?));
        }
        Ok(list)
    }

    /// Stores all of these changes or none of them. They are on disk when this returns.
    pub(super) fn store(&mut self, changes: &[Change]) -> Result<(), rusqlite::Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        changes.iter().try_for_each(|change| store(&transaction, change))?;
        transaction.commit()
    }

    /// Stores this list in the place of whatever is there; of `changes` those that set modules aside.
    pub(super) fn replace(&mut self, list: &List, changes: &[Change]) -> Result<(), rusqlite::Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        changes.iter().filter(|change| change.is_kept()).try_for_each(|change| store(&transaction, change))?;
        transaction.execute("DELETE FROM module", [])?;
        list.all().try_for_each(|module| insert(&transaction, module))?;
        transaction.commit()
    }
}

impl Change {
    /// Whether it says more than a list of afterwards.
    pub(super) const fn is_kept(&self) -> bool {
        matches!(self, Self::SetAside { .. })
    }
}

fn store(transaction: &Transaction<'_>, change: &Change) -> Result<(), rusqlite::Error> {
    let execute = |sql: &str, params: &[&dyn rusqlite::ToSql]| transaction.prepare_cached(sql)?.execute(params).map(drop);
    match change {
        Change::Add(module) => {
            if module.background {
                execute("DELETE FROM module WHERE background", &[])?;
            }
            insert(transaction, module)
        }
        Change::Remove(uids) => uids.iter().try_for_each(|uid| execute("DELETE FROM module WHERE uid = ?1", &[&uid.to_string()])),
        Change::First(uids) => first(transaction, uids),
        Change::Waits { uid, waiting } => execute("UPDATE module SET waiting = ?2 WHERE uid = ?1", &[&uid.to_string(), waiting]),
        Change::AllWait => execute("UPDATE module SET waiting = 1", &[]),
        Change::Parameters { uid, parameters } => {
            execute("UPDATE module SET parameters = ?2 WHERE uid = ?1", &[&uid.to_string(), parameters])
        }
        Change::SetAside { module, reason, at } => {
            let sql = "INSERT OR REPLACE INTO set_aside (uid, type, background, args, parameters, added, at, reason) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let Module { uid, type_name, background, args, parameters, added, .. } = module;
            transaction.prepare_cached(sql)?.execute(params![
                uid.to_string(),
                type_name,
                background,
                args,
                parameters,
                *added as i64,
                *at as i64,
                reason
            ])?;
            execute("DELETE FROM module WHERE uid = ?1", &[&uid.to_string()])
        }
    }
}

fn insert(transaction: &Transaction<'_>, module: &Module) -> Result<(), rusqlite::Error> {
    let sql = "INSERT OR REPLACE INTO module (position, uid, type, background, args, parameters, added, waiting) \
               VALUES ((SELECT coalesce(max(position), 0) + 1 FROM module), ?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let Module { uid, type_name, background, args, parameters, added, waiting } = module;
    let added = *added as i64;
    transaction
        .prepare_cached(sql)?
        .execute(params![uid.to_string(), type_name, background, args, parameters, added, waiting])
        .map(drop)
}

/// Gives these modules the positions before all others, so that no other row is written.
fn first(transaction: &Transaction<'_>, uids: &[Uid]) -> Result<(), rusqlite::Error> {
    let top: i64 = transaction.query_row("SELECT coalesce(min(position), 0) FROM module", [], |row| row.get(0))?;
    let mut statement = transaction.prepare_cached("UPDATE module SET position = ?2 WHERE uid = ?1 AND NOT background")?;
    // Backwards: of one that is named twice the first place counts.
    for (before, uid) in (1..).zip(uids.iter().rev()) {
        statement.execute(params![uid.to_string(), top - before])?;
    }
    Ok(())
}

fn module(row: &rusqlite::Row<'_>) -> Result<Option<Module>, rusqlite::Error> {
    let uid: String = row.get(0)?;
    let Ok(uid) = uid.parse() else { return Ok(None) };
    let added: i64 = row.get(5)?;
    Ok(Some(Module {
        uid,
        type_name: row.get(1)?,
        background: row.get(2)?,
        args: row.get(3)?,
        parameters: row.get(4)?,
        added: added as u64,
        waiting: row.get(6)?,
    }))
}

/// Locks the file and has it written as this room says; answers with the version of its format.
fn begin(connection: &Connection) -> Result<i32, rusqlite::Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Before the log is first looked at, or it would be shared.
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", JOURNAL_SIZE_LIMIT, |_| Ok(()))?;
    // Takes the lock, which is kept from then on.
    connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whose fault it is.
fn sorted(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse(path.to_owned()),
        Some(
            ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::AuthorizationForStatementDenied,
        ) => OpenError::Trouble(path.to_owned(), error.to_string()),
        // Not a database, a damaged one, or one of somebody else's tables.
        _ => OpenError::Unreadable(path.to_owned(), error.to_string()),
    }
}

/// Makes the folder, so that it outlives a power cut.
fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) else { return Ok(()) };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    folder.ancestors().take(3).filter_map(|folder| File::open(folder).ok()).try_for_each(|folder| folder.sync_all())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}
