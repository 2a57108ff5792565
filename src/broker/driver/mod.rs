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

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::extension::Extension;
use super::limits::Change;
use super::restart::{self, Down, Outcome};
use super::status::{self, Status};
use super::{Board, Configuration, Kind};
use crate::engine::{Effect, Engine, Entry as Listed, Input, Order, Place, Restarts, Ticket};
use crate::handover::{self, Again, Entry, Keeper, Legacy, Report};
use crate::launcher::{Launcher, TypeName};
use crate::module::{self, Adoption, Birth, Cause, Ending, Event, Handle};
use crate::protocol::{ProtocolError, Raw, Uid, raw, raw_null};
use crate::record::Record;
use crate::scope::State;
use crate::settings::{Bounds, Lists, ModuleType, Timeouts};
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
    unheard: Vec<Event>,
    /// Every module that has a task, until its last process is gone.
    modules: HashMap<Uid, Arc<Handle>>,
    /// Modules that have ended and keep their place in the list, since they may be started again.
    down: Down,
    /// What the module that is being added, or started again, is made of, until the engine wants it launched.
    birth: Option<Birth>,
    waiting: HashMap<Ticket, Waiting>,
    tickets: u64,
    /// Why the module of the current event did not start.
    refusal: Option<ProtocolError>,
    /// The module that the current event takes off the list, and why.
    ended: Option<(Uid, Cause)>,
    effects: Vec<Effect>,
    pub(super) events: mpsc::Sender<Event>,
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
            down: Down::new(),
            birth: None,
            waiting: HashMap::new(),
            tickets: 0,
            refusal: None,
            ended: None,
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
        self.unheard = state
            .reported
            .iter()
            .map(|(uid, report)| {
                let ending = state.modules.get(uid).and_then(|module| module.ending.as_deref());
                said(*uid, *report, ending.and_then(Cause::from_name).unwrap_or(Cause::StreamLost))
            })
            .collect();
        self.board.history().restore(&state.lives);
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
            self.keep(uid, handle);
        }
        legacy.clear(&self.keeper);
        self.adopt_down(state.waiting);
        if !self.modules.is_empty() {
            tracing::info!("{} modules go on where the process before left them", self.modules.len());
        }
        self.board.resume(state.revision);
        self.publish(SystemTime::now());
    }

    /// Those that are down wait on, end or start on.
    fn adopt_down(&mut self, mut waiting: BTreeMap<Uid, handover::Waiting>) {
        let down: Vec<Uid> = self.engine.entries().filter(|entry| entry.down).map(|entry| entry.uid).collect();
        for uid in down {
            if let Some(handover::Waiting { born, since, due }) = waiting.remove(&uid) {
                let again = Again { since, due, restarts: born.restarts.clone() };
                let handle = self.dead(Birth::of(born, Arc::clone(&self.name), self.configuration.max_line_bytes));
                self.down.wait_on(Arc::new(handle), again);
            } else if let Some(module) = self.modules.get(&uid) {
                let handle =
                    if self.engine.is_starting(uid) { Arc::new(self.dead(module.birth().clone())) } else { Arc::clone(module) };
                self.down.put(handle);
            }
        }
    }

    fn dead(&self, birth: Birth) -> Handle {
        module::dead(birth, Arc::clone(&self.launcher))
    }

    fn publish(&self, now: SystemTime) {
        let alive = |uid| self.modules.get(&uid);
        let down = |listed: &Listed| self.down.module(listed.uid).filter(|_| listed.down);
        let find = |listed: &Listed| down(listed).or_else(|| alive(listed.uid));
        self.board.publish(&self.engine, find, now, self.ended);
    }

    /// Hears what was said before, in the order in which it was.
    fn hear(&mut self) {
        for event in std::mem::take(&mut self.unheard) {
            self.event(event);
        }
        let down = self.engine.entries().filter(|entry| entry.down).map(|entry| entry.uid);
        for uid in down.filter(|uid| self.down.module(*uid).is_none()).collect::<Vec<_>>() {
            // The process before had given it up, and broke off before it was off the list.
            self.step(Input::Ended { uid });
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
                () = self.down.due() => self.start_again(),
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
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, waiting);
        ticket
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Add { type_name, args, place, reply } => {
                if let Err(full) = self.has_room(place) {
                    let _ = reply.send(Err(full));
                    return;
                }
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

    /// Whether the bounds let one more module begin. One that ends is counted until its last process is gone: it takes as much of
    /// the machine as any.
    fn has_room(&self, place: Place) -> Result<(), ProtocolError> {
        let Bounds { max_length, max_modules, .. } = self.configuration.types.bounds;
        if place == Place::List && self.configuration.kind == Kind::Queue && self.engine.length() >= max_length {
            return Err(ProtocolError::QueueFull(max_length));
        }
        // One that is to be started again needs its room by then.
        if self.modules.len() + self.down.waiting() >= max_modules {
            Err(ProtocolError::ServiceFull(max_modules))
        } else {
            Ok(())
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
        let types = self.configuration.types.of(background);
        let (name, module_type) = types.get_key_value(type_name)?;
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
            restarts: Restarts::default(),
            last_parameters: None,
        })
    }

    /// The type of a module as it is now; `None` where there is none of that name any more.
    fn type_of(&self, birth: &Birth) -> Option<&ModuleType> {
        self.configuration.types.of(birth.background).get(&*birth.type_name).map(AsRef::as_ref)
    }

    /// Whether a module of the list that begins to end so keeps its place.
    fn may_be_started_again(&self, uid: Uid, cause: Cause) -> bool {
        let is_up = self.engine.entry(uid).is_some_and(|entry| !entry.down);
        let module_type = self.modules.get(&uid).filter(|_| is_up).and_then(|module| self.type_of(module.birth()));
        let restart = module_type.and_then(|module_type| module_type.restart);
        restart.is_some_and(|restart| restart::may_be_started_again(&restart, cause))
    }

    /// What becomes of a module of which no process is left.
    fn outcome(&self, module: &Handle, ending: &Ending) -> Outcome {
        let birth = module.birth();
        let is_down = self.engine.entry(birth.uid).is_some_and(|entry| entry.down);
        let restart = self.type_of(birth).and_then(|module_type| module_type.restart);
        match restart.filter(|_| is_down && self.drained.is_empty()) {
            Some(restart) => Outcome::of(&restart, birth.restarts.clone(), ending, self.down.now()),
            None => Outcome::Gone,
        }
    }

    /// Launches the modules whose time has come.
    fn start_again(&mut self) {
        while let Some((module, restarts)) = self.down.take_due() {
            let uid = module.uid();
            let Some(timeouts) = self.type_of(module.birth()).map(|module_type| module_type.timeouts) else {
                module.witness().given_up(restarts.count(), "its type is not in the settings any more");
                self.step(Input::Ended { uid });
                continue;
            };
            self.birth = Some(Birth { timeouts, restarts, last_parameters: None, ..module.birth().clone() });
            self.step(Input::Restart { uid });
            self.birth = None;
        }
    }

    /// The one place that knows of every module that was launched and will not be started again: no process of it is left, and
    /// it is on no list. One that waits to be started again is not gone.
    fn gone_for_good(&mut self, uid: Uid) {
        self.down.remove(uid);
    }

    fn event(&mut self, event: Event) {
        if let Some(extension) = &mut self.extension {
            extension.news();
            self.status.changed();
        }
        match event {
            Event::Started { uid, result } => {
                if let Some(module) = self.modules.get(&uid) {
                    self.board.tally().launch(module);
                }
                let alive = result.is_ok() && !self.restoring.is_unwanted(uid);
                let was_down = alive && self.down.module(uid).is_some();
                if alive {
                    self.down.remove(uid);
                }
                self.refusal = result.err();
                self.step(Input::Started { uid, alive });
                self.refusal = None;
                if let Some(module) = self.modules.get(&uid).filter(|_| was_down && self.stored.is_on()) {
                    // Another process announces its parameters.
                    self.stored.list(module);
                }
            }
            Event::Answered { uid, order: Order::Play | Order::Suspend, obeyed: false }
                if self.may_be_started_again(uid, Cause::Refused) =>
            {
                self.lose(uid);
            }
            Event::Answered { uid, order, obeyed } => {
                match self.modules.get(&uid).filter(|_| obeyed).map(|module| (order, module.witness())) {
                    Some((Order::Play, witness)) => witness.playing(),
                    Some((Order::Suspend, witness)) => witness.suspended(),
                    _ => {}
                }
                self.ended = (!obeyed).then_some((uid, Cause::Refused));
                self.step(Input::Answered { uid, order, obeyed });
                self.ended = None;
            }
            Event::Ended { uid, cause } if self.may_be_started_again(uid, cause) => self.lose(uid),
            // A process before had heard of it already.
            Event::Ended { uid, .. } if self.down.module(uid).is_some() => {}
            Event::Ended { uid, cause } => self.leave_list(uid, cause),
            Event::Parameters { uid } => {
                if let Some(module) = self.modules.get(&uid) {
                    self.board.touched(module);
                }
            }
            Event::Gone { uid, ending } => {
                if let Some(module) = self.modules.remove(&uid) {
                    self.board.is_gone(uid);
                    self.gone(module, &ending);
                }
            }
        }
    }

    /// A module that may be started again begins to end.
    fn lose(&mut self, uid: Uid) {
        if let Some(module) = self.modules.get(&uid) {
            self.down.put(Arc::clone(module));
        }
        self.step(Input::Lost { uid });
    }

    /// No process of the module is left.
    fn gone(&mut self, module: Arc<Handle>, ending: &Ending) {
        let uid = module.uid();
        let outcome = self.outcome(&module, ending);
        let life = self.board.history().push(&module, ending, &outcome);
        self.board.tally().ended(ending);
        let again = if let Outcome::Again(again) = &outcome { Some(again.clone()) } else { None };
        self.write_gone(uid, &life, again);
        match outcome {
            Outcome::Again(again) => {
                module.witness().restarting(again.due - again.since, again.restarts.count());
                self.down.wait(module, again);
                return;
            }
            Outcome::GivenUp(why) => module.witness().given_up(module.birth().restarts.count(), &why),
            Outcome::Gone => {}
        }
        if self.engine.entry(uid).is_some_and(|entry| entry.down) {
            self.leave_list(uid, ending.cause);
        } else {
            self.gone_for_good(uid);
        }
        self.settle_place(uid, ending);
        self.board.gone(uid, &life["exit"], ending.cause);
    }

    /// A module is off the list, for this cause.
    fn leave_list(&mut self, uid: Uid, cause: Cause) {
        self.ended = Some((uid, cause));
        self.step(Input::Ended { uid });
        self.ended = None;
    }

    /// Writes down that no process of a module is left, what `history` says of it, and when it is started again.
    fn write_gone(&self, uid: Uid, life: &Value, again: Option<Again>) {
        if self.keeper.is_on() {
            self.keeper.write(&Entry::Gone { uid, life: raw(life).unwrap_or_else(|_| raw_null()), again });
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
            self.publish(handover::time(now));
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
        let entry = match self.birth.as_ref().filter(|_| matches!(input, Input::Add { .. } | Input::Restart { .. })) {
            None => Entry::Step { input, at },
            Some(birth) => Entry::Born { born: birth.born(), input, at },
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

    /// Knows a module from now on, until it is [gone](Event::Gone).
    fn keep(&mut self, uid: Uid, handle: Handle) {
        let module = Arc::new(handle);
        self.board.begins(&module);
        self.modules.insert(uid, module);
    }

    fn run(&mut self, effect: &Effect) {
        match *effect {
            Effect::Launch { uid } => {
                if let Some(birth) = self.birth.take_if(|birth| birth.uid == uid) {
                    self.stored.born(uid, || stored::of_birth(&birth));
                    let handle = self.spawn(birth);
                    self.keep(uid, handle);
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
            // Where something of it runs still, it is gone with that.
            Effect::Forget { uid } if self.modules.contains_key(&uid) => {}
            Effect::Forget { uid } => self.gone_for_good(uid),
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

/// What a module's task would say that has reported this, and ends for this cause if it does.
const fn said(uid: Uid, report: Report, cause: Cause) -> Event {
    match report {
        Report::Started(true) => Event::Started { uid, result: Ok(()) },
        Report::Started(false) => Event::Started { uid, result: Err(ProtocolError::Closed) },
        Report::Answered { order, obeyed } => Event::Answered { uid, order, obeyed },
        Report::Ended => Event::Ended { uid, cause },
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
