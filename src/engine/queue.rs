//! The queue: an ordered list of which the top one plays (protocol.md section 3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Effect, Entry, Input, Order, Place, Ticket, Told, reorder};
use crate::protocol::Uid;

/// A queue with its background. See the [module](super) for how it is driven.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    list: Vec<Entry>,
    background: Option<Entry>,
    /// Launched and not initialised yet.
    starting: BTreeMap<Uid, Starting>,
    /// Backgrounds that were launched again and are not initialised yet; the one that is set is down.
    restarting: BTreeSet<Uid>,
    /// Changes that wait for the running one.
    waiting: VecDeque<Waiting>,
    running: Option<Running>,
    draining: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Starting {
    ticket: Ticket,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    ticket: Option<Ticket>,
    change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Change {
    Append(Uid),
    SetBackground(Uid),
    Remove(Vec<Uid>),
    RemoveAll,
    Move(Vec<Uid>),
    /// Nothing but a new plan, after a module ended by itself.
    Settle,
}

/// The one change whose orders are out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    ticket: Option<Ticket>,
    unanswered: Vec<(Uid, Order)>,
}

impl Queue {
    /// An empty queue without a background.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The modules in order.
    #[must_use]
    pub fn list(&self) -> &[Entry] {
        &self.list
    }

    /// The background.
    #[must_use]
    pub fn background(&self) -> Option<Entry> {
        self.background
    }

    pub(super) fn length(&self) -> usize {
        let starting = self.starting.values().filter(|starting| starting.place == Place::List).count();
        let waiting = self.waiting.iter().filter(|waiting| matches!(waiting.change, Change::Append(_))).count();
        self.list.len() + starting + waiting
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
            Input::Add { ticket, uid, place } => {
                self.starting.insert(uid, Starting { ticket, place });
                effects.push(Effect::Launch { uid });
            }
            Input::Started { uid, alive } => self.started(uid, alive, effects),
            Input::Remove { ticket, uids } => self.change(Some(ticket), Change::Remove(uids), effects),
            Input::Move { ticket, uids } => self.change(Some(ticket), Change::Move(uids), effects),
            Input::Answered { uid, order, obeyed } => self.answered(uid, order, obeyed, effects),
            Input::Ended { uid } => self.ended(uid, effects),
            Input::Lost { uid } => self.lost(uid, effects),
            Input::Restart { uid } => self.restart(uid, effects),
            Input::Drain { ticket } => self.drain(ticket, effects),
            Input::Reopen => {
                self.draining = false;
                self.change(None, Change::Settle, effects);
            }
        }
    }

    fn started(&mut self, uid: Uid, alive: bool, effects: &mut Vec<Effect>) {
        if self.restarting.remove(&uid) {
            self.restarted(uid, alive, effects);
            return;
        }
        let Some(Starting { ticket, place }) = self.starting.remove(&uid) else { return };
        if !alive || self.draining {
            if alive {
                effects.push(Effect::Terminate { uid });
            }
            effects.push(Effect::Refuse { ticket });
            return;
        }
        let change = match place {
            Place::List => Change::Append(uid),
            Place::Background => Change::SetBackground(uid),
        };
        self.change(Some(ticket), change, effects);
    }

    /// What plays in a queue is played once: only the background keeps its place.
    fn lost(&mut self, uid: Uid, effects: &mut Vec<Effect>) {
        let Some(background) = self.background.as_mut().filter(|entry| entry.uid == uid) else {
            self.ended(uid, effects);
            return;
        };
        if background.down {
            return;
        }
        *background = Entry::down(uid);
        effects.extend([Effect::Terminate { uid }, Effect::Publish]);
        self.go_on_without(uid, true, effects);
    }

    fn restart(&mut self, uid: Uid, effects: &mut Vec<Effect>) {
        let is_down = self.background.is_some_and(|entry| entry.uid == uid && entry.down);
        if is_down && !self.draining && self.restarting.insert(uid) {
            effects.push(Effect::Launch { uid });
        }
    }

    fn restarted(&mut self, uid: Uid, alive: bool, effects: &mut Vec<Effect>) {
        if !alive {
            return;
        }
        match self.background.as_mut().filter(|entry| entry.uid == uid && entry.down && !self.draining) {
            Some(background) => {
                *background = Entry::new(uid);
                effects.push(Effect::Publish);
                self.change(None, Change::Settle, effects);
            }
            None => effects.push(Effect::Terminate { uid }),
        }
    }

    fn change(&mut self, ticket: Option<Ticket>, change: Change, effects: &mut Vec<Effect>) {
        self.waiting.push_back(Waiting { ticket, change });
        self.advance(effects);
    }

    /// Begins waiting changes until one has orders out.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        while self.running.is_none() {
            let Some(Waiting { ticket, change }) = self.waiting.pop_front() else { return };
            let removed = self.apply(change, effects);
            let unanswered = removed.into_iter().map(|uid| (uid, Order::Remove)).collect();
            self.order(Running { ticket, unanswered }, effects);
        }
    }

    /// Carries out the change in the lists and answers which modules it removes, in the order of the list.
    fn apply(&mut self, change: Change, effects: &mut Vec<Effect>) -> Vec<Uid> {
        let mut removed = Vec::new();
        match change {
            Change::Append(uid) => self.list.push(Entry::new(uid)),
            Change::SetBackground(uid) => {
                let old = self.background.replace(Entry::new(uid));
                removed.extend(self.leave(old, effects));
            }
            Change::Remove(uids) => {
                removed.extend(self.list.extract_if(.., |entry| uids.contains(&entry.uid)).map(|entry| entry.uid));
                let background = self.background.take_if(|entry| uids.contains(&entry.uid));
                removed.extend(self.leave(background, effects));
            }
            Change::RemoveAll => {
                removed.extend(self.list.drain(..).map(|entry| entry.uid));
                let background = self.background.take();
                removed.extend(self.leave(background, effects));
            }
            Change::Move(uids) => reorder(&mut self.list, &uids),
            Change::Settle => return removed,
        }
        effects.push(Effect::Publish);
        removed
    }

    /// A background that is not the background any more; answers whom to order to end.
    fn leave(&self, background: Option<Entry>, effects: &mut Vec<Effect>) -> Option<Uid> {
        let Entry { uid, down, .. } = background?;
        if !down {
            return Some(uid);
        }
        if self.restarting.contains(&uid) {
            effects.push(Effect::Terminate { uid });
        }
        effects.push(Effect::Forget { uid });
        None
    }

    /// Gives the orders that bring what is told in line with the list; the removals are in `running` already. Where there
    /// are none, the change is done.
    fn order(&mut self, mut running: Running, effects: &mut Vec<Effect>) {
        running.unanswered.extend(self.plan());
        if running.unanswered.is_empty() {
            effects.extend(running.ticket.map(|ticket| Effect::Done { ticket }));
            return;
        }
        effects.extend(running.unanswered.iter().map(|&(uid, order)| Effect::Order { uid, order }));
        self.running = Some(running);
    }

    /// Suspends, the background's last, then the play (protocol.md section 3). While draining nothing moves but removals.
    fn plan(&self) -> Vec<(Uid, Order)> {
        let mut orders = Vec::new();
        if self.draining {
            return orders;
        }
        let background = self.background.filter(|entry| !entry.down);
        let queued_but_top = self.list.iter().skip(1);
        orders.extend(queued_but_top.filter(|entry| entry.told == Told::Play).map(|entry| (entry.uid, Order::Suspend)));
        if !self.list.is_empty() {
            orders.extend(background.filter(|entry| entry.told != Told::Suspend).map(|entry| (entry.uid, Order::Suspend)));
        }
        let top = self.list.first().copied().or(background);
        orders.extend(top.filter(|entry| entry.told != Told::Play).map(|entry| (entry.uid, Order::Play)));
        orders
    }

    fn answered(&mut self, uid: Uid, order: Order, obeyed: bool, effects: &mut Vec<Effect>) {
        let Some(running) = &mut self.running else { return };
        let Some(at) = running.unanswered.iter().position(|open| *open == (uid, order)) else { return };
        running.unanswered.remove(at);
        let told = match order {
            Order::Play => Some(Told::Play),
            Order::Suspend => Some(Told::Suspend),
            Order::Remove => None,
        };
        if let Some(told) = told {
            if !obeyed {
                self.forget(uid);
                effects.push(Effect::Terminate { uid });
            } else if let Some(entry) = self.entry(uid) {
                entry.told = told;
            }
            effects.push(Effect::Publish);
        }
        self.settle_if_answered(effects);
    }

    fn ended(&mut self, uid: Uid, effects: &mut Vec<Effect>) {
        for waiting in &mut self.waiting {
            if matches!(waiting.change, Change::Append(who) | Change::SetBackground(who) if who == uid) {
                waiting.change = Change::Settle;
            }
        }
        let forgotten = self.forget(uid);
        if let Some(entry) = forgotten {
            if entry.down {
                effects.push(Effect::Forget { uid });
            }
            effects.push(Effect::Publish);
        }
        self.go_on_without(uid, forgotten.is_some(), effects);
    }

    /// A module answers no more; `listed` is whether what others are told may change by that.
    fn go_on_without(&mut self, uid: Uid, listed: bool, effects: &mut Vec<Effect>) {
        if let Some(running) = &mut self.running {
            running.unanswered.retain(|(who, _)| *who != uid);
            self.settle_if_answered(effects);
        } else if listed {
            self.change(None, Change::Settle, effects);
        }
    }

    fn drain(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) {
        self.draining = true;
        effects.extend(self.starting.keys().map(|&uid| Effect::Terminate { uid }));
        for waiting in &mut self.waiting {
            if let Change::Append(uid) | Change::SetBackground(uid) = waiting.change {
                waiting.change = Change::Settle;
                effects.push(Effect::Terminate { uid });
                effects.extend(waiting.ticket.take().map(|ticket| Effect::Refuse { ticket }));
            }
        }
        self.change(Some(ticket), Change::RemoveAll, effects);
    }

    /// When the last order is answered: plan again; what failed may have changed what has to be done.
    fn settle_if_answered(&mut self, effects: &mut Vec<Effect>) {
        if let Some(running) = self.running.take_if(|running| running.unanswered.is_empty()) {
            self.order(running, effects);
            self.advance(effects);
        }
    }

    fn entry(&mut self, uid: Uid) -> Option<&mut Entry> {
        self.list.iter_mut().chain(self.background.as_mut()).find(|entry| entry.uid == uid)
    }

    /// Takes the module off the list; answers what was there of it.
    fn forget(&mut self, uid: Uid) -> Option<Entry> {
        let listed = self.list.iter().position(|entry| entry.uid == uid);
        listed.map(|at| self.list.remove(at)).or_else(|| self.background.take_if(|entry| entry.uid == uid))
    }
}
