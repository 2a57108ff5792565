//! The recordings of `tests/golden/golden.jsonl`, read as its README says.

use serde::Deserialize;
use serde_json::Value;

/// Where the recordings stand.
const RECORDINGS: &str = include_str!("../golden/golden.jsonl");

/// One recorded conversation.
#[derive(Debug, Deserialize)]
pub struct Transcript {
    /// Its name, which is also the name of the test.
    pub name: String,
    /// `queue`, `pool` or `gateway`.
    pub service: String,
    /// What the client sent and got.
    pub steps: Vec<Step>,
    /// Both sides in time order, where the recording has them.
    pub events: Option<Vec<RecordedEvent>>,
    /// There where the order of the pool's list says nothing.
    pub list_order: Option<String>,
}

/// One request of a client and its answer.
#[derive(Debug, Deserialize)]
pub struct Step {
    /// The line that the client wrote; for the gateway the raw request.
    pub send: Option<String>,
    /// The line that it got; other shapes for the gateway and for the order of writes.
    #[serde(default)]
    pub recv: Value,
    /// Which client connection.
    #[serde(default = "first_connection")]
    pub conn: String,
    /// Why there was no line: `eof`, `reset` or `timeout`.
    pub end: Option<String>,
    /// What else is to be known.
    pub note: Option<String>,
    /// The original itself answers one way or the other.
    #[serde(default)]
    pub racy: bool,
    /// The line that the made-up backend got from the gateway.
    pub got: Option<String>,
    /// Rows of the command log after this step.
    pub log_rows: Option<Vec<Value>>,
    /// The tables of the command log.
    pub sql: Option<Vec<String>>,
}

fn first_connection() -> String {
    "c1".to_owned()
}

/// One thing that happened, as the recording has it.
#[derive(Debug, Deserialize)]
pub struct RecordedEvent {
    /// Milliseconds since the transcript began.
    pub t_ms: f64,
    /// A client connection (`c1`), a stream of a module (`A.cmd`, `A.upd`), its process (`A.proc`), or `note`.
    pub who: String,
    /// `send`, `recv`, `note` or `end`.
    pub dir: String,
    /// The line, without its newline.
    pub line: Option<String>,
    /// Why there was no line.
    pub end: Option<String>,
}

/// All recordings in the order of the file.
///
/// # Errors
/// Where a line is no recording.
pub fn all() -> Result<Vec<Transcript>, String> {
    let read = |(number, line)| serde_json::from_str(line).map_err(|error| format!("golden.jsonl:{}: {error}", number + 1));
    RECORDINGS.lines().enumerate().map(read).collect()
}

/// The bytes of a recorded line: what was cut is made again, Python's notation for bytes is undone.
///
/// # Errors
/// Where the recording cuts in a way that nobody can undo.
pub fn bytes_of(line: &str) -> Result<Vec<u8>, String> {
    let python = line.strip_prefix("<bytes> ").unwrap_or(line);
    if let Some(inner) = python.strip_prefix("b'").and_then(|rest| rest.strip_suffix('\'')) {
        return python_bytes(inner);
    }
    match line.strip_suffix(" characters in all>").and_then(|rest| rest.rsplit_once("...<")) {
        Some((head, length)) => fill(head, length.parse().map_err(|_| format!("bad length in {line:?}"))?),
        None => Ok(line.as_bytes().to_vec()),
    }
}

/// Makes a cut line again: the last character before the cut goes on to the end, where a string or nested lists close.
///
/// # Errors
/// Where the line does not end in a run of one character.
pub fn fill(head: &str, length: usize) -> Result<Vec<u8>, String> {
    let filler = head.chars().last().ok_or("a cut line without a beginning")?;
    let missing = length.checked_sub(head.len()).ok_or("a cut line that is longer than it was")?;
    let mut line = head.as_bytes().to_vec();
    match filler {
        '[' => {
            // `{"x": [[[…]]]}`: as many brackets close as open, then the object.
            let before = head.trim_end_matches('[').len();
            let depth = (length - before - 1) / 2;
            line.resize(before + depth, b'[');
            line.resize(before + 2 * depth, b']');
            line.push(b'}');
        }
        'y' | 'z' => {
            // A request or a module's answer, or an answer as the original wrote it.
            let tail: &[u8] = if head.starts_with("{\"result\": ") { b"\", \"success\": true}" } else { b"\"}" };
            line.resize(head.len() + missing - tail.len(), filler as u8);
            line.extend_from_slice(tail);
        }
        _ => return Err(format!("nobody knows how a line goes on after {filler:?}")),
    }
    if line.len() == length { Ok(line) } else { Err(format!("{} bytes made, {length} recorded", line.len())) }
}

/// Undoes the escapes of Python's notation for bytes.
fn python_bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match rest.next() {
            Some(b'x') => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| format!("bad escape in {text:?}"))?
            }
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(other) => other,
            None => return Err(format!("{text:?} ends in an escape")),
        });
    }
    Ok(out)
}
