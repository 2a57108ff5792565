//! Framing: lines out of a stream of bytes (protocol.md section 1).

use std::cell::Cell;

use bytes::{Buf, BytesMut};

/// A line grew over the limit; it was skipped and the stream lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Line is longer than {limit} bytes.")]
pub struct LineTooLong {
    /// The limit in bytes.
    pub limit: usize,
}

thread_local! {
    /// The memory of the buffer that was emptied last, for the one that is filled next: streams that take turns, a
    /// request at a time, share it, and none has to ask the allocator.
    static SPARE: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// What is larger is given back to the system, in bytes.
const MOST_SPARE: usize = 128 * 1024;

/// Collects received bytes and yields them line by line.
///
/// Memory is bounded by the limit: what exceeds it is thrown away as it comes. An idle buffer holds no memory at all,
/// so that a thousand quiet connections cost nothing here.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: BytesMut,
    /// How far `bytes` was searched for a newline already.
    searched: usize,
    /// Skipping the rest of a line that was over the limit.
    skipping: bool,
    limit: usize,
}

impl LineBuffer {
    /// A buffer that takes lines of up to `limit` bytes, the newline not counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { bytes: BytesMut::new(), searched: 0, skipping: false, limit }
    }

    /// Where received bytes go: room for `additional` bytes at least. Only append.
    pub fn space(&mut self, additional: usize) -> &mut BytesMut {
        if self.bytes.capacity() == 0 {
            let mut spare = SPARE.take();
            // Otherwise a line out of it is still in somebody's hands.
            if spare.try_reclaim(additional) {
                self.bytes = spare;
            }
        }
        self.bytes.reserve(additional);
        &mut self.bytes
    }

    /// Whether a line has begun and not ended.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.bytes.is_empty() || self.skipping
    }

    /// What of a line has come so far, and whether it is too long and skipped.
    #[must_use]
    pub fn rest(&self) -> (&[u8], bool) {
        (&self.bytes, self.skipping)
    }

    /// Throws away what of a line has come so far, and the rest of it as it comes.
    pub fn skip(&mut self) {
        self.bytes = BytesMut::new();
        self.searched = 0;
        self.skipping = true;
    }

    /// Goes on where another buffer was.
    #[must_use]
    pub fn resume(mut self, rest: &[u8], skipping: bool) -> Self {
        self.bytes.extend_from_slice(rest);
        self.skipping = skipping;
        self
    }

    /// The next whole line without its `\n` (or `\r\n`), or `None` where more bytes are needed. Lines that are empty
    /// or hold nothing but white space are left out.
    ///
    /// # Errors
    /// [`LineTooLong`] once for each line over the limit, as soon as it is known to be.
    pub fn next_line(&mut self) -> Option<Result<BytesMut, LineTooLong>> {
        loop {
            let Some(at) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
                return self.no_newline();
            };
            let end = self.searched + at;
            let mut line = self.bytes.split_to(end);
            self.bytes.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.limit {
                return Some(Err(LineTooLong { limit: self.limit }));
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Ok(line));
            }
        }
    }

    fn no_newline(&mut self) -> Option<Result<BytesMut, LineTooLong>> {
        if self.skipping {
            self.bytes.clear();
        }
        self.searched = self.bytes.len();
        if self.bytes.is_empty() {
            // An idle connection owns no buffer.
            let empty = std::mem::take(&mut self.bytes);
            if empty.capacity() <= MOST_SPARE {
                SPARE.set(empty);
            }
            return None;
        }
        if self.bytes.len() > self.limit {
            self.skip();
            return Some(Err(LineTooLong { limit: self.limit }));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(buffer: &mut LineBuffer, bytes: &[u8]) -> Vec<Result<Vec<u8>, LineTooLong>> {
        buffer.space(bytes.len()).extend_from_slice(bytes);
        std::iter::from_fn(|| buffer.next_line()).map(|line| line.map(|l| l.to_vec())).collect()
    }

    #[test]
    fn lines_in_pieces() {
        let mut buffer = LineBuffer::new(100);
        assert!(feed(&mut buffer, b"ab").is_empty());
        assert!(buffer.is_partial());
        assert_eq!(feed(&mut buffer, b"c\r\nde\n\n \t\nf"), [Ok(b"abc".to_vec()), Ok(b"de".to_vec())]);
        assert_eq!(feed(&mut buffer, b"\n"), [Ok(b"f".to_vec())]);
        assert!(!buffer.is_partial());
    }

    #[test]
    fn an_over_long_line_is_reported_once_and_skipped() {
        let mut buffer = LineBuffer::new(4);
        assert_eq!(feed(&mut buffer, b"12345"), [Err(LineTooLong { limit: 4 })]);
        for _ in 0..1000 {
            assert!(feed(&mut buffer, b"6789678967896789").is_empty());
            assert_eq!(buffer.bytes.capacity().max(1024), 1024, "what is skipped is not kept");
        }
        assert_eq!(feed(&mut buffer, b"x\nok\n"), [Ok(b"ok".to_vec())]);
    }

    #[test]
    fn an_over_long_line_that_comes_whole() {
        let mut buffer = LineBuffer::new(4);
        assert_eq!(feed(&mut buffer, b"12345\n1234\n"), [Err(LineTooLong { limit: 4 }), Ok(b"1234".to_vec())]);
    }

    #[test]
    fn a_line_that_is_given_up() {
        let mut buffer = LineBuffer::new(100);
        assert!(feed(&mut buffer, b"one that").is_empty());
        buffer.skip();
        assert_eq!(buffer.bytes.capacity(), 0);
        assert_eq!(feed(&mut buffer, b" goes on\nok\n"), [Ok(b"ok".to_vec())]);
    }

    #[test]
    fn an_idle_buffer_holds_no_memory() {
        let mut buffer = LineBuffer::new(1 << 20);
        feed(&mut buffer, &[b'x'; 100_000]);
        feed(&mut buffer, b"\n");
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn buffers_that_take_turns_share_memory() {
        let (mut one, mut other) = (LineBuffer::new(100), LineBuffer::new(100));
        feed(&mut one, b"line\n");
        one.space(4000).extend_from_slice(b"half");
        let memory = one.bytes.as_ptr();
        feed(&mut one, b" and half\n");
        other.space(4000).extend_from_slice(b"kept\nrest");
        assert_eq!(other.bytes.as_ptr(), memory);
        let kept = other.next_line().unwrap().unwrap();
        feed(&mut other, b"\n");
        one.space(4000).extend_from_slice(b"x");
        assert_ne!(one.bytes.as_ptr(), memory, "a line of it is still read");
        assert_eq!(kept, "kept");
    }

    proptest! {
        /// However the bytes are cut, the lines are the same.
        #[test]
        fn cuts_do_not_matter(text in "[a\n\r ]{0,200}", cuts in prop::collection::vec(1usize..20, 1..50)) {
            let mut whole = LineBuffer::new(7);
            let expected = feed(&mut whole, text.as_bytes());
            let mut pieces = LineBuffer::new(7);
            let mut lines = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                lines.extend(feed(&mut pieces, head));
                rest = tail;
            }
            prop_assert_eq!(lines.into_iter().filter(Result::is_ok).collect::<Vec<_>>(),
                            expected.into_iter().filter(Result::is_ok).collect::<Vec<_>>());
        }
    }
}
