//! Static files, compressed once and kept: each version of a file by what it is called and its validator.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Answer;
use super::coding::{self, Coding, Compressor, Effort};

/// Longer files are sent as they are, in bytes.
const MAX_FILE_BYTES: usize = 2 * 1024 * 1024;
/// What all that is kept may take, in bytes.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;
/// About so many files there are: what the tables are made for.
const FILES: usize = 256;

/// One version of a file, in one coding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Version {
    path: String,
    tag: HeaderValue,
    coding: Coding,
}

#[derive(Debug, Clone)]
struct Bulk;

impl Weighter<Version, Bytes> for Bulk {
    fn weight(&self, version: &Version, bytes: &Bytes) -> u64 {
        (version.path.len() + bytes.len()) as u64
    }
}

/// Why there is no compressed file.
enum Obstacle {
    /// Too much is being compressed.
    Busy,
    Unreadable(io::Error),
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Compressed {
    compressor: Compressor,
    files: Cache<Version, Bytes, Bulk>,
}

impl Compressed {
    pub(super) fn new(compressor: Compressor) -> Self {
        Self { compressor, files: Cache::with_weighter(FILES, ROOM_BYTES, Bulk) }
    }

    /// The `answer`, which is the file at `path`, as a client that sent `wanted` gets it. Two that want the same at once have it
    /// compressed once.
    pub(super) async fn of(&self, path: &str, wanted: &HeaderMap, answer: Answer) -> io::Result<Answer> {
        let Some(length) = worth_it(&answer) else { return Ok(answer) };
        let (Some(coding), Some(tag)) = (Coding::accepted(wanted), answer.headers().get(ETAG)) else { return Ok(answer) };
        // By its one name, so that nobody has the same compressed again by another.
        let names: Vec<_> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        let version = Version { path: names.join("/"), tag: tag.clone(), coding };
        let (mut parts, mut body) = answer.into_parts();
        let compress = async {
            // Before anything of it is in memory.
            let turn = self.compressor.turn().ok_or(Obstacle::Busy)?;
            let whole = (&mut body).collect().await.map_err(|error| Obstacle::Unreadable(io::Error::other(error)))?.to_bytes();
            if whole.len() != length {
                return Err(Obstacle::Unreadable(io::Error::other("it changes while it is read")));
            }
            turn.encode(whole, coding, Effort::Much).await.map_err(Obstacle::Unreadable)
        };
        match self.files.get_or_insert_async(&version, compress).await {
            Ok(coded) => {
                parts.headers.insert(CONTENT_ENCODING, coding.name());
                parts.headers.insert(CONTENT_LENGTH, coded.len().into());
                // Of what is compressed there are none.
                parts.headers.remove(ACCEPT_RANGES);
                Ok(Answer::from_parts(parts, Either::Left(Full::new(coded))))
            }
            Err(Obstacle::Busy) => Ok(Answer::from_parts(parts, body)),
            Err(Obstacle::Unreadable(error)) => Err(error),
        }
    }
}

/// The length of a whole file that gets shorter by a coding.
fn worth_it(answer: &Answer) -> Option<usize> {
    let headers = answer.headers();
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    let is_whole = answer.status() == StatusCode::OK;
    (is_whole && length <= MAX_FILE_BYTES && coding::is_worth_it(length) && coding::suits(headers)).then_some(length)
}
