//! The program `shmooze-generator`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::input::sentences;
use super::log::{Level, say};
use super::{Generated, Input, Manager, Surroundings, generate};
use crate::settings::{Detail, Fallback, Settings};

/// Below which the files of the machine are, for tests.
const ROOT_VARIABLE: &str = "SHMOOZE_GENERATOR_ROOT";

const USAGE: &str = "\
usage: shmooze-generator NORMAL-DIR [EARLY-DIR LATE-DIR]

Run by systemd at the start of the machine and at each daemon-reload, see systemd.generator(7): writes the units of the
services that /etc/shmooze/settings.json names, for the manager of a user those of $XDG_CONFIG_HOME/shmooze/settings.json
where that is there, into NORMAL-DIR.";

/// Writes the units into the first of `arguments` (program name left out). Fails only where it is called in another way than
/// systemd does.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let ([folder] | [folder, _, _]) = &arguments[..] else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if folder.to_string_lossy().starts_with('-') {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let root = env::var_os(ROOT_VARIABLE).map_or_else(|| PathBuf::from("/"), PathBuf::from);
    run(Path::new(folder), &root);
    ExitCode::SUCCESS
}

fn run(folder: &Path, root: &Path) {
    let variables = |name: &str| env::var(name).ok();
    let surroundings = Surroundings::look(Manager::of_generator(&variables), &variables, root);
    let settings = match Input::read(&surroundings, &variables, Detail::Services) {
        // As after the package was removed.
        Input::Missing => return,
        Input::Good(settings, _) => settings,
        Input::Broken { place, error, fallback } => {
            for sentence in sentences(&place, &error, &fallback) {
                say(root, Level::Error, &sentence);
            }
            let Fallback::Good(settings) = fallback else { return };
            settings
        }
    };
    // Never given back: this process ends, and thousands of pieces would each take as long to give back as to make.
    let settings: &Settings = Box::leak(settings);
    let Generated { tree, problems } = generate(settings, &surroundings);
    for problem in problems {
        say(root, Level::Warning, &problem);
    }
    if let Err(error) = tree.write(folder) {
        say(root, Level::Error, &format!("Units could not be written: {error}."));
    }
}
