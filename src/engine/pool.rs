//! The pool: all its modules play (protocol.md section 4). No change waits for another.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Effect, Entry, Input, Order, Ticket, Told, reorder};
use crate::protocol::Uid;

/// A pool. See the [module](super) for how it is driven.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    list: Vec<Entry>,
    /// Launched and not initialised yet.
    starting: BTreeMap<Uid, Ticket>,
    /// Launched again and not initialised yet; those that are listed are down.
    restarting: BTreeSet<Uid>,
    /// Which request waits for the module's answer.
    unanswered: BTreeMap<Uid, (Option<Ticket>, Order)>,
    /// How many answers each request still waits for.
    outstanding: BTreeMap<Ticket, usize>,
    draining: bool,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The modules, oldest first.
    #[must_use]
    pub fn list(&self) -> &[Entry] {
        &self.list
    }

    pub(super) fn length(&self) -> usize {
        self.list.len() + self.starting.len()
    }

    pub(super) const fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn is_starting(&self, uid: Uid) -> bool {
        self.starting.contains_key(&uid) || self.restarting.contains(&uid)
    }

    /// Takes one input and appends what has to be done to `effects`.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Add { ticket, .. } if self.draining => effects.push(Effect::Refuse { ticket }),
            Input::Add { ticket, uid, .. } => {
                self.starting.insert(uid, ticket);
                effects.push(Effect::Launch { uid });
            }
            Input::Started { uid, alive } => self.started(uid, alive, effects),
            Input::Remove { ticket, uids } => self.remove(ticket, &|uid| uids.contains(uid), effects),
            Input::Move { ticket, uids } => {
                // No command of a pool: modules that are launched again come back to their places by it.
                reorder(&mut self.list, &uids);
                effects.extend([Effect::Publish, Effect::Done { ticket }]);
            }
            Input::Answered { uid, order, obeyed } => self.answered(uid, order, obeyed, effects),
            Input::Ended { uid } => self.ended(uid, effects),
            Input::Lost { uid } => self.lost(uid, effects),
            Input::Restart { uid } => self.restart(uid, effects),
            Input::Drain { ticket } => {
                self.draining = true;
                effects.extend(self.starting.keys().map(|&uid| Effect::Terminate { uid }));
                self.remove(ticket, &|_| true, effects);
            }
            Input::Reopen => self.draining = false,
        }
    }

    fn started(&mut self, uid: Uid, alive: bool, effects: &mut Vec<Effect>) {
        if self.restarting.remove(&uid) {
            self.restarted(uid, alive, effects);
            return;
        }
        let Some(ticket) = self.starting.remove(&uid) else { return };
        if !alive || self.draining {
            if alive {
                effects.push(Effect::Terminate { uid });
            }
            effects.push(Effect::Refuse { ticket });
            return;
        }
        self.list.push(Entry::new(uid));
        effects.push(Effect::Publish);
        self.order(Some(ticket), uid, Order::Play, effects);
    }

    fn lost(&mut self, uid: Uid, effects: &mut Vec<Effect>) {
        let Some(entry) = self.list.iter_mut().find(|entry| entry.uid == uid) else {
            self.ended(uid, effects);
            return;
        };
        if entry.down {
            return;
        }
        *entry = Entry::down(uid);
        effects.extend([Effect::Terminate { uid }, Effect::Publish]);
        self.not_answered(uid, effects);
    }

    fn restart(&mut self, uid: Uid, effects: &mut Vec<Effect>) {
        let is_down = self.list.iter().any(|entry| entry.uid == uid && entry.down);
        if is_down && !self.draining && self.restarting.insert(uid) {
            effects.push(Effect::Launch { uid });
        }
    }

    fn restarted(&mut self, uid: Uid, alive: bool, effects: &mut Vec<Effect>) {
        if !alive {
            return;
        }
        let Some(entry) = self.list.iter_mut().find(|entry| entry.uid == uid && entry.down) else {
            effects.push(Effect::Terminate { uid });
            return;
        };
        *entry = Entry::new(uid);
        effects.push(Effect::Publish);
        self.order(None, uid, Order::Play, effects);
    }

    fn remove(&mut self, ticket: Ticket, which: &dyn Fn(&Uid) -> bool, effects: &mut Vec<Effect>) {
        let removed: Vec<Entry> = self.list.extract_if(.., |entry| which(&entry.uid)).collect();
        if !removed.is_empty() {
            effects.push(Effect::Publish);
        }
        for &Entry { uid, down, .. } in &removed {
            if down {
                if self.restarting.contains(&uid) {
                    effects.push(Effect::Terminate { uid });
                }
                effects.push(Effect::Forget { uid });
                continue;
            }
            // Its `play` may be unanswered still: whoever added it is answered now, the module will be asked to end.
            self.not_answered(uid, effects);
            self.order(Some(ticket), uid, Order::Remove, effects);
        }
        if removed.iter().all(|entry| entry.down) {
            effects.push(Effect::Done { ticket });
        }
    }

    /// Gives an order, whose answer the request waits for where there is one.
    fn order(&mut self, ticket: Option<Ticket>, uid: Uid, order: Order, effects: &mut Vec<Effect>) {
        self.unanswered.insert(uid, (ticket, order));
        if let Some(ticket) = ticket {
            let outstanding = self.outstanding.entry(ticket).or_default();
            *outstanding = outstanding.saturating_add(1);
        }
        effects.push(Effect::Order { uid, order });
    }

    /// Nobody waits for the module's answer any more.
    fn not_answered(&mut self, uid: Uid, effects: &mut Vec<Effect>) {
        if let Some((ticket, _)) = self.unanswered.remove(&uid) {
            self.answer(ticket, effects);
        }
    }

    fn answer(&mut self, ticket: Option<Ticket>, effects: &mut Vec<Effect>) {
        if let Some(ticket) = ticket
            && let Some(outstanding) = self.outstanding.get_mut(&ticket)
        {
            // What was kept may say that there is none.
            *outstanding = outstanding.saturating_sub(1);
            if *outstanding == 0 {
                self.outstanding.remove(&ticket);
                effects.push(Effect::Done { ticket });
            }
        }
    }

    fn answered(&mut self, uid: Uid, order: Order, obeyed: bool, effects: &mut Vec<Effect>) {
        let Some(&(ticket, open)) = self.unanswered.get(&uid) else { return };
        if open != order {
            return;
        }
        self.unanswered.remove(&uid);
        if order == Order::Play {
            if obeyed {
                if let Some(entry) = self.list.iter_mut().find(|entry| entry.uid == uid) {
                    entry.told = Told::Play;
                }
            } else {
                self.list.retain(|entry| entry.uid != uid);
                effects.push(Effect::Terminate { uid });
            }
            effects.push(Effect::Publish);
        }
        self.answer(ticket, effects);
    }

    fn ended(&mut self, uid: Uid, effects: &mut Vec<Effect>) {
        if let Some(at) = self.list.iter().position(|entry| entry.uid == uid) {
            if self.list.remove(at).down {
                effects.push(Effect::Forget { uid });
            }
            effects.push(Effect::Publish);
        }
        self.not_answered(uid, effects);
    }
}
