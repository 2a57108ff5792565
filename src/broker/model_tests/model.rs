//! The reference: what a broker and its modules come to, written the naive way and without looking at the engine.
//!
//! One input at a time; each says what has happened, and everything that follows from it at once is done when the call
//! returns. Nothing here waits: what takes time is a deadline that the world passes.
//!
//! To teach it something new: a verb of clients is a [`Request`] and a line of [`Model::begin`]; something that happens to
//! modules is a method like [`Model::closed`]; what a module type does when its module has gone belongs into
//! [`Model::gone`], what a process does with what it finds into [`Model::resumed`].

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::engine::{Order, Told};

/// Time limits of all modules, in ms. The world does things at multiples of 16 ms, and these are one more than such: so
/// nothing falls due at the instant at which something else happens.
pub(super) const COMMAND: u64 = 161;
pub(super) const CONNECT: u64 = 321;
pub(super) const EXIT: u64 = 97;
pub(super) const TERMINATE: u64 = 129;

/// A module, by the order in which they were added.
pub(super) type M = usize;
/// A client's connection.
pub(super) type C = usize;
/// A request: the connection, and how many it had begun before.
type Ticket = (C, usize);

/// What a client asks for; a module that is `None` is one that never was.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    Add { background: bool, known: bool },
    Remove(Vec<Option<M>>),
    Move(Vec<Option<M>>),
    Tell { module: Option<M>, background: bool },
    Ask { module: Option<M>, background: bool },
    List { parameters: bool },
    Background,
}

/// What a client is to be answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Exactly(Value),
    /// An error in words that depend on what happened last.
    Error,
}

/// How a module answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Good,
    Refusal,
    Rubbish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The house was asked; both streams are to be there before the deadline.
    Launching {
        deadline: u64,
    },
    Launched {
        deadline: u64,
        streams: [bool; 2],
    },
    Talking,
    /// The streams are closed.
    Ending,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Asked {
    Init,
    Order(Order),
    Tell(Ticket),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Module {
    pub(super) background: bool,
    pub(super) phase: Phase,
    pub(super) cause: &'static str,
    ticket: Ticket,
    starting: bool,
    pending: Option<(Asked, u64)>,
    orders: VecDeque<Order>,
    tells: VecDeque<Ticket>,
    /// The `cmd` of each request that it should have been sent.
    pub(super) told: Vec<&'static str>,
    /// Whether each of its updates was taken, that is answered with success.
    pub(super) updates: Vec<bool>,
    pub(super) parameters: BTreeMap<String, u64>,
    /// When it is to be stopped, unless it is gone by then.
    stop_at: Option<u64>,
    /// When it should have been stopped.
    pub(super) stopped: Vec<u64>,
    runs: bool,
    terminated: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Connection {
    pub(super) waiting: VecDeque<Request>,
    pub(super) busy: bool,
    begun: usize,
    /// The one that is being answered is a [`Request::Tell`].
    tells: bool,
    pub(super) answers: Vec<Answer>,
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    Append(M),
    Background(M),
    Remove(Vec<M>),
    RemoveAll,
    Move(Vec<M>),
    Settle,
}

#[derive(Debug, Clone, PartialEq)]
enum Input {
    Started(M, bool, Answer),
    Answered(M, Order, bool),
    Ended(M),
    Terminate(M, &'static str),
    /// The module may be asked the next thing.
    Turn(M),
    /// The connection may begin its next request.
    Next(C),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    queue: bool,
    pub(super) now: u64,
    pub(super) list: Vec<(M, Told)>,
    pub(super) background: Option<(M, Told)>,
    pub(super) modules: Vec<Module>,
    pub(super) connections: Vec<Connection>,
    /// Changes published.
    pub(super) published: u64,
    /// The revision of this process from which they are counted, once that is known.
    pub(super) counted_from: Option<u64>,
    /// What happens now changes what is published, once, however many changes it lets through.
    publishes: bool,
    draining: bool,
    changes: VecDeque<(Option<Ticket>, Change)>,
    /// The change of a queue whose orders are out.
    running: Option<Option<Ticket>>,
    /// Orders out: of the running change of a queue, of all changes of a pool.
    unanswered: Vec<(M, Order, Option<Ticket>)>,
    inputs: VecDeque<Input>,
    /// What may be true as well.
    others: Vec<Self>,
}

fn error(text: &str) -> Answer {
    Answer::Exactly(json!({"success": false, "error": text}))
}

fn done() -> Answer {
    Answer::Exactly(json!({"success": true}))
}

fn result(value: &Value) -> Answer {
    Answer::Exactly(json!({"success": true, "result": value}))
}

pub(super) fn uid(module: M) -> String {
    crate::protocol::Uid::numbered(module as u128).to_string()
}

impl Module {
    /// Not listed yet, and perhaps to be.
    pub(super) const fn is_coming(&self) -> bool {
        self.starting
    }

    /// It is asked something else before.
    pub(super) fn has_orders_waiting(&self) -> bool {
        !self.orders.is_empty()
    }
}

impl Connection {
    /// A command to a module is under way or waits. Where the module ends instead of answering, its client and the driver hear
    /// of it in either order, and what the client asks next is answered by the list before or after.
    pub(super) fn has_tell(&self) -> bool {
        (self.busy && self.tells) || self.waiting.iter().any(|request| matches!(request, Request::Tell { .. }))
    }
}

impl Model {
    pub(super) fn new(queue: bool) -> Self {
        Self {
            queue,
            now: 0,
            list: Vec::new(),
            background: None,
            modules: Vec::new(),
            connections: Vec::new(),
            published: 0,
            counted_from: None,
            publishes: false,
            draining: false,
            changes: VecDeque::new(),
            running: None,
            unanswered: Vec::new(),
            inputs: VecDeque::new(),
            others: Vec::new(),
        }
    }

    /// The same happens to each of these; whatever else may be true afterwards joins them.
    pub(super) fn each(models: &mut Vec<Self>, act: impl Fn(&mut Self)) {
        for mut model in std::mem::take(models) {
            act(&mut model);
            let mut possible = vec![model];
            while let Some(mut model) = possible.pop() {
                possible.append(&mut model.others);
                if !models.contains(&model) {
                    models.push(model);
                }
            }
        }
    }

    // ---- What clients do.

    pub(super) fn connect(&mut self) {
        self.connections.push(Connection { waiting: VecDeque::new(), busy: false, begun: 0, tells: false, answers: Vec::new() });
    }

    pub(super) fn request(&mut self, connection: C, request: Request) {
        self.connections[connection].waiting.push_back(request);
        self.inputs.push_back(Input::Next(connection));
        self.run();
    }

    /// The client goes away; what it asked for goes on.
    pub(super) fn leave(&mut self, connection: C) {
        self.connections[connection].busy = false;
    }

    pub(super) fn drain(&mut self) {
        self.draining = true;
        for module in 0..self.modules.len() {
            if self.modules[module].starting {
                self.inputs.push_back(Input::Terminate(module, "drained"));
            }
        }
        if self.queue {
            let mut refused = Vec::new();
            for (ticket, change) in &mut self.changes {
                if let Change::Append(module) | Change::Background(module) = *change {
                    *change = Change::Settle;
                    self.inputs.push_back(Input::Terminate(module, "drained"));
                    refused.extend(ticket.take());
                }
            }
            refused.into_iter().for_each(|ticket| self.answer(ticket, Answer::Error));
            self.change(None, Change::RemoveAll);
        } else {
            let all: Vec<M> = self.list.iter().map(|(module, _)| *module).collect();
            self.remove_of_pool(None, &all);
        }
        self.run();
    }

    /// All that was to be ended has.
    fn has_ended(&self) -> bool {
        self.draining && self.modules.iter().all(|module| module.phase == Phase::Gone)
    }

    fn may_begin(&self, connection: C) -> bool {
        let Connection { busy, waiting, .. } = &self.connections[connection];
        !busy && !waiting.is_empty()
    }

    fn begin(&mut self, connection: C) {
        if !self.may_begin(connection) {
            return;
        }
        let Some(request) = self.connections[connection].waiting.pop_front() else { return };
        self.connections[connection].busy = true;
        self.connections[connection].tells = matches!(request, Request::Tell { .. });
        self.connections[connection].begun += 1;
        let ticket = (connection, self.connections[connection].begun);
        if matches!(request, Request::Remove(_) | Request::Move(_)) && self.has_ended() {
            // From now on what would change the list is refused; at this very moment perhaps not yet.
            self.or(|other| other.answer(ticket, error("Service is shutting down")));
        }
        let known = |module: Option<M>| module.filter(|module| self.list.iter().any(|(listed, _)| listed == module));
        let target = |module: Option<M>, background: bool, missing: &str| match (background, self.background) {
            (false, _) => known(module).ok_or_else(|| error(missing)),
            (true, None) => Err(error("No background")),
            (true, Some((is, _))) if module == Some(is) => Ok(is),
            (true, _) => Err(error("Background identifier doesn't match current background")),
        };
        match request {
            Request::Add { known: false, .. } => self.answer(ticket, error("Unrecognized module name")),
            Request::Add { background, .. } => self.add(ticket, background),
            Request::Remove(modules) => {
                let modules = modules.into_iter().flatten().collect();
                if self.queue {
                    self.change(Some(ticket), Change::Remove(modules));
                } else {
                    self.remove_of_pool(Some(ticket), &modules);
                }
            }
            Request::Move(modules) => self.change(Some(ticket), Change::Move(modules.into_iter().flatten().collect())),
            Request::Tell { module, background } => {
                let place = if self.queue { "queue" } else { "pool" };
                match target(module, background, &format!("Module identifier not in {place}")) {
                    Ok(module) if self.modules[module].phase == Phase::Talking => {
                        self.modules[module].tells.push_back(ticket);
                        // An order that comes at the same moment goes first, or does not.
                        self.or(|other| other.inputs.push_back(Input::Turn(module)));
                        self.next(module);
                    }
                    Ok(_) => self.answer(ticket, error("Pipe to module unexpectedly closed")),
                    Err(error) => self.answer(ticket, error),
                }
            }
            Request::Ask { module, background } => match target(module, background, "Module identifier not in queue") {
                Ok(module) => self.answer(ticket, result(&json!(self.modules[module].parameters))),
                Err(error) => self.answer(ticket, error),
            },
            Request::List { parameters } => {
                let list = self.list.iter().map(|(module, _)| self.item(*module, parameters)).collect::<Vec<_>>();
                self.answer(ticket, result(&json!(list)));
            }
            Request::Background => {
                let answer = self.background.map_or_else(done, |(module, _)| result(&self.item(module, false)));
                self.answer(ticket, answer);
            }
        }
    }

    fn item(&self, module: M, parameters: bool) -> Value {
        let is = &self.modules[module];
        let mut item = json!({"uid": uid(module), "type": if is.background { "b" } else { "a" }});
        if parameters {
            item["parameters"] = json!(is.parameters);
        }
        item
    }

    /// Whoever has gone, or asked a process that was killed, waits for nothing any more.
    fn answer(&mut self, (connection, number): Ticket, answer: Answer) {
        let is = &mut self.connections[connection];
        if is.busy && is.begun == number {
            is.answers.push(answer);
            is.busy = false;
            self.inputs.push_back(Input::Next(connection));
        }
    }

    // ---- What modules and the house do.

    fn add(&mut self, ticket: Ticket, background: bool) {
        if self.draining {
            self.answer(ticket, Answer::Error);
        }
        self.modules.push(Module {
            background,
            phase: if self.draining { Phase::Gone } else { Phase::Launching { deadline: self.now + CONNECT } },
            cause: "",
            ticket,
            starting: !self.draining,
            pending: None,
            orders: VecDeque::new(),
            tells: VecDeque::new(),
            told: Vec::new(),
            updates: Vec::new(),
            parameters: BTreeMap::new(),
            stop_at: None,
            stopped: Vec::new(),
            runs: false,
            terminated: false,
        });
    }

    /// The house has launched a module, or could not.
    pub(super) fn launched(&mut self, module: M, failure: Option<&str>) {
        let now = self.now;
        let is = &mut self.modules[module];
        let Phase::Launching { deadline } = is.phase else { return };
        is.runs = failure.is_none();
        is.phase = Phase::Launched { deadline, streams: [false; 2] };
        if let Some(failure) = failure {
            self.not_started(module, "not_connected", error(&format!("Could not start module: {failure}")));
        } else if now > deadline {
            self.not_started(module, "not_connected", error("Could not connect to spawned module"));
        } else if is.terminated {
            self.not_started(module, "drained", Answer::Error);
        }
        self.run();
    }

    fn not_started(&mut self, module: M, cause: &'static str, answer: Answer) {
        self.inputs.push_back(Input::Started(module, false, answer));
        self.close(module, cause);
    }

    pub(super) fn connected(&mut self, module: M, stream: usize) {
        let Phase::Launched { streams, .. } = &mut self.modules[module].phase else { return };
        streams[stream] = true;
        if *streams == [true; 2] {
            self.modules[module].phase = Phase::Talking;
            self.ask(module, Asked::Init);
        }
        self.run();
    }

    /// A module writes a line on its command stream.
    pub(super) fn answered(&mut self, module: M, reply: Reply) {
        if self.modules[module].phase != Phase::Talking {
            return;
        }
        let Some((asked, _)) = self.modules[module].pending.take() else { return };
        let good = reply == Reply::Good;
        match asked {
            Asked::Tell(ticket) => self.answer(
                ticket,
                match reply {
                    Reply::Good => result(&json!({"of": module})),
                    Reply::Refusal => error("no"),
                    Reply::Rubbish => error("Malformed response"),
                },
            ),
            Asked::Init => {
                let answer = if reply == Reply::Refusal { error("no") } else { error("Malformed response") };
                self.inputs.push_back(Input::Started(module, good, answer));
                if !good {
                    self.end(module, "refused");
                }
            }
            Asked::Order(order) => {
                self.inputs.push_back(Input::Answered(module, order, good));
                if order == Order::Remove {
                    self.end(module, "removed");
                }
            }
        }
        self.next(module);
        self.run();
    }

    pub(super) fn set(&mut self, module: M, name: &str, value: Option<u64>) {
        let is = &mut self.modules[module];
        if is.phase == Phase::Talking {
            is.updates.push(true);
            match value {
                Some(value) => drop(is.parameters.insert(name.to_owned(), value)),
                None => drop(is.parameters.remove(name)),
            }
        }
    }

    pub(super) fn bad_update(&mut self, module: M) {
        if self.modules[module].phase == Phase::Talking {
            self.modules[module].updates.push(false);
        }
    }

    /// A module says that it ends, or one of its streams is closed.
    pub(super) fn closed(&mut self, module: M, by_word: bool) {
        self.end(module, if by_word { "own" } else { "stream_lost" });
        self.run();
    }

    /// No process of it is left.
    pub(super) fn gone(&mut self, module: M) {
        let is = &mut self.modules[module];
        is.runs = false;
        match is.phase {
            Phase::Launched { .. } => {
                self.not_started(module, "not_connected", error("Could not connect to spawned module"));
            }
            Phase::Ending => is.phase = Phase::Gone,
            _ => {}
        }
        self.run();
    }

    /// The streams of a talking module are closed: whatever was asked is answered.
    fn end(&mut self, module: M, cause: &'static str) {
        let is = &mut self.modules[module];
        if is.phase != Phase::Talking {
            return;
        }
        let pending = is.pending.take().map(|(asked, _)| asked);
        let orders = std::mem::take(&mut is.orders);
        let tells = std::mem::take(&mut is.tells);
        let removed = pending == Some(Asked::Order(Order::Remove)) || orders.contains(&Order::Remove);
        let closed = error("Pipe to module unexpectedly closed");
        let why = if cause == "timed_out" { error("Timeout sending message to module") } else { closed.clone() };
        if pending == Some(Asked::Init) {
            self.inputs.push_back(Input::Started(module, false, if self.draining { Answer::Error } else { why.clone() }));
        } else if removed {
            self.inputs.push_back(Input::Answered(module, Order::Remove, false));
        } else if !matches!(cause, "removed" | "refused" | "drained") {
            self.inputs.push_back(Input::Ended(module));
        }
        if let Some(Asked::Tell(ticket)) = pending {
            self.answer(ticket, why);
        }
        tells.into_iter().for_each(|ticket| self.answer(ticket, closed.clone()));
        self.close(module, cause);
    }

    fn close(&mut self, module: M, cause: &'static str) {
        let (now, is) = (self.now, &mut self.modules[module]);
        is.cause = cause;
        is.phase = if is.runs { Phase::Ending } else { Phase::Gone };
        is.stop_at = is.runs.then_some(now + EXIT);
    }

    fn ask(&mut self, module: M, asked: Asked) {
        let now = self.now;
        let is = &mut self.modules[module];
        is.told.push(match asked {
            Asked::Init => "init",
            Asked::Order(Order::Play) => "play",
            Asked::Order(Order::Suspend) => "suspend",
            Asked::Order(Order::Remove) => "rm",
            Asked::Tell(_) => "do_it",
        });
        is.pending = Some((asked, now + COMMAND));
    }

    /// Asks the next thing, orders first.
    fn next(&mut self, module: M) {
        let is = &mut self.modules[module];
        if is.phase != Phase::Talking || is.pending.is_some() {
            return;
        }
        let next = is.orders.pop_front().map(Asked::Order);
        let next = next.or_else(|| is.tells.pop_front().map(Asked::Tell));
        next.into_iter().for_each(|asked| self.ask(module, asked));
    }

    // ---- Time.

    /// When the next time limit is over.
    pub(super) fn deadline(&self) -> Option<u64> {
        let of = |module: &Module| match module.phase {
            Phase::Launched { deadline, .. } => Some(deadline),
            Phase::Talking => module.pending.as_ref().map(|(_, deadline)| *deadline),
            Phase::Ending => module.stop_at,
            Phase::Launching { .. } | Phase::Gone => None,
        };
        self.modules.iter().filter_map(of).min()
    }

    /// Time passes; no deadline is left out.
    pub(super) fn pass(&mut self, now: u64) {
        self.now = now;
        for module in 0..self.modules.len() {
            let is = &mut self.modules[module];
            match is.phase {
                Phase::Launched { deadline, .. } if deadline == now => {
                    self.not_started(module, "not_connected", error("Could not connect to spawned module"));
                }
                Phase::Talking if is.pending.as_ref().is_some_and(|(_, deadline)| *deadline == now) => {
                    self.end(module, "timed_out");
                }
                Phase::Ending if is.stop_at == Some(now) => {
                    is.stop_at = None;
                    is.stopped.push(now);
                }
                _ => {}
            }
        }
        self.run();
    }

    // ---- One process follows another.

    /// The broker is killed: nobody waits for an answer any more.
    pub(super) fn killed(&mut self) {
        for connection in &mut self.connections {
            connection.waiting.clear();
            connection.busy = false;
        }
        self.modules.iter_mut().for_each(|module| module.tells.clear());
    }

    /// The next process goes on with what it finds: time limits begin anew, and who was not connected ends.
    pub(super) fn resumed(&mut self) {
        let now = self.now;
        self.counted_from = None;
        for module in 0..self.modules.len() {
            let is = &mut self.modules[module];
            match is.phase {
                Phase::Launching { .. } | Phase::Launched { .. } => self.not_started(module, "not_connected", Answer::Error),
                Phase::Talking => is.pending.iter_mut().for_each(|(_, deadline)| *deadline = now + COMMAND),
                Phase::Ending => is.stop_at = Some(now + EXIT),
                Phase::Gone => {}
            }
        }
        self.run();
    }

    // ---- The list (protocol.md sections 3 and 4).

    fn run(&mut self) {
        loop {
            self.published += u64::from(std::mem::take(&mut self.publishes));
            self.other_orders();
            let Some(input) = self.inputs.pop_front() else { return };
            match input {
                Input::Next(connection) => self.begin(connection),
                Input::Turn(module) => self.next(module),
                Input::Started(module, alive, answer) => self.started(module, alive, answer),
                Input::Answered(module, order, obeyed) => self.obeyed(module, order, obeyed),
                Input::Ended(module) => self.ended(module),
                Input::Terminate(module, cause) => self.terminate(module, cause),
            }
        }
    }

    /// Where several clients may begin a request at the same moment, they do so in any order: nobody has promised one. So a read
    /// sees the list before or after a change that is not answered yet.
    fn other_orders(&mut self) {
        let first = match self.inputs.front() {
            Some(Input::Next(connection)) if self.may_begin(*connection) => *connection,
            _ => return,
        };
        let mut others: Vec<C> =
            self.inputs.iter().filter_map(|input| if let Input::Next(next) = input { Some(*next) } else { None }).collect();
        others.retain(|connection| *connection != first && self.may_begin(*connection));
        others.dedup();
        for connection in others {
            self.or(|other| other.begin(connection));
        }
    }

    /// This may be true as well.
    fn or(&mut self, act: impl FnOnce(&mut Self)) {
        let mut other = Self { others: Vec::new(), ..self.clone() };
        act(&mut other);
        other.run();
        self.others.push(other);
    }

    fn terminate(&mut self, module: M, cause: &'static str) {
        match self.modules[module].phase {
            Phase::Launching { .. } => self.modules[module].terminated = true,
            Phase::Launched { .. } => self.not_started(module, cause, Answer::Error),
            // Of one that refuses to play while all are ended nobody says so.
            _ => self.end(module, if self.draining { "drained" } else { cause }),
        }
    }

    fn started(&mut self, module: M, alive: bool, answer: Answer) {
        let is = &mut self.modules[module];
        if !std::mem::take(&mut is.starting) {
            return;
        }
        let (ticket, background) = (is.ticket, is.background);
        if !alive {
            self.answer(ticket, answer);
        } else if self.draining {
            self.inputs.push_back(Input::Terminate(module, "drained"));
            self.answer(ticket, Answer::Error);
        } else if self.queue {
            self.change(Some(ticket), if background { Change::Background(module) } else { Change::Append(module) });
        } else {
            self.list.push((module, Told::Nothing));
            self.publishes = true;
            self.order(module, Order::Play, Some(ticket));
        }
    }

    fn done(&mut self, ticket: Option<Ticket>) {
        let Some(ticket) = ticket else { return };
        let added = self.modules.iter().position(|module| module.ticket == ticket);
        self.answer(ticket, added.map_or_else(done, |module| result(&json!({"uid": uid(module)}))));
    }

    fn order(&mut self, module: M, order: Order, ticket: Option<Ticket>) {
        self.unanswered.push((module, order, ticket));
        if self.modules[module].phase == Phase::Talking {
            self.modules[module].orders.push_back(order);
            self.next(module);
        }
    }

    fn change(&mut self, ticket: Option<Ticket>, change: Change) {
        self.changes.push_back((ticket, change));
        self.advance();
    }

    /// Goes on with the running change of a queue, and with those that wait for it.
    fn advance(&mut self) {
        while self.unanswered.is_empty() {
            let (ticket, removed) = match self.running.take() {
                Some(ticket) => (ticket, Vec::new()),
                None => match self.changes.pop_front() {
                    Some((ticket, change)) => (ticket, self.apply(change)),
                    None => return,
                },
            };
            let mut orders: Vec<_> = removed.into_iter().map(|module| (module, Order::Remove)).collect();
            orders.extend(self.plan());
            if orders.is_empty() {
                self.done(ticket);
            } else {
                self.running = Some(ticket);
                orders.into_iter().for_each(|(module, order)| self.order(module, order, None));
            }
        }
    }

    /// Answers whom the change removes.
    fn apply(&mut self, change: Change) -> Vec<M> {
        let listed = |list: &[(M, Told)]| list.iter().map(|(module, _)| *module).collect::<Vec<_>>();
        let before: Vec<M> = listed(&self.list).into_iter().chain(self.background.map(|(module, _)| module)).collect();
        match change {
            Change::Settle => return Vec::new(),
            Change::Append(module) => self.list.push((module, Told::Nothing)),
            Change::Background(module) => self.background = Some((module, Told::Nothing)),
            Change::Remove(modules) => {
                self.list.retain(|(module, _)| !modules.contains(module));
                self.background = self.background.filter(|(module, _)| !modules.contains(module));
            }
            Change::RemoveAll => {
                self.list.clear();
                self.background = None;
            }
            Change::Move(modules) => {
                let place = |module: &M| modules.iter().position(|moved| moved == module).unwrap_or(usize::MAX);
                self.list.sort_by_key(|(module, _)| place(module));
            }
        }
        self.publishes = true;
        let now = listed(&self.list);
        let stays = |module: &M| now.contains(module) || self.background.is_some_and(|(is, _)| is == *module);
        before.into_iter().filter(|module| !stays(module)).collect()
    }

    fn plan(&self) -> Vec<(M, Order)> {
        if self.draining {
            return Vec::new();
        }
        let (mut suspends, mut plays) = (Vec::new(), Vec::new());
        for (place, (module, told)) in self.list.iter().enumerate() {
            match told {
                Told::Play if place > 0 => suspends.push((*module, Order::Suspend)),
                Told::Nothing | Told::Suspend if place == 0 => plays.push((*module, Order::Play)),
                _ => {}
            }
        }
        match self.background {
            Some((module, told)) if self.list.is_empty() && told != Told::Play => plays.push((module, Order::Play)),
            Some((module, told)) if !self.list.is_empty() && told != Told::Suspend => suspends.push((module, Order::Suspend)),
            _ => {}
        }
        suspends.extend(plays);
        suspends
    }

    fn remove_of_pool(&mut self, ticket: Option<Ticket>, modules: &[M]) {
        let removed: Vec<M> = self.list.iter().map(|(module, _)| *module).filter(|module| modules.contains(module)).collect();
        if removed.is_empty() {
            return self.done(ticket);
        }
        self.list.retain(|(module, _)| !removed.contains(module));
        self.publishes = true;
        for module in removed {
            // It will hardly say that it plays.
            self.settle_one_of_pool(module);
            self.order(module, Order::Remove, ticket);
        }
    }

    fn settle_one_of_pool(&mut self, module: M) {
        let Some(at) = self.unanswered.iter().position(|(who, ..)| *who == module) else { return };
        let (.., ticket) = self.unanswered.remove(at);
        if !self.unanswered.iter().any(|(.., other)| *other == ticket) {
            self.done(ticket);
        }
    }

    fn obeyed(&mut self, module: M, order: Order, obeyed: bool) {
        let Some(at) = self.unanswered.iter().position(|open| (open.0, open.1) == (module, order)) else { return };
        if order != Order::Remove {
            self.publishes = true;
            if obeyed {
                let told = if order == Order::Play { Told::Play } else { Told::Suspend };
                let listed = self.list.iter_mut().chain(self.background.as_mut());
                listed.filter(|(listed, _)| *listed == module).for_each(|(_, is)| *is = told);
            } else {
                self.forget(module);
                self.inputs.push_back(Input::Terminate(module, "refused"));
            }
        }
        if self.queue {
            self.unanswered.remove(at);
            self.advance();
        } else {
            self.settle_one_of_pool(module);
        }
    }

    fn ended(&mut self, module: M) {
        for (_, change) in &mut self.changes {
            if matches!(*change, Change::Append(who) | Change::Background(who) if who == module) {
                *change = Change::Settle;
            }
        }
        let was_listed = self.forget(module);
        self.publishes |= was_listed;
        if !self.queue {
            return self.settle_one_of_pool(module);
        }
        if self.running.is_some() {
            self.unanswered.retain(|(who, ..)| *who != module);
            self.advance();
        } else if was_listed {
            self.change(None, Change::Settle);
        }
    }

    fn forget(&mut self, module: M) -> bool {
        let before = (self.list.len(), self.background);
        self.list.retain(|(listed, _)| *listed != module);
        self.background = self.background.filter(|(is, _)| *is != module);
        before != (self.list.len(), self.background)
    }
}
