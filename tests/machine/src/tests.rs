//! The `main` of a test file whose tests run on machines.
//!
//! ```no_run
//! use shmooze_test_machine::{Kind, Machine, Tests};
//!
//! fn stops(machine: &Machine) {
//!     machine.run(&["systemctl", "stop", "dbus.service"]).success();
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Tests::new()
//!         .each(Kind::CONTAINERS, "stops", stops)
//!         .inside(Kind::CONTAINERS, "is root", || assert_eq!(std::env::var("HOME").as_deref(), Ok("/root")))
//!         .main()
//! }
//! ```
//!
//! In `Cargo.toml` such a test file has `harness = false`.

use std::collections::HashMap;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::program::Run;
use crate::{Kind, Machine, Program, host, required};

/// Names the test that this process is to run because it is inside a machine.
const INSIDE: &str = "SHMOOZE_TEST_INSIDE";

/// Where a test program is inside a machine. Nothing may be executed in `/run` of a real one.
pub(crate) const PROGRAM: &str = "/opt/shmooze-test/program";

/// How long a test that runs inside may take.
const LIMIT: Duration = Duration::from_secs(900);

pub(crate) type OnMachine = Arc<dyn Fn(&Machine) + Send + Sync>;

/// The tests of one file. Each runs once for each kind of machine that it names, as `KIND/NAME`.
#[derive(Default)]
pub struct Tests {
    trials: Vec<Trial>,
    prepare: Option<OnMachine>,
    inside: HashMap<String, fn()>,
    runs: Vec<Arc<Run>>,
    shared: Arc<Shared>,
}

impl Tests {
    /// No test yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be done to every machine after it has booted, such as copying programs in. It holds for the tests that are
    /// added after it.
    #[must_use]
    pub fn prepare(mut self, prepare: impl Fn(&Machine) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Arc::new(prepare));
        self
    }

    /// A test that gets a fresh machine.
    #[must_use]
    pub fn each(mut self, kinds: &[Kind], name: &str, test: impl Fn(&Machine) + Send + Sync + 'static) -> Self {
        let test = Arc::new(test);
        for kind in kinds {
            let (test, fresh) = (test.clone(), self.fresh(*kind, name));
            self.add(kind, name, move || test(&fresh()));
        }
        self
    }

    /// A test that shares one machine of its kind with all others that are added so, possibly at the same time: for emulated
    /// machines, which are slow. It must clean up after itself.
    #[must_use]
    pub fn shared(mut self, kinds: &[Kind], name: &str, test: impl Fn(&Machine) + Send + Sync + 'static) -> Self {
        let test = Arc::new(test);
        for kind in kinds {
            let (test, fresh, shared) = (test.clone(), self.fresh(*kind, "shared"), self.shared.clone());
            let (kind, label) = (*kind, format!("{kind}/{name}"));
            self.add(&kind, name, move || {
                let place = shared.place(kind);
                let machine = place.get_or_init(fresh);
                if let Err(cause) = panic::catch_unwind(AssertUnwindSafe(|| test(machine))) {
                    machine.keep_evidence(&label);
                    panic::resume_unwind(cause);
                }
            });
        }
        self
    }

    /// A test whose code runs as root inside a fresh machine: this very program is copied in and told which test to run.
    #[must_use]
    pub fn inside(mut self, kinds: &[Kind], name: &str, test: fn()) -> Self {
        self.inside.insert(name.to_owned(), test);
        for kind in kinds {
            let (fresh, test_name) = (self.fresh(*kind, name), name.to_owned());
            self.add(kind, name, move || {
                let machine = fresh();
                let program = env::current_exe().unwrap_or_else(|error| panic!("where is this test program? {error}"));
                machine.copy_program(program, PROGRAM);
                let output = machine.command(&[PROGRAM]).env(INSIDE, &test_name).within(LIMIT).run();
                print!("{}", output.text());
                assert!(output.status == 0, "inside {}: status {}: {}", machine.kind(), output.status, output.errors());
            });
        }
        self
    }

    /// All tests of a test program, which runs once on a machine of each kind: `KIND/NAME/TEST`. Beside it, in
    /// `/opt/shmooze-test`, is the place for what it needs. It fails where the program cannot be started on the host too.
    #[must_use]
    #[track_caller]
    pub fn program(mut self, kinds: &[Kind], program: &Program) -> Self {
        let tests = required(program.tests());
        for kind in kinds {
            let boot = self.fresh(*kind, program.name());
            self.runs.push(Arc::new(Run::new(program.clone(), tests.clone(), *kind, boot)));
        }
        self
    }

    /// A test of the host, to which a machine may be only a part of what it is about. It is skipped together with the others.
    #[must_use]
    pub fn host(mut self, name: &str, test: impl FnOnce() + Send + 'static) -> Self {
        self.add(&"host", name, test);
        self
    }

    /// Runs the tests that the command line selects, as any test program does.
    pub fn main(mut self) -> ExitCode {
        if let Ok(name) = env::var(INSIDE) {
            let Some(test) = self.inside.get(&name) else {
                eprintln!("there is no test {name} to run inside a machine");
                return ExitCode::FAILURE;
            };
            // A panic ends this process with status 101 and its message on standard error.
            test();
            return ExitCode::SUCCESS;
        }
        if host::skip() {
            eprintln!("{}: the machine tests are skipped, counted as ignored", host::SKIP);
        }
        let arguments = Arguments::from_args();
        self.add_runs(&arguments);
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        self.shared.end();
        conclusion.exit_code()
    }

    fn fresh(&self, kind: Kind, name: &str) -> impl Fn() -> Machine + Send + use<> {
        let (prepare, label) = (self.prepare.clone(), format!("{kind}/{name}"));
        move || {
            let machine = Machine::boot_for(kind, &label);
            if let Some(prepare) = &prepare {
                prepare(&machine);
            }
            machine
        }
    }

    /// Makes trials of the tests of all programs: in turns, so that different machines run at the same time.
    fn add_runs(&mut self, arguments: &Arguments) {
        let mut columns: Vec<Vec<Trial>> = Vec::new();
        for run in std::mem::take(&mut self.runs) {
            let selected = |(test, ignored): &(String, bool)| selects(arguments, &format!("{}/{test}", run.label()), *ignored);
            run.select(run.tests.iter().filter(|test| selected(test)).map(|(test, _)| test.clone()).collect());
            let trial = |(test, ignored): (String, bool)| {
                let (run, label) = (run.clone(), format!("{}/{test}", run.label()));
                let told = label.clone();
                let trial = Trial::test(label, move || {
                    let said = run.result(&test)?;
                    said.lines().for_each(|line| println!("{told}: {line}"));
                    Ok(())
                });
                trial.with_ignored_flag(ignored || host::skip())
            };
            columns.push(run.tests.iter().cloned().map(trial).rev().collect());
        }
        while columns.iter().any(|column| !column.is_empty()) {
            self.trials.extend(columns.iter_mut().filter_map(Vec::pop));
        }
    }

    fn add(&mut self, place: &impl ToString, name: &str, test: impl FnOnce() + Send + 'static) {
        let label = format!("{}/{name}", place.to_string());
        let run = move || match panic::catch_unwind(AssertUnwindSafe(test)) {
            Ok(()) => Ok(()),
            Err(cause) => Err(Failed::from(message(&*cause))),
        };
        self.trials.push(Trial::test(label, run).with_ignored_flag(host::skip()));
    }
}

/// Whether the command line asks for that test.
fn selects(arguments: &Arguments, label: &str, ignored: bool) -> bool {
    let matches = |filter: &String| if arguments.exact { label == filter } else { label.contains(filter.as_str()) };
    arguments.filter.as_ref().is_none_or(matches)
        && !arguments.skip.iter().any(matches)
        && (arguments.include_ignored || arguments.ignored == ignored)
}

/// What a panic said.
pub(crate) fn message(cause: &(dyn std::any::Any + Send)) -> String {
    let said = cause.downcast_ref::<String>().cloned();
    said.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "the test panicked".into())
}

/// The machines that several tests use, booted for the first that asks.
#[derive(Default)]
struct Shared {
    machines: Mutex<HashMap<Kind, Arc<OnceLock<Machine>>>>,
}

impl Shared {
    /// The place of that kind's machine. Only those who want the same kind wait while it boots.
    fn place(&self, kind: Kind) -> Arc<OnceLock<Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().clone()
    }

    fn end(&self) {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
