//! The world around one broker: a house, modules, clients, a service manager, and time.
//!
//! One thing happens at a time. After each the broker does whatever it can without time passing; then all that it has
//! written is read, and compared with the models (`check`). What modules do of it is put on the agenda.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::super::Kind;
use super::house::{House, Wanted};
use super::model::{self, M, Model, Phase, Reply, Request, uid};
use super::process::{Process, Start};
use super::random::Random;
use super::wire::Wire;
use crate::handover::Stored;
use crate::handover::testing::Manager;
use crate::launcher::Local;
use crate::protocol::numbered;
use crate::scope::Reached;
use crate::settings::Settings;

/// What happens, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// The house has launched the module, or could not.
    Launch(M),
    /// The module connects to one of its two ports.
    Connect(M, usize),
    /// It writes on its command stream, whether it was asked or not.
    Answer(M, Reply),
    Set(M, usize, Option<u64>),
    BadUpdate(M),
    /// It says that it ends.
    Own(M),
    /// It closes its command stream, its update stream or both.
    Close(M, [bool; 2]),
    /// Its last process goes.
    Gone(M, Reached),
}

/// How a module's processes end once its streams are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    ByItself(u64),
    /// So long after SIGTERM.
    Terminated(u64),
    /// It ignores even that.
    Killed,
}

pub(super) struct Sim {
    wanted: Option<Wanted>,
    ports: [u16; 2],
    pub(super) failure: Option<&'static str>,
    /// Command and update stream.
    pub(super) wires: [Option<Wire>; 2],
    pub(super) nature: Nature,
    /// Its end is on the agenda.
    going: bool,
    pub(super) gone: bool,
    /// It has closed a stream itself.
    pub(super) left: bool,
    /// It has written something while no process of the broker was there: that is read in one go with what it wrote before.
    pub(super) hasty: bool,
    /// When the house was asked to stop it.
    pub(super) stops: Vec<u64>,
}

impl Sim {
    pub(super) fn new(wanted: Wanted, failure: Option<&'static str>, nature: Nature) -> Self {
        let (ports, wires) = (wanted.ports, [None, None]);
        let (going, gone, left, hasty, stops) = (false, false, false, false, Vec::new());
        Self { wanted: Some(wanted), ports, failure, wires, nature, going, gone, left, hasty, stops }
    }
}

pub(super) struct Client {
    pub(super) wire: Wire,
    /// Neither has it gone nor was the broker killed.
    pub(super) alive: bool,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) kind: Kind,
    settings: Arc<Settings>,
    pub(super) house: House,
    launcher: Arc<Local>,
    listener: TcpListener,
    manager: Option<Manager>,
    pub(super) stored: Stored,
    pub(super) process: Option<Process>,
    pub(super) now: u64,
    agenda: BTreeMap<(u64, usize), Happening>,
    scheduled: usize,
    pub(super) sims: BTreeMap<M, Sim>,
    pub(super) clients: Vec<Client>,
    /// All that may be true: more than one only while nobody can know whether something has happened.
    pub(super) models: Vec<Model>,
    pub(super) trace: Vec<String>,
    /// The last that was published.
    pub(super) revision: u64,
}

impl World {
    pub(super) fn new(kind: Kind, seed: u64) -> Self {
        let mut random = Random::new(seed);
        numbered::begin(0);
        let timeouts =
            json!({"command": model::COMMAND, "connect": model::CONNECT, "exit": model::EXIT, "terminate": model::TERMINATE});
        let types = |name: &str| json!({name: {"process": ["x"], "timeouts": timeouts}});
        let mut service = json!({"kind": kind.name(), "modules": types("a")});
        if kind == Kind::Queue {
            service["backgrounds"] = types("b");
        }
        let settings = json!({"ports": {kind.name(): 1}, "services": {kind.name(): service}}).to_string();
        let settings = Arc::new(Settings::parse(&settings, Path::new("/x.json")).unwrap());
        let house = House::default();
        let launcher = Arc::new(Local::new(Arc::clone(&settings), Arc::new(house.clone())));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        // One in four has no service manager to keep anything.
        let manager = (!random.chance(25)).then(Manager::new);
        let mut world = Self {
            random,
            kind,
            settings,
            house,
            launcher,
            listener,
            manager,
            stored: Stored::new(),
            process: None,
            now: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
            sims: BTreeMap::new(),
            clients: Vec::new(),
            models: vec![Model::new(kind == Kind::Queue)],
            trace: Vec::new(),
            revision: 0,
        };
        world.start();
        world
    }

    pub(super) fn note(&mut self, what: &str) {
        self.trace.push(format!("{:5} {what}", self.now));
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.manager.is_some()
    }

    /// Any of the models: they differ in nothing that matters to what is done next.
    pub(super) fn model(&self) -> &Model {
        &self.models[0]
    }

    fn each(&mut self, act: impl Fn(&mut Model)) {
        Model::each(&mut self.models, act);
    }

    // ---- The broker's process.

    fn start(&mut self) {
        let fine = self.is_kept() && self.random.chance(30);
        let start = Start {
            kind: self.kind,
            settings: &self.settings,
            launcher: self.launcher.clone(),
            listener: &self.listener,
            manager: self.manager.as_ref().map(|manager| (manager, &self.stored)),
        };
        self.process = Some(Process::start(start, fine));
    }

    /// The process is killed, if any of `happening` in the midst of that; the next goes on.
    pub(super) fn kill(&mut self, during: Option<Happening>) {
        if let Some(happening) = during {
            let steps = self.random.below(24);
            self.note(&format!("killed after {steps} steps of:"));
            self.apply(happening);
            self.process.iter_mut().for_each(|process| process.steps(steps));
        }
        self.end_process();
        if self.random.chance(40)
            && let Some(happening) = self.something()
        {
            self.note("meanwhile:");
            self.apply(happening);
        }
        self.follow();
        self.settle();
    }

    /// The process is killed while it carries out a request, or before, or after: who knows. Where it had not even accepted
    /// the client, the next one does.
    pub(super) fn kill_during_request(&mut self, request: &Request) {
        let steps = self.random.below(40);
        self.note(&format!("killed after {steps} steps of:"));
        let client = self.connect();
        let mut without = self.models.clone();
        self.send(client, request);
        self.process.iter_mut().for_each(|process| process.steps(steps));
        let with = self.models.len();
        self.models.append(&mut without);
        self.end_process();
        self.follow();
        let mut later = self.models[with..].to_vec();
        Model::each(&mut later, |model| model.request(client, request.clone()));
        self.models.append(&mut later);
        self.settle();
    }

    fn end_process(&mut self) {
        self.note("killed");
        self.process = None;
        self.collect();
        self.clients.iter_mut().for_each(|client| client.alive = false);
        self.each(Model::killed);
        self.sims.values_mut().for_each(|sim| sim.wanted = None);
    }

    fn follow(&mut self) {
        self.start();
        self.each(Model::resumed);
    }

    /// Begins to end all.
    pub(super) fn drain(&mut self) {
        self.note("drain");
        self.process.iter_mut().for_each(Process::drain);
        self.each(Model::drain);
        self.settle();
    }

    // ---- Clients.

    /// A new connection.
    pub(super) fn connect(&mut self) -> usize {
        let wire = Wire::connect(self.listener.local_addr().unwrap().port()).unwrap();
        self.clients.push(Client { wire, alive: true });
        self.each(Model::connect);
        self.clients.len() - 1
    }

    /// A client writes a request; the broker has not seen it yet.
    pub(super) fn send(&mut self, client: usize, request: &Request) {
        self.note(&format!("client {client}: {request:?}"));
        let uids = |modules: &[Option<M>]| modules.iter().map(|module| uid(module.unwrap_or(999))).collect::<Vec<_>>();
        let one = |module: &Option<M>| uid(module.unwrap_or(999));
        let names = ["p0", "p1", "p2"];
        let place = |background: bool| if background { "background" } else { "module" };
        let line = match request {
            Request::Add { background, known } => json!({
                "cmd": if *background { "set_bg" } else { "add" },
                "args": {"type": match (known, background) { (false, _) => "z", (_, true) => "b", (_, false) => "a" }},
            }),
            Request::Remove(modules) => json!({"cmd": "rm", "args": {"uids": uids(modules)}}),
            Request::Move(modules) => json!({"cmd": "mv", "args": {"uids": uids(modules)}}),
            Request::Tell { module, background } => {
                json!({"cmd": format!("tell_{}", place(*background)), "args": {"uid": one(module), "cmd": "it"}})
            }
            Request::Ask { module, background } => {
                json!({"cmd": format!("ask_{}", place(*background)), "args": {"uid": one(module), "parameters": names}})
            }
            Request::List { parameters: true } => json!({"cmd": self.kind.name(), "args": {"parameters": {"a": names}}}),
            Request::List { parameters: false } => json!({"cmd": self.kind.name()}),
            Request::Background => json!({"cmd": "bg"}),
        };
        self.clients[client].wire.write(&line.to_string());
        self.each(|model| model.request(client, request.clone()));
    }

    pub(super) fn leave(&mut self, client: usize) {
        self.note(&format!("client {client} leaves"));
        self.clients[client].alive = false;
        self.clients[client].wire.close();
        self.each(|model| model.leave(client));
    }

    // ---- What happens.

    /// When something may happen that takes `delay` ms.
    pub(super) fn plan(&mut self, delay: u64, happening: Happening) {
        self.scheduled += 1;
        self.agenda.insert(((self.now + delay).next_multiple_of(16), self.scheduled), happening);
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        self.apply(happening);
        self.settle();
    }

    fn apply(&mut self, happening: Happening) {
        self.note(&format!("{happening:?}"));
        match happening {
            Happening::Launch(module) => {
                let Some(sim) = self.sims.get_mut(&module) else { return };
                let Some(wanted) = sim.wanted.take() else { return };
                let failure = sim.failure;
                sim.gone = !self.house.launch(wanted, failure);
                if !sim.gone {
                    self.come(module);
                }
                self.each(|model| model.launched(module, failure));
            }
            Happening::Connect(module, stream) => {
                let awaited = matches!(self.model().modules[module].phase, Phase::Launched { .. });
                let sim = self.sims.get_mut(&module).unwrap();
                if !awaited || sim.gone || sim.left {
                    return;
                }
                if let Ok(wire) = Wire::connect(sim.ports[stream]) {
                    sim.wires[stream] = Some(wire);
                    self.each(|model| model.connected(module, stream));
                }
            }
            Happening::Answer(module, reply) => {
                let line = match reply {
                    Reply::Good if self.is_told(module) => json!({"success": true, "result": {"of": module}}).to_string(),
                    Reply::Good => json!({"success": true}).to_string(),
                    Reply::Refusal => json!({"success": false, "error": "no"}).to_string(),
                    Reply::Rubbish => "rubbish".to_owned(),
                };
                if self.write(module, 0, &line) {
                    self.each(|model| model.answered(module, reply));
                }
            }
            Happening::Set(module, name, value) => {
                let name = format!("p{name}");
                let line = match value {
                    Some(value) => json!({"cmd": "set_parameters", "args": {"parameters": {name.as_str(): value}}}),
                    None => json!({"cmd": "unset_parameters", "args": {"parameters": [name]}}),
                };
                if self.write(module, 1, &line.to_string()) {
                    self.each(|model| model.set(module, &name, value));
                }
            }
            Happening::BadUpdate(module) => {
                if self.write(module, 1, "{\"cmd\": \"nonsense\"}") {
                    self.each(|model| model.bad_update(module));
                }
            }
            Happening::Own(module) => {
                if self.write(module, 1, "{\"cmd\": \"rm\"}") {
                    self.each(|model| model.closed(module, true));
                }
            }
            Happening::Close(module, which) => {
                let sim = self.sims.get_mut(&module).unwrap();
                sim.left = true;
                let streams = sim.wires.iter_mut().flatten().zip(which).filter(|(_, close)| *close);
                streams.for_each(|(wire, _)| wire.close());
                self.each(|model| model.closed(module, false));
            }
            Happening::Gone(module, reached) => {
                let sim = self.sims.get_mut(&module).unwrap();
                sim.left = true;
                sim.gone = true;
                // A process that goes closes its streams.
                if sim.wires.iter_mut().flatten().filter(|wire| !wire.closed).map(Wire::close).count() > 0 {
                    self.each(|model| model.closed(module, false));
                    self.process.iter_mut().for_each(Process::settle);
                    self.collect();
                }
                self.house.gone(module, reached);
                self.each(|model| model.gone(module));
            }
        }
    }

    /// Whether a client's command is what the module was asked last.
    fn is_told(&self, module: M) -> bool {
        self.sims[&module].wires[0].as_ref().and_then(|wire| wire.lines.last()).is_some_and(|line| line.contains("do_it"))
    }

    fn write(&mut self, module: M, stream: usize, line: &str) -> bool {
        let Some(sim) = self.sims.get_mut(&module) else { return false };
        let Some(wire) = sim.wires[stream].as_mut().filter(|wire| !wire.closed) else { return false };
        wire.write(line);
        sim.hasty |= self.process.is_none();
        true
    }

    // ---- What comes of it.

    /// The broker does what it can, and all of it is looked at.
    pub(super) fn settle(&mut self) {
        self.process.iter_mut().for_each(Process::settle);
        self.collect();
        self.check();
    }

    /// Reads whatever the broker has written and asked for.
    fn collect(&mut self) {
        if let Some(manager) = &self.manager {
            manager.store(&mut self.stored);
        }
        for wanted in self.house.wanted() {
            let module = wanted.module;
            self.note(&format!("launch {module}"));
            let (sim, delay) = self.birth(wanted);
            assert!(self.sims.insert(module, sim).is_none(), "module {module} is launched twice");
            self.plan(delay, Happening::Launch(module));
        }
        for module in self.sims.keys().copied().collect::<Vec<_>>() {
            for stream in 0..2 {
                let Some(wire) = self.sims.get_mut(&module).unwrap().wires[stream].as_mut() else { continue };
                let was_closed = wire.closed;
                let (lines, is_closed) = (wire.read(), wire.closed);
                for line in lines {
                    self.note(&format!("{module} <- {line}"));
                    if stream == 0 {
                        self.react(module);
                    }
                }
                if is_closed && !was_closed && stream == 0 {
                    self.go(module);
                }
            }
        }
        for module in self.house.stops() {
            self.note(&format!("stop {module}"));
            let now = self.now;
            let sim = self.sims.get_mut(&module).unwrap();
            sim.stops.push(now);
            if !std::mem::replace(&mut sim.going, true) {
                let (delay, reached) = match sim.nature {
                    Nature::ByItself(delay) | Nature::Terminated(delay) => (delay, Reached::Terminate),
                    Nature::Killed => (model::TERMINATE, Reached::Kill),
                };
                self.plan(delay, Happening::Gone(module, reached));
            }
        }
        for client in 0..self.clients.len() {
            for line in self.clients[client].wire.read() {
                self.note(&format!("client {client} <- {line}"));
            }
        }
    }

    /// Its streams are closed: it goes, unless it has to be made to.
    pub(super) fn go(&mut self, module: M) {
        let sim = self.sims.get_mut(&module).unwrap();
        if let Nature::ByItself(delay) = sim.nature
            && !std::mem::replace(&mut sim.going, true)
        {
            self.plan(delay, Happening::Gone(module, Reached::Exit));
        }
    }

    // ---- Time.

    /// Time passes, and what is due happens.
    pub(super) fn pass(&mut self, time: u64) {
        let until = self.now + time;
        loop {
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.model().deadline();
            match (next, deadline) {
                (Some(at), _) if at <= until && deadline.is_none_or(|deadline| at < deadline) => {
                    self.advance(at);
                    if let Some((_, happening)) = self.agenda.pop_first() {
                        self.happen(happening);
                    }
                }
                (_, Some(deadline)) if deadline <= until => {
                    // Not a moment too soon.
                    self.advance(deadline - 1);
                    self.advance(deadline);
                }
                _ => break,
            }
        }
        self.advance(until);
    }

    fn advance(&mut self, to: u64) {
        if to <= self.now {
            return;
        }
        let time = to - self.now;
        self.now = to;
        self.process.iter_mut().for_each(|process| process.pass(time));
        self.each(|model| model.pass(to));
        self.settle();
    }

    pub(super) fn has_plans(&self) -> bool {
        !self.agenda.is_empty() || self.model().deadline().is_some()
    }
}
