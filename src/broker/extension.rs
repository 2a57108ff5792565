//! How the service manager is kept waiting while modules end.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::service::Notifier;

/// At first the manager is asked for the time that the longest ending of one module may take; as long as there is news of
/// one, for as long again. That comes to an end: while a service ends nothing new is taken, and there is only so much
/// news of what is there. A module of which no process dies, not even by SIGKILL, gives none, so that the manager's own
/// time-out has the last word.
pub(super) struct Extension {
    notifier: Notifier,
    longest: Duration,
    at: Instant,
    news: bool,
}

impl Extension {
    /// The ending begins.
    pub(super) fn begin(notifier: Notifier, longest: Duration) -> Self {
        notifier.stopping(longest);
        Self { notifier, longest, at: Instant::now() + longest / 2, news: false }
    }

    /// A module reported something.
    pub(super) const fn news(&mut self) {
        self.news = true;
    }

    /// Waits until it is time to ask for more. May be dropped and asked again.
    pub(super) async fn due(&self) {
        sleep_until(self.at).await;
    }

    /// Asks for more, where there was news.
    pub(super) fn extend(&mut self) {
        self.at = Instant::now() + self.longest / 2;
        if std::mem::take(&mut self.news) {
            self.notifier.extend(self.longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::service::Notifiers;

    #[tokio::test(start_paused = true)]
    async fn more_is_asked_for_as_long_as_there_is_news() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let notifiers = Notifiers::telling(move |message| teller.lock().unwrap().push(message.to_owned()), None);
        let take = || std::mem::take(&mut *told.lock().unwrap());
        let begun = Instant::now();
        let mut extension = Extension::begin(notifiers.part("queue"), Duration::from_secs(20));
        assert_eq!(take(), ["STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000"]);
        for (news, asked) in [(true, 1), (false, 0), (true, 1), (false, 0), (false, 0)] {
            if news {
                extension.news();
            }
            extension.due().await;
            extension.extend();
            assert_eq!(take(), vec!["EXTEND_TIMEOUT_USEC=20000000"; asked]);
        }
        assert_eq!(begun.elapsed().as_secs(), 50);
    }
}
