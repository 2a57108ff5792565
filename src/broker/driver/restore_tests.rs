//! Launching a list again, event by event: no task of a module ever runs here, the test says what it would have reported.

use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::*;
use crate::launcher::Local;
use crate::module::{Ending, Reached};
use crate::scope::{Exit, Recording};
use crate::settings::Settings;
use crate::store::{Module, Store, file_in};

/// A queue whose list was stored.
struct Bench {
    driver: Driver,
    runtime: Runtime,
    folder: TempDir,
    store: Store,
}

fn uid(number: u8) -> Uid {
    format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
}

fn stored(number: u8) -> Module {
    Module {
        uid: uid(number),
        type_name: "x".into(),
        background: false,
        args: Some(number.to_string().into()),
        parameters: "{\"title\": \"old\"}".into(),
        added: 1000,
        waiting: false,
    }
}

fn background(number: u8) -> Module {
    Module { background: true, type_name: "b".into(), ..stored(number) }
}

const GOOD: Ending = Ending { cause: Cause::Own, reached: Reached::Exit, exit: Some(Exit::Status(0)), exceeded: None };
const BAD: Ending = Ending { cause: Cause::StreamLost, reached: Reached::Exit, exit: Some(Exit::Status(1)), exceeded: None };

impl Bench {
    fn new(modules: impl IntoIterator<Item = Module>) -> Self {
        Self::of("queue", modules)
    }

    /// One of that kind.
    fn of(kind: &str, modules: impl IntoIterator<Item = Module>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = file_in(folder.path(), "queue");
        let (store, _) = Store::open(&path, "queue").unwrap();
        store.push(modules.into_iter().map(crate::store::Change::Add));
        assert!(store.close(Duration::from_secs(30)));
        drop(store);
        let (store, list) = Store::open(&path, "queue").unwrap();
        let driver = runtime.block_on(async { driver(kind, &store, list) });
        let mut bench = Self { driver, runtime, folder, store };
        bench.act(Driver::restore_more);
        bench
    }

    /// Inside the runtime, in which nothing runs.
    fn act<T>(&mut self, act: impl FnOnce(&mut Driver) -> T) -> T {
        let _entered = self.runtime.enter();
        let acted = act(&mut self.driver);
        self.driver.restore_more();
        acted
    }

    fn event(&mut self, event: Event) {
        self.act(|driver| driver.event(event));
    }

    /// It is up, and whatever is told anybody is answered.
    fn up(&mut self, number: u8) {
        self.event(Event::Started { uid: uid(number), result: Ok(()) });
        self.answer();
    }

    fn answer(&mut self) {
        for _ in 0..8 {
            for uid in self.driver.modules.keys().copied().collect::<Vec<_>>() {
                for order in [Order::Remove, Order::Suspend, Order::Play] {
                    self.event(Event::Answered { uid, order, obeyed: true });
                }
            }
        }
    }

    /// It does not start, or ends.
    fn down(&mut self, number: u8, ending: Ending) {
        let uid = uid(number);
        if self.driver.engine.is_starting(uid) {
            self.event(Event::Started { uid, result: Err(ProtocolError::NotConnected) });
        } else {
            self.event(Event::Ended { uid, cause: Cause::StreamLost });
        }
        self.event(Event::Gone { uid, ending });
        self.answer();
    }

    fn wait(&mut self, time: Duration) {
        self.runtime.block_on(tokio::time::advance(time));
        self.act(|_| ());
    }

    fn launched(&self) -> Vec<u8> {
        numbers(self.driver.modules.keys().copied().filter(|uid| self.driver.engine.is_starting(*uid)))
    }

    fn list(&self) -> Vec<Uid> {
        self.driver.engine.list().iter().map(|entry| entry.uid).collect()
    }

    /// What the next process finds.
    fn on_disk(self) -> List {
        let Self { driver, store, folder, .. } = self;
        assert!(store.close(Duration::from_secs(30)));
        drop((driver, store));
        Store::open(&file_in(folder.path(), "queue"), "queue").unwrap().1
    }

    fn remove(&mut self, uids: Vec<Uid>) -> oneshot::Receiver<Result<(), ProtocolError>> {
        let (reply, replied) = oneshot::channel();
        self.act(|driver| driver.message(Message::Remove { uids, reply }));
        self.answer();
        replied
    }

    fn first(&mut self, uids: Vec<Uid>) {
        self.act(|driver| driver.message(Message::Move { uids, reply: oneshot::channel().0 }));
        self.answer();
    }

    /// A client adds a module; who it is.
    fn add(&mut self, type_name: &str, place: Place) -> Uid {
        let before: Vec<Uid> = self.driver.modules.keys().copied().collect();
        let type_name = type_name.to_owned();
        self.act(|driver| driver.message(Message::Add { type_name, args: None, place, reply: oneshot::channel().0 }));
        let uid = *self.driver.modules.keys().find(|uid| !before.contains(uid)).unwrap();
        self.event(Event::Started { uid, result: Ok(()) });
        self.answer();
        uid
    }
}

fn driver(kind: &str, store: &Store, list: List) -> Driver {
    let backgrounds = if kind == "queue" { r#", "backgrounds": {"b": {"process": ["b"]}}"# } else { "" };
    let again = r#", "again": {"process": ["x"], "restart": {"limit": 2}}"#;
    let again = if kind == "pool" { again } else { "" };
    let text = format!(
        r#"{{"ports": {{"list": 1}}, "services": {{"list": {{"kind": "{kind}", "restore": true,
        "modules": {{"x": {{"process": ["x"]}}{again}}}{backgrounds}}}}}}}"#
    );
    let settings = Arc::new(Settings::parse(&text, "x.json".as_ref()).unwrap());
    let configuration = Configuration::of("list", &settings.services["list"], settings.max_line_bytes).unwrap();
    let configuration = Configuration { store: store.clone(), stored: list, ..configuration };
    let launcher = Arc::new(Local::new(settings, Arc::new(Recording::new())));
    Driver::new(configuration, launcher, Record::off(), Arc::default(), (Keeper::off(), None))
}

fn numbers(uids: impl IntoIterator<Item = Uid>) -> Vec<u8> {
    let mut numbers: Vec<u8> = uids.into_iter().map(|uid| u8::from_str_radix(&uid.to_string()[..8], 16).unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_first_comes_alone_and_then_a_few_at_a_time() {
    let mut bench = Bench::new((1..9).map(stored).chain([background(9)]));
    assert_eq!(bench.launched(), [1]);
    bench.up(1);
    // What plays while nothing else does is among the next.
    assert_eq!(bench.launched(), [2, 3, 4, 9]);
    for number in [4, 9, 3, 5, 8, 2, 7, 6] {
        bench.up(number);
    }
    assert_eq!(bench.list(), [1, 2, 3, 4, 5, 6, 7, 8].map(uid));
    let told: Vec<_> = bench.driver.engine.list().iter().map(|entry| entry.told).collect();
    assert_eq!(told[..2], [crate::engine::Told::Play, crate::engine::Told::Nothing]);
    assert_eq!(bench.driver.engine.background().map(|entry| entry.uid), Some(uid(9)));
    let list = bench.on_disk();
    assert!(list.all().all(|module| !module.waiting && module.args.is_some() && module.added == 1000), "{list:?}");
}

#[test]
fn a_pool_has_its_order_too() {
    let mut bench = Bench::of("pool", (1..7).map(stored));
    assert_eq!(bench.launched(), [1]);
    for number in [1, 5, 2, 3, 6, 4] {
        bench.up(number);
    }
    assert_eq!(bench.list(), [1, 2, 3, 4, 5, 6].map(uid));
}

#[test]
fn who_fails_is_waited_for_by_nobody_and_set_aside_in_the_end() {
    let mut bench = Bench::new((1..4).map(stored));
    bench.down(1, BAD);
    assert_eq!(bench.launched(), [2, 3], "it pauses");
    bench.up(3);
    bench.up(2);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.launched(), [1]);
    // Up, and down again within ten seconds: it has its place meanwhile.
    bench.up(1);
    assert_eq!(bench.list(), [1, 2, 3].map(uid));
    bench.wait(Duration::from_secs(9));
    bench.down(1, BAD);
    bench.wait(Duration::from_millis(1999));
    assert_eq!(bench.launched(), [0; 0]);
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.launched(), [1]);
    bench.down(1, BAD);
    bench.wait(Duration::from_secs(100));
    assert_eq!(bench.launched(), [0; 0]);
    let history = bench.driver.board.history().last(1);
    assert_eq!((&history[0]["cause"], &history[0]["uid"]), (&"set_aside".into(), &uid(1).to_string().into()));
    assert_eq!(history[0]["text"], "set aside: failed 3 times in a row: Could not connect to spawned module");
    assert_eq!(numbers(bench.on_disk().modules().map(|module| module.uid)), [2, 3]);
}

#[test]
fn who_ends_well_or_later_leaves_the_list() {
    let mut bench = Bench::new((1..4).map(stored));
    (1..4).for_each(|number| bench.up(number));
    bench.down(1, GOOD);
    bench.wait(Duration::from_secs(10));
    bench.down(3, BAD);
    bench.wait(Duration::from_secs(100));
    assert_eq!((bench.launched(), bench.list()), (vec![], vec![uid(2)]));
    assert_eq!(numbers(bench.on_disk().modules().map(|module| module.uid)), [2]);
}

/// A pool of one module that is started again when it fails, and has just failed.
fn waits_to_be_started_again() -> Bench {
    let mut bench = Bench::of("pool", [Module { type_name: "again".into(), ..stored(1) }]);
    bench.up(1);
    bench.wait(Duration::from_secs(11));
    bench.down(1, BAD);
    assert_eq!((bench.list(), bench.launched()), (vec![uid(1)], vec![]));
    bench
}

fn is_on_disk(bench: Bench) -> bool {
    bench.on_disk().get(uid(1)).is_some()
}

#[test]
fn who_is_to_be_started_again_stays_on_disk() {
    assert!(is_on_disk(waits_to_be_started_again()));

    let mut bench = waits_to_be_started_again();
    let removed = bench.remove(vec![uid(1)]);
    assert_eq!(removed.blocking_recv().unwrap(), Ok(()));
    assert!(!is_on_disk(bench), "removed while it waited");

    let mut bench = waits_to_be_started_again();
    bench.wait(Duration::from_secs(1));
    bench.act(Driver::start_again);
    assert_eq!(bench.launched(), [1]);
    bench.up(1);
    let announced = crate::protocol::parse_object(&raw(&serde_json::json!({"title": "new"})).unwrap()).map(|object| {
        bench.driver.modules[&uid(1)].parameters().set(&object).unwrap();
    });
    assert!(announced.is_some());
    let list = bench.on_disk();
    assert_eq!(list.get(uid(1)).map(|module| module.parameters.contains("new")), Some(true), "{list:?}");

    let mut bench = waits_to_be_started_again();
    for delay in [1, 2] {
        bench.wait(Duration::from_secs(delay));
        bench.act(Driver::start_again);
        bench.up(1);
        bench.down(1, BAD);
    }
    assert_eq!((bench.list(), is_on_disk(bench)), (vec![], false), "given up");
}

#[test]
fn a_client_changes_what_is_not_up_yet() {
    let mut bench = Bench::new((1..9).map(stored).chain([background(9)]));
    bench.first(vec![uid(8), uid(2)]);
    // One that waits, and one that is being launched; the answer waits for nothing but the disk.
    bench.up(1);
    assert_eq!(bench.launched(), [2, 3, 4, 9]);
    let removed = bench.remove(vec![uid(6), uid(3)]);
    assert_eq!(removed.blocking_recv().unwrap(), Ok(()));
    bench.event(Event::Started { uid: uid(3), result: Ok(()) });
    bench.event(Event::Gone { uid: uid(3), ending: BAD });
    let new = bench.add("x", Place::List);
    let above = bench.add("b", Place::Background);
    assert!(!bench.launched().contains(&9) || bench.driver.restoring.is_unwanted(uid(9)));
    bench.event(Event::Started { uid: uid(9), result: Ok(()) });
    bench.event(Event::Gone { uid: uid(9), ending: BAD });
    for number in [7, 5, 4, 8, 2] {
        bench.up(number);
    }
    bench.wait(Duration::from_secs(100));
    let expected = [uid(8), uid(2), uid(1), uid(4), uid(5), uid(7), new];
    assert_eq!(bench.list(), expected);
    assert_eq!(bench.driver.engine.background().map(|entry| entry.uid), Some(above));
    assert_eq!(bench.launched(), [0; 0]);
    let list = bench.on_disk();
    assert_eq!(list.modules().map(|module| module.uid).collect::<Vec<_>>(), expected);
    assert_eq!(list.background().map(|module| module.uid), Some(above));
}

#[test]
fn the_end_of_the_service_leaves_the_list_as_it_is() {
    let mut bench = Bench::new((1..9).map(stored));
    bench.up(1);
    bench.up(3);
    assert_eq!(bench.remove(vec![uid(3)]).blocking_recv().unwrap(), Ok(()));
    bench.act(|driver| driver.message(Message::Drain { done: oneshot::channel().0 }));
    // What is asked for now is answered, and holds.
    assert_eq!(bench.remove(vec![uid(2), uid(7)]).blocking_recv().unwrap(), Ok(()));
    for number in [1, 2, 4, 5] {
        bench.down(number, Ending { cause: Cause::Drained, ..BAD });
    }
    let list = bench.on_disk();
    assert_eq!(list.modules().map(|module| module.uid).collect::<Vec<_>>(), [1, 4, 5, 6, 8].map(uid));
    assert!(list.modules().all(|module| module.waiting));
}

#[derive(Debug, Clone)]
enum Act {
    Up(usize),
    Fail(usize),
    First(Vec<u8>),
    Remove(u8),
    Add,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => any::<usize>().prop_map(Act::Up),
        1 => any::<usize>().prop_map(Act::Fail),
        3 => prop::collection::vec(0..9_u8, 0..4).prop_map(Act::First),
        1 => (0..9_u8).prop_map(Act::Remove),
        1 => Just(Act::Add),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever comes up in whichever order, and whatever clients do meanwhile: in the end the list is what it would be had all been
    /// there from the beginning.
    #[test]
    fn the_order_is_that_of_the_list(acts in prop::collection::vec(act(), 0..40)) {
        let mut bench = Bench::new((0..9).map(stored));
        let mut expected: Vec<Uid> = (0..9).map(uid).collect();
        let mut failures: HashMap<Uid, u32> = HashMap::new();
        let all_up = std::iter::repeat_n(Act::Up(0), 60);
        for act in acts.into_iter().chain(all_up) {
            let starting: Vec<Uid> = bench.driver.modules.keys().copied()
                .filter(|uid| bench.driver.engine.is_starting(*uid) && !bench.driver.restoring.is_unwanted(*uid)).collect();
            let one = |index: usize| (!starting.is_empty()).then(|| numbers([starting[index % starting.len()]])[0]);
            match act {
                Act::Up(index) => one(index).into_iter().for_each(|number| bench.up(number)),
                Act::Fail(index) => if let Some(number) = one(index) {
                    bench.down(number, BAD);
                    let failures = failures.entry(uid(number)).or_default();
                    *failures += 1;
                    if *failures == 3 {
                        expected.retain(|other| *other != uid(number));
                    }
                    bench.wait(Duration::from_secs(2));
                },
                Act::First(numbers) => {
                    let uids: Vec<Uid> = numbers.into_iter().map(uid).collect();
                    bench.first(uids.clone());
                    let mut rest = std::mem::take(&mut expected);
                    for uid in uids {
                        if let Some(at) = rest.iter().position(|other| *other == uid) {
                            expected.push(rest.remove(at));
                        }
                    }
                    expected.append(&mut rest);
                }
                Act::Remove(number) => {
                    drop(bench.remove(vec![uid(number)]));
                    expected.retain(|other| *other != uid(number));
                    if bench.driver.restoring.is_unwanted(uid(number)) || bench.driver.modules.contains_key(&uid(number)) {
                        bench.down(number, BAD);
                    }
                }
                Act::Add => expected.push(bench.add("x", Place::List)),
            }
        }
        prop_assert_eq!(bench.list(), expected.clone());
        let list = bench.on_disk();
        prop_assert_eq!(list.modules().map(|module| module.uid).collect::<Vec<_>>(), expected);
        prop_assert!(list.modules().all(|module| !module.waiting));
    }
}
