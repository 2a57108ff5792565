//! Which settings count: those of the manager's file, or where it is broken the last that were good.

use std::fs;
use std::path::Path;

use super::{Surroundings, Variables};
use crate::settings::{Detail, Fallback, Place, Settings, SettingsError, below, is_missing};

/// More than so many problems of one file are counted and not told one by one: the kernel takes ten messages of a program in
/// five seconds.
const MOST_PROBLEMS: usize = 5;

/// What a manager goes by.
#[derive(Debug)]
pub enum Input {
    /// There is no settings file: nothing is to be run.
    Missing,
    /// Settings, and where their file and its copy are.
    Good(Box<Settings>, Place),
    /// The file is at fault.
    Broken {
        /// Where file and copy are.
        place: Place,
        /// What is wrong.
        error: SettingsError,
        /// What is in force in its place.
        fallback: Fallback,
    },
}

impl Input {
    /// Looks for them.
    #[must_use]
    pub fn read(surroundings: &Surroundings, variables: Variables<'_>, detail: Detail) -> Self {
        let root = &surroundings.root;
        let places = surroundings.manager.places(variables);
        let Some(place) = places.into_iter().find(|place| is_there(&below(root, &place.file))) else { return Self::Missing };
        let known = surroundings.manager.variables(variables);
        match Settings::read_file(&below(root, &place.file), &place.file, &known, detail) {
            Ok(settings) => Self::Good(Box::new(settings), place),
            Err(error) => {
                let fallback = place.fallback_in(root, &known);
                Self::Broken { place, error, fallback }
            }
        }
    }
}

/// What is to be said of a file at fault: its first problems, and what is in force.
pub(super) fn sentences(place: &Place, error: &SettingsError, fallback: &Fallback) -> Vec<String> {
    let mut sentences: Vec<String> = error.problems.iter().take(MOST_PROBLEMS).map(ToString::to_string).collect();
    match error.problems.len().saturating_sub(MOST_PROBLEMS) {
        0 => {}
        1 => sentences.push("There is one more problem: see shmz check.".to_owned()),
        more => sentences.push(format!("There are {more} more problems: see shmz check.")),
    }
    sentences.push(match fallback {
        Fallback::Good(_) => format!("The settings that were good last stay in force ({}).", place.copy.display()),
        Fallback::None(reason) => format!("{reason} So no service of {} has units.", place.file.display()),
    });
    sentences
}

/// Whether anything is there, though it may not be readable.
fn is_there(file: &Path) -> bool {
    fs::symlink_metadata(file).map_or_else(|error| !is_missing(&error), |_| true)
}
