//! Lines out of a stream of bytes: the first byte of the input is the limit, the second the size of the pieces in which the rest
//! comes.

use shmooze::protocol::LineBuffer;

type Line = Result<Vec<u8>, usize>;

/// However a stream is cut, and handed over to another process between any two pieces, its lines are those that it has when it
/// is split by hand; and nothing is kept beyond the limit.
pub fn check(input: &[u8]) {
    let [limit, piece, stream @ ..] = input else { return };
    let limit = usize::from(*limit);
    let expected = by_hand(stream, limit);
    for piece in [stream.len().max(1), usize::from(piece % 32) + 1, 1] {
        for hands_over in [false, true] {
            assert_eq!(by_buffer(stream, limit, piece, hands_over), expected, "in pieces of {piece}, handed over: {hands_over}");
        }
    }
    // Those that are whole, written anew, are the same.
    let good = || expected.iter().flatten();
    let again: Vec<u8> = good().flat_map(|line| [line, &b"\r\n"[..]].concat()).collect();
    assert!(by_buffer(&again, limit + 1, 7, false).iter().flatten().eq(good()));
}

fn by_hand(stream: &[u8], limit: usize) -> Vec<Line> {
    let ended = stream.split_inclusive(|byte| *byte == b'\n');
    let line = |line: &[u8]| {
        let (body, is_whole) = line.strip_suffix(b"\n").map_or((line, false), |body| (body, true));
        if body.len() > limit {
            return Some(Err(limit));
        }
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        (is_whole && !body.iter().all(u8::is_ascii_whitespace)).then(|| Ok(body.to_vec()))
    };
    ended.filter_map(line).collect()
}

fn by_buffer(stream: &[u8], limit: usize, piece: usize, hands_over: bool) -> Vec<Line> {
    let mut buffer = LineBuffer::new(limit);
    let mut lines = Vec::new();
    for piece in stream.chunks(piece) {
        buffer.space(piece.len()).extend_from_slice(piece);
        lines.extend(std::iter::from_fn(|| buffer.next_line()).map(|line| line.map(|line| line.to_vec()).map_err(|e| e.limit)));
        let (rest, skipping) = buffer.rest();
        assert!(rest.len() <= limit && (rest.is_empty() || !skipping), "{} bytes are kept", rest.len());
        assert_eq!(buffer.is_partial(), !rest.is_empty() || skipping);
        if hands_over {
            buffer = LineBuffer::new(limit).resume(rest, skipping);
        }
    }
    lines
}
