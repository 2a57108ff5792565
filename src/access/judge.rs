//! What of a request's body a level allows.

use serde_json::value::RawValue;

use super::{Guard, Level};
use crate::protocol::{ProtocolError, Response, as_list, as_string, parse_object, replace_non_finite, shown};

/// What becomes of a body.
#[derive(Debug)]
pub enum Verdict {
    /// All of it is passed on as it came.
    Pass,
    /// It is one request, which is refused.
    Refused(Refusal),
    /// It is a list of requests, some of which are refused.
    Part(Part),
}

/// Why a request is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It takes more than the token allows.
    #[error("Command {} takes a token of the level {needed}, and this one has the level {given}.", shown(.command))]
    TooLow {
        /// What it asks for.
        command: String,
        /// What that takes.
        needed: Level,
        /// What the token allows.
        given: Level,
    },
    /// It is no request: answered as a queue or pool would, since what else a service may read in it is not known.
    #[error(transparent)]
    IllFormed(#[from] ProtocolError),
}

/// A list of requests, each refused or passed on.
#[derive(Debug)]
pub struct Part {
    /// The requests that are passed on, as a list; `None` where there are none.
    pub passed: Option<String>,
    /// For each request in order why it is refused, or `None`.
    refusals: Vec<Option<Refusal>>,
}

/// Judges `body`, which is JSON, by what a token of the level `given` may do at the endpoint of `guard`: each element of
/// a list by itself.
#[must_use]
pub fn judge(guard: &Guard, given: Level, body: &[u8]) -> Verdict {
    // Who may do everything may do so in whatever form the service understands.
    if given == Level::Remove {
        return Verdict::Pass;
    }
    let refused = |error| Verdict::Refused(Refusal::IllFormed(error));
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return refused(ProtocolError::NotJson(error.to_string())),
    };
    let mut rewritten = String::new();
    let value = match finite(text, &mut rewritten) {
        Ok(value) => value,
        Err(error) => return refused(ProtocolError::NotJson(error.to_string())),
    };
    if let Some(elements) = as_list(value) {
        let refusals: Vec<Option<Refusal>> = elements.iter().map(|element| refusal(guard, given, element)).collect();
        if refusals.iter().all(Option::is_none) {
            return Verdict::Pass;
        }
        let passed = elements.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none()).map(|(element, _)| element.get());
        let passed: Vec<&str> = passed.collect();
        let passed = (!passed.is_empty()).then(|| format!("[{}]", passed.join(", ")));
        return Verdict::Part(Part { passed, refusals });
    }
    if !value.get().starts_with('{') {
        return refused(ProtocolError::NeitherObjectNorList);
    }
    refusal(guard, given, value).map_or(Verdict::Pass, Verdict::Refused)
}

/// The value that `text` is, read anew from `rewritten` where it holds numbers that are Python's own.
fn finite<'a>(text: &'a str, rewritten: &'a mut String) -> Result<&'a RawValue, serde_json::Error> {
    let error = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    *rewritten = replace_non_finite(text).ok_or(error)?;
    serde_json::from_str(rewritten)
}

/// Why `request` is not passed on. Of a key that is there several times one service takes the first and another the last,
/// and some do not tell capitals: each that could be the command must be allowed.
fn refusal(guard: &Guard, given: Level, request: &RawValue) -> Option<Refusal> {
    let Some(object) = parse_object(request) else { return Some(ProtocolError::NotAnObject.into()) };
    if object.get("cmd").is_none() {
        return Some(ProtocolError::NoCommand.into());
    }
    object.iter().filter(|(key, _)| key.eq_ignore_ascii_case("cmd")).find_map(|(_, value)| {
        let name = as_string(value);
        let needed = guard.level_for(name.as_deref());
        let command = || name.map_or_else(|| value.get().to_owned(), Into::into);
        (needed > given).then(|| Refusal::TooLow { command: command(), needed, given })
    })
}

impl Part {
    /// The list of responses: those of the service, which is the list `answer`, and in their places the refusals. `None`
    /// where the service has not answered each request that it was passed.
    #[must_use]
    pub fn complete(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(answer).ok()?;
        let mut rewritten = String::new();
        let mut answers = as_list(finite(text, &mut rewritten).ok()?)?.into_iter();
        let mut out = vec![b'['];
        for refusal in &self.refusals {
            if out.len() > 1 {
                out.extend_from_slice(b", ");
            }
            match refusal {
                Some(refusal) => Response::Failure(refusal.to_string()).write(&mut out),
                None => out.extend_from_slice(answers.next()?.get().as_bytes()),
            }
        }
        out.push(b']');
        answers.next().is_none().then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guard() -> Guard {
        let commands = [("get", Level::View), ("set", Level::Control)].map(|(name, level)| (name.to_owned(), level));
        Guard { grants: Vec::new(), commands: commands.into() }
    }

    /// What becomes of `body`, as text.
    fn judged(given: Level, body: &str) -> String {
        match judge(&guard(), given, body.as_bytes()) {
            Verdict::Pass => "pass".to_owned(),
            Verdict::Refused(refusal) => refusal.to_string(),
            Verdict::Part(part) => {
                let places = part.refusals.iter().map(|refusal| if refusal.is_some() { '-' } else { '+' });
                format!("{} {}", places.collect::<String>(), part.passed.unwrap_or_default())
            }
        }
    }

    #[test]
    fn one_request() {
        assert_eq!(judged(Level::View, r#"{"cmd": "queue"}"#), "pass");
        assert_eq!(judged(Level::View, r#" {"\u0063md" : "queu\u0065", "args": {"cmd": "rm"}, "x": NaN} "#), "pass");
        assert_eq!(judged(Level::View, r#"{"cmd": "get"}"#), "pass");
        assert_eq!(judged(Level::Control, r#"{"cmd": "set"}"#), "pass");
        assert_eq!(
            judged(Level::View, r#"{"cmd": "add", "args": {"type": "x"}}"#),
            "Command \"add\" takes a token of the level add, and this one has the level view."
        );
        for (given, command) in [(Level::View, "set"), (Level::Add, "mv"), (Level::Control, "rm"), (Level::Control, "rm_all")] {
            assert!(judged(given, &format!(r#"{{"cmd": "{command}"}}"#)).starts_with(&format!("Command \"{command}\" takes")));
        }
        let long = judged(Level::View, &format!(r#"{{"cmd": "{}"}}"#, "x".repeat(10_000)));
        assert!(long.len() < 250, "{long}");
    }

    #[test]
    fn what_another_reader_may_take_for_the_command() {
        for body in [
            r#"{"cmd": "rm", "cmd": "queue"}"#,
            r#"{"cmd": "queue", "cmd": "rm"}"#,
            r#"{"cmd": "queue", "CMD": "rm"}"#,
            r#"{"Cmd": "rm", "cmd": "queue"}"#,
            r#"{"cmd": "queue", "\u0063md": "rm"}"#,
            r#"{"cmd": ["queue"]}"#,
            r#"{"cmd": null}"#,
            r#"{"cmd": "\ud800"}"#,
            r#"{"cmd": "queue\u0000"}"#,
        ] {
            assert!(judged(Level::Control, body).contains("takes a token of the level remove"), "{body}");
        }
        assert_eq!(judged(Level::View, r#"{"CMD": "queue"}"#), "No command given.");
    }

    #[test]
    fn what_is_no_request_is_passed_on_only_for_who_may_do_everything() {
        for (body, sentence) in [
            ("5", "Command must be either dict (single command) or list (multiple commands)"),
            ("\"{}\"", "Command must be either dict (single command) or list (multiple commands)"),
            ("{}", "No command given."),
            (r#"{"command": "queue"}"#, "No command given."),
            (r#"{"\ud800": 1, "cmd": "queue"}"#, "Command not a dict."),
        ] {
            assert_eq!(judged(Level::Control, body), sentence, "{body}");
            assert_eq!(judged(Level::Remove, body), "pass", "{body}");
        }
        assert!(judged(Level::View, "{").starts_with("Line is not JSON: "));
        assert!(matches!(judge(&guard(), Level::View, b"\xff"), Verdict::Refused(Refusal::IllFormed(ProtocolError::NotJson(_)))));
    }

    #[test]
    fn a_list() {
        assert_eq!(judged(Level::View, "[]"), "pass");
        assert_eq!(judged(Level::View, r#"[{"cmd": "queue"}, {"cmd":"bg"}]"#), "pass");
        assert_eq!(
            judged(Level::View, r#"[{"cmd": "queue"}, {"cmd": "rm"}, 5, {"cmd":"get","x":1e999}, [{"cmd": "queue"}]]"#),
            r#"+--+- [{"cmd": "queue"}, {"cmd":"get","x":1e999}]"#
        );
        assert_eq!(judged(Level::View, r#"[{"cmd": "rm"}, {}]"#), "-- ");
        assert_eq!(
            judged(Level::Control, r#"[{"cmd": "rm", "args": NaN}, {"cmd": "mv", "x": -Infinity}]"#),
            r#"-+ [{"cmd": "mv", "x": null}]"#
        );
        assert_eq!(judged(Level::Remove, r#"[{"cmd": "rm"}, 5]"#), "pass");
    }

    fn part(body: &str) -> Part {
        match judge(&guard(), Level::View, body.as_bytes()) {
            Verdict::Part(part) => part,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_come_to_their_places() {
        let part = part(r#"[{"cmd": "rm"}, {"cmd": "queue"}, {}, {"cmd": "bg"}]"#);
        let complete = |answer: &str| part.complete(answer.as_bytes()).map(|answer| String::from_utf8(answer).unwrap());
        let refused = r#"{"success": false, "error": "Command \"rm\" takes a token of the level remove, and this one has the level view."}"#;
        let ill = r#"{"success": false, "error": "No command given."}"#;
        assert_eq!(
            complete(r#" [{"success": true, "result": [1e400]},{"success":false}] "#).unwrap(),
            format!(r#"[{refused}, {{"success": true, "result": [1e400]}}, {ill}, {{"success":false}}]"#)
        );
        assert_eq!(complete("[NaN, 1]").unwrap(), format!("[{refused}, null, {ill}, 1]"));
        for answer in ["[1]", "[1, 2, 3]", "[]", "{\"success\": false}", "5", "["] {
            assert_eq!(complete(answer), None, "{answer}");
        }
    }

    #[test]
    fn where_nothing_is_passed_on() {
        let answer = part(r#"[{"cmd": "add"}, {"cmd": "mv"}]"#).complete(b"[]").unwrap();
        let answers: Vec<serde_json::Value> = serde_json::from_slice(&answer).unwrap();
        assert!(answers.len() == 2 && answers.iter().all(|answer| answer["success"] == false));
    }

    proptest! {
        /// In whatever list, each request is passed on if and only if it would be by itself, in its order, and as many answers
        /// come back as there are requests.
        #[test]
        fn each_by_itself(
            requests in prop::collection::vec(
                prop::sample::select(vec![
                    r#"{"cmd": "queue"}"#, r#"{"cmd":"add"}"#, r#"{"cmd": "mv", "args": {}}"#, r#"{"cmd": "rm"}"#, r#"{"cmd": "x"}"#,
                    "{}", "[]", "5", r#"{"cmd": "get"}"#, r#"{"cmd": "queue", "cmd": "rm"}"#,
                ]),
                0..8,
            ),
            given in prop::sample::select(Level::ALL.to_vec()),
        ) {
            let alone = |request: &&&str| matches!(judge(&guard(), given, format!("[{request}]").as_bytes()), Verdict::Pass);
            let expected: Vec<&str> = requests.iter().filter(alone).copied().collect();
            match judge(&guard(), given, format!("[{}]", requests.join(",")).as_bytes()) {
                Verdict::Pass => prop_assert_eq!(expected.len(), requests.len()),
                Verdict::Refused(refusal) => prop_assert!(false, "{refusal}"),
                Verdict::Part(part) => {
                    prop_assert!(expected.len() < requests.len());
                    let passed = part.passed.as_deref().unwrap_or("[]");
                    prop_assert_eq!(passed, format!("[{}]", expected.join(", ")));
                    let answer = part.complete(passed.as_bytes()).unwrap();
                    let answers: Vec<&RawValue> = serde_json::from_slice(&answer).unwrap();
                    prop_assert_eq!(answers.len(), requests.len());
                    for (request, answer) in requests.iter().zip(answers) {
                        let is_passed = alone(&request);
                        prop_assert_eq!(is_passed, answer.get() == *request);
                    }
                }
            }
        }
    }
}
