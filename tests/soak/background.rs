//! The client to whom the background of the queue belongs: it sets another from time to time, and tells it numbers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::asking::Trouble::Broken;
use super::asking::{QUEUE, Random};

/// The longest pause between two things that it does.
const LONGEST_PAUSE: usize = 4_000;

/// Works until it is over.
pub fn work(seed: u64, over: &AtomicBool) {
    let mut random = Random(seed);
    while !over.load(Ordering::Relaxed) {
        let _ = catch_unwind(AssertUnwindSafe(|| shift(&mut random, over)));
    }
}

fn shift(random: &mut Random, over: &AtomicBool) {
    let mut is = uid();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(random.below(LONGEST_PAUSE) as u64));
        match random.below(4) {
            0 => match QUEUE.ask("set_bg", &json!({"type": "bg-counts"})) {
                Ok(set) => is = set["uid"].as_str().map(str::to_owned),
                Err(Broken(_)) => {
                    // Set or not: an attempt that goes on must not be taken for a loss.
                    QUEUE.insist("rm", &json!({"uids": []}));
                    is = QUEUE.insist("set_bg", &json!({"type": "bg-counts"}))["uid"].as_str().map(str::to_owned);
                }
                // The launcher was away.
                Err(_) => {}
            },
            1 => {
                let told = is
                    .as_ref()
                    .map(|uid| QUEUE.ask("tell_background", &json!({"uid": uid, "cmd": "note", "args": {"number": 0}})));
                assert!(
                    matches!(&told, None | Some(Ok(_) | Err(Broken(_)))),
                    "the background {is:?} was told a number: {told:?}"
                );
            }
            _ => assert_eq!(uid(), is, "the background is another"),
        }
    }
}

fn uid() -> Option<String> {
    match QUEUE.insist("bg", &json!({})) {
        Value::Null => None,
        background => background["uid"].as_str().map(str::to_owned),
    }
}
