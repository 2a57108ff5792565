//! The answer to `metrics`: what is counted since the process began, and what there is now.
//!
//! What happens is counted by the driver; how many modules there are in which state is counted when somebody asks, of what is
//! published, so that no number is kept that could be another than the list's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;

use super::history::{SET_ASIDE, seconds};
use super::{Board, Kind};
use crate::module::{Cause, Ending, Handle, Process, Reached};
use crate::protocol::{Counts, Launches, Metrics, Response};
use crate::settings::Lists;

/// The states of a module; it is in one of them.
const STATES: [&str; 6] = ["starting", "waiting", "playing", "suspended", "restarting", "ending"];

/// What a launch may take to be counted with the others, in ms: a spare scope is there in one, a job of a busy systemd takes
/// hundreds, and `connect` gives up after some thousands.
const BOUNDS: [u16; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// What has happened since the process began. Written by the driver alone.
#[derive(Debug)]
pub(super) struct Tally {
    started: SystemTime,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    endings: [[u64; Reached::ALL.len()]; Cause::ALL.len()],
    set_aside: u64,
    launches: [u64; BOUNDS.len() + 1],
    launch_time: Duration,
    failed_launches: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { started: SystemTime::now(), inner: Mutex::default() }
    }
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The launch of `module` is over.
    pub(super) fn launch(&self, module: &Handle) {
        let mut inner = self.lock();
        match module.process() {
            Some(Process { launch: Some(took), .. }) => {
                let bucket = BOUNDS.iter().take_while(|bound| *took > Duration::from_millis((**bound).into())).count();
                inner.launches[bucket] += 1;
                inner.launch_time += *took;
            }
            // The process before has counted it.
            Some(Process { launch: None, .. }) => {}
            None => inner.failed_launches += 1,
        }
    }

    /// No process of a module is left.
    pub(super) fn ended(&self, ending: &Ending) {
        self.lock().endings[ending.cause as usize][ending.reached as usize] += 1;
    }

    /// A module is not launched again.
    pub(super) fn set_aside(&self) {
        self.lock().set_aside += 1;
    }
}

/// What there is to tell. Of types that the settings name every state is told, also where no module is in it; others are told as
/// long as there are modules of them.
pub(super) fn describe(name: &str, kind: Kind, types: &Lists, board: &Board) -> Response {
    let mut metrics = Metrics {
        service: name.to_owned(),
        kind: kind.name().to_owned(),
        started: seconds(board.tally().started),
        modules: nothing(&types.modules),
        backgrounds: nothing(&types.backgrounds),
        ..Metrics::default()
    };
    let snapshot = board.each(|module, state| {
        let counts = if module.is_background() { &mut metrics.backgrounds } else { &mut metrics.modules };
        match counts.get_mut(module.type_name()).and_then(|states| states.get_mut(state)) {
            Some(count) => *count += 1,
            None => *counts.entry(module.type_name().to_owned()).or_default().entry(state.to_owned()).or_default() += 1,
        }
    });
    (metrics.revision, metrics.length) = (snapshot.revision(), snapshot.length() as u64);
    let inner = board.tally().lock();
    for cause in Cause::ALL {
        let reached = Reached::ALL.map(|reached| (reached.name().to_owned(), inner.endings[cause as usize][reached as usize]));
        metrics.endings.insert(cause.name().to_owned(), reached.into());
    }
    metrics.endings.insert(SET_ASIDE.to_owned(), [(Reached::Exit.name().to_owned(), inner.set_aside)].into());
    let bounds = BOUNDS.iter().map(|bound| Some(f64::from(*bound) / 1000.0)).chain([None]);
    metrics.launches = Launches {
        failed: inner.failed_launches,
        seconds: inner.launch_time.as_secs_f64(),
        buckets: bounds.zip(inner.launches).collect(),
    };
    drop(inner);
    Response::of(&metrics)
}

/// Of each type nothing in any state.
fn nothing<T>(types: &IndexMap<String, T>) -> Counts {
    let states = || -> BTreeMap<String, u64> { STATES.map(|state| (state.to_owned(), 0)).into() };
    types.keys().map(|name| (name.clone(), states())).collect()
}
