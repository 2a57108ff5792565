//! How a scope begins.
//!
//! ```text
//!   shim forked ──▶ scope asked for ──▶ job done ──▶ lives? in its group? ──▶ released: the program executes
//!                       │   ▲               │                 │                      │
//!                       ▼   │ nobody knows  ▼ not done        ▼ no                   ▼ cannot be executed
//!                    looked for          ╔═══ answered with the reason; what there is of it is stopped ═══╗
//! ```

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::shim::Held;
use super::super::{Exit, Launched, ScopeError, Spec};
use super::cgroup::Cgroup;
use super::connection::{PATIENCE, Repeat, Trouble};
use super::jobs::Ear;
use super::keeper::{Keeper, Main};
use super::properties::Kind;
use super::register::Place;
use super::spare::{self, InHand};
use super::{House, journal, name, properties};

/// How long the manager may take for the job of a start.
const JOB_DEADLINE: Duration = Duration::from_secs(30);
/// How often a unit is looked at while signals about it may have been missed.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// How long the shim may take to become the program: it may look up groups, and read the program from a slow disk.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);

/// A child that waits in a scope of its own.
pub(super) struct Ready {
    pub(super) held: Held,
    pub(super) cgroup: Cgroup,
    /// Where the program prints.
    output: Option<journal::Stream>,
}

/// Tells a program that its output is a stream of the journal (`systemd.exec(5)`).
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// Why a scope was not made, and what there is of it.
pub(super) struct NotMade {
    pub(super) error: ScopeError,
    held: Option<Held>,
    /// Whether the manager may have made the scope.
    made: bool,
}

/// Why a program is not executed.
pub(super) enum NotReleased {
    /// The child did not take it: it was not executed and will not be.
    NotTaken(ScopeError),
    /// It cannot be executed, or nobody knows whether it will be.
    Failed(ScopeError),
}

impl From<NotReleased> for ScopeError {
    fn from(reason: NotReleased) -> Self {
        match reason {
            NotReleased::NotTaken(error) | NotReleased::Failed(error) => error,
        }
    }
}

/// A module that is to be launched.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) spec: Spec,
    pub(super) place: Place,
    /// Is told how it began.
    pub(super) answer: oneshot::Sender<Result<Launched, ScopeError>>,
    /// Until it is answered.
    pub(super) in_hand: InHand,
}

/// The whole life of a module in a scope that is made for it.
pub(super) async fn live(house: Arc<House>, mut order: Order) {
    let mut ear = house.bus.ears.listen(&order.place.unit);
    let kind = Kind::of(&order.spec);
    let description = properties::description(&kind, order.place.uid);
    match hold(&house, Shim::Warm, &kind, &order.place, &description, &mut ear).await {
        Ok(mut ready) => {
            let released = release(&mut ready, &mut order.spec, &order.place.unit).await;
            go_on(house, kind, ready, ear, order, released.map_err(ScopeError::from)).await;
        }
        Err(not_made) => {
            let Order { place, answer, in_hand, .. } = order;
            let _ = answer.send(Err(not_made.error.clone()));
            drop(in_hand);
            clear_away(house, not_made, place, ear, kind.terminate).await;
        }
    }
}

/// Answers, and keeps the module until nothing is left of it. `released` says whether its program is executed.
pub(super) async fn go_on(house: Arc<House>, kind: Kind, ready: Ready, ear: Ear, order: Order, released: Result<(), ScopeError>) {
    let Order { spec, place, answer, in_hand } = order;
    let Ready { held, cgroup, .. } = ready;
    let launched = released.map(|()| place.launched(held.pid, Some(cgroup.directory().to_owned())));
    // Where it cannot be noted, a later launcher does not know how it ended.
    let _ = cgroup.mark_main(held.pid);
    let failed = launched.is_err();
    if answer.send(launched).is_err() || failed {
        // What was made is of no use, or nobody else would end it: whoever wanted it is gone.
        place.stop.cancel();
    }
    drop(in_hand);
    if !failed {
        spare::launched(&house, &kind, spec.spares);
    }
    let keeper = Keeper::new(house, place, ear, Some(cgroup), kind.terminate, &kind.limits);
    keeper.keep(Main::Child(held.give_up())).await;
}

/// Leaves nothing of a scope that was not made.
pub(super) async fn clear_away(house: Arc<House>, not_made: NotMade, place: Place, ear: Ear, terminate: Duration) {
    let Some(held) = not_made.held else { return };
    let cgroup = Cgroup::of_process(held.pid).ok().filter(|cgroup| cgroup.is_of_unit(&place.unit));
    let mut child = held.give_up();
    if not_made.made {
        place.stop.cancel();
        Keeper::new(house, place, ear, cgroup, terminate, &[]).keep(Main::Child(child)).await;
    } else {
        let _ = child.wait().await;
    }
}

/// Which child a scope is made around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shim {
    /// One that waits already, where there is one.
    Warm,
    /// A new one: somebody who is in more of a hurry may want the others.
    New,
}

/// Makes a scope with a child that waits in it.
pub(super) async fn hold(
    house: &House,
    shim: Shim,
    kind: &Kind,
    place: &Place,
    description: &str,
    ear: &mut Ear,
) -> Result<Ready, NotMade> {
    // The manager does one thing at a time: more at once take longer each and make nothing faster.
    let _permit = house.starts.acquire().await;
    let held = match shim {
        Shim::Warm => house.warm.take().await,
        Shim::New => house.warm.fork(),
    };
    let mut held = held.map_err(|error| NotMade { error: ScopeError::System(error.to_string()), held: None, made: false })?;
    let mut made = true;
    let begun = async {
        if let Err((error, maybe)) = make(house, kind, place, description, held.pid).await {
            made = maybe;
            return Err(error);
        }
        started(house, place, held.pid, ear).await?;
        waits(&mut held, &place.unit)
    };
    // While the manager is at work.
    let (begun, output) = tokio::join!(begun, journal::open(&kind.type_name, &place.unit));
    match begun {
        Ok(cgroup) => Ok(Ready { held, cgroup, output }),
        Err(error) => Err(NotMade { error, held: Some(held), made }),
    }
}

/// Whether the child still waits, in the scope called `unit`. Answers its control group.
pub(super) fn waits(held: &mut Held, unit: &str) -> Result<Cgroup, ScopeError> {
    if let Some(status) = held.ended() {
        // Its scope is empty and would stay for ever: nothing in it can end any more.
        return Err(ScopeError::System(format!("the module's process ended before it began: {}", Exit::from(status))));
    }
    let cgroup = Cgroup::of_process(held.pid).map_err(|error| ScopeError::System(error.to_string()))?;
    if !cgroup.is_of_unit(unit) {
        return Err(ScopeError::System(format!("systemd did not put the module's process into {unit}")));
    }
    Ok(cgroup)
}

/// Lets the child become the module's program; answers when it has.
pub(super) async fn release(ready: &mut Ready, spec: &mut Spec, unit: &str) -> Result<(), NotReleased> {
    // Not kept for as long as the module lives. Without one it prints where this process does.
    let output = ready.output.take().filter(|stream| !stream.is_refused());
    if let Some(stream) = &output {
        spec.program.environment.retain(|(name, _)| name != JOURNAL_STREAM);
        spec.program.environment.push((JOURNAL_STREAM.to_owned(), stream.name.clone()));
    }
    let output = output.as_ref().map(|stream| stream.output.as_fd());
    spec.tell_launched(ready.held.pid, Some(unit));
    match timeout(RELEASE_DEADLINE, ready.held.release(&spec.program, output)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ ScopeError::Execute { .. })) => Err(NotReleased::Failed(error)),
        Ok(Err(error)) => Err(NotReleased::NotTaken(error)),
        Err(_) => Err(NotReleased::Failed(ScopeError::System("the module's program takes too long to begin".to_owned()))),
    }
}

/// Asks for the scope. An error comes with whether the scope may have been made all the same.
async fn make(house: &House, kind: &Kind, place: &Place, description: &str, pid: u32) -> Result<(), (ScopeError, bool)> {
    let system = |error: std::io::Error| (ScopeError::System(error.to_string()), false);
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| system(std::io::Error::other("no process")))?;
    let pid_fd = pidfd_open(process, PidfdFlags::empty()).map_err(|error| system(error.into()))?;
    let unit = place.unit.as_str();
    let give_up = Instant::now() + PATIENCE;
    let mut repeated = false;
    loop {
        let properties = properties::of(kind, description, &place.slice, pid, pid_fd.as_fd(), &house.takes);
        let sent = properties.as_slice();
        let asked = house
            .bus
            .call(Repeat::IfNotDelivered, |manager| async move { manager.start_transient_unit(unit, "fail", sent, &[]).await });
        let trouble = match asked.await {
            Ok(_job) => return Ok(()),
            Err(trouble) => trouble,
        };
        if trouble.refused_property().is_some_and(|sentence| house.takes.learn(sent, sentence)) {
            continue;
        }
        if trouble.is_unit_exists() {
            // By the call that was not answered, or from before this process.
            return if repeated && is_in(pid, unit) { Ok(()) } else { Err((ScopeError::Exists(place.uid), repeated)) };
        }
        let Trouble::NoAnswer(_) = trouble else { return Err((trouble.into(), false)) };
        match house.bus.call(Repeat::Always, |manager| async move { manager.get_unit(unit).await }).await {
            Ok(_) => return Ok(()),
            Err(missing) if missing.is_no_such_unit() && Instant::now() < give_up => repeated = true,
            Err(_) => return Err((trouble.into(), true)),
        }
    }
}

/// Waits until the scope is started.
async fn started(house: &House, place: &Place, pid: u32, ear: &mut Ear) -> Result<(), ScopeError> {
    let deadline = Instant::now() + JOB_DEADLINE;
    loop {
        let news = ear.news();
        match news.started.as_deref() {
            Some("done") => return Ok(()),
            Some(other) => return Err(ScopeError::System(format!("systemd did not start {}: {other}", place.unit))),
            None => {}
        }
        let expired = Instant::now() >= deadline;
        if (news.missed > 0 || expired) && is_active(house, &place.unit).await && is_in(pid, &place.unit) {
            return Ok(());
        }
        if expired {
            let seconds = JOB_DEADLINE.as_secs();
            return Err(ScopeError::System(format!("systemd did not start {} within {seconds} s", place.unit)));
        }
        let look_at = if news.missed > 0 { Instant::now() + LOOK_PERIOD } else { deadline };
        let _ = timeout_at(look_at.min(deadline), ear.more()).await;
    }
}

async fn is_active(house: &House, unit: &str) -> bool {
    // Asked first: a property of a unit that does not exist would be that of a husk, made for the question.
    if house.bus.call(Repeat::Always, |manager| async move { manager.get_unit(unit).await }).await.is_err() {
        return false;
    }
    let state = house.bus.property(&name::object_path(unit), "org.freedesktop.systemd1.Unit", "ActiveState").await;
    state.is_ok_and(|state| state.downcast_ref::<&str>().is_ok_and(|state| state == "active"))
}

fn is_in(pid: u32, unit: &str) -> bool {
    Cgroup::of_process(pid).is_ok_and(|cgroup| cgroup.is_of_unit(unit))
}
