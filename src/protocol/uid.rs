//! The identifier of one module.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies one module for as long as the service lives: a version 4 UUID, written in lower case with hyphens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Uid(Uuid);

impl Uid {
    /// A new random identifier.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(test)]
        if let Some(number) = numbered::next() {
            return Self::numbered(number);
        }
        Self(Uuid::new_v4())
    }

    /// The one of this number, for tests that repeat.
    #[cfg(test)]
    pub(crate) const fn numbered(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }

    /// Its number, where it was made of one.
    #[cfg(test)]
    pub(crate) const fn number(self) -> u128 {
        self.0.as_u128()
    }

    /// The first eight hexadecimal digits, enough to tell modules apart in a log line.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

/// New identifiers that count, on a thread that asked for it: whatever follows their order is the same each time.
#[cfg(test)]
pub(crate) mod numbered {
    use std::cell::Cell;

    thread_local! {
        static NEXT: Cell<Option<u128>> = const { Cell::new(None) };
    }

    /// From now on new identifiers of this thread are numbered from `first`.
    pub(crate) fn begin(first: u128) {
        NEXT.set(Some(first));
    }

    pub(super) fn next() -> Option<u128> {
        let number = NEXT.get()?;
        NEXT.set(Some(number + 1));
        Some(number)
    }
}

impl Default for Uid {
    fn default() -> Self {
        Self::new()
    }
}

/// The text is not an identifier that this project hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a module identifier")]
pub struct NotAUid;

impl FromStr for Uid {
    type Err = NotAUid;

    /// Takes exactly the form that [`fmt::Display`] writes: another spelling of the same number is another identifier,
    /// since clients compare them as text.
    fn from_str(text: &str) -> Result<Self, NotAUid> {
        let uuid = Uuid::try_parse(text).map_err(|_| NotAUid)?;
        let mut buffer = Uuid::encode_buffer();
        if uuid.hyphenated().encode_lower(&mut buffer) == text { Ok(Self(uuid)) } else { Err(NotAUid) }
    }
}

impl TryFrom<String> for Uid {
    type Error = NotAUid;

    fn try_from(text: String) -> Result<Self, NotAUid> {
        text.parse()
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        uid.to_string()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let uid = Uid::new();
        assert_eq!(uid.to_string().parse(), Ok(uid));
        assert_eq!(uid.short(), uid.to_string()[..8]);
    }

    #[test]
    fn only_the_canonical_spelling_counts() {
        let text = Uid::new().to_string();
        assert_eq!(text.replace('-', "").parse::<Uid>(), Err(NotAUid));
        assert_eq!(format!("{{{text}}}").parse::<Uid>(), Err(NotAUid));
        assert_eq!("A0000000-0000-4000-8000-000000000000".parse::<Uid>(), Err(NotAUid));
        assert_eq!("".parse::<Uid>(), Err(NotAUid));
    }
}
