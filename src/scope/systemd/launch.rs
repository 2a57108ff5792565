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
use super::register::Place;
use super::{House, journal, name, properties};

/// How long the manager may take for the job of a start.
const JOB_DEADLINE: Duration = Duration::from_secs(30);
/// How often a unit is looked at while signals about it may have been missed.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// How long the shim may take to become the program: it may look up groups, and read the program from a slow disk.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);

/// Why a scope did not begin, and what there is of it.
struct NotStarted {
    error: ScopeError,
    held: Option<Held>,
    /// Whether the manager may have made the scope.
    made: bool,
}

/// The whole life of a scope. `answer` is told how it began.
pub(super) async fn live(house: Arc<House>, spec: Spec, place: Place, answer: oneshot::Sender<Result<Launched, ScopeError>>) {
    let mut ear = house.bus.ears.listen(&place.unit);
    let (terminate, limits) = (spec.terminate, spec.limits.clone());
    match start(&house, spec, &place, &mut ear).await {
        Ok((held, cgroup)) => {
            let launched = place.launched(held.pid, Some(cgroup.directory().to_owned()));
            if answer.send(Ok(launched)).is_err() {
                // Whoever wanted it is gone: nobody else would end it.
                place.stop.cancel();
            }
            let keeper = Keeper::new(house, place, ear, Some(cgroup), terminate, &limits);
            keeper.keep(Main::Child(held.give_up())).await;
        }
        Err(NotStarted { error, held, made }) => {
            let _ = answer.send(Err(error));
            let Some(held) = held else { return };
            let cgroup = Cgroup::of_process(held.pid).ok().filter(|cgroup| cgroup.is_of_unit(&place.unit));
            let mut child = held.give_up();
            if made {
                place.stop.cancel();
                Keeper::new(house, place, ear, cgroup, terminate, &limits).keep(Main::Child(child)).await;
            } else {
                let _ = child.wait().await;
            }
        }
    }
}

async fn start(house: &House, mut spec: Spec, place: &Place, ear: &mut Ear) -> Result<(Held, Cgroup), NotStarted> {
    // The manager does one thing at a time: more at once take longer each and make nothing faster.
    let _permit = house.starts.acquire().await;
    let stream = journal::open(&spec.type_name, &place.unit).await;
    let (output, stream) = stream.map_or((None, None), |it| (Some(it.output), Some(it.name)));
    let mut held = Held::spawn(&house.shim, output).map_err(|error| NotStarted {
        error: ScopeError::System(error.to_string()),
        held: None,
        made: false,
    })?;
    if let Some(stream) = stream {
        spec.program.environment.retain(|(name, _)| name != "JOURNAL_STREAM");
        spec.program.environment.push(("JOURNAL_STREAM".to_owned(), stream));
    }
    let mut made = true;
    let begun = async {
        if let Err((error, maybe)) = make(house, &spec, place, held.pid).await {
            made = maybe;
            return Err(error);
        }
        started(house, place, held.pid, ear).await?;
        if let Some(status) = held.ended() {
            // Its scope is empty and would stay for ever: nothing in it can end any more.
            return Err(ScopeError::System(format!("the module's process ended before it began: {}", Exit::from(status))));
        }
        let cgroup = Cgroup::of_process(held.pid).map_err(|error| ScopeError::System(error.to_string()))?;
        if !cgroup.is_of_unit(&place.unit) {
            return Err(ScopeError::System(format!("systemd did not put the module's process into {}", place.unit)));
        }
        spec.witness().launched(held.pid, Some(&place.unit));
        let released = timeout(RELEASE_DEADLINE, held.release(&spec.program)).await;
        released.unwrap_or_else(|_| Err(ScopeError::System("the module's program takes too long to begin".to_owned())))?;
        Ok(cgroup)
    }
    .await;
    match begun {
        Ok(cgroup) => Ok((held, cgroup)),
        Err(error) => Err(NotStarted { error, held: Some(held), made }),
    }
}

/// Asks for the scope. An error comes with whether the scope may have been made all the same.
async fn make(house: &House, spec: &Spec, place: &Place, pid: u32) -> Result<(), (ScopeError, bool)> {
    let system = |error: std::io::Error| (ScopeError::System(error.to_string()), false);
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| system(std::io::Error::other("no process")))?;
    let pid_fd = pidfd_open(process, PidfdFlags::empty()).map_err(|error| system(error.into()))?;
    let unit = place.unit.as_str();
    let give_up = Instant::now() + PATIENCE;
    let mut repeated = false;
    loop {
        let properties = properties::of(spec, &place.slice, pid, pid_fd.as_fd(), &house.takes);
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
            return if repeated && is_in(pid, unit) { Ok(()) } else { Err((ScopeError::Exists(spec.uid), repeated)) };
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
