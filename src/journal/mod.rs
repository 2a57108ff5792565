//! What the journal is told: every line in words, and what happens to modules with fields that can be searched for.
//!
//! ```text
//!   Witness ──▶ MESSAGE_ID, SHMOOZE_SERVICE, SHMOOZE_UID, SHMOOZE_TYPE, SHMOOZE_EVENT ──▶ journald (native protocol)
//!               "module 1b9d6bcd: plays"                                              ──▶ or standard error, the words alone
//! ```
//!
//! A request of the gateway's access log is told the same way (`requests.rs`).
//!
//! So `journalctl SHMOOZE_UID=…` tells one module's life, whichever program saw it, and `journalctl --catalog` explains it
//! (`units/shmooze.catalog`). What a module prints itself goes there too, under its own scope and identifier, without
//! this program between (`scope/systemd/journal.rs`).

mod native;
mod requests;
#[cfg(test)]
mod testing;
mod witness;

pub use requests::RequestFields;
pub use witness::{EndFields, ProgramWitness, Witness};

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, BorrowedFd};

use native::Native;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Sends the program's log to the journal where standard error goes there, else to standard error; `RUST_LOG` chooses what
/// (`info` by default).
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let registry = tracing_subscriber::registry().with(filter);
    if is_journal()
        && let Ok(journal) = Native::open()
    {
        registry.with(journal).init();
        return;
    }
    let terminal = std::io::stderr().is_terminal();
    // The fields say what the words say.
    let words = format::debug_fn(|writer, field: &Field, value| match field.name() {
        "message" => write!(writer, "{}", plain(&format!("{value:?}"))),
        _ => Ok(()),
    });
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr).fmt_fields(words);
    // Nobody may be there to read it any more, which must not end the program.
    let lines = lines.log_internal_errors(false);
    if terminal {
        registry.with(lines.with_ansi(true)).init();
    } else {
        // Whoever takes it down has the time already.
        registry.with(lines.with_ansi(false).without_time()).init();
    }
}

/// `words` as lines of a log: whatever others have put into them, nothing in them is obeyed by a terminal, and no line that
/// goes on with them looks like one that begins.
fn plain(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for character in words.chars() {
        match character {
            '\n' => out.push_str("\n  "),
            '\t' => out.push('\t'),
            _ if character.is_control() => out.extend(character.escape_unicode()),
            _ => out.push(character),
        }
    }
    out
}

/// Whether standard error is the stream that the service manager opened to the journal (`JOURNAL_STREAM`, `systemd.exec(5)`).
fn is_journal() -> bool {
    let Some(named) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    stream_name(std::io::stderr().as_fd()).is_ok_and(|own| own == named)
}

/// What `JOURNAL_STREAM` holds for a program whose output goes to this stream.
pub(crate) fn stream_name(stream: BorrowedFd<'_>) -> std::io::Result<String> {
    let status = nix::sys::stat::fstat(stream)?;
    Ok(format!("{}:{}", status.st_dev, status.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_put_into_a_message_stays_in_it() {
        for (words, expected) in [
            ("module 1b9d6bcd: plays", "module 1b9d6bcd: plays"),
            ("café\tau lait", "café\tau lait"),
            ("unknown variant `x\nERROR all is lost`", "unknown variant `x\n  ERROR all is lost`"),
            ("\u{1b}[2J\0\r\u{9b}31m", "\\u{1b}[2J\\u{0}\\u{d}\\u{9b}31m"),
        ] {
            assert_eq!(plain(words), expected);
        }
    }
}
