//! The conformance suite: every transcript of `tests/golden/golden.jsonl`, recorded from the running original, is played
//! against the real programs. Where ours differ on purpose, `conformance/differences.txt` says how and why.
//!
//! ```text
//!   golden.jsonl ──▶ script ──┐
//!   differences.txt ──────────┴▶ player ◀──▶ shmooze-queue, shmooze-pool, shmooze-gateway
//!                                   ▲                     │ start
//!                                   └───── puppets ◀──────┘
//! ```
//!
//! `cargo test --test conformance [-- [--exact] [--list] [--skip NAME] [--test-threads N] [NAME…]]`: one test a transcript, each with
//! services of its own. This binary is its own module programs as well (`--puppet`, `--echo`, `--problem`).

#[path = "conformance/amend.rs"]
mod amend;
#[path = "conformance/backend.rs"]
mod backend;
#[path = "conformance/compare.rs"]
mod compare;
#[path = "conformance/control.rs"]
mod control;
#[path = "conformance/differences.rs"]
mod differences;
#[path = "conformance/gateway.rs"]
mod gateway;
#[path = "conformance/http.rs"]
mod http;
#[path = "conformance/order.rs"]
mod order;
#[path = "conformance/player.rs"]
mod player;
#[path = "conformance/programs.rs"]
mod programs;
#[path = "conformance/record.rs"]
mod record;
#[path = "conformance/runner.rs"]
mod runner;
#[path = "conformance/script.rs"]
mod script;
#[path = "conformance/services.rs"]
mod services;
#[path = "conformance/transcript.rs"]
mod transcript;
#[path = "conformance/wire.rs"]
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((mode, rest)) = args.split_first()
        && let Some(ran) = programs::run(mode, rest)
    {
        // A module whose service is gone ends; nobody is there to be told why.
        return if ran.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match runner::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(2)
        }
    }
}
