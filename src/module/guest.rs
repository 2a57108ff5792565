//! The module's side of its two streams, for modules written in Rust (protocol.md section 5).
//!
//! Blocking and without a runtime: a module has one thread that obeys, and whatever threads it plays with.
//!
//! ```no_run
//! use serde_json::{Value, json};
//! use shmooze::module::guest::{Module, Parent, run};
//!
//! struct Light { parent: Parent }
//!
//! impl Module for Light {
//!     fn init(parent: Parent, _args: Value) -> Result<Self, String> {
//!         Ok(Self { parent })
//!     }
//!     fn play(&mut self) -> Result<(), String> {
//!         self.parent.set_parameters(&json!({ "lit": true })).map_err(|error| error.to_string())
//!     }
//!     fn suspend(&mut self) -> Result<(), String> {
//!         self.parent.set_parameters(&json!({ "lit": false })).map_err(|error| error.to_string())
//!     }
//!     fn command(&mut self, name: &str, args: Value) -> Result<Value, String> {
//!         match name {
//!             "echo" => Ok(args),
//!             _ => Err("Unrecognized command".to_owned()),
//!         }
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     run::<Light>(std::env::args())
//! }
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::protocol::Response;

/// What a module does when it is told to.
pub trait Module: Sized {
    /// Begins. `args` are those given to `add`: `{}` where there were none, null where they were null.
    ///
    /// # Errors
    /// One sentence for whoever added it; the module is then not added.
    fn init(parent: Parent, args: Value) -> Result<Self, String>;

    /// Plays from here on.
    ///
    /// # Errors
    /// One sentence; the module is then removed.
    fn play(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Stops playing until told to play.
    ///
    /// # Errors
    /// One sentence; the module is then removed.
    fn suspend(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Carries out `do_<name>`.
    ///
    /// # Errors
    /// One sentence for whoever asked.
    fn command(&mut self, name: &str, args: Value) -> Result<Value, String> {
        let _ = (name, args);
        Err("Unrecognized command".to_owned())
    }

    /// Is removed; the program ends after this.
    fn rm(&mut self) {}
}

/// Where a module announces its parameters. Clones may be used from any thread.
#[derive(Debug, Clone)]
pub struct Parent {
    updates: Arc<Mutex<TcpStream>>,
}

impl Parent {
    /// Merges these parameters into what clients see.
    ///
    /// # Errors
    /// Where the broker is gone, which also ends [`run`].
    pub fn set_parameters<T: Serialize>(&self, parameters: &T) -> io::Result<()> {
        self.send(&json!({ "cmd": "set_parameters", "args": { "parameters": parameters } }))
    }

    /// Removes parameters.
    ///
    /// # Errors
    /// As [`Parent::set_parameters`].
    pub fn unset_parameters(&self, names: &[&str]) -> io::Result<()> {
        self.send(&json!({ "cmd": "unset_parameters", "args": { "parameters": names } }))
    }

    /// Says that the module ends on its own; [`run`] then returns.
    ///
    /// # Errors
    /// As [`Parent::set_parameters`].
    pub fn rm(&self) -> io::Result<()> {
        self.send(&json!({ "cmd": "rm" }))
    }

    fn send(&self, update: &Value) -> io::Result<()> {
        let mut line = update.to_string();
        line.push('\n');
        self.updates.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }
}

#[derive(Deserialize)]
struct Command {
    cmd: String,
    args: Option<Value>,
}

/// Connects as the last three of `arguments` say (`HOST COMMAND_PORT UPDATE_PORT`) and obeys until the module is removed
/// or the broker is gone.
///
/// # Errors
/// Where the arguments are not those of a module, or the broker cannot be reached.
pub fn run<M: Module>(arguments: impl Iterator<Item = String>) -> io::Result<()> {
    let arguments: Vec<String> = arguments.collect();
    let [.., host, command_port, update_port] = &arguments[..] else {
        return Err(io::Error::other("usage: HOST COMMAND_PORT UPDATE_PORT; a queue or pool starts this program"));
    };
    let connect = |port: &str| {
        let number: u16 = port.parse().map_err(|_| io::Error::other(format!("{port:?} is no port")))?;
        let stream = TcpStream::connect((host.as_str(), number))?;
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>(stream)
    };
    let (commands, updates) = (connect(command_port)?, connect(update_port)?);
    let answers = updates.try_clone()?;
    std::thread::spawn(move || complain(answers));
    obey::<M>(commands, &Parent { updates: Arc::new(Mutex::new(updates)) })
}

/// Reads the answers to updates, so that a refused one is at least seen in the log.
fn complain(answers: TcpStream) {
    for line in BufReader::new(answers).lines().map_while(Result::ok) {
        if let Ok(Response::Failure(error)) = Response::parse(line.as_bytes()) {
            eprintln!("an update was refused: {error}");
        }
    }
}

fn obey<M: Module>(commands: TcpStream, parent: &Parent) -> io::Result<()> {
    let mut answers = commands.try_clone()?;
    let mut module: Option<M> = None;
    for line in BufReader::new(commands).lines() {
        let command: Command = serde_json::from_str(&line?).map_err(io::Error::other)?;
        let result = match (command.cmd.as_str(), &mut module) {
            ("init", None) => M::init(parent.clone(), command.args.unwrap_or_default()).map(|new| {
                module = Some(new);
                Value::Null
            }),
            ("play", Some(module)) => module.play().map(|()| Value::Null),
            ("suspend", Some(module)) => module.suspend().map(|()| Value::Null),
            ("rm", Some(module)) => {
                module.rm();
                Ok(Value::Null)
            }
            (name, Some(module)) if name.starts_with("do_") => {
                module.command(&name["do_".len()..], command.args.unwrap_or_else(|| Map::new().into()))
            }
            _ => Err("Unrecognized command".to_owned()),
        };
        let response = match result {
            Ok(value) => Response::of(&value),
            Err(error) => Response::Failure(error),
        };
        let mut text = response.to_text();
        text.push('\n');
        answers.write_all(text.as_bytes())?;
        if command.cmd == "rm" {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    struct Lamp {
        parent: Parent,
    }

    impl Module for Lamp {
        fn init(parent: Parent, args: Value) -> Result<Self, String> {
            if args["broken"] == true { Err("no bulb".to_owned()) } else { Ok(Self { parent }) }
        }
        fn play(&mut self) -> Result<(), String> {
            self.parent.set_parameters(&json!({ "lit": true })).map_err(|error| error.to_string())
        }
        fn command(&mut self, name: &str, args: Value) -> Result<Value, String> {
            match name {
                "echo" => Ok(args),
                _ => Err("Unrecognized command".to_owned()),
            }
        }
    }

    #[test]
    fn a_module_obeys_until_it_is_removed() {
        let (commands, updates) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
        let arguments = ["lamp".to_owned(), "127.0.0.1".to_owned(), port(&commands), port(&updates)];
        let module = std::thread::spawn(move || run::<Lamp>(arguments.into_iter()));
        let commands = commands.accept().unwrap().0;
        let mut updates = BufReader::new(updates.accept().unwrap().0);
        let mut answers = BufReader::new(commands.try_clone().unwrap());
        let mut commands = commands;
        let mut ask = |line: &str| {
            commands.write_all(format!("{line}\n").as_bytes()).unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            answer.trim_end().to_owned()
        };
        assert_eq!(ask(r#"{"cmd": "play"}"#), r#"{"success": false, "error": "Unrecognized command"}"#);
        assert_eq!(ask(r#"{"cmd": "init", "args": {"broken": true}}"#), r#"{"success": false, "error": "no bulb"}"#);
        assert_eq!(ask(r#"{"cmd": "init", "args": {}}"#), r#"{"success": true}"#);
        assert_eq!(ask(r#"{"cmd": "play"}"#), r#"{"success": true}"#);
        let mut update = String::new();
        updates.read_line(&mut update).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&update).unwrap()["args"]["parameters"]["lit"], true);
        assert_eq!(ask(r#"{"cmd": "do_echo", "args": {"a": 1}}"#), r#"{"success": true, "result": {"a":1}}"#);
        assert_eq!(ask(r#"{"cmd": "do_nope"}"#), r#"{"success": false, "error": "Unrecognized command"}"#);
        assert_eq!(ask(r#"{"cmd": "rm"}"#), r#"{"success": true}"#);
        assert!(module.join().unwrap().is_ok());
    }

    #[test]
    fn wrong_arguments_are_one_sentence() {
        let error = run::<Lamp>(["lamp".to_owned()].into_iter()).unwrap_err().to_string();
        assert!(error.starts_with("usage: "), "{error}");
        let arguments = ["lamp", "localhost", "x", "y"].map(str::to_owned);
        assert_eq!(run::<Lamp>(arguments.into_iter()).unwrap_err().to_string(), "\"x\" is no port");
    }
}
