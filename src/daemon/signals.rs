//! The signals that a daemon is told by: SIGTERM and SIGINT end it, SIGHUP has it read its settings again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals of one daemon.
#[derive(Debug)]
pub struct Signals {
    /// Cancelled by the first SIGTERM or SIGINT. A second one is not waited for: ending has its own time-outs.
    pub shutdown: CancellationToken,
    /// Asks for the settings to be read again.
    pub hangups: Hangups,
}

/// SIGHUP.
#[derive(Debug)]
pub struct Hangups {
    signal: Signal,
    shutdown: CancellationToken,
    /// There is a terminal whose end is the daemon's.
    is_of_terminal: bool,
}

impl Signals {
    /// Listens to signals from now on; none that comes later is lost.
    ///
    /// # Errors
    /// Where the system has no room for a signal handler.
    pub fn listen() -> io::Result<Self> {
        // As nohup(1) has it, which must be asked before we have it otherwise.
        let is_of_terminal = has_terminal() && !is_hangup_ignored();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let signal = signal(SignalKind::hangup())?;
        let shutdown = CancellationToken::new();
        let cancelled = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            cancelled.cancel();
        });
        let hangups = Hangups { signal, shutdown: shutdown.clone(), is_of_terminal };
        Ok(Self { shutdown, hangups })
    }
}

impl Hangups {
    /// Waits for the next request to read the settings again. Where SIGHUP means what it is named after, that the terminal
    /// is gone, a program in the foreground ends with it.
    pub(super) async fn next(&mut self) {
        loop {
            // The stream of this signal ends with the process.
            let _ = self.signal.recv().await;
            if !self.is_of_terminal || has_terminal() {
                return;
            }
            tracing::info!("the terminal is gone");
            self.shutdown.cancel();
        }
    }
}

/// Whether this process has a terminal that it is controlled by (tty(4)).
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether whoever started this process has it ignore SIGHUP (proc(5)).
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}
