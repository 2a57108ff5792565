//! One line that says what a service is doing, for `systemctl status`.

use super::{Item, Kind, Snapshot};

/// Such as `playing clock 1b9d2c3e, 3 waiting` or `12 modules`.
pub(super) fn describe(kind: Kind, snapshot: &Snapshot) -> String {
    let name = |item: &Item| format!("{} {}", item.module.type_name(), item.module.uid().short());
    let count = snapshot.list().len();
    match (kind, snapshot.list().first(), snapshot.background()) {
        (Kind::Pool, ..) => format!("{count} module{}", if count == 1 { "" } else { "s" }),
        (Kind::Queue, Some(top), _) => format!("playing {}, {} waiting", name(top), count - 1),
        (Kind::Queue, None, Some(background)) => format!("playing {} in the background, none waiting", name(background)),
        (Kind::Queue, None, None) => "nothing to play".to_owned(),
    }
}
