//! A table of commands, for a program's own service.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Handler, Reply};
use crate::protocol::{ProtocolError, Request, Response};
use crate::scope::BoxFuture;

type Command = Arc<dyn Fn(Map<String, Value>) -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

/// Commands by name.
///
/// ```
/// # use shmooze::service::Commands;
/// # use serde_json::json;
/// let commands = Commands::new().with("get_volume", |_args| async { Ok(json!({ "volume": 30 })) });
/// ```
#[derive(Clone, Default)]
pub struct Commands {
    by_name: HashMap<String, Command>,
}

impl Commands {
    /// An empty table: every command is a bad one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The table with one more command. It is given the arguments by name; its error is one sentence, which should name the
    /// command and the argument at fault.
    #[must_use]
    pub fn with<F, R>(mut self, name: &str, command: F) -> Self
    where
        F: Fn(Map<String, Value>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, String>> + Send + 'static,
    {
        self.by_name.insert(name.to_owned(), Arc::new(move |args| Box::pin(command(args))));
        self
    }
}

impl Handler for Commands {
    fn call<'a>(&'a self, request: Request<'a>) -> Reply<'a> {
        let Some(command) = request.cmd.as_deref().and_then(|name| self.by_name.get(name)) else {
            return Reply::Now(ProtocolError::BadCommand.into());
        };
        // An object was made sure of when the request was read.
        let args = request.raw_args.and_then(|args| serde_json::from_str(args.get()).ok()).unwrap_or_default();
        let answer = command(args);
        Reply::Later(Box::pin(async move {
            match answer.await {
                Ok(value) => Response::of(&value),
                Err(error) => Response::Failure(error),
            }
        }))
    }
}
