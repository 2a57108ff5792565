//! The log that a broker leaves to the next one: the lines of the input, each given its right checksum.

use shmooze::handover::sum_up;

use super::sentence;

/// An entry that leaves its mark at the end of what is known of endings.
const MARK: &str = r#"{"Gone":{"uid":"5eedf00d-0000-4000-8000-000000000000","life":"mark"}}"#;

/// Most lines after which the log is summed up.
const MOST_SUMS: usize = 12;

/// Whatever was written down, there is a state that can be written down again and amounts to the same; and so does a log that
/// was summed up at any entry, as a broker does with a long one. What was not written wholly does not count.
pub fn check(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let whole = match sum_up(&log(&lines)) {
        Ok(state) => state,
        Err(error) => {
            sentence::check(&error);
            return;
        }
    };
    assert_eq!(sum_up(&log(&[whole.as_bytes()])).as_ref(), Ok(&whole));
    // Those that count: what nobody understands ends the log.
    let counts = |length: &usize| {
        let marked = [&lines[..*length], &[MARK.as_bytes()]].concat();
        sum_up(&log(&marked)).is_ok_and(|state| state.contains("\"mark\"],"))
    };
    let Some(last) = (1..=lines.len()).rev().find(counts) else { return };
    let lines = &lines[..last];
    for length in (1..last).rev().take(MOST_SUMS) {
        let sum = sum_up(&log(&lines[..length])).unwrap();
        let rewritten = [&[sum.as_bytes()], &lines[length..]].concat();
        assert_eq!(sum_up(&log(&rewritten)).as_ref(), Ok(&whole), "summed up after {length} of {last} lines");
        if length + 1 == last {
            broken_off(lines, &sum);
        }
    }
}

/// Without its last line the log amounts to `sum`; so it does with a part of it, or with that damaged.
fn broken_off(lines: &[&[u8]], sum: &String) {
    let log = log(lines);
    let last = lines.last().map_or(0, |line| line.len());
    for missing in [1, 2, last / 2 + 1, last, last + 9] {
        assert_eq!(sum_up(&log[..log.len() - missing]).as_ref(), Ok(sum), "{missing} bytes are missing");
    }
    let mut damaged = log;
    let middle = damaged.len() - 2 - last / 2;
    damaged[middle] ^= 1;
    assert_eq!(sum_up(&damaged).as_ref(), Ok(sum));
}

/// A log as `src/handover/log.rs` describes it.
fn log(lines: &[&[u8]]) -> Vec<u8> {
    let mut log = b"shmooze-state 1 00000000000000000007\n".to_vec();
    for line in lines {
        log.extend_from_slice(format!("{:08x} ", crc32fast::hash(line)).as_bytes());
        log.extend_from_slice(line);
        log.push(b'\n');
    }
    log
}
