//! Which settings count: those of the manager's file, or where it is broken the last that were good.

use std::fs;
use std::path::Path;

use super::{Surroundings, Variables};
use crate::settings::{Fallback, Place, Settings, below, is_missing};

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
        /// The settings in force in its place, where there are any.
        last_good: Option<Box<Settings>>,
        /// What is wrong, and what is in force; one sentence each.
        sentences: Vec<String>,
    },
}

impl Input {
    /// Looks for them.
    #[must_use]
    pub fn read(surroundings: &Surroundings, variables: Variables<'_>) -> Self {
        let root = &surroundings.root;
        let places = surroundings.manager.places(variables);
        let Some(place) = places.into_iter().find(|place| is_there(&below(root, &place.file))) else { return Self::Missing };
        let known = surroundings.manager.variables(variables);
        let error = match Settings::read_file(&below(root, &place.file), &place.file, &known) {
            Ok(settings) => return Self::Good(Box::new(settings), place),
            Err(error) => error,
        };
        let mut sentences: Vec<String> = error.problems.iter().take(MOST_PROBLEMS).map(ToString::to_string).collect();
        match error.problems.len().saturating_sub(MOST_PROBLEMS) {
            0 => {}
            1 => sentences.push("There is one more problem: see shmz check.".to_owned()),
            more => sentences.push(format!("There are {more} more problems: see shmz check.")),
        }
        let last_good = match place.fallback_in(root, &known) {
            Fallback::Good(settings) => {
                sentences.push(format!("The settings that were good last stay in force ({}).", place.copy.display()));
                Some(settings)
            }
            Fallback::None(reason) => {
                sentences.push(format!("{reason} So no service of {} has units.", place.file.display()));
                None
            }
        };
        Self::Broken { last_good, sentences }
    }
}

/// Whether anything is there, though it may not be readable.
fn is_there(file: &Path) -> bool {
    fs::symlink_metadata(file).map_or_else(|error| !is_missing(&error), |_| true)
}
