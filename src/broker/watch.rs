//! The command `watch`: an answer when there is something newer, with the changes since or, where those are not known, with
//! the whole list.
//!
//! ```text
//!   {"cmd": "watch"}                                            ─▶ at once: one event `state`
//!   {"cmd": "watch", "args": {"revision": N, "timeout": MS}}    ─▶ what came after N; nothing after MS
//! ```

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::board::{Board, News};
use super::{Kind, events, into_raw};
use crate::protocol::Response;

/// The longest that somebody may wait, in ms; who wants to wait longer asks again.
pub(super) const LONGEST: u64 = 60_000;

/// Waits for up to `patience` until there is something newer than `revision`.
pub(super) async fn watch(board: &Board, service: &str, kind: Kind, revision: Option<u64>, patience: u64) -> Response {
    let deadline = Instant::now() + Duration::from_millis(patience.min(LONGEST));
    let mut watcher = board.watcher();
    loop {
        let due = match watcher.news(revision) {
            News::State(revision, snapshot) => {
                let data = events::state(service, kind, revision, &snapshot);
                return answer(revision, &[events::text("state", revision, &data)]);
            }
            News::Changes(last, changes) => return answer(last, &changes),
            News::Nothing(due) => due,
        };
        if Instant::now() >= deadline {
            return answer::<&str>(revision.unwrap_or_default(), &[]);
        }
        let next = due.map_or(deadline, |due| due.min(deadline));
        tokio::select! {
            () = watcher.changed() => {}
            () = sleep_until(next) => {}
        }
    }
}

fn answer<T: AsRef<str>>(revision: u64, events: &[T]) -> Response {
    let length = events.iter().map(|event| event.as_ref().len() + 2).sum::<usize>();
    let mut out = format!("{{\"revision\": {revision}, \"events\": [").into_bytes();
    out.reserve(length + 2);
    for (at, event) in events.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b", " } else { b"" });
        out.extend_from_slice(event.as_ref().as_bytes());
    }
    out.extend_from_slice(b"]}");
    Response::result(into_raw(out))
}
