//! What a module says on its update stream (protocol.md section 5).

use std::borrow::Cow;

use super::json::{Object, as_list, as_string, parse_object};
use super::{ProtocolError, Request};

/// One update.
#[derive(Debug)]
pub enum Update<'a> {
    /// `set_parameters`: merge these.
    Set(Object<'a>),
    /// `unset_parameters`: remove these; unknown names are ignored.
    Unset(Vec<Cow<'a, str>>),
    /// `rm`: the module ends on its own.
    Remove,
}

impl<'a> Update<'a> {
    /// Reads an update from a request.
    ///
    /// # Errors
    /// [`ProtocolError::BadCommand`] for anything else, or a sentence that names the argument at fault.
    pub fn parse(request: &Request<'a>) -> Result<Self, ProtocolError> {
        let command = match request.cmd.as_deref() {
            Some("set_parameters") => "set_parameters",
            Some("unset_parameters") => "unset_parameters",
            Some("rm") => "rm",
            _ => return Err(ProtocolError::BadCommand),
        };
        let takes = |name: &str| command != "rm" && name == "parameters";
        if let Some((argument, _)) = request.args.iter().find(|(name, _)| !takes(name)) {
            return Err(ProtocolError::UnknownArgument { command, argument: argument.to_owned() });
        }
        if command == "rm" {
            return Ok(Self::Remove);
        }
        let argument = "parameters";
        let parameters = request.args.get(argument).ok_or(ProtocolError::MissingArgument { command, argument })?;
        let ill_typed = |expected| ProtocolError::ArgumentType { command, argument, expected };
        if command == "set_parameters" {
            parse_object(parameters).map(Self::Set).ok_or(ill_typed("an object"))
        } else {
            let names = as_list(parameters).ok_or(ill_typed("a list of names"))?;
            Ok(Self::Unset(names.into_iter().filter_map(as_string).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Incoming;

    fn read(line: &str) -> String {
        match Incoming::read(line.as_bytes(), &mut String::new()) {
            Ok(Incoming::One(Ok(request))) => match Update::parse(&request) {
                Ok(Update::Set(object)) => {
                    format!("set {}", object.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","))
                }
                Ok(Update::Unset(names)) => format!("unset {}", names.join(",")),
                Ok(Update::Remove) => "rm".into(),
                Err(error) => error.to_string(),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn updates() {
        assert_eq!(read(r#"{"cmd":"set_parameters","args":{"parameters":{"a":1,"b":[1, null]}}}"#), "set a=1,b=[1, null]");
        assert_eq!(read(r#"{"cmd":"unset_parameters","args":{"parameters":["a",5,"b"]}}"#), "unset a,b");
        assert_eq!(read(r#"{"cmd":"rm"}"#), "rm");
        assert_eq!(read(r#"{"cmd":"rm","args":{}}"#), "rm");
    }

    #[test]
    fn refusals() {
        assert_eq!(read(r#"{"cmd":"play"}"#), "Bad command.");
        assert_eq!(read(r#"{"cmd":[1]}"#), "Bad command.");
        assert_eq!(read(r#"{"cmd":"rm","args":{"x":1}}"#), "rm: unknown argument \"x\".");
        assert_eq!(read(r#"{"cmd":"set_parameters"}"#), "set_parameters: argument \"parameters\" is missing.");
        assert_eq!(
            read(r#"{"cmd":"set_parameters","args":{"parameters":[]}}"#),
            "set_parameters: argument \"parameters\" must be an object."
        );
        assert_eq!(
            read(r#"{"cmd":"set_parameters","args":{"parameters":{"a":1},"more":2}}"#),
            "set_parameters: unknown argument \"more\"."
        );
    }
}
