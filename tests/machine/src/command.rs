//! Commands to run inside a machine, each in a transient unit of its own as anything that systemd starts.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::{Machine, Outcome, Running, required};

/// How long a command may take unless it says otherwise; more on an emulated machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How a command ended and what it wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// Its exit status; 255 when a signal ended it; -1 when the machine went away meanwhile.
    pub status: i32,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Fails the test unless the command succeeded.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status == 0, "{self:?}");
        self
    }

    /// Standard output without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Standard error without white space around it.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: status {}\noutput: {}\nerrors: {}", self.command, self.status, self.text(), self.errors())
    }
}

/// A command to be run inside a machine; see [`Machine::command`].
#[must_use]
pub struct Command<'a> {
    machine: &'a Machine,
    argv: Vec<String>,
    user: Option<String>,
    in_manager: bool,
    environment: Vec<(String, String)>,
    properties: Vec<String>,
    input: Vec<u8>,
    limit: Duration,
}

impl<'a> Command<'a> {
    pub(crate) fn new<S: AsRef<str>>(machine: &'a Machine, argv: &[S]) -> Self {
        Self {
            machine,
            argv: argv.iter().map(|word| word.as_ref().to_owned()).collect(),
            user: None,
            in_manager: false,
            environment: Vec::new(),
            properties: Vec::new(),
            input: Vec::new(),
            limit: LIMIT,
        }
    }

    /// Run it as that user, in a service of the system manager.
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Run it as that user, in a service of the user's own manager, which lingers from then on.
    pub fn in_manager_of(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self.in_manager = true;
        self
    }

    /// Set an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Set a property of its unit, such as `MemoryMax=64M`.
    pub fn property(mut self, assignment: &str) -> Self {
        self.properties.push(assignment.to_owned());
        self
    }

    /// What it reads from its standard input, which is empty otherwise.
    pub fn input(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.input = content.into();
        self
    }

    /// How long it may take, counted ten times on an emulated machine; a minute otherwise.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end. It fails the test when that does not come in time.
    #[track_caller]
    pub fn run(self) -> Output {
        required(self.try_run())
    }

    pub(crate) fn try_run(mut self) -> Outcome<Output> {
        let limit = self.limit;
        let input = std::mem::take(&mut self.input);
        let mut running = self.try_spawn()?;
        running.feed(input);
        running.finish(limit)
    }

    /// Starts it, with its standard input left open and [`Command::input`] written to it.
    #[track_caller]
    pub fn spawn(mut self) -> Running<'a> {
        let input = std::mem::take(&mut self.input);
        let mut running = required(self.try_spawn());
        if !input.is_empty() {
            running.write(&input);
        }
        running
    }

    pub(crate) fn try_spawn(self) -> Outcome<Running<'a>> {
        let unit = self.machine.new_unit();
        let argv = self.systemd_run(&unit)?;
        let process = self.machine.start(&argv)?;
        Ok(Running::new(self.machine, self.argv.join(" "), unit, process))
    }

    /// The call of `systemd-run` that runs the command in that unit.
    fn systemd_run(&self, unit: &str) -> Outcome<Vec<String>> {
        let mut inner = self.argv.clone();
        let mut outer = transient(unit);
        let mut environment = self.environment.clone();
        let mut properties = &self.properties;
        if let Some(user) = &self.user {
            outer.push(format!("--uid={user}"));
        } else {
            environment.insert(0, ("HOME".into(), "/root".into()));
        }
        if let (true, Some(user)) = (self.in_manager, &self.user) {
            let uid = self.machine.manager_of(user)?;
            let mut nested = transient(unit);
            nested.insert(1, "--user".into());
            add(&mut nested, &environment, properties);
            nested.push("--".into());
            nested.extend(inner.iter().map(|word| escape(word)));
            inner = nested;
            environment = vec![
                ("XDG_RUNTIME_DIR".into(), format!("/run/user/{uid}")),
                ("DBUS_SESSION_BUS_ADDRESS".into(), format!("unix:path=/run/user/{uid}/bus")),
            ];
            properties = const { &Vec::new() };
        }
        add(&mut outer, &environment, properties);
        outer.push("--".into());
        outer.extend(inner.iter().map(|word| escape(word)));
        Ok(outer)
    }
}

fn transient(unit: &str) -> Vec<String> {
    let mut argv: Vec<String> = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect"].map(String::from).into();
    argv.push(format!("--unit={unit}"));
    argv
}

fn add(argv: &mut Vec<String>, environment: &[(String, String)], properties: &[String]) {
    for (name, value) in environment {
        argv.push(format!("--setenv={name}={value}"));
    }
    for property in properties {
        argv.push(format!("--property={property}"));
    }
}

/// systemd would put variables of the unit's environment in place of their names; a test means what it says.
fn escape(word: &str) -> String {
    word.replace('$', "$$")
}

impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.argv.join(" "))?;
        if let Some(user) = &self.user {
            f.write_str(" as ")?;
            f.write_str(user)?;
        }
        f.write_char('.')
    }
}
