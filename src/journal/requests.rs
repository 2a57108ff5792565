//! What was asked of the gateway: its access log.

use std::borrow::Cow;
use std::time::Duration;

/// `MESSAGE_ID` of each, explained in `units/shmooze.catalog`.
const REQUEST: &str = "3f2d96c1b0a44e5c9e1d7b8a5c60f4e2";

/// Most bytes shown of one thing that a client sent.
const MOST_BYTES: usize = 256;

/// One request, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct RequestFields<'a> {
    /// `SHMOOZE_CLIENT`: the address of who asked, `unix`, or `-`.
    pub client: &'a str,
    /// `SHMOOZE_METHOD`: the method of HTTP.
    pub method: &'a str,
    /// `SHMOOZE_PATH`: what was asked, without its query.
    pub path: &'a str,
    /// `SHMOOZE_COMMAND`: the commands of its body, where there are some.
    pub command: Option<&'a str>,
    /// `SHMOOZE_STATUS`: of the answer; `None` where the client was gone before there was one.
    pub status: Option<u16>,
    /// `SHMOOZE_BYTES`: of the answer's body.
    pub bytes: u64,
    /// `SHMOOZE_MICROSECONDS`: how long it took.
    pub took: Duration,
}

impl RequestFields<'_> {
    /// Tells the journal of it.
    pub fn tell(self) {
        let Self { client, command, status, bytes, took, .. } = self;
        let (method, path) = (shown(self.method), shown(self.path));
        let command = command.map(shown);
        let asked = command.as_ref().map(|command| format!(" {command}")).unwrap_or_default();
        let answered = match status {
            Some(status) => format!("{status} {bytes} bytes in"),
            None => "not answered: the client went away after".to_owned(),
        };
        tracing::info!(
            MESSAGE_ID = REQUEST,
            SHMOOZE_EVENT = "request",
            SHMOOZE_CLIENT = client,
            SHMOOZE_METHOD = &*method,
            SHMOOZE_PATH = &*path,
            SHMOOZE_COMMAND = command.as_deref(),
            SHMOOZE_STATUS = status,
            SHMOOZE_BYTES = bytes,
            SHMOOZE_MICROSECONDS = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "{client} {method} {path}{asked} {answered} {}",
            time(took)
        );
    }
}

/// `text`, which a client sent, without what a terminal obeys, and not all of it where it is long.
fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST_BYTES && !text.contains(char::is_control) {
        return text.into();
    }
    let mut out = String::with_capacity(MOST_BYTES);
    for character in text.chars() {
        if out.len() >= MOST_BYTES {
            out.push('…');
            break;
        }
        if character.is_control() {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out.into()
}

/// `took` for people.
fn time(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Kept;
    use super::*;

    const FIELDS: RequestFields<'static> = RequestFields {
        client: "192.0.2.7",
        method: "POST",
        path: "/queue",
        command: Some("add"),
        status: Some(200),
        bytes: 312,
        took: Duration::from_micros(1_312),
    };

    #[test]
    fn in_words_and_in_fields() {
        let told = Kept::during(|| {
            FIELDS.tell();
            RequestFields { method: "GET", path: "/", command: None, took: Duration::from_secs(75), ..FIELDS }.tell();
            RequestFields { status: None, bytes: 0, ..FIELDS }.tell();
        });
        let messages: Vec<&str> = told.iter().map(|fields| &*fields["message"]).collect();
        let expected = [
            "192.0.2.7 POST /queue add 200 312 bytes in 1.3 ms",
            "192.0.2.7 GET / 200 312 bytes in 75.0 s",
            "192.0.2.7 POST /queue add not answered: the client went away after 1.3 ms",
        ];
        assert_eq!(messages, expected);
        let field = |name: &str| told.iter().map(|fields| fields.get(name).map_or("-", |value| value)).collect::<Vec<_>>();
        assert_eq!(field("SHMOOZE_CLIENT"), ["192.0.2.7"; 3]);
        assert_eq!(field("SHMOOZE_METHOD"), ["POST", "GET", "POST"]);
        assert_eq!(field("SHMOOZE_PATH"), ["/queue", "/", "/queue"]);
        assert_eq!(field("SHMOOZE_COMMAND"), ["add", "-", "add"]);
        assert_eq!(field("SHMOOZE_STATUS"), ["200", "200", "-"]);
        assert_eq!(field("SHMOOZE_BYTES"), ["312", "312", "0"]);
        assert_eq!(field("SHMOOZE_MICROSECONDS"), ["1312", "75000000", "1312"]);
        let catalog = include_str!("../../units/shmooze.catalog");
        assert!(catalog.contains(&format!("-- {REQUEST}\n")) && field("MESSAGE_ID") == [REQUEST; 3]);
    }

    #[test]
    fn what_a_client_sent_is_harmless_and_not_endless() {
        let path = format!("/{}", "é".repeat(MOST_BYTES));
        let told = Kept::during(|| RequestFields { path: &path, command: Some("\u{1b}[2J\n\0\u{9b}"), ..FIELDS }.tell());
        assert_eq!(told[0]["SHMOOZE_COMMAND"], "\\u{1b}[2J\\u{a}\\u{0}\\u{9b}");
        let shown = &told[0]["SHMOOZE_PATH"];
        assert!(shown.starts_with("/é") && shown.ends_with("é…") && shown.len() < MOST_BYTES + 6, "{shown}");
        assert!(!told[0]["message"].contains(char::is_control));
    }
}
