//! Scopes that are made before their modules, so that a launch is one message down a gate and not a job of the manager's.
//!
//! ```text
//!   a launch ──▶ launched: so many wanted ──▶ fill: one after the other, while no launch is in hand
//!                                              │
//!                                              ▼                    given up: its gate is closed, the child ends
//!   the next ──▶ begin ─order──▶ park: a child waits in its scope ──▶ lost: another one is made, not at once
//!                                 │ good?
//!                        ┌── no ──┴── yes ──┐
//!                        ▼                  ▼
//!                  launch::live       released: its control group and its description say whose it is
//! ```
//!
//! A spare is used only for a module whose scope would be made of exactly the same: limits that cannot be set afterwards hold
//! as well. While it waits it costs its memory and no processor time. What ends this process closes all gates.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::super::process::runs;
use super::super::{ScopeError, Spec};
use super::House;
use super::connection::Repeat;
use super::jobs::Ear;
use super::keeper::{Keeper, Main};
use super::launch::{NotReleased, Order, Ready, Shim, clear_away, go_on, hold, live, release, waits};
use super::properties::{DESCRIPTION, Kind, description, spare_description};
use super::register::Place;
use super::stock::{Next, Stock};

/// How long a child whose gate is closed may take to end by itself.
const LEAVE: Duration = Duration::from_secs(1);
/// How long a module that was launched has the processor and the manager for itself, and others that are launched soon after.
const COURTESY: Duration = Duration::from_millis(100);
/// How long after that the manager is told nothing that matters to nobody but people while launches are in hand.
const NEXT_BEST: Duration = Duration::from_secs(5);

/// The spares of a house.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// Each by what tells its task for which module it is; dropped, it gives the spare up.
    stock: Mutex<Stock<oneshot::Sender<Order>>>,
    /// Launches that are not answered yet.
    in_hand: Arc<watch::Sender<usize>>,
    closed: CancellationToken,
}

/// One launch that is not answered yet.
#[derive(Debug)]
pub(super) struct InHand(Arc<watch::Sender<usize>>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.send_modify(|launches| *launches = launches.saturating_sub(1));
    }
}

impl Spares {
    /// Counts a launch until what is answered here is dropped.
    pub(super) fn in_hand(&self) -> InHand {
        self.in_hand.send_modify(|launches| *launches += 1);
        InHand(Arc::clone(&self.in_hand))
    }

    /// How many wait.
    pub(super) fn parked(&self) -> usize {
        self.stock().parked()
    }

    /// Gives up all that wait, until the next launch.
    pub(super) fn give_up(&self) {
        self.stock().give_up();
    }

    /// Gives up all, for ever.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.give_up();
    }

    fn stock(&self) -> MutexGuard<'_, Stock<oneshot::Sender<Order>>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no launch is in hand.
    async fn idle(&self) {
        let _ = self.in_hand.subscribe().wait_for(|launches| *launches == 0).await;
    }
}

/// Launches a module, in a spare where there is one. In a task of its own: a caller that stops waiting must not leave a
/// half-made scope.
pub(super) fn begin(house: &Arc<House>, order: Order) {
    let taken = if order.spec.spares > 0 { house.spares.stock().take(&Kind::of(&order.spec)) } else { None };
    let order = match taken {
        Some(spare) => spare.send(order).err(),
        None => Some(order),
    };
    if let Some(order) = order {
        tokio::spawn(live(Arc::clone(house), order));
    }
}

/// A module was launched, and `wanted` spares shall wait for others like it.
pub(super) fn launched(house: &Arc<House>, kind: &Kind, wanted: usize) {
    // The time of a scope begins when it is made, that of a module when it is launched.
    let wanted = if kind.is_mortal() || house.spares.closed.is_cancelled() { 0 } else { wanted };
    if house.spares.stock().launched(kind, wanted) {
        tokio::spawn(fill(Arc::downgrade(house), kind.clone()));
    }
}

/// Makes spares until there are as many as are wanted.
async fn fill(house: Weak<House>, kind: Kind) {
    let mut warned = false;
    sleep(COURTESY).await;
    while let Some(house) = house.upgrade() {
        let next = house.spares.stock().next(&kind, Instant::now());
        match next {
            Next::Done => return,
            Next::Wait(then) => {
                let closed = house.spares.closed.clone();
                // Not kept for so long.
                drop(house);
                tokio::select! {
                    () = closed.cancelled() => {}
                    () = sleep_until(then) => {}
                }
            }
            Next::Make => {
                house.spares.idle().await;
                if let Err(error) = make(&house, &kind).await {
                    house.spares.stock().failed(&kind, Instant::now());
                    let type_name = &kind.type_name;
                    if warned {
                        tracing::debug!("still no spare scope for {type_name}: {error}");
                    } else {
                        tracing::warn!("no spare scope for {type_name}, so its modules start more slowly: {error}");
                    }
                    warned = true;
                }
            }
        }
    }
}

/// A child that waits, and all that belongs to its scope.
struct Spare {
    kind: Kind,
    ready: Ready,
    place: Place,
    ear: Ear,
}

async fn make(house: &Arc<House>, kind: &Kind) -> Result<(), ScopeError> {
    let place = house.register.enter_spare(&kind.service, &kind.type_name);
    let mut ear = house.bus.ears.listen(&place.unit);
    let ready = match hold(house, Shim::New, kind, &place, &spare_description(kind), &mut ear).await {
        Ok(ready) => ready,
        Err(not_made) => {
            let error = not_made.error.clone();
            tokio::spawn(clear_away(Arc::clone(house), not_made, place, ear, kind.terminate));
            return Err(error);
        }
    };
    let marked = ready.cgroup.mark(None);
    let spare = Spare { kind: kind.clone(), ready, place, ear };
    if let Err(error) = marked {
        tokio::spawn(give_up(Arc::clone(house), spare));
        // It could not be found again by a later process.
        return Err(ScopeError::System(format!("its control group cannot be marked: {error}")));
    }
    let (order, ordered) = oneshot::channel();
    let parked = house.spares.stock().park(kind, order);
    match parked {
        Ok(number) => drop(tokio::spawn(park(Arc::downgrade(house), number, spare, ordered))),
        Err(_unwanted) => drop(tokio::spawn(give_up(Arc::clone(house), spare))),
    }
    Ok(())
}

/// The life of a spare, and of the module in it.
async fn park(house: Weak<House>, number: u64, mut spare: Spare, mut ordered: oneshot::Receiver<Order>) {
    let order = tokio::select! {
        biased;
        order = &mut ordered => order.ok(),
        status = spare.ready.held.child.wait() => {
            let Some(house) = house.upgrade() else { return };
            tracing::debug!("{} ended before a module was launched in it", spare.place.unit);
            if status.is_ok_and(|status| status.signal() == Some(Signal::SIGTERM as i32)) {
                // As by the manager, with the unit that it is part of.
                house.spares.stock().dismissed(&spare.kind, number);
            } else {
                lost(&house, &spare.kind, number);
            }
            // It may have been taken at the same moment.
            ordered.await.ok()
        }
    };
    // Without a house there is nobody to ask, and the child ends by itself.
    let Some(house) = house.upgrade() else { return };
    match order {
        Some(order) => launch(house, number, spare, order).await,
        None => give_up(house, spare).await,
    }
}

fn lost(house: &Arc<House>, kind: &Kind, number: u64) {
    if house.spares.stock().lost(kind, number, Instant::now()) {
        tokio::spawn(fill(Arc::downgrade(house), kind.clone()));
    }
}

/// Launches a module in a spare; where that is good for nothing, in a scope of its own.
async fn launch(house: Arc<House>, number: u64, mut spare: Spare, mut order: Order) {
    let released = match check(&mut spare, &order.spec) {
        Ok(()) => release(&mut spare.ready, &mut order.spec, &spare.place.unit).await,
        Err(error) => Err(NotReleased::NotTaken(error)),
    };
    if let Err(NotReleased::NotTaken(error)) = &released {
        tracing::debug!("{} is of no use: {error}", spare.place.unit);
        lost(&house, &spare.kind, number);
        tokio::spawn(give_up(Arc::clone(&house), spare));
        return live(house, order).await;
    }
    house.spares.stock().proved(&spare.kind);
    let Spare { kind, ready, place, ear } = spare;
    order.place.move_into(place);
    describe(&house, &order.place, &kind);
    go_on(house, kind, ready, ear, order, released.map_err(ScopeError::from)).await;
}

/// Whether a module can be launched in a spare. Notes whose it is, for a later process of this program.
fn check(spare: &mut Spare, spec: &Spec) -> Result<(), ScopeError> {
    let cgroup = waits(&mut spare.ready.held, &spare.place.unit)?;
    if cgroup.is_frozen() || !runs(spare.ready.held.pid) {
        return Err(ScopeError::System("somebody has stopped the child".to_owned()));
    }
    cgroup.mark(Some(spec.uid)).map_err(|error| ScopeError::System(error.to_string()))
}

/// Tells the manager for people whose scope it is, when it has nothing better to do.
fn describe(house: &Arc<House>, place: &Place, kind: &Kind) {
    let (house, unit, description) = (Arc::clone(house), place.unit.clone(), description(kind, place.uid));
    tokio::spawn(async move {
        sleep(COURTESY).await;
        let _ = timeout(NEXT_BEST, house.spares.idle()).await;
        let (unit, properties) = (unit.as_str(), [(DESCRIPTION, description.as_str().into())]);
        let properties = properties.as_slice();
        let set =
            house.bus.call(Repeat::Always, |manager| async move { manager.set_unit_properties(unit, true, properties).await });
        if let Err(trouble) = set.await
            && !trouble.is_no_such_unit()
        {
            tracing::debug!("{unit} keeps its description: {trouble:?}");
        }
    });
}

/// Closes the gate and leaves nothing.
async fn give_up(house: Arc<House>, spare: Spare) {
    let Spare { kind, ready, place, ear } = spare;
    let Ready { held, cgroup, .. } = ready;
    let mut child = held.give_up();
    if timeout(LEAVE, child.wait()).await.is_err() {
        place.stop.cancel();
    }
    Keeper::new(house, place, ear, Some(cgroup), kind.terminate, &[]).keep(Main::Child(child)).await;
}
