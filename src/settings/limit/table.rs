//! Which limits there are and how each is read.

use std::time::Duration;

use nix::sys::resource::Resource;
use serde_json::Value;

use super::super::read::whole;
use super::super::suggest::closest;
use super::unit::{self, INFINITY_WORD};
use super::{Amount, INFINITY, Limit, LimitError, OomPolicy, Permyriad, ProcessLimit, ScopeLimit};

/// One limit.
struct Row {
    name: &'static str,
    /// What the value must be, with its article.
    expected: &'static str,
    read: fn(&Value) -> Option<Limit>,
}

const MEMORY: &str =
    "a number of bytes such as 536870912 or \"512M\", a share of the machine's memory such as \"25%\", or \"infinity\"";
const TASKS: &str = "a number of tasks, a share of the machine's such as \"10%\", or \"infinity\"";
const QUOTA: &str = "a share of one CPU's time such as \"50%\" or \"150%\"";
const WEIGHT: &str = "a weight from 1 to 10000";
const RUNTIME: &str = "a time in seconds such as 300, a time span such as \"5min 20s\", or \"infinity\"";
const OOM_POLICY: &str = "\"continue\", \"stop\" or \"kill\"";
const SIZE: &str = "a number of bytes such as 65536 or \"64K\", \"infinity\", or a lower and a higher one as \"soft:hard\"";
const COUNT: &str = "a number, \"infinity\", or a lower and a higher one as \"soft:hard\"";
const SECONDS: &str = "a time in seconds such as 60 or \"1min\", \"infinity\", or a lower and a higher one as \"soft:hard\"";
const MICROSECONDS: &str =
    "a time in microseconds such as 500 or \"5ms\", \"infinity\", or a lower and a higher one as \"soft:hard\"";
const NICE: &str = "a nice level from -20 to 19";
const OOM_SCORE: &str = "a whole number from -1000 to 1000";
const UMASK: &str = "an octal file mode from \"0000\" to \"0777\"";

macro_rules! rows {
    ($($name:literal $expected:ident $value:ident => $read:expr;)*) => {
        &[$(Row { name: $name, expected: $expected, read: |$value| $read },)*]
    };
}

macro_rules! rlimit {
    ($value:ident, $one:path, $resource:ident) => {
        soft_and_hard($value, $one)
            .map(|(soft, hard)| Limit::Process(ProcessLimit::Resource { resource: Resource::$resource, soft, hard }))
    };
}

const TABLE: &[Row] = rows! {
    // Least values as in systemd's dbus-cgroup.c: a scope without any memory or task could not live.
    "MemoryMax" MEMORY value => amount(value, unit::bytes, 1).map(|amount| Limit::Scope(ScopeLimit::MemoryMax(amount)));
    "MemoryHigh" MEMORY value => amount(value, unit::bytes, 1).map(|amount| Limit::Scope(ScopeLimit::MemoryHigh(amount)));
    "MemorySwapMax" MEMORY value => amount(value, unit::bytes, 0).map(|amount| Limit::Scope(ScopeLimit::MemorySwapMax(amount)));
    "TasksMax" TASKS value => amount(value, unit::digits, 1).map(|amount| Limit::Scope(ScopeLimit::TasksMax(amount)));
    "CPUQuota" QUOTA value => quota(value).map(|share| Limit::Scope(ScopeLimit::CpuQuota(share)));
    "CPUWeight" WEIGHT value => weight(value).map(|weight| Limit::Scope(ScopeLimit::CpuWeight(weight)));
    "IOWeight" WEIGHT value => weight(value).map(|weight| Limit::Scope(ScopeLimit::IoWeight(weight)));
    "RuntimeMaxSec" RUNTIME value => runtime(value).map(|time| Limit::Scope(ScopeLimit::RuntimeMax(time)));
    "OOMPolicy" OOM_POLICY value => oom_policy(value).map(|policy| Limit::Scope(ScopeLimit::OomPolicy(policy)));
    "LimitAS" SIZE value => rlimit!(value, unit::bytes, RLIMIT_AS);
    "LimitCORE" SIZE value => rlimit!(value, unit::bytes, RLIMIT_CORE);
    "LimitCPU" SECONDS value => rlimit!(value, seconds, RLIMIT_CPU);
    "LimitDATA" SIZE value => rlimit!(value, unit::bytes, RLIMIT_DATA);
    "LimitFSIZE" SIZE value => rlimit!(value, unit::bytes, RLIMIT_FSIZE);
    "LimitLOCKS" COUNT value => rlimit!(value, unit::digits, RLIMIT_LOCKS);
    "LimitMEMLOCK" SIZE value => rlimit!(value, unit::bytes, RLIMIT_MEMLOCK);
    "LimitMSGQUEUE" SIZE value => rlimit!(value, unit::bytes, RLIMIT_MSGQUEUE);
    "LimitNICE" COUNT value => rlimit!(value, unit::digits, RLIMIT_NICE);
    "LimitNOFILE" COUNT value => rlimit!(value, unit::digits, RLIMIT_NOFILE);
    "LimitNPROC" COUNT value => rlimit!(value, unit::digits, RLIMIT_NPROC);
    "LimitRSS" SIZE value => rlimit!(value, unit::bytes, RLIMIT_RSS);
    "LimitRTPRIO" COUNT value => rlimit!(value, unit::digits, RLIMIT_RTPRIO);
    "LimitRTTIME" MICROSECONDS value => rlimit!(value, microseconds, RLIMIT_RTTIME);
    "LimitSIGPENDING" COUNT value => rlimit!(value, unit::digits, RLIMIT_SIGPENDING);
    "LimitSTACK" SIZE value => rlimit!(value, unit::bytes, RLIMIT_STACK);
    "Nice" NICE value => signed(value, -20, 19).map(|level| Limit::Process(ProcessLimit::Nice(level)));
    "OOMScoreAdjust" OOM_SCORE value => signed(value, -1000, 1000).map(|score| Limit::Process(ProcessLimit::OomScoreAdjust(score)));
    "UMask" UMASK value => umask(value).map(|mask| Limit::Process(ProcessLimit::Umask(mask)));
};

/// See [`Limit::names`].
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name)
}

/// See [`Limit::parse`].
pub(super) fn parse(name: &str, value: &Value) -> Result<Limit, LimitError> {
    match TABLE.iter().find(|row| row.name == name) {
        Some(row) => (row.read)(value).ok_or(LimitError::Expected(row.expected)),
        None => Err(LimitError::Unknown { closest: closest(name, names()) }),
    }
}

/// A number of units, a share of what there is, or `infinity`; not under `least`.
fn amount(value: &Value, units: fn(&str) -> Option<u64>, least: u64) -> Option<Amount> {
    let amount = match value.as_str() {
        None => Amount::Units(whole(value)?),
        Some(INFINITY_WORD) => Amount::Infinity,
        Some(text) if text.ends_with('%') => Amount::Share(unit::share(text)?),
        Some(text) => Amount::Units(units(text)?),
    };
    let fits = match amount {
        // What D-Bus would take for no limit.
        Amount::Units(INFINITY) => false,
        Amount::Units(units) => units >= least,
        Amount::Share(Permyriad(share)) => u64::from(share) >= least && share <= 10_000,
        Amount::Infinity => true,
    };
    fits.then_some(amount)
}

fn quota(value: &Value) -> Option<Permyriad> {
    unit::share(value.as_str()?).filter(|share| share.0 > 0)
}

fn weight(value: &Value) -> Option<u16> {
    let weight = value.as_str().map_or_else(|| whole(value), unit::digits)?;
    u16::try_from(weight).ok().filter(|weight| (1..=10_000).contains(weight))
}

/// `Some(None)` for ever.
fn runtime(value: &Value) -> Option<Option<Duration>> {
    let time = match value.as_str() {
        Some(INFINITY_WORD) => return Some(None),
        Some(text) => unit::time(text, 1_000_000)?,
        None => {
            // systemd counts microseconds, so nothing under one; more than 31,000 years is a mistake.
            let seconds = value.as_f64().filter(|seconds| (1e-6..=1e12).contains(seconds))?;
            Duration::from_micros((seconds * 1e6).round() as u64)
        }
    };
    (!time.is_zero()).then_some(Some(time))
}

fn oom_policy(value: &Value) -> Option<OomPolicy> {
    [OomPolicy::Continue, OomPolicy::Stop, OomPolicy::Kill].into_iter().find(|policy| value.as_str() == Some(policy.name()))
}

fn signed(value: &Value, least: i32, most: i32) -> Option<i32> {
    let number = match value.as_str() {
        Some(text) => text.strip_prefix('-').map_or_else(
            || unit::digits(text.strip_prefix('+').unwrap_or(text)).and_then(|number| i64::try_from(number).ok()),
            |text| unit::digits(text).and_then(|number| i64::try_from(number).ok()).map(|number| -number),
        )?,
        None => value.as_i64().or_else(|| value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64))?,
    };
    i32::try_from(number).ok().filter(|number| (least..=most).contains(number))
}

/// Octal digits. A JSON number would leave open whether it is meant in octal.
fn umask(value: &Value) -> Option<u32> {
    let text = value.as_str().filter(|text| !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)))?;
    u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777)
}

/// The two bounds of a resource limit, each read by `one`; a single value is both.
fn soft_and_hard(value: &Value, one: fn(&str) -> Option<u64>) -> Option<(u64, u64)> {
    let bound = |text: &str| if text == INFINITY_WORD { Some(INFINITY) } else { one(text).filter(|bound| *bound != INFINITY) };
    let Some(text) = value.as_str() else {
        return whole(value).filter(|bound| *bound != INFINITY).map(|bound| (bound, bound));
    };
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    Some((bound(soft)?, bound(hard)?)).filter(|(soft, hard)| soft <= hard)
}

/// Rounded up, as systemd does: a limit under a second is not none.
fn seconds(text: &str) -> Option<u64> {
    unit::time(text, 1_000_000).and_then(|time| u64::try_from(time.as_micros().div_ceil(1_000_000)).ok())
}

fn microseconds(text: &str) -> Option<u64> {
    unit::time(text, 1).and_then(|time| u64::try_from(time.as_micros()).ok())
}
