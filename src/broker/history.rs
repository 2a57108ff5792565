//! How the last modules ended.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::restart::Outcome;
use crate::module::{Ending, Handle, Reached};
use crate::protocol::Raw;
use crate::scope::{Exceeded, Exit};
use crate::store::Module;

/// How many endings are kept.
pub const KEPT: usize = crate::handover::LIVES;

/// The cause of one that is not launched again.
pub(super) const SET_ASIDE: &str = "set_aside";

/// The last endings, newest last.
#[derive(Debug, Default)]
pub struct History {
    lives: Mutex<VecDeque<Value>>,
}

impl History {
    /// Begins with these, which a process before has kept.
    pub(super) fn restore(&self, lives: &VecDeque<Raw>) {
        let lives = lives.iter().filter_map(|life| serde_json::from_str(life.get()).ok()).collect();
        *self.lives.lock().unwrap_or_else(PoisonError::into_inner) = lives;
    }

    /// Keeps how `module` ended and what becomes of it; answers what is told of it.
    pub(super) fn push(&self, module: &Handle, ending: &Ending, outcome: &Outcome) -> Value {
        let mut life = json!({
            "uid": module.uid().to_string(),
            "type": module.type_name(),
            "added": seconds(module.added()),
            "ended": seconds(SystemTime::now()),
            "cause": ending.cause.name(),
            "reached": ending.reached.name(),
            "exit": exit(ending.exit),
            "exceeded": ending.exceeded.map(exceeded),
            "text": ending.to_string(),
        });
        match outcome {
            Outcome::Gone => {}
            Outcome::GivenUp(_) => life["given_up"] = true.into(),
            Outcome::Again(again) => life["restart_at"] = seconds(crate::handover::time(again.due)).into(),
        }
        let restarts = module.birth().restarts.count();
        if restarts > 0 {
            life["restarts"] = restarts.into();
        }
        self.keep(life)
    }

    /// Keeps that a module is not launched again; answers what is told of it.
    pub(super) fn set_aside(&self, module: &Module, reason: &str) -> Value {
        self.keep(json!({
            "uid": module.uid.to_string(),
            "type": &*module.type_name,
            "added": seconds(crate::handover::time(module.added)),
            "ended": seconds(SystemTime::now()),
            "cause": SET_ASIDE,
            "reached": Reached::Exit.name(),
            "exit": null,
            "exceeded": null,
            "text": format!("set aside: {reason}"),
        }))
    }

    fn keep(&self, life: Value) -> Value {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        while lives.len() >= KEPT {
            lives.pop_front();
        }
        lives.push_back(life.clone());
        life
    }

    /// The last `limit` endings, newest first.
    #[must_use]
    pub fn last(&self, limit: usize) -> Vec<Value> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().take(limit).cloned().collect()
    }
}

/// Seconds since 1970, to the millisecond.
pub(super) fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}

const fn exceeded(exceeded: Exceeded) -> &'static str {
    match exceeded {
        Exceeded::Memory => "memory",
        Exceeded::Time => "time",
    }
}

fn exit(exit: Option<Exit>) -> Value {
    match exit {
        Some(Exit::Status(status)) => json!({ "status": status }),
        Some(Exit::Signal(signal)) => json!({ "signal": signal }),
        Some(Exit::Unknown) | None => Value::Null,
    }
}
