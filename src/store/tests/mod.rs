//! The store against lists kept the naive way, files of every version, power that goes, and disks that take nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;

use super::database::SCHEMA;
use super::*;
use crate::protocol::Uid;

/// Nothing takes longer, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

fn uid(number: u8) -> Uid {
    format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
}

fn module(number: u8) -> Module {
    Module {
        uid: uid(number),
        type_name: "clock".into(),
        background: false,
        args: Some(format!("{{\"number\": {number}}}").into()),
        parameters: "{}".into(),
        added: 1_700_000_000_000 + u64::from(number),
        waiting: false,
    }
}

fn names(list: &List) -> Vec<String> {
    list.modules().map(|module| module.uid.short()).collect()
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    file_in(folder.path(), "queue")
}

fn open(path: &Path) -> (Store, List) {
    Store::open(path, "queue").unwrap()
}

/// Waits until all that was pushed is on disk.
fn flush(store: &Store) {
    let (sender, receiver) = mpsc::channel();
    store.after(move || sender.send(()).unwrap());
    receiver.recv_timeout(PATIENCE).unwrap();
}

fn reopen(store: Store, path: &Path) -> (Store, List) {
    assert!(store.close(PATIENCE));
    drop(store);
    open(path)
}

#[test]
fn a_list_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (store, list) = open(&path);
    assert!(list.is_empty());
    let background = Module { background: true, args: None, ..module(9) };
    let odd = Module { type_name: "é \"'".into(), args: Some("[\"\\u0000\", 1e400]".into()), waiting: true, ..module(2) };
    store.push([Change::Add(module(1)), Change::Add(odd.clone()), Change::Add(background.clone()), Change::First(vec![uid(2)])]);
    store.push([Change::Parameters { uid: uid(1), parameters: "{\"title\": \"☃\"}".into() }]);
    let (_store, list) = reopen(store, &path);
    let one = Module { parameters: "{\"title\": \"☃\"}".into(), ..module(1) };
    assert_eq!(list.into_all().collect::<Vec<_>>(), [odd, one, background]);
}

#[test]
fn the_schema_is_that_of_its_version() {
    // Who changes it raises the version, adds a fixture of it beside this one, and has `Database::open` take it further.
    let (fixture, version) = (include_str!("version-1.sql"), 1);
    assert_eq!(FORMAT, version);
    let schema = |sql: &str| {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect::<Vec<(String, Option<String>)>>()
    };
    assert_eq!(schema(SCHEMA), schema(fixture));
}

#[test]
fn every_version_there_was_can_be_read() {
    // The file as the program of that version wrote it, and as text.
    let fixture: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src/store/tests/version-1.sqlite3"].iter().collect();
    if std::env::var_os("SHMOOZE_BLESS").is_some() && !fixture.exists() {
        bless(&fixture);
    }
    let folder = tempfile::tempdir().unwrap();
    let written = path(&folder);
    fs::copy(fixture, &written).unwrap();
    let told = folder.path().join("told.sqlite3");
    Connection::open(&told).unwrap().execute_batch(include_str!("version-1.sql")).unwrap();
    for path in [written, told] {
        let (_store, list) = open(&path);
        assert_eq!(names(&list), ["00000003", "00000001", "00000002"]);
        assert_eq!(*list.get(uid(1)).unwrap(), Module { parameters: "{\"title\": \"one\"}".into(), ..module(1) });
        assert!(list.get(uid(2)).unwrap().waiting);
        let background = Module { background: true, args: None, type_name: "wall".into(), ..module(9) };
        assert_eq!(list.background(), Some(&background));
    }
}

/// Writes the fixture of a version that is new.
fn bless(fixture: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (store, _) = open(&path);
    store.push([1, 2, 3, 4].map(|number| Change::Add(module(number))));
    store.push([Change::Add(Module { background: true, args: None, type_name: "wall".into(), ..module(9) })]);
    store.push([
        Change::First(vec![uid(3)]),
        Change::Waits { uid: uid(2), waiting: true },
        Change::Parameters { uid: uid(1), parameters: "{\"title\": \"one\"}".into() },
        Change::SetAside {
            module: module(4),
            reason: "failed 3 times in a row: did not connect".to_owned(),
            at: 1_700_000_001_000,
        },
    ]);
    assert!(store.close(PATIENCE));
    fs::copy(&path, fixture).unwrap();
}

#[test]
fn what_cannot_be_read_is_kept() {
    let later = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("CREATE TABLE module (everything TEXT); PRAGMA user_version = 77").unwrap();
    };
    let foreign = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("CREATE TABLE module (x TEXT); PRAGMA user_version = 1").unwrap();
    };
    let garbage = |path: &Path| {
        fs::write(path, b"this is no database, but it is longer than a header of one would be".repeat(100)).unwrap();
    };
    let torn = |path: &Path| {
        let (store, _) = open(path);
        store.push((0..200).map(|number| Change::Add(module(number))));
        assert!(store.close(PATIENCE));
        drop(store);
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    let odd = |path: &Path| {
        Connection::open(path).unwrap().execute_batch(include_str!("version-1.sql")).unwrap();
        Connection::open(path).unwrap().execute("UPDATE module SET uid = 'nobody' WHERE position = 1", []).unwrap();
    };
    let spoils: [&dyn Fn(&Path); 5] = [&later, &foreign, &garbage, &torn, &odd];
    for (case, spoil) in spoils.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder);
        spoil(&path);
        let before = fs::read(&path).unwrap();
        let (store, list) = open(&path);
        assert!(list.is_empty(), "{case}");
        store.push([Change::Add(module(1))]);
        let (_store, list) = reopen(store, &path);
        assert_eq!(names(&list), ["00000001"], "{case}");
        let kept = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(".unreadable-");
        let kept: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).filter(kept).collect();
        let kept = kept.iter().find(|entry| !entry.file_name().to_string_lossy().ends_with("-wal")).unwrap();
        let after = fs::read(kept.path()).unwrap();
        // It was switched to write-ahead logging before its version was known: bytes 18, 19 and the counters of changes.
        let same = before.iter().zip(&after).filter(|(before, after)| before == after).count();
        assert!(before.len() == after.len() && same + 16 >= before.len(), "{case}: {same} of {}", before.len());
    }
}

#[test]
fn a_second_one_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (store, _) = open(&path);
    // In a process of its own, since locks are those of a process: the file of another is enough here.
    let error = Store::open(&path, "queue").err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert_eq!(error.to_string(), format!("{} is in use by another process: two brokers cannot keep one list", path.display()));
    store.push([Change::Add(module(1))]);
    assert_eq!(names(&reopen(store, &path).1), ["00000001"]);
}

#[test]
fn what_is_set_aside_is_kept_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (store, _) = open(&path);
    store.push([Change::Add(module(1)), Change::Add(module(2))]);
    store.push([Change::SetAside { module: module(1), reason: "it failed".to_owned(), at: 7 }]);
    assert!(store.close(PATIENCE));
    let connection = Connection::open(&path).unwrap();
    let row: (String, String, String, i64) = connection
        .query_row("SELECT uid, args, reason, at FROM set_aside", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert_eq!(row, (uid(1).to_string(), "{\"number\": 1}".to_owned(), "it failed".to_owned(), 7));
    drop((connection, store));
    assert_eq!(names(&open(&path).1), ["00000002"]);
}

#[test]
fn a_disk_that_takes_nothing_delays_nobody_and_is_written_whole_later() {
    let folder = tempfile::tempdir().unwrap();
    // Where the folder is to be there is a file.
    let place = folder.path().join("lists");
    fs::write(&place, "").unwrap();
    let path = file_in(&place, "queue");
    let told = folder.path().join("told");
    let file = Arc::new(fs::File::create(&told).unwrap());
    let subscriber = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).with_writer(file).finish();
    // With one subscriber alone, tracing would remember for all threads what a thread without one made of a warning.
    let _ = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new());
    let (store, list) = tracing::subscriber::with_default(subscriber, || open(&path));
    assert!(list.is_empty());
    for number in 0..5 {
        store.push([Change::Add(module(number))]);
        flush(&store);
    }
    store.push([Change::Remove(vec![uid(1)]), Change::First(vec![uid(4)])]);
    store.push([Change::SetAside { module: module(2), reason: "no".to_owned(), at: 1 }]);
    fs::remove_file(&place).unwrap();
    // The end tries once more, as the next pause would.
    let (store, list) = reopen(store, &path);
    assert_eq!(names(&list), ["00000004", "00000000", "00000003"]);
    let told = fs::read_to_string(told).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].contains("WARN the list of queue cannot be written to") && lines[0].contains("a reboot"), "{told}");
    assert!(lines[1].ends_with("all of it") && lines[1].contains("WARN the list of queue is written again"), "{told}");
    assert!(store.close(PATIENCE));
    let connection = Connection::open(&path).unwrap();
    assert_eq!(connection.query_row("SELECT count(*) FROM set_aside", [], |row| row.get(0)), Ok(1));
}

#[test]
fn a_file_that_is_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (store, _) = open(&path);
    store.push([Change::Add(module(1))]);
    flush(&store);
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    let _ = fs::remove_file(folder.path().join("list-queue.sqlite3-wal"));
    store.push([Change::Add(module(2))]);
    flush(&store);
    assert_eq!(names(&reopen(store, &path).1), ["00000001", "00000002"]);
}

#[test]
fn more_changes_than_are_kept_are_written_as_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (store, _) = open(&path);
    let numbers = || (0..=u8::MAX).cycle().take(5 * MOST_CHANGES);
    store.push(numbers().map(|number| Change::Add(module(number))));
    store.push([Change::First(vec![uid(7)])]);
    let (_store, list) = reopen(store, &path);
    assert_eq!((list.modules().count(), names(&list)[0].as_str()), (256, "00000007"));
}

#[test]
fn parameters_are_written_with_the_next_change_or_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let (store, _) = open(&path);
    store.push([Change::Add(module(1))]);
    let (reads, text) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new("{}".to_owned())));
    let (counted, source) = (Arc::clone(&reads), Arc::clone(&text));
    store.watch(
        uid(1),
        Arc::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            source.lock().unwrap().clone()
        }),
    );
    let mark = store.marker(uid(1));
    for number in 0..1000 {
        *text.lock().unwrap() = format!("{{\"n\": {number}}}");
        mark();
    }
    store.push([Change::Add(module(2))]);
    flush(&store);
    // Once at once, once with the change; all others are for the next second.
    assert!(reads.load(Ordering::SeqCst) <= 3, "{reads:?}");
    *text.lock().unwrap() = "{\"n\": \"last\"}".to_owned();
    mark();
    let (_store, list) = reopen(store, &path);
    assert_eq!(&*list.modules().next().unwrap().parameters, "{\"n\": \"last\"}");
}

/// As bytes of the file and its log lie at some moment while they are written.
#[test]
fn a_copy_of_any_moment_has_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let place = path(&folder);
    let (store, _) = open(&place);
    let acknowledged = Arc::new(Mutex::new(List::default()));
    let (copies, mut expected) = (tempfile::tempdir().unwrap(), List::default());
    for number in 0..=150_u8 {
        let change = match number % 5 {
            0..3 => Change::Add(module(number)),
            3 => Change::First(vec![uid(number - 2)]),
            _ => Change::Remove(vec![uid(number - 4)]),
        };
        expected.apply(&change);
        store.push([change]);
        let (list, now) = (Arc::clone(&acknowledged), expected.clone());
        store.after(move || *list.lock().unwrap() = now);
        // Each file is copied while the thread writes; the log after the file, for it says what the file may lack.
        let before = acknowledged.lock().unwrap().clone();
        let copy = file_in(&copies.path().join(number.to_string()), "queue");
        fs::create_dir(copy.parent().unwrap()).unwrap();
        fs::copy(&place, &copy).unwrap();
        let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
        let _ = fs::copy(log(&place), log(&copy));
        let (_store, list) = open(&copy);
        let is_between = steps(&before, &expected).contains(&list);
        assert!(is_between, "{number}: {:?} is none of what was acknowledged or asked since {:?}", names(&list), names(&before));
    }
}

/// All lists from one to the other, each step being one of the test above.
fn steps(from: &List, to: &List) -> Vec<List> {
    let mut list = List::default();
    let mut all = vec![list.clone()];
    for number in 0..=150_u8 {
        match number % 5 {
            0..3 => list.apply(&Change::Add(module(number))),
            3 => list.apply(&Change::First(vec![uid(number - 2)])),
            _ => list.apply(&Change::Remove(vec![uid(number - 4)])),
        }
        all.push(list.clone());
    }
    let first = all.iter().position(|list| list == from).unwrap();
    let last = all.iter().rposition(|list| list == to).unwrap();
    all[first..=last].to_vec()
}

/// The log cut off at each of its bytes: what a power cut may leave of the last write.
#[test]
fn a_log_that_is_torn_loses_whole_changes_from_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let place = path(&folder);
    let (store, _) = open(&place);
    let mut lengths = Vec::new();
    let log = PathBuf::from(format!("{}-wal", place.display()));
    for number in 0..6 {
        store.push([Change::Add(module(number))]);
        flush(&store);
        lengths.push(fs::metadata(&log).unwrap().len());
    }
    let (main, whole) = (fs::read(&place).unwrap(), fs::read(&log).unwrap());
    let copies = tempfile::tempdir().unwrap();
    for cut in (0..=whole.len()).step_by(1021).chain(lengths.iter().map(|length| usize::try_from(*length).unwrap())) {
        let copy = file_in(&copies.path().join(cut.to_string()), "queue");
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(&copy, &main).unwrap();
        // What comes after is another disk's old content.
        let mut torn = whole[..cut].to_vec();
        torn.resize(whole.len(), 0xa5);
        fs::write(format!("{}-wal", copy.display()), torn).unwrap();
        let (_store, list) = open(&copy);
        let acknowledged = lengths.iter().filter(|length| **length <= cut as u64).count();
        let length = list.modules().count();
        assert!(list.into_all().eq((0..6).map(module).take(length)));
        assert!(length >= acknowledged, "{cut}: {length} of {acknowledged}");
    }
}

#[derive(Debug, Clone)]
enum Act {
    Change(Change),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let number = 0..12_u8;
    let uids = || prop::collection::vec((0..12_u8).prop_map(uid), 0..5);
    let row = (number, any::<bool>(), any::<bool>()).prop_map(|(number, background, waiting)| Module {
        background,
        waiting,
        ..module(number)
    });
    let parameters = (0..12_u8, 0..9_u8).prop_map(|(of, value)| (uid(of), format!("{{\"a\": {value}}}").into()));
    prop_oneof![
        8 => row.prop_map(|module| Act::Change(Change::Add(module))),
        4 => uids().prop_map(|uids| Act::Change(Change::Remove(uids))),
        6 => uids().prop_map(|uids| Act::Change(Change::First(uids))),
        2 => (0..12_u8, any::<bool>()).prop_map(|(of, waiting)| Act::Change(Change::Waits { uid: uid(of), waiting })),
        1 => Just(Act::Change(Change::AllWait)),
        3 => parameters.prop_map(|(uid, parameters)| Act::Change(Change::Parameters { uid, parameters })),
        1 => (0..12_u8).prop_map(|number| Act::Change(Change::SetAside { module: module(number), reason: "x".to_owned(), at: 1 })),
        2 => Just(Act::Reopen),
    ]
}

/// The list by its words, as slowly as it may be: every module with the time at which it came where it is.
#[derive(Default)]
struct Naive {
    rows: Vec<(i64, Module)>,
    clock: i64,
}

impl Naive {
    fn apply(&mut self, change: &Change) {
        self.clock += 1000;
        let find = |rows: &[(i64, Module)], uid: Uid| rows.iter().position(|(_, module)| module.uid == uid);
        match change {
            Change::Add(new) => {
                self.rows.retain(|(_, module)| module.uid != new.uid && !(new.background && module.background));
                self.rows.push((self.clock, new.clone()));
            }
            Change::Remove(uids) => self.rows.retain(|(_, module)| !uids.contains(&module.uid)),
            Change::SetAside { module: gone, .. } => self.rows.retain(|(_, module)| module.uid != gone.uid),
            Change::First(uids) => {
                for (place, uid) in uids.iter().enumerate().rev() {
                    if let Some(at) = find(&self.rows, *uid) {
                        self.rows[at].0 = -self.clock + i64::try_from(place).unwrap();
                    }
                }
            }
            Change::Waits { uid, waiting } => {
                if let Some(at) = find(&self.rows, *uid) {
                    self.rows[at].1.waiting = *waiting;
                }
            }
            Change::AllWait => self.rows.iter_mut().for_each(|(_, module)| module.waiting = true),
            Change::Parameters { uid, parameters } => {
                if let Some(at) = find(&self.rows, *uid) {
                    self.rows[at].1.parameters = Arc::clone(parameters);
                }
            }
        }
    }

    /// All of them, the background last.
    fn all(&self) -> Vec<Module> {
        let mut rows = self.rows.clone();
        rows.sort_by_key(|(place, module)| (module.background, *place));
        rows.into_iter().map(|(_, module)| module).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_stored_is_what_a_list_would_be(acts in prop::collection::vec(act(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder);
        let (mut store, _) = open(&path);
        let (mut naive, mut list) = (Naive::default(), List::default());
        for act in acts.into_iter().chain([Act::Reopen]) {
            match act {
                Act::Change(change) => {
                    naive.apply(&change);
                    list.apply(&change);
                    prop_assert_eq!(list.clone().into_all().collect::<Vec<_>>(), naive.all());
                    store.push([change]);
                }
                Act::Reopen => {
                    let read;
                    (store, read) = reopen(store, &path);
                    prop_assert_eq!(&read, &list);
                }
            }
        }
    }
}
