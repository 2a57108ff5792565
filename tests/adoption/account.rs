//! What a module that counts has written down of its own life (`examples/counts.rs`).

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where modules keep their accounts.
pub const FOLDER: &str = "/tmp/counts";

pub struct Account {
    uid: String,
    lines: Vec<String>,
}

impl Account {
    pub fn of(uid: &str) -> Self {
        let text = std::fs::read_to_string(Self::path(uid)).unwrap_or_else(|error| panic!("the account of {uid}: {error}"));
        Self { uid: uid.to_owned(), lines: text.lines().map(str::to_owned).collect() }
    }

    pub fn path(uid: &str) -> PathBuf {
        PathBuf::from(FOLDER).join(uid)
    }

    /// All that there are.
    pub fn all() -> Vec<Self> {
        let files = std::fs::read_dir(FOLDER).unwrap();
        files.map(|file| Self::of(&file.unwrap().file_name().into_string().unwrap())).collect()
    }

    pub fn uid(&self) -> &str {
        &self.uid
    }

    pub fn first(&self) -> &str {
        &self.lines[0]
    }

    fn count(&self, word: &str) -> usize {
        self.lines.iter().filter(|line| line.split(' ').next() == Some(word)).count()
    }

    /// Whether it was told to end.
    pub fn is_removed(&self) -> bool {
        self.count("rm") > 0
    }

    /// Whether its last order was to play; nothing where there was none.
    pub fn plays(&self) -> Option<bool> {
        self.lines.iter().rev().find(|line| is_order(line)).map(|line| line == "play")
    }

    /// How often it was told each number.
    pub fn notes(&self) -> BTreeMap<u64, usize> {
        let mut notes = BTreeMap::new();
        for number in self.lines.iter().filter_map(|line| line.strip_prefix("note ")) {
            *notes.entry(number.parse().unwrap()).or_default() += 1;
        }
        notes
    }

    /// What holds for every module at any time: nothing was wrong, it was started once, and nothing was told twice.
    pub fn check(&self) {
        let Self { uid, lines } = self;
        assert_eq!((self.count("wrong"), self.count("started")), (0, 1), "{uid}: {lines:?}");
        assert!(self.count("init") <= 1 && self.count("rm") <= 1, "{uid}: {lines:?}");
        let orders: Vec<&String> = lines.iter().filter(|line| is_order(line)).collect();
        assert!(orders.windows(2).all(|pair| pair[0] != pair[1]), "{uid} was told something twice: {lines:?}");
    }
}

fn is_order(line: &str) -> bool {
    ["play", "suspend"].contains(&line)
}
