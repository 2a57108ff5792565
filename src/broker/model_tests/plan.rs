//! What happens next, by chance: what clients want, what modules do of it, and what goes wrong.

use super::super::Kind;
use super::house::Wanted;
use super::model::{CONNECT, M, Phase, Reply, Request};
use super::world::{Happening, Nature, Sim, World};

/// How long something takes that is not at once, in ms.
const LATE: [u64; 4] = [16, 48, 96, 144];
/// Most modules that are listed or on their way there before no more are added.
const MOST: usize = 6;

impl World {
    /// One step of a life: something happens, and time passes or does not.
    pub(super) fn step(&mut self) {
        match self.random.below(100) {
            0..60 => self.client_acts(),
            60..85 => {
                if let Some(happening) = self.something() {
                    self.happen(happening);
                }
            }
            85..93 if self.is_kept() => self.kill_somehow(),
            _ => {}
        }
        let time = self.random.one_of(&[0, 0, 0, 16, 32, 64, 160, 400]);
        self.pass(time);
    }

    fn client_acts(&mut self) {
        let request = self.request();
        let free: Vec<usize> = (0..self.clients.len())
            .filter(|client| self.clients[*client].alive && !self.model().connections[*client].has_tell())
            .collect();
        let client = match free.len() {
            0 => self.connect(),
            1 | 2 if self.random.chance(30) => self.connect(),
            _ => self.random.one_of(&free),
        };
        self.send(client, &request);
        self.settle();
        let connection = &self.model().connections[client];
        if connection.busy && connection.waiting.is_empty() && self.random.chance(5) {
            self.leave(client);
            self.settle();
        }
    }

    fn kill_somehow(&mut self) {
        // What waits behind another request may have begun or not: one such doubt at a time is enough.
        let quiet = self.model().connections.iter().all(|connection| connection.waiting.is_empty());
        match self.random.below(3) {
            0 if quiet => match self.request() {
                // Whether that happened nobody would ever know.
                Request::List { .. } | Request::Ask { .. } | Request::Background => self.kill(None),
                request => self.kill_during_request(&request),
            },
            1 if quiet => {
                let during = self.something();
                self.kill(during);
            }
            _ => self.kill(None),
        }
    }

    fn request(&mut self) -> Request {
        let listed = self.model().list.len();
        let coming = self.model().modules.iter().filter(|module| module.is_coming()).count();
        let queue = self.kind == Kind::Queue;
        let background = queue && self.random.chance(20);
        let full = listed + coming >= MOST;
        match self.random.below(100) {
            0..38 if !full => Request::Add { background, known: !self.random.chance(6) },
            38..55 => Request::Remove(self.some()),
            55..67 if queue => Request::Move(self.some()),
            67..82 => Request::Tell { module: self.one(background), background },
            82..88 => Request::Ask { module: self.one(background), background },
            88..93 if queue => Request::Background,
            _ => Request::List { parameters: self.random.chance(50) },
        }
    }

    /// Modules that a client can know, now and then none that ever was.
    fn some(&mut self) -> Vec<Option<M>> {
        let count = self.random.one_of(&[0, 1, 1, 1, 2, 2, 3, 6]);
        (0..count)
            .map(|_| {
                let background = self.random.chance(15);
                self.one(background)
            })
            .collect()
    }

    fn one(&mut self, background: bool) -> Option<M> {
        let listed: Vec<M> = match self.model().background {
            Some((module, _)) if background => vec![module],
            _ => self.model().list.iter().map(|(module, _)| *module).collect(),
        };
        match self.random.below(20) {
            0 => None,
            1 if !self.sims.is_empty() => {
                Some(self.random.below(self.sims.len())).filter(|module| self.sims.contains_key(module))
            }
            _ if listed.is_empty() => None,
            _ => Some(self.random.one_of(&listed)),
        }
    }

    /// Something that a module does without having been asked.
    pub(super) fn something(&mut self) -> Option<Happening> {
        let talking = |module: &M| self.model().modules[*module].phase == Phase::Talking;
        let talking: Vec<M> = self.sims.keys().copied().filter(talking).collect();
        let module = if talking.is_empty() { return None } else { self.random.one_of(&talking) };
        let name = self.random.below(3);
        Some(match self.random.below(100) {
            0..40 => Happening::Set(module, name, Some(self.random.below(4) as u64)),
            40..50 => Happening::Set(module, name, None),
            50..58 => Happening::BadUpdate(module),
            58..66 => Happening::Answer(module, self.random.one_of(&[Reply::Good, Reply::Refusal, Reply::Rubbish])),
            66..80 => Happening::Own(module),
            80..92 => Happening::Close(module, self.random.one_of(&[[true, false], [false, true], [true, true]])),
            _ => Happening::Gone(module, crate::scope::Reached::Exit),
        })
    }

    /// What becomes of a launch, and when.
    pub(super) fn birth(&mut self, wanted: Wanted) -> (Sim, u64) {
        let nature = match self.random.below(10) {
            0..6 => Nature::ByItself(self.random.one_of(&[0, 16, 48, 80, 160])),
            6..8 => Nature::Terminated(self.random.one_of(&LATE)),
            _ => Nature::Killed,
        };
        let failure = self.random.chance(6).then_some("no room");
        let delay = match self.random.below(20) {
            0 => CONNECT + 40,
            1..4 => self.random.one_of(&LATE),
            _ => 0,
        };
        (Sim::new(wanted, failure, nature), delay)
    }

    /// A module was launched: it connects, or does not.
    pub(super) fn come(&mut self, module: M) {
        let first = self.random.below(2);
        let delay = if self.random.chance(70) { 0 } else { self.random.one_of(&LATE) };
        let then = if self.random.chance(80) { delay } else { delay + self.random.one_of(&LATE) };
        match self.random.below(40) {
            0 => {}
            1 => self.plan(delay, Happening::Gone(module, crate::scope::Reached::Exit)),
            2 => self.plan(delay, Happening::Connect(module, first)),
            _ => {
                self.plan(delay, Happening::Connect(module, first));
                self.plan(then, Happening::Connect(module, 1 - first));
            }
        }
    }

    /// A module was asked something.
    pub(super) fn react(&mut self, module: M) {
        let delay = match self.random.below(10) {
            0..6 => 0,
            _ => self.random.one_of(&LATE),
        };
        match self.random.below(100) {
            0..86 => self.plan(delay, Happening::Answer(module, Reply::Good)),
            86..91 => self.plan(delay, Happening::Answer(module, Reply::Refusal)),
            91..93 => self.plan(delay, Happening::Answer(module, Reply::Rubbish)),
            93..95 => self.plan(delay, Happening::Close(module, [true, true])),
            95..96 => self.plan(delay, Happening::Own(module)),
            96..97 => self.plan(delay, Happening::Gone(module, crate::scope::Reached::Exit)),
            // Never.
            _ => {}
        }
    }
}
