//! Plays a transcript of a queue or a pool against the running service, both the client's side and the module's.
//!
//! ```text
//!            clients c1, c2 …                 puppets A, B …
//!   player ───────────────────▶ service ◀────────────────────── player
//!            lines of steps               command and update streams
//! ```
//!
//! One thread goes through the script in the recorded order: it writes what was written, and waits on each stream for
//! what came. Nothing is compared across streams, so only the order on each of them counts.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::compare::{Bindings, Manner};
use super::control::Control;
use super::differences::Ours;
use super::programs::Hello;
use super::script::{Action, Entry, Expectation, Expected, Script, Who};
use super::services::Application;
use super::wire::{Item, Wire};

/// Whatever is expected comes after at most this; the longest that a service waits for a module is 2 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a question is asked again until its answer is right.
const SETTLING: Duration = Duration::from_secs(5);
/// Pause between two such questions.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// A process is ended 3 s after its module was given up, by force 5 s later.
const ENDING: Duration = Duration::from_secs(12);
/// Lines that were written before the service answered its client are here after at most this.
const ARRIVAL: Duration = Duration::from_millis(20);

/// A module that the player plays.
struct Puppet {
    hello: Hello,
    control: Control,
    command: Option<Wire>,
    update: Option<Wire>,
    /// Whether it shut a stream by itself and waits for its signal.
    defiant: bool,
}

/// The state of a play.
pub struct Player<'a> {
    application: &'a Application,
    service: &'a str,
    manner: Manner,
    /// The descriptors that this process was given itself, and may have passed on to everybody.
    given: &'a [u32],
    clients: HashMap<String, Wire>,
    puppets: HashMap<String, Puppet>,
    /// What each client asked last, where it may be asked again.
    questions: HashMap<String, Vec<u8>>,
    /// What the placeholders stand for.
    pub bindings: Bindings,
    /// Deviations so far.
    pub problems: Vec<String>,
}

impl<'a> Player<'a> {
    /// A player of one service of `application`.
    pub fn new(application: &'a Application, service: &'a str, manner: Manner, given: &'a [u32]) -> Self {
        Self {
            application,
            service,
            manner,
            given,
            clients: HashMap::new(),
            puppets: HashMap::new(),
            questions: HashMap::new(),
            bindings: Bindings::default(),
            problems: Vec::new(),
        }
    }

    /// Plays the whole script; deviations are kept in [`Player::problems`].
    ///
    /// # Errors
    /// What makes it impossible to go on.
    pub fn play(&mut self, script: &Script) -> Result<(), String> {
        for entry in &script.entries {
            self.act(entry)?;
            let sent = matches!(entry.action, Action::Send { .. });
            if let (true, Some(on_top)) = (sent, entry.step.and_then(|step| script.on_top.get(&step))) {
                for (who, expectation) in on_top {
                    self.expect(who, expectation)?;
                    self.reply(who, expectation)?;
                }
            }
        }
        for (who, expectation) in &script.afterwards {
            self.expect(who, expectation)?;
            self.reply(who, expectation)?;
        }
        self.nothing_is_left()
    }

    fn act(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.action {
            Action::Send { bytes, settles } => {
                let bytes = self.bindings.fill_in(bytes)?;
                if let Who::Client(connection) = &entry.who {
                    if *settles {
                        self.questions.insert(connection.clone(), bytes.clone());
                    } else {
                        self.questions.remove(connection);
                    }
                }
                // A module may write into a stream that is closed already: what comes back tells.
                let sent = self.wire(&entry.who)?.send(&bytes);
                match &entry.who {
                    Who::Client(connection) => sent.map_err(|error| format!("{connection} cannot send: {error}")),
                    _ => Ok(()),
                }
            }
            Action::Expect(expectation) => self.expect(&entry.who, expectation),
            Action::HalfClose => {
                self.wire(&entry.who)?.shut_sending();
                Ok(())
            }
            Action::Close => {
                self.wire(&entry.who)?.close();
                match &entry.who {
                    Who::Client(connection) => drop(self.clients.remove(connection)),
                    Who::Command(module) | Who::Update(module) | Who::Process(module) => self.puppet(module)?.defiant = true,
                }
                Ok(())
            }
            Action::Connect { command, update } => self.connect(&entry.who, *command, *update),
            Action::Crash => self.crash(&entry.who),
            Action::ProcessEnds => self.process_ends(&entry.who, false),
            Action::ProcessKilled => self.process_ends(&entry.who, true),
            Action::Pause(time) => {
                sleep(*time);
                Ok(())
            }
        }
    }

    /// Waits for what is expected; says what came instead.
    fn expect(&mut self, who: &Who, expectation: &Expectation) -> Result<(), String> {
        let (expected, globs) = match &expectation.difference {
            Some(difference) if !difference.optional => (Some(ours(&difference.ours)), true),
            _ => (expectation.recorded.clone(), false),
        };
        let manner = Manner { globs, ..self.manner };
        let Some(expected) = expected.filter(|expected| *expected != Expected::Nothing) else { return Ok(()) };
        let started = Instant::now();
        loop {
            let Some(item) = self.wire(who)?.next(Instant::now() + PATIENCE) else {
                self.problems.push(format!("{who:?} {}: nothing came, expected {}", expectation.place, shown(&expected)));
                return Err("gave up waiting".to_owned());
            };
            if self.is_as(&expected, &item, manner) || self.is_the_other_way(expectation, &item) {
                if globs && self.is_as_recorded(expectation, &item) {
                    let problem = self.problem(expectation, &expected, &item);
                    self.problems.push(problem);
                }
                return Ok(());
            }
            let question = match who {
                Who::Client(connection) if item != Item::End => self.questions.get(connection).cloned(),
                _ => None,
            };
            match question {
                Some(question) if started.elapsed() < SETTLING => {
                    sleep(ASK_AGAIN);
                    self.wire(who)?.send(&question).map_err(|error| error.to_string())?;
                }
                _ => {
                    let problem = self.problem(expectation, &expected, &item);
                    self.problems.push(problem);
                    return Ok(());
                }
            }
        }
    }

    /// What to say where something else came than expected.
    fn problem(&mut self, expectation: &Expectation, expected: &Expected, item: &Item) -> String {
        let (came, place) = (self.came(item), &expectation.place);
        if let Some(difference) = &expectation.difference
            && self.is_as_recorded(expectation, item)
        {
            return format!("{place}: differs no more ({}): got {came}", difference.reason);
        }
        format!("{place}: got {came}\n      expected {}", shown(expected))
    }

    fn is_as(&mut self, expected: &Expected, item: &Item, manner: Manner) -> bool {
        match (expected, item) {
            (Expected::Line(expected), Item::Line(line)) => self.bindings.agree(expected, line, manner),
            (Expected::End, Item::End) => true,
            _ => false,
        }
    }

    /// Whether a race went the way that is listed, not the one that was recorded.
    fn is_the_other_way(&mut self, expectation: &Expectation, item: &Item) -> bool {
        let manner = Manner { globs: true, ..self.manner };
        let other = expectation.difference.as_ref().filter(|difference| difference.optional);
        other.is_some_and(|difference| self.is_as(&ours(&difference.ours), item, manner))
    }

    fn is_as_recorded(&mut self, expectation: &Expectation, item: &Item) -> bool {
        expectation.recorded.as_ref().is_some_and(|recorded| self.is_as(recorded, item, self.manner))
    }

    fn came(&self, item: &Item) -> String {
        match item {
            Item::Line(line) => self.bindings.shown(line),
            Item::End => "the end of the stream".to_owned(),
        }
    }

    fn reply(&mut self, who: &Who, expectation: &Expectation) -> Result<(), String> {
        match expectation.difference.as_ref().and_then(|difference| difference.reply.as_ref()) {
            Some(reply) => self.wire(who)?.send(format!("{reply}\n").as_bytes()).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// The stream of `who`, opened where it is not open yet.
    fn wire(&mut self, who: &Who) -> Result<&mut Wire, String> {
        match who {
            Who::Client(connection) => {
                if self.clients.get(connection).is_none_or(Wire::has_ended) {
                    self.clients.insert(connection.clone(), self.application.connect(self.service)?);
                }
                self.clients.get_mut(connection).ok_or_else(|| format!("no connection {connection}"))
            }
            Who::Command(module) => self.puppet(module)?.command.as_mut().ok_or(format!("{module}.cmd is not open")),
            Who::Update(module) => self.puppet(module)?.update.as_mut().ok_or(format!("{module}.upd is not open")),
            Who::Process(module) => Err(format!("{module} is a process and no stream")),
        }
    }

    /// The module of that name, which is the next that the service starts where it is new.
    fn puppet(&mut self, module: &str) -> Result<&mut Puppet, String> {
        if !self.puppets.contains_key(module) {
            self.meet(module)?;
            self.open(module, true, true)?;
        }
        self.puppets.get_mut(module).ok_or_else(|| format!("no module {module}"))
    }

    fn meet(&mut self, module: &str) -> Result<(), String> {
        let (hello, control) = self.application.next_puppet().map_err(|error| format!("{module}: {error}"))?;
        if hello.argc != 4 || hello.host != "localhost" {
            self.problems.push(format!("{module} was not started with HOST COMMAND_PORT UPDATE_PORT: {hello:?}"));
        }
        let inherited: Vec<u32> = hello.descriptors.iter().copied().filter(|number| !self.given.contains(number)).collect();
        if !inherited.is_empty() {
            self.problems.push(format!("{module} has inherited the descriptors {inherited:?}"));
        }
        let puppet = Puppet { hello, control, command: None, update: None, defiant: false };
        self.puppets.insert(module.to_owned(), puppet);
        Ok(())
    }

    /// Opens streams, every other module its update stream first.
    fn open(&mut self, module: &str, command: bool, update: bool) -> Result<(), String> {
        let update_first = self.puppets.len().is_multiple_of(2);
        let puppet = self.puppets.get_mut(module).ok_or_else(|| format!("no module {module}"))?;
        let mut open = |port: u16| {
            let stream = puppet.control.connect(port).and_then(Wire::new);
            stream.map(Some).map_err(|error| format!("{module} cannot connect: {error}"))
        };
        for this_is_update in [update_first, !update_first] {
            if this_is_update && update {
                puppet.update = open(puppet.hello.update_port)?;
            } else if !this_is_update && command {
                puppet.command = open(puppet.hello.cmd_port)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, who: &Who, command: bool, update: bool) -> Result<(), String> {
        let Who::Process(module) = who else { return Ok(()) };
        if !self.puppets.contains_key(module) {
            self.meet(module)?;
        }
        self.open(module, command, update)
    }

    fn crash(&mut self, who: &Who) -> Result<(), String> {
        let Who::Process(module) = who else { return Ok(()) };
        let puppet = self.puppet(module)?;
        puppet.control.let_go();
        for stream in [&mut puppet.command, &mut puppet.update].into_iter().flatten() {
            stream.close();
        }
        Ok(())
    }

    /// Waits for the end of a process. It ends by itself, unless it is one that must be made to.
    fn process_ends(&mut self, who: &Who, killed: bool) -> Result<(), String> {
        let Who::Process(module) = who else { return Ok(()) };
        // The recording still waits for a module of the transcript before it.
        let Some(puppet) = self.puppets.get_mut(module) else { return Ok(()) };
        if !killed && !puppet.defiant {
            puppet.control.let_go();
        }
        if !puppet.control.has_ended(Instant::now() + ENDING) {
            self.problems.push(format!("the process of {module} did not end"));
        }
        Ok(())
    }

    /// After the last entry no stream holds anything more.
    fn nothing_is_left(&mut self) -> Result<(), String> {
        if !self.clients.values().any(|wire| !wire.has_ended() && !wire.half_closed) {
            self.clients.insert("after all".to_owned(), self.application.connect(self.service)?);
        }
        let names: Vec<String> = self.clients.keys().cloned().collect();
        for name in names {
            let Some(wire) = self.clients.get_mut(&name) else { continue };
            if wire.has_ended() || wire.half_closed {
                continue;
            }
            // An answer to this proves that nothing stands before it.
            let sent = wire.send(b"{\"cmd\": \"modules_available\"}\n");
            match wire.next(Instant::now() + PATIENCE) {
                Some(Item::Line(line)) if sent.is_ok() && line.contains("\"echo2\"") => (),
                other => self.problems.push(format!("{name} got after all: {other:?}")),
            }
        }
        let deadline = Instant::now() + ARRIVAL;
        let mut left = Vec::new();
        for (module, puppet) in &mut self.puppets {
            for (stream, wire) in [("cmd", &mut puppet.command), ("upd", &mut puppet.update)] {
                let Some(wire) = wire.as_mut().filter(|wire| !wire.has_ended() && !wire.closed_here) else { continue };
                while let Some(item) = wire.next(deadline) {
                    left.push((format!("{module}.{stream}"), item.clone()));
                    if item == Item::End {
                        break;
                    }
                }
            }
        }
        left.sort_by(|one, other| one.0.cmp(&other.0));
        for (stream, item) in left {
            let came = self.came(&item);
            self.problems.push(format!("{stream} got after all: {came}"));
        }
        if !self.application.no_more_puppets() {
            self.problems.push("more modules were started than recorded".to_owned());
        }
        Ok(())
    }
}

fn ours(ours: &Ours) -> Expected {
    match ours {
        Ours::Nothing => Expected::Nothing,
        Ours::End => Expected::End,
        Ours::Line(line) => Expected::Line(line.clone()),
    }
}

fn shown(expected: &Expected) -> String {
    match expected {
        Expected::Line(line) => line.chars().take(2000).collect(),
        Expected::End => "the end of the stream".to_owned(),
        Expected::Nothing => "nothing".to_owned(),
    }
}
