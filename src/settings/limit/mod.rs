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

pub(super) use table::names;

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

    /// Whether systemd sets it on the scope; otherwise the process does before exec.
    #[must_use]
    pub const fn is_scope_property(&self) -> bool {
        matches!(self, Self::Scope(_))
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
        if hundredths == 0 { write!(f, "{whole}%") } else { write!(f, "{whole}.{hundredths:02}%") }
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
