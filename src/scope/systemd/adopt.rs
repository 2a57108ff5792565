//! Scopes that an earlier process of this program launched.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::super::{Listed, ScopeError};
use super::House;
use super::cgroup::Cgroup;
use super::connection::{Repeat, Trouble};
use super::keeper::{Keeper, Main};
use super::name::{self, Parsed};

const SCOPE_INTERFACE: &str = "org.freedesktop.systemd1.Scope";
/// Of a scope that does not say how long SIGTERM may take: systemd's own default.
const DEFAULT_TERMINATE: Duration = Duration::from_secs(90);

/// Takes over the scopes whose names match one of `patterns` and that this process does not know.
pub(super) async fn adopt(house: &Arc<House>, patterns: &[&str]) -> Result<Vec<Listed>, ScopeError> {
    let list = |manager: super::manager::ManagerProxy<'static>| async move {
        // Not `activating`: somebody is about to launch it.
        manager.list_units_by_patterns(&["active", "deactivating", "failed"], patterns).await
    };
    let units = house.bus.call(Repeat::Always, list).await?;
    let mut adopted = Vec::new();
    for (unit, ..) in units {
        if let Some(listed) = adopt_unit(house, unit).await? {
            adopted.push(listed);
        }
    }
    Ok(adopted)
}

/// `None` for one that is known, or none of this project's.
async fn adopt_unit(house: &Arc<House>, unit: String) -> Result<Option<Listed>, ScopeError> {
    let Some(Parsed { service, uid }) = name::parse(&unit) else { return Ok(None) };
    if house.register.knows(&unit) {
        return Ok(None);
    }
    let ear = house.bus.ears.listen_to_started(&unit);
    let (path, terminate) = match look_up(house, &unit).await {
        Ok(found) => found,
        Err(trouble) if trouble.is_no_such_unit() => return Ok(None),
        Err(trouble) => return Err(trouble.into()),
    };
    // A unit without processes may have none, and what is not the unit's own must not be killed.
    let cgroup = Some(Cgroup::new(&path)).filter(|cgroup| cgroup.is_of_unit(&unit));
    // In one that was made before its module may live none: that of another process waits, that of an earlier one ends.
    let Some(uid) = uid.or_else(|| cgroup.as_ref()?.marked()) else { return Ok(None) };
    let shard = path.rsplit('/').nth(1).and_then(|slice| name::shard(&service, slice));
    let Ok(place) = house.register.enter_as(uid, &service, unit, Some(shard.unwrap_or(0))) else { return Ok(None) };
    let main = cgroup.as_ref().and_then(main_process);
    let pid = main.as_ref().map_or(0, |(pid, _)| *pid);
    let _launched = place.launched(pid, cgroup.as_ref().map(|cgroup| cgroup.directory().to_owned()));
    let is_main = cgroup.as_ref().and_then(Cgroup::marked_main) == Some(pid);
    let keeper = Keeper::new(Arc::clone(house), place, ear, cgroup, terminate, &[]);
    tokio::spawn(keeper.keep(main.map_or(Main::Ended, |(_, pid_fd)| Main::Adopted { pid_fd, is_main })));
    Ok(Some(Listed { uid, service, pid }))
}

/// Control group and time-out of a scope.
async fn look_up(house: &House, unit: &str) -> Result<(String, Duration), Trouble> {
    let object = name::object_path(unit);
    let path = house.bus.property(&object, SCOPE_INTERFACE, "ControlGroup").await?;
    let terminate = house.bus.property(&object, SCOPE_INTERFACE, "TimeoutStopUSec").await?;
    let terminate = terminate.downcast_ref::<u64>().map_or(DEFAULT_TERMINATE, Duration::from_micros);
    Ok((path.downcast_ref::<&str>().unwrap_or_default().to_owned(), terminate))
}

/// The oldest process of the group. Whoever launched it is gone, and it is the first that was there.
fn main_process(cgroup: &Cgroup) -> Option<(u32, AsyncFd<OwnedFd>)> {
    let pid = cgroup.oldest()?;
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let pid_fd = pidfd_open(process, PidfdFlags::empty()).ok()?;
    // The number may have gone to another process before it was opened.
    let same = Cgroup::of_process(pid).is_ok_and(|now| now.is_within(cgroup));
    if !same {
        return None;
    }
    // SAFETY: the descriptor is owned by what is registered, which nobody takes it out of.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register_with_interest(pid_fd, Interest::READABLE) };
    Some((pid, registered.ok()?))
}
