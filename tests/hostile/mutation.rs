//! Inputs made of others by chance, the same in each run.

/// What is worth a try anywhere.
const WORDS: &[&str] = &[
    "\n",
    "\r\n",
    "\0",
    "\u{1b}[2J",
    "\u{2028}",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "NaN",
    "-Infinity",
    "0",
    "-1",
    "1e999",
    "18446744073709551615",
    "18446744073709551616",
    "\\ud800",
    "\\u0000",
    "%00",
    "%2e%2e%2f",
    "../",
    " ",
    "\u{e9}",
    "\"cmd\":",
    "\"args\":{}",
    "{\"\":",
    "infinity",
    "Host: x\r\n",
    "Origin: null\r\n",
    "Authorization: Bearer x\r\n",
    "\r\n ",
    "$HOME",
    "${ODD}",
];

/// Nested so often.
const DEEP: usize = 2000;

/// An endless row of inputs.
pub struct Mutations {
    corpus: Vec<Vec<u8>>,
    state: u64,
}

impl Mutations {
    /// Made of these.
    pub fn of(corpus: Vec<Vec<u8>>, seed: u64) -> Self {
        Self { corpus, state: seed }
    }

    /// A number under `bound` (splitmix64).
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(40) + 1);
        match self.below(8) {
            0 => drop(input.drain(at..end)),
            1 => {
                let piece = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            2 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at, word.bytes());
            }
            3 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..end, word.bytes());
            }
            4 => {
                let other = self.below(self.corpus.len());
                let from = self.below(self.corpus[other].len() + 1);
                input.truncate(at);
                input.extend_from_slice(&self.corpus[other][from..]);
            }
            5 => {
                // A number that is another.
                let number = ["0", "9223372036854775807", "18446744073709551615", "4294967296", "0.5"][self.below(5)];
                if let Some(digit) = input[at..].iter().position(u8::is_ascii_digit).map(|digit| at + digit) {
                    let end =
                        input[digit..].iter().position(|byte| !byte.is_ascii_digit()).map_or(input.len(), |end| digit + end);
                    input.splice(digit..end, number.bytes());
                }
            }
            6 if self.below(20) == 0 => {
                let piece = [["[", "]"], ["{\"a\":", "}"]][self.below(2)];
                input.splice(at..at, piece[self.below(2)].repeat(DEEP).into_bytes());
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
        }
    }
}

impl Iterator for Mutations {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let which = self.below(self.corpus.len());
        let mut input = self.corpus[which].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        Some(input)
    }
}
