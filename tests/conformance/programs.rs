//! The programs that the suite's services start as modules: this very binary in another mode.
//!
//! * `--puppet CONTROL_SOCKET` hands over how it was started and the streams that it opens; the test then plays both.
//! * `--echo` is the well-behaved module of the recordings, `--problem` the ill-behaved one (`tests/golden/README.md`),
//!   down to the words in which they refused.
//! * `--tied PROGRAM ARGUMENT…` becomes that program and is killed when the thread that started it ends, so that no
//!   service outlives the suite, whatever becomes of that.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, exit};
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::control::obey;

/// How a puppet was started.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Its process.
    pub pid: i32,
    /// Where the service listens for its streams.
    pub host: String,
    /// The port of the command stream.
    pub cmd_port: u16,
    /// The port of the update stream.
    pub update_port: u16,
    /// How many arguments it had, its own name included and what the settings name not.
    pub argc: usize,
    /// Which descriptors were open.
    pub descriptors: Vec<u32>,
}

/// Runs the program that `mode` names with the arguments after it; `None` where `mode` is no program.
pub fn run(mode: &str, args: &[String]) -> Option<io::Result<()>> {
    match mode {
        "--puppet" => Some(puppet(args)),
        "--echo" => Some(serve(args, &mut Echo)),
        "--problem" => Some(serve(args, &mut Problem::default())),
        "--tied" => Some(tied(args)),
        _ => None,
    }
}

/// The descriptors that are open in this process, in order.
pub fn open_descriptors() -> Vec<u32> {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let mut open: Vec<u32> = listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The listing itself had one, which is closed by now.
    open.retain(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok());
    open.sort_unstable();
    open
}

fn argument<T: std::str::FromStr>(args: &[String], index: usize) -> io::Result<T> {
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, format!("argument {index} of {args:?}"));
    args.get(index).and_then(|text| text.parse().ok()).ok_or_else(missing)
}

fn puppet(args: &[String]) -> io::Result<()> {
    let descriptors = open_descriptors();
    let (host, cmd_port, update_port) = (argument(args, 1)?, argument(args, 2)?, argument(args, 3)?);
    let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let hello = Hello { pid, host, cmd_port, update_port, argc: args.len(), descriptors };
    obey(&argument::<PathBuf>(args, 0)?, &hello)
}

fn tied(args: &[String]) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let program: String = argument(args, 0)?;
    Err(Command::new(program).args(&args[1..]).exec())
}

/// What a module does with a command.
trait Behaviour {
    /// Carries out a command and says what to answer; `None` where it stays silent.
    fn handle(&mut self, cmd: &str, args: Arguments, updates: &mut Updates) -> io::Result<Option<Value>>;
}

/// The arguments of a command: an object, or what a Python function says to anything else.
type Arguments = Result<Map<String, Value>, &'static str>;

/// A module's update stream.
struct Updates(BufReader<TcpStream>);

impl Updates {
    /// Sends an update and waits for its acknowledgement, so that it counts before the module's next answer.
    fn send(&mut self, cmd: &str, args: &Value) -> io::Result<()> {
        self.send_only(&json!({"cmd": cmd, "args": args}))?;
        self.0.read_line(&mut String::new()).map(drop)
    }

    fn send_only(&mut self, update: &Value) -> io::Result<()> {
        writeln!(self.0.get_mut(), "{update}")
    }

    fn set(&mut self, parameters: &Value) -> io::Result<()> {
        self.send("set_parameters", &json!({"parameters": parameters}))
    }
}

fn serve(args: &[String], behaviour: &mut impl Behaviour) -> io::Result<()> {
    let host: String = argument(args, 0)?;
    let commands = TcpStream::connect((host.as_str(), argument(args, 1)?))?;
    let mut updates = Updates(BufReader::new(TcpStream::connect((host.as_str(), argument(args, 2)?))?));
    let mut answers = commands.try_clone()?;
    for line in BufReader::new(commands).lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let args = match request.get("args") {
            None => Ok(Map::new()),
            Some(Value::Object(args)) => Ok(args.clone()),
            Some(Value::Array(_)) => Err("list"),
            Some(Value::String(_)) => Err("unicode"),
            Some(Value::Bool(_)) => Err("bool"),
            Some(_) => Err("int"),
        };
        if let Some(answer) = behaviour.handle(request["cmd"].as_str().unwrap_or_default(), args, &mut updates)? {
            writeln!(answers, "{answer}")?;
            if request["cmd"] == "rm" && behaviour.handle("goes", Ok(Map::new()), &mut updates)?.is_none() {
                exit(0);
            }
        }
    }
    Ok(())
}

fn done() -> io::Result<Option<Value>> {
    Ok(Some(json!({"success": true})))
}

fn result(value: &Value) -> io::Result<Option<Value>> {
    Ok(Some(json!({"success": true, "result": value})))
}

fn failure(error: &str) -> io::Result<Option<Value>> {
    if !error.is_ascii() {
        // The recorded module died of such a text.
        exit(1);
    }
    Ok(Some(json!({"success": false, "error": error})))
}

/// What Python says to keyword arguments that are none, or that name `self`.
fn keywords(function: &str, args: Arguments) -> Result<Map<String, Value>, String> {
    let args = args.map_err(|kind| format!("{function}() argument after ** must be a mapping, not {kind}"))?;
    if args.contains_key("self") {
        return Err(format!("{function}() got multiple values for keyword argument 'self'"));
    }
    Ok(args)
}

/// What Python says to an argument that `function` does not know.
fn unexpected(function: &str, args: &Map<String, Value>, known: &[&str]) -> Option<String> {
    let unknown = args.keys().find(|name| !known.contains(&name.as_str()))?;
    Some(format!("{function}() got an unexpected keyword argument '{unknown}'"))
}

/// The well-behaved module.
struct Echo;

impl Behaviour for Echo {
    fn handle(&mut self, cmd: &str, args: Arguments, updates: &mut Updates) -> io::Result<Option<Value>> {
        let function = if cmd == "init" { "cmd_init" } else { cmd };
        if !["init", "play", "suspend", "rm", "goes"].contains(&cmd) && !cmd.starts_with("do_") {
            return failure("Unrecognized command");
        }
        let args = match keywords(function, args) {
            Ok(args) => args,
            Err(error) => return failure(&error),
        };
        let text = |name: &str| args.get(name).and_then(Value::as_str).unwrap_or_default();
        match cmd {
            "init" => {
                if args.contains_key("boom") {
                    return failure(text("boom"));
                }
                updates.set(&json!({"init": args, "state": "initialized", "pid": std::process::id()}))?;
                done()
            }
            "play" | "suspend" => {
                updates.set(&json!({"state": if cmd == "play" { "playing" } else { "suspended" }}))?;
                done()
            }
            "rm" => done(),
            "goes" => Ok(None),
            "do_echo" => result(&Value::Object(args)),
            "do_none" => done(),
            "do_need" => match (args.get("a"), unexpected(cmd, &args, &["a", "b"])) {
                (_, Some(error)) => failure(&error),
                (None, None) => failure("do_need() takes at least 2 arguments (1 given)"),
                (Some(a), None) => result(&json!([a, args.get("b").unwrap_or(&json!(2))])),
            },
            "do_fail" => failure(text("msg")),
            "do_set" => {
                updates.set(&args["parameters"])?;
                done()
            }
            "do_unset" => {
                updates.send("unset_parameters", &json!({"parameters": args["parameters"]}))?;
                done()
            }
            "do_finish" => {
                updates.send_only(&json!({"cmd": "rm"}))?;
                exit(0);
            }
            "do_die" => exit(3),
            "do_sleep" => {
                sleep(Duration::from_secs_f64(args["secs"].as_f64().unwrap_or_default()));
                result(&args["secs"])
            }
            _ => failure("Unrecognized command"),
        }
    }
}

/// The ill-behaved module; its flags are the arguments of `init`.
#[derive(Default)]
struct Problem {
    flags: Map<String, Value>,
}

impl Problem {
    const FLAGS: [&str; 5] = ["noinit", "noquit", "noterm", "noresponse", "tooslow"];

    fn is(&self, flag: &str) -> bool {
        self.flags.get(flag) == Some(&Value::Bool(true))
    }
}

impl Behaviour for Problem {
    fn handle(&mut self, cmd: &str, args: Arguments, _: &mut Updates) -> io::Result<Option<Value>> {
        match cmd {
            "init" => {
                let args = match keywords("cmd_init", args) {
                    Ok(args) => args,
                    Err(error) => return failure(&error),
                };
                if let Some(error) = unexpected("cmd_init", &args, &Self::FLAGS) {
                    return failure(&error);
                }
                self.flags = args;
                if self.is("noterm") {
                    // Blocked for good, as if it were ignored.
                    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGTERM).thread_block()?;
                }
                if self.is("noinit") { Ok(None) } else { done() }
            }
            "goes" if self.is("noquit") => done(),
            "goes" => Ok(None),
            _ if self.is("noresponse") => Ok(None),
            "do_pause" if self.is("tooslow") => {
                sleep(Duration::from_secs(3));
                done()
            }
            "play" | "suspend" | "rm" | "do_pause" => done(),
            _ => failure("Unrecognized command"),
        }
    }
}
