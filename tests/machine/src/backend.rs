//! What the two makes of machine have to offer; [`Machine`](crate::Machine) is written on it.

use std::path::Path;
use std::time::Duration;

use crate::Outcome;
use crate::recorded_disk::RecordedDisk;
use crate::running::Process;

/// A machine that may be on or off, whose disk stays what it is.
pub(crate) trait Backend: Send + Sync {
    /// Starts it and returns when its first process says that all is up.
    fn power_on(&self) -> Outcome<()>;

    /// Starts a command inside, outside of any unit.
    fn start(&self, argv: &[String]) -> Outcome<Process>;

    /// Waits until it is up again after it was told to start anew.
    fn wait_rebooted(&self) -> Outcome<()>;

    /// Waits until it has gone off by itself; whether it has.
    fn wait_off(&self, limit: Duration) -> bool;

    /// Ends it at once. Fine when it is off.
    fn cut_power(&self);

    /// Gives it one more disk, on which is what is in `image`, and has all that is written to it recorded.
    fn attach(&self, image: &Path) -> Outcome<RecordedDisk>;

    /// How much longer than on the host things may take.
    fn patience(&self) -> u32;
}
