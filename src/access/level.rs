//! What a token is good for.

use std::fmt;

use crate::protocol::Verb;

/// How much a token allows; each level allows all that those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Look: changes nothing.
    View,
    /// Add modules to the end of the list.
    Add,
    /// Change the order, and tell modules what to do.
    Control,
    /// End modules, and everything that is not known to be less.
    Remove,
}

impl Level {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::View, Self::Add, Self::Control, Self::Remove];

    /// The level called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Its name in the file of tokens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Add => "add",
            Self::Control => "control",
            Self::Remove => "remove",
        }
    }

    /// What the command called `name` takes. One that no queue and no pool has may do anything, and so takes the highest.
    #[must_use]
    pub fn of_command(name: &str) -> Self {
        let Some(verb) = Verb::from_name(name) else { return Self::Remove };
        match verb {
            Verb::ModulesAvailable
            | Verb::BackgroundsAvailable
            | Verb::Types
            | Verb::Queue
            | Verb::Pool
            | Verb::Background
            | Verb::AskModule
            | Verb::AskBackground
            | Verb::History
            | Verb::Status
            | Verb::Watch
            | Verb::Metrics => Self::View,
            Verb::Add => Self::Add,
            Verb::Move | Verb::TellModule | Verb::TellBackground => Self::Control,
            // The background of before is ended.
            Verb::SetBackground | Verb::Remove => Self::Remove,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_commands() {
        for (level, commands) in [
            (
                Level::View,
                "modules_available backgrounds_available types queue pool bg ask_module ask_background history status watch metrics",
            ),
            (Level::Add, "add"),
            (Level::Control, "mv tell_module tell_background"),
            (Level::Remove, "set_bg rm rm_all clear get_volume QUEUE queue\u{0} Queue"),
        ] {
            for command in commands.split(' ') {
                assert_eq!(Level::of_command(command), level, "{command}");
            }
        }
        assert_eq!(Level::of_command(""), Level::Remove);
        assert_eq!(Level::of_command(" queue"), Level::Remove);
    }

    #[test]
    fn names_and_order() {
        assert!(Level::ALL.is_sorted());
        for level in Level::ALL {
            assert_eq!(Level::from_name(&level.to_string()), Some(level));
        }
        assert_eq!(Level::from_name("View"), None);
    }
}
