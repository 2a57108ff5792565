//! Names of units: they read well, and service and module can be read back from them.
//!
//! ```text
//!   shmooze.slice
//!   └─ shmooze-queue.slice                       the service's first 200 scopes
//!      ├─ shmooze-queue-youtube-1b9d6bcd-….scope
//!      ├─ shmooze-queue-youtube-spare-bbfd4b2d….scope
//!      └─ shmooze-queue-1.slice                  … and the next, and so on
//! ```
//!
//! A dash in the name of a slice is a step down the hierarchy, so one in the name of a service is escaped as
//! systemd-escape(1) does it. Nothing reads a type back, so it keeps its dashes.
//!
//! A scope that was made before its module is called after its type and a number of its own, which no module has: in it are
//! no dashes. A name cannot be changed, so its control group tells later who lives in it.

use std::fmt::Write as _;

use crate::protocol::Uid;
use crate::unit_name::{LONGEST, PREFIX, decode, escape, unescape};

const SUFFIX: &str = ".scope";
/// Characters of an identifier.
const UID_LENGTH: usize = 36;
/// What stands before the number of a scope that was made before its module.
const SPARE: &str = "-spare-";
/// Digits of that number.
const NUMBER_LENGTH: usize = 32;

/// Matches the names of all scopes of this project (a pattern of glob(7)).
pub(super) const PATTERN: &str = "shmooze-*.scope";

/// Matches the names of all scopes that were made before their modules, and of some others.
pub(super) const SPARE_PATTERN: &str = "shmooze-*-spare-*.scope";

/// Whose scope a name is that of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) service: String,
    /// `None` where it was made before its module.
    pub(super) uid: Option<Uid>,
}

/// The name of a module's scope. Too long a type loses its end; the identifier makes the name unique all the same.
pub(super) fn scope(service: &str, type_name: &str, uid: Uid) -> String {
    compose(service, type_name, &format!("-{uid}{SUFFIX}"))
}

/// The name of a scope that is made before its module; `number` is nobody else's.
pub(super) fn spare(service: &str, type_name: &str, number: Uid) -> String {
    compose(service, type_name, &format!("{SPARE}{}{SUFFIX}", number.to_string().replace('-', "")))
}

fn compose(service: &str, type_name: &str, end: &str) -> String {
    let service = escape(service, "", LONGEST);
    let room = LONGEST.saturating_sub(PREFIX.len() + service.len() + 1 + end.len());
    let type_name = escape(type_name, "-", room);
    format!("{PREFIX}{service}-{type_name}{end}")
}

/// Matches the name of one module's scope, whatever its service and type.
pub(super) fn pattern_of(uid: Uid) -> String {
    format!("{PREFIX}*-{uid}{SUFFIX}")
}

/// The name of a slice of a service; shard 0 is the slice that holds the others.
pub(super) fn slice(service: &str, shard: usize) -> String {
    let service = escape(service, "", LONGEST);
    if shard == 0 { format!("{PREFIX}{service}.slice") } else { format!("{PREFIX}{service}-{shard}.slice") }
}

/// Which slice of a service one is, by its name.
pub(super) fn shard(service: &str, slice: &str) -> Option<usize> {
    let service = escape(service, "", LONGEST);
    match slice.strip_prefix(PREFIX)?.strip_prefix(&service)?.strip_suffix(".slice")? {
        "" => Some(0),
        shard => shard.strip_prefix('-')?.parse().ok(),
    }
}

/// Service and module of a scope's name.
pub(super) fn parse(unit: &str) -> Option<Parsed> {
    let name = unit.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let split = |length: usize| name.split_at_checked(name.len().checked_sub(length)?);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let (rest, uid) = match split(NUMBER_LENGTH)? {
        (rest, number) if is_number(number) => (rest.strip_suffix(SPARE)?, None),
        _ => {
            let (rest, uid) = split(UID_LENGTH)?;
            (rest.strip_suffix('-')?, Some(uid.parse().ok()?))
        }
    };
    let (service, _type) = rest.split_once('-')?;
    Some(Parsed { service: unescape(service)?, uid })
}

/// The object path of a unit on the bus.
pub(super) fn object_path(unit: &str) -> String {
    let mut path = String::from(UNITS);
    for byte in unit.bytes() {
        if byte.is_ascii_alphanumeric() && !(path.len() == UNITS.len() && byte.is_ascii_digit()) {
            path.push(byte.into());
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

/// The unit of an object path.
pub(super) fn unit_of_object_path(path: &str) -> Option<String> {
    decode(path.strip_prefix(UNITS)?, "_")
}

const UNITS: &str = "/org/freedesktop/systemd1/unit/";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed";

    fn uid() -> Uid {
        UID.parse().unwrap()
    }

    fn parsed(service: &str, uid: Option<Uid>) -> Option<Parsed> {
        Some(Parsed { service: service.to_owned(), uid })
    }

    #[test]
    fn read_well() {
        assert_eq!(scope("queue", "youtube", uid()), format!("shmooze-queue-youtube-{UID}.scope"));
        assert_eq!(scope("queue", "clock-radio", uid()), format!("shmooze-queue-clock-radio-{UID}.scope"));
        assert_eq!(slice("queue", 0), "shmooze-queue.slice");
        assert_eq!(slice("queue", 3), "shmooze-queue-3.slice");
        for number in [0, 1, 17] {
            assert_eq!(shard("my-queue", &slice("my-queue", number)), Some(number));
        }
        assert_eq!(shard("queue", "shmooze-pool.slice"), None);
        assert_eq!(shard("queue", "shmooze-queue-x.slice"), None);
    }

    #[test]
    fn a_dash_in_a_service_is_no_step_down() {
        // As `systemd-escape my-queue` writes it.
        assert_eq!(slice("my-queue", 0), r"shmooze-my\x2dqueue.slice");
        assert_eq!(scope("my-queue", "clock", uid()), format!(r"shmooze-my\x2dqueue-clock-{UID}.scope"));
        assert_eq!(parse(&scope("my-queue", "clock", uid())), parsed("my-queue", Some(uid())));
    }

    #[test]
    fn whatever_a_type_is_called_the_name_is_one_that_systemd_takes() {
        assert_eq!(scope("pool", "a b/ä@%", uid()), format!(r"shmooze-pool-a\x20b\x2f\xc3\xa4\x40\x25-{UID}.scope"));
        let long = scope("pool", &"x".repeat(300), uid());
        assert_eq!((long.len(), parse(&long)), (255, parsed("pool", Some(uid()))));
        let long = spare("pool", &"x".repeat(300), uid());
        assert_eq!((long.len(), parse(&long)), (255, parsed("pool", None)));
        // Not in the middle of an escape.
        let long = scope("pool", &"ä".repeat(300), uid());
        assert!(
            long.len() <= 255 && long.ends_with(&format!(r"\xa4-{UID}.scope")) || long.ends_with(&format!(r"\xc3-{UID}.scope"))
        );
    }

    #[test]
    fn made_before_its_module() {
        assert_eq!(spare("queue", "clock", uid()), "shmooze-queue-clock-spare-1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed.scope");
        assert_eq!(parse(&spare("my-queue", "clock-spare", uid())), parsed("my-queue", None));
        // A type may be called anything.
        let sly = "clock-spare-1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed";
        assert_eq!(parse(&scope("queue", sly, uid())), parsed("queue", Some(uid())));
    }

    #[test]
    fn others_are_not_ours() {
        for name in [
            "",
            ".scope",
            "shmooze-.scope",
            "session-1.scope",
            "shmooze-queue.slice",
            UID,
            &format!("shmooze-{UID}.scope"),
            &format!("shmooze--{UID}.scope"),
            &format!("shmooze-queue-{UID}.scope"),
            &format!("shmooze-queue-clock-{}.scope", UID.to_uppercase()),
            &format!(r"shmooze-qu\x2-clock-{UID}.scope"),
            &format!(r"shmooze-qu\xzz-clock-{UID}.scope"),
            &format!(r"shmooze-qu\xff-clock-{UID}.scope"),
            &format!("shmooze-queue-clockä{}.scope", &UID[1..]),
            "shmooze-queue-clock-1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed.scope",
            "shmooze-queue-spare-1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed.scope",
            "shmooze-queue-clock-spare-1B9D6bcdbbfd4b2d9b5dab8dfbbd4bed.scope",
            "shmooze-queue-clock-spare-bcdbbfd4b2d9b5dab8dfbbd4bed.scope",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn patterns_match() {
        assert_eq!(pattern_of(uid()), format!("shmooze-*-{UID}.scope"));
    }

    #[test]
    fn object_paths() {
        let path = "/org/freedesktop/systemd1/unit/shmooze_2dqueue_2da_5cx20_2d1_2escope";
        assert_eq!(object_path(r"shmooze-queue-a\x20-1.scope"), path);
        assert_eq!(unit_of_object_path(path).as_deref(), Some(r"shmooze-queue-a\x20-1.scope"));
        assert_eq!(object_path("1a.scope"), "/org/freedesktop/systemd1/unit/_31a_2escope");
        assert_eq!(unit_of_object_path("/org/freedesktop/systemd1/unit/a_2"), None);
        assert_eq!(unit_of_object_path("/org/freedesktop/systemd1/job/1"), None);
    }

    proptest! {
        #[test]
        fn any_name_is_valid_and_read_back(service in "[a-z][a-z0-9_-]{0,31}", type_name in ".{1,80}") {
            let name = scope(&service, &type_name, uid());
            prop_assert!(name.len() <= 255);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte)));
            prop_assert_eq!(unit_of_object_path(&object_path(&name)), Some(name.clone()));
            prop_assert_eq!(parse(&name), parsed(&service, Some(uid())));
            let name = spare(&service, &type_name, uid());
            prop_assert!(name.len() <= 255);
            prop_assert_eq!(parse(&name), parsed(&service, None));
        }
    }
}
