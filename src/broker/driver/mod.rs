//! The driver: the one task that owns the engine and runs its effects.

mod restore;
#[cfg(test)]
mod restore_tests;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::extension::Extension;
use super::limits::Change;
use super::status::{self, Status};
use super::{Board, Configuration};
use crate::engine::{Effect, Engine, Input, Order, Place, Ticket};
use crate::handover::{self, Born, Entry, Keeper, Legacy, Report};
use crate::launcher::{Launcher, TypeName};
use crate::module::{self, Adoption, Birth, Cause, Event, Handle};
use crate::protocol::{ProtocolError, Raw, Uid};
use crate::record::Record;
use crate::scope::State;
use crate::settings::{Lists, Timeouts};
use crate::store::List;
use restore::Restoring;
use stored::Stored;

/// Events that modules may report ahead of the driver; a module beyond that waits for room.
const EVENT_CAPACITY: usize = 256;

/// What the ending of all modules may take beyond that of the slowest.
const GRACE: Duration = Duration::from_secs(5);

type ReplyTo<T> = oneshot::Sender<Result<T, ProtocolError>>;

/// What a client wants changed.
pub(super) enum Message {
    Add {
        type_name: String,
        args: Option<Raw>,
        place: Place,
        reply: ReplyTo<Uid>,
    },
    Remove {
        uids: Vec<Uid>,
        reply: ReplyTo<()>,
    },
    Move {
        uids: Vec<Uid>,
        reply: ReplyTo<()>,
    },
    SetTypes(Arc<Lists>),
    /// The launcher has these modules of the service.
    Listed(Vec<Uid>),
    /// Nothing but an answer: the driver runs.
    Ping {
        reply: ReplyTo<()>,
    },
    Drain {
        done: oneshot::Sender<()>,
    },
}

/// Whom a ticket stands for.
enum Waiting {
    Added(Uid, ReplyTo<Uid>),
    Removed(Vec<Uid>, ReplyTo<()>),
    Moved(ReplyTo<()>),
    /// A module that is launched again.
    Restored(Uid),
    Nobody,
}

pub(super) struct Driver {
    engine: Engine,
    configuration: Configuration,
    launcher: Arc<dyn Launcher>,
    record: Record,
    keeper: Keeper,
    board: Arc<Board>,
    name: Arc<str>,
    /// What modules had reported when the process before broke off.
    unheard: Vec<(Uid, Report)>,
    /// Every module that has a task, until its last process is gone.
    modules: HashMap<Uid, Arc<Handle>>,
    /// What the module that is being added is made of, until the engine wants it launched.
    birth: Option<Birth>,
    waiting: HashMap<Ticket, Waiting>,
    tickets: u64,
    /// Why the module of the current event did not start.
    refusal: Option<ProtocolError>,
    effects: Vec<Effect>,
    events: mpsc::Sender<Event>,
    reported: mpsc::Receiver<Event>,
    drained: Vec<oneshot::Sender<()>>,
    status: Status,
    /// How long the ending of every module may take at most, whichever settings it was started by.
    longest_ending: Duration,
    extension: Option<Extension>,
    stored: Stored,
    restoring: Restoring,
}

impl Driver {
    /// Must be called inside a tokio runtime: the modules of the process before go on.
    pub(super) fn new(
        mut configuration: Configuration,
        launcher: Arc<dyn Launcher>,
        record: Record,
        board: Arc<Board>,
        (keeper, legacy): (Keeper, Option<Legacy>),
    ) -> Self {
        let list = std::mem::take(&mut configuration.stored);
        let stored = Stored::new(configuration.store.clone());
        let (events, reported) = mpsc::channel(EVENT_CAPACITY);
        let status = Status::new(configuration.notifier.clone());
        let longest_ending = longest_ending(&configuration.types);
        let mut driver = Self {
            engine: configuration.kind.engine(),
            name: configuration.name.as_str().into(),
            configuration,
            launcher,
            record,
            keeper,
            board,
            unheard: Vec::new(),
            modules: HashMap::new(),
            birth: None,
            waiting: HashMap::new(),
            tickets: 0,
            refusal: None,
            effects: Vec::new(),
            events,
            reported,
            drained: Vec::new(),
            status,
            longest_ending,
            extension: None,
            stored,
            restoring: Restoring::default(),
        };
        let is_inherited = legacy.as_ref().is_some_and(Legacy::is_inherited);
        driver.restoring.awaits_launcher = legacy.is_some();
        if let Some(legacy) = legacy {
            driver.adopt(legacy, &list);
        }
        driver.take_list(list, is_inherited);
        driver
    }

    /// Goes on where the process before was.
    fn adopt(&mut self, mut legacy: Legacy, list: &List) {
        let state = legacy.take_state(self.configuration.kind.engine());
        self.engine = state.engine;
        self.tickets = state.tickets;
        self.unheard = state.reported.into();
        self.board.history().restore(state.lives);
        for (uid, module) in state.modules {
            let timeouts = &module.born.timeouts;
            self.longest_ending = self.longest_ending.max(longest(timeouts) + GRACE);
            self.stored.born(uid, || stored::of_born(&module.born));
            let last_parameters = list.get(uid).map(|module| Arc::clone(&module.parameters));
            let adoption = Adoption {
                streams: module.kept.and_then(|kept| legacy.take(kept)),
                module,
                last_parameters,
                starting: self.engine.is_starting(uid),
                service: Arc::clone(&self.name),
                max_line_bytes: self.configuration.max_line_bytes,
            };
            let (launcher, record) = (Arc::clone(&self.launcher), self.record.clone());
            let handle = module::adopt(adoption, launcher, record, self.keeper.clone(), self.events.clone());
            self.modules.insert(uid, Arc::new(handle));
        }
        legacy.clear(&self.keeper);
        if !self.modules.is_empty() {
            tracing::info!("{} modules go on where the process before left them", self.modules.len());
        }
        self.board.resume(state.revision);
        self.board.publish(&self.engine, &self.modules, SystemTime::now());
    }

    /// Hears what was said before, in the order in which it was.
    fn hear(&mut self) {
        for (uid, report) in std::mem::take(&mut self.unheard) {
            self.event(match report {
                Report::Started(true) => Event::Started { uid, result: Ok(()) },
                Report::Started(false) => Event::Started { uid, result: Err(ProtocolError::Closed) },
                Report::Answered { order, obeyed } => Event::Answered { uid, order, obeyed },
                Report::Ended => Event::Ended { uid },
            });
        }
        if self.engine.is_draining() {
            self.step(Input::Reopen);
        }
    }

    /// Until drained, or until nobody can ask for anything any more and nothing runs.
    pub(super) async fn drive(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut open = true;
        let mut heartbeat = self.configuration.notifier.heartbeat();
        self.status.changed();
        self.hear();
        self.restore_more();
        while open || !self.modules.is_empty() {
            tokio::select! {
                biased;
                // Said by the driver itself: one that is stuck is found out. First, for one that is busy is not stuck.
                () = heartbeat.beat() => {}
                () = self.status.due() => self.tell_status(),
                () = due(self.extension.as_ref()) => self.extension.iter_mut().for_each(Extension::extend),
                () = self.restoring.progress() => {}
                // What modules report before what clients want: a client's change shall see the list as it is.
                Some(event) = self.reported.recv() => self.event(event),
                message = messages.recv(), if open => match message {
                    Some(message) => self.message(message),
                    None => open = false,
                },
            }
            self.restore_more();
            if !self.drained.is_empty() && self.modules.is_empty() {
                break;
            }
        }
        for done in self.drained {
            let _ = done.send(());
        }
    }

    fn ticket(&mut self, waiting: Waiting) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, waiting);
        ticket
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Add { type_name, args, place, reply } => {
                let uid = Uid::new();
                let Some(birth) = self.birth(uid, &type_name, args, place == Place::Background) else {
                    let _ = reply.send(Err(ProtocolError::UnknownType));
                    return;
                };
                self.birth = Some(birth);
                let ticket = self.ticket(Waiting::Added(uid, reply));
                self.step(Input::Add { ticket, uid, place });
                // The engine may have refused.
                self.birth = None;
            }
            Message::Remove { uids, reply } => {
                self.give_up(&uids);
                let ticket = self.ticket(Waiting::Removed(uids.clone(), reply));
                self.step(Input::Remove { ticket, uids });
            }
            Message::Move { uids, reply } => {
                self.stored.first(&uids);
                let ticket = self.ticket(Waiting::Moved(reply));
                self.step(Input::Move { ticket, uids });
            }
            Message::SetTypes(types) => self.set_types(types),
            Message::Listed(uids) => self.end_strays(uids),
            Message::Ping { reply } => drop(reply.send(Ok(()))),
            Message::Drain { done } => {
                self.stop_restoring();
                self.drained.push(done);
                self.extension = Some(Extension::begin(self.configuration.notifier.clone(), self.longest_ending));
                self.status.changed();
                let ticket = self.ticket(Waiting::Nobody);
                self.step(Input::Drain { ticket });
            }
        }
    }

    /// Ends modules that nobody knows anything of: of a process before whose notes are lost, or that was not let write any.
    fn end_strays(&mut self, uids: Vec<Uid>) {
        self.restoring.awaits_launcher = false;
        for uid in uids.into_iter().filter(|uid| !self.modules.contains_key(uid)) {
            tracing::warn!(%uid, "module {}: is ended, since nobody knows where it belongs", uid.short());
            let launcher = Arc::clone(&self.launcher);
            let stopping = async move {
                if let Err(error) = launcher.stop(uid).await {
                    tracing::error!(%uid, "module {} could not be stopped: {error}", uid.short());
                } else if let Ok(mut state) = launcher.watch(uid).await {
                    // It may be launched again under the same uid.
                    let _ = state.wait_for(State::is_gone).await;
                }
            };
            self.restoring.after(uid, stopping);
        }
    }

    /// Modules that live are left as they are, but for limits that can be set while they do.
    fn set_types(&mut self, types: Arc<Lists>) {
        self.longest_ending = self.longest_ending.max(longest_ending(&types));
        let before = std::mem::replace(&mut self.configuration.types, types);
        let mut kept = BTreeMap::new();
        for module in self.modules.values() {
            let module_type = |types: &Lists| types.of(module.is_background()).get(module.type_name()).cloned();
            let change = Change::of(module_type(&before).as_deref(), module_type(&self.configuration.types).as_deref());
            if !change.kept.is_empty() {
                kept.insert(module.type_name(), change.kept);
            }
            if !change.is_set {
                continue;
            }
            let (uid, launcher) = (module.uid(), Arc::clone(&self.launcher));
            let (service, name) = (self.name.to_string(), module.type_name().to_owned());
            let module_type = TypeName { service, background: module.is_background(), name };
            tokio::spawn(async move {
                if let Err(error) = launcher.set_limits(uid, module_type).await {
                    tracing::warn!(%uid, "module {} keeps its limits: {error}", uid.short());
                }
            });
        }
        for (type_name, kept) in kept {
            let limits = kept.join(", ");
            tracing::warn!("{}: modules of type {type_name} that live keep their {limits} until they end", self.name);
        }
    }

    fn birth(&self, uid: Uid, type_name: &str, args: Option<Raw>, background: bool) -> Option<Birth> {
        let types = &self.configuration.types;
        let (name, module_type) = types.of(background).get_key_value(type_name)?;
        Some(Birth {
            uid,
            service: Arc::clone(&self.name),
            type_name: name.as_str().into(),
            background,
            // As it is kept.
            added: handover::time(handover::now()),
            args,
            timeouts: module_type.timeouts,
            max_line_bytes: self.configuration.max_line_bytes,
            last_parameters: None,
        })
    }

    fn event(&mut self, event: Event) {
        if let Some(extension) = &mut self.extension {
            extension.news();
            self.status.changed();
        }
        match event {
            Event::Started { uid, result } => {
                let alive = result.is_ok() && !self.restoring.is_unwanted(uid);
                self.refusal = result.err();
                self.step(Input::Started { uid, alive });
                self.refusal = None;
            }
            Event::Answered { uid, order, obeyed } => {
                match self.modules.get(&uid).filter(|_| obeyed).map(|module| (order, module.witness())) {
                    Some((Order::Play, witness)) => witness.playing(),
                    Some((Order::Suspend, witness)) => witness.suspended(),
                    _ => {}
                }
                self.step(Input::Answered { uid, order, obeyed });
            }
            Event::Ended { uid } => self.step(Input::Ended { uid }),
            Event::Gone { uid, ending } => {
                if let Some(module) = self.modules.remove(&uid) {
                    let life = self.board.history().push(&module, &ending);
                    self.keeper.write(&Entry::Gone { uid, life });
                    self.gone(uid, &ending);
                }
            }
        }
    }

    fn step(&mut self, input: Input) {
        let now = handover::now();
        // Before anything comes of it.
        self.write_down(&input, now);
        let mut effects = std::mem::take(&mut self.effects);
        self.engine.step(input, &mut effects);
        // Published first: who is answered sees what he asked for.
        if effects.contains(&Effect::Publish) {
            self.board.publish(&self.engine, &self.modules, handover::time(now));
            self.status.changed();
            self.keep_list(&effects);
        }
        for effect in effects.drain(..) {
            self.run(&effect);
        }
        self.effects = effects;
    }

    fn write_down(&self, input: &Input, at: u64) {
        if !self.keeper.is_on() {
            return;
        }
        let input = input.clone();
        let entry = match self.birth.as_ref().filter(|_| matches!(input, Input::Add { .. })) {
            None => Entry::Step { input, at },
            Some(birth) => {
                let born = Born {
                    uid: birth.uid,
                    type_name: birth.type_name.to_string(),
                    background: birth.background,
                    args: birth.args.clone(),
                    timeouts: birth.timeouts,
                    added: handover::milliseconds(birth.added),
                };
                Entry::Born { born, input, at }
            }
        };
        self.keeper.write(&entry);
    }

    fn tell_status(&mut self) {
        let text = if self.drained.is_empty() {
            status::describe(self.configuration.kind, &self.board.snapshot())
        } else {
            status::describe_ending(self.modules.len())
        };
        self.status.tell(&text);
    }

    fn spawn(&self, birth: Birth) -> Handle {
        let (launcher, record) = (Arc::clone(&self.launcher), self.record.clone());
        module::spawn(birth, launcher, record, self.keeper.clone(), self.events.clone())
    }

    fn run(&mut self, effect: &Effect) {
        match *effect {
            Effect::Launch { uid } => {
                if let Some(birth) = self.birth.take_if(|birth| birth.uid == uid) {
                    self.stored.born(uid, || stored::of_birth(&birth));
                    let handle = self.spawn(birth);
                    self.modules.insert(uid, Arc::new(handle));
                }
            }
            Effect::Order { uid, order } => {
                if let Some(module) = self.modules.get(&uid) {
                    module.order(order);
                }
            }
            Effect::Terminate { uid } => {
                if let Some(module) = self.modules.get(&uid) {
                    module.terminate(if self.drained.is_empty() { Cause::Refused } else { Cause::Drained });
                }
            }
            Effect::Publish => {}
            Effect::Done { ticket } => match self.waiting.remove(&ticket) {
                // Not before it is on disk.
                Some(Waiting::Added(uid, reply)) => self.stored.after(move || drop(reply.send(Ok(uid)))),
                Some(Waiting::Removed(uids, reply)) => {
                    // Also where the service ends, and all that is left stays.
                    self.stored.remove(&uids);
                    self.stored.after(move || drop(reply.send(Ok(()))));
                }
                Some(Waiting::Moved(reply)) => self.stored.after(move || drop(reply.send(Ok(())))),
                Some(Waiting::Restored(uid)) => self.restoring.launched(uid),
                Some(Waiting::Nobody) => {}
                // Of the process before.
                None => self.correct_order(),
            },
            Effect::Refuse { ticket } => {
                let error = self.refusal.take().unwrap_or(ProtocolError::ShuttingDown);
                match self.waiting.remove(&ticket) {
                    Some(Waiting::Added(_, reply)) => drop(reply.send(Err(error))),
                    Some(Waiting::Removed(_, reply) | Waiting::Moved(reply)) => drop(reply.send(Err(error))),
                    Some(Waiting::Restored(uid)) => self.restoring.refused(uid, &error),
                    Some(Waiting::Nobody) | None => {}
                }
            }
        }
    }
}

/// How long the ending of a module of any of these types may take at most.
fn longest_ending(types: &Lists) -> Duration {
    types.all().map(|one| longest(&one.timeouts)).max().unwrap_or_default() + GRACE
}

fn longest(timeouts: &Timeouts) -> Duration {
    2 * timeouts.command + timeouts.connect + timeouts.exit + timeouts.terminate
}

async fn due(extension: Option<&Extension>) {
    match extension {
        Some(extension) => extension.due().await,
        None => std::future::pending().await,
    }
}
