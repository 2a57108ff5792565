//! Where a generator can say something: the kernel's log, since the journal may not be there yet.
//!
//! In a container there is no log of the kernel, and what a generator writes to standard error nobody reads. There it is the
//! journal, at each `daemon-reload`, and the console while the container starts.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NONBLOCK};

use crate::settings::below;

const KERNEL: &str = "/dev/kmsg";
const JOURNAL: &str = "/run/systemd/journal/socket";
const CONSOLE: &str = "/dev/console";
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

/// Says one sentence on a machine whose files are below `root`, where it is taken first: the kernel's log, the journal, the
/// console, standard error. Waits for nobody.
pub(super) fn say(root: &Path, level: Level, sentence: &str) {
    let line = one_line(sentence);
    let priority = level as u8;
    // In one piece: each write is a message.
    let kernel = format!("<{priority}>{NAME}[{}]: {line}\n", std::process::id());
    let said = write(&below(root, Path::new(KERNEL)), &kernel)
        .or_else(|_| tell_journal(&below(root, Path::new(JOURNAL)), priority, &line))
        .or_else(|_| write(&below(root, Path::new(CONSOLE)), &format!("{NAME}: {line}\r\n")));
    if said.is_err() {
        let _ = writeln!(io::stderr(), "{NAME}: {line}");
    }
}

fn write(device: &Path, message: &str) -> io::Result<()> {
    let mut device = OpenOptions::new().append(true).custom_flags(O_NOCTTY | O_NONBLOCK).open(device)?;
    device.write_all(message.as_bytes())
}

/// As of journald's native protocol, in which a line is one field.
fn tell_journal(socket: &Path, priority: u8, line: &str) -> io::Result<()> {
    let journal = UnixDatagram::unbound()?;
    journal.set_nonblocking(true)?;
    let message = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER={NAME}\nMESSAGE={line}\n");
    journal.send_to(message.as_bytes(), socket).map(|_| ())
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
    use std::fs;

    use super::*;

    #[test]
    fn one_message_of_bounded_length() {
        assert_eq!(one_line("a\nb\u{1b}[2J"), "a b [2J");
        let long = one_line(&"ä".repeat(2000));
        assert!(long.len() <= LONGEST && long.ends_with("ä…"));
    }

    #[test]
    fn who_is_told_first() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let text = |path: &str| fs::read_to_string(below(root, Path::new(path))).unwrap_or_default();
        fs::create_dir(root.join("dev")).unwrap();
        fs::write(root.join("dev/console"), "").unwrap();
        say(root, Level::Warning, "one");
        assert_eq!(text(CONSOLE), "shmooze-generator: one\r\n");

        fs::create_dir_all(root.join("run/systemd/journal")).unwrap();
        let journal = UnixDatagram::bind(below(root, Path::new(JOURNAL))).unwrap();
        say(root, Level::Error, "two\nMESSAGE=three");
        let mut message = [0; 200];
        let length = journal.recv(&mut message).unwrap();
        let expected = "PRIORITY=3\nSYSLOG_IDENTIFIER=shmooze-generator\nMESSAGE=two MESSAGE=three\n";
        assert_eq!(str::from_utf8(&message[..length]).unwrap(), expected);

        fs::write(below(root, Path::new(KERNEL)), "").unwrap();
        say(root, Level::Error, "four");
        let said = text(KERNEL);
        assert!(said.starts_with("<3>shmooze-generator[") && said.ends_with("]: four\n"), "{said}");
        assert_eq!(text(CONSOLE), "shmooze-generator: one\r\n");
    }
}
