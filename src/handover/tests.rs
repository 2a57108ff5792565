//! What is written down is read again, whatever happens in between.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;
use serde_json::json;

use super::log::{Log, Unreadable, rewrite};
use super::testing::Manager;
use super::*;
use crate::engine::{Input, Order, Place as Where, Pool, Queue, Restarts, Ticket, Told};
use crate::protocol::{Raw, Uid, raw};
use crate::settings::Timeouts;

fn queue() -> Engine {
    Engine::Queue(Queue::new())
}

fn text(state: &State) -> String {
    serde_json::to_string(state).unwrap()
}

fn value(value: &serde_json::Value) -> Raw {
    raw(value).unwrap()
}

fn born(uid: Uid, ticket: u64) -> Entry {
    let born = Born {
        uid,
        type_name: "clock".to_owned(),
        background: false,
        args: Some(value(&json!({"a": [1.50, "é"]}))),
        timeouts: Timeouts::default(),
        added: 1_000,
        restarts: Restarts::default(),
    };
    Entry::Born { born, input: Input::Add { ticket: Ticket(ticket), uid, place: Where::List }, at: 1_000 }
}

fn module(uid: Uid, changes: Vec<Change>) -> Entry {
    Entry::Module { uid, changes }
}

fn step(input: Input) -> Entry {
    Entry::Step { input, at: 2_000 }
}

/// A module from its birth to its end, in a queue.
fn life(uid: Uid, ticket: u64) -> Vec<Entry> {
    let asked = |asked, line: &str, written| Change::Asked { asked, line: line.to_owned(), written };
    let read = |bytes, rest| Read { bytes, rest };
    vec![
        born(uid, ticket),
        module(uid, vec![Change::Launched(Place { pid: 7, cgroup: Some("/sys/fs/cgroup/x.scope".into()) })]),
        module(uid, vec![Change::Connected(Kept { number: 3, command_port: 1234 })]),
        module(uid, vec![asked(Asked::Init, "{\"cmd\": \"init\"}", 0)]),
        module(uid, vec![Change::Heard(read(18, Rest::None)), Change::Answered, Change::Report(Report::Started(true))]),
        step(Input::Started { uid, alive: true }),
        module(uid, vec![asked(Asked::Order(Order::Play), "{\"cmd\": \"play\"}", 16)]),
        module(
            uid,
            vec![
                Change::Set(value(&json!({"title": "x", "left": 3}))),
                Change::Unset(vec!["left".to_owned()]),
                Change::Updated(read(90, Rest::Is("{\"cmd\u{e9}".to_owned()))),
                Change::Owes { answers: vec![(Owed::Done, 2), (Owed::Text("no".to_owned()), 1)], written: 0 },
            ],
        ),
        module(uid, vec![Change::Updated(read(4, Rest::More(": \"x".to_owned())))]),
        module(
            uid,
            vec![
                Change::Heard(read(18, Rest::None)),
                Change::Answered,
                Change::Report(Report::Answered { order: Order::Play, obeyed: true }),
            ],
        ),
        step(Input::Answered { uid, order: Order::Play, obeyed: true }),
        step(Input::Remove { ticket: Ticket(ticket + 1), uids: vec![uid] }),
        module(uid, vec![asked(Asked::Order(Order::Remove), "{\"cmd\": \"rm\"}", 33)]),
        module(
            uid,
            vec![Change::Ending("removed".to_owned()), Change::Report(Report::Answered { order: Order::Remove, obeyed: true })],
        ),
        step(Input::Answered { uid, order: Order::Remove, obeyed: true }),
        Entry::Gone { uid, life: value(&json!({"uid": uid, "cause": "removed"})), again: None },
    ]
}

fn sum(entries: impl IntoIterator<Item = Entry>) -> State {
    let mut state = State::new(queue());
    entries.into_iter().for_each(|entry| state.apply(entry));
    state
}

/// A log of these entries.
fn log(generation: u64, entries: impl IntoIterator<Item = Entry>) -> (File, Log) {
    let file = tempfile::tempfile().unwrap();
    let mut log = Log::create(file.try_clone().unwrap(), generation, &State::new(queue())).unwrap();
    entries.into_iter().for_each(|entry| log.append(&entry).unwrap());
    log.finish().unwrap();
    (file, log)
}

fn open(file: &File) -> Result<State, Unreadable> {
    Log::open(file.try_clone().unwrap()).map(|(_, state)| state)
}

#[test]
fn a_life_step_by_step() {
    let uid = Uid::new();
    let after = |count| sum(life(uid, 1).into_iter().take(count));
    let of = |state: &State| state.modules[&uid].clone();
    assert_eq!(after(5).reported, [(uid, Report::Started(true))], "said, and not heard yet");
    let started = after(6);
    assert_eq!((started.reported.len(), &of(&started).orders), (0, &[Order::Play].into()), "heard, and not obeyed yet");
    let asked = of(&after(7));
    assert_eq!((asked.orders.len(), asked.pending), (0, Some(Pending { asked: Asked::Order(Order::Play), start: 16 })));
    assert_eq!((asked.command.base, asked.requests.len()), (16, 1), "the first request is written wholly");
    let updated = of(&after(9));
    assert_eq!(updated.parameters.keys().collect::<Vec<_>>(), ["title"]);
    assert_eq!((updated.update.read, updated.update.step), (94, 4));
    assert_eq!(updated.update.rest, "{\"cmd\u{e9}: \"x");
    assert_eq!(updated.answers, [(Owed::Done, 2), (Owed::Text("no".to_owned()), 1)]);
    let playing = after(11);
    assert_eq!(of(&playing).told, (Told::Play, 2_000));
    assert_eq!(playing.engine.list()[0].told, Told::Play);
    let over = after(usize::MAX);
    assert_eq!((over.modules.len(), over.lives.len(), over.tickets, over.reported.len()), (0, 1, 2, 0));
    assert_eq!(over.revision, 3, "appended, played, removed");
}

#[test]
fn answers_that_are_written_are_forgotten() {
    let uid = Uid::new();
    let owes = |answers: &[(Owed, u64)], written| module(uid, vec![Change::Owes { answers: answers.to_vec(), written }]);
    let no = || Owed::Text("no".to_owned());
    let done = Owed::Done.line_length();
    let answers = |entries: Vec<Entry>| {
        let state = sum(std::iter::once(born(uid, 1)).chain(entries));
        (state.modules[&uid].answers.clone(), state.modules[&uid].update.base)
    };
    let first = || owes(&[(Owed::Done, 3), (no(), 1)], 0);
    assert_eq!(answers(vec![first(), owes(&[(no(), 2)], 2 * done + 1)]), ([(Owed::Done, 1), (no(), 3)].into(), 2 * done));
    assert_eq!(answers(vec![first(), owes(&[(no(), 1)], 3 * done + 3)]), ([(no(), 1)].into(), 3 * done + 3));
    assert_eq!(answers(vec![first(), owes(&[], 3 * done + 2)]), ([(no(), 1)].into(), 3 * done));
}

#[test]
fn a_number_that_another_module_has_now_is_no_longer_that_of_one_that_ends() {
    let (ending, next) = (Uid::new(), Uid::new());
    let kept = |number, command_port| Change::Connected(Kept { number, command_port });
    let state = sum([
        born(ending, 1),
        module(ending, vec![kept(3, 1234)]),
        // It has given up its streams, and its processes are awaited.
        module(ending, vec![Change::Ending("own".to_owned())]),
        born(next, 2),
        module(next, vec![kept(3, 1235)]),
    ]);
    assert!(state.modules[&ending].kept.is_none());
    assert_eq!(state.modules[&next].kept.map(|kept| kept.command_port), Some(1235));
}

#[test]
fn one_that_is_refused_is_none() {
    let uid = Uid::new();
    let state = sum([step(Input::Drain { ticket: Ticket(1) }), born(uid, 2)]);
    assert!(state.modules.is_empty());
}

#[test]
fn a_line_that_is_cut_off_counts_for_nothing_wherever_it_is_cut() {
    let uid = Uid::new();
    let entries = || life(uid, 1).into_iter().take(8);
    let (file, _) = log(0, entries());
    let whole = file.metadata().unwrap().len();
    let (before, _) = log(0, entries().take(7));
    let begin = before.metadata().unwrap().len();
    let expected = text(&open(&before).unwrap());
    for length in begin..whole {
        let (file, _) = log(0, entries());
        file.set_len(length).unwrap();
        let (mut again, state) = Log::open(file.try_clone().unwrap()).unwrap();
        assert_eq!(text(&state), expected, "cut at {length} of {whole}");
        // It goes on as if that had never been begun.
        again.append(&life(uid, 1)[7]).unwrap();
        assert_eq!(text(&open(&file).unwrap()), text(&sum(entries())));
    }
    for at in begin..whole - 1 {
        let (file, _) = log(0, entries());
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert_eq!(text(&open(&file).unwrap()), expected, "another byte at {at} of {whole}");
    }
}

#[test]
fn a_log_that_is_none_is_told_by_a_sentence() {
    let sentence = |header: &[u8]| {
        let (file, _) = log(0, []);
        file.write_all_at(header, 0).unwrap();
        open(&file).unwrap_err().to_string()
    };
    assert_eq!(sentence(b"shmooze-state 7 "), "its format is of version 7, and this program knows version 3");
    assert_eq!(sentence(b"something else"), "it is damaged");
    let unfinished = tempfile::tempfile().unwrap();
    Log::create(unfinished.try_clone().unwrap(), 0, &State::new(queue())).unwrap();
    assert!(matches!(open(&unfinished), Err(Unreadable::Unfinished)));
    assert!(matches!(open(&tempfile::tempfile().unwrap()), Err(Unreadable::Unfinished)));
    let (file, _) = log(0, []);
    file.set_len(60).unwrap();
    assert_eq!(open(&file).unwrap_err().to_string(), "it is damaged");
}

#[test]
fn an_entry_costs_the_same_however_many_modules_there_are() {
    let grows = |modules: u64| {
        let uid = Uid::new();
        let others = (0..modules).map(|number| born(Uid::new(), number));
        let (file, mut log) = log(0, others.chain([born(uid, modules)]));
        let before = file.metadata().unwrap().len();
        log.append(&module(uid, vec![Change::Set(value(&json!({"n": 1})))])).unwrap();
        file.metadata().unwrap().len() - before
    };
    assert_eq!(grows(0), grows(1000));
}

#[test]
fn the_newest_that_is_finished_counts() {
    let (old, _) = log(6, life(Uid::new(), 1));
    let (new, _) = log(7, []);
    let files = || vec![new.try_clone().unwrap(), old.try_clone().unwrap()];
    assert!(latest(files()).unwrap().1.lives.is_empty());
    new.write_all_at(&[0; 40], 0).unwrap();
    assert_eq!(latest(files()).unwrap().1.lives.len(), 1);
}

fn some_entries() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..5, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Lives that are interwoven in any way, summed up at any time.
    #[test]
    fn a_log_that_was_summed_up_says_the_same(order in some_entries(), cut in 0usize..60) {
        let mut lives: Vec<_> = (0..5).map(|number| life(Uid::new(), 10 * number).into_iter()).collect();
        let entries: Vec<Entry> = order.iter().filter_map(|which| lives[*which].next()).collect();
        let file = tempfile::tempfile().unwrap();
        let mut log = Log::create(file.try_clone().unwrap(), 0, &State::new(queue())).unwrap();
        log.finish().unwrap();
        let cut = cut.min(entries.len());
        let (mut begun, mut expected) = (None, State::new(queue()));
        for (at, entry) in entries.into_iter().enumerate() {
            if at == cut {
                begun = Some(log.to_rewrite().unwrap());
            }
            log.append(&entry).unwrap();
            expected.apply(entry);
        }
        prop_assert_eq!(text(&open(&file).unwrap()), text(&expected));
        let (old, end, generation) = begun.map_or_else(|| log.to_rewrite(), Ok).unwrap();
        let short = tempfile::tempfile().unwrap();
        let mut new = rewrite(&old, end, generation, short.try_clone().unwrap()).unwrap();
        new.catch_up(&log, end).unwrap();
        prop_assert!(matches!(open(&short), Err(Unreadable::Unfinished)), "not before it is finished");
        new.finish().unwrap();
        prop_assert_eq!(text(&open(&short).unwrap()), text(&expected));
    }
}

#[tokio::test]
async fn what_is_kept_is_there_for_the_next() {
    let (manager, mut stored) = (Manager::new(), Vec::new());
    let (keeper, _) = manager.start(&stored, queue()).await;
    let uid = Uid::new();
    life(uid, 1).iter().take(6).for_each(|entry| keeper.write(entry));
    manager.store(&mut stored);
    drop(keeper);
    for _ in 0..3 {
        let (_, mut legacy) = manager.start(&stored, queue()).await;
        assert_eq!(text(&legacy.take_state(queue())), text(&sum(life(uid, 1).into_iter().take(6))));
        manager.store(&mut stored);
        assert_eq!(stored.len(), 1);
    }
    // The same service is of another kind now: nothing of it is of use.
    let (_, mut legacy) = manager.start(&stored, Engine::Pool(Pool::new())).await;
    assert!(legacy.take_state(queue()).modules.is_empty());
    manager.store(&mut stored);
    assert_eq!(stored.len(), 1);
}

#[tokio::test]
async fn a_long_log_is_summed_up_while_it_is_written() {
    let (manager, mut stored) = (Manager::new(), Vec::new());
    let (keeper, _) = manager.start(&stored, queue()).await;
    let uid = Uid::new();
    life(uid, 1).iter().take(6).for_each(|entry| keeper.write(entry));
    let mut number = 0;
    let generation = || keeper.shared.as_ref().unwrap().log().as_ref().unwrap().generation;
    while generation() < 3 {
        number += 1;
        keeper.write(&module(uid, vec![Change::Set(value(&json!({"n": number, "text": "x".repeat(10_000)})))]));
        tokio::task::yield_now().await;
        // Whoever is started now finds all of it.
        if number % 50 == 0 {
            manager.store(&mut stored);
            let (_, mut legacy) = manager.start(&stored, queue()).await;
            assert_eq!(legacy.take_state(queue()).modules[&uid].parameters["n"].get(), number.to_string());
            while manager.receive().is_some() {}
        }
    }
    manager.store(&mut stored);
    assert_eq!(stored.len(), 1, "the old ones are given up");
    let size = File::from(stored[0].1.try_clone().unwrap()).metadata().unwrap().len();
    assert!(size < 4 << 20, "{size}");
}

#[tokio::test]
async fn streams_are_kept_told_apart_and_given_up() {
    let (manager, mut stored) = (Manager::new(), Vec::new());
    let (keeper, _) = manager.start(&stored, queue()).await;
    let listener = || std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let pair = |listener: &std::net::TcpListener| {
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, theirs)
    };
    let (commands, updates) = (listener(), listener());
    let ((command, _), (update, _)) = (pair(&commands), pair(&updates));
    let number = keeper.push(&command, &update).await.unwrap();
    let ((stray, _), (other, theirs)) = (pair(&commands), pair(&updates));
    let strays = keeper.push(&stray, &other).await.unwrap();
    assert_ne!(number, strays);
    drop((keeper, stray, other));
    manager.store(&mut stored);
    // The manager has them in whichever order.
    stored.reverse();
    let (keeper, mut legacy) = manager.start(&stored, queue()).await;
    let kept = Kept { number, command_port: commands.local_addr().unwrap().port() };
    let streams = legacy.take(kept).unwrap();
    assert_eq!(streams.command.local_addr().unwrap(), commands.local_addr().unwrap());
    assert_eq!(streams.update.local_addr().unwrap(), updates.local_addr().unwrap());
    assert_ne!(keeper.push(&streams.command, &streams.update).await.unwrap(), number, "that number is taken");
    legacy.clear(&keeper);
    assert_eq!(io::Read::read(&mut &theirs, &mut [0]).unwrap(), 0, "nobody's: closed, though the manager has it");
    manager.store(&mut stored);
    // They were left together, and stay so as long as one of them is needed.
    let kept = |stored: &Stored| stored.iter().filter(|(name, _)| !name.starts_with("@=")).count();
    assert_eq!(kept(&stored), 2);
    keeper.give_up(number);
    manager.store(&mut stored);
    assert_eq!(kept(&stored), 1);
}

#[tokio::test]
async fn without_room_a_module_is_not_kept() {
    let manager = Manager::new();
    let (keeper, _) = Keeper::at(manager.name(), Vec::new(), 2 + 1, queue()).await.unwrap();
    let file = tempfile::tempfile().unwrap();
    for number in 0..bundle::CAPACITY {
        assert_eq!(keeper.push(&file, &file).await, Some(number));
    }
    assert_eq!(keeper.push(&file, &file).await, None);
    (0..bundle::CAPACITY).for_each(|number| keeper.give_up(number));
    assert_eq!(keeper.push(&file, &file).await, Some(0));
}

/// No broker writes such numbers; whoever reads them has a state all the same, and goes on with that.
#[test]
fn numbers_without_bounds() {
    let uid = Uid::new();
    let read = |bytes| Change::Updated(Read { bytes, rest: Rest::None });
    let owes = |count, written| Change::Owes { answers: vec![(Owed::Done, count)], written };
    let asked = |written| Change::Asked { asked: Asked::Tell, line: "{}".to_owned(), written };
    let mut state = sum([
        born(uid, u64::MAX),
        module(uid, vec![read(u64::MAX), read(5), owes(u64::MAX, 0), owes(7, 0), asked(u64::MAX)]),
        step(Input::Drain { ticket: Ticket(u64::MAX) }),
    ]);
    state.revision = u64::MAX;
    state.modules.get_mut(&uid).unwrap().command.base = u64::MAX - 1;
    state.apply(module(uid, vec![asked(u64::MAX), owes(1, u64::MAX)]));
    let of = &state.modules[&uid];
    assert_eq!((of.update.read, of.update.step), (u64::MAX, 5));
    assert_eq!((of.command.base, of.pending.map(|pending| pending.start)), (u64::MAX, Some(u64::MAX)));
    assert!(of.answers[0].1 <= u64::MAX / Owed::Done.line_length() * Owed::Done.line_length());
    assert_eq!(state.tickets, u64::MAX);
    state.apply(step(Input::Started { uid, alive: true }));
    assert_eq!(text(&serde_json::from_str(&text(&state)).unwrap()), text(&state));
}

#[test]
fn a_log_of_the_last_generation_is_none() {
    let (file, _) = log(u64::MAX, []);
    assert!(matches!(open(&file), Err(Unreadable::Damaged)));
    let (file, _) = log(u64::MAX - 1, []);
    assert!(open(&file).is_ok());
}

#[test]
fn no_time_is_longer_than_settings_may_say() {
    let mut entry = born(Uid::new(), 1);
    let Entry::Born { born, .. } = &mut entry else { panic!() };
    born.timeouts.command = std::time::Duration::MAX;
    let read = serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap();
    let Entry::Born { born, .. } = read else { panic!() };
    assert_eq!(born.timeouts, Timeouts { command: Timeouts::LONGEST, ..Timeouts::default() });
}

/// A summary holds what is told of an ending one step deeper than its entry, and is read all the same.
#[test]
fn how_deep_an_ending_goes_is_no_matter() {
    let deep = crate::protocol::raw_text(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes()).unwrap();
    let (file, written) = log(3, [Entry::Gone { uid: Uid::new(), life: deep, again: None }]);
    let (_, end, _) = written.to_rewrite().unwrap();
    let to = tempfile::tempfile().unwrap();
    rewrite(&file, end, 4, to.try_clone().unwrap()).unwrap().finish().unwrap();
    assert_eq!(text(&open(&to).unwrap()), text(&open(&file).unwrap()));
}
