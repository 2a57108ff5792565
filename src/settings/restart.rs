//! Whether and when a module is started again: the key `restart` of a module type.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::read::{Node, Reader, shown};
use super::read_service::read_milliseconds;
use super::suggest::closest;

/// How many restarts there may be within the window.
const LIMIT: RangeInclusive<u64> = 1..=1000;

const KEYS: [&str; 5] = ["on", "delay", "max_delay", "limit", "window"];

/// After which endings a module is started again: words of systemd's `Restart=` (`systemd.service(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartOn {
    /// After those that are failures.
    Failure,
    /// After all but those that a client or the service wanted.
    Always,
}

impl RestartOn {
    const ALL: [Self; 2] = [Self::Failure, Self::Always];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Always => "always",
        }
    }
}

/// How modules of a type are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// After which endings.
    pub on: RestartOn,
    /// How long the first restart waits; each further one waits twice as long as the one before.
    pub delay: Duration,
    /// How long any waits at most.
    pub max_delay: Duration,
    /// How many restarts there may be within `window`; then the module is given up.
    pub limit: u32,
    /// How long a restart counts. A module that has lived for as long begins anew with `delay`.
    pub window: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            on: RestartOn::Failure,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            limit: 10,
            window: Duration::from_secs(600),
        }
    }
}

impl Restart {
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node<'_>) -> Self {
        let mut restart = Self::default();
        let Some(fields) = reader.object_of(node, &KEYS) else { return restart };
        if let Some(on) = fields.get("on") {
            let word = on.value.as_str();
            match word.and_then(|word| RestartOn::ALL.into_iter().find(|one| one.name() == word)) {
                Some(on) => restart.on = on,
                None => {
                    let meant = word.and_then(|word| closest(word, RestartOn::ALL.map(RestartOn::name)));
                    let hint = meant.map(|word| format!("; did you mean \"{word}\"?")).unwrap_or_default();
                    let given = shown(on.value);
                    reader.problems.add(&on.at, format_args!("must be \"failure\" or \"always\", not {given}{hint}"));
                }
            }
        }
        let mut time = |name: &str| fields.get(name).and_then(|node| read_milliseconds(reader, &node));
        let (delay, max_delay, window) = (time("delay"), time("max_delay"), time("window"));
        restart.delay = delay.unwrap_or(restart.delay);
        restart.max_delay = max_delay.unwrap_or(restart.max_delay.max(restart.delay));
        restart.window = window.unwrap_or(restart.window);
        if let Some(node) = fields.get("max_delay").filter(|_| restart.max_delay < restart.delay) {
            let least = restart.delay.as_millis();
            reader.expected(&node, format_args!("at least delay, which is {least} milliseconds"));
        }
        if let Some(limit) = fields.get("limit").and_then(|node| reader.whole(&node, "restarts", &LIMIT)) {
            restart.limit = u32::try_from(limit).unwrap_or(u32::MAX);
        }
        restart
    }

    pub(super) fn to_json(self) -> Value {
        let milliseconds = |time: Duration| Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let values = [
            ("on", self.on.name().into()),
            ("delay", milliseconds(self.delay)),
            ("max_delay", milliseconds(self.max_delay)),
            ("limit", self.limit.into()),
            ("window", milliseconds(self.window)),
        ];
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
    }
}
