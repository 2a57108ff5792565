//! What a process tells the service manager (`sd_notify(3)`).
//!
//! A process is one service or, under `shmooze-run`, several. Each part of it has a [`Notifier`] of its own; the manager
//! hears what holds for the whole.
//!
//! ```text
//!   queue ───╮                              READY=1     once all are ready
//!   pool  ───┼─▶ Notifiers ─▶ NOTIFY_SOCKET  STATUS=     what each of them does
//!   gateway ─╯                              WATCHDOG=1  once all have given a sign of life since the last
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior};

use super::datagrams::Datagrams;

/// Longest status told, in bytes: the manager discards a datagram over 4096 with all that is in it.
const LONGEST_STATUS: usize = 1024;

type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// The parts of this process, as far as the service manager is concerned. Clones are the same.
#[derive(Clone)]
pub struct Notifiers {
    /// `None` where nobody listens.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    tell: Tell,
    watchdog: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parts: Vec<Part>,
    /// READY was said.
    ready: bool,
    /// STOPPING was said.
    stopping: bool,
    /// The status told last.
    status: String,
}

#[derive(Default)]
struct Part {
    name: String,
    ready: bool,
    alive: bool,
    ended: bool,
    status: String,
}

impl Default for Notifiers {
    fn default() -> Self {
        Self::new()
    }
}

impl Notifiers {
    /// Tells the service manager where there is one (`NOTIFY_SOCKET`), else nobody. Nothing here ever waits for it; what is
    /// said must be said inside a tokio runtime.
    #[must_use]
    pub fn new() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { shared: None };
        };
        let datagrams = Datagrams::to(name);
        let watchdog = sd_notify::watchdog_enabled().filter(|watchdog| !watchdog.is_zero());
        Self::telling(move |message| datagrams.send(message), watchdog)
    }

    /// Tells `tell`, which expects a sign of life within `watchdog`.
    pub(crate) fn telling(tell: impl Fn(&str) + Send + Sync + 'static, watchdog: Option<Duration>) -> Self {
        Self { shared: Some(Arc::new(Shared { tell: Box::new(tell), watchdog, state: Mutex::default() })) }
    }

    /// One more part. All of them are to be named before the first is ready.
    #[must_use]
    pub fn part(&self, name: &str) -> Notifier {
        let Some(shared) = &self.shared else { return Notifier::silent() };
        let mut state = shared.state();
        state.parts.push(Part { name: name.to_owned(), ..Part::default() });
        Notifier { part: Some((Arc::clone(shared), state.parts.len() - 1)) }
    }

    /// The settings are being read again; [`Notifiers::reloaded`] or [`Notifiers::refused`] follows.
    pub fn reloading(&self) {
        let Some(shared) = &self.shared else { return };
        let state = shared.state();
        // Who is not ready yet, or ends, does not reload in the eyes of the manager.
        if !state.ready || state.stopping {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => shared.tell(&[&NotifyState::Reloading.to_string(), &now.to_string()]),
            Err(error) => tracing::warn!("the monotonic clock could not be read: {error}"),
        }
    }

    /// The settings have been read again and are in force.
    pub fn reloaded(&self) {
        let Some(shared) = &self.shared else { return };
        let mut state = shared.state();
        let status = state.describe();
        shared.ready_again(&mut state, &status);
    }

    /// The settings have been read again and stay as they were, for this reason. The status says so until the next.
    pub fn refused(&self, reason: &str) {
        let Some(shared) = &self.shared else { return };
        let status = one_line(&format!("the settings stay as they were: {reason}"));
        shared.ready_again(&mut shared.state(), &status);
    }

    /// The process begins to end; that may take as long as this, whatever `TimeoutStopSec` says.
    pub fn stopping(&self, at_most: Duration) {
        if let Some(shared) = &self.shared {
            shared.stopping(at_most);
        }
    }
}

/// One part of a process. Clones are the same part.
#[derive(Clone, Default)]
pub struct Notifier {
    part: Option<(Arc<Shared>, usize)>,
}

impl Notifier {
    /// One that tells nobody.
    #[must_use]
    pub const fn silent() -> Self {
        Self { part: None }
    }

    /// Whether anybody listens.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.part.is_some()
    }

    /// Requests are served from now on.
    pub fn ready(&self) {
        let Some((shared, part)) = &self.part else { return };
        let mut state = shared.state();
        state.parts[*part].ready = true;
        if !state.ready && state.parts.iter().all(|part| part.ready) {
            state.ready = true;
            shared.tell(&["READY=1"]);
        }
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        let Some((shared, part)) = &self.part else { return };
        let mut state = shared.state();
        text.clone_into(&mut state.parts[*part].status);
        let status = state.describe();
        if status != state.status {
            shared.tell(&[&format!("STATUS={status}")]);
            state.status = status;
        }
    }

    /// This part begins to end, and with it the process; that may take as long as this, whatever `TimeoutStopSec` says.
    pub fn stopping(&self, at_most: Duration) {
        if let Some((shared, _)) = &self.part {
            shared.stopping(at_most);
        }
    }

    /// The ending under way may take as long as this from now on. What was granted before is not cut short.
    pub fn extend(&self, at_most: Duration) {
        if let Some((shared, _)) = &self.part {
            shared.tell(&[&extension(at_most)]);
        }
    }

    /// This part is over; the others are what the process consists of.
    pub fn ended(&self) {
        let Some((shared, part)) = &self.part else { return };
        let mut state = shared.state();
        state.parts[*part].ended = true;
        state.parts[*part].status.clear();
    }

    /// Signs of life for `WatchdogSec`, to be given by the task whose life counts.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        let watchdog = self.part.as_ref().and_then(|(shared, _)| shared.watchdog);
        let interval = watchdog.map(|watchdog| {
            let mut interval = tokio::time::interval(watchdog / 2);
            // Who was stuck says once that he is not any more.
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Heartbeat { notifier: self.clone(), interval }
    }

    fn alive(&self) {
        let Some((shared, part)) = &self.part else { return };
        let mut state = shared.state();
        state.parts[*part].alive = true;
        if state.parts.iter().all(|part| part.alive || part.ended) {
            state.parts.iter_mut().for_each(|part| part.alive = false);
            shared.tell(&["WATCHDOG=1"]);
        }
    }
}

/// Gives a sign of life at half the interval within which the service manager expects one; none where it expects none.
pub struct Heartbeat {
    notifier: Notifier,
    interval: Option<Interval>,
}

impl Heartbeat {
    /// Waits until a sign of life is due and gives it; never ready where none is expected. May be dropped and asked again.
    pub async fn beat(&mut self) {
        match &mut self.interval {
            Some(interval) => {
                interval.tick().await;
                self.notifier.alive();
            }
            None => std::future::pending().await,
        }
    }

    /// Waits for `future` and gives the signs of life that are due meanwhile.
    pub async fn during<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                biased;
                () = self.beat() => {}
                output = &mut future => return output,
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, assignments: &[&str]) {
        (self.tell)(&assignments.join("\n"));
    }

    fn ready_again(&self, state: &mut State, status: &str) {
        let ready = if state.ready && !state.stopping { Some("READY=1") } else { None };
        let assignment = format!("STATUS={status}");
        let status = if state.status == status {
            None
        } else {
            status.clone_into(&mut state.status);
            Some(&*assignment)
        };
        let assignments: Vec<&str> = ready.into_iter().chain(status).collect();
        if !assignments.is_empty() {
            self.tell(&assignments);
        }
    }

    fn stopping(&self, at_most: Duration) {
        let first = !std::mem::replace(&mut self.state().stopping, true);
        let extension = extension(at_most);
        if first { self.tell(&["STOPPING=1", &extension]) } else { self.tell(&[&extension]) }
    }
}

impl State {
    /// What each part does, in one line.
    fn describe(&self) -> String {
        if let [only] = &self.parts[..] {
            return one_line(&only.status);
        }
        let said = self.parts.iter().filter(|part| !part.status.is_empty());
        let said: Vec<String> = said.map(|part| format!("{}: {}", part.name, part.status)).collect();
        one_line(&said.join("; "))
    }
}

fn extension(at_most: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", at_most.as_micros())
}

/// `text` on one line, of bounded length: the next line of a datagram would be an assignment of its own.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST_STATUS));
    for character in text.trim().chars() {
        if line.len() + character.len_utf8() > LONGEST_STATUS - '…'.len_utf8() {
            line.push('…');
            break;
        }
        match character {
            '\n' => line.push_str("; "),
            _ if character.is_control() => line.push(' '),
            _ => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was told so far.
    fn recorded(watchdog: Option<Duration>) -> (Notifiers, impl Fn() -> Vec<String>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        let notifiers = Notifiers::telling(move |message| teller.lock().unwrap().push(message.to_owned()), watchdog);
        (notifiers, move || std::mem::take(&mut *told.lock().unwrap()))
    }

    #[test]
    fn the_whole_is_ready_when_all_parts_are() {
        let (notifiers, told) = recorded(None);
        let (queue, pool) = (notifiers.part("queue"), notifiers.part("pool"));
        queue.ready();
        assert_eq!(told(), [""; 0]);
        pool.ready();
        assert_eq!(told(), ["READY=1"]);
        queue.ready();
        assert_eq!(told(), [""; 0]);
    }

    #[test]
    fn the_status_is_that_of_all_parts_and_told_when_it_changes() {
        let (notifiers, told) = recorded(None);
        let queue = notifiers.part("queue");
        queue.status("idle");
        queue.status("idle");
        assert_eq!(told(), ["STATUS=idle"]);
        let pool = notifiers.part("pool");
        pool.status("12 modules");
        assert_eq!(told(), ["STATUS=queue: idle; pool: 12 modules"]);
        pool.ended();
        queue.status("ending");
        assert_eq!(told(), ["STATUS=queue: ending"]);
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nREADY=1\r\tb\n"), "a; READY=1  b");
        let long = one_line(&"ä".repeat(4000));
        assert!(long.len() <= LONGEST_STATUS && long.ends_with("ä…"), "{}", long.len());
        assert_eq!(one_line(&"x".repeat(900)), "x".repeat(900));
    }

    #[test]
    fn reloading() {
        let (notifiers, told) = recorded(None);
        let queue = notifiers.part("queue");
        notifiers.reloading();
        notifiers.reloaded();
        assert_eq!(told(), [""; 0], "who is not ready yet must not say that he is");
        queue.status("idle");
        queue.ready();
        assert_eq!(told(), ["STATUS=idle", "READY=1"]);
        notifiers.reloading();
        notifiers.refused("x.json: ports is missing\nx.json: services is missing");
        let [begun, refused] = &told()[..] else { panic!() };
        assert!(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun}");
        let expected = "READY=1\nSTATUS=the settings stay as they were: x.json: ports is missing; x.json: services is missing";
        assert_eq!(refused, expected);
        queue.status("idle");
        assert_eq!(told(), ["STATUS=idle"], "the next status replaces it, though it is that of before");
        notifiers.refused("no");
        notifiers.reloaded();
        assert_eq!(told().last().unwrap(), "READY=1\nSTATUS=idle");
    }

    #[test]
    fn stopping_is_said_once_and_extended() {
        let (notifiers, told) = recorded(None);
        let (queue, pool) = (notifiers.part("queue"), notifiers.part("pool"));
        queue.ready();
        pool.ready();
        told();
        queue.stopping(Duration::from_secs(2));
        pool.stopping(Duration::from_secs(86_400));
        pool.extend(Duration::from_millis(1));
        let expected = ["STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000", "EXTEND_TIMEOUT_USEC=86400000000", "EXTEND_TIMEOUT_USEC=1000"];
        assert_eq!(told(), expected);
        notifiers.reloading();
        notifiers.reloaded();
        assert_eq!(told(), [""; 0], "who ends does not become ready again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_is_given_when_all_parts_live() {
        let (notifiers, told) = recorded(Some(Duration::from_secs(10)));
        let (queue, pool) = (notifiers.part("queue"), notifiers.part("pool"));
        let (mut one, mut other) = (queue.heartbeat(), pool.heartbeat());
        for _ in 0..3 {
            one.beat().await;
            assert_eq!(told(), [""; 0]);
            other.beat().await;
            assert_eq!(told(), ["WATCHDOG=1"]);
        }
        assert!(tokio::time::timeout(Duration::from_secs(60), one.during(std::future::pending::<()>())).await.is_err());
        assert_eq!(told(), [""; 0], "the pool is stuck");
        pool.ended();
        one.beat().await;
        assert_eq!(told(), ["WATCHDOG=1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_are_given_at_half_the_interval() {
        let (notifiers, told) = recorded(Some(Duration::from_secs(10)));
        let mut heartbeat = notifiers.part("queue").heartbeat();
        heartbeat.during(tokio::time::sleep(Duration::from_millis(29_900))).await;
        assert_eq!(told().len(), 6, "at 0, 5, … 25 s");
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(told(), [""; 0]);
        heartbeat.during(tokio::time::sleep(Duration::from_millis(4900))).await;
        assert_eq!(told().len(), 1, "not one for each that was missed");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watchdog_there_are_none() {
        let (notifiers, told) = recorded(None);
        let mut heartbeat = notifiers.part("queue").heartbeat();
        heartbeat.during(tokio::time::sleep(Duration::from_secs(1000))).await;
        assert_eq!(told(), [""; 0]);
    }
}
