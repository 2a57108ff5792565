//! What holds for every sentence in which something is refused.

/// Longest sentence, in bytes: nobody who sends much is answered as much.
const LONGEST: usize = 500;

/// Checks that `sentence` is one, on one line, without anything that a terminal obeys.
pub fn check(sentence: &str) {
    assert!(!sentence.trim().is_empty() && sentence.len() <= LONGEST, "{} bytes: {sentence:.200}", sentence.len());
    assert!(!sentence.contains(|c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{sentence:?}");
}
