//! The properties of a transient scope.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zbus::{Fd, Variant};

use super::super::Spec;
use super::manager::Property;
use crate::protocol::Uid;
use crate::settings::{INFINITY, PropertyValue, ScopeLimit};

const PID_FDS: &str = "PIDFDs";
const OOM_POLICY: &str = "OOMPolicy";
/// The property that can be changed at any time.
pub(super) const DESCRIPTION: &str = "Description";

/// Which properties this manager takes. Assumed until it refuses one: its version tells less, since distributions
/// carry features back.
#[derive(Debug)]
pub(super) struct Takes {
    /// `PIDFDs`, from 255 on.
    pid_fds: AtomicBool,
    /// `OOMPolicy` of a scope, from 252.6 on.
    oom_policy: AtomicBool,
}

impl Default for Takes {
    fn default() -> Self {
        Self { pid_fds: AtomicBool::new(true), oom_policy: AtomicBool::new(true) }
    }
}

impl Takes {
    /// Learns from a refusal that names the property which this manager does not know. Answers whether that helps, that is
    /// whether the same call would be another one now.
    pub(super) fn learn(&self, sent: &[Property<'_>], refusal: &str) -> bool {
        for (name, taken) in [(PID_FDS, &self.pid_fds), (OOM_POLICY, &self.oom_policy)] {
            if refusal.contains(name) && sent.iter().any(|(sent, _)| *sent == name) {
                taken.store(false, Ordering::Relaxed);
                return true;
            }
        }
        false
    }
}

/// What a scope is made of, whichever module lives in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) service: String,
    pub(super) type_name: String,
    pub(super) is_app: bool,
    pub(super) terminate: Duration,
    pub(super) limits: Vec<ScopeLimit>,
    pub(super) part_of: Option<String>,
}

impl Kind {
    /// That of the scope for `spec`.
    pub(super) fn of(spec: &Spec) -> Self {
        Self {
            service: spec.service.clone(),
            type_name: spec.type_name.clone(),
            is_app: spec.is_app,
            terminate: spec.terminate,
            limits: spec.limits.clone(),
            part_of: spec.part_of.clone(),
        }
    }

    /// Whether its lifetime is limited, from the making of the scope on.
    pub(super) fn is_mortal(&self) -> bool {
        self.limits.iter().any(|limit| matches!(limit, ScopeLimit::RuntimeMax(Some(_))))
    }
}

/// The properties of a scope in `slice` around the process `pid`, which `pid_fd` refers to.
pub(super) fn of<'a>(
    kind: &'a Kind,
    description: &'a str,
    slice: &'a str,
    pid: u32,
    pid_fd: BorrowedFd<'a>,
    takes: &Takes,
) -> Vec<Property<'a>> {
    let process = if takes.pid_fds.load(Ordering::Relaxed) {
        (PID_FDS, Variant::from(vec![Fd::from(pid_fd)]))
    } else {
        // The child is not waited for before it has its scope, so its number is not given to another.
        ("PIDs", Variant::from(vec![pid]))
    };
    let mut properties = vec![
        process,
        ("Slice", slice.into()),
        (DESCRIPTION, description.into()),
        // One that had to be killed would stay behind as failed.
        ("CollectMode", "inactive-or-failed".into()),
        // Stopped at shutdown, and waited for, with its slice: it requires that and comes after it, whatever is said here. The
        // defaults would say so once more, and each scope would have the manager weigh and announce `shutdown.target` anew.
        ("DefaultDependencies", false.into()),
        ("TimeoutStopUSec", Variant::U64(u64::try_from(kind.terminate.as_micros()).unwrap_or(u64::MAX))),
    ];
    if let Some(unit) = &kind.part_of {
        // Stopped with that unit, after it: so its own ending of its modules comes first. `After` would wait for a unit
        // that is still starting, which waits for its first module.
        properties.extend([("PartOf", vec![unit.as_str()].into()), ("Before", vec![unit.as_str()].into())]);
    }
    properties.extend(limits(&kind.limits).filter(|(name, _)| *name != OOM_POLICY || takes.oom_policy.load(Ordering::Relaxed)));
    properties
}

/// The properties that set `limits`.
pub(super) fn limits(limits: &[ScopeLimit]) -> impl Iterator<Item = Property<'_>> {
    limits.iter().map(|limit| {
        let (name, value) = limit.property();
        let value = match value {
            PropertyValue::U64(value) => value.into(),
            PropertyValue::U32(value) => value.into(),
            PropertyValue::Str(value) => value.into(),
        };
        (name, value)
    })
}

/// The properties that lift what can be limited while a scope runs and `limits` do not limit: their values where nobody has set
/// any (`systemd.resource-control(5)`). `tasks` is that of `TasksMax`, which the manager chooses.
pub(super) fn lifted(limits: &[ScopeLimit], tasks: u64) -> impl Iterator<Item = Property<'_>> {
    // A weight that is none.
    const UNSET: u64 = u64::MAX;
    let defaults = [
        ("MemoryMax", INFINITY),
        ("MemoryHigh", INFINITY),
        ("MemorySwapMax", INFINITY),
        ("TasksMax", tasks),
        ("CPUQuotaPerSecUSec", INFINITY),
        ("CPUWeight", UNSET),
        ("IOWeight", UNSET),
    ];
    // A share is the same limit under another name.
    let limited = |name: &str| limits.iter().any(|limit| limit.property().0.trim_end_matches("Scale") == name);
    let lifted: Vec<_> = defaults.into_iter().filter(|(name, _)| !limited(name)).collect();
    lifted.into_iter().map(|(name, value)| (name, Variant::U64(value)))
}

/// What the scope of a module is called by people.
pub(super) fn description(kind: &Kind, uid: Uid) -> String {
    if kind.is_app {
        return format!("shmooze program {}", kind.service);
    }
    format!("shmooze module {} {uid} of {}", kind.type_name, kind.service)
}

/// What a scope is called by people that no module lives in yet.
pub(super) fn spare_description(kind: &Kind) -> String {
    format!("shmooze spare for {} of {}", kind.type_name, kind.service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Amount, Limit, OomPolicy, Permyriad};
    use std::os::fd::AsFd as _;

    const UID: &str = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed";

    fn kind() -> Kind {
        Kind {
            service: "queue".into(),
            type_name: "clock".into(),
            is_app: false,
            terminate: Duration::from_millis(1500),
            limits: Vec::new(),
            part_of: None,
        }
    }

    /// Names, signatures and values as text.
    fn shown(kind: &Kind, takes: &Takes) -> Vec<String> {
        let file = std::fs::File::open("/dev/null").unwrap();
        let properties = of(kind, "a module", "shmooze-queue.slice", 7, file.as_fd(), takes);
        properties
            .iter()
            .map(|(name, value)| {
                // The number of a descriptor is not known beforehand.
                let text = if *name == PID_FDS { String::new() } else { format!(" {value}") };
                format!("{name} {}{text}", value.value_signature())
            })
            .collect()
    }

    #[test]
    fn of_a_plain_module() {
        let mut expected = vec![
            "PIDFDs ah".to_owned(),
            "Slice s \"shmooze-queue.slice\"".to_owned(),
            "Description s \"a module\"".to_owned(),
            "CollectMode s \"inactive-or-failed\"".to_owned(),
            "DefaultDependencies b false".to_owned(),
            "TimeoutStopUSec t uint64 1500000".to_owned(),
        ];
        let takes = Takes::default();
        assert_eq!(shown(&kind(), &takes), expected);
        let file = std::fs::File::open("/dev/null").unwrap();
        let kind = kind();
        let sent = of(&kind, "a", "s", 7, file.as_fd(), &takes);
        assert!(takes.learn(&sent, "Cannot set property PIDFDs, or unknown property."));
        expected[0] = "PIDs au [uint32 7]".into();
        assert_eq!(shown(&kind, &takes), expected);
    }

    #[test]
    fn with_a_unit_that_it_ends_with() {
        let kind = Kind { part_of: Some("shmooze-queue.service".into()), ..kind() };
        let shown = shown(&kind, &Takes::default());
        assert_eq!(shown[6..], ["PartOf as [\"shmooze-queue.service\"]", "Before as [\"shmooze-queue.service\"]"]);
    }

    #[test]
    fn with_limits() {
        let limits = vec![
            ScopeLimit::MemoryMax(Amount::Units(1 << 20)),
            ScopeLimit::TasksMax(Amount::Share(Permyriad(10_000))),
            ScopeLimit::CpuQuota(Permyriad(5000)),
            ScopeLimit::RuntimeMax(Some(Duration::from_secs(2))),
            ScopeLimit::OomPolicy(OomPolicy::Kill),
        ];
        let kind = Kind { limits, ..kind() };
        let takes = Takes::default();
        let mut expected = vec![
            "MemoryMax t uint64 1048576",
            "TasksMaxScale u uint32 4294967295",
            "CPUQuotaPerSecUSec t uint64 500000",
            "RuntimeMaxUSec t uint64 2000000",
            "OOMPolicy s \"kill\"",
        ];
        assert_eq!(shown(&kind, &takes)[6..], expected);
        let file = std::fs::File::open("/dev/null").unwrap();
        let sent = of(&kind, "a", "s", 7, file.as_fd(), &takes);
        assert!(takes.learn(&sent, "Cannot set property OOMPolicy, or unknown property."));
        expected.pop();
        assert_eq!(shown(&kind, &takes)[6..], expected);
    }

    /// Each limit that can be changed is lifted where it is not given: none can be forgotten here.
    #[test]
    fn what_is_not_limited_is_lifted() {
        let names = |limits: &[ScopeLimit]| -> Vec<String> { lifted(limits, 77).map(|(name, _)| name.to_owned()).collect() };
        let all = names(&[]);
        for name in Limit::names() {
            let value = ["10%", "10"].into_iter().find_map(|text| Limit::parse(name, &text.into()).ok());
            let Some(Limit::Scope(limit)) = value.filter(Limit::can_be_changed) else { continue };
            let own = limit.property().0.trim_end_matches("Scale");
            let others: Vec<String> = all.iter().filter(|name| *name != own).cloned().collect();
            assert_eq!((names(&[limit]), others.len()), (others, all.len() - 1), "{name}");
        }
        let tasks = lifted(&[], 77).find(|(name, _)| *name == "TasksMax").unwrap();
        assert_eq!(format!("{}", tasks.1), "uint64 77");
    }

    #[test]
    fn descriptions_read_well() {
        assert_eq!(description(&kind(), UID.parse().unwrap()), format!("shmooze module clock {UID} of queue"));
        assert_eq!(spare_description(&kind()), "shmooze spare for clock of queue");
        let program = Kind { is_app: true, service: "volume".into(), type_name: "volume".into(), ..kind() };
        assert_eq!(description(&program, UID.parse().unwrap()), "shmooze program volume");
    }

    #[test]
    fn whose_time_runs() {
        let of = |limit| Kind { limits: vec![limit], ..kind() }.is_mortal();
        assert!(of(ScopeLimit::RuntimeMax(Some(Duration::from_secs(2)))));
        assert!(!of(ScopeLimit::RuntimeMax(None)) && !of(ScopeLimit::OomPolicy(OomPolicy::Kill)) && !kind().is_mortal());
    }

    #[test]
    fn learns_only_what_helps() {
        let takes = Takes::default();
        let sent = [("PIDs", Variant::from(vec![7_u32])), ("Slice", "a".into())];
        assert!(!takes.learn(&sent, "Cannot set property PIDFDs, or unknown property."), "it was not sent");
        assert!(!takes.learn(&sent, "Cannot set property Slice, or unknown property."), "it cannot be left out");
    }
}
