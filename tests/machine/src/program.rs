//! A test program of many tests that runs inside a machine as a whole, and each of its tests counts as one.
//!
//! ```text
//!   host     SUITE ── trial KIND/NAME/module::test ──▶ wait for the run of that machine ──▶ its own result
//!                                                            │
//!   machine                       boot, copy in, run all ◀───┘ once, for whoever asks first
//! ```

use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::tests::{OnMachine, PROGRAM, message};
use crate::{Kind, Machine, Outcome};

/// How long a run may take, counted ten times on an emulated machine.
const LIMIT: Duration = Duration::from_secs(300);

/// The last line of a run begins so.
const LAST: &str = "test result: ";

/// Tests inside that run at the same time: they wait more than they work.
const THREADS: &str = "4";

/// A program that Rust's own test harness made, with `#[test]` functions. Give it to [`Tests::program`](crate::Tests::program).
#[derive(Clone)]
#[must_use]
pub struct Program {
    name: String,
    file: PathBuf,
    manager: Option<String>,
    environment: Vec<(String, String)>,
    only: Option<String>,
    without: Vec<String>,
    afterwards: Vec<(String, OnMachine)>,
}

impl Program {
    /// The program in that file of the host, to be run as root. Its tests are called `KIND/NAME/…`.
    pub fn new(name: &str, file: impl AsRef<Path>) -> Self {
        Self {
            name: name.to_owned(),
            file: file.as_ref().to_owned(),
            manager: None,
            environment: Vec::new(),
            only: None,
            without: Vec::new(),
            afterwards: Vec::new(),
        }
    }

    /// Run it in the own service manager of that user.
    pub fn in_manager_of(mut self, user: &str) -> Self {
        self.manager = Some(user.to_owned());
        self
    }

    /// Set an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Run those tests only whose names begin so, and pass over the others in silence: they run elsewhere.
    pub fn only(mut self, prefix: &str) -> Self {
        self.only = Some(prefix.to_owned());
        self
    }

    /// Do not run the tests whose names begin so, and list them as ignored: they make no sense here.
    pub fn without(mut self, prefix: &str) -> Self {
        self.without.push(prefix.to_owned());
        self
    }

    /// A test of the machine after all others have run in it.
    pub fn afterwards(mut self, name: &str, test: impl Fn(&Machine) + Send + Sync + 'static) -> Self {
        self.afterwards.push((name.to_owned(), Arc::new(test)));
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its tests, and whether each is ignored.
    pub(crate) fn tests(&self) -> Outcome<Vec<(String, bool)>> {
        let ignored = self.list(&["--ignored"])?;
        let all = self.list(&[])?.into_iter().filter(|test| self.only.as_ref().is_none_or(|prefix| test.starts_with(prefix)));
        let ignored = |test: &String| ignored.contains(test) || self.without.iter().any(|prefix| test.starts_with(prefix));
        let mut tests: Vec<_> = all.map(|test| (ignored(&test), test)).map(|(ignored, test)| (test, ignored)).collect();
        if tests.is_empty() {
            return Err(format!("{} has no test to run as {}", self.file.display(), self.name));
        }
        tests.extend(self.afterwards.iter().map(|(name, _)| (name.clone(), false)));
        Ok(tests)
    }

    fn list(&self, arguments: &[&str]) -> Outcome<Vec<String>> {
        let listed = process::Command::new(&self.file).args(["--list", "--format", "terse"]).args(arguments).output();
        let listed = listed.map_err(|error| format!("cannot start {}: {error}", self.file.display()))?;
        let text = String::from_utf8_lossy(&listed.stdout);
        if !listed.status.success() {
            return Err(format!("{} does not list its tests: {}", self.file.display(), String::from_utf8_lossy(&listed.stderr)));
        }
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }
}

/// The run of a program on one machine.
pub(crate) struct Run {
    program: Program,
    /// What there is, and whether each is ignored.
    pub(crate) tests: Vec<(String, bool)>,
    kind: Kind,
    boot: Box<dyn Fn() -> Machine + Send + Sync>,
    /// The tests that the command line selects.
    selected: OnceLock<Vec<String>>,
    results: OnceLock<Results>,
}

type Results = HashMap<String, Result<String, String>>;

impl Run {
    pub(crate) fn new(
        program: Program,
        tests: Vec<(String, bool)>,
        kind: Kind,
        boot: impl Fn() -> Machine + Send + Sync + 'static,
    ) -> Self {
        Self { program, tests, kind, boot: Box::new(boot), selected: OnceLock::new(), results: OnceLock::new() }
    }

    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.kind, self.program.name)
    }

    /// Says which tests will be asked for.
    pub(crate) fn select(&self, tests: Vec<String>) {
        let _ = self.selected.set(tests);
    }

    /// What one of its tests printed, or why it failed. The first that is asked for runs them all.
    pub(crate) fn result(&self, test: &str) -> Result<String, String> {
        let results = self.results.get_or_init(|| {
            let run = panic::catch_unwind(AssertUnwindSafe(|| self.run()));
            run.unwrap_or_else(|cause| {
                let all = self.selected.get().into_iter().flatten();
                all.map(|test| (test.clone(), Err(message(&*cause)))).collect()
            })
        });
        results.get(test).cloned().unwrap_or_else(|| Err("it was not run".to_owned()))
    }

    fn run(&self) -> Results {
        let program = &self.program;
        let machine = (self.boot)();
        machine.copy_program(&program.file, PROGRAM);
        let (after, inner): (Vec<_>, Vec<_>) = self
            .selected
            .get()
            .into_iter()
            .flatten()
            .cloned()
            .partition(|test| program.afterwards.iter().any(|(name, _)| name == test));
        let mut results = Results::new();
        if !inner.is_empty() {
            let (text, reason) = self.run_inside(&machine, &inner);
            let mut read = read(&text);
            results.extend(inner.into_iter().map(|test| {
                let result = read.remove(&test).unwrap_or_else(|| Err(reason.clone()));
                (test, result)
            }));
        }
        for (name, check) in program.afterwards.iter().filter(|(name, _)| after.contains(name)) {
            let checked = panic::catch_unwind(AssertUnwindSafe(|| check(&machine)));
            results.insert(name.clone(), checked.map(|()| String::new()).map_err(|cause| message(&*cause)));
        }
        if results.values().any(Result::is_err) {
            machine.keep_evidence(&self.label());
        }
        results
    }

    /// What the program prints, and why some of its tests may have no result.
    fn run_inside(&self, machine: &Machine, tests: &[String]) -> (String, String) {
        let mut argv = vec![PROGRAM, "--include-ignored", "--show-output", "--color=never", "--exact"];
        argv.extend(tests.iter().map(String::as_str));
        let mut command = machine.command(&argv).env("RUST_TEST_THREADS", THREADS);
        for (name, value) in &self.program.environment {
            command = command.env(name, value);
        }
        if let Some(user) = &self.program.manager {
            command = command.in_manager_of(user);
        }
        let mut running = match command.try_spawn() {
            Ok(running) => running,
            Err(sentence) => return (String::new(), sentence),
        };
        let (mut text, begun) = (String::new(), Instant::now());
        // Not until the command has ended: one whose tests restart bus and manager may never hear of it.
        let reason = loop {
            match running.try_line(LIMIT.saturating_sub(begun.elapsed())) {
                Ok(Some(line)) => {
                    text += &line;
                    text.push('\n');
                    if line.starts_with(LAST) {
                        break "it said nothing of this test".to_owned();
                    }
                }
                Ok(None) => break format!("the program ended before its time\n{}", running.errors()),
                Err(sentence) => break sentence,
            }
        };
        (text, reason)
    }
}

/// The results in what a test program printed with `--show-output`.
fn read(text: &str) -> Results {
    let mut said: HashMap<&str, String> = HashMap::new();
    let mut verdicts = Vec::new();
    let mut speaker = None;
    for line in text.lines() {
        let heading = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----"));
        if heading.is_some() || ["failures:", "successes:"].contains(&line) {
            speaker = heading;
        } else if let Some(test) = speaker {
            let told = said.entry(test).or_default();
            told.push_str(line);
            told.push('\n');
        } else if let Some((test, verdict)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) {
            verdicts.push((test, verdict));
        }
    }
    let result = |(test, verdict): (&str, &str)| {
        let told = said.get(test).map(|told| told.trim().to_owned()).unwrap_or_default();
        let result = match verdict {
            "ok" => Ok(told),
            "FAILED" => Err(told),
            other => Err(format!("its result is {other}\n{told}")),
        };
        (test.to_owned(), result)
    };
    verdicts.into_iter().map(result).collect()
}

#[cfg(test)]
mod checks {
    use super::*;

    const PRINTED: &str = "
running 3 tests
test end::obeys ... ok
test end::ignores ... FAILED
test measured ... ok

successes:

---- measured stdout ----
48 launches


successes:
    end::obeys
    measured

failures:

---- end::ignores stdout ----

thread 'end::ignores' panicked at tests/end.rs:7:5:
left: 1
test result: not this one

note: run with `RUST_BACKTRACE=1`


failures:
    end::ignores

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";

    #[test]
    fn each_test_has_its_own_verdict_and_words() {
        let results = read(PRINTED);
        assert_eq!(results.len(), 3);
        assert_eq!(results["end::obeys"], Ok(String::new()));
        assert_eq!(results["measured"], Ok("48 launches".to_owned()));
        let reason = results["end::ignores"].clone().unwrap_err();
        assert!(reason.starts_with("thread 'end::ignores' panicked") && reason.ends_with("RUST_BACKTRACE=1`"), "{reason}");
    }

    #[test]
    fn a_run_that_was_cut_off_keeps_what_it_knows() {
        let results = read("running 2 tests\ntest one ... ok\ntest two has been running for over 60 seconds\n");
        assert_eq!(results, HashMap::from([("one".to_owned(), Ok(String::new()))]));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let sentence = Program::new("root", "/no/such/program").tests().unwrap_err();
        assert!(sentence.starts_with("cannot start /no/such/program: "), "{sentence}");
    }
}
