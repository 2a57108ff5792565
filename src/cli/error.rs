//! What goes wrong on the command line, and the exit code that tells it to scripts.

use std::io;

use crate::client::ClientError;
use crate::client::http::HttpError;
use crate::settings::SettingsError;

/// Why a verb was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The service refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// `check` found problems and has printed them.
    #[error("problems")]
    Problems,
    /// A step of `apply` failed; those before it were done.
    #[error("{0}")]
    Step(String),
    /// The words given, or the settings, are at fault; nothing was changed.
    #[error("{0}")]
    Usage(String),
    /// There is no answer, or none that makes sense.
    #[error("{0}")]
    Unreachable(String),
    /// The answer did not come in time.
    #[error("{0}")]
    TimedOut(String),
    /// Standard output does not take it.
    #[error("Output cannot be written: {0}.")]
    Output(#[source] io::Error),
}

impl CliError {
    /// What scripts see; the list is in `shmz --help`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // Who reads only the first lines, as head(1) does, has got what it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused(_) | Self::Problems | Self::Step(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::TimedOut(_) => 4,
        }
    }

    /// What people see, where there is something to say.
    pub(super) fn sentence(&self) -> Option<String> {
        match self {
            Self::Problems => None,
            _ if self.exit_code() == 0 => None,
            error => Some(error.to_string()),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let sentence = error.to_string();
        match error {
            ClientError::TimedOut { .. } => Self::TimedOut(sentence),
            ClientError::NotOneLine { .. } => Self::Usage(sentence),
            _ => Self::Unreachable(sentence),
        }
    }
}

impl From<HttpError> for CliError {
    fn from(error: HttpError) -> Self {
        let sentence = error.to_string();
        match error {
            HttpError::BadUrl { .. } => Self::Usage(sentence),
            _ => Self::Unreachable(sentence),
        }
    }
}

impl From<SettingsError> for CliError {
    /// The first problem; `shmz check` prints the others.
    fn from(error: SettingsError) -> Self {
        let first = error.problems.first().map_or_else(|| error.to_string(), ToString::to_string);
        Self::Usage(match error.problems.len() {
            0 | 1 => first,
            2 => format!("{first} There is one more problem: see `shmz check`."),
            many => format!("{first} There are {} more problems: see `shmz check`.", many - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use std::path::Path;

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let closed = CliError::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.exit_code(), closed.sentence()), (0, None));
        let full = CliError::Output(io::Error::from_raw_os_error(28));
        assert_eq!(full.exit_code(), 1);
        assert_eq!(full.sentence().unwrap(), "Output cannot be written: No space left on device (os error 28).");
    }

    #[test]
    fn bad_settings_are_one_sentence() {
        let bad = |text: &str| CliError::from(Settings::parse(text, Path::new("/s.json")).unwrap_err()).to_string();
        assert!(!bad("[]").contains("more problem"));
        assert!(bad(r#"{"ports": {"a": 0, "b": 0}}"#).ends_with("There is one more problem: see `shmz check`."));
        assert!(bad(r#"{"ports": {"a": 0, "b": 0, "c": 0}}"#).ends_with("There are 2 more problems: see `shmz check`."));
    }
}
