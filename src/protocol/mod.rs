//! The wire: what travels between a client, a service and a module (protocol.md sections 1 to 5).
//!
//! ```text
//!   bytes ──LineBuffer──▶ line ──parse──▶ Incoming{Request…} ──Command::parse──▶ Command
//!                                                                                   │
//!   bytes ◀──────────────────────────── Response::write ◀────────────────── the service
//! ```
//!
//! Pure: nothing here does I/O or knows a runtime. Values that only pass through (arguments, results, parameters) are
//! kept as the text in which they came ([`serde_json::value::RawValue`]), so numbers of any size and values of any
//! depth arrive as they were sent, and nothing is parsed twice.
//!
//! **Invariant:** whatever bytes come in, the answer is a [`Response`]; nothing here panics.

mod command;
mod error;
mod json;
mod line;
mod metrics;
mod request;
mod response;
mod uid;
mod update;
mod validate;

pub use command::{Command, Target, Verb, Wanted};
pub use error::ProtocolError;
pub(crate) use error::shown;
pub(crate) use json::{Key, as_list, as_string, raw_text, replace_non_finite, whole_number, write_object};
pub use json::{Object, Raw, parse_object, raw, raw_null, raw_string, write_string};
pub use line::{LineBuffer, LineTooLong};
pub use metrics::{Counts, Launches, Metrics};
pub use request::{Incoming, Request, write_request};
pub use response::Response;
pub use uid::Uid;
#[cfg(test)]
pub(crate) use uid::numbered;
pub use update::Update;
pub use validate::validate;

/// Longest line taken from a peer, in bytes, where the settings do not say otherwise (protocol.md section 1).
pub const DEFAULT_MAX_LINE_BYTES: usize = 8 * 1024 * 1024;
