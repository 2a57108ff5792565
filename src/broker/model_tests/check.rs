//! What is promised, and whether it is so: after each single thing that happens, and at the end.

use serde_json::Value;

use super::model::{Answer, C, M, Model, Phase, uid};
use super::world::{Sim, World};
use crate::engine::Told;

impl World {
    /// Compares the broker with each model; those that it contradicts are no longer possible.
    pub(super) fn check(&mut self) {
        let mut problems = Vec::new();
        self.count();
        let mut models = std::mem::take(&mut self.models);
        models.retain(|model| match self.compare(model) {
            Ok(()) => true,
            Err(problem) => {
                problems.push(problem);
                false
            }
        });
        self.models = models;
        assert!(!self.models.is_empty(), "{}", problems.join("\nor "));
    }

    /// A process counts from the time of day on, and whether the one before had published what has just happened nobody
    /// knows: what it begins with counts from there. No revision is less than one before.
    fn count(&mut self) {
        let Some(process) = &self.process else { return };
        let revision = process.broker.board().snapshot().revision();
        assert!(revision >= self.revision, "revision {revision} after {}", self.revision);
        self.revision = revision;
        // It is 0 before anything is published.
        for model in self.models.iter_mut().filter(|_| revision > 0) {
            model.counted_from.get_or_insert(revision - model.published);
        }
    }

    fn compare(&self, model: &Model) -> Result<(), String> {
        if let Some(module) = self.sims.keys().find(|module| **module >= model.modules.len()) {
            return Err(format!("module {module} was launched for nobody"));
        }
        self.list(model)?;
        for (module, is) in model.modules.iter().enumerate() {
            self.module(model, module).map_err(|problem| format!("module {module} ({:?}): {problem}", is.phase))?;
        }
        for client in 0..self.clients.len() {
            self.client(model, client).map_err(|problem| format!("client {client}: {problem}"))?;
        }
        self.history(model)?;
        if self.kind.name() == "queue" { self.at_most_one_plays(model) } else { Ok(()) }
    }

    /// The list, its order, what each was told, its parameters, and the revision.
    fn list(&self, model: &Model) -> Result<(), String> {
        let Some(process) = &self.process else { return Ok(()) };
        let snapshot = process.broker.board().snapshot();
        let item = |item: &super::super::Item| (item.module.uid().to_string(), item.told);
        let is: Vec<_> = snapshot.list().map(item).collect();
        let expected = |(module, told): &(M, Told)| (uid(*module), *told);
        same("the list", &is, &model.list.iter().map(expected).collect())?;
        same("the background", &snapshot.background().map(item), &model.background.as_ref().map(expected))?;
        same(
            "changes published",
            &model.counted_from.map_or(0, |from| snapshot.revision().wrapping_sub(from)),
            &model.published,
        )?;
        for listed in snapshot.list().chain(snapshot.background()) {
            let module = M::try_from(listed.module.uid().number()).unwrap();
            for name in ["p0", "p1", "p2"] {
                let value = listed.module.parameters().get(name).map(|value| value.get().to_owned());
                let set = model.modules[module].parameters.get(name).map(u64::to_string);
                same(&format!("parameter {name} of module {module}"), &value, &set)?;
            }
        }
        Ok(())
    }

    /// Everything that it was asked and answered, once and in order, and when it was ended.
    fn module(&self, model: &Model, module: M) -> Result<(), String> {
        let is = &model.modules[module];
        let Some(sim) = self.sims.get(&module) else {
            return if matches!(is.phase, Phase::Launching { .. }) { Err("is not launched".to_owned()) } else { Ok(()) };
        };
        same("stops", &sim.stops, &is.stopped)?;
        if let [Some(command), Some(update)] = &sim.wires {
            let cmd = |line: &String| serde_json::from_str::<Value>(line).ok()?["cmd"].as_str().map(str::to_owned);
            let asked: Vec<_> = command.lines.iter().map(|line| cmd(line).unwrap_or_default()).collect();
            let success = |line: &String| serde_json::from_str::<Value>(line).is_ok_and(|answer| answer["success"] == true);
            let updates: Vec<bool> = update.lines.iter().map(success).collect();
            if sim.left {
                // What was written after it had left never arrived.
                beginning("what it was asked", &asked, &is.told)?;
                beginning("answers to its updates", &updates, &is.updates)?;
            } else {
                same("what it was asked", &asked, &is.told.iter().map(|cmd| (*cmd).to_owned()).collect())?;
                if sim.hasty && is.phase != Phase::Talking {
                    // Whoever says in one go something and that it ends is not answered any more.
                    beginning("answers to its updates", &updates, &is.updates)?;
                } else {
                    same("answers to its updates", &updates, &is.updates)?;
                }
                same("whether its streams are closed", &[command.closed, update.closed], &[is.phase != Phase::Talking; 2])?;
            }
        }
        Ok(())
    }

    /// Each request is answered once and in order, as the model does.
    fn client(&self, model: &Model, client: C) -> Result<(), String> {
        let (is, expected) = (&self.clients[client], &model.connections[client]);
        let idle = !expected.busy && expected.waiting.is_empty();
        let (lines, answers) = (&is.wire.lines, &expected.answers);
        // Answers to what came in one go are written in one go; and whoever has gone reads no more.
        if lines.len() > answers.len() || (is.alive && idle && lines.len() < answers.len()) {
            return Err(format!("has {} answers of {}, the next is {:?}", lines.len(), answers.len(), answers.get(lines.len())));
        }
        for (line, answer) in lines.iter().zip(answers) {
            let value: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
            let good = match answer {
                Answer::Exactly(expected) => value == *expected,
                Answer::Error => value["success"] == false && value["error"].is_string(),
            };
            if !good {
                return Err(format!("was answered {line} instead of {answer:?}"));
            }
        }
        Ok(())
    }

    /// Each module that has gone is told of once, with the cause.
    fn history(&self, model: &Model) -> Result<(), String> {
        let Some(process) = &self.process else { return Ok(()) };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut lives: Vec<_> =
            process.broker.board().history().last(1000).iter().map(|life| (text(&life["uid"]), text(&life["cause"]))).collect();
        lives.sort();
        let gone = model.modules.iter().enumerate().filter(|(_, module)| module.phase == Phase::Gone && !module.cause.is_empty());
        same("who has gone", &lives, &gone.map(|(module, is)| (uid(module), is.cause.to_owned())).collect())
    }

    /// As modules see it. One that owes an answer to a client cannot be told otherwise before that.
    fn at_most_one_plays(&self, model: &Model) -> Result<(), String> {
        let plays = |wire: &super::wire::Wire| {
            let orders = ["play", "suspend", "rm"].map(|order| format!("{{\"cmd\": \"{order}\"}}"));
            let last = wire.lines.iter().rfind(|line| orders.contains(line));
            !wire.closed && last.is_some_and(|last| *last == orders[0])
        };
        let plays = |(module, sim): (&M, &Sim)| {
            let plays = sim.wires[0].as_ref().is_some_and(plays) && !model.modules[*module].has_orders_waiting();
            plays.then_some(*module)
        };
        let playing: Vec<M> = self.sims.iter().filter_map(plays).collect();
        if playing.len() > 1 { Err(format!("{playing:?} were all told to play")) } else { Ok(()) }
    }

    /// Once the broker has ended, nothing is left.
    pub(super) fn check_end(&self) {
        assert!(self.process.as_ref().is_some_and(super::process::Process::is_drained), "the broker has not ended");
        assert_eq!(self.house.running(), [0; 0], "these run on");
        let streams: Vec<_> = self.stored.iter().map(|(name, _)| name).filter(|name| !name.starts_with("@=")).collect();
        assert!(streams.is_empty(), "the service manager keeps {streams:?}");
        let left: Vec<_> = self.model().modules.iter().filter(|module| module.phase != Phase::Gone).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, expected: &T) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?} instead of {expected:?}")) }
}

fn beginning<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(what: &str, is: &[T], of: &[U]) -> Result<(), String> {
    if is.len() <= of.len() && is.iter().zip(of).all(|(is, of)| is == of) {
        Ok(())
    } else {
        Err(format!("{what}: {is:?} is not the beginning of {of:?}"))
    }
}
