//! What is shown again and again: on a terminal in the place of what was there, else one thing after the other.

use std::io::{self, IsTerminal, Write};

use super::CliError;

/// Another screen, so that what was on this one is there afterwards.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
/// From the first place of the screen on; the rest of a line, and of the screen, is cleared when it was written.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K\n";
const REST: &str = "\x1b[J";

/// The screen, as it was before when this is dropped.
#[derive(Debug)]
pub(super) struct Screen(());

impl Screen {
    /// `None` where standard output is no terminal.
    pub(super) fn enter() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let screen = Self(());
        write(ENTER).ok()?;
        Some(screen)
    }

    /// Shows `text`, which ends its own lines, and nothing else.
    #[allow(clippy::unused_self, reason = "only where there is a screen")]
    pub(super) fn show(&self, text: &str) -> Result<(), CliError> {
        write(&frame(text)).map_err(CliError::Output)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where it is not taken, nobody looks.
        let _ = write(LEAVE);
    }
}

fn frame(text: &str) -> String {
    format!("{HOME}{}{REST}", text.replace('\n', REST_OF_LINE))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Does `work` until it ends or the user has had enough (SIGINT), which is a good end, too.
pub(super) async fn until_interrupted(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_frame_before_is_left() {
        assert_eq!(frame("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
