//! What a service tells the service manager (`sd_notify(3)`).

use std::time::Duration;

use sd_notify::NotifyState;

/// Speaks to the service manager where there is one and this process is its service's main process; else to nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notifier {
    on: bool,
}

impl Notifier {
    /// One that speaks.
    #[must_use]
    pub const fn new() -> Self {
        Self { on: true }
    }

    /// One that is silent, for a part of a process that is not the whole service.
    #[must_use]
    pub const fn silent() -> Self {
        Self { on: false }
    }

    fn notify(self, state: &[NotifyState<'_>]) {
        if self.on
            && let Err(error) = sd_notify::notify(state)
        {
            tracing::debug!("the service manager could not be told: {error}");
        }
    }

    /// Requests are served from now on.
    pub fn ready(self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`.
    pub fn status(self, text: &str) {
        self.notify(&[NotifyState::Status(text)]);
    }

    /// The service begins to end; that may take as long as this, whatever `TimeoutStopSec` says.
    pub fn stopping(self, at_most: Duration) {
        let microseconds = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
        self.notify(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(microseconds)]);
    }

    /// The settings are being read again; [`Notifier::ready`] follows.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!("the monotonic clock could not be read: {error}"),
        }
    }

    /// A sign of life for `WatchdogSec`.
    pub fn alive(self) {
        self.notify(&[NotifyState::Watchdog]);
    }

    /// How often [`Notifier::alive`] has to be said: half of what the service manager waits; `None` where it does not.
    #[must_use]
    pub fn watchdog(self) -> Option<Duration> {
        if self.on { sd_notify::watchdog_enabled().map(|interval| interval / 2) } else { None }
    }
}
