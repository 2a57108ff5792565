//! Tokens, and the endpoints that take them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::Level;

/// A secret that whoever shows it is let in by (RFC 6750). Shown to nobody: its `Debug` is `Token(…)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Fewest characters of a token: fewer could be tried out over a network.
    pub const MIN_LENGTH: usize = 16;
    /// Most characters of a token.
    pub const MAX_LENGTH: usize = 512;

    /// The token `text`, which must be such as can stand after `Bearer`: letters, digits and `-._~+/`, `=` at the end.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_long_enough = (Self::MIN_LENGTH..=Self::MAX_LENGTH).contains(&text.len());
        (is_long_enough && is_token(text.as_bytes())).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    end > 0 && bytes[..end].iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

/// A token and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token.
    pub token: Token,
    /// What it allows.
    pub level: Level,
}

/// Who may do what at one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// The tokens that it knows; without any, it lets nobody in.
    pub grants: Vec<Grant>,
    /// What commands take that take something else than [`Level::of_command`] says, above all those of a service that
    /// is no queue and no pool.
    pub commands: HashMap<String, Level>,
}

impl Guard {
    /// What `token` allows; `None` where it is not known. All tokens are compared, each wholly: how long that takes tells
    /// nothing about them but their lengths.
    #[must_use]
    pub fn level_of(&self, token: &[u8]) -> Option<Level> {
        // 0 where none is the same, else the place of its level.
        let mut found = 0;
        for grant in &self.grants {
            found.conditional_assign(&(grant.level as u8 + 1), grant.token.0.as_bytes().ct_eq(token));
        }
        usize::from(found).checked_sub(1).and_then(|place| Level::ALL.get(place)).copied()
    }

    /// What the command called `name` takes; `None` where its name is no text, which no command is called.
    #[must_use]
    pub fn level_for(&self, name: Option<&str>) -> Level {
        let Some(name) = name else { return Level::Remove };
        self.commands.get(name).copied().unwrap_or_else(|| Level::of_command(name))
    }
}

/// Which endpoints take tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Those that are named.
    pub endpoints: IndexMap<String, Arc<Guard>>,
    /// All others; without one they are open to everybody.
    pub others: Option<Arc<Guard>>,
}

impl Tokens {
    /// The guard of `endpoint`; `None` where that is open to everybody.
    #[must_use]
    pub fn guard_of(&self, endpoint: &str) -> Option<&Guard> {
        self.endpoints.get(endpoint).or(self.others.as_ref()).map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token::parse(text).unwrap()
    }

    #[test]
    fn what_is_a_token() {
        for text in ["0123456789abcdef", "aA0-._~+/aA0-._~+/", "MDEyMzQ1Njc4OWFiYw==", &"x".repeat(512)] {
            assert!(Token::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "0123456789abcde",
            "================",
            "0123456789=abcdef",
            "0123456789 abcdef",
            "0123456789äbcdef",
            &"x".repeat(513),
        ] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let grant = Grant { token: token("topsecrettopsecret"), level: Level::View };
        let guard = Arc::new(Guard { grants: vec![grant], commands: HashMap::new() });
        let tokens = Tokens { endpoints: [("queue".to_owned(), Arc::clone(&guard))].into(), others: Some(guard) };
        let shown = format!("{tokens:?} {tokens:#?}");
        assert!(shown.contains("Token(…)") && !shown.contains("topsecret"), "{shown}");
    }

    #[test]
    fn what_a_token_allows() {
        let grants = Level::ALL.map(|level| Grant { token: token(&format!("0123456789-{level}-secret")), level });
        let guard = Guard { grants: grants.to_vec(), commands: HashMap::new() };
        for level in Level::ALL {
            assert_eq!(guard.level_of(format!("0123456789-{level}-secret").as_bytes()), Some(level));
        }
        for text in ["", "0123456789-view-secre", "0123456789-view-secrets", "0123456789-VIEW-secret", "\0", "x"] {
            assert_eq!(guard.level_of(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Guard::default().level_of(b""), None);
    }

    #[test]
    fn what_a_command_takes() {
        let commands = [("get_volume", Level::View), ("mv", Level::Add)].map(|(name, level)| (name.to_owned(), level));
        let guard = Guard { grants: Vec::new(), commands: commands.into() };
        assert_eq!(guard.level_for(Some("get_volume")), Level::View);
        assert_eq!(guard.level_for(Some("set_volume")), Level::Remove);
        assert_eq!(guard.level_for(Some("mv")), Level::Add);
        assert_eq!(guard.level_for(Some("queue")), Level::View);
        assert_eq!(guard.level_for(None), Level::Remove);
    }

    #[test]
    fn which_endpoints() {
        let (named, others) =
            (Arc::new(Guard::default()), Guard { grants: Vec::new(), commands: [("x".into(), Level::View)].into() });
        let mut tokens = Tokens { endpoints: [("queue".to_owned(), named)].into(), others: None };
        assert_eq!((tokens.guard_of("queue"), tokens.guard_of("pool")), (Some(&Guard::default()), None));
        tokens.others = Some(Arc::new(others.clone()));
        assert_eq!((tokens.guard_of("queue"), tokens.guard_of("pool")), (Some(&Guard::default()), Some(&others)));
        assert_eq!(Tokens::default().guard_of("queue"), None);
    }
}
