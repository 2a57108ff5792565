//! The events of a list: what is said of one change (docs/page.md), as text, and what changed from one snapshot to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use super::history::seconds;
use super::{Item, Kind, Snapshot};
use crate::engine::Told;
use crate::protocol::{Uid, write_string};

/// One event as `watch` answers it.
pub(super) fn text(event: &str, revision: u64, data: &[u8]) -> String {
    format!("{{\"event\": \"{event}\", \"revision\": {revision}, \"data\": {}}}", String::from_utf8_lossy(data))
}

/// `state`: the whole list.
pub(super) fn state(service: &str, kind: Kind, revision: u64, snapshot: &Snapshot) -> Vec<u8> {
    let mut out = b"{\"service\": ".to_vec();
    write_string(service, &mut out);
    let name = kind.name();
    let playing = json!(snapshot.playing(kind));
    out.extend_from_slice(
        format!(", \"kind\": \"{name}\", \"revision\": {revision}, \"playing\": {playing}, \"{name}\": [").as_bytes(),
    );
    for (at, item) in snapshot.list().enumerate() {
        out.extend_from_slice(if at > 0 { b", " } else { b"" });
        module(item, "", &mut out);
    }
    out.extend_from_slice(b"], \"background\": ");
    match snapshot.background() {
        Some(item) => module(item, "", &mut out),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    out
}

/// A module with all of its parameters, and `more`, which begins with a comma.
fn module(item: &Item, more: &str, out: &mut Vec<u8>) {
    let (uid, added) = (item.module.uid(), seconds(item.module.added()));
    out.extend_from_slice(format!("{{\"uid\": \"{uid}\", \"type\": ").as_bytes());
    write_string(item.module.type_name(), out);
    let state = item.state();
    out.extend_from_slice(
        format!(", \"state\": \"{state}\", \"since\": {}, \"added\": {added}, \"parameters\": ", json!(seconds(item.since)))
            .as_bytes(),
    );
    item.module.parameters().write_all(out);
    out.extend_from_slice(more.as_bytes());
    out.push(b'}');
}

/// `parameters`, of which `set` is the text of an object.
pub(super) fn parameters(uid: Uid, set: &[u8], unset: &[Box<str>]) -> Vec<u8> {
    let mut out = format!("{{\"uid\": \"{uid}\", \"parameters\": ").into_bytes();
    out.extend_from_slice(set);
    if !unset.is_empty() {
        out.extend_from_slice(format!(", \"unset\": {}", json!(unset)).as_bytes());
    }
    out.push(b'}');
    out
}

/// `removed`, with the exit status as `history` has it once there is one.
pub(super) fn removed(uid: Uid, status: &serde_json::Value, reason: &str) -> Vec<u8> {
    format!("{{\"uid\": \"{uid}\", \"status\": {status}, \"reason\": \"{reason}\"}}").into_bytes()
}

/// `log`
pub(super) fn log(uid: Uid, line: &str) -> Vec<u8> {
    let mut out = format!("{{\"uid\": \"{uid}\", \"line\": ").into_bytes();
    write_string(line, &mut out);
    out.push(b'}');
    out
}

/// What makes `after` of `before`, in the order in which it is to be applied, and the modules that are off the list; `reason`
/// tells why.
pub(super) fn differences(
    before: &Snapshot,
    after: &Snapshot,
    reason: impl Fn(Uid) -> &'static str,
) -> (Vec<(&'static str, Vec<u8>)>, Vec<Uid>) {
    let (mut events, mut off) = (Vec::new(), Vec::new());
    let (before_list, after_list): (Vec<&Item>, Vec<&Item>) = (before.list().collect(), after.list().collect());
    let same = before_list.iter().zip(&after_list).take_while(|(old, new)| is_same(old, new)).count();
    let (old, new) = (&before_list[same..], &after_list[same..]);
    let there: HashSet<Uid> = new.iter().map(|item| item.module.uid()).collect();
    off.extend(old.iter().map(|item| item.module.uid()).filter(|uid| !there.contains(uid)));
    let background = |snapshot: &Snapshot| snapshot.background().map(|item| item.module.uid());
    off.extend(background(before).filter(|uid| background(after) != Some(*uid)));
    events.extend(off.iter().map(|uid| ("removed", removed(*uid, &serde_json::Value::Null, reason(*uid)))));

    let known: HashMap<Uid, usize> = old.iter().enumerate().map(|(at, item)| (item.module.uid(), at)).collect();
    let kept: Vec<(Uid, usize)> =
        new.iter().filter_map(|item| known.get(&item.module.uid()).map(|at| (item.module.uid(), *at))).collect();
    let moved = moved(&kept);
    if !moved.is_empty() {
        // They go to the front of the whole list, so those before them go there first.
        let first = after_list[..same].iter().map(|item| item.module.uid());
        let uids: Vec<Uid> = first.chain(moved.iter().map(|(uid, _)| *uid)).collect();
        events.push(("moved", format!("{{\"uids\": {}}}", json!(uids)).into_bytes()));
    }
    let mut told = Vec::new();
    for (at, item) in new.iter().enumerate() {
        match known.get(&item.module.uid()).map(|at| old[*at]).filter(|old| is_same(old, item)) {
            Some(old) => told.extend((old.told != item.told).then_some(*item)),
            // One that was there and is down now, or up again, takes its own place.
            None => {
                let mut data = Vec::new();
                let is_last = at + 1 == new.len();
                let index = if is_last { String::new() } else { format!(", \"index\": {}", same + at) };
                module(item, &index, &mut data);
                events.push(("added", data));
            }
        }
    }
    // The same module may have been told something else, before all of these.
    told.extend(before_list[..same].iter().zip(&after_list).filter(|(old, new)| old.told != new.told).map(|(_, new)| *new));
    if let Some(item) = after.background() {
        match before.background().filter(|old| is_same(old, item)) {
            Some(old) => told.extend((old.told != item.told).then_some(item)),
            None => {
                let mut data = Vec::new();
                module(item, ", \"background\": true", &mut data);
                events.push(("added", data));
            }
        }
    }
    for (event, which) in [("suspended", Told::Suspend), ("playing", Told::Play)] {
        let such = told.iter().filter(|item| item.told == which);
        events.extend(such.map(|item| (event, change(item))));
    }
    (events, off)
}

fn change(item: &Item) -> Vec<u8> {
    format!("{{\"uid\": \"{}\", \"since\": {}}}", item.module.uid(), json!(seconds(item.since))).into_bytes()
}

/// Whether it is the same process of the same module, as far as clients are told.
fn is_same(one: &Item, other: &Item) -> bool {
    Arc::ptr_eq(&one.module, &other.module) && one.down == other.down
}

/// The fewest that, brought to the front in this order, make the order of `places` of that which counts up.
fn moved<T>(places: &[(T, usize)]) -> &[(T, usize)] {
    let sorted = places.windows(2).rev().take_while(|pair| pair[0].1 < pair[1].1).count();
    &places[..places.len().saturating_sub(sorted + 1)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn few_are_moved(wanted in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle(), length in 0..8usize) {
            let places: Vec<((), usize)> = wanted.iter().filter(|at| **at < length).map(|at| ((), *at)).collect();
            let moved: Vec<usize> = moved(&places).iter().map(|(_, at)| *at).collect();
            // As `mv` does.
            let rest = (0..length).filter(|at| !moved.contains(at));
            let made: Vec<usize> = moved.iter().copied().chain(rest).collect();
            prop_assert_eq!(made, places.iter().map(|(_, at)| *at).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nothing_is_moved_without_need() {
        assert!(moved::<()>(&[]).is_empty());
        assert!(moved(&[((), 0), ((), 1), ((), 5)]).is_empty());
        assert_eq!(moved(&[((), 2), ((), 0), ((), 1)]), [((), 2)]);
    }
}
