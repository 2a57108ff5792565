//! The transcript `lifecycle_write_order_by_strace`: the lines of one change are written without waiting for answers.
//!
//! The recording is of the process's writes, whose order across streams a peer cannot see. What it can see is whether
//! the lines of one change come while none of them is answered: nothing is answered here before all have come.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::control::Control;
use super::differences::{Ours, Places};
use super::services::Application;
use super::transcript::Transcript;
use super::wire::{Item, Wire};

/// Less than the time-out of a command (1 s), so that an answer that is held back never counts as missing.
const PATIENCE: Duration = Duration::from_millis(800);
/// The service's answer may take longer than that.
const ANSWER: Duration = Duration::from_secs(10);

/// The client, its modules by name, and their identifiers.
struct Stage<'a> {
    application: &'a Application,
    client: Wire,
    modules: HashMap<String, (Control, Wire, Wire)>,
    uids: HashMap<String, String>,
}

/// Plays the six commands; what is wrong. What is used of `places` is taken out of it.
pub fn play(application: &Application, transcript: &Transcript, places: &mut Places) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(problem) = play_all(application, transcript, places, &mut problems) {
        problems.push(problem);
    }
    problems
}

fn play_all(
    application: &Application,
    transcript: &Transcript,
    places: &mut Places,
    problems: &mut Vec<String>,
) -> Result<(), String> {
    let client = application.connect("queue")?;
    let mut stage = Stage { application, client, modules: HashMap::new(), uids: HashMap::new() };
    stage.start("set_bg", "BG", &["play"])?;
    for (number, step) in transcript.steps.iter().enumerate() {
        let writes: Vec<(String, String)> =
            serde_json::from_value(step.recv.clone()).map_err(|error| format!("step {number}: {error}"))?;
        let mut recorded = Vec::new();
        for (to, line) in writes.into_iter().filter(|(to, _)| to != "client") {
            recorded.push((to, json!({"cmd": command_of(&line)})));
        }
        // Between two recorded commands others made the queue what the next one needs.
        match number {
            1 => {
                stage.start("add", "B", &[])?;
                stage.start("add", "C", &[])?;
            }
            3 => stage.forget(&["B", "C"]),
            _ => (),
        }
        let expected = listed(number, recorded, places);
        stage.command(number, &expected, problems)?;
    }
    Ok(())
}

/// The writes of a step without those that we leave out: `2[5]` is the sixth of step 2.
fn listed(number: usize, writes: Vec<(String, Value)>, places: &mut Places) -> Vec<(String, Value)> {
    let kept = |(nth, write)| match places.remove(&format!("{number}[{nth}]")) {
        Some(difference) if difference.ours == Ours::Nothing => None,
        _ => Some(write),
    };
    writes.into_iter().enumerate().filter_map(kept).collect()
}

fn command_of(line: &str) -> Value {
    serde_json::from_str(line).map_or(Value::Null, |value: Value| value["cmd"].clone())
}

impl Stage<'_> {
    /// Starts a module and answers what it is told at once.
    fn start(&mut self, verb: &str, name: &str, then: &[&str]) -> Result<(), String> {
        self.send_start(verb, name)?;
        self.meet(name)?;
        for cmd in ["init"].iter().chain(then) {
            self.take(name, &json!({"cmd": cmd}))?;
            self.answer(name)?;
        }
        // Whatever else the change tells the background is answered here, so that it is over before the next.
        if verb == "add" {
            self.answer_repeated_suspend()?;
        }
        self.learn(name)
    }

    fn send_start(&mut self, verb: &str, name: &str) -> Result<(), String> {
        let kind = if name.starts_with("BG") { "bgpuppet" } else { "puppet" };
        self.send(&format!("{{\"cmd\": \"{verb}\", \"args\": {{\"type\": \"{kind}\", \"args\": {{}}}}}}"))
    }

    fn answer_repeated_suspend(&mut self) -> Result<(), String> {
        let Some((_, command, _)) = self.modules.get_mut("BG") else { return Ok(()) };
        match command.next(Instant::now() + Duration::from_millis(20)) {
            Some(Item::Line(_)) => self.answer("BG"),
            _ => Ok(()),
        }
    }

    fn send(&mut self, line: &str) -> Result<(), String> {
        self.client.send(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())
    }

    /// Takes the module over that the service has just started.
    fn meet(&mut self, name: &str) -> Result<(), String> {
        let (hello, mut control) = self.application.next_puppet()?;
        let mut open = |port| control.connect(port).and_then(Wire::new).map_err(|error| format!("{name}: {error}"));
        let (command, update) = (open(hello.cmd_port)?, open(hello.update_port)?);
        self.modules.insert(name.to_owned(), (control, command, update));
        Ok(())
    }

    /// Takes the service's answer to the client, which names the new module.
    fn learn(&mut self, name: &str) -> Result<(), String> {
        let answer = self.client_answer()?;
        let uid = answer["result"]["uid"].as_str().ok_or_else(|| format!("{name} got no uid: {answer}"))?;
        self.uids.insert(name.to_owned(), uid.to_owned());
        Ok(())
    }

    fn client_answer(&mut self) -> Result<Value, String> {
        match self.client.next(Instant::now() + ANSWER) {
            Some(Item::Line(line)) => serde_json::from_str(&line).map_err(|error| error.to_string()),
            other => Err(format!("the client got {other:?}")),
        }
    }

    /// Waits for a command to a module; its arguments say nothing here.
    fn take(&mut self, name: &str, expected: &Value) -> Result<(), String> {
        let (_, command, _) = self.modules.get_mut(name).ok_or_else(|| format!("no module {name}"))?;
        match command.next(Instant::now() + PATIENCE) {
            Some(Item::Line(line)) if command_of(&line) == expected["cmd"] => Ok(()),
            other => Err(format!("{name}: got {other:?}, expected {}", expected["cmd"])),
        }
    }

    fn answer(&mut self, name: &str) -> Result<(), String> {
        let (_, command, _) = self.modules.get_mut(name).ok_or_else(|| format!("no module {name}"))?;
        command.send(b"{\"success\": true}\n").map_err(|error| error.to_string())
    }

    /// Lets modules go that were removed.
    fn forget(&mut self, names: &[&str]) {
        for name in names {
            self.modules.remove(*name);
        }
    }

    /// One recorded command.
    fn command(&mut self, number: usize, expected: &[(String, Value)], problems: &mut Vec<String>) -> Result<(), String> {
        let uid = |name: &str| self.uids.get(name).cloned().unwrap_or_default();
        let new = match number {
            0 => Some(("add", "A")),
            3 => Some(("set_bg", "BG2")),
            5 => Some(("set_bg", "BG3")),
            _ => None,
        };
        match (number, new) {
            (_, Some((verb, name))) => self.send_start(verb, name)?,
            (1, _) => self.send(&format!("{{\"cmd\": \"mv\", \"args\": {{\"uids\": [\"{}\"]}}}}", uid("C")))?,
            (2, _) => {
                self.send(&format!("{{\"cmd\": \"rm\", \"args\": {{\"uids\": [\"{}\", \"{}\"]}}}}", uid("C"), uid("B")))?;
            }
            _ => self.send(&format!("{{\"cmd\": \"rm\", \"args\": {{\"uids\": [\"{}\"]}}}}", uid("A")))?,
        }
        let mut rest = expected;
        if let (Some((_, name)), Some(((_, init), after))) = (new, expected.split_first()) {
            // `init` is answered first: the change begins only then.
            self.meet(name)?;
            self.take(name, init)?;
            self.answer(name)?;
            rest = after;
        }
        for (to, line) in rest {
            if let Err(problem) = self.take(to, line) {
                problems.push(format!("step {number}: {problem}, while nothing was answered"));
            }
        }
        for (to, _) in rest {
            self.answer(to)?;
        }
        match new {
            Some((_, name)) => self.learn(name)?,
            None => {
                let answer = self.client_answer()?;
                if answer != serde_json::json!({"success": true}) {
                    problems.push(format!("step {number}: the client got {answer}"));
                }
            }
        }
        Ok(())
    }
}
