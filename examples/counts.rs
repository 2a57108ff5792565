//! A module that counts aloud and keeps an account, by which a test can tell whether anything was lost or came twice.
//!
//! It announces `n1`, `n2`, … as parameters, a few at a time, with updates of every kind between them, and checks that each update
//! has exactly the one answer that it deserves. What it is asked goes into the file `$COUNTS_FOLDER/$SHMOOZE_UID`, a line each. It
//! never stops by itself but for an answer that is wrong, or a stream that is closed before it was told `rm`, which it writes down
//! as well.
//!
//! `do_note` takes a number into the account. `do_rest` ends the counting and answers how far it went, however often it is asked.
//!
//! For longer runs: `$COUNTS_PAUSE` is the time between some updates and the next in ms, `$COUNTS_KEEP` how many numbers are there at
//! a time, each older one being withdrawn, and `$COUNTS_SIZE` makes each parameter a text of so many bytes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Updates sent before their answers are read.
const AT_ONCE: u64 = 5;
/// Between these, so that a test has room for something else.
const PAUSE: Duration = Duration::from_micros(500);

/// How it counts.
struct Habits {
    pause: Duration,
    keep: Option<u64>,
    size: Option<usize>,
}

impl Habits {
    fn of_environment() -> std::io::Result<Self> {
        let number = |variable: &str| match std::env::var(variable) {
            Ok(text) => text.parse().map(Some).map_err(|error| Error::other(format!("{variable}: {error}"))),
            Err(_) => Ok(None),
        };
        let size = number("COUNTS_SIZE")?.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        Ok(Self { pause: number("COUNTS_PAUSE")?.map_or(PAUSE, Duration::from_millis), keep: number("COUNTS_KEEP")?, size })
    }

    /// The update with this number, and the answer that it deserves.
    fn update(&self, number: u64) -> (String, String) {
        const DONE: &str = r#"{"success": true}"#;
        let value = self.size.map_or_else(|| json!(number), |size| json!("x".repeat(size)));
        let unset = |name: String| (json!({"cmd": "unset_parameters", "args": {"parameters": [name]}}), DONE);
        let mut both = vec![(json!({"cmd": "set_parameters", "args": {"parameters": {format!("n{number}"): value}}}), DONE)];
        match number % 4 {
            0 => both.push((json!({"cmd": "nonsense"}), r#"{"success": false, "error": "Bad command."}"#)),
            1 => both.push(unset("nobody".to_owned())),
            _ => {}
        }
        if let Some(old) = self.keep.and_then(|keep| number.checked_sub(keep)).filter(|old| *old > 0) {
            both.push(unset(format!("n{old}")));
        }
        if let [(asked, answer)] = both.as_slice() {
            return (asked.to_string(), (*answer).to_owned());
        }
        let (asked, answers): (Vec<Value>, Vec<&str>) = both.into_iter().unzip();
        (Value::from(asked).to_string(), format!("[{}]", answers.join(", ")))
    }
}

#[derive(Clone)]
struct Account(Arc<Mutex<File>>);

impl Account {
    fn open() -> std::io::Result<Self> {
        let name = |variable| std::env::var(variable).map_err(|error| Error::other(format!("{variable}: {error}")));
        let path = PathBuf::from(name("COUNTS_FOLDER")?).join(name("SHMOOZE_UID")?);
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    fn enter(&self, line: &str) -> std::io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes())
    }
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(host), Some(command), Some(update)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(Error::other("usage: counts HOST COMMAND_PORT UPDATE_PORT"));
    };
    let connect = |port: &str| -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect((host.as_str(), port.parse().map_err(Error::other)?))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let habits = Habits::of_environment()?;
    let account = Account::open()?;
    account.enter(&format!("started {}", std::process::id()))?;
    let (commands, updates) = (connect(&command)?, connect(&update)?);
    let (rest, removed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (counted, count) = mpsc::channel();
    let counting = {
        let (account, rest, removed) = (account.clone(), Arc::clone(&rest), Arc::clone(&removed));
        move || match count_aloud(updates, &habits, &rest) {
            Ok((counted_to, stream)) => {
                let _ = counted.send(counted_to);
                // Held open to the end.
                thread::park();
                drop(stream);
            }
            // Its streams are closed as soon as it has answered.
            Err(error) if removed.load(Ordering::SeqCst) && is_end(&error) => {}
            Err(error) => {
                let _ = account.enter(&format!("wrong {error}"));
                std::process::exit(1);
            }
        }
    };
    let mut counting = Some(counting);
    let mut rested = None;
    let mut answers = commands.try_clone()?;
    for line in BufReader::new(commands).lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let name = request["cmd"].as_str().unwrap_or_default();
        let mut answer = json!({"success": true});
        match name {
            "do_note" => {
                account.enter(&format!("note {}", request["args"]["number"]))?;
                answer["result"] = request["args"]["number"].clone();
            }
            "do_rest" => {
                rest.store(true, Ordering::Relaxed);
                let last = match rested {
                    Some(last) => last,
                    None => count.recv().map_err(Error::other)?,
                };
                rested = Some(last);
                answer["result"] = json!(last);
            }
            _ => account.enter(name)?,
        }
        if name == "rm" {
            removed.store(true, Ordering::SeqCst);
        }
        let mut text = answer.to_string();
        text.push('\n');
        answers.write_all(text.as_bytes())?;
        match (name, counting.take()) {
            ("init", Some(counting)) => drop(thread::spawn(counting)),
            ("rm", _) => break,
            (_, again) => counting = again,
        }
    }
    Ok(())
}

/// Whether the stream was closed.
fn is_end(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Until it may rest; answers how far it came, with the stream on which nothing is to be read any more.
fn count_aloud(mut stream: TcpStream, habits: &Habits, rest: &AtomicBool) -> std::io::Result<(u64, TcpStream)> {
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    let mut number = 0;
    while !rest.load(Ordering::Relaxed) {
        let mut lines = String::new();
        let first = number + 1;
        for next in first..first + AT_ONCE {
            lines.push_str(&habits.update(next).0);
            lines.push('\n');
        }
        // In two pieces, so that lines come in halves, too.
        let (head, tail) = lines.as_bytes().split_at(lines.len() / 2);
        stream.write_all(head)?;
        stream.write_all(tail)?;
        for next in first..first + AT_ONCE {
            let answer = answers.next().ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "the stream was closed"))??;
            let expected = habits.update(next).1;
            if answer != expected {
                return Err(Error::other(format!("update {next} was answered {answer}, not {expected}")));
            }
            number = next;
        }
        thread::sleep(habits.pause);
    }
    stream.set_nonblocking(true)?;
    match answers.next() {
        Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => Ok((number, stream)),
        other => Err(Error::other(format!("after the last answer came {other:?}"))),
    }
}
