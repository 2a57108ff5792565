//! What the manager signals, sorted by unit.
//!
//! ```text
//!   bus ──JobRemoved, UnitRemoved, PropertiesChanged──▶ read (one task) ──News──▶ Ear of that unit
//! ```
//!
//! One task reads all signals of a connection and awaits nothing else: a signal that nobody takes stalls every call of the
//! connection. An [`Ear`] is made before the call that it listens for, since a signal can overtake the reply.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::Stream;
use tokio::sync::watch;
use tokio::time::Instant;
use zbus::{Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::name;

/// The interface whose changed properties are listened to.
const SCOPE_INTERFACE: &str = "org.freedesktop.systemd1.Scope";
/// A result that is none.
const SUCCESS: &str = "success";

/// The signals that the bus is asked for. Properties only of scopes: all other units change all the time.
pub(super) const RULES: [&str; 4] = [
    "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
    "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='UnitRemoved'",
    "type='signal',sender='org.freedesktop.systemd1',\
     interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',arg0='org.freedesktop.systemd1.Scope'",
    "type='signal',sender='org.freedesktop.DBus',\
     interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.systemd1'",
];

/// What is known of a unit by signals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    /// How the job that started it ended: `done` or why not.
    pub(super) started: Option<String>,
    /// Whether a job after that one was done: it was told to stop, by whomever.
    pub(super) stopped: bool,
    /// How many jobs after that one came to nothing.
    pub(super) refusals: u32,
    /// What its end is ascribed to, where that is no success (`timeout`, `oom-kill`), and since when.
    pub(super) result: Option<(String, Instant)>,
    /// Whether the manager has forgotten it.
    pub(super) removed: bool,
    /// How often signals may have been missed.
    pub(super) missed: u32,
}

/// All that listen.
#[derive(Debug, Default)]
pub(super) struct Ears {
    units: Mutex<HashMap<String, watch::Sender<News>>>,
    /// Whether the manager has come back under the same name since it was last asked for its signals.
    unsubscribed: AtomicBool,
}

impl Ears {
    /// Begins to listen for `unit`.
    pub(super) fn listen(self: &Arc<Self>, unit: &str) -> Ear {
        let (sender, news) = watch::channel(News::default());
        self.units().insert(unit.to_owned(), sender);
        Ear { unit: unit.to_owned(), news, ears: Arc::clone(self) }
    }

    /// Begins to listen for a `unit` that has been started already.
    pub(super) fn listen_to_started(self: &Arc<Self>, unit: &str) -> Ear {
        let ear = self.listen(unit);
        self.tell(unit, |news| news.started = Some("done".to_owned()));
        ear
    }

    /// The manager must be asked for its signals again.
    pub(super) fn must_subscribe(&self) {
        self.unsubscribed.store(true, Ordering::Relaxed);
    }

    /// Whether the manager must be asked for its signals again; not twice for the same reason.
    pub(super) fn take_unsubscribed(&self) -> bool {
        self.unsubscribed.swap(false, Ordering::Relaxed)
    }

    /// Signals may have been missed: whoever waits for one must look for itself.
    pub(super) fn missed(&self) {
        for sender in self.units().values() {
            sender.send_modify(|news| news.missed += 1);
        }
    }

    fn tell(&self, unit: &str, change: impl FnOnce(&mut News)) {
        if let Some(sender) = self.units().get(unit) {
            sender.send_modify(change);
        }
    }

    fn units(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<News>>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of a message that is none of the signals, nothing is taken.
    fn hear(&self, message: &Message) {
        let header = message.header();
        let Some(member) = header.member() else { return };
        match member.as_str() {
            "JobRemoved" => {
                if let Ok((_, _, unit, result)) = message.body().deserialize::<(u32, OwnedObjectPath, String, String)>() {
                    self.tell(&unit, |news| {
                        if news.started.is_some() {
                            let done = result == "done";
                            news.stopped |= done;
                            news.refusals += u32::from(!done);
                            return;
                        }
                        // The first job of a unit that exists only once is the one that starts it. What was removed before
                        // was the husk of a refused attempt.
                        news.started = Some(result);
                        news.removed = false;
                    });
                }
            }
            "UnitRemoved" => {
                if let Ok((unit, _)) = message.body().deserialize::<(String, OwnedObjectPath)>() {
                    self.tell(&unit, |news| news.removed = true);
                }
            }
            "PropertiesChanged" => {
                let Some(unit) = header.path().and_then(|path| name::unit_of_object_path(path.as_str())) else { return };
                if !self.units().contains_key(&unit) {
                    return;
                }
                let body = message.body();
                let Ok((interface, changed, _)) = body.deserialize::<(String, HashMap<String, OwnedVariant>, Vec<String>)>()
                else {
                    return;
                };
                let result = changed.get("Result").and_then(|value| value.downcast_ref::<&str>().ok());
                if let Some(result) = result.filter(|result| interface == SCOPE_INTERFACE && *result != SUCCESS) {
                    self.tell(&unit, |news| {
                        if news.result.is_none() {
                            news.result = Some((result.to_owned(), Instant::now()));
                        }
                    });
                }
            }
            "NameOwnerChanged" => {
                self.must_subscribe();
                self.missed();
            }
            _ => {}
        }
    }
}

/// Listens for one unit until it is dropped.
#[derive(Debug)]
pub(super) struct Ear {
    unit: String,
    news: watch::Receiver<News>,
    ears: Arc<Ears>,
}

impl Ear {
    /// What is known by now.
    pub(super) fn news(&self) -> News {
        self.news.borrow().clone()
    }

    /// Waits until more is known than at the last call of this.
    pub(super) async fn more(&mut self) {
        if self.news.changed().await.is_err() {
            // Only this ear removes the sender.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ears.units().remove(&self.unit);
    }
}

/// Reads signals until the connection ends.
pub(super) async fn read(mut stream: MessageStream, ears: Arc<Ears>) {
    while let Some(message) = poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await {
        match message {
            Ok(message) if message.message_type() == zbus::message::Type::Signal => ears.hear(&message),
            Ok(_) => {}
            Err(error) => tracing::debug!("the bus is lost: {error}"),
        }
    }
    ears.missed();
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "shmooze-queue-clock-1.scope";

    fn signal<B: serde::Serialize + zbus::DynamicType>(path: &str, interface: &str, member: &str, body: &B) -> Message {
        Message::signal(path, interface, member).build(body).unwrap()
    }

    fn job_removed(unit: &str, result: &str) -> Message {
        let job = OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/1").unwrap();
        let body = (1_u32, job, unit, result);
        signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved", &body)
    }

    fn result_changed(unit: &str, interface: &str, result: &str) -> Message {
        let changed = HashMap::from([("Result", zbus::Variant::from(result)), ("Controller", "".into())]);
        let body = (interface, changed, Vec::<String>::new());
        signal(&name::object_path(unit), "org.freedesktop.DBus.Properties", "PropertiesChanged", &body)
    }

    #[test]
    fn the_first_job_started_it_and_the_next_stopped_it() {
        let ears = Arc::new(Ears::default());
        let ear = ears.listen(UNIT);
        ears.hear(&job_removed("shmooze-queue-clock-2.scope", "done"));
        assert_eq!(ear.news(), News::default());
        ears.hear(&job_removed(UNIT, "done"));
        assert_eq!(ear.news(), News { started: Some("done".into()), ..News::default() });
        // As 257 answers for a frozen unit.
        ears.hear(&job_removed(UNIT, "failed"));
        assert_eq!((ear.news().stopped, ear.news().refusals), (false, 1));
        ears.hear(&job_removed(UNIT, "done"));
        assert!(ear.news().stopped);
    }

    #[test]
    fn results_of_scopes_that_are_no_success() {
        let ears = Arc::new(Ears::default());
        let ear = ears.listen(UNIT);
        ears.hear(&result_changed(UNIT, SCOPE_INTERFACE, "success"));
        ears.hear(&result_changed(UNIT, "org.freedesktop.systemd1.Service", "timeout"));
        ears.hear(&result_changed("other.scope", SCOPE_INTERFACE, "timeout"));
        assert_eq!(ear.news(), News::default());
        ears.hear(&result_changed(UNIT, SCOPE_INTERFACE, "oom-kill"));
        ears.hear(&result_changed(UNIT, SCOPE_INTERFACE, "timeout"));
        assert_eq!(ear.news().result.unwrap().0, "oom-kill", "the first one is the reason");
    }

    #[test]
    fn removal_after_the_start() {
        let ears = Arc::new(Ears::default());
        let ear = ears.listen(UNIT);
        let path = OwnedObjectPath::try_from(name::object_path(UNIT)).unwrap();
        let body = (UNIT, path);
        let removed = signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "UnitRemoved", &body);
        // As 252 does for a unit with a property that it does not know.
        ears.hear(&removed);
        ears.hear(&job_removed(UNIT, "done"));
        assert!(!ear.news().removed);
        ears.hear(&removed);
        assert!(ear.news().removed);
        drop(ear);
        assert!(ears.units().is_empty());
    }

    #[test]
    fn a_manager_that_comes_back_may_have_been_missed() {
        let ears = Arc::new(Ears::default());
        let ear = ears.listen(UNIT);
        assert!(!ears.take_unsubscribed());
        let body = ("org.freedesktop.systemd1", "", ":1.7");
        ears.hear(&signal("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", &body));
        assert_eq!(ear.news().missed, 1);
        assert!(ears.take_unsubscribed() && !ears.take_unsubscribed());
    }

    #[test]
    fn nonsense_is_passed_over() {
        let ears = Arc::new(Ears::default());
        let ear = ears.listen(UNIT);
        for member in ["JobRemoved", "UnitRemoved", "PropertiesChanged", "JobNew"] {
            ears.hear(&signal("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", member, &7_u32));
        }
        assert_eq!(ear.news(), News::default());
    }
}
