//! What a broker and the program `shmooze-launcher` say to each other: one JSON object a line, over a Unix stream socket.
//!
//! ```text
//!   broker ── Question{id, ask} ──▶ launcher
//!          ◀── Answer{id, result} ─          each question has one, in any order
//!          ◀── State{uid, state} ──          whenever a module that was launched or watched here has come further
//! ```
//!
//! A caller can name a service and a module type of the settings, a uid, two ports and a signal; there is nothing else
//! that it could say.
//!
//! An upgrade replaces the programs under a launcher and brokers that run on, so a broker may be one version newer than its
//! launcher: what is added must have a default, and a new question be one that can do without an answer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Launch, LaunchError, TypeName};
use crate::protocol::Uid;
use crate::scope::{Listed, ScopeError, State};

/// Longest question, in bytes: names of the settings are the only part of it whose length is not fixed.
pub(super) const LONGEST_QUESTION: usize = 4096;

/// What a broker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// Chosen by the broker, to tell the answers apart.
    pub(super) id: u64,
    pub(super) ask: Ask,
}

/// What a broker asks for; see [`Launcher`](super::Launcher).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    Launch(Launch),
    Stop(Uid),
    Kill(Uid, i32),
    Freeze(Uid),
    Thaw(Uid),
    SetLimits(Uid, TypeName),
    /// Asks for the states of a module that was launched before.
    Watch(Uid),
    List(String),
    /// Asks what the service manager is about to do with the caller.
    Job,
    /// Asks the launcher to read its settings again.
    Reload,
}

/// What a launcher says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    Answer { id: u64, result: Result<Answer, LaunchError> },
    State { uid: Uid, state: State },
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    /// Its states follow, first the one that it is in.
    Launched {
        uid: Uid,
        pid: u32,
        cgroup: Option<PathBuf>,
    },
    /// The modules of a service.
    List(Vec<Listed>),
    /// What is about to be done.
    Job(Option<String>),
}

impl Message {
    /// The module of whose launch it tells.
    pub(super) const fn launched(&self) -> Option<Uid> {
        match self {
            Self::Answer { result: Ok(Answer::Launched { uid, .. }), .. } => Some(*uid),
            _ => None,
        }
    }
}

impl Ask {
    /// Whether it may be asked again by who does not know if it was carried out.
    pub(super) const fn can_be_repeated(&self) -> bool {
        !matches!(self, Self::Launch(_) | Self::Kill(..))
    }
}

/// Errors of a scope are those of a launch that went as far.
pub(super) fn scope_error(error: LaunchError) -> ScopeError {
    match error {
        LaunchError::Scope(error) => error,
        other => ScopeError::System(other.to_string()),
    }
}

/// One line.
pub(super) fn write(message: &impl Serialize, out: &mut Vec<u8>) {
    // Nothing of this module can fail to be written: all its maps have strings for keys.
    if serde_json::to_writer(&mut *out, message).is_ok() {
        out.push(b'\n');
    }
}
