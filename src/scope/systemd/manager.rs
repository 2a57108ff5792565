//! The few calls of `org.freedesktop.systemd1(5)` that this house makes.

use zbus::{OwnedObjectPath, OwnedVariant, Variant, proxy};

/// A property of a unit and its value.
pub(super) type Property<'a> = (&'a str, Variant<'a>);

/// A unit of a list: name, description, load state, active state, sub state, unit that it follows, object path, number, type
/// and object path of its job.
pub(super) type Listing = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// systemd's manager.
#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;

    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Property<'_>],
        auxiliary: &[(&str, &[Property<'_>])],
    ) -> zbus::Result<OwnedObjectPath>;

    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;

    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;

    fn freeze_unit(&self, name: &str) -> zbus::Result<()>;

    fn thaw_unit(&self, name: &str) -> zbus::Result<()>;

    fn set_unit_properties(&self, name: &str, runtime: bool, properties: &[Property<'_>]) -> zbus::Result<()>;

    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<Listing>>;

    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

/// Properties of the manager and of units, read one by one: a cache would have them all sent at every change.
#[proxy(interface = "org.freedesktop.DBus.Properties", default_service = "org.freedesktop.systemd1", assume_defaults = false)]
pub(super) trait Properties {
    fn get(&self, interface: &str, name: &str) -> zbus::Result<OwnedVariant>;
}
