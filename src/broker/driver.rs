//! The driver: the one task that owns the engine and runs its effects.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::extension::Extension;
use super::status::{self, Status};
use super::{Board, Configuration, Kind};
use crate::engine::{Effect, Engine, Input, Place, Pool, Queue, Ticket};
use crate::launcher::{Launcher, TypeName};
use crate::module::{self, Birth, Cause, Event, Handle};
use crate::protocol::{ProtocolError, Raw, Uid};
use crate::record::Record;
use crate::settings::{Lists, Timeouts};

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
    Changed(ReplyTo<()>),
    Nobody,
}

pub(super) struct Driver {
    engine: Engine,
    configuration: Configuration,
    launcher: Arc<dyn Launcher>,
    record: Record,
    board: Arc<Board>,
    name: Arc<str>,
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
}

impl Driver {
    pub(super) fn new(configuration: Configuration, launcher: Arc<dyn Launcher>, record: Record, board: Arc<Board>) -> Self {
        let (events, reported) = mpsc::channel(EVENT_CAPACITY);
        let engine = match configuration.kind {
            Kind::Queue => Engine::Queue(Queue::new()),
            Kind::Pool => Engine::Pool(Pool::new()),
        };
        let status = Status::new(configuration.notifier.clone());
        let longest_ending = longest_ending(&configuration.types);
        Self {
            engine,
            name: configuration.name.as_str().into(),
            configuration,
            launcher,
            record,
            board,
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
        }
    }

    /// Until drained, or until nobody can ask for anything any more and nothing runs.
    pub(super) async fn drive(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut open = true;
        let mut heartbeat = self.configuration.notifier.heartbeat();
        self.status.changed();
        while open || !self.modules.is_empty() {
            tokio::select! {
                biased;
                // Said by the driver itself: one that is stuck is found out. First, for one that is busy is not stuck.
                () = heartbeat.beat() => {}
                () = self.status.due() => self.tell_status(),
                () = due(self.extension.as_ref()) => self.extension.iter_mut().for_each(Extension::extend),
                // What modules report before what clients want: a client's change shall see the list as it is.
                Some(event) = self.reported.recv() => self.event(event),
                message = messages.recv(), if open => match message {
                    Some(message) => self.message(message),
                    None => open = false,
                },
            }
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
                let Some(birth) = self.birth(uid, &type_name, args, place) else {
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
                let ticket = self.ticket(Waiting::Changed(reply));
                self.step(Input::Remove { ticket, uids });
            }
            Message::Move { uids, reply } => {
                let ticket = self.ticket(Waiting::Changed(reply));
                self.step(Input::Move { ticket, uids });
            }
            Message::SetTypes(types) => self.set_types(types),
            Message::Ping { reply } => drop(reply.send(Ok(()))),
            Message::Drain { done } => {
                self.drained.push(done);
                self.extension = Some(Extension::begin(self.configuration.notifier.clone(), self.longest_ending));
                self.status.changed();
                let ticket = self.ticket(Waiting::Nobody);
                self.step(Input::Drain { ticket });
            }
        }
    }

    /// Modules that live are left as they are, but for limits that can be set while they do.
    fn set_types(&mut self, types: Arc<Lists>) {
        self.longest_ending = self.longest_ending.max(longest_ending(&types));
        let before = std::mem::replace(&mut self.configuration.types, types);
        for module in self.modules.values() {
            let limits = |types: &Lists| {
                let of_kind = if module.is_background() { &types.backgrounds } else { &types.modules };
                of_kind.get(module.type_name()).map(|module_type| module_type.process.limits.clone())
            };
            let now = limits(&self.configuration.types);
            if now.is_none() || now == limits(&before) {
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
    }

    fn birth(&self, uid: Uid, type_name: &str, args: Option<Raw>, place: Place) -> Option<Birth> {
        let background = place == Place::Background;
        let types = &self.configuration.types;
        let (name, module_type) = if background { &types.backgrounds } else { &types.modules }.get_key_value(type_name)?;
        Some(Birth {
            uid,
            service: Arc::clone(&self.name),
            type_name: name.as_str().into(),
            background,
            args,
            timeouts: module_type.timeouts,
            max_line_bytes: self.configuration.max_line_bytes,
        })
    }

    fn event(&mut self, event: Event) {
        if let Some(extension) = &mut self.extension {
            extension.news();
            self.status.changed();
        }
        match event {
            Event::Started { uid, result } => {
                let alive = result.is_ok();
                self.refusal = result.err();
                self.step(Input::Started { uid, alive });
                self.refusal = None;
            }
            Event::Answered { uid, order, obeyed } => self.step(Input::Answered { uid, order, obeyed }),
            Event::Ended { uid } => self.step(Input::Ended { uid }),
            Event::Gone { uid, ending } => {
                if let Some(module) = self.modules.remove(&uid) {
                    self.board.history().push(&module, &ending);
                }
            }
        }
    }

    fn step(&mut self, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.engine.step(input, &mut effects);
        // Published first: who is answered sees what he asked for.
        if effects.contains(&Effect::Publish) {
            self.board.publish(&self.engine, &self.modules);
            self.status.changed();
        }
        for effect in effects.drain(..) {
            self.run(&effect);
        }
        self.effects = effects;
    }

    fn tell_status(&mut self) {
        let text = if self.drained.is_empty() {
            status::describe(self.configuration.kind, &self.board.snapshot())
        } else {
            status::describe_ending(self.modules.len())
        };
        self.status.tell(&text);
    }

    fn run(&mut self, effect: &Effect) {
        match *effect {
            Effect::Launch { uid } => {
                if let Some(birth) = self.birth.take_if(|birth| birth.uid == uid) {
                    let handle = module::spawn(birth, Arc::clone(&self.launcher), self.record.clone(), self.events.clone());
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
                Some(Waiting::Added(uid, reply)) => drop(reply.send(Ok(uid))),
                Some(Waiting::Changed(reply)) => drop(reply.send(Ok(()))),
                Some(Waiting::Nobody) | None => {}
            },
            Effect::Refuse { ticket } => {
                let error = self.refusal.take().unwrap_or(ProtocolError::ShuttingDown);
                match self.waiting.remove(&ticket) {
                    Some(Waiting::Added(_, reply)) => drop(reply.send(Err(error))),
                    Some(Waiting::Changed(reply)) => drop(reply.send(Err(error))),
                    Some(Waiting::Nobody) | None => {}
                }
            }
        }
    }
}

/// How long the ending of a module of any of these types may take at most.
fn longest_ending(types: &Lists) -> Duration {
    let of = |timeouts: &Timeouts| 2 * timeouts.command + timeouts.connect + timeouts.exit + timeouts.terminate;
    types.modules.values().chain(types.backgrounds.values()).map(|one| of(&one.timeouts)).max().unwrap_or_default() + GRACE
}

async fn due(extension: Option<&Extension>) {
    match extension {
        Some(extension) => extension.due().await,
        None => std::future::pending().await,
    }
}
