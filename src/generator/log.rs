//! Where a generator can say something: the kernel's log, since the journal may not be there yet.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::settings::below;

const DEVICE: &str = "/dev/kmsg";
const NAME: &str = "shmooze-generator";
/// What the kernel takes at most of one message, with room for its prefix; in bytes.
const LONGEST: usize = 900;

/// How bad it is (syslog(3)).
#[derive(Debug, Clone, Copy)]
pub(super) enum Level {
    /// Something asked for is not there.
    Error = 3,
    /// Something is not as it was asked for.
    Warning = 4,
}

/// Writes one message to the kernel's log of a machine whose files are below `root`, or where that does not take it to standard
/// error.
pub(super) fn say(root: &Path, level: Level, sentence: &str) {
    let line = one_line(sentence);
    let device = OpenOptions::new().append(true).open(below(root, Path::new(DEVICE)));
    // In one piece: each write is a message.
    let message = format!("<{}>{NAME}[{}]: {line}\n", level as u8, std::process::id());
    if device.and_then(|mut device| device.write_all(message.as_bytes())).is_err() {
        let _ = writeln!(std::io::stderr(), "{NAME}: {line}");
    }
}

fn one_line(sentence: &str) -> String {
    let mut line = String::new();
    for character in sentence.chars() {
        if line.len() + character.len_utf8() > LONGEST - '…'.len_utf8() {
            line.push('…');
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_of_bounded_length() {
        assert_eq!(one_line("a\nb\u{1b}[2J"), "a b [2J");
        let long = one_line(&"ä".repeat(2000));
        assert!(long.len() <= LONGEST && long.ends_with("ä…"));
    }
}
