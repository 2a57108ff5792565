//! The log: a snapshot and what has happened since, a line each.
//!
//! ```text
//!   shmooze-state 1 00000000000000000007     version of the format, generation; written last: without it the log is none
//!   5f2c9a41 {"engine":{"Queue":{…}},…}      the state at the beginning
//!   07d3b1ee {"Step":{"input":…,"at":…}}     entries, each with the CRC-32 of its JSON
//!   ⋮
//! ```
//!
//! A line that is cut off, or whose checksum is not its own, ends the log: it was being written when the process died, and what it
//! says was acknowledged to nobody. An entry costs one write, however many modules there are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crc32fast::hash as crc32;
use serde::Serialize;

use super::entry::{Entry, FORMAT};
use super::state::State;

const MAGIC: &str = "shmooze-state";
/// Bytes of the first line, its newline included.
const HEADER: usize = MAGIC.len() + 1 + 1 + 1 + 20 + 1;
/// Bytes of checksum and blank before each line's JSON.
const PREFIX: usize = 9;
/// Read at once when a log is copied, in bytes.
const CHUNK: usize = 64 * 1024;
/// Entries of less than this, in bytes, are not worth a new snapshot.
const LEAST: u64 = 1024 * 1024;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It was never finished.
    #[error("it was not finished")]
    Unfinished,
    /// It is of another version.
    #[error("its format is of version {0}, and this program knows version {FORMAT}")]
    Version(String),
    /// Its beginning makes no sense.
    #[error("it is damaged")]
    Damaged,
    /// The system's reason.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A log that is written to.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    pub(super) generation: u64,
    /// Where the next entry goes.
    end: u64,
    /// Where the entries begin.
    begin: u64,
}

impl Log {
    /// Writes a log that begins with `state` into an empty file. It [counts](Log::finish) only once it is finished.
    pub(super) fn create(file: File, generation: u64, state: &State) -> io::Result<Self> {
        let mut log = Self { file, generation, end: HEADER as u64, begin: 0 };
        log.write(state)?;
        log.begin = log.end;
        Ok(log)
    }

    /// From now on it counts, before all of a lower generation.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.file.write_all_at(format!("{MAGIC} {FORMAT} {:020}\n", self.generation).as_bytes(), 0)
    }

    /// Reads a log to go on with it.
    pub(super) fn open(file: File) -> Result<(Self, State), Unreadable> {
        let generation = generation(&file)?;
        let (state, begin, end) = read(&file, file.metadata()?.len())?;
        // What was being written when its writer died would be taken for the beginning of the next entry.
        file.set_len(end)?;
        Ok((Self { file, generation, end, begin }, state))
    }

    /// Appends an entry.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.write(entry)
    }

    fn write(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = vec![b' '; PREFIX];
        serde_json::to_writer(&mut line, what)?;
        let prefix = prefix_of(&line[PREFIX..]);
        line[..PREFIX].copy_from_slice(prefix.as_bytes());
        line.push(b'\n');
        self.file.write_all_at(&line, self.end)?;
        self.end += line.len() as u64;
        Ok(())
    }

    /// Whether a new snapshot is worth its price: each byte that is written is thus read again once or twice at most.
    pub(super) const fn is_long(&self) -> bool {
        let entries = self.end - self.begin;
        entries > LEAST && entries > self.begin
    }

    /// What [`rewrite`] needs, on whichever thread.
    pub(super) fn to_rewrite(&self) -> io::Result<(File, u64, u64)> {
        Ok((self.file.try_clone()?, self.end, self.generation + 1))
    }

    /// Appends the entries that `old` has had since its [`Log::to_rewrite`] answered `from`.
    pub(super) fn catch_up(&mut self, old: &Self, from: u64) -> io::Result<()> {
        let (mut at, mut chunk) = (from, vec![0; CHUNK]);
        while at < old.end {
            let length = usize::try_from(old.end - at).unwrap_or(CHUNK).min(CHUNK);
            old.file.read_exact_at(&mut chunk[..length], at)?;
            self.file.write_all_at(&chunk[..length], self.end)?;
            self.end += length as u64;
            at += length as u64;
        }
        Ok(())
    }

    /// Says nothing any more: it is no log.
    pub(super) fn void(self) {
        let _ = self.file.set_len(0);
    }
}

/// Sums up the first `end` bytes of a log in a new one, into the empty file `to`; it is not [finished](Log::finish).
pub(super) fn rewrite(old: &File, end: u64, generation: u64, to: File) -> Result<Log, Unreadable> {
    let (state, ..) = read(old, end)?;
    Ok(Log::create(to, generation, &state)?)
}

/// The generation of a log that counts.
pub(super) fn generation(file: &File) -> Result<u64, Unreadable> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Unreadable::Unfinished,
        _ => error.into(),
    })?;
    generation_in(&header)
}

/// The generation of a log whose first line this is.
fn generation_in(header: &[u8; HEADER]) -> Result<u64, Unreadable> {
    if header.iter().all(|byte| *byte == 0) {
        return Err(Unreadable::Unfinished);
    }
    let first = header.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(first).map_err(|_| Unreadable::Damaged)?;
    let mut words = text.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(Unreadable::Damaged);
    }
    match words.next() {
        Some(version) if version == FORMAT.to_string() => {}
        version => return Err(Unreadable::Version(version.unwrap_or_default().to_owned())),
    }
    // There is another after it.
    words.next().and_then(|number| number.parse().ok()).filter(|number| *number < u64::MAX).ok_or(Unreadable::Damaged)
}

/// The state after the entries in the first `length` bytes, where they begin, and where the last whole one ends.
fn read(file: &File, length: u64) -> Result<(State, u64, u64), Unreadable> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(HEADER)];
    file.read_exact_at(&mut bytes, HEADER as u64)?;
    let (state, entries, rest) = sum(&bytes)?;
    Ok((state, length - entries as u64, length - rest as u64))
}

/// The state that the log with these bytes amounts to.
pub(super) fn read_bytes(log: &[u8]) -> Result<State, Unreadable> {
    let (header, lines) = log.split_first_chunk().ok_or(Unreadable::Unfinished)?;
    generation_in(header)?;
    sum(lines).map(|(state, ..)| state)
}

/// The state after the entries in `bytes`, which come after the first line; how many bytes the entries and what follows them
/// are, and how many of these follow the last whole one.
fn sum(bytes: &[u8]) -> Result<(State, usize, usize), Unreadable> {
    let (first, mut rest) = whole_line(bytes).ok_or(Unreadable::Damaged)?;
    let mut state: State = serde_json::from_slice(first).map_err(|_| Unreadable::Damaged)?;
    let entries = rest.len();
    while let Some((line, after)) = whole_line(rest)
        && let Ok(entry) = serde_json::from_slice(line)
    {
        state.apply(entry);
        rest = after;
    }
    Ok((state, entries, rest.len()))
}

/// The JSON of the first line and what comes after it, where it is as it was written.
fn whole_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let (prefix, json) = bytes[..end].split_at_checked(PREFIX)?;
    (prefix == prefix_of(json).as_bytes()).then_some((json, &bytes[end + 1..]))
}

fn prefix_of(json: &[u8]) -> String {
    format!("{:08x} ", crc32(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32 as in Ethernet and gzip (ISO 3309): a log outlives the program that wrote it.
    #[test]
    fn the_check_value() {
        assert_eq!(prefix_of(b"123456789"), "cbf43926 ");
        assert_eq!(prefix_of(b""), "00000000 ");
    }
}
