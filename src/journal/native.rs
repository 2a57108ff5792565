//! The native protocol of journald (systemd.io/JOURNAL_NATIVE_PROTOCOL), from a program that must not stand still with it.
//!
//! One datagram an event. A journal that takes none (journald stands still, is stopped, or cannot follow) is waited for a moment,
//! once; after that events are dropped and counted until it takes them again, and then one warning says how many there were.

use std::fmt::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, SocketAddrUnix, sendto};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// How long a journal that was well is waited for: in a burst it needs some ms to follow. The service manager waits as long.
const MOMENT: Duration = Duration::from_millis(10);
/// A trouble is over when nothing was lost for so long: one that comes and goes is told once.
const QUIET: Duration = Duration::from_secs(1);
/// Most bytes of one value; what is longer is cut. All of a datagram must fit into the socket's buffer (208 KiB by default).
const MOST_BYTES: usize = 48 * 1024;

/// Sends events to the journal.
#[derive(Debug)]
pub(super) struct Native {
    socket: UnixDatagram,
    address: SocketAddrUnix,
    /// `SYSLOG_IDENTIFIER`.
    identifier: String,
    quiet: Duration,
    trouble: Mutex<Trouble>,
}

/// What the journal did not take.
#[derive(Debug, Default)]
struct Trouble {
    /// How many events, since the last warning.
    lost: u64,
    /// When the last of them was.
    last: Option<Instant>,
    /// Whether the very last event was lost.
    lasts: bool,
}

impl Native {
    /// To the journal of this machine; an error where there is none.
    pub(super) fn open() -> std::io::Result<Self> {
        let program = std::env::args_os().next().unwrap_or_default();
        let identifier = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self::to(Path::new(SOCKET), identifier, QUIET)
    }

    fn to(path: &Path, identifier: String, quiet: Duration) -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // An empty datagram is discarded by journald, and says whether there is one.
        socket.send_to(&[], path)?;
        socket.set_write_timeout(Some(MOMENT))?;
        Ok(Self { socket, address: SocketAddrUnix::new(path)?, identifier, quiet, trouble: Mutex::default() })
    }

    fn send(&self, entry: &Entry) {
        let lasts = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).lasts;
        let taken = self.try_send(entry, if lasts { SendFlags::DONTWAIT } else { SendFlags::empty() });
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.lasts = !taken;
        if !taken {
            trouble.lost += 1;
            trouble.last = Some(Instant::now());
        } else if trouble.last.is_some_and(|last| last.elapsed() >= self.quiet) {
            let warning = self.warning(trouble.lost);
            if self.try_send(&warning, SendFlags::DONTWAIT) {
                *trouble = Trouble::default();
            }
        }
    }

    fn try_send(&self, entry: &Entry, flags: SendFlags) -> bool {
        sendto(&self.socket, &entry.0, flags | SendFlags::NOSIGNAL, &self.address).is_ok()
    }

    fn warning(&self, lost: u64) -> Entry {
        let mut entry = self.entry(Level::WARN);
        let messages = if lost == 1 { "1 message" } else { &format!("{lost} messages") };
        entry.put("MESSAGE", &format!("The journal takes messages again; {messages} of this program lost, and nothing else."));
        entry
    }

    /// One that has what all have.
    fn entry(&self, level: Level) -> Entry {
        let mut entry = Entry(Vec::with_capacity(512));
        // Nothing of what is ordinary is worth a notice (syslog(3)).
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", &self.identifier);
        entry
    }
}

impl<S: Subscriber> Layer<S> for Native {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut entry = self.entry(*metadata.level());
        entry.put("TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        self.send(&entry);
    }
}

/// The fields of one entry: name, line feed, length, value, line feed, so that a value may hold whatever it does.
struct Entry(Vec<u8>);

impl Entry {
    fn put(&mut self, name: &str, value: &str) {
        let most = (0..=MOST_BYTES.min(value.len())).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
        let value = &value[..most];
        self.0.extend(name.bytes().map(|letter| letter.to_ascii_uppercase()));
        self.0.push(b'\n');
        self.0.extend((value.len() as u64).to_le_bytes());
        self.0.extend(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.put(field.name(), &text);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A journald that takes what it is asked to take.
    struct Journald {
        socket: UnixDatagram,
        _folder: tempfile::TempDir,
        subscriber: tracing::Dispatch,
    }

    impl Journald {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
            let native = Native::to(&folder.path().join("socket"), "shmooze-queue".into(), Duration::ZERO).unwrap();
            assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 0);
            socket.set_nonblocking(true).unwrap();
            let subscriber = tracing::Dispatch::new(tracing_subscriber::registry().with(native));
            Self { socket, _folder: folder, subscriber }
        }

        fn say(&self, count: usize) {
            tracing::dispatcher::with_default(&self.subscriber, || {
                (0..count).for_each(|number| tracing::info!(SHMOOZE_UID = 7, "says {number}"));
            });
        }

        /// What has come, each as its fields.
        fn take(&self) -> Vec<Vec<(String, String)>> {
            let mut buffer = vec![0; 1 << 18];
            let next = || {
                let length = self.socket.recv(&mut buffer).ok()?;
                Some(fields(&buffer[..length]))
            };
            std::iter::from_fn(next).collect()
        }
    }

    fn fields(mut datagram: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
            let (name, rest) = (String::from_utf8(datagram[..end].to_vec()).unwrap(), &datagram[end + 1..]);
            let (length, rest) = rest.split_at(8);
            let (value, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
            datagram = rest.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    fn value<'a>(entry: &'a [(String, String)], name: &str) -> &'a str {
        &entry.iter().find(|(other, _)| other == name).unwrap().1
    }

    #[test]
    fn an_event_is_one_datagram_of_fields() {
        let journald = Journald::new();
        tracing::dispatcher::with_default(&journald.subscriber, || {
            tracing::warn!(SHMOOZE_TYPE = %"a\nb", SHMOOZE_EVENT = "refused", "two\nlines");
        });
        let taken = journald.take();
        let [entry] = taken.as_slice() else { panic!("{taken:?}") };
        let expected =
            [("PRIORITY", "4"), ("SYSLOG_IDENTIFIER", "shmooze-queue"), ("TARGET", module_path!()), ("CODE_FILE", file!())];
        assert!(
            entry.iter().zip(expected).all(|((name, value), expected)| (name.as_str(), value.as_str()) == expected),
            "{entry:?}"
        );
        assert_eq!(
            (value(entry, "MESSAGE"), value(entry, "SHMOOZE_TYPE"), value(entry, "SHMOOZE_EVENT")),
            ("two\nlines", "a\nb", "refused")
        );
        assert!(value(entry, "CODE_LINE").parse::<u32>().is_ok());
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let journald = Journald::new();
        tracing::dispatcher::with_default(&journald.subscriber, || tracing::info!("a{}", "é".repeat(MOST_BYTES)));
        let taken = journald.take();
        assert_eq!(value(&taken[0], "MESSAGE").len(), MOST_BYTES - 1);
    }

    #[test]
    fn a_journal_that_stands_still_is_not_waited_for_and_told_once() {
        let journald = Journald::new();
        let begun = Instant::now();
        // Ten are taken by default, 512 under systemd.
        journald.say(2_000);
        assert!(begun.elapsed() < MOMENT * 1_000, "each waits for it");
        let taken = journald.take().len();
        assert!((1..2_000).contains(&taken));
        journald.say(2);
        let entries = journald.take();
        let said: Vec<(&str, &str)> = entries.iter().map(|entry| (value(entry, "PRIORITY"), value(entry, "MESSAGE"))).collect();
        let warning =
            format!("The journal takes messages again; {} messages of this program lost, and nothing else.", 2_000 - taken);
        assert_eq!(said, [("6", "says 0"), ("4", warning.as_str()), ("6", "says 1")]);
    }
}
