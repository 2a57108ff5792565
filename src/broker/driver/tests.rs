//! The driver by a clock that stands still, in a house where nothing runs.

use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;

use tokio::time::{sleep, timeout};

use super::*;
use crate::broker::MESSAGE_CAPACITY;
use crate::launcher::Local;
use crate::scope::{End, Exit, Reached, Recording, Scopes, State};
use crate::service::Notifiers;
use crate::settings::Settings;

/// A pool of one type in a house where nothing runs, and what it tells the service manager. The longest ending of that
/// type takes 2 * 100 + 1000 + 2000 + 3000 ms, and 5 s for whatever else.
struct Bench {
    house: Recording,
    told: Arc<Mutex<Vec<String>>>,
    messages: mpsc::Sender<Message>,
}

impl Bench {
    fn new() -> (Self, Driver, mpsc::Receiver<Message>) {
        let text = r#"{"ports": {"pool": 1}, "services": {"pool": {"kind": "pool", "modules": {"x": {
            "process": ["x"], "timeouts": {"command": 100, "connect": 1000, "exit": 2000, "terminate": 3000}}}}}}"#;
        let settings = Arc::new(Settings::parse(text, Path::new("x.json")).unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let tell = move |message: &str| teller.lock().unwrap().push(message.to_owned());
        let notifiers = Notifiers::telling(tell, Some(Duration::from_secs(10)));
        let configuration = Configuration::of("pool", &settings.services["pool"], settings.max_line_bytes).unwrap();
        let configuration = Configuration { notifier: notifiers.part("pool"), ..configuration };
        let house = Recording::new();
        let launcher = Arc::new(Local::new(settings, Arc::new(house.clone())));
        let driver = Driver::new(configuration, launcher, Record::off(), Arc::default(), (Keeper::off(), None));
        let (messages, received) = mpsc::channel(MESSAGE_CAPACITY);
        (Self { house, told, messages }, driver, received)
    }

    /// What was told since, but for the status.
    fn told(&self) -> Vec<String> {
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        told.retain(|message| !message.starts_with("STATUS="));
        told
    }

    /// Adds a module which never connects; it is being ended, but its processes live on.
    async fn add(&self) {
        let (reply, replied) = oneshot::channel();
        let add = Message::Add { type_name: "x".to_owned(), args: None, place: Place::List, reply };
        assert!(self.messages.send(add).await.is_ok());
        assert!(replied.await.unwrap().is_err());
    }

    async fn gone(&self) {
        let uid = self.house.list().await.unwrap()[0].uid;
        self.house.advance(uid, State::Gone(End { exit: Exit::Signal(9), reached: Reached::Kill, exceeded: None }));
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_driver_that_runs_gives_signs_of_life() {
    let (bench, driver, received) = Bench::new();
    let mut driving = pin!(driver.drive(received));
    let _ = timeout(Duration::from_secs(12), &mut driving).await;
    assert_eq!(bench.told(), ["WATCHDOG=1"; 3], "at 0, 5 and 10 s");
    // Whatever else runs, it does not.
    sleep(Duration::from_secs(100)).await;
    assert_eq!(bench.told(), [""; 0]);
    let _ = timeout(Duration::from_secs(1), &mut driving).await;
    assert_eq!(bench.told(), ["WATCHDOG=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_never_idle_runs() {
    let (bench, driver, received) = Bench::new();
    let driving = tokio::spawn(driver.drive(received));
    for _ in 0..310 {
        // There is always more than it takes in one go.
        let ping = || Message::Ping { reply: oneshot::channel().0 };
        while bench.messages.try_send(ping()).is_ok() {}
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(bench.told().len(), 7, "at 0, 5, … 30 s");
    driving.abort();
}

#[tokio::test(start_paused = true)]
async fn more_time_is_asked_for_while_there_is_news_of_modules_that_end() {
    let (bench, driver, received) = Bench::new();
    let driving = tokio::spawn(driver.drive(received));
    for _ in 0..3 {
        bench.add().await;
    }
    let told = async |seconds| {
        sleep(Duration::from_secs(seconds)).await;
        let mut told = bench.told();
        told.retain(|message| message != "WATCHDOG=1");
        told
    };
    assert_eq!(told(1).await, [""; 0]);
    let (done, is_done) = oneshot::channel();
    assert!(bench.messages.send(Message::Drain { done }).await.is_ok());
    assert_eq!(told(6).await, ["STOPPING=1\nEXTEND_TIMEOUT_USEC=11200000"], "and none more without news");
    bench.gone().await;
    assert_eq!(told(6).await, ["EXTEND_TIMEOUT_USEC=11200000"]);
    assert_eq!(told(3600).await, [""; 0], "two of which nothing dies are the manager's business");
    bench.gone().await;
    bench.gone().await;
    is_done.await.unwrap();
    driving.await.unwrap();
}
