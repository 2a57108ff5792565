//! The driver starts modules again: over a house where nothing runs, with time that is paused. What modules say is said by the
//! test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::driver::{Driver, Message};
use super::{Board, Configuration, Kind, MESSAGE_CAPACITY};
use crate::engine::{Order, Place, Told};
use crate::handover::testing::Manager;
use crate::handover::{Keeper, Legacy, Stored};
use crate::launcher::Local;
use crate::module::{Cause, Event};
use crate::protocol::{ProtocolError, Uid, Wanted};
use crate::record::Record;
use crate::scope::{Call, End, Exit, Reached, Recording, ScopeError, Scopes as _, State};
use crate::settings::{Service, Settings};

struct Bench {
    house: Recording,
    board: Arc<Board>,
    messages: mpsc::Sender<Message>,
    events: mpsc::Sender<Event>,
    driving: JoinHandle<()>,
    kill: oneshot::Sender<()>,
}

fn settings(kind: Kind, restart: &Value) -> Arc<Settings> {
    // Nobody connects: what the test does not say does not happen.
    let module_type = json!({"process": ["x"], "timeouts": {"connect": 86_400_000}});
    let mut again = module_type.clone();
    again["restart"] = restart.clone();
    let service = match kind {
        Kind::Pool => json!({"kind": "pool", "modules": {"sign": again, "once": module_type}}),
        Kind::Queue => json!({"kind": "queue", "modules": {"once": module_type}, "backgrounds": {"sign": again}}),
    };
    let text = json!({"ports": {"x": 1}, "services": {"x": service}}).to_string();
    Arc::new(Settings::parse(&text, Path::new("/x.json")).unwrap())
}

fn gone(exit: Exit) -> State {
    State::Gone(End { exit, reached: Reached::Exit, exceeded: None })
}

impl Bench {
    fn new(kind: Kind, restart: &Value) -> Self {
        Self::resume(kind, restart, Recording::new(), (Keeper::off(), None))
    }

    fn resume(kind: Kind, restart: &Value, house: Recording, kept: (Keeper, Option<Legacy>)) -> Self {
        let settings = settings(kind, restart);
        let configuration = Configuration::of("x", &settings.services["x"], settings.max_line_bytes).unwrap();
        let launcher = Arc::new(Local::new(settings, Arc::new(house.clone())));
        let board = Arc::new(Board::default());
        let driver = Driver::new(configuration, launcher, Record::off(), Arc::clone(&board), kept);
        let events = driver.events.clone();
        let (messages, received) = mpsc::channel(MESSAGE_CAPACITY);
        let (kill, killed) = oneshot::channel();
        let driving = tokio::spawn(async move {
            let mut driving = Box::pin(driver.drive(received));
            tokio::select! {
                () = &mut driving => {}
                // A process that is killed does nothing more, and lets go of nothing either.
                Ok(()) = killed => std::future::pending().await,
            }
        });
        Self { house, board, messages, events, driving, kill }
    }

    async fn set_types(&self, kind: Kind, restart: &Value) {
        let (Service::Queue(lists) | Service::Pool(lists)) = settings(kind, restart).services["x"].clone() else { panic!() };
        assert!(self.messages.send(Message::SetTypes(Arc::new(lists))).await.is_ok());
        self.settle().await;
    }

    /// Until all is heard that was said.
    async fn settle(&self) {
        let (reply, replied) = oneshot::channel();
        assert!(self.messages.send(Message::Ping { reply }).await.is_ok());
        replied.await.unwrap().unwrap();
    }

    /// Until it is so. Time stands still meanwhile.
    async fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        for _ in 0..100_000 {
            if is(self) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it never is: {what}");
    }

    async fn say(&self, event: Event) {
        self.events.send(event).await.unwrap();
        self.settle().await;
    }

    async fn uids(&self) -> Vec<Uid> {
        self.house.list().await.unwrap().into_iter().map(|listed| listed.uid).collect()
    }

    fn launches(&self) -> usize {
        self.house.calls().iter().filter(|call| matches!(call, Call::Launch(..))).count()
    }

    /// How long it takes until there were so many launches.
    async fn launched(&self, count: usize) -> Duration {
        let begun = Instant::now();
        let launches = |calls: &[Call]| calls.iter().filter(|call| matches!(call, Call::Launch(..))).count();
        self.house.until(|calls| launches(calls) >= count).await;
        self.settle().await;
        assert_eq!(self.launches(), count);
        begun.elapsed()
    }

    /// Adds a module and has it started.
    async fn add(&self, type_name: &str, place: Place) -> Uid {
        let before = self.uids().await;
        let (reply, replied) = oneshot::channel();
        let add = Message::Add { type_name: type_name.to_owned(), args: None, place, reply };
        assert!(self.messages.send(add).await.is_ok());
        loop {
            let new = self.uids().await.into_iter().find(|uid| !before.contains(uid));
            if let Some(uid) = new {
                self.say(Event::Started { uid, result: Ok(()) }).await;
                for order in [Order::Play, Order::Suspend] {
                    self.say(Event::Answered { uid, order, obeyed: true }).await;
                }
                // What it had to wait for.
                if let Some(background) = self.board.snapshot().background().map(|item| item.module.uid()) {
                    self.say(Event::Answered { uid: background, order: Order::Suspend, obeyed: true }).await;
                    self.say(Event::Answered { uid: background, order: Order::Remove, obeyed: true }).await;
                }
                assert_eq!(replied.await.unwrap(), Ok(uid));
                return uid;
            }
            tokio::task::yield_now().await;
        }
    }

    /// It is started again, and plays.
    async fn play(&self, uid: Uid) {
        self.say(Event::Started { uid, result: Ok(()) }).await;
        self.say(Event::Answered { uid, order: Order::Play, obeyed: true }).await;
    }

    /// The module ends so, to its last process.
    async fn end(&self, uid: Uid, cause: Cause, exit: Exit) {
        let before = self.board.history().last(1000).len();
        self.say(Event::Ended { uid, cause }).await;
        self.house.advance(uid, gone(exit));
        self.until("its end is known", |bench| bench.board.history().last(1000).len() > before).await;
        self.settle().await;
    }

    async fn crash(&self, uid: Uid) {
        self.end(uid, Cause::StreamLost, Exit::Status(1)).await;
    }

    async fn remove(&self, uid: Uid) {
        let (reply, replied) = oneshot::channel();
        assert!(self.messages.send(Message::Remove { uids: vec![uid], reply }).await.is_ok());
        replied.await.unwrap().unwrap();
    }

    /// Removes one that is up.
    async fn remove_and_answer(&self, uid: Uid) {
        let (reply, replied) = oneshot::channel();
        assert!(self.messages.send(Message::Remove { uids: vec![uid], reply }).await.is_ok());
        self.settle().await;
        self.say(Event::Answered { uid, order: Order::Remove, obeyed: true }).await;
        replied.await.unwrap().unwrap();
        self.house.advance(uid, gone(Exit::Status(0)));
    }

    /// The list as clients see it.
    fn list(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&self.board.snapshot().response(&Wanted::default()).to_text()).unwrap();
        answer["result"].as_array().unwrap().clone()
    }

    fn parameter(&self, uid: Uid, name: &str) -> Option<f64> {
        let module = self.board.find(uid)?;
        module.parameters().get(name)?.get().parse().ok()
    }

    fn told(&self) -> Option<Told> {
        self.board.snapshot().background().filter(|item| !item.down).map(|item| item.told)
    }
}

/// Within the millisecond to which timers are exact.
fn is_about(measured: Duration, milliseconds: u64) {
    let exact = Duration::from_millis(milliseconds);
    assert!((exact..=exact + Duration::from_millis(1)).contains(&measured), "{measured:?} is not {exact:?}");
}

#[tokio::test(start_paused = true)]
async fn each_wait_is_twice_the_one_before_until_the_module_is_given_up() {
    let restart = json!({"delay": 100, "max_delay": 400, "limit": 5, "window": 10_000});
    let bench = Bench::new(Kind::Pool, &restart);
    let (first, uid, last) =
        (bench.add("once", Place::List).await, bench.add("sign", Place::List).await, bench.add("once", Place::List).await);
    let entry = |uid, type_name| json!({"uid": uid, "type": type_name});
    for (at, delay) in [100, 200, 400, 400, 400].into_iter().enumerate() {
        bench.crash(uid).await;
        let down = json!({"uid": uid, "type": "sign", "state": "restarting"});
        assert_eq!(bench.list(), [entry(first, "once"), down, entry(last, "once")], "it keeps its place");
        assert_eq!(bench.parameter(uid, "shmooze_restarts"), Some((at + 1) as f64));
        assert!(bench.parameter(uid, "shmooze_restart_at") > Some(1.0e9));
        let module = bench.board.find(uid).unwrap();
        assert_eq!(module.tell("x", None).await.err(), Some(ProtocolError::Closed));
        is_about(bench.launched(4 + at).await, delay);
        assert_eq!(bench.list()[1]["state"], "restarting", "it is not initialised yet");
        bench.play(uid).await;
        assert_eq!(bench.list()[1], entry(uid, "sign"), "of one that is up the list says what it says of any other");
        assert_eq!(bench.parameter(uid, "shmooze_restarts"), Some((at + 1) as f64));
        assert_eq!(bench.parameter(uid, "shmooze_restart_at"), None);
    }
    bench.crash(uid).await;
    assert_eq!(bench.list(), [entry(first, "once"), entry(last, "once")]);
    let lives = bench.board.history().last(10);
    assert_eq!((lives.len(), &lives[0]["given_up"], &lives[0]["restarts"]), (6, &json!(true), &json!(5)));
    assert!(lives[1]["restart_at"].is_number() && lives[1]["given_up"].is_null() && lives[1]["restarts"] == 4, "{}", lives[1]);
    assert!(lives[5]["restart_at"].is_number() && lives[5]["restarts"].is_null(), "{}", lives[5]);
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(bench.launches(), 8);
    // One that is not started again is gone at once.
    bench.crash(first).await;
    assert_eq!((bench.list().len(), bench.board.history().last(1)[0].get("restart_at")), (1, None));
}

#[tokio::test(start_paused = true)]
async fn one_that_has_lived_for_the_window_begins_anew() {
    let bench = Bench::new(Kind::Pool, &json!({"delay": 100, "limit": 2, "window": 5_000}));
    let uid = bench.add("sign", Place::List).await;
    for (launches, lived, delay) in [(2, 0, 100), (3, 0, 200), (4, 5_000, 100), (5, 4_000, 200), (6, 6_000, 100)] {
        sleep(Duration::from_millis(lived)).await;
        bench.crash(uid).await;
        is_about(bench.launched(launches).await, delay);
        bench.play(uid).await;
    }
    assert_eq!(bench.parameter(uid, "shmooze_restarts"), Some(5.0), "all are counted");
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_start_again_is_tried_again() {
    let bench = Bench::new(Kind::Pool, &json!({"delay": 100, "limit": 3}));
    let uid = bench.add("sign", Place::List).await;
    bench.house.refuse(ScopeError::System("no".to_owned()));
    bench.crash(uid).await;
    for (launches, delay) in [(2, 100), (3, 200)] {
        is_about(bench.launched(launches).await, delay);
        bench.until("the next restart counts", |bench| bench.parameter(uid, "shmooze_restarts") == Some(launches as f64)).await;
        assert_eq!(bench.list()[0]["state"], "restarting");
    }
    is_about(bench.launched(4).await, 400);
    bench.until("it is given up", |bench| bench.list().is_empty()).await;
    assert_eq!(bench.board.history().last(1)[0]["cause"], "not_connected");
}

#[tokio::test(start_paused = true)]
async fn what_a_client_or_the_module_wanted_is_no_failure() {
    let bench = Bench::new(Kind::Pool, &json!({"delay": 100}));
    let (own, removed, refuses) =
        (bench.add("sign", Place::List).await, bench.add("sign", Place::List).await, bench.add("sign", Place::List).await);
    bench.end(own, Cause::Own, Exit::Status(0)).await;
    assert_eq!(bench.list().len(), 2);
    // Removed while it waits, while its processes end, and while it is started again.
    bench.crash(removed).await;
    bench.remove(removed).await;
    assert_eq!(bench.list().len(), 1);
    bench.say(Event::Ended { uid: refuses, cause: Cause::TimedOut }).await;
    assert_eq!(bench.list()[0]["state"], "restarting");
    bench.remove(refuses).await;
    bench.house.advance(refuses, gone(Exit::Signal(9)));
    let starting = bench.add("sign", Place::List).await;
    bench.crash(starting).await;
    is_about(bench.launched(5).await, 100);
    bench.remove(starting).await;
    bench.say(Event::Started { uid: starting, result: Ok(()) }).await;
    assert_eq!(bench.list(), [] as [Value; 0]);
    bench.house.advance(starting, gone(Exit::Status(0)));
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((bench.launches(), bench.board.history().last(1000).len()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn always_is_after_an_end_of_its_own_too() {
    let bench = Bench::new(Kind::Pool, &json!({"on": "always", "delay": 100}));
    let uid = bench.add("sign", Place::List).await;
    bench.end(uid, Cause::Own, Exit::Status(0)).await;
    is_about(bench.launched(2).await, 100);
    bench.play(uid).await;
    bench.remove_and_answer(uid).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((bench.launches(), bench.list().len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_play_that_is_refused_is_a_failure() {
    let bench = Bench::new(Kind::Pool, &json!({"delay": 100}));
    let uid = bench.add("sign", Place::List).await;
    bench.crash(uid).await;
    is_about(bench.launched(2).await, 100);
    bench.say(Event::Started { uid, result: Ok(()) }).await;
    bench.say(Event::Answered { uid, order: Order::Play, obeyed: false }).await;
    assert_eq!(bench.list()[0]["state"], "restarting");
    bench.house.advance(uid, gone(Exit::Status(0)));
    is_about(bench.launched(3).await, 200);
}

#[tokio::test(start_paused = true)]
async fn the_service_ends_while_some_wait() {
    let bench = Bench::new(Kind::Pool, &json!({"delay": 1_000}));
    for _ in 0..3 {
        let uid = bench.add("sign", Place::List).await;
        bench.crash(uid).await;
    }
    let begun = Instant::now();
    let (done, is_done) = oneshot::channel();
    assert!(bench.messages.send(Message::Drain { done }).await.is_ok());
    is_done.await.unwrap();
    bench.driving.await.unwrap();
    is_about(begun.elapsed(), 0);
    let launches = bench.house.calls().iter().filter(|call| matches!(call, Call::Launch(..))).count();
    assert_eq!(launches, 3);
}

#[tokio::test(start_paused = true)]
async fn other_settings_count_for_the_next_ending() {
    let bench = Bench::new(Kind::Pool, &json!({"delay": 100}));
    let uid = bench.add("sign", Place::List).await;
    bench.crash(uid).await;
    bench.set_types(Kind::Pool, &json!({"delay": 3_000})).await;
    is_about(bench.launched(2).await, 100);
    bench.play(uid).await;
    bench.crash(uid).await;
    is_about(bench.launched(3).await, 6_000);
    bench.play(uid).await;
    // It begins to end while it would be started again, and has ended when it would not.
    bench.say(Event::Ended { uid, cause: Cause::StreamLost }).await;
    assert_eq!(bench.list()[0]["state"], "restarting");
    bench.set_types(Kind::Queue, &json!({})).await;
    bench.house.advance(uid, gone(Exit::Status(1)));
    bench.until("it is gone", |bench| bench.list().is_empty()).await;
    // One whose type is gone when its time has come.
    bench.set_types(Kind::Pool, &json!({"delay": 100})).await;
    let uid = bench.add("sign", Place::List).await;
    bench.crash(uid).await;
    bench.set_types(Kind::Queue, &json!({})).await;
    assert_eq!(bench.list().len(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((bench.list().len(), bench.launches()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_queue_plays_on_while_its_background_waits() {
    let bench = Bench::new(Kind::Queue, &json!({"delay": 1_000}));
    let background = bench.add("sign", Place::Background).await;
    assert_eq!(bench.told(), Some(Told::Play));
    bench.crash(background).await;
    assert!(bench.board.snapshot().background().is_some_and(|item| item.down), "it is still the background");
    assert_eq!(bench.told(), None);
    // The queue is empty when it is back: it plays.
    is_about(bench.launched(2).await, 1_000);
    bench.play(background).await;
    assert_eq!(bench.told(), Some(Told::Play));
    bench.crash(background).await;
    let top = bench.add("once", Place::List).await;
    assert_eq!(bench.board.snapshot().list().next().unwrap().told, Told::Play);
    // It is filled when it is back: it waits.
    bench.launched(4).await;
    bench.say(Event::Started { uid: background, result: Ok(()) }).await;
    assert_eq!(bench.told(), Some(Told::Nothing));
    bench.say(Event::Answered { uid: background, order: Order::Play, obeyed: true }).await;
    assert_eq!(bench.told(), Some(Told::Nothing), "it was not told to play");
    bench.say(Event::Answered { uid: background, order: Order::Suspend, obeyed: true }).await;
    assert_eq!(bench.told(), Some(Told::Suspend));
    // What plays in a queue is played once.
    bench.crash(top).await;
    assert_eq!(bench.list(), [] as [Value; 0]);
    bench.say(Event::Answered { uid: background, order: Order::Play, obeyed: true }).await;
    assert_eq!(bench.told(), Some(Told::Play));
}

/// Has it all kept by a manager; the process is killed while modules wait, and another goes on.
#[tokio::test(start_paused = true)]
async fn a_process_that_follows_waits_on() {
    let restart = json!({"delay": 60_000, "max_delay": 120_000, "limit": 3, "window": 86_400_000});
    let (manager, house) = (Manager::new(), Recording::new());
    let mut stored = Stored::new();
    let start = async |stored: &mut Stored| {
        let (keeper, legacy) = manager.start(stored, Kind::Pool.engine()).await;
        let bench = Bench::resume(Kind::Pool, &restart, house.clone(), (keeper, Some(legacy)));
        manager.store(stored);
        bench.settle().await;
        bench
    };
    let kill = async |bench: Bench, stored: &mut Stored| {
        manager.store(stored);
        bench.kill.send(()).unwrap();
        tokio::task::yield_now().await;
    };
    let bench = start(&mut stored).await;
    let (uid, other) = (bench.add("sign", Place::List).await, bench.add("sign", Place::List).await);
    bench.crash(uid).await;
    sleep(Duration::from_secs(20)).await;
    bench.crash(other).await;
    let at = bench.parameter(uid, "shmooze_restart_at");
    kill(bench, &mut stored).await;

    // Of the 60 s, none has passed on the machine's clock, which did not pause; no longer is waited than was to be.
    let bench = start(&mut stored).await;
    assert_eq!(bench.list().iter().map(|entry| entry["state"].clone()).collect::<Vec<_>>(), ["restarting", "restarting"]);
    assert_eq!(bench.parameter(uid, "shmooze_restarts"), Some(1.0));
    assert_eq!(bench.parameter(uid, "shmooze_restart_at"), at, "the time is the same");
    let module = bench.board.find(uid).unwrap();
    assert_eq!(module.tell("x", None).await.err(), Some(ProtocolError::Closed));
    let waited = bench.launched(3).await.as_millis();
    assert!((30_000..=60_001).contains(&waited), "{waited} ms");
    // Killed while it is started again: that counts as one that did not start, and is tried again.
    kill(bench, &mut stored).await;
    let bench = start(&mut stored).await;
    // What there is of it is ended first.
    house.until(|calls| calls.contains(&Call::Stop(uid))).await;
    house.advance(uid, gone(Exit::Signal(9)));
    bench.until("it waits again", |bench| bench.parameter(uid, "shmooze_restarts") == Some(2.0)).await;
    assert_eq!(bench.list().len(), 2, "neither is lost");
    bench.launched(4).await;
    bench.play(other).await;
    let waited = bench.launched(5).await.as_millis();
    assert!((30_000..=120_001).contains(&waited), "{waited} ms");
    bench.play(uid).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!((bench.launches(), bench.list().len()), (5, 2), "neither is started twice");
    assert!(bench.list().iter().all(|entry| entry.get("state").is_none()));
}
