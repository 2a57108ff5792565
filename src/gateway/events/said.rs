//! What a service answers to `watch`, and how it is sent on to browsers.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocol::{Response, as_list, as_string, parse_object, write_object, write_string};

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// The revision after it.
    pub(super) revision: u64,
    /// As it is sent (the HTML standard, section 9.2).
    pub(super) text: Bytes,
    /// Of `parameters`: the module's uid, and the data.
    pub(super) parameters: Option<(Box<str>, Bytes)>,
    /// It is a whole state.
    pub(super) is_state: bool,
}

/// What was answered.
#[derive(Debug)]
pub(super) enum Said {
    /// The revision of the last of these, which are what came after that asked for; or else begin with a state.
    Events(u64, Vec<Event>),
    /// The service refuses, in its own words.
    Refused(String),
}

#[derive(Deserialize)]
struct Reply<'a> {
    revision: u64,
    #[serde(borrow)]
    events: Vec<One<'a>>,
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    revision: u64,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Reads an answer; `None` where it makes no sense.
pub(super) fn read(line: &[u8]) -> Option<Said> {
    let result = match Response::parse(line).ok()? {
        Response::Failure(error) => return Some(Said::Refused(error)),
        Response::Success(result) => result?,
    };
    let reply: Reply<'_> = serde_json::from_str(result.get()).ok()?;
    let events = reply.events.iter().map(event).collect::<Option<Vec<Event>>>()?;
    Some(Said::Events(reply.revision, events))
}

fn event(one: &One<'_>) -> Option<Event> {
    let One { event, revision, data } = one;
    if event.is_empty() || event.contains(char::is_control) {
        return None;
    }
    let (text, data) = render(event, *revision, data.get());
    let uid = || Some(as_string(parse_object(serde_json::from_slice(&data).ok()?)?.get("uid")?)?.into());
    let parameters = if event == "parameters" { uid() } else { None };
    Some(Event { revision: *revision, parameters: parameters.map(|uid| (uid, data.clone())), text, is_state: event == "state" })
}

/// The text of an event, and the part of it that is the data. Line breaks between the tokens of JSON become spaces.
fn render(event: &str, revision: u64, data: &str) -> (Bytes, Bytes) {
    let mut text = format!("id: {revision}\nevent: {event}\ndata: ").into_bytes();
    let start = text.len();
    text.extend(data.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    let end = text.len();
    text.extend_from_slice(b"\n\n");
    let text = Bytes::from(text);
    let data = text.slice(start..end);
    (text, data)
}

/// `events` as they are sent together: of the parameters of each module one event, in the place of the last.
pub(super) fn together<'a>(events: impl DoubleEndedIterator<Item = &'a Event> + Clone) -> Bytes {
    let mut by_uid: IndexMap<&str, Vec<&Event>> = IndexMap::new();
    for event in events.clone() {
        if let Some((uid, _)) = &event.parameters {
            by_uid.entry(uid).or_default().push(event);
        }
    }
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut done: HashSet<&str> = HashSet::new();
    for event in events.rev() {
        match &event.parameters {
            None => pieces.push(event.text.clone()),
            Some((uid, _)) if done.insert(uid) => match by_uid.get(&**uid).map(Vec::as_slice) {
                Some(all @ [_, _, ..]) => match merged(uid, all) {
                    Some(data) => pieces.push(render("parameters", event.revision, &data).0),
                    // They are as the service has said, one by one.
                    None => pieces.extend(all.iter().rev().map(|event| event.text.clone())),
                },
                _ => pieces.push(event.text.clone()),
            },
            Some(_) => {}
        }
    }
    match pieces.as_slice() {
        [one] => one.clone(),
        _ => pieces.into_iter().rev().flatten().collect(),
    }
}

/// The data of one event that does what these do, one after the other.
fn merged(uid: &str, events: &[&Event]) -> Option<String> {
    let mut values: IndexMap<String, Option<&RawValue>> = IndexMap::new();
    for event in events {
        let object = parse_object(serde_json::from_slice(&event.parameters.as_ref()?.1).ok()?)?;
        if let Some(set) = object.get("parameters") {
            values.extend(parse_object(set)?.iter().map(|(name, value)| (name.to_owned(), Some(value))));
        }
        for name in object.get("unset").and_then(as_list).unwrap_or_default() {
            values.insert(as_string(name)?.into_owned(), None);
        }
    }
    let mut out = b"{\"uid\": ".to_vec();
    write_string(uid, &mut out);
    out.extend_from_slice(b", \"parameters\": ");
    write_object(values.iter().filter_map(|(name, value)| Some((name.as_str(), (*value)?))), &mut out);
    let unset: Vec<&String> = values.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
    if !unset.is_empty() {
        out.extend_from_slice(format!(", \"unset\": {}", serde_json::json!(unset)).as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(list: &str) -> Vec<Event> {
        match read(format!("{{\"success\": true, \"result\": {{\"revision\": 9, \"events\": {list}}}}}").as_bytes()) {
            Some(Said::Events(9, events)) => events,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn as_they_are_sent() {
        let list = "[{\"event\": \"added\", \"revision\": 8, \"data\": {\"uid\":\r\"a\"}}, {\"event\":\"log\",\"revision\":9,\"data\":5}]";
        assert_eq!(
            together(events(list).iter()),
            "id: 8\nevent: added\ndata: {\"uid\": \"a\"}\n\nid: 9\nevent: log\ndata: 5\n\n"
        );
        let one = events("[{\"event\": \"state\", \"revision\": 8, \"data\": {}}]");
        assert!(one[0].is_state);
        assert_eq!(together(one.iter()).as_ptr(), one[0].text.as_ptr(), "not copied");
        assert!(together(std::iter::empty::<&Event>()).is_empty());
    }

    #[test]
    fn senseless() {
        for line in ["", "{}", "5", r#"{"success": true}"#, r#"{"success": true, "result": {"revision": 5}}"#] {
            assert!(read(line.as_bytes()).is_none(), "{line}");
        }
        let bad = r#"{"success": true, "result": {"revision": 1, "events": [{"event": "a\nb", "revision": 1, "data": 1}]}}"#;
        assert!(read(bad.as_bytes()).is_none());
        assert!(
            matches!(read(br#"{"success": false, "error": "Bad command."}"#), Some(Said::Refused(error)) if error == "Bad command.")
        );
    }

    #[test]
    fn parameters_of_one_module_are_one_event() {
        let list = events(
            r#"[{"event": "parameters", "revision": 1, "data": {"uid": "a", "parameters": {"x": 1e400, "y": 1}}},
                {"event": "parameters", "revision": 2, "data": {"uid": "b", "parameters": {"x": 5}}},
                {"event": "moved", "revision": 3, "data": {"uids": ["a"]}},
                {"event": "parameters", "revision": 4, "data": {"uid": "a", "parameters": {"y": 2}, "unset": ["z"]}},
                {"event": "parameters", "revision": 5, "data": {"uid": "a", "parameters": {"z": 3}, "unset": ["y"]}},
                {"event": "log", "revision": 6, "data": {"uid": "a", "line": ""}}]"#,
        );
        let text = String::from_utf8(together(list.iter()).into()).unwrap();
        let expected = [
            "id: 2\nevent: parameters\ndata: {\"uid\": \"b\", \"parameters\": {\"x\": 5}}",
            "id: 3\nevent: moved\ndata: {\"uids\": [\"a\"]}",
            "id: 5\nevent: parameters\ndata: {\"uid\": \"a\", \"parameters\": {\"x\": 1e400, \"z\": 3}, \"unset\": [\"y\"]}",
            "id: 6\nevent: log\ndata: {\"uid\": \"a\", \"line\": \"\"}",
            "",
        ];
        assert_eq!(text.split("\n\n").collect::<Vec<_>>(), expected);
    }
}
