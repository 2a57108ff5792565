//! How the name of a service becomes part of the names of its units.

use std::fmt::Write as _;

/// What the name of every unit begins with.
pub(crate) const PREFIX: &str = "shmooze-";

/// Bytes of the longest name that systemd takes (`UNIT_NAME_MAX`).
pub(crate) const LONGEST: usize = 255;

/// The unit of a service without its suffix: `shmooze-queue`, to which `.service` or `.socket` is appended.
pub(crate) fn of_service(service: &str) -> String {
    format!("{PREFIX}{}", escape(service, "", LONGEST))
}

/// As `unit_name_escape` of systemd for text that is no path; characters of `kept` stay as they are. What would be longer
/// than `room` bytes loses its end, not in the middle of an escape.
pub(crate) fn escape(text: &str, kept: &str, room: usize) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        let before = escaped.len();
        if byte.is_ascii_alphanumeric() || b":_.".contains(&byte) || kept.as_bytes().contains(&byte) {
            escaped.push(byte.into());
        } else {
            let _ = write!(escaped, "\\x{byte:02x}");
        }
        if escaped.len() > room {
            escaped.truncate(before);
            break;
        }
    }
    escaped
}

/// The text that [`escape`] made this of; `None` where it made it of none.
pub(crate) fn unescape(text: &str) -> Option<String> {
    decode(text, "\\x")
}

/// Turns each `mark` and the two hexadecimal digits after it into the byte that they stand for.
pub(crate) fn decode(text: &str, mark: &str) -> Option<String> {
    let mut pieces = text.split(mark);
    let mut decoded = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services() {
        assert_eq!(of_service("queue"), "shmooze-queue");
        // As `systemd-escape my-queue_2` writes it.
        assert_eq!(of_service("my-queue_2"), r"shmooze-my\x2dqueue_2");
        assert_eq!(unescape(r"my\x2dqueue_2").as_deref(), Some("my-queue_2"));
    }

    #[test]
    fn what_is_kept_and_what_is_cut_off() {
        assert_eq!(escape("a-b c", "-", 99), r"a-b\x20c");
        assert_eq!(escape("ab-c", "", 5), "ab");
        assert_eq!(escape("ab-c", "", 6), r"ab\x2d");
    }
}
