//! One test a transcript, several at once, reported as cargo's own harness does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::compare::Manner;
use super::differences::{Differences, Places};
use super::player::Player;
use super::programs::open_descriptors;
use super::script::script;
use super::services::Application;
use super::transcript::{Transcript, all};
use super::{gateway, order, record};

/// How many transcripts are played at once where the command line does not say.
const AT_ONCE: usize = 4;

/// What the command line asks for.
struct Options {
    names: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    at_once: usize,
}

impl Options {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut options = Self { names: Vec::new(), skipped: Vec::new(), exact: false, list: false, at_once: AT_ONCE };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
            let mut value = || value.or_else(|| args.next().map(String::as_str)).unwrap_or_default();
            match name {
                "--exact" => options.exact = true,
                "--list" => options.list = true,
                "--skip" => options.skipped.push(value().to_owned()),
                "--test-threads" => {
                    let value = value();
                    let number: usize = value.parse().map_err(|_| format!("--test-threads: {value:?} is no number"))?;
                    options.at_once = number.max(1);
                }
                // What cargo's own harness takes and what makes no difference here.
                "--color" | "--format" => {
                    value();
                }
                "--include-ignored" | "--nocapture" | "--no-capture" | "--show-output" | "-q" | "--quiet" => (),
                _ if name.starts_with('-') => return Err(format!("unknown option {arg}")),
                _ => options.names.push(arg.clone()),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let takes = |wanted: &String| if self.exact { name == wanted } else { name.contains(wanted.as_str()) };
        (self.names.is_empty() || self.names.iter().any(takes)) && !self.skipped.iter().any(takes)
    }
}

/// Plays what the command line asks for; whether all passed.
///
/// # Errors
/// Where the command line, the recordings or the list of differences cannot be read.
pub fn run(args: &[String]) -> Result<bool, String> {
    // Before anything is opened: what was given to this process.
    let given = open_descriptors();
    let options = Options::read(args)?;
    let transcripts = all()?;
    let differences = Differences::read()?;
    if let Some(name) = differences.transcripts().find(|name| !transcripts.iter().any(|transcript| transcript.name == *name)) {
        return Err(format!("differences.txt: there is no transcript {name}"));
    }
    let count = transcripts.len();
    let mut wanted: Vec<Transcript> = transcripts.into_iter().filter(|transcript| options.wants(&transcript.name)).collect();
    if options.list {
        wanted.iter().for_each(|transcript| println!("{}: test", transcript.name));
        return Ok(true);
    }
    // Those that wait for time-outs first, so that the others fill the gaps.
    wanted.sort_by_key(|transcript| std::cmp::Reverse(waits(&transcript.name)));
    println!("\nrunning {} tests", wanted.len());
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..options.at_once.min(wanted.len()) {
            scope.spawn(|| {
                while let Some(transcript) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let problems = play(transcript, differences.of(&transcript.name), &given);
                    println!("test {} ... {}", transcript.name, if problems.is_empty() { "ok" } else { "FAILED" });
                    if let (false, Ok(mut failures)) = (problems.is_empty(), failures.lock()) {
                        failures.push((transcript.name.clone(), problems));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().map_err(|_| "a worker ended in the middle")?;
    report(&failures, wanted.len(), count, started);
    Ok(failures.is_empty())
}

fn report(failures: &[(String, Vec<String>)], played: usize, count: usize, started: Instant) {
    if !failures.is_empty() {
        println!("\nfailures:\n");
        for (name, problems) in failures {
            println!("---- {name} ----");
            problems.iter().for_each(|problem| println!("    {problem}"));
            println!();
        }
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failures.is_empty() { "ok" } else { "FAILED" },
        played - failures.len(),
        failures.len(),
        count - played,
        started.elapsed().as_secs_f64()
    );
}

/// Whether a transcript is one of those that take seconds.
fn waits(name: &str) -> usize {
    let slow = [
        "silent",
        "only_one_stream",
        "slow_and_dying",
        "answers_to",
        "trouble",
        "huge",
        "half_close",
        "log_rows",
        "answers_empty_line",
    ];
    slow.iter().filter(|part| name.contains(*part)).count()
}

/// Plays one transcript against services of its own; what is wrong.
fn play(transcript: &Transcript, mut places: Places, given: &[u32]) -> Vec<String> {
    let played = catch_unwind(AssertUnwindSafe(|| play_it(transcript, &mut places, given)));
    let mut problems = match played {
        Ok(problems) => problems,
        Err(_) => vec!["the player panicked".to_owned()],
    };
    if problems.is_empty() {
        problems.extend(places.keys().map(|place| format!("{place}: listed, but there is no such place")));
    }
    problems
}

fn play_it(transcript: &Transcript, places: &mut Places, given: &[u32]) -> Vec<String> {
    let service = transcript.service.as_str();
    let services: &[&str] = match transcript.name.as_str() {
        _ if service == "gateway" => &["queue", "pool", "gateway"],
        "log_schema" => &["queue", "pool"],
        _ if service == "pool" => &["pool"],
        _ => &["queue"],
    };
    let mut application = match Application::start(services) {
        Ok(application) => application,
        Err(problem) => return vec![problem],
    };
    let mut problems = match transcript.name.as_str() {
        _ if service == "gateway" => gateway::play(&application, transcript, places).unwrap_or_else(|problem| vec![problem]),
        "lifecycle_write_order_by_strace" => order::play(&application, transcript, places),
        _ => play_lines(&application, transcript, places, given),
    };
    // The puppets are let go by now: nothing keeps the services from ending at once.
    if let Err(problem) = application.stop() {
        problems.push(problem);
    }
    if !problems.is_empty() {
        problems.push(format!("standard error:\n{}", application.stderr()));
    }
    problems
}

fn play_lines(application: &Application, transcript: &Transcript, places: &mut Places, given: &[u32]) -> Vec<String> {
    let script = match script(transcript, places) {
        Ok(script) => script,
        Err(problem) => return vec![problem],
    };
    let manner = Manner { globs: false, any_order: transcript.list_order.is_some() };
    let mut player = Player::new(application, &transcript.service, manner, given);
    if let Err(problem) = player.play(&script) {
        player.problems.push(problem);
    }
    let log = application.path("log.sqlite");
    for step in &transcript.steps {
        let checked = match (&step.sql, &step.log_rows) {
            (Some(tables), _) => record::check_tables(&log, tables),
            (_, Some(rows)) => record::check_rows(&log, "queue_log", rows, places, &mut player.bindings),
            _ => continue,
        };
        match checked {
            Ok(problems) => player.problems.extend(problems),
            Err(problem) => player.problems.push(problem),
        }
    }
    player.problems
}
