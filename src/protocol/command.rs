//! The commands of queues and pools, read from requests (protocol.md sections 3 and 4).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json::{Object, Raw, as_list, as_string, parse_object, whole_number};
use super::{ProtocolError, Request, Uid};

/// Names of commands, as they stand on the wire and in the command log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `modules_available`
    ModulesAvailable,
    /// `backgrounds_available`
    BackgroundsAvailable,
    /// `types`
    Types,
    /// `queue`
    Queue,
    /// `pool`
    Pool,
    /// `bg`
    Background,
    /// `add`
    Add,
    /// `set_bg`
    SetBackground,
    /// `rm`
    Remove,
    /// `mv`
    Move,
    /// `tell_module`
    TellModule,
    /// `ask_module`
    AskModule,
    /// `tell_background`
    TellBackground,
    /// `ask_background`
    AskBackground,
    /// `history`
    History,
    /// `status`
    Status,
    /// `watch`
    Watch,
    /// `metrics`
    Metrics,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::ModulesAvailable,
        Self::BackgroundsAvailable,
        Self::Types,
        Self::Queue,
        Self::Pool,
        Self::Background,
        Self::Add,
        Self::SetBackground,
        Self::Remove,
        Self::Move,
        Self::TellModule,
        Self::AskModule,
        Self::TellBackground,
        Self::AskBackground,
        Self::History,
        Self::Status,
        Self::Watch,
        Self::Metrics,
    ];

    /// The verb called `name` on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModulesAvailable => "modules_available",
            Self::BackgroundsAvailable => "backgrounds_available",
            Self::Types => "types",
            Self::Queue => "queue",
            Self::Pool => "pool",
            Self::Background => "bg",
            Self::Add => "add",
            Self::SetBackground => "set_bg",
            Self::Remove => "rm",
            Self::Move => "mv",
            Self::TellModule => "tell_module",
            Self::AskModule => "ask_module",
            Self::TellBackground => "tell_background",
            Self::AskBackground => "ask_background",
            Self::History => "history",
            Self::Status => "status",
            Self::Watch => "watch",
            Self::Metrics => "metrics",
        }
    }

    /// Whether queues have it.
    #[must_use]
    pub const fn is_of_queues(self) -> bool {
        !matches!(self, Self::Pool)
    }

    /// Whether pools have it.
    #[must_use]
    pub const fn is_of_pools(self) -> bool {
        match self {
            Self::ModulesAvailable
            | Self::Types
            | Self::Pool
            | Self::Add
            | Self::Remove
            | Self::TellModule
            | Self::AskModule
            | Self::History
            | Self::Status
            | Self::Watch
            | Self::Metrics => true,
            Self::Queue
            | Self::Background
            | Self::BackgroundsAvailable
            | Self::SetBackground
            | Self::Move
            | Self::TellBackground
            | Self::AskBackground => false,
        }
    }

    /// Whether the command log keeps it (protocol.md section 9).
    #[must_use]
    pub const fn is_recorded(self) -> bool {
        matches!(self, Self::Add | Self::SetBackground | Self::Remove | Self::Move | Self::TellModule | Self::TellBackground)
    }

    /// The names of the arguments that it takes.
    #[must_use]
    pub const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::ModulesAvailable | Self::BackgroundsAvailable | Self::Types | Self::Status | Self::Metrics => &[],
            Self::Queue | Self::Pool | Self::Background => &["parameters"],
            Self::Add | Self::SetBackground => &["type", "args"],
            Self::Remove | Self::Move => &["uids"],
            Self::TellModule | Self::TellBackground => &["uid", "cmd", "args"],
            Self::AskModule | Self::AskBackground => &["uid", "parameters"],
            Self::History => &["limit"],
            Self::Watch => &["revision", "timeout"],
        }
    }
}

/// Whom `tell_…` and `ask_…` speak to. A uid that cannot be one of ours is `None`: it is in no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A module of the list.
    Module(Option<Uid>),
    /// The queue's background.
    Background(Option<Uid>),
}

/// Which parameters a list shall show: the names by module type.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    by_type: Object<'a>,
}

impl Wanted<'_> {
    /// Whether no type is named, so that nothing but uid and type is shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_type.is_empty()
    }

    /// The names asked for of modules of `type_name`; `None` where the type is not named.
    #[must_use]
    pub fn names(&self, type_name: &str) -> Option<Vec<Cow<'_, str>>> {
        self.by_type.get(type_name).map(|names| as_list(names).unwrap_or_default().into_iter().filter_map(as_string).collect())
    }
}

/// A command with its arguments.
#[derive(Debug)]
pub enum Command<'a> {
    /// List the types that `add` takes.
    ModulesAvailable,
    /// List the types that `set_bg` takes.
    BackgroundsAvailable,
    /// Describe the types of both.
    Types,
    /// List the modules of the queue or pool.
    List(Wanted<'a>),
    /// Show the background.
    Background(Wanted<'a>),
    /// Append a module.
    Add {
        /// The type's name; `None` where it is no string, which no type is called.
        type_name: Option<Cow<'a, str>>,
        /// What `init` is sent; `None` where they were null.
        args: Option<Raw>,
    },
    /// Set the background.
    SetBackground {
        /// As for [`Command::Add`].
        type_name: Option<Cow<'a, str>>,
        /// As for [`Command::Add`].
        args: Option<Raw>,
    },
    /// Remove modules; what is no uid of ours is left out.
    Remove(Vec<Uid>),
    /// Put modules first, in this order; what is no uid of ours is left out.
    Move(Vec<Uid>),
    /// Send `do_<cmd>` to a module.
    Tell {
        /// The module.
        target: Target,
        /// The name without `do_`.
        cmd: String,
        /// Its arguments; `None` where they were null.
        args: Option<Raw>,
    },
    /// Show cached parameters of a module.
    Ask {
        /// The module.
        target: Target,
        /// Names of parameters.
        parameters: Vec<Cow<'a, str>>,
    },
    /// Show how the last modules ended, at most this many of them.
    History(Option<usize>),
    /// Show what the service does, and what each module uses.
    Status,
    /// Tell what has changed.
    Watch {
        /// Since when; `None` for everything as it is.
        revision: Option<u64>,
        /// How long to wait for it, in ms.
        timeout: u64,
    },
    /// Tell what is counted.
    Metrics,
}

impl<'a> Command<'a> {
    /// Reads the arguments of `verb` from `request`.
    ///
    /// # Errors
    /// A sentence that names the command and the argument that is missing, unknown or of the wrong type.
    pub fn parse(verb: Verb, request: &Request<'a>) -> Result<Self, ProtocolError> {
        let command = verb.name();
        let args = &request.args;
        if let Some((argument, _)) = args.iter().find(|(name, _)| !verb.arguments().contains(name)) {
            return Err(ProtocolError::UnknownArgument { command, argument: argument.to_owned() });
        }
        let required = |argument| args.get(argument).ok_or(ProtocolError::MissingArgument { command, argument });
        let ill_typed = |argument, expected| ProtocolError::ArgumentType { command, argument, expected };
        let wanted = || wanted(args).ok_or(ill_typed("parameters", "an object of lists of names"));
        let whole = |argument| match args.get(argument) {
            None => Ok(None),
            Some(number) => {
                let whole = serde_json::from_str(number.get()).ok().and_then(|number| whole_number(&number));
                whole.map(Some).ok_or(ill_typed(argument, "a whole number that is not negative"))
            }
        };
        let uid = || required("uid").map(|uid| as_string(uid).and_then(|uid| uid.parse().ok()));
        Ok(match verb {
            Verb::ModulesAvailable => Self::ModulesAvailable,
            Verb::BackgroundsAvailable => Self::BackgroundsAvailable,
            Verb::Types => Self::Types,
            Verb::Status => Self::Status,
            Verb::Metrics => Self::Metrics,
            Verb::Queue | Verb::Pool => Self::List(wanted()?),
            Verb::Background => Self::Background(wanted()?),
            Verb::Add => Self::Add { type_name: as_string(required("type")?), args: module_args(args) },
            Verb::SetBackground => Self::SetBackground { type_name: as_string(required("type")?), args: module_args(args) },
            Verb::Remove | Verb::Move => {
                let list = as_list(required("uids")?).ok_or(ill_typed("uids", "a list"))?;
                let uids = list.into_iter().filter_map(|uid| as_string(uid)?.parse().ok()).collect();
                if verb == Verb::Remove { Self::Remove(uids) } else { Self::Move(uids) }
            }
            Verb::TellModule | Verb::TellBackground => {
                let target = target(verb, uid()?);
                let cmd = as_string(required("cmd")?).ok_or(ill_typed("cmd", "a string"))?.into_owned();
                Self::Tell { target, cmd, args: module_args(args) }
            }
            Verb::AskModule | Verb::AskBackground => {
                let target = target(verb, uid()?);
                let list = as_list(required("parameters")?).ok_or(ill_typed("parameters", "a list of names"))?;
                Self::Ask { target, parameters: list.into_iter().filter_map(as_string).collect() }
            }
            Verb::History => Self::History(whole("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))),
            Verb::Watch => Self::Watch { revision: whole("revision")?, timeout: whole("timeout")?.unwrap_or_default() },
        })
    }
}

fn target(verb: Verb, uid: Option<Uid>) -> Target {
    match verb {
        Verb::TellBackground | Verb::AskBackground => Target::Background(uid),
        _ => Target::Module(uid),
    }
}

/// What is passed on to a module: exactly what was given, `{}` where nothing was, nothing where it was null
/// (protocol.md section 5).
fn module_args(args: &Object<'_>) -> Option<Raw> {
    match args.get("args") {
        None => RawValue::from_string("{}".to_owned()).ok(),
        Some(args) if args.get() == "null" => None,
        Some(args) => Some(args.to_owned()),
    }
}

fn wanted<'a>(args: &Object<'a>) -> Option<Wanted<'a>> {
    let by_type = match args.get("parameters") {
        None => Object::default(),
        Some(parameters) => parse_object(parameters)?,
    };
    let well_typed = by_type.iter().all(|(_, names)| as_list(names).is_some());
    well_typed.then_some(Wanted { by_type })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Incoming;

    fn read(line: &str) -> String {
        match Incoming::read(line.as_bytes(), &mut String::new()) {
            Ok(Incoming::One(Ok(request))) => {
                let verb = Verb::from_name(request.cmd.as_deref().unwrap()).unwrap();
                assert_eq!(Verb::from_name(verb.name()), Some(verb));
                Command::parse(verb, &request).map_or_else(|e| e.to_string(), |command| format!("{command:?}"))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments_at_fault_are_named() {
        assert_eq!(read(r#"{"cmd":"add"}"#), "add: argument \"type\" is missing.");
        assert_eq!(read(r#"{"cmd":"add","args":{"type":"x","foo":1}}"#), "add: unknown argument \"foo\".");
        assert_eq!(read(r#"{"cmd":"rm","args":{"uids":5}}"#), "rm: argument \"uids\" must be a list.");
        assert_eq!(
            read(r#"{"cmd":"queue","args":{"parameters":{"a":5}}}"#),
            "queue: argument \"parameters\" must be an object of lists of names."
        );
        assert_eq!(
            read(r#"{"cmd":"tell_module","args":{"uid":"x","cmd":5}}"#),
            "tell_module: argument \"cmd\" must be a string."
        );
        assert_eq!(read(r#"{"cmd":"modules_available","args":{"x":null}}"#), "modules_available: unknown argument \"x\".");
    }

    #[test]
    fn whole_numbers_are_those_of_json_schema() {
        for (number, read_as) in [("5", "5"), ("5.0", "5"), ("5e2", "500"), ("18446744073709551615", "18446744073709551615")] {
            let command = read(&format!(r#"{{"cmd":"watch","args":{{"revision":{number}}}}}"#));
            assert_eq!(command, format!("Watch {{ revision: Some({read_as}), timeout: 0 }}"));
        }
        for other in ["-1", "0.5", "18446744073709551616", "\"5\"", "null", "[5]"] {
            let sentence = read(&format!(r#"{{"cmd":"history","args":{{"limit":{other}}}}}"#));
            assert_eq!(sentence, "history: argument \"limit\" must be a whole number that is not negative.", "{other}");
        }
    }

    #[test]
    fn an_argument_that_is_shown_stays_on_its_line() {
        let shown = read(r#"{"cmd":"add","args":{"a\n\u0000\u001b[2J\"":1}}"#);
        assert_eq!(shown, "add: unknown argument \"a\\n\\0\\u{1b}[2J\\\"\".");
        let long = read(&format!(r#"{{"cmd":"add","args":{{"{}":1}}}}"#, "k".repeat(1 << 20)));
        assert_eq!(long, format!("add: unknown argument \"{}…\".", "k".repeat(60)));
    }

    #[test]
    fn what_a_module_is_sent() {
        assert!(read(r#"{"cmd":"add","args":{"type":"x"}}"#).contains("args: Some(RawValue({}))"));
        assert!(read(r#"{"cmd":"add","args":{"type":"x","args":null}}"#).contains("args: None"));
        assert!(read(r#"{"cmd":"add","args":{"type":"x","args":[1, 2]}}"#).contains("args: Some(RawValue([1, 2]))"));
    }

    #[test]
    fn what_is_no_uid_is_in_no_list() {
        let uid = Uid::new();
        assert_eq!(
            read(&format!(r#"{{"cmd":"rm","args":{{"uids":["x",5,null,["{uid}"],"{uid}"]}}}}"#)),
            format!("Remove([{uid}])")
        );
        assert!(
            read(r#"{"cmd":"ask_module","args":{"uid":5,"parameters":[1,"a"]}}"#).contains("Module(None), parameters: [\"a\"]")
        );
    }
}
