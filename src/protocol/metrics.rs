//! What `metrics` answers (protocol.md section 4): one form for the broker that tells it and the gateway that reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a queue or pool has counted since its process began, and what there is now. Of one of another release what is not there is
/// empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Name of the service.
    pub service: String,
    /// `queue` or `pool`.
    pub kind: String,
    /// Of the list.
    pub revision: u64,
    /// When the process began, in seconds since 1970: all counts are from then on.
    pub started: f64,
    /// How many modules are in the list, the background not counted.
    pub length: u64,
    /// How many modules of each type are in which state.
    pub modules: Counts,
    /// The same of backgrounds.
    pub backgrounds: Counts,
    /// How many modules ended for which cause, by how far it had to go (as `history` has both).
    pub endings: Counts,
    /// What launches took.
    pub launches: Launches,
}

/// Numbers by two names.
pub type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// What launches took, from asking the launcher until the module's process runs in its scope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Launches {
    /// How many came to nothing.
    pub failed: u64,
    /// What the others took together, in seconds.
    pub seconds: f64,
    /// How many of them took no longer than each bound, in seconds, and longer than the one before; the last has none.
    pub buckets: Vec<(Option<f64>, u64)>,
}
