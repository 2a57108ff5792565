//! qemu's monitor (QMP): one JSON object a line, on the emulator's standard input and output.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};

use serde_json::{Value, json};

use crate::Outcome;

pub(crate) struct Monitor {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Monitor {
    /// Greets the monitor of an emulator that was just started.
    pub fn new(input: ChildStdin, output: ChildStdout) -> Outcome<Self> {
        let mut monitor = Self { input, output: BufReader::new(output) };
        monitor.message()?;
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Gives a command and waits for its answer.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Outcome<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.input, "{request}").map_err(|error| format!("qemu takes no commands: {error}"))?;
        loop {
            let message = self.message()?;
            if let Some(error) = message.get("error") {
                return Err(format!("qemu refuses {command}: {error}"));
            }
            if let Some(answer) = message.get("return") {
                return Ok(answer.clone());
            }
        }
    }

    /// Waits until an event of that name comes.
    pub fn event(&mut self, name: &str) -> Outcome<()> {
        while self.message()?.get("event").and_then(Value::as_str) != Some(name) {}
        Ok(())
    }

    /// Waits until the processor runs, which it does not while a saved state is being loaded.
    pub fn running(&mut self) -> Outcome<()> {
        let status = self.execute("query-status", &json!({}))?;
        if status.get("running").and_then(Value::as_bool) == Some(true) { Ok(()) } else { self.event("RESUME") }
    }

    fn message(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err("qemu has ended".into()),
            Ok(_) => serde_json::from_str(&line).map_err(|error| format!("qemu says what is not JSON: {error}: {line}")),
            Err(error) => Err(format!("qemu's answers cannot be read: {error}")),
        }
    }
}
