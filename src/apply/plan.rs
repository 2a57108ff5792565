//! What is to be done, and in which order.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;

use super::part::{self, Part, Parts};
use super::systemctl::{self, Unit, Units};
use crate::generator::{Manager, TARGET, Tree};

const LAUNCHER: &str = "shmooze-launcher.service";

/// How things are.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The units that the manager has loaded.
    pub loaded: &'a Tree,
    /// Those of the settings that were good last, where there are any. Programs that run may be of these: between a
    /// `daemon-reload` by hand and a restart, nothing else tells.
    pub last_good: Option<&'a Tree>,
    /// The units of the settings as they are now.
    pub wanted: &'a Tree,
    /// What runs.
    pub units: &'a Units,
    /// Where somebody listens.
    pub listening: &'a HashSet<SocketAddr>,
}

/// One call of `systemctl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Stops these units.
    Stop(Vec<String>),
    /// Has the manager run its generators and load all units again.
    DaemonReload,
    /// Restarts a unit, with a socket its service.
    Restart(String),
    /// Has the manager forget that these units failed, and how often it started them meanwhile.
    Forget(Vec<String>),
    /// Starts a unit.
    Start(String),
    /// Has a service read the settings again.
    Reload(String),
}

/// Changes, and the steps that bring them about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// One sentence each.
    pub changes: Vec<String>,
    /// In this order.
    pub steps: Vec<Step>,
}

impl Step {
    /// The words for `systemctl`.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        match self {
            Self::Stop(units) => ["stop"].into_iter().chain(units.iter().map(String::as_str)).collect(),
            Self::Forget(units) => ["reset-failed"].into_iter().chain(units.iter().map(String::as_str)).collect(),
            Self::DaemonReload => vec!["daemon-reload"],
            Self::Restart(unit) => vec!["restart", unit],
            Self::Start(unit) => vec!["start", unit],
            Self::Reload(unit) => vec!["reload", unit],
        }
    }

    /// The command as people would type it.
    #[must_use]
    pub fn shown(&self, manager: Manager) -> String {
        systemctl::shown(manager, &self.words())
    }
}

/// A part that runs and has to be restarted.
struct Mover<'a> {
    part: &'a Part,
    /// The ports that it may hold until then.
    holds: BTreeSet<u16>,
}

impl Plan {
    /// What leads from `situation` to what is wanted.
    #[must_use]
    pub fn of(situation: &Situation<'_>) -> Self {
        let wanted = part::of(situation.wanted);
        let before: Vec<Parts> = [Some(situation.loaded), situation.last_good].into_iter().flatten().map(part::of).collect();
        let mut plan = Self::default();
        // What comes then, comes to where these are not up any more: a service of another kind may have the same name.
        let mut units = situation.units.clone();
        for stopped in plan.stop_what_is_gone(situation, &before, &wanted) {
            units.remove(&stopped);
        }
        let situation = &Situation { units: &units, ..*situation };
        let is_on = situation.is_up(TARGET);
        if situation.loaded != situation.wanted {
            plan.steps.push(Step::DaemonReload);
        }
        let (mut movers, mut starts, mut reloads) = (Vec::new(), Vec::new(), Vec::new());
        for part in wanted.values() {
            let change = situation.change(part, &before);
            plan.changes.extend(change.as_ref().map(|change| format!("{} {change}.", part.name)));
            let (is_up, has_failed) = (situation.is_up(&part.wanted), situation.is(&part.wanted, "failed"));
            if is_up && change.is_some() {
                let ports = before.iter().filter_map(|parts| parts.get(&part.wanted)).flat_map(|part| &part.ports);
                movers.push(Mover { part, holds: ports.copied().collect() });
            } else if is_on && !is_up && (has_failed || is_new(part, &before)) {
                // One that was given up would be refused for some minutes more.
                let failed: Vec<String> = part.units().into_iter().filter(|unit| situation.is(unit, "failed")).collect();
                starts.extend((!failed.is_empty()).then_some(Step::Forget(failed)));
                starts.push(Step::Start(part.wanted.clone()));
            } else if part.has_socket() && situation.is(&part.service, "active") {
                reloads.push(Step::Reload(part.service.clone()));
            }
        }
        plan.steps.extend(in_order(movers));
        if situation.is(LAUNCHER, "active") {
            plan.steps.push(Step::Reload(LAUNCHER.to_owned()));
        }
        plan.steps.extend(starts);
        plan.steps.extend(reloads);
        plan
    }

    /// Stops parts of before that are not wanted any more, and units of which there is no file any more; answers which units
    /// these are.
    fn stop_what_is_gone(&mut self, situation: &Situation<'_>, before: &[Parts], wanted: &Parts) -> BTreeSet<String> {
        let gone: Parts = before
            .iter()
            .flatten()
            .filter(|(unit, _)| !wanted.contains_key(*unit))
            .map(|(unit, part)| (unit.clone(), part.clone()))
            .collect();
        let kept: BTreeSet<&str> = wanted.values().flat_map(|part| [&*part.wanted, &*part.service]).collect();
        let mut stopped = BTreeSet::new();
        for part in gone.values() {
            let units: Vec<String> = part.units().into_iter().filter(|unit| situation.is_up(unit)).collect();
            self.changes.push(format!("{} is gone.", part.name));
            if !units.is_empty() {
                stopped.extend(units.iter().cloned());
                self.steps.push(Step::Stop(units));
            }
        }
        let lost = situation.units.iter().filter(|(name, unit)| {
            let is_part = name.ends_with(".socket") || name.ends_with(".service");
            is_part && unit.load == "not-found" && !stopped.contains(*name) && !kept.contains(name.as_str())
        });
        let lost: Vec<String> = lost.map(|(name, _)| name.clone()).filter(|name| situation.is_up(name)).collect();
        if !lost.is_empty() {
            self.changes.push(format!("Nothing in the settings is for {}.", lost.join(", ")));
            stopped.extend(lost.iter().cloned());
            self.steps.push(Step::Stop(lost));
        }
        stopped
    }
}

impl Situation<'_> {
    fn is(&self, unit: &str, active: &str) -> bool {
        self.units.get(unit).is_some_and(|state| state.active == active)
    }

    /// Whether it runs, or is about to.
    fn is_up(&self, unit: &str) -> bool {
        let is_up = |unit: &Unit| !matches!(&*unit.active, "inactive" | "failed" | "deactivating");
        self.units.get(unit).is_some_and(is_up)
    }

    /// What is to be said of a part beside its name; `None` where it stays as it is, but for what it reads in the settings.
    fn change(&self, part: &Part, before: &[Parts]) -> Option<String> {
        let loaded = before.first().and_then(|parts| parts.get(&part.wanted));
        let at = || format!("port{} {}", if part.ports.len() == 1 { "" } else { "s" }, list(&part.ports));
        if is_new(part, before) && !self.is_up(&part.wanted) {
            return Some(format!("is new, at {}", at()));
        }
        if let Some(loaded) = loaded.filter(|loaded| loaded.ports != part.ports) {
            return Some(format!("moves from port {} to {}", list(&loaded.ports), at()));
        }
        if loaded.is_some_and(|loaded| loaded.addresses != part.addresses) {
            let shown: Vec<String> = part.addresses.iter().map(ToString::to_string).collect();
            return Some(format!("moves to {}", shown.join(" and ")));
        }
        // After a daemon-reload by hand the old place is closed, and nothing has opened the new one.
        if self.is_up(&part.wanted) && !part.addresses.iter().all(|address| self.listening.contains(address)) {
            return Some(format!("is not yet at {}", at()));
        }
        let is_other = |parts: &Parts| parts.get(&part.wanted).is_some_and(|before| before.essence != part.essence);
        before.iter().any(is_other).then(|| "is changed".to_owned())
    }
}

/// Whether there was no such part before, by what is loaded or by what was in force.
fn is_new(part: &Part, before: &[Parts]) -> bool {
    before.iter().any(|parts| !parts.contains_key(&part.wanted))
}

fn list(ports: &BTreeSet<u16>) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Restarts in such an order that each finds its port free; those that want each other's are all stopped first.
fn in_order(mut movers: Vec<Mover<'_>>) -> Vec<Step> {
    let mut steps = Vec::new();
    while !movers.is_empty() {
        let is_free = |index: usize| {
            let others = movers.iter().enumerate().filter(|(other, _)| *other != index);
            others.flat_map(|(_, other)| &other.holds).all(|port| !movers[index].part.ports.contains(port))
        };
        match (0..movers.len()).find(|index| is_free(*index)) {
            Some(index) => steps.push(Step::Restart(movers.remove(index).part.wanted.clone())),
            None => {
                steps.push(Step::Stop(movers.iter().flat_map(|mover| mover.part.units()).collect()));
                steps.extend(movers.drain(..).map(|mover| Step::Start(mover.part.wanted.clone())));
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests;
