//! Limits of a module's processes, by their names in systemd.resource-control(5), systemd.exec(5) and
//! systemd.scope(5), parsed so far that nobody after the settings need parse anything.
//!
//! ```text
//!   "MemoryMax": "512M" ──Limit::parse──▶ Limit::Scope(…)   ──property()──▶ a property of the transient scope (D-Bus)
//!   "LimitNOFILE": 64   ──Limit::parse──▶ Limit::Process(…) ──────────────▶ set by the process itself before exec
//! ```
//!
//! Execution settings never apply to scopes, so the second kind cannot be a property.

mod table;
mod unit;

use std::fmt;
use std::time::Duration;

use nix::sys::resource::Resource;
use serde_json::Value;

/// One limit: who sets it, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// A property of the scope that holds the module's processes.
    Scope(ScopeLimit),
    /// An attribute that the module's first process sets on itself before exec, and that its descendants inherit.
    Process(ProcessLimit),
}

/// A limit that systemd sets on the module's scope, hence on all its processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeLimit {
    /// `MemoryMax`: bytes that are never exceeded.
    MemoryMax(Amount),
    /// `MemoryHigh`: bytes above which the processes are slowed down.
    MemoryHigh(Amount),
    /// `MemorySwapMax`: bytes of swap.
    MemorySwapMax(Amount),
    /// `TasksMax`: processes and threads.
    TasksMax(Amount),
    /// `CPUQuota`: share of one CPU's time; may be over 100 %.
    CpuQuota(Permyriad),
    /// `CPUWeight`, 1 to 10000, of 100.
    CpuWeight(u16),
    /// `IOWeight`, 1 to 10000, of 100.
    IoWeight(u16),
    /// `RuntimeMaxSec`: how long the module may live; `None` for ever.
    RuntimeMax(Option<Duration>),
    /// `OOMPolicy`: what happens when the kernel kills one of the processes for want of memory.
    OomPolicy(OomPolicy),
}

/// A limit that a process carries itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessLimit {
    /// `LimitNOFILE`, `LimitCORE` …: see setrlimit(2). Units are those of setrlimit, [`INFINITY`] for none.
    Resource {
        /// Which one.
        resource: Resource,
        /// What is in force.
        soft: u64,
        /// How far the process may raise it itself.
        hard: u64,
    },
    /// `Nice`: -20 (served first) to 19.
    Nice(i32),
    /// `OOMScoreAdjust`: -1000 (never killed for want of memory) to 1000 (killed first).
    OomScoreAdjust(i32),
    /// `UMask`: permission bits taken from new files, 0 to 0o777.
    Umask(u32),
}

/// No limit, in setrlimit(2) and in systemd's D-Bus properties.
pub const INFINITY: u64 = u64::MAX;

/// How much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes or tasks.
    Units(u64),
    /// A share of all that the machine has, at most 100 %.
    Share(Permyriad),
    /// No limit.
    Infinity,
}

/// Hundredths of a per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permyriad(pub u32);

/// `OOMPolicy` of systemd.scope(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomPolicy {
    /// The others go on.
    Continue,
    /// The others are stopped.
    Stop,
    /// The kernel kills the others at once.
    Kill,
}

/// The value of a scope's property, with its D-Bus type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyValue {
    /// `t`
    U64(u64),
    /// `u`
    U32(u32),
    /// `s`
    Str(&'static str),
}

/// Why a limit was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitError {
    /// No limit has that name.
    Unknown {
        /// One that is written nearly so.
        closest: Option<&'static str>,
    },
    /// The value must be this, said with its article.
    Expected(&'static str),
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { closest: None } => f.write_str("is not known"),
            Self::Unknown { closest: Some(name) } => write!(f, "is not known; did you mean \"{name}\"?"),
            Self::Expected(expected) => write!(f, "must be {expected}"),
        }
    }
}

impl std::error::Error for LimitError {}

impl Limit {
    /// The limit that the settings call `name`, at `value`.
    ///
    /// # Errors
    /// [`LimitError`] where there is no such limit, or it takes no such value.
    pub fn parse(name: &str, value: &Value) -> Result<Self, LimitError> {
        table::parse(name, value)
    }

    /// The names of all limits that there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        table::names()
    }

    /// Whether systemd sets it on the scope; otherwise the process does before exec.
    #[must_use]
    pub const fn is_scope_property(&self) -> bool {
        matches!(self, Self::Scope(_))
    }

    /// Whether it can be set for a program that runs already. What a process carries itself is its own from then on.
    #[must_use]
    pub const fn can_be_changed(&self) -> bool {
        match self {
            Self::Scope(limit) => limit.can_be_changed(),
            Self::Process(_) => false,
        }
    }

    /// The value in the plainest form that [`Limit::parse`] reads as the same limit.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Scope(limit) => limit.to_json(),
            Self::Process(limit) => limit.to_json(),
        }
    }
}

impl ScopeLimit {
    /// Whether it can be set on a scope that runs already (`systemd.scope(5)`, systemctl(1) `set-property`).
    #[must_use]
    pub const fn can_be_changed(&self) -> bool {
        !matches!(self, Self::RuntimeMax(_) | Self::OomPolicy(_))
    }

    /// Name and value of the D-Bus property of `org.freedesktop.systemd1.Scope` that sets it, as systemd's own
    /// `bus-unit-util.c` maps them.
    #[must_use]
    pub fn property(&self) -> (&'static str, PropertyValue) {
        match *self {
            Self::MemoryMax(amount) => amount.property("MemoryMax", "MemoryMaxScale"),
            Self::MemoryHigh(amount) => amount.property("MemoryHigh", "MemoryHighScale"),
            Self::MemorySwapMax(amount) => amount.property("MemorySwapMax", "MemorySwapMaxScale"),
            Self::TasksMax(amount) => amount.property("TasksMax", "TasksMaxScale"),
            // Microseconds of CPU time per second: one permyriad of a second is 100 µs.
            Self::CpuQuota(Permyriad(share)) => ("CPUQuotaPerSecUSec", PropertyValue::U64(u64::from(share) * 100)),
            Self::CpuWeight(weight) => ("CPUWeight", PropertyValue::U64(weight.into())),
            Self::IoWeight(weight) => ("IOWeight", PropertyValue::U64(weight.into())),
            Self::RuntimeMax(time) => ("RuntimeMaxUSec", PropertyValue::U64(time.map_or(INFINITY, microseconds))),
            Self::OomPolicy(policy) => ("OOMPolicy", PropertyValue::Str(policy.name())),
        }
    }

    fn to_json(self) -> Value {
        match self {
            Self::MemoryMax(amount) | Self::MemoryHigh(amount) | Self::MemorySwapMax(amount) | Self::TasksMax(amount) => {
                match amount {
                    Amount::Units(units) => units.into(),
                    Amount::Share(share) => share.to_string().into(),
                    Amount::Infinity => unit::INFINITY_WORD.into(),
                }
            }
            Self::CpuQuota(share) => share.to_string().into(),
            Self::CpuWeight(weight) | Self::IoWeight(weight) => weight.into(),
            Self::RuntimeMax(Some(time)) if time.subsec_micros() == 0 => time.as_secs().into(),
            Self::RuntimeMax(Some(time)) => format!("{}us", microseconds(time)).into(),
            Self::RuntimeMax(None) => unit::INFINITY_WORD.into(),
            Self::OomPolicy(policy) => policy.name().into(),
        }
    }
}

impl ProcessLimit {
    fn to_json(self) -> Value {
        let bound = |bound: u64| if bound == INFINITY { unit::INFINITY_WORD.to_owned() } else { bound.to_string() };
        match self {
            // LimitRTTIME counts microseconds and LimitCPU seconds where no unit is written, as setrlimit does.
            Self::Resource { soft, hard, .. } if soft != hard => format!("{}:{}", bound(soft), bound(hard)).into(),
            Self::Resource { soft: INFINITY, .. } => unit::INFINITY_WORD.into(),
            Self::Resource { soft, .. } => soft.into(),
            Self::Nice(number) | Self::OomScoreAdjust(number) => number.into(),
            Self::Umask(mask) => format!("{mask:04o}").into(),
        }
    }
}

impl Amount {
    fn property(self, units: &'static str, scale: &'static str) -> (&'static str, PropertyValue) {
        match self {
            Self::Units(amount) => (units, PropertyValue::U64(amount)),
            Self::Infinity => (units, PropertyValue::U64(INFINITY)),
            Self::Share(share) => (scale, PropertyValue::U32(share.scale())),
        }
    }
}

impl Permyriad {
    /// The share as a fraction of [`u32::MAX`], rounded, at most all of it: how systemd's `…Scale` properties count.
    #[must_use]
    pub fn scale(self) -> u32 {
        u32::try_from((u64::from(self.0) * u64::from(u32::MAX) + 5000) / 10_000).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Permyriad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.0 / 100, self.0 % 100);
        match hundredths {
            0 => write!(f, "{whole}%"),
            _ if hundredths % 10 == 0 => write!(f, "{whole}.{}%", hundredths / 10),
            _ => write!(f, "{whole}.{hundredths:02}%"),
        }
    }
}

impl OomPolicy {
    /// Its name in systemd.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
            Self::Kill => "kill",
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(INFINITY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(name: &str, value: impl Into<Value>) -> Limit {
        Limit::parse(name, &value.into()).unwrap_or_else(|error| panic!("{name} {error}"))
    }

    fn property(name: &str, value: impl Into<Value>) -> (&'static str, PropertyValue) {
        match parse(name, value) {
            Limit::Scope(limit) => limit.property(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scope_properties() {
        use PropertyValue::{Str, U32, U64};
        assert_eq!(property("MemoryMax", "512M"), ("MemoryMax", U64(512 << 20)));
        assert_eq!(property("MemoryMax", "infinity"), ("MemoryMax", U64(u64::MAX)));
        assert_eq!(property("MemoryMax", "100%"), ("MemoryMaxScale", U32(u32::MAX)));
        assert_eq!(property("MemoryHigh", "50%"), ("MemoryHighScale", U32(1 << 31)));
        assert_eq!(property("MemorySwapMax", 0), ("MemorySwapMax", U64(0)));
        assert_eq!(property("TasksMax", "0.01%"), ("TasksMaxScale", U32(429_497)));
        assert_eq!(property("TasksMax", 64), ("TasksMax", U64(64)));
        assert_eq!(property("CPUQuota", "150%"), ("CPUQuotaPerSecUSec", U64(1_500_000)));
        assert_eq!(property("CPUQuota", "0.01%"), ("CPUQuotaPerSecUSec", U64(100)));
        assert_eq!(property("CPUWeight", 10_000), ("CPUWeight", U64(10_000)));
        assert_eq!(property("IOWeight", "1"), ("IOWeight", U64(1)));
        assert_eq!(property("RuntimeMaxSec", 0.25), ("RuntimeMaxUSec", U64(250_000)));
        assert_eq!(property("RuntimeMaxSec", "infinity"), ("RuntimeMaxUSec", U64(u64::MAX)));
        assert_eq!(property("OOMPolicy", "kill"), ("OOMPolicy", Str("kill")));
    }

    #[test]
    fn process_limits() {
        let resource = |resource, soft, hard| Limit::Process(ProcessLimit::Resource { resource, soft, hard });
        assert_eq!(parse("LimitNOFILE", "1024:4096"), resource(Resource::RLIMIT_NOFILE, 1024, 4096));
        assert_eq!(parse("LimitNPROC", "infinity"), resource(Resource::RLIMIT_NPROC, INFINITY, INFINITY));
        assert_eq!(parse("LimitSTACK", "8M:infinity"), resource(Resource::RLIMIT_STACK, 8 << 20, INFINITY));
        assert_eq!(parse("LimitCORE", 0), resource(Resource::RLIMIT_CORE, 0, 0));
        // Seconds, rounded up; microseconds.
        assert_eq!(parse("LimitCPU", "500ms:1min"), resource(Resource::RLIMIT_CPU, 1, 60));
        assert_eq!(parse("LimitRTTIME", "5ms"), resource(Resource::RLIMIT_RTTIME, 5000, 5000));
        assert_eq!(parse("LimitRTTIME", "5"), parse("LimitRTTIME", 5));
        assert_eq!(parse("Nice", "-20"), Limit::Process(ProcessLimit::Nice(-20)));
        assert_eq!(parse("OOMScoreAdjust", "+7"), Limit::Process(ProcessLimit::OomScoreAdjust(7)));
        assert_eq!(parse("UMask", "0027"), Limit::Process(ProcessLimit::Umask(0o27)));
    }

    #[test]
    fn who_sets_it() {
        let scope =
            ["MemoryMax", "MemoryHigh", "MemorySwapMax", "TasksMax", "CPUQuota", "CPUWeight", "IOWeight", "RuntimeMaxSec"];
        for name in Limit::names().filter(|name| *name != "OOMPolicy") {
            let value = ["10%", "10"].into_iter().find_map(|text| Limit::parse(name, &text.into()).ok());
            assert_eq!(value.map(|limit| limit.is_scope_property()), Some(scope.contains(&name)), "{name}");
        }
        assert!(parse("OOMPolicy", "stop").is_scope_property());
    }

    /// `LimitXYZ` is RLIMIT_XYZ.
    #[test]
    fn resources_by_name() {
        let mut number = 0;
        for name in Limit::names().filter_map(|name| name.strip_prefix("Limit")) {
            let Limit::Process(ProcessLimit::Resource { resource, .. }) = parse(&format!("Limit{name}"), 1) else {
                panic!("{name}")
            };
            assert_eq!(format!("{resource:?}"), format!("RLIMIT_{name}"));
            number += 1;
        }
        assert_eq!(number, 16);
    }

    #[test]
    fn the_plainest_form_reads_as_the_same() {
        for (name, value, plain) in [
            ("MemoryMax", json!("512M"), json!(512 << 20)),
            ("MemoryMax", json!("12.50%"), json!("12.5%")),
            ("MemoryMax", json!("0.05%"), json!("0.05%")),
            ("TasksMax", json!("infinity"), json!("infinity")),
            ("CPUQuota", json!("200%"), json!("200%")),
            ("CPUWeight", json!("0050"), json!(50)),
            ("IOWeight", json!(50.0), json!(50)),
            ("RuntimeMaxSec", json!("5min"), json!(300)),
            ("RuntimeMaxSec", json!("0.1ms"), json!("100us")),
            ("RuntimeMaxSec", json!("infinity"), json!("infinity")),
            ("OOMPolicy", json!("stop"), json!("stop")),
            ("LimitNOFILE", json!("5:infinity"), json!("5:infinity")),
            ("LimitNOFILE", json!("infinity:infinity"), json!("infinity")),
            ("LimitAS", json!("1K:1K"), json!(1024)),
            ("LimitCPU", json!("1min:1h"), json!("60:3600")),
            ("LimitRTTIME", json!("1ms:2ms"), json!("1000:2000")),
            ("Nice", json!("-5"), json!(-5)),
            ("OOMScoreAdjust", json!(1000), json!(1000)),
            ("UMask", json!("7"), json!("0007")),
        ] {
            let limit = parse(name, value);
            assert_eq!(limit.to_json(), plain, "{name}");
            assert_eq!(parse(name, plain), limit, "{name}");
        }
    }

    #[test]
    fn refusals() {
        let refused = |name, value: Value| Limit::parse(name, &value).unwrap_err().to_string();
        assert_eq!(refused("MemoryMx", json!(1)), "is not known; did you mean \"MemoryMax\"?");
        assert_eq!(refused("CPUShares", json!(1)), "is not known");
        assert_eq!(refused("CPUWeight", json!(0)), "must be a weight from 1 to 10000");
    }
}
