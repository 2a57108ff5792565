//! What a few recordings say only in a note, or in their name: how something was sent, and what a module did where
//! nothing was written.

use std::time::Duration;

use super::script::{Action, Entry, Expectation, Expected, Who};

/// Adds to the entries of the transcript called `name` what the recording leaves to its reader.
pub fn amend(name: &str, entries: &mut Vec<Entry>) {
    match name.split_once('_').map_or(name, |(_, rest)| rest) {
        "pipelined_lines" => send_all_first(entries),
        "line_in_pieces_and_half_close" => pieces_and_half_close(entries),
        "module_silent_or_closing" => half_an_answer(entries),
        "module_connects_only_one_stream" => connect_in_part(entries),
        "updates_pipelined_and_before_init_answer" => pipelined_updates(entries),
        "client_gone_during_add" => client_gone(entries),
        _ => (),
    }
}

fn text(line: &str) -> Action {
    Action::Send { bytes: line.as_bytes().to_vec(), settles: false }
}

fn entry(who: &Who, action: Action) -> Entry {
    Entry { who: who.clone(), action, step: None }
}

fn is_send(entry: &Entry) -> bool {
    matches!(entry.action, Action::Send { .. })
}

/// The index of the `nth` entry that `wanted` takes.
fn find(entries: &[Entry], nth: usize, wanted: impl Fn(&Entry) -> bool) -> Option<usize> {
    entries.iter().enumerate().filter(|(_, entry)| wanted(entry)).map(|(at, _)| at).nth(nth)
}

/// Three lines in one write, then three answers.
fn send_all_first(entries: &mut Vec<Entry>) {
    let mut whole = Vec::new();
    for entry in entries.iter() {
        if let Action::Send { bytes, .. } = &entry.action {
            whole.extend_from_slice(bytes);
        }
    }
    entries.retain(|entry| !is_send(entry));
    let first = entry(&Who::Client("c1".to_owned()), Action::Send { bytes: whole, settles: false });
    entries.insert(0, first);
}

/// A line in three pieces; one after which the client shuts its sending side; one that does not end; then two commands
/// whose client shuts its sending side while they run.
fn pieces_and_half_close(entries: &mut Vec<Entry>) {
    let c1 = Who::Client("c1".to_owned());
    let pause = || Action::Pause(Duration::from_millis(50));
    let Some(add) = find(entries, 0, is_send) else { return };
    let answers: Vec<Entry> = entries.drain(..add).collect();
    let mut answers = answers.into_iter();
    let mut start = vec![entry(&c1, text("{\"cmd\": \"p")), entry(&c1, pause()), entry(&c1, text("ool\"")), entry(&c1, pause())];
    start.push(entry(&c1, text("}\n")));
    start.extend(answers.next());
    start.push(entry(&c1, text("{\"cmd\": \"pool\"}\n")));
    start.push(entry(&c1, Action::HalfClose));
    start.extend(answers.by_ref().take(2));
    start.push(entry(&c1, text("{\"cmd\": \"pool\"}")));
    start.push(entry(&c1, Action::HalfClose));
    start.extend(answers);
    for connection in ["c1", "c3"] {
        let client = Who::Client(connection.to_owned());
        let tells = |entry: &Entry| matches!(&entry.action, Action::Send { bytes, .. } if entry.who == client && memchr::memmem::find(bytes, b"slow").is_some());
        if let Some(at) = find(entries, 0, tells) {
            entries.insert(at + 1, entry(&client, Action::HalfClose));
        }
    }
    start.append(entries);
    *entries = start;
}

/// The module answers `init` with half a line.
fn half_an_answer(entries: &mut Vec<Entry>) {
    let who = Who::Command("init_partial".to_owned());
    if let Some(at) = find(entries, 0, |entry| entry.who == who) {
        entries.insert(at + 1, entry(&who, text("{\"success\": tr")));
    }
}

/// Four modules: one opens only its command stream, one only its update stream, one neither, one both after 1.5 s. The
/// service ends the first three.
fn connect_in_part(entries: &mut Vec<Entry>) {
    let process = |module: &str| Who::Process(module.to_owned());
    let ends = |entry: &Entry| matches!(entry.action, Action::ProcessEnds);
    // These are of the transcript before, or go without saying.
    entries.retain(|entry| !ends(entry) && entry.who != Who::Command("cmd_only".to_owned()));
    let starts = [
        ("cmd_only", Some((true, false))),
        ("upd_only", Some((false, true))),
        ("neither", Some((false, false))),
        ("slow_1_5s", None),
    ];
    for (nth, (module, streams)) in starts.into_iter().enumerate() {
        let Some(at) = find(entries, nth, is_send) else { return };
        match streams {
            Some((command, update)) => {
                entries.insert(at + 1, entry(&process(module), Action::Connect { command, update }));
            }
            None => {
                entries.insert(at + 1, entry(&process(module), Action::Connect { command: false, update: false }));
                entries.insert(at + 2, entry(&process(module), Action::Pause(Duration::from_millis(1500))));
                entries.insert(at + 3, entry(&process(module), Action::Connect { command: true, update: true }));
            }
        }
    }
    for (module, _) in &starts[..3] {
        entries.push(entry(&process(module), Action::ProcessKilled));
    }
    for who in [Who::Command("cmd_only".to_owned()), Who::Update("upd_only".to_owned())] {
        let end = Expectation { place: String::new(), recorded: Some(Expected::End), difference: None };
        entries.push(entry(&who, Action::Expect(end)));
    }
}

/// After `init` five updates in one write.
fn pipelined_updates(entries: &mut Vec<Entry>) {
    let who = Who::Update("A".to_owned());
    let acknowledgement = |entry: &Entry| entry.who == who && !is_send(entry);
    if let Some(second) = find(entries, 1, acknowledgement) {
        let updates = (0..5).map(|n| format!("{{\"cmd\": \"set_parameters\", \"args\": {{\"parameters\": {{\"n\": {n}}}}}}}\n"));
        entries.insert(second, entry(&who, text(&updates.collect::<String>())));
    }
}

/// The client goes away before the module has answered `init`.
fn client_gone(entries: &mut Vec<Entry>) {
    let module = |entry: &Entry| matches!(entry.who, Who::Command(_)) && is_send(entry);
    if let Some(answer) = find(entries, 0, module) {
        entries.insert(answer, entry(&Who::Client("c1".to_owned()), Action::Close));
    }
}
