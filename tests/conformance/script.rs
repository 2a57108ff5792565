//! What is to be played of a transcript: the recording, with what it says only in notes, and with our differences.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::amend::amend;
use super::differences::{Difference, Ours, Places};
use super::transcript::{RecordedEvent, Transcript, bytes_of};

/// Before a question that came so much later than whatever was before it (ms), the recording waited for something that
/// it could not see: the player asks again until the answer is right.
const WAITED_MS: f64 = 40.0;

/// Whom an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// A client connection.
    Client(String),
    /// A module's command stream.
    Command(String),
    /// A module's update stream.
    Update(String),
    /// A module's process.
    Process(String),
}

/// What comes on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A line.
    Line(String),
    /// Its end.
    End,
    /// Nothing.
    Nothing,
}

/// Something that must come, or not.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The name under which a difference lists it.
    pub place: String,
    /// What the original wrote; `None` where it wrote nothing at all.
    pub recorded: Option<Expected>,
    /// What we write instead.
    pub difference: Option<Difference>,
}

impl Expectation {
    /// Whether the stream ends here.
    fn is_an_end(&self) -> bool {
        match &self.difference {
            Some(difference) => difference.ours == Ours::End,
            None => self.recorded == Some(Expected::End),
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Write bytes; with `settles`, again and again until the answer is right.
    Send {
        /// The bytes, newline included.
        bytes: Vec<u8>,
        /// Whether the recording waited before it.
        settles: bool,
    },
    /// Wait for something.
    Expect(Expectation),
    /// Close the sending side.
    HalfClose,
    /// Close the stream.
    Close,
    /// Start of a module: open these streams.
    Connect {
        /// The command stream.
        command: bool,
        /// The update stream.
        update: bool,
    },
    /// The module's process ends and takes its streams with it.
    Crash,
    /// The process ends; the module lets it, unless it shut a stream itself and waits for its signal.
    ProcessEnds,
    /// The service must end the process.
    ProcessKilled,
    /// Do nothing for a while.
    Pause(Duration),
}

/// An action and its actor.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who acts or is waited for.
    pub who: Who,
    /// What is done.
    pub action: Action,
    /// The step that this belongs to, for clients.
    pub step: Option<usize>,
}

/// The whole play.
#[derive(Debug)]
pub struct Script {
    /// In order.
    pub entries: Vec<Entry>,
    /// What streams get on top while a step is answered.
    pub on_top: BTreeMap<usize, Vec<(Who, Expectation)>>,
    /// What streams get before the transcript is over, whenever that is: what comes on top, and the ends of modules'
    /// streams, which may come before or after what others are told in the same change.
    pub afterwards: Vec<(Who, Expectation)>,
}

/// Makes the script of a transcript of a queue or a pool. What is used of `places` is taken out of it.
///
/// # Errors
/// Where the recording is not understood.
pub fn script(transcript: &Transcript, places: &mut Places) -> Result<Script, String> {
    let mut entries = match &transcript.events {
        Some(events) => from_events(transcript, events)?,
        None => from_steps(transcript)?,
    };
    amend(&transcript.name, &mut entries);
    let counts = number(&mut entries);
    let races = transcript.steps.iter().enumerate().filter(|(_, step)| step.racy).map(|(number, _)| number.to_string());
    let races: Vec<String> = races.collect();
    if let Some((place, _)) = places.iter().find(|(place, difference)| difference.optional && !races.contains(place)) {
        return Err(format!("{place}: only a step that is a race in the recording may go both ways"));
    }
    let mut script = Script { entries: Vec::new(), on_top: BTreeMap::new(), afterwards: Vec::new() };
    for entry in differ(entries, places) {
        if let Action::Expect(expectation) = &entry.action
            && expectation.recorded == Some(Expected::Nothing)
            && expectation.difference.as_ref().is_some_and(|difference| difference.ours == Ours::Nothing)
        {
            return Err(format!("{}: nothing is listed where nothing was recorded", expectation.place));
        }
        match entry.action {
            Action::Expect(expectation) if expectation.is_an_end() && !matches!(entry.who, Who::Client(_)) => {
                script.afterwards.push((entry.who, expectation));
            }
            _ => script.entries.push(entry),
        }
    }
    add_what_is_on_top(&mut script, &counts, places);
    Ok(script)
}

fn who(name: &str) -> Option<Who> {
    Some(match name.rsplit_once('.') {
        Some((module, "cmd")) => Who::Command(module.to_owned()),
        Some((module, "upd")) => Who::Update(module.to_owned()),
        Some((module, "proc")) => Who::Process(module.to_owned()),
        Some(_) => return None,
        None if name == "note" => return None,
        None => Who::Client(name.to_owned()),
    })
}

fn expected(line: Option<&str>, end: Option<&str>) -> Result<Expected, String> {
    Ok(match (line, end) {
        (Some(line), _) => Expected::Line(String::from_utf8(bytes_of(line)?).map_err(|error| error.to_string())?),
        (None, Some("eof" | "reset")) => Expected::End,
        (None, _) => Expected::Nothing,
    })
}

fn expect(recorded: Expected) -> Action {
    Action::Expect(Expectation { place: String::new(), recorded: Some(recorded), difference: None })
}

fn send(line: &str, settles: bool) -> Result<Action, String> {
    let mut bytes = bytes_of(line)?;
    bytes.push(b'\n');
    Ok(Action::Send { bytes, settles })
}

/// The order in which a client's steps were sent and answered, by connection.
struct Turns {
    sent: HashMap<String, VecDeque<usize>>,
    answered: HashMap<String, VecDeque<usize>>,
}

impl Turns {
    fn of(transcript: &Transcript) -> Self {
        let mut turns = Self { sent: HashMap::new(), answered: HashMap::new() };
        for (number, step) in transcript.steps.iter().enumerate() {
            if step.send.is_some() {
                turns.sent.entry(step.conn.clone()).or_default().push_back(number);
            }
            if step.recv.is_string() || step.end.is_some() {
                turns.answered.entry(step.conn.clone()).or_default().push_back(number);
            }
        }
        turns
    }
}

fn from_events(transcript: &Transcript, events: &[RecordedEvent]) -> Result<Vec<Entry>, String> {
    let mut turns = Turns::of(transcript);
    let mut entries = Vec::new();
    let mut before = 0.0;
    for event in events {
        let waited = event.t_ms - before >= WAITED_MS;
        before = event.t_ms;
        let line = event.line.as_deref();
        let Some(who) = who(&event.who) else {
            entries.extend(from_note(line.unwrap_or_default()));
            continue;
        };
        let mut step = None;
        let action = match event.dir.as_str() {
            "send" => {
                if let Who::Client(connection) = &who {
                    step = turns.sent.get_mut(connection).and_then(VecDeque::pop_front);
                }
                let line = line.ok_or("an event sends nothing")?;
                send(line, waited && step.is_some() && is_a_question(line))?
            }
            "recv" => {
                if let Who::Client(connection) = &who {
                    step = turns.answered.get_mut(connection).and_then(VecDeque::pop_front);
                }
                expect(expected(line, event.end.as_deref())?)
            }
            "note" if line == Some("module closes its command stream") => Action::Close,
            "end" => Action::ProcessEnds,
            other => return Err(format!("an event of kind {other:?}: {line:?}")),
        };
        entries.push(Entry { who, action, step });
    }
    Ok(entries)
}

fn from_note(note: &str) -> Option<Entry> {
    let (module, what) = note.split_once(' ')?;
    let module = module.to_owned();
    let (who, action) = match what {
        "crashes" => (Who::Process(module), Action::Crash),
        "shuts its command stream" => (Who::Command(module), Action::Close),
        "shuts its update stream" => (Who::Update(module), Action::Close),
        _ => return None,
    };
    Some(Entry { who, action, step: None })
}

/// Whether a line asks and changes nothing, so that it may be asked again.
fn is_a_question(line: &str) -> bool {
    ["\"queue\"", "\"pool\"", "\"bg\"", "\"ask_module\"", "\"ask_background\""]
        .iter()
        .any(|name| line.starts_with(&format!("{{\"cmd\": {name}")))
}

fn from_steps(transcript: &Transcript) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (number, step) in transcript.steps.iter().enumerate() {
        let who = Who::Client(step.conn.clone());
        if let Some(line) = &step.send {
            entries.push(Entry { who: who.clone(), action: send(line, false)?, step: Some(number) });
        }
        if step.recv.is_string() || step.end.is_some() {
            let expected = expected(step.recv.as_str(), step.end.as_deref())?;
            entries.push(Entry { who, action: expect(expected), step: Some(number) });
        }
    }
    Ok(entries)
}

/// Gives every expectation its place; how many each stream has.
fn number(entries: &mut [Entry]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for Entry { who, action, step } in entries {
        let Action::Expect(expectation) = action else { continue };
        let stream = match who {
            Who::Client(_) => {
                expectation.place = step.map_or_else(String::new, |step| step.to_string());
                continue;
            }
            Who::Command(module) => format!("{module}.cmd"),
            Who::Update(module) => format!("{module}.upd"),
            Who::Process(_) => continue,
        };
        let count = counts.entry(stream.clone()).or_insert(0);
        expectation.place = format!("{stream}[{count}]");
        *count += 1;
    }
    counts
}

/// Puts the differences in. With a line to a module that we do not write goes the module's answer to it, and with a
/// module that we do not end the end of its process.
fn differ(entries: Vec<Entry>, places: &mut Places) -> Vec<Entry> {
    let mut unanswered = HashSet::new();
    let mut living = HashSet::new();
    let mut kept = Vec::with_capacity(entries.len());
    for mut entry in entries {
        match &mut entry.action {
            Action::Expect(expectation) => {
                expectation.difference = places.remove(&expectation.place);
                let dropped = expectation.difference.as_ref().is_some_and(|difference| difference.ours == Ours::Nothing);
                if let (Who::Command(module), true) = (&entry.who, dropped) {
                    unanswered.insert(module.clone());
                    match &expectation.recorded {
                        Some(Expected::Line(line)) if !line.contains("\"rm\"") => (),
                        _ => drop(living.insert(module.clone())),
                    }
                }
            }
            Action::Send { .. } => {
                if let Who::Command(module) = &entry.who
                    && unanswered.remove(module)
                {
                    continue;
                }
            }
            Action::ProcessEnds => {
                if let Who::Process(module) = &entry.who
                    && living.contains(module)
                {
                    continue;
                }
            }
            _ => (),
        }
        kept.push(entry);
    }
    kept
}

/// Lines that the original did not write: `A.cmd@4`, or `A.cmd[7]` where the recording has seven.
fn add_what_is_on_top(script: &mut Script, counts: &HashMap<String, usize>, places: &mut Places) {
    let names: Vec<String> = places.keys().cloned().collect();
    for name in names {
        let on_top = name.split_once('@').and_then(|(stream, step)| Some((stream, Some(step.parse().ok()?))));
        let after = || {
            let (stream, index) = name.strip_suffix(']')?.split_once('[')?;
            (index.parse::<usize>().ok()? >= counts.get(stream).copied().unwrap_or(0)).then_some((stream, None))
        };
        let Some((stream, step)) = on_top.or_else(after) else { continue };
        let Some(who) = who(stream).filter(|who| !matches!(who, Who::Client(_))) else { continue };
        let expectation = Expectation { place: name.clone(), recorded: None, difference: places.remove(&name) };
        match step {
            Some(step) => script.on_top.entry(step).or_default().push((who, expectation)),
            None => script.afterwards.push((who, expectation)),
        }
    }
}
