//! One booted machine.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::container::Container;
use crate::emulated::Emulated;
use crate::recorded_disk::RecordedDisk;
use crate::running::Process;
use crate::scratch::Scratch;
use crate::{Command, Kind, Outcome, Output, host, required};

/// A booted Debian with systemd, for the test that made it alone. Dropping it ends it, and when that happens in
/// a panic, its journal and console are kept first.
pub struct Machine {
    kind: Kind,
    test: String,
    boot_time: Duration,
    units: AtomicU32,
    managers: Mutex<HashMap<String, u32>>,
    // In this order: the machine must have ended before its folder goes.
    backend: Box<dyn Backend>,
    scratch: Scratch,
}

impl Machine {
    /// Boots one. The first of its kind on a host builds what it starts from, which takes some minutes.
    #[track_caller]
    pub fn boot(kind: Kind) -> Self {
        let name = thread::current().name().unwrap_or("machine").to_owned();
        Self::boot_for(kind, &name)
    }

    /// Boots one for the test of that name, under which journal and console are kept if it fails.
    #[track_caller]
    pub fn boot_for(kind: Kind, test: &str) -> Self {
        required(Self::try_boot(kind, test))
    }

    fn try_boot(kind: Kind, test: &str) -> Outcome<Self> {
        host::check(kind)?;
        let scratch = Scratch::create()?;
        let (backend, start): (Box<dyn Backend>, _) = match kind {
            Kind::Container(_) => {
                let container = Container::new(kind, &scratch)?;
                let start = Instant::now();
                container.power_on()?;
                (Box::new(container), start)
            }
            Kind::Emulated(_) => {
                let emulated = Emulated::new(kind, &scratch)?;
                let start = Instant::now();
                emulated.resume()?;
                (Box::new(emulated), start)
            }
        };
        let mut machine = Self {
            kind,
            test: test.to_owned(),
            boot_time: Duration::ZERO,
            units: AtomicU32::new(0),
            managers: Mutex::default(),
            backend,
            scratch,
        };
        machine.expect_running()?;
        machine.boot_time = start.elapsed();
        Ok(machine)
    }

    /// Which it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How long it took from its start until systemd said that it is running.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// A command to be run inside as root, which can be told more before it is run.
    pub fn command<S: AsRef<str>>(&self, argv: &[S]) -> Command<'_> {
        Command::new(self, argv)
    }

    /// Runs a command inside as root, to its end, whatever its status.
    #[track_caller]
    pub fn run<S: AsRef<str>>(&self, argv: &[S]) -> Output {
        self.command(argv).run()
    }

    /// Runs a shell script inside as root, to its end, whatever its status.
    #[track_caller]
    pub fn shell(&self, script: &str) -> Output {
        self.run(&["bash", "-c", script])
    }

    /// Runs a command in the own service manager of a user: `alice` and `bob` are there.
    #[track_caller]
    pub fn user_run<S: AsRef<str>>(&self, user: &str, argv: &[S]) -> Output {
        self.command(argv).in_manager_of(user).run()
    }

    /// What `journalctl` answers with those arguments besides.
    #[track_caller]
    pub fn journal<S: AsRef<str>>(&self, arguments: &[S]) -> String {
        let mut argv = vec!["journalctl", "--no-pager", "--quiet"];
        argv.extend(arguments.iter().map(AsRef::as_ref));
        // What was written just before shall be there.
        required(self.bare(&["journalctl", "--sync"], Duration::from_secs(30)));
        self.run(&argv).success().text()
    }

    /// The major version of systemd inside, asked of systemd itself.
    #[track_caller]
    pub fn systemd_version(&self) -> u32 {
        let output = self.run(&["systemctl", "--version"]).success();
        let version = output.text().split_whitespace().nth(1).and_then(|word| word.parse().ok());
        required(version.ok_or_else(|| format!("systemctl --version gives no version: {output:?}")))
    }

    /// Really boots anew, and returns when systemd says that it is running. The disk stays what it is.
    #[track_caller]
    pub fn reboot(&self) {
        self.managers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // The answer may be cut off by what was asked for.
        let _ = self.bare(&["systemctl", "--no-block", "reboot"], Duration::from_secs(20));
        required(self.backend.wait_rebooted().and_then(|()| self.expect_running()));
    }

    /// Shuts down in good order and returns when it is off.
    #[track_caller]
    pub fn power_off(&self) {
        let _ = self.bare(&["systemctl", "--no-block", "poweroff"], Duration::from_secs(20));
        let off = self.backend.wait_off(self.stretched(Duration::from_secs(60)));
        self.backend.cut_power();
        assert!(off, "{} did not shut down; its console: {}", self.kind, self.console());
    }

    /// As if the plug were pulled: nothing inside has a chance to do anything. What an emulated machine had not yet flushed to
    /// its disk is lost; a container has no disk of its own and keeps all.
    pub fn cut_power(&self) {
        self.backend.cut_power();
    }

    /// Boots again after [`Machine::power_off`] or [`Machine::cut_power`], with the disk as it was then.
    #[track_caller]
    pub fn power_on(&self) {
        self.managers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        required(self.backend.power_on().and_then(|()| self.expect_running()));
    }

    /// Gives an emulated machine one more disk, on which is what is in the file `image` of the host, as
    /// `/dev/disk/by-id/virtio-recorded`. What is written to it is recorded, so that a test can look at what a power cut would
    /// have left at any moment. It is there until the machine is off.
    #[track_caller]
    pub fn attach(&self, image: &Path) -> RecordedDisk {
        required(self.backend.attach(image))
    }

    /// The folder of the host that is this machine's while it lives.
    pub fn folder(&self) -> &Path {
        &self.scratch.path
    }

    /// What the machine has written to its console since it was made.
    pub fn console(&self) -> String {
        std::fs::read(self.scratch.console()).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Keeps journal and console of a failed test and says where.
    pub fn keep_evidence(&self, test: &str) {
        let journal = self.bare(&["journalctl", "--no-pager", "--output=short-precise"], Duration::from_secs(30));
        let journal = journal.map_or_else(|sentence| sentence, |output| output.text());
        match self.scratch.keep(test, &journal) {
            Ok(kept) => eprintln!("journal and console of {}: {}", self.kind, kept.display()),
            Err(sentence) => eprintln!("{sentence}"),
        }
    }

    fn expect_running(&self) -> Outcome<()> {
        let output = self.bare(&["systemctl", "is-system-running", "--wait"], Duration::from_secs(60))?;
        if output.text() == "running" {
            return Ok(());
        }
        let failed = self.bare(&["systemctl", "--failed", "--no-pager", "--plain"], Duration::from_secs(30))?;
        Err(format!("{} did not come up well: {output:?}\n{}", self.kind, failed.text()))
    }

    /// The number of a user whose manager runs from now on until the machine ends.
    pub(crate) fn manager_of(&self, user: &str) -> Outcome<u32> {
        let mut managers = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(uid) = managers.get(user) {
            return Ok(*uid);
        }
        let output = self.command(&["id", "-u", user]).try_run()?;
        let uid: u32 = output.text().parse().map_err(|_| format!("there is no user {user}: {output:?}"))?;
        // A start of the unit returns when the manager is ready; lingering keeps it.
        let unit = format!("user@{uid}.service");
        for argv in [["loginctl", "enable-linger", user], ["systemctl", "start", &unit]] {
            // In a unit of its own: 257 answers nobody who is in no cgroup that it knows.
            let output = self.command(&argv).try_run()?;
            if output.status != 0 {
                return Err(format!("the manager of {user} does not start: {output:?}"));
            }
        }
        managers.insert(user.to_owned(), uid);
        Ok(uid)
    }

    /// Runs a command outside of any unit of its own: for what the harness itself wants to know.
    pub(crate) fn bare<S: AsRef<str>>(&self, argv: &[S], limit: Duration) -> Outcome<Output> {
        let argv: Vec<String> = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        let process = self.start(&argv)?;
        let Process { input, mut output, mut errors, exit } = process;
        drop(input);
        let read = |stream: &mut dyn std::io::Read| {
            let mut content = Vec::new();
            let _ = stream.read_to_end(&mut content);
            content
        };
        let output = thread::spawn(move || read(&mut *output));
        let errors = thread::spawn(move || read(&mut *errors));
        let command = argv.join(" ");
        let status = exit.recv_timeout(self.stretched(limit)).map_err(|_| format!("{command}: not ended within {limit:?}"))?;
        let (stdout, stderr) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
        Ok(Output { command, status, stdout, stderr })
    }

    pub(crate) fn start(&self, argv: &[String]) -> Outcome<Process> {
        self.backend.start(argv)
    }

    /// A time limit as it is meant on this make of machine.
    pub(crate) fn stretched(&self, limit: Duration) -> Duration {
        limit * self.backend.patience()
    }

    pub(crate) fn new_unit(&self) -> String {
        format!("test-{}.service", self.units.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.kind, self.test)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep_evidence(&self.test);
        }
        self.backend.cut_power();
    }
}
