//! The sentences in which a service refuses (protocol.md section 2).

/// Most characters shown of what a client sent.
const MAX_SHOWN: usize = 60;

/// `text`, which a client sent, as a sentence shows it: between quotation marks, on one line, and not all of it.
pub(crate) fn shown(text: &str) -> String {
    let is_long = text.chars().nth(MAX_SHOWN).is_some();
    format!("{:?}", text.chars().take(MAX_SHOWN).chain(is_long.then_some('…')).collect::<String>())
}

/// Why a request was not carried out; its text is the `error` of the response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The line is not UTF-8 or not JSON.
    #[error("Line is not JSON: {0}.")]
    NotJson(String),
    /// The line grew over the limit, in bytes.
    #[error("Line is longer than {0} bytes.")]
    LineTooLong(usize),
    /// Others have so many bytes of lines received that there is no room for this one.
    #[error("No room for so long a line: {0} bytes of lines are being received.")]
    NoRoomForLine(usize),
    /// The line came slowly while others waited for room.
    #[error("Line is longer than {longest} bytes and took longer than {seconds} s while others waited for room.")]
    LineTooSlow {
        /// What takes no room, in bytes.
        longest: usize,
        /// How long it may take.
        seconds: u64,
    },
    /// Others leave so many bytes of answers unread that there is no room for this one. What was asked for is done.
    #[error("No room for so long an answer: {0} bytes of answers wait to be read.")]
    NoRoomForAnswer(usize),
    /// There are as many clients as there may be.
    #[error("Too many connections: max_connections is {0}.")]
    TooManyConnections(usize),
    /// The list of a queue is as long as it may be.
    #[error("Queue is full: max_length is {0}.")]
    QueueFull(usize),
    /// A queue or pool has as many modules as it may have.
    #[error("Service is full: max_modules is {0}.")]
    ServiceFull(usize),
    /// The line is neither an object nor a list.
    #[error("Command must be either dict (single command) or list (multiple commands)")]
    NeitherObjectNorList,
    /// An element of a list of requests is no object.
    #[error("Command not a dict.")]
    NotAnObject,
    /// There is no `cmd`.
    #[error("No command given.")]
    NoCommand,
    /// `args` is no object.
    #[error("Argument list not a dict.")]
    ArgumentsNotAnObject,
    /// `cmd` names no command of this service.
    #[error("Bad command.")]
    BadCommand,
    /// A required argument is missing.
    #[error("{command}: argument \"{argument}\" is missing.")]
    MissingArgument {
        /// The command that was called.
        command: &'static str,
        /// The argument that it lacks.
        argument: &'static str,
    },
    /// An argument that the command does not take.
    #[error("{command}: unknown argument {}.", shown(.argument))]
    UnknownArgument {
        /// The command that was called.
        command: &'static str,
        /// The argument that it does not know.
        argument: String,
    },
    /// An argument of another JSON type than the command takes.
    #[error("{command}: argument \"{argument}\" must be {expected}.")]
    ArgumentType {
        /// The command that was called.
        command: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// What it must be, with its article.
        expected: &'static str,
    },
    /// No module type of that name.
    #[error("Unrecognized module name")]
    UnknownType,
    /// No module with that uid in the queue, or asked of a pool.
    #[error("Module identifier not in queue")]
    NotInQueue,
    /// No module with that uid in the pool, told something.
    #[error("Module identifier not in pool")]
    NotInPool,
    /// The queue has no background.
    #[error("No background")]
    NoBackground,
    /// The uid is not that of the background.
    #[error("Background identifier doesn't match current background")]
    NotTheBackground,
    /// The module did not open both its streams in time.
    #[error("Could not connect to spawned module")]
    NotConnected,
    /// The module did not answer in time.
    #[error("Timeout sending message to module")]
    Timeout,
    /// A stream of the module broke.
    #[error("Pipe to module unexpectedly closed")]
    Closed,
    /// What the module answered is no response.
    #[error("Malformed response")]
    Malformed,
    /// The module's own words, or ours about its program.
    #[error("{0}")]
    Said(String),
    /// The service is ending and takes no more changes.
    #[error("Service is shutting down")]
    ShuttingDown,
}
