//! The task of one module, from its launch to the end of its last process.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::conversation::Conversation;
use super::door::Door;
use super::ending::Progress;
use super::notes::Notes;
use super::ports::{Ports, Streams};
use super::{Cause, Direct, Ending, Event, Handle, Parameters, Process, Reached, Tell};
use crate::engine::{Restarts, Told};
use crate::handover::{self, Born, Change, Keeper, Kept, Place, Report};
use crate::journal::Witness;
use crate::launcher::{Launch, LaunchError, Launcher, TypeName};
use crate::protocol::{ProtocolError, Raw, Uid};
use crate::record::Record;
use crate::scope::{Exit, Launched, State};
use crate::settings::Timeouts;

/// Orders that may wait for the command stream: one that the engine waits for, one that it no longer does, and a
/// termination.
const DIRECT_CAPACITY: usize = 4;
/// Tells that may wait for the command stream; a client beyond that waits for room.
const TELL_CAPACITY: usize = 16;

/// Everything a new module is made of.
#[derive(Debug, Clone)]
pub struct Birth {
    /// Its identifier.
    pub uid: Uid,
    /// Name of the service.
    pub service: Arc<str>,
    /// Name of its type.
    pub type_name: Arc<str>,
    /// Whether the type is one of the backgrounds.
    pub background: bool,
    /// When it is added.
    pub added: SystemTime,
    /// What `init` is sent.
    pub args: Option<Raw>,
    /// How long its steps may take.
    pub timeouts: Timeouts,
    /// Longest line taken from it, in bytes.
    pub max_line_bytes: usize,
    /// How it was started again until now.
    pub restarts: Restarts,
    /// What is shown as its parameters until it announces any, where it was launched before: the text of an object.
    pub last_parameters: Option<Arc<str>>,
}

impl Birth {
    /// As it was written down.
    pub(crate) fn of(born: Born, service: Arc<str>, max_line_bytes: usize) -> Self {
        let Born { uid, type_name, background, args, timeouts, added, restarts } = born;
        let (added, last_parameters) = (handover::time(added), None);
        let type_name = type_name.into();
        Self { uid, service, type_name, background, added, args, timeouts, max_line_bytes, restarts, last_parameters }
    }

    /// To be written down.
    pub(crate) fn born(&self) -> Born {
        Born {
            uid: self.uid,
            type_name: self.type_name.to_string(),
            background: self.background,
            args: self.args.clone(),
            timeouts: self.timeouts,
            added: handover::milliseconds(self.added),
            restarts: self.restarts.clone(),
        }
    }
}

/// Begins a module's life. Its events go to `events`, its commands and updates into `record`, what another process needs to
/// go on with it to `keeper`.
#[must_use]
pub fn spawn(birth: Birth, launcher: Arc<dyn Launcher>, record: Record, keeper: Keeper, events: mpsc::Sender<Event>) -> Handle {
    let told = (Told::Nothing, birth.added);
    let parameters = match &birth.last_parameters {
        Some(last) => Parameters::of_before(last),
        None => Parameters::begin(birth.restarts.count(), []),
    };
    let (task, handle, tells) = Task::new(birth, parameters, told, launcher, record, keeper, events);
    tokio::spawn(task.live(tells));
    handle
}

/// The handle of a module that has ended and waits to be started again: whoever wants something of it hears that it is closed.
pub(crate) fn dead(birth: Birth, launcher: Arc<dyn Launcher>) -> Handle {
    let (told, events) = ((Told::Nothing, birth.added), mpsc::channel(1).0);
    let parameters = Parameters::begin(birth.restarts.count(), []);
    let (_, handle, _) = Task::new(birth, parameters, told, launcher, Record::off(), Keeper::off(), events);
    handle
}

pub(super) struct Task {
    pub(super) birth: Arc<Birth>,
    pub(super) launcher: Arc<dyn Launcher>,
    pub(super) record: Record,
    pub(super) keeper: Keeper,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) parameters: Arc<Parameters>,
    pub(super) witness: Witness,
    pub(super) process: Arc<OnceLock<Process>>,
    progress: Arc<Progress>,
    pub(super) directed: mpsc::Receiver<Direct>,
}

/// Why a module did not get as far as `init`.
struct NotStarted {
    error: ProtocolError,
    cause: Cause,
    /// Whatever runs of it.
    launched: Option<Launched>,
}

impl Task {
    /// The task of a module, its handle, and what clients will want of it; `told` is what it was told last, and when.
    pub(super) fn new(
        birth: Birth,
        parameters: Parameters,
        told: (Told, SystemTime),
        launcher: Arc<dyn Launcher>,
        record: Record,
        keeper: Keeper,
        events: mpsc::Sender<Event>,
    ) -> (Self, Handle, mpsc::Receiver<Tell>) {
        // Charts and play counts are made of the log: what a background is told and says has never been in it.
        let record = if birth.background { Record::off() } else { record };
        let (direct, directed) = mpsc::channel(DIRECT_CAPACITY);
        let (tells, wanted) = mpsc::channel(TELL_CAPACITY);
        let parameters = Arc::new(parameters);
        let birth = Arc::new(birth);
        let witness = Witness::new(Arc::clone(&birth.service), birth.uid, Arc::clone(&birth.type_name));
        let process = Arc::default();
        let progress = Arc::default();
        let handle = Handle {
            birth: Arc::clone(&birth),
            parameters: Arc::clone(&parameters),
            witness: witness.clone(),
            process: Arc::clone(&process),
            told: Arc::new(Mutex::new(told)),
            has_been_listed: Arc::default(),
            progress: Arc::clone(&progress),
            direct,
            tells,
        };
        (Self { birth, launcher, record, keeper, events, parameters, witness, process, progress, directed }, handle, wanted)
    }

    async fn live(mut self, told: mpsc::Receiver<Tell>) {
        let uid = self.birth.uid;
        let (launched, cause) = match self.connect().await {
            Ok((launched, streams)) => {
                let kept = self.keep(&streams).await;
                // Who is not kept is not written about either.
                let notes = if kept.is_some() { self.notes() } else { Notes::none(uid) };
                let conversation = Conversation::new(
                    streams,
                    self.birth.timeouts.command,
                    self.birth.max_line_bytes,
                    &self.parameters,
                    &self.record,
                    &self.events,
                    notes,
                );
                let cause = conversation.hold(self.birth.args.as_deref(), &mut self.directed, told).await;
                kept.into_iter().for_each(|kept| self.keeper.give_up(kept.number));
                (Some(launched), cause)
            }
            Err(NotStarted { error, cause, launched }) => {
                self.notes().write([Change::Ending(cause.name().to_owned()), Change::Report(Report::Started(false))]);
                let _ = self.events.send(Event::Started { uid, result: Err(error) }).await;
                (launched, cause)
            }
        };
        let ending = match launched {
            Some(launched) => self.end(launched, cause).await,
            None => Ending { cause, reached: Reached::Exit, exit: None, exceeded: None },
        };
        ending.tell(&self.witness);
        let _ = self.events.send(Event::Gone { uid, ending }).await;
    }

    pub(super) fn notes(&self) -> Notes {
        Notes::new(self.birth.uid, self.keeper.clone())
    }

    /// Has the streams kept, before anybody is told that there is a module.
    async fn keep(&self, streams: &Streams) -> Option<Kept> {
        let number = self.keeper.push(&streams.command, &streams.update).await?;
        let command_port = streams.command.local_addr().map_or(0, |address| address.port());
        let kept = Kept { number, command_port };
        self.notes().write([Change::Connected(kept)]);
        Some(kept)
    }

    /// Launches and waits for both streams.
    async fn connect(&mut self) -> Result<(Launched, Streams), NotStarted> {
        let deadline = Instant::now() + self.birth.timeouts.connect;
        let not_started = |error| NotStarted { error, cause: Cause::NotConnected, launched: None };
        let said = |error: &dyn std::fmt::Display| not_started(ProtocolError::Said(format!("Could not start module: {error}")));
        let ports = Ports::bind().await.map_err(|error| said(&error))?;
        let launch = Launch {
            module_type: TypeName {
                service: self.birth.service.to_string(),
                background: self.birth.background,
                name: self.birth.type_name.to_string(),
            },
            uid: self.birth.uid,
            command_port: ports.command(),
            update_port: ports.update(),
        };
        let launcher = Arc::clone(&self.launcher);
        let asked = Instant::now();
        let mut launching = launcher.launch(launch);
        let (launched, is_late) = match timeout_at(deadline, &mut launching).await {
            Ok(launched) => (launched, false),
            Err(_) => (launching.await, true),
        };
        let launched = launched.map_err(|error: LaunchError| said(&error))?;
        let (pid, cgroup) = (launched.pid, launched.cgroup.clone());
        // Set here alone.
        let _ = self.process.set(Process { pid, cgroup, launch: Some(asked.elapsed()) });
        if is_late {
            // It cannot be called back: whatever comes of it is ended like any other module.
            return Err(NotStarted { launched: Some(launched), ..not_started(ProtocolError::NotConnected) });
        }
        self.notes().write([Change::Launched(Place { pid: launched.pid, cgroup: launched.cgroup.clone() })]);
        let door = Arc::new(Door::new(self.birth.uid, self.witness.clone(), &launched));
        let mut state = launched.state.clone();
        // A program that ended well may have left a daemon that connects yet; one that failed has not.
        let failed = state.wait_for(|state| !matches!(state, State::Running | State::Exited(Exit::Status(0))));
        let cause = tokio::select! {
            accepted = timeout_at(deadline, ports.accept(&door)) => match accepted {
                Ok(Ok(streams)) => return Ok((launched, streams)),
                Ok(Err(error)) => {
                    tracing::warn!(uid = %self.birth.uid, "module {}: its connection could not be taken: {error}", self.birth.uid.short());
                    Cause::NotConnected
                }
                Err(_) => Cause::NotConnected,
            },
            _ = failed => Cause::NotConnected,
            cause = terminated(&mut self.directed) => cause,
        };
        Err(NotStarted { error: ProtocolError::NotConnected, cause, launched: Some(launched) })
    }

    /// The streams are closed: wait for the processes, then stop them (protocol.md section 6).
    pub(super) async fn end(&self, launched: Launched, cause: Cause) -> Ending {
        let uid = self.birth.uid;
        let mut state = launched.state;
        self.progress.begin();
        let by_itself = timeout(self.birth.timeouts.exit, state.wait_for(State::is_gone)).await.is_ok();
        if !by_itself {
            self.progress.stop(self.birth.timeouts.terminate);
            while let Err(error) = self.launcher.stop(uid).await {
                tracing::error!(%uid, "module {} could not be stopped: {error}", uid.short());
                tokio::time::sleep(self.birth.timeouts.terminate).await;
            }
            // The house promises this end, however long its processes take to die.
            let _ = state.wait_for(State::is_gone).await;
        }
        let state = *state.borrow();
        let end = state.end();
        Ending {
            cause,
            reached: end.map_or(Reached::Exit, |end| end.reached),
            exit: state.exit(),
            exceeded: end.and_then(|end| end.exceeded),
        }
    }
}

/// Waits for a termination; orders that come before a module has started have nobody to obey them.
async fn terminated(directed: &mut mpsc::Receiver<Direct>) -> Cause {
    loop {
        match directed.recv().await {
            Some(Direct::Terminate(cause)) => return cause,
            Some(Direct::Order(_)) => {}
            None => return Cause::Drained,
        }
    }
}
