//! Content codings: which one a client gets (RFC 9110 section 12.5.3), of what, and how much is done for it.
//!
//! | | coded | how well | costs (a list of 200 modules, 37 KB; a script of 24 KB) |
//! |---|---|---|---|
//! | answers | anew each | [`Effort::Little`] | to a seventh in 0.14 ms by brotli, 0.08 ms by gzip |
//! | static files | once (`compressed.rs`) | [`Effort::Much`] | to three tenths in 10 ms by brotli, 0.2 ms by gzip |

use std::io::{self, Write};
use std::sync::Arc;

use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is shorter stays as it is, in bytes: it goes in one packet anyway.
const MIN_BYTES: usize = 1024;
/// What is longer would keep other tasks waiting where it is compressed beside them, in bytes.
const MAX_BYTES_INLINE: usize = 64 * 1024;
/// How many things may be compressed on threads of their own at once, which bounds what that takes of memory.
const AT_ONCE: usize = 4;

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Coding {
    /// `br`, RFC 7932
    Brotli,
    /// `gzip`, RFC 1952
    Gzip,
}

/// How much time may be spent on it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effort {
    /// It is sent once.
    Little,
    /// It is kept.
    Much,
}

impl Coding {
    /// What the client wants most of what we have. Of what it wants alike it gets the shorter, but what it wants alike with no
    /// coding at all is coded: whoever names codings is ready for them.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut weights = Weights::default();
        for value in headers.get_all(ACCEPT_ENCODING) {
            value.to_str().unwrap_or_default().split(',').for_each(|entry| weights.read(entry));
        }
        let weight = |named: Option<u16>| named.or(weights.any).unwrap_or(0);
        let (brotli, gzip) = (weight(weights.brotli), weight(weights.gzip));
        let (coding, best) = if brotli >= gzip { (Self::Brotli, brotli) } else { (Self::Gzip, gzip) };
        (best > 0 && best >= weights.identity.unwrap_or(0)).then_some(coding)
    }

    /// As `Content-Encoding` says it.
    pub(super) fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        })
    }

    fn encode(self, bytes: &[u8], effort: Effort) -> io::Result<Bytes> {
        let mut coded = Vec::with_capacity(bytes.len() / 4);
        match self {
            Self::Brotli => {
                let params = BrotliEncoderParams {
                    quality: match effort {
                        Effort::Little => 2,
                        Effort::Much => 9,
                    },
                    // As far back as there is anything, 4 MiB at most: the tables are made after it.
                    lgwin: (usize::BITS - bytes.len().leading_zeros()).clamp(16, 22).cast_signed(),
                    size_hint: bytes.len(),
                    ..BrotliEncoderParams::default()
                };
                brotli::BrotliCompress(&mut &*bytes, &mut coded, &params)?;
            }
            Self::Gzip => {
                let level = match effort {
                    Effort::Little => 2,
                    Effort::Much => 6,
                };
                let mut encoder = GzEncoder::new(&mut coded, Compression::new(level));
                encoder.write_all(bytes)?;
                encoder.finish()?;
            }
        }
        Ok(coded.into())
    }
}

/// How much a client wants each coding, in thousandths; `None` where it does not name it.
#[derive(Debug, Default)]
struct Weights {
    brotli: Option<u16>,
    gzip: Option<u16>,
    identity: Option<u16>,
    /// Those that are not named.
    any: Option<u16>,
}

impl Weights {
    /// Reads one of the entries, as `gzip;q=0.8`. What cannot be understood counts as not wanted.
    fn read(&mut self, entry: &str) {
        let (name, parameter) = entry.split_once(';').map_or((entry, None), |(name, rest)| (name, Some(rest.trim())));
        let weight = match parameter {
            None => 1000,
            Some(text) => text.strip_prefix("q=").or_else(|| text.strip_prefix("Q=")).and_then(thousandths).unwrap_or(0),
        };
        let place = match &*name.trim().to_ascii_lowercase() {
            "br" => &mut self.brotli,
            "gzip" | "x-gzip" => &mut self.gzip,
            "identity" => &mut self.identity,
            "*" => &mut self.any,
            _ => return,
        };
        *place = Some(weight);
    }
}

/// A weight of RFC 9110 section 12.4.2: 0 to 1 with three digits at most.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let is_weight = matches!(whole, "0" | "1") && digits.len() <= 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
    let weight = is_weight.then(|| format!("{whole}{digits:0<3}").parse().ok())??;
    (weight <= 1000).then_some(weight)
}

/// Whether so many bytes are worth a coding.
pub(super) const fn is_worth_it(length: usize) -> bool {
    length >= MIN_BYTES
}

/// Whether what `headers` describe gets shorter by a coding: text of any kind, but no stream of events, which must not be
/// held back, and nothing that is compressed already.
pub(super) fn suits(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence).trim();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let is_text = match kind {
        "text" => subtype != "event-stream",
        "application" => matches!(subtype, "json" | "javascript" | "xml" | "wasm" | "openmetrics-text"),
        "font" => matches!(subtype, "ttf" | "otf"),
        _ => false,
    };
    (is_text || subtype.ends_with("+json") || subtype.ends_with("+xml")) && !headers.contains_key(CONTENT_ENCODING)
}

/// Compresses, so much at once and no more: nobody waits for another's answer to be compressed.
#[derive(Debug, Clone)]
pub(super) struct Compressor {
    free: Arc<Semaphore>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Compressor {
    /// A turn on a thread of its own, if there is one free.
    pub(super) fn turn(&self) -> Option<Turn> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| Turn { _permit: permit })
    }

    /// Compresses what is sent once, here or, what takes longer, on a thread of its own; `None` where none is free.
    pub(super) async fn encode(&self, bytes: &Bytes, coding: Coding) -> Option<Bytes> {
        let encoded = match bytes.len() {
            ..=MAX_BYTES_INLINE => coding.encode(bytes, Effort::Little),
            _ => self.turn()?.encode(bytes.clone(), coding, Effort::Little).await,
        };
        // Which writing into memory cannot fail with.
        encoded.inspect_err(|error| tracing::warn!("An answer cannot be compressed: {error}.")).ok()
    }
}

/// The right to compress one thing on a thread of its own.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    pub(super) async fn encode(self, bytes: Bytes, coding: Coding, effort: Effort) -> io::Result<Bytes> {
        let encode = move || {
            // Held to the end, though nobody may wait for it any more.
            let _turn = self;
            coding.encode(&bytes, effort)
        };
        tokio::task::spawn_blocking(encode).await.map_err(io::Error::other).flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_accepted() {
        let br = Some(Coding::Brotli);
        let gzip = Some(Coding::Gzip);
        for (values, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip, deflate, br, zstd"], br),
            (&["gzip"], gzip),
            (&["X-GZip"], gzip),
            (&["deflate", "BR"], br),
            (&["deflate, zstd"], None),
            (&["*"], br),
            (&["br;q=0, *"], gzip),
            (&["*;q=0"], None),
            (&["br;q=0.5, gzip;q=0.8"], gzip),
            (&["br;q=0.501 ,gzip ; q=0.5"], br),
            (&["gzip;Q=1.000"], gzip),
            (&["gzip;q=0.000"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], gzip),
            (&["identity;q=0, br;q=0"], None),
            (&["gzip;q=2", "br;q=x"], None),
            (&["gzip;level=9"], None),
            (&["gzip;q=1.001"], None),
            (&["brotli, gz ip"], None),
        ] {
            let headers = HeaderMap::from_iter(values.iter().map(|value| (ACCEPT_ENCODING, value.parse().unwrap())));
            assert_eq!(Coding::accepted(&headers), coding, "{values:?}");
        }
    }

    #[test]
    fn what_gets_shorter() {
        let of = |content_type: &str| suits(&HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]));
        for text in [
            "text/html; charset=utf-8",
            "text/json",
            "text/javascript",
            "application/json",
            "application/wasm",
            "application/manifest+json",
            "image/svg+xml",
            "font/ttf",
        ] {
            assert!(of(text), "{text}");
        }
        for other in [
            "text/event-stream",
            "image/png",
            "font/woff2",
            "audio/ogg",
            "video/mp4",
            "application/zip",
            "application/octet-stream",
            "",
        ] {
            assert!(!of(other), "{other}");
        }
        let coded = [(CONTENT_TYPE, HeaderValue::from_static("text/css")), (CONTENT_ENCODING, Coding::Gzip.name())];
        assert!(!suits(&HeaderMap::from_iter(coded)));
    }

    #[tokio::test]
    async fn there_and_back() {
        let text: String = (0..20_000).map(|number| format!("{{\"number\": {number}}}, ")).collect();
        for length in [0, 1, MIN_BYTES, MAX_BYTES_INLINE, text.len()] {
            let bytes = Bytes::from(text[..length].to_owned());
            for effort in [Effort::Little, Effort::Much] {
                let compressor = Compressor::default();
                let encode = |coding| compressor.turn().unwrap().encode(bytes.clone(), coding, effort);
                let (coded, zipped) = (encode(Coding::Brotli).await.unwrap(), encode(Coding::Gzip).await.unwrap());
                let (mut out, mut unzipped) = (Vec::new(), Vec::new());
                brotli::Decompressor::new(&*coded, 4096).read_to_end(&mut out).unwrap();
                flate2::read::GzDecoder::new(&*zipped).read_to_end(&mut unzipped).unwrap();
                assert_eq!((&*out, &*unzipped), (&*bytes, &*bytes), "{length}");
                assert!(length < MIN_BYTES || coded.len().max(zipped.len()) < length / 3, "{length}");
            }
        }
    }

    #[tokio::test]
    async fn where_many_are_compressed_the_next_stays_as_it_is() {
        let compressor = Compressor::default();
        let long = Bytes::from(vec![b' '; MAX_BYTES_INLINE + 1]);
        let turns: Vec<_> = std::iter::from_fn(|| compressor.turn()).collect();
        assert_eq!(turns.len(), AT_ONCE);
        assert!(compressor.encode(&long, Coding::Gzip).await.is_none());
        assert!(compressor.encode(&long.slice(1..), Coding::Gzip).await.is_some());
        drop(turns);
        assert!(compressor.encode(&long, Coding::Gzip).await.is_some());
    }
}
