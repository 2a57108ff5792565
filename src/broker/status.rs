//! One line that says what a service is doing, for `systemctl status`.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Item, Kind, Snapshot};
use crate::service::Notifier;

/// A list that changes a thousand times a second is told no more often than this: each time wakes the service manager up,
/// which has modules to start.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Such as `playing clock 1b9d2c3e, 3 waiting` or `12 modules`.
pub(super) fn describe(kind: Kind, snapshot: &Snapshot) -> String {
    let name = |item: &Item| format!("{} {}", item.module.type_name(), item.module.uid().short());
    let count = snapshot.length();
    match (kind, snapshot.list().next(), snapshot.background()) {
        (Kind::Pool, ..) => match snapshot.list().filter(|item| item.down).count() {
            0 => modules(count),
            down => format!("{}, {down} of them to be started again", modules(count)),
        },
        (Kind::Queue, Some(top), _) => format!("playing {}, {} waiting", name(top), count - 1),
        (Kind::Queue, None, Some(background)) if background.down => {
            format!("nothing to play, background {} is to be started again", name(background))
        }
        (Kind::Queue, None, Some(background)) => format!("playing {} in the background, none waiting", name(background)),
        (Kind::Queue, None, None) => "nothing to play".to_owned(),
    }
}

/// While the service ends and this many modules are left.
pub(super) fn describe_ending(left: usize) -> String {
    format!("ending, {} left", modules(left))
}

fn modules(count: usize) -> String {
    format!("{count} module{}", if count == 1 { "" } else { "s" })
}

/// Knows when the status is to be told again: at once after a quiet time, else when [`SHORTEST_PAUSE`] is over.
#[derive(Default)]
pub(super) struct Status {
    notifier: Notifier,
    told: Option<Instant>,
    changed: bool,
}

impl Status {
    pub(super) fn new(notifier: Notifier) -> Self {
        Self { notifier, ..Self::default() }
    }

    /// What the status says may be another from now on.
    pub(super) fn changed(&mut self) {
        self.changed = self.notifier.is_on();
    }

    /// Waits until it is to be told; for ever while nothing changed. May be dropped and asked again.
    pub(super) async fn due(&self) {
        match self.told {
            _ if !self.changed => std::future::pending().await,
            Some(told) => sleep_until(told + SHORTEST_PAUSE).await,
            None => {}
        }
    }

    /// Tells it.
    pub(super) fn tell(&mut self, text: &str) {
        self.changed = false;
        self.told = Some(Instant::now());
        self.notifier.status(text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::service::Notifiers;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_at_once_and_then_ten_times_a_second() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let notifiers = Notifiers::telling(move |message| teller.lock().unwrap().push(message.to_owned()), None);
        let mut status = Status::new(notifiers.part("queue"));
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < Duration::from_millis(1050) {
            status.changed();
            number += 1;
            if tokio::time::timeout(Duration::from_millis(1), status.due()).await.is_ok() {
                status.tell(&number.to_string());
            }
        }
        assert_eq!(told.lock().unwrap().first().unwrap(), "STATUS=1", "the first at once");
        status.changed();
        status.due().await;
        status.tell("the last");
        let told = told.lock().unwrap();
        assert_eq!((told.len(), told.last().unwrap().as_str()), (12, "STATUS=the last"), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_listens_it_is_never_due() {
        let mut status = Status::new(Notifier::silent());
        status.changed();
        assert!(tokio::time::timeout(Duration::from_secs(1000), status.due()).await.is_err());
    }
}
