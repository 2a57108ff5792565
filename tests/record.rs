//! The command log against real files: its shape, and what other programs and a full disk do to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use shmooze::protocol::Uid;
use shmooze::record::{MAX_ROWS, MAX_TEXT_BYTES, Namespace, Record, RecordError, Row};

/// Longer than any wait that goes well; a test that reaches it fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn row(input: impl Into<String>) -> Row {
    Row { uid: None, namespace: Namespace::ClientQueue, input: input.into(), output: "null".into() }
}

fn inputs(database: &Path, table: &str) -> Vec<String> {
    let connection = Connection::open(database).unwrap();
    let mut statement = connection.prepare(&format!("SELECT input_json FROM \"{table}\" ORDER BY pk")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn golden(name: &str) -> Value {
    let lines = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/golden.jsonl")).unwrap();
    let mut transcripts = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    transcripts.find(|transcript| transcript["name"] == name).unwrap()
}

/// What `tracing` was told, line by line.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl Told {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    /// Runs `scene` with the warnings of the records that it opens collected here.
    fn hear<T>(&self, scene: impl FnOnce() -> T) -> T {
        // With one subscriber alone, tracing would remember for all threads what a thread without one made of a warning.
        let _ = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new());
        let told = self.clone();
        let subscriber =
            tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).with_writer(move || told.clone());
        tracing::subscriber::with_default(subscriber.finish(), scene)
    }
}

impl io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_tables_are_those_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    for service in ["queue", "pool"] {
        Record::open(Some(database.clone()), service).close(PATIENCE).unwrap();
    }
    let connection = Connection::open(&database).unwrap();
    let mut statement = connection.prepare("SELECT sql FROM sqlite_master WHERE type = 'table' ORDER BY name").unwrap();
    let sql: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(json!(sql), golden("log_schema")["steps"][0]["sql"]);
}

#[test]
fn the_rows_are_those_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    let transcript = golden("queue_log_rows");
    let expected = transcript["steps"].as_array().unwrap().last().unwrap();
    let rows = expected["log_rows"].as_array().unwrap();
    let mut uids: HashMap<String, Uid> = HashMap::new();

    let record = Record::open(Some(database.clone()), "queue");
    for expected in rows {
        let uid = expected["uid"].as_str().map(|name| *uids.entry(name.to_owned()).or_default());
        let namespace = match expected["namespace"].as_str().unwrap() {
            "client-queue" => Namespace::ClientQueue,
            "queue-module" => Namespace::QueueModule,
            "module-instance" => Namespace::ModuleInstance,
            other => panic!("{other}"),
        };
        let text = |key: &str| expected[key].as_str().unwrap().to_owned();
        record.write(Row { uid, namespace, input: text("input_json"), output: text("output_json") });
    }
    record.close(PATIENCE).unwrap();

    let names: HashMap<String, &str> = uids.iter().map(|(name, uid)| (uid.to_string(), name.as_str())).collect();
    let connection = Connection::open(&database).unwrap();
    let table = expected["log_table"].as_str().unwrap();
    let mut statement =
        connection.prepare(&format!("SELECT uid, namespace, input_json, output_json FROM {table} ORDER BY pk")).unwrap();
    let stored: Vec<Value> = statement
        .query_map([], |row| {
            let uid: Option<String> = row.get(0)?;
            let [namespace, input, output]: [String; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
            let uid = uid.map(|uid| names[&uid]);
            Ok(json!({"uid": uid, "namespace": namespace, "input_json": input, "output_json": output}))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(json!(stored), expected["log_rows"]);

    // As CURRENT_TIMESTAMP writes it, and of this minute.
    let odd: i64 = connection
        .query_row(
            "SELECT count(*) FROM queue_log WHERE timestamp IS NOT datetime(timestamp) \
             OR abs(strftime('%s', timestamp) - strftime('%s', 'now')) > 60",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(odd, 0);
}

#[test]
fn pools_have_a_namespace_of_their_own() {
    assert_eq!(Namespace::ClientPool.name(), "client-pool");
}

#[test]
fn nothing_is_recorded_where_no_file_is_named() {
    let record = Record::open(None, "queue");
    assert!(!record.is_on());
    record.write(row("x"));
    record.flush(Duration::ZERO).unwrap();
    assert_eq!(record.lost(), 0);
    record.close(Duration::ZERO).unwrap();
}

#[test]
fn odd_names_are_only_names() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("file:log?mode=memory");
    let service = "a\"; DROP TABLE \u{2603}; --";
    let record = Record::open(Some(database.clone()), service);
    record.write(row("x"));
    record.close(PATIENCE).unwrap();
    let connection = Connection::open_with_flags(&database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let table: String = connection.query_row("SELECT name FROM sqlite_master", [], |row| row.get(0)).unwrap();
    assert_eq!(table, format!("{service}_log"));
}

#[test]
fn a_service_name_that_sqlite_cannot_take_costs_only_rows() {
    let folder = tempfile::tempdir().unwrap();
    let record = Record::open(Some(folder.path().join("log.sqlite3")), "nul\0nul");
    record.write(row("x"));
    assert!(matches!(record.close(PATIENCE), Err(RecordError::Refused(_))));
}

#[test]
fn rows_of_an_earlier_run_stay() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    for input in ["first", "second"] {
        let record = Record::open(Some(database.clone()), "queue");
        record.write(row(input));
        record.close(PATIENCE).unwrap();
    }
    assert_eq!(inputs(&database, "queue_log"), ["first", "second"]);
}

#[test]
fn the_last_clone_to_go_leaves_all_rows_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    let record = Record::open(Some(database.clone()), "queue");
    record.write(row("x"));
    record.flush(PATIENCE).unwrap();
    let clone = record.clone();
    drop(record);
    clone.write(row("y"));
    drop(clone);
    let deadline = Instant::now() + PATIENCE;
    while inputs(&database, "queue_log") != ["x", "y"] {
        assert!(Instant::now() < deadline, "the row was not written");
        std::thread::yield_now();
    }
}

#[test]
fn a_reader_sees_each_row_and_holds_up_none() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    let record = Record::open(Some(database.clone()), "queue");
    record.write(row("before"));
    record.flush(PATIENCE).unwrap();

    // A reader in the middle of a long look at the table.
    let slow = Connection::open(&database).unwrap();
    slow.execute_batch("BEGIN").unwrap();
    let count = |connection: &Connection| -> i64 {
        connection.query_row("SELECT count(*) FROM queue_log", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(&slow), 1);

    let reader = Connection::open(&database).unwrap();
    for number in 0..20 {
        record.write(row(number.to_string()));
        record.flush(PATIENCE).unwrap();
        assert_eq!(count(&reader), number + 2);
    }
    assert_eq!(count(&slow), 1, "its picture is of one moment");
    record.close(PATIENCE).unwrap();
}

#[test]
fn another_programs_lock_delays_rows_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    let record = Record::open(Some(database.clone()), "queue");
    record.write(row("before"));
    record.flush(PATIENCE).unwrap();

    let other = Connection::open(&database).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // All of it while the file is locked: a write that waited for the lock would wait for ever.
    for number in 0..10_000 {
        record.write(row(number.to_string()));
    }
    assert_eq!(record.flush(Duration::from_millis(20)), Err(RecordError::Late(Duration::from_millis(20))));
    other.execute_batch("COMMIT").unwrap();
    record.close(PATIENCE).unwrap();
    assert_eq!(inputs(&database, "queue_log").len(), 10_001);
}

#[test]
fn a_file_that_is_locked_from_the_start_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    let other = Connection::open(&database).unwrap();
    other.execute_batch("CREATE TABLE songs (name); BEGIN EXCLUSIVE").unwrap();
    let record = Record::open(Some(database.clone()), "queue");
    record.write(row("x"));
    assert!(record.flush(Duration::from_millis(20)).is_err());
    other.execute_batch("COMMIT").unwrap();
    record.close(PATIENCE).unwrap();
    assert_eq!(inputs(&database, "queue_log"), ["x"]);
}

#[test]
fn several_services_share_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    let services: Vec<String> = (0..8).map(|number| format!("service{number}")).collect();
    let records: Vec<Record> = services.iter().map(|service| Record::open(Some(database.clone()), service)).collect();
    for number in 0..500 {
        for record in &records {
            record.write(row(number.to_string()));
        }
    }
    for record in records {
        record.close(PATIENCE).unwrap();
    }
    let expected: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    for service in &services {
        assert_eq!(inputs(&database, &format!("{service}_log")), expected, "{service}");
    }
}

#[test]
fn only_the_last_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("made").join("log.sqlite3");
    let record = Record::open(Some(database.clone()), "queue");
    record.write(row("x"));
    record.close(PATIENCE).unwrap();
    assert_eq!(inputs(&database, "queue_log"), ["x"]);
}

#[test]
fn rows_wait_for_a_missing_folder_and_an_outage_is_told_twice() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("a/b");
    let database = missing.join("log.sqlite3");
    let told = Told::default();
    told.hear(|| {
        let record = Record::open(Some(database.clone()), "queue");
        for input in ["first", "second"] {
            record.write(row(input));
            let refused = record.flush(PATIENCE).unwrap_err().to_string();
            let expected = format!("Cannot write the command log {}: cannot make the folder", database.display());
            assert!(refused.starts_with(&expected), "{refused}");
        }
        fs::create_dir_all(&missing).unwrap();
        record.flush(PATIENCE).unwrap();
        assert_eq!(inputs(&database, "queue_log"), ["first", "second"]);
        assert_eq!(record.lost(), 0);
        record.close(PATIENCE).unwrap();
    });
    let shown = database.display();
    assert_eq!(
        told.lines(),
        [
            format!(
                " WARN Cannot write the command log {shown}: cannot make the folder {}: No such file or directory \
                 (os error 2); requests are served all the same, their rows are kept in memory.",
                missing.display()
            ),
            format!(" WARN The command log {shown} is written again; 0 rows of queue lost."),
        ]
    );
}

#[test]
fn an_outage_that_never_ends_costs_the_rows_and_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    fs::write(&database, "This is no database. ".repeat(1000)).unwrap();
    let told = Told::default();
    told.hear(|| {
        let record = Record::open(Some(database.clone()), "queue");
        record.write(row("a"));
        record.write(row("b"));
        let refused = record.clone().close(PATIENCE).unwrap_err().to_string();
        assert_eq!(refused, format!("Cannot write the command log {}: file is not a database.", database.display()));
        assert_eq!(record.lost(), 2);
        record.write(row("after the close"));
        assert_eq!(record.lost(), 3);
    });
    assert_eq!(told.lines().len(), 2, "{:?}", told.lines());
    assert_eq!(told.lines()[1], " WARN The command log of queue ends; 2 rows lost.");
    assert!(fs::read(&database).unwrap().starts_with(b"This is no database."), "what is not ours is left alone");
}

#[test]
fn a_log_that_is_replaced_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("log.sqlite3");
    let rotated = folder.path().join("log.1.sqlite3");
    let record = Record::open(Some(database.clone()), "queue");
    record.write(row("old"));
    record.flush(PATIENCE).unwrap();
    // As an administrator should not do it, with the side files left where they are.
    Connection::open(&database).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    fs::rename(&database, &rotated).unwrap();
    record.write(row("new"));
    record.close(PATIENCE).unwrap();
    assert_eq!(inputs(&database, "queue_log"), ["new"]);
    assert_eq!(inputs(&rotated, "queue_log"), ["old"]);
}

#[test]
fn what_exceeds_the_bounds_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("a/b");
    let database = missing.join("log.sqlite3");
    let told = Told::default();
    told.hear(|| {
        let record = Record::open(Some(database.clone()), "queue");
        record.write(row("x".repeat(MAX_TEXT_BYTES)));
        assert_eq!(record.lost(), 1, "one row of more than all");
        for number in 0..MAX_ROWS + 100 {
            record.write(row(number.to_string()));
        }
        assert_eq!(record.lost(), 101);
        assert!(record.flush(PATIENCE).is_err());
        record.write(row("rows in the writer's hands count"));
        fs::create_dir_all(&missing).unwrap();
        record.flush(PATIENCE).unwrap();
        record.write(row("there is room again"));
        record.close(PATIENCE).unwrap();
    });
    let stored = inputs(&database, "queue_log");
    assert_eq!(stored.len(), MAX_ROWS + 1);
    assert_eq!(stored.last().unwrap(), "there is room again");
    let expected = format!(" WARN The command log {} is written again; 102 rows of queue lost.", database.display());
    assert_eq!(told.lines().last(), Some(&expected));
}

/// A file system of its own, of 256 KiB; unmounted when it goes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where mounting is not allowed.
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(at).output().ok()?;
        mounted.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_delays_rows_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        eprintln!("SKIPPED a_full_disk_delays_rows_until_there_is_room: mounting a tmpfs takes root.");
        return;
    };
    let database = disk.0.join("log.sqlite3");
    let told = Told::default();
    told.hear(|| {
        let record = Record::open(Some(database.clone()), "queue");
        record.write(row("before"));
        record.flush(PATIENCE).unwrap();
        let ballast = disk.0.join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        for number in 0..50 {
            record.write(row(format!("{number} {}", "x".repeat(1000))));
        }
        let refused = record.flush(PATIENCE).unwrap_err().to_string();
        assert!(refused.contains("full"), "{refused}");
        drop(file);
        fs::remove_file(&ballast).unwrap();
        record.flush(PATIENCE).unwrap();
        assert_eq!(inputs(&database, "queue_log").len(), 51);
        record.close(PATIENCE).unwrap();
    });
    assert_eq!(told.lines().len(), 2, "{:?}", told.lines());
    assert!(told.lines()[1].ends_with("is written again; 0 rows of queue lost."), "{:?}", told.lines());
}
