//! What takes a running family from the settings that it has to those that the file has now (`shmz apply`).
//!
//! ```text
//!   settings.json ──generate──▶ Tree ──╮
//!   what the manager has loaded ───────┼─▶ Plan: changes, and steps ──▶ systemctl, one step after the other
//!   what runs, what listens ───────────╯
//! ```
//!
//! It converges: whatever was done by hand meanwhile (a `daemon-reload`, a unit stopped or failed), it looks at what is and not at
//! what should have been, so that after a step that failed it can be run again.

mod listening;
mod part;
mod plan;
mod systemctl;

pub use listening::listening;
pub use plan::{Plan, Situation, Step};
pub use systemctl::{Systemctl, Unit, Units};
