//! Requests (protocol.md section 2).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::ProtocolError;
use super::json::{Object, as_string, replace_non_finite, write_string};

/// One request, borrowed from its line.
#[derive(Debug)]
pub struct Request<'a> {
    /// The command's name; `None` where `cmd` is no string, which no command is called.
    pub cmd: Option<Cow<'a, str>>,
    /// The arguments by name.
    pub args: Object<'a>,
    /// The arguments as they came; `None` where there were none.
    pub raw_args: Option<&'a RawValue>,
}

/// What one line holds: one request or a list of them, each of which may be ill-formed by itself.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A single request.
    One(Result<Request<'a>, ProtocolError>),
    /// A list of requests, to be carried out in order and answered by a list.
    Many(Vec<Result<Request<'a>, ProtocolError>>),
}

impl Request<'_> {
    fn parse<'a>(object: &Object<'a>) -> Result<Request<'a>, ProtocolError> {
        let cmd = object.get("cmd").ok_or(ProtocolError::NoCommand)?;
        let raw_args = object.get("args");
        let args = match raw_args {
            None => Object::default(),
            Some(args) => serde_json::from_str(args.get()).map_err(|_| ProtocolError::ArgumentsNotAnObject)?,
        };
        Ok(Request { cmd: as_string(cmd), args, raw_args })
    }
}

impl<'a> Incoming<'a> {
    /// Reads a line. Where it holds Python's `NaN` or the like, it is rewritten into `rewritten`, from which the requests
    /// then borrow.
    ///
    /// # Errors
    /// [`ProtocolError::NotJson`] or [`ProtocolError::NeitherObjectNorList`]; the line's answer is then one failure.
    pub fn read(line: &'a [u8], rewritten: &'a mut String) -> Result<Self, ProtocolError> {
        let text = std::str::from_utf8(line).map_err(|error| ProtocolError::NotJson(error.to_string()))?;
        match Self::parse(text) {
            Err(error @ ProtocolError::NotJson(_)) => {
                *rewritten = replace_non_finite(text).ok_or(error)?;
                Self::parse(rewritten)
            }
            read => read,
        }
    }

    /// Reads a line that holds none of Python's own tokens.
    fn parse(text: &'a str) -> Result<Self, ProtocolError> {
        let not_json = |error: serde_json::Error| ProtocolError::NotJson(error.to_string());
        match text.trim_start().as_bytes().first() {
            Some(b'{') => Ok(Incoming::One(Request::parse(&serde_json::from_str(text).map_err(not_json)?))),
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
                Ok(Incoming::Many(elements.into_iter().map(parse_element).collect()))
            }
            _ => {
                serde_json::from_str::<&RawValue>(text).map_err(not_json)?;
                Err(ProtocolError::NeitherObjectNorList)
            }
        }
    }
}

fn parse_element(element: &RawValue) -> Result<Request<'_>, ProtocolError> {
    let object = serde_json::from_str(element.get()).map_err(|_| ProtocolError::NotAnObject)?;
    Request::parse(&object)
}

/// Appends the request `{"cmd": …, "args": …}`, without a newline; no `args` key where `args` is `None`.
pub fn write_request(cmd: &str, args: Option<&RawValue>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"cmd\": ");
    write_string(cmd, out);
    if let Some(args) = args {
        out.extend_from_slice(b", \"args\": ");
        out.extend_from_slice(args.get().as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> String {
        let show = |request: Result<Request<'_>, ProtocolError>| match request {
            Ok(request) => format!("{:?}({})", request.cmd, request.raw_args.map_or("", RawValue::get)),
            Err(error) => error.to_string(),
        };
        match Incoming::read(line.as_bytes(), &mut String::new()) {
            Ok(Incoming::One(request)) => show(request),
            Ok(Incoming::Many(requests)) => requests.into_iter().map(show).collect::<Vec<_>>().join(" | "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn one_request() {
        assert_eq!(read(r#"  {"cmd" : "queue" }  "#), "Some(\"queue\")()");
        assert_eq!(read(r#"{"cmd":"nope","cmd":"queue","extra":1}"#), "Some(\"queue\")()");
        assert_eq!(read(r#"{"cmd":"a","args":{"x":NaN}}"#), "Some(\"a\")({\"x\":null})");
        assert_eq!(read(r#"{"cmd":[1]}"#), "None()");
    }

    #[test]
    fn ill_formed_requests() {
        assert_eq!(read("{}"), "No command given.");
        for args in ["null", "[]", "5", "\"x\""] {
            assert_eq!(read(&format!("{{\"cmd\":\"queue\",\"args\":{args}}}")), "Argument list not a dict.");
        }
        for line in ["5", "\"x\"", "null", "true"] {
            assert_eq!(read(line), "Command must be either dict (single command) or list (multiple commands)");
        }
        for line in
            ["{", "hello", "{'cmd': 'queue'}", "{\"cmd\": \"queue\"} x", "{\"cmd\": \"\u{1}\"}", "\u{feff}{\"cmd\":\"queue\"}"]
        {
            assert!(read(line).starts_with("Line is not JSON: "), "{line}");
        }
        assert!(Incoming::read(b"{\"cmd\":\"\xff\"}", &mut String::new()).is_err());
    }

    #[test]
    fn a_list() {
        assert_eq!(read("[]"), "");
        assert_eq!(
            read(r#"[1,{"cmd":"a"},{},[]]"#),
            "Command not a dict. | Some(\"a\")() | No command given. | Command not a dict."
        );
    }

    #[test]
    fn writing() {
        let mut out = Vec::new();
        write_request("do_\u{e9}", RawValue::from_string("[1]".into()).ok().as_deref(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "{\"cmd\": \"do_é\", \"args\": [1]}");
    }
}
