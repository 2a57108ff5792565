//! What the manager is about to do with a unit.

use zbus::OwnedObjectPath;

use super::connection::{Bus, Trouble};
use super::name;

const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
const JOB_INTERFACE: &str = "org.freedesktop.systemd1.Job";

/// The type of a unit's job, where it has one.
pub(super) async fn of_unit(bus: &Bus, unit: &str) -> Result<Option<String>, Trouble> {
    let job = bus.property(&name::object_path(unit), UNIT_INTERFACE, "Job").await?;
    // A number, which is 0 where there is none, and the job's path.
    let Ok((1.., path)) = <(u32, OwnedObjectPath)>::try_from(job) else { return Ok(None) };
    match bus.property(path.as_str(), JOB_INTERFACE, "JobType").await {
        Ok(kind) => Ok(kind.downcast_ref::<&str>().ok().map(str::to_owned)),
        // It is done.
        Err(Trouble::Refused { .. }) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}
