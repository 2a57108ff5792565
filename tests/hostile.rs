//! Hostile input: whatever is read from somebody else, in all that fuzzing has found and in what a little chance makes of it.
//!
//! Beside this file stand the properties, a file for each kind of input; `fuzz/` looks for input that breaks them, and this test
//! holds them against the corpus in `fuzz/corpus/`, without any tool for fuzzing (docs/testing.md).

// Helpers stand outside of test functions, where clippy does not see that they are tests.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "hostile/head.rs"]
mod head;
#[path = "hostile/line.rs"]
mod line;
#[path = "hostile/mutation.rs"]
mod mutation;
#[path = "hostile/request.rs"]
mod request;
#[path = "hostile/sentence.rs"]
mod sentence;
#[path = "hostile/settings.rs"]
mod settings;
#[path = "hostile/state.rs"]
mod state;
#[path = "hostile/tokens.rs"]
mod tokens;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutation::Mutations;

/// How many inputs are made of each corpus, if time allows.
const MADE: usize = 10_000;
/// How long that may take, on however slow a machine: what is left is left to the fuzz targets.
const PATIENCE: Duration = Duration::from_secs(3);

/// The corpus called `target`, in the order of its names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() >= 5, "{target} has hardly any corpus");
    for (path, input) in &corpus {
        check_named(&path.display().to_string(), check, input);
    }
    let inputs = corpus.into_iter().map(|(_, input)| input).collect();
    let began = Instant::now();
    for (number, input) in Mutations::of(inputs, 0x5eed).take(MADE).enumerate() {
        check_named(&format!("{target}, made input {number}"), check, &input);
        if began.elapsed() > PATIENCE {
            break;
        }
    }
}

/// Says which input it was that failed.
fn check_named(name: &str, check: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
        eprintln!("{name}: \"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

#[test]
fn lines() {
    replay("line", line::check);
}

#[test]
fn requests() {
    replay("request", request::check);
}

#[test]
fn settings_files() {
    replay("settings", settings::check);
}

#[test]
fn token_files() {
    replay("tokens", tokens::check);
}

#[test]
fn heads_of_requests() {
    replay("head", head::check);
}

#[test]
fn states_left_behind() {
    replay("state", state::check);
}
