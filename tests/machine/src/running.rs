//! A command that runs inside a machine.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::Output;
use crate::{Machine, Outcome, required};

/// The status of a command whose machine went away under it.
pub(crate) const LOST: i32 = -1;

/// What a make of machine gives for a command that it has started.
pub(crate) struct Process {
    pub input: Box<dyn Write + Send>,
    pub output: Box<dyn Read + Send>,
    pub errors: Box<dyn Read + Send>,
    pub exit: mpsc::Receiver<i32>,
}

/// A started command: give it input, read its lines as they come, wait for its end. When dropped it is let go: it
/// runs on until it ends or the machine does.
pub struct Running<'a> {
    machine: &'a Machine,
    what: String,
    unit: String,
    input: Option<Box<dyn Write + Send>>,
    output: Stream,
    errors: Stream,
    exit: mpsc::Receiver<i32>,
}

impl<'a> Running<'a> {
    pub(crate) fn new(machine: &'a Machine, what: String, unit: String, process: Process) -> Self {
        Self {
            machine,
            what,
            unit,
            input: Some(process.input),
            output: Stream::of(process.output),
            errors: Stream::of(process.errors),
            exit: process.exit,
        }
    }

    /// The transient unit of the machine's system manager that the command runs in.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn write(&mut self, content: &[u8]) {
        let written = match &mut self.input {
            Some(input) => input.write_all(content).and_then(|()| input.flush()),
            None => Err(io::Error::other("it is closed")),
        };
        required(written.map_err(|error| format!("{}: cannot write to its standard input: {error}", self.what)));
    }

    /// Gives it all that it will ever read, and the end of it. It goes on meanwhile; one that ends without having read all is
    /// none the worse.
    pub(crate) fn feed(&mut self, content: Vec<u8>) {
        if let Some(mut input) = self.input.take() {
            thread::spawn(move || {
                let _ = input.write_all(&content).and_then(|()| input.flush());
            });
        }
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line of its standard output, without the line's end; nothing when the output has ended. It fails the test
    /// when neither comes in time.
    #[track_caller]
    pub fn line(&mut self, limit: Duration) -> Option<String> {
        required(self.try_line(limit))
    }

    pub(crate) fn try_line(&mut self, limit: Duration) -> Outcome<Option<String>> {
        let line = self.output.line(self.machine.stretched(limit));
        line.map_err(|()| {
            let errors = self.errors();
            format!("{}: no line within {limit:?}; standard error: {errors}", self.what)
        })
    }

    /// What has come so far of its standard error and was not read yet.
    pub(crate) fn errors(&mut self) -> String {
        String::from_utf8_lossy(&self.errors.seen()).into_owned()
    }

    /// Sends a signal, such as `TERM`, to every process of its unit.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        let argv = ["systemctl", "kill", "--signal", signal, &self.unit];
        required(self.machine.bare(&argv, Duration::from_secs(20)));
    }

    /// Waits for its end, and gives its status and what was not read yet of its output.
    #[track_caller]
    pub fn wait(self, limit: Duration) -> Output {
        required(self.finish(limit))
    }

    pub(crate) fn finish(mut self, limit: Duration) -> Outcome<Output> {
        self.input = None;
        let stretched = self.machine.stretched(limit);
        let deadline = Instant::now() + stretched;
        let status = self.exit.recv_timeout(stretched);
        if let Err(RecvTimeoutError::Timeout) = status {
            let argv = ["systemctl", "kill", "--signal", "KILL", &self.unit];
            // The machine may be what hangs: then there is nothing to kill, and the sentence below is what counts.
            let _ = self.machine.bare(&argv, Duration::from_secs(10));
            let seen = |stream: &mut Stream| String::from_utf8_lossy(&stream.seen()).into_owned();
            let (output, errors) = (seen(&mut self.output), seen(&mut self.errors));
            return Err(format!("{}: not ended within {limit:?}\noutput: {output}\nerrors: {errors}", self.what));
        }
        let rest = |stream: &mut Stream| stream.rest(deadline + Duration::from_secs(5));
        let (stdout, stderr) = (rest(&mut self.output), rest(&mut self.errors));
        Ok(Output { command: mem::take(&mut self.what), status: status.unwrap_or(LOST), stdout, stderr })
    }
}

impl Debug for Running<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.what, self.unit)
    }
}

/// A stream that is read as soon as something is there, so that a command never waits for its reader.
struct Stream {
    chunks: mpsc::Receiver<Vec<u8>>,
    buffer: VecDeque<u8>,
}

impl Stream {
    fn of(mut reader: Box<dyn Read + Send>) -> Self {
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = vec![0; 65536];
            while let Ok(length) = reader.read(&mut chunk) {
                if length == 0 || sender.send(chunk[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { chunks, buffer: VecDeque::new() }
    }

    fn line(&mut self, limit: Duration) -> Result<Option<String>, ()> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).take(end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.buffer.extend(chunk),
                Err(RecvTimeoutError::Timeout) => return Err(()),
                Err(RecvTimeoutError::Disconnected) if self.buffer.is_empty() => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    let line: Vec<u8> = self.buffer.drain(..).collect();
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
            }
        }
    }

    /// What has come so far and was not read as a line.
    fn seen(&mut self) -> Vec<u8> {
        self.buffer.extend(self.chunks.try_iter().flatten());
        self.buffer.drain(..).collect()
    }

    /// What is left until its end. A descendant may hold the stream open: then what has come by the deadline.
    fn rest(&mut self, deadline: Instant) -> Vec<u8> {
        while let Ok(chunk) = self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.buffer.extend(chunk);
        }
        self.buffer.drain(..).collect()
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_lines() {
        let mut stream = Stream::of(Box::new(&b"one\n\ntwo"[..]));
        let second = Duration::from_secs(5);
        let lines: Vec<_> = std::iter::from_fn(|| stream.line(second).unwrap()).collect();
        assert_eq!(lines, ["one", "", "two"]);
    }

    #[test]
    fn a_line_that_does_not_come_is_told_from_the_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut stream = Stream::of(Box::new(reader));
        writer.write_all(b"half").unwrap();
        assert_eq!(stream.line(Duration::from_millis(10)), Err(()));
        drop(writer);
        assert_eq!(stream.line(Duration::from_secs(5)), Ok(Some("half".into())));
        assert_eq!(stream.line(Duration::from_secs(5)), Ok(None));
    }
}
