//! What another process makes of a module's streams, killed at each instant that makes a difference.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::adopt::{Adoption, adopt};
use super::{Event, Handle};
use crate::engine::{Engine, Input, Order, Place, Queue, Restarts, Ticket};
use crate::handover::testing::Manager;
use crate::handover::{self, Asked, Born, Change, Entry, Keeper, Kept, Owed, Pending, Read, Report, Rest, State};
use crate::launcher::Local;
use crate::protocol::{Response, Uid, raw};
use crate::record::Record;
use crate::scope::Recording;
use crate::settings::{Settings, Timeouts};

const DONE: &str = "{\"success\": true}";
const PLAY: &str = "{\"cmd\": \"play\"}";
const TELL: &str = "{\"cmd\": \"do_it\"}";

/// A module of a process that was killed.
struct Bench {
    manager: Manager,
    keeper: Keeper,
    state: State,
    uid: Uid,
    /// The module's ends.
    command: BufReader<TcpStream>,
    update: BufReader<TcpStream>,
    /// The broker's.
    ours: handover::Streams,
}

fn pair() -> (TcpStream, BufReader<TcpStream>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (listener.accept().unwrap().0, BufReader::new(theirs))
}

impl Bench {
    /// One that is initialised: `init` was written and answered, and all of it was taken.
    async fn new() -> Self {
        let manager = Manager::new();
        let engine = || Engine::Queue(Queue::new());
        let (keeper, _) = manager.start(&[], engine()).await;
        let ((command, their_command), (update, their_update)) = (pair(), pair());
        let (uid, state) = (Uid::new(), State::new(engine()));
        let ours = handover::Streams { command, update };
        let mut bench = Self { manager, keeper, state, uid, command: their_command, update: their_update, ours };
        let born = Born {
            uid,
            type_name: "x".to_owned(),
            background: false,
            args: None,
            timeouts: Timeouts { command: Duration::from_secs(20), ..Timeouts::default() },
            added: 0,
            restarts: Restarts::default(),
        };
        let add = Input::Add { ticket: Ticket(1), uid, place: Place::List };
        bench.write(&Entry::Born { born, input: add, at: 0 });
        bench.note(vec![Change::Connected(Kept { number: 0, command_port: 0 })]);
        bench.ask(Asked::Init, "{\"cmd\": \"init\"}", 0);
        bench.ours.command.write_all(b"{\"cmd\": \"init\"}\n").unwrap();
        bench.command.read_line(&mut String::new()).unwrap();
        bench.command.get_mut().write_all(format!("{DONE}\n").as_bytes()).unwrap();
        bench.take(18);
        let heard = Change::Heard(Read { bytes: 18, rest: Rest::None });
        bench.note(vec![heard, Change::Answered, Change::Report(Report::Started(true))]);
        bench.write(&Entry::Step { input: Input::Started { uid, alive: true }, at: 0 });
        bench
    }

    fn write(&mut self, entry: &Entry) {
        self.keeper.write(entry);
        let text = serde_json::to_string(entry).unwrap();
        self.state.apply(serde_json::from_str(&text).unwrap());
    }

    fn note(&mut self, changes: Vec<Change>) {
        self.write(&Entry::Module { uid: self.uid, changes });
    }

    fn ask(&mut self, asked: Asked, line: &str, written: u64) {
        self.note(vec![Change::Asked { asked, line: line.to_owned(), written }]);
    }

    /// Takes so much of the command stream.
    fn take(&mut self, bytes: usize) {
        std::io::Read::read_exact(&mut self.ours.command, &mut vec![0; bytes]).unwrap();
    }

    /// The next process takes over.
    fn go_on(self) -> Adopted {
        let Self { manager, keeper, mut state, uid, command, update, ours } = self;
        let text = r#"{"ports": {"q": 1}, "services": {"q": {"kind": "queue", "modules": {"x": {"process": ["x"]}}}}}"#;
        let settings = Settings::parse(text, "x.json".as_ref()).unwrap();
        let launcher = Arc::new(Local::new(Arc::new(settings), Arc::new(Recording::new())));
        let (events, reported) = mpsc::channel(16);
        let adoption = Adoption {
            module: state.modules.remove(&uid).unwrap(),
            last_parameters: None,
            streams: Some(ours),
            starting: state.engine.is_starting(uid),
            service: "q".into(),
            max_line_bytes: 1000,
        };
        let handle = adopt(adoption, launcher, Record::off(), keeper, events);
        Adopted { _manager: manager, handle, command, update, reported }
    }
}

struct Adopted {
    _manager: Manager,
    handle: Handle,
    command: BufReader<TcpStream>,
    update: BufReader<TcpStream>,
    reported: mpsc::Receiver<Event>,
}

impl Adopted {
    async fn line(stream: &mut BufReader<TcpStream>) -> String {
        let mut stream = BufReader::with_capacity(1, stream.get_ref().try_clone().unwrap());
        let read = move || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    async fn asked(&mut self) -> String {
        Self::line(&mut self.command).await
    }

    async fn answered(&mut self) -> String {
        Self::line(&mut self.update).await
    }

    fn answer(&mut self) {
        self.command.get_mut().write_all(format!("{DONE}\n").as_bytes()).unwrap();
    }

    fn update(&mut self, text: &str) {
        self.update.get_mut().write_all(text.as_bytes()).unwrap();
    }

    async fn obeyed(&mut self) -> Order {
        match self.reported.recv().await {
            Some(Event::Answered { order, obeyed: true, .. }) => order,
            other => panic!("{other:?}"),
        }
    }

    /// It is asked nothing but what a client asks now.
    async fn is_idle(&mut self) {
        let handle = self.handle.clone();
        let telling = tokio::spawn(async move { handle.tell("now", None).await });
        assert_eq!(self.asked().await, "{\"cmd\": \"do_now\"}");
        self.answer();
        assert!(telling.await.unwrap().is_ok_and(|answer| answer.is_success()));
    }
}

#[tokio::test]
async fn an_order_that_was_not_taken_up_is_given() {
    let mut module = Bench::new().await.go_on();
    assert_eq!(module.asked().await, PLAY);
    module.answer();
    assert_eq!(module.obeyed().await, Order::Play);
    module.is_idle().await;
}

#[tokio::test]
async fn an_order_that_was_written_down_is_written_once_however_much_of_it_was() {
    for written in 0..=PLAY.len() + 1 {
        let mut bench = Bench::new().await;
        bench.ask(Asked::Order(Order::Play), PLAY, 16);
        bench.ours.command.write_all(&format!("{PLAY}\n").as_bytes()[..written]).unwrap();
        let mut module = bench.go_on();
        assert_eq!(module.asked().await, PLAY, "{written} bytes were written");
        module.answer();
        assert_eq!(module.obeyed().await, Order::Play);
        module.is_idle().await;
    }
}

#[tokio::test]
async fn an_answer_that_came_meanwhile_counts_once() {
    for taken in [None, Some(false), Some(true)] {
        let mut bench = Bench::new().await;
        bench.ask(Asked::Order(Order::Play), PLAY, 16);
        bench.ours.command.write_all(format!("{PLAY}\n").as_bytes()).unwrap();
        bench.command.read_line(&mut String::new()).unwrap();
        bench.command.get_mut().write_all(format!("{DONE}\n").as_bytes()).unwrap();
        if let Some(taken) = taken {
            // The driver hears of it from what is written down, whether or not it was taken out of the socket.
            let report = Change::Report(Report::Answered { order: Order::Play, obeyed: true });
            bench.note(vec![Change::Heard(Read { bytes: 18, rest: Rest::None }), Change::Answered, report]);
            if taken {
                bench.take(18);
            }
            assert_eq!(bench.state.reported.len(), 1);
        }
        let mut module = bench.go_on();
        if taken.is_none() {
            assert_eq!(module.obeyed().await, Order::Play);
        }
        module.is_idle().await;
        assert!(module.reported.try_recv().is_err(), "nothing else is reported");
    }
}

#[tokio::test]
async fn a_clients_command_is_neither_begun_by_another_process_nor_left_half_written() {
    for written in 0..=TELL.len() + 1 {
        let mut bench = Bench::new().await;
        bench.state.modules.get_mut(&bench.uid).unwrap().orders.clear();
        bench.ask(Asked::Tell, TELL, 16);
        bench.ours.command.write_all(&format!("{TELL}\n").as_bytes()[..written]).unwrap();
        let mut module = bench.go_on();
        if written > 0 {
            assert_eq!(module.asked().await, TELL, "{written} bytes were written");
            // Its answer is nobody's, and above all not that to the next.
            module.command.get_mut().write_all(b"{\"success\": false, \"error\": \"of another\"}\n").unwrap();
        }
        module.is_idle().await;
    }
}

/// No broker writes that down, and one that reads it goes on.
#[tokio::test]
async fn a_command_that_begins_within_a_character_ends_nothing() {
    let mut bench = Bench::new().await;
    bench.ask(Asked::Tell, "{\"cmd\": \"do_\u{e9}\"}", 16);
    let module = bench.state.modules.get_mut(&bench.uid).unwrap();
    module.orders.clear();
    module.pending = Some(Pending { asked: Asked::Tell, start: module.command.base + 13 });
    let mut module = bench.go_on();
    module.update("{\"cmd\": \"set_parameters\", \"args\": {\"parameters\": {}}}\n");
    assert_eq!(module.answered().await, DONE);
}

#[tokio::test]
async fn one_that_was_withdrawn_is_not_counted_by_the_process_after_the_next() {
    let mut bench = Bench::new().await;
    bench.ask(Asked::Tell, TELL, 16);
    bench.note(vec![Change::Withdrawn]);
    bench.ask(Asked::Order(Order::Play), PLAY, 16);
    bench.ours.command.write_all(&PLAY.as_bytes()[..3]).unwrap();
    let mut module = bench.go_on();
    assert_eq!(module.asked().await, PLAY);
    module.answer();
    assert_eq!(module.obeyed().await, Order::Play);
}

#[tokio::test]
async fn an_update_counts_once_and_has_one_answer_wherever_it_was_cut_off() {
    let line = format!("{}\n", json!({"cmd": "set_parameters", "args": {"parameters": {"n": 1}}}));
    let answers = format!("{DONE}\n{{\"success\": false, \"error\": \"Bad command.\"}}\n");
    // Not written down; written down and not taken; and then each part of the answers written.
    for stage in 0..answers.len() + 3 {
        let mut bench = Bench::new().await;
        bench.state.modules.get_mut(&bench.uid).unwrap().orders.clear();
        let lines = format!("{line}{{\"cmd\": \"no\"}}\n{{\"cmd\": \"s");
        bench.update.get_mut().write_all(lines.as_bytes()).unwrap();
        if stage > 0 {
            let owed = vec![(Owed::Done, 1), (Owed::Text(answers.lines().nth(1).unwrap().to_owned()), 1)];
            bench.note(vec![
                Change::Set(raw(&json!({"n": 1})).unwrap()),
                Change::Updated(Read { bytes: lines.len() as u64, rest: Rest::Is("{\"cmd\": \"s".to_owned()) }),
                Change::Owes { answers: owed, written: 0 },
            ]);
        }
        if stage > 1 {
            std::io::Read::read_exact(&mut bench.ours.update, &mut vec![0; lines.len()]).unwrap();
            bench.ours.update.write_all(&answers.as_bytes()[..stage - 2]).unwrap();
        }
        let mut module = bench.go_on();
        for expected in answers.lines() {
            assert_eq!(module.answered().await, expected, "at stage {stage}");
        }
        assert_eq!(module.handle.parameters().get("n").unwrap().get(), "1");
        module.update("et_parameters\", \"args\": {\"parameters\": {\"rest\": 2}}}\n");
        assert_eq!(module.answered().await, DONE, "at stage {stage}");
        assert_eq!(module.handle.parameters().get("rest").unwrap().get(), "2");
    }
}

#[tokio::test]
async fn last_words_are_heard() {
    let mut bench = Bench::new().await;
    bench.state.modules.get_mut(&bench.uid).unwrap().orders.clear();
    bench.update.get_mut().write_all(b"{\"cmd\": \"rm\"}\n").unwrap();
    let mut module = bench.go_on();
    assert!(matches!(module.reported.recv().await, Some(Event::Ended { .. })));
    match module.reported.recv().await {
        Some(Event::Gone { ending, .. }) => assert_eq!(ending.cause, super::Cause::Own),
        other => panic!("{other:?}"),
    }
    assert_eq!(module.answered().await, "", "its streams are closed, though the service manager has them");
}

#[tokio::test]
async fn one_that_was_ending_goes_on_ending() {
    let mut bench = Bench::new().await;
    bench.note(vec![Change::Ending("timed_out".to_owned())]);
    let mut module = bench.go_on();
    assert!(matches!(module.reported.recv().await, Some(Event::Ended { .. })));
    match module.reported.recv().await {
        Some(Event::Gone { ending, .. }) => assert_eq!(ending.cause, super::Cause::TimedOut),
        other => panic!("{other:?}"),
    }
    assert_eq!(module.asked().await, "", "closed without a word");
}

#[tokio::test]
async fn a_tell_that_waits_is_told_when_the_answer_of_the_one_before_is_thrown_away() {
    let mut bench = Bench::new().await;
    bench.state.modules.get_mut(&bench.uid).unwrap().orders.clear();
    bench.ask(Asked::Tell, TELL, 16);
    bench.ours.command.write_all(format!("{TELL}\n").as_bytes()).unwrap();
    let mut module = bench.go_on();
    let handle = module.handle.clone();
    let (told, telling) = oneshot::channel::<Response>();
    tokio::spawn(async move { told.send(handle.tell("next", None).await.unwrap()) });
    assert_eq!(module.asked().await, TELL);
    module.answer();
    assert_eq!(module.asked().await, "{\"cmd\": \"do_next\"}");
    module.command.get_mut().write_all(b"{\"success\": true, \"result\": 7}\n").unwrap();
    assert_eq!(telling.await.unwrap().to_text(), "{\"success\": true, \"result\": 7}");
}
