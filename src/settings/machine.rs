//! Whether the machine has what the settings ask for: programs, users, directories.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Uid, User};

use super::problem::{JsonPath, Problem, Problems, quoted};
use super::{Process, Service, Settings};

/// Where programs are searched when nothing sets `PATH`, as execvp(3) of glibc does.
const DEFAULT_SEARCH_PATH: &str = "/bin:/usr/bin";

impl Settings {
    /// What the settings ask for and this machine does not have, now: programs, users and directories. A module type
    /// with such a problem cannot be added; everything else works.
    #[must_use]
    pub fn problems_of_machine(&self) -> Vec<Problem> {
        let mut problems = Problems::new(&self.shown_file);
        let services = JsonPath::root().key("services");
        for (name, service) in &self.services {
            let at = services.key(name);
            match service {
                Service::Queue(lists) | Service::Pool(lists) => {
                    for (list, types) in [("modules", &lists.modules), ("backgrounds", &lists.backgrounds)] {
                        for (name, module_type) in types {
                            self.check(&module_type.process, &at.key(list).key(name), &mut problems);
                        }
                    }
                }
                Service::App(app) => self.check(&app.process, &at, &mut problems),
            }
        }
        problems.into_list()
    }

    fn check(&self, process: &Process, at: &JsonPath, problems: &mut Problems) {
        if let Err(what) = process.find_user() {
            problems.add(&at.key("user"), what);
        }
        match process.check_working_directory() {
            Ok(()) => {
                if let Err(what) = process.find_program(self.search_path.as_deref()) {
                    problems.add(&at.key("process").index(0), what);
                }
            }
            // A program relative to a directory that is not there is one problem, not two.
            Err(what) => problems.add(&at.key("working_directory"), what),
        }
    }
}

impl Process {
    /// The file of its program: the one named, which may be relative to the working directory, or else the first one
    /// of that name in `PATH` of its environment, else in `search_path` (folders with `:` between them), else in
    /// `/bin` and `/usr/bin`.
    ///
    /// # Errors
    /// What is wrong with the program, as a phrase that goes on "`process[0]` …".
    pub fn find_program(&self, search_path: Option<&str>) -> Result<PathBuf, String> {
        let program = self.command.first().map_or("", String::as_str);
        let base = self.working_directory.as_deref().unwrap_or_else(|| Path::new(""));
        if program.contains('/') {
            let file = base.join(program);
            return match check_executable(&file) {
                Ok(()) => Ok(file),
                Err(what) => Err(format!("names the program {}, which {what}", quoted(program))),
            };
        }
        let path = self.environment.get("PATH").map(String::as_str).or(search_path).unwrap_or(DEFAULT_SEARCH_PATH);
        let found = path.split(':').map(|folder| base.join(folder).join(program)).find(|file| check_executable(file).is_ok());
        found.ok_or_else(|| format!("names the program {}, which is not in PATH ({path})", quoted(program)))
    }

    /// Its user, where one is named.
    ///
    /// # Errors
    /// What is wrong with the user, as a phrase that goes on "`user` …".
    pub fn find_user(&self) -> Result<Option<User>, String> {
        let Some(name) = &self.user else { return Ok(None) };
        let found = match User::from_name(name) {
            Ok(None) => name.parse().map_or(Ok(None), |number| User::from_uid(Uid::from_raw(number))),
            found => found,
        };
        match found {
            Ok(Some(user)) => Ok(Some(user)),
            Ok(None) => Err(format!("names the user {}, who does not exist", quoted(name))),
            Err(error) => Err(format!("names the user {}, who cannot be looked up: {}", quoted(name), error.desc())),
        }
    }

    /// Whether its working directory, where one is named, is absolute and there.
    ///
    /// # Errors
    /// What is wrong with it, as a phrase that goes on "`working_directory` …".
    pub fn check_working_directory(&self) -> Result<(), String> {
        let Some(directory) = &self.working_directory else { return Ok(()) };
        let what = match std::fs::metadata(directory) {
            _ if !directory.is_absolute() => "is not an absolute path".to_owned(),
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => "is not a directory".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
            Err(error) => format!("cannot be looked at: {}", reason(&error)),
        };
        Err(format!("names {}, which {what}", quoted(&directory.to_string_lossy())))
    }
}

/// Whether anyone may execute `file`: the module may run as another user than whoever asks.
fn check_executable(file: &Path) -> Result<(), String> {
    match std::fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => Err("is not a file".into()),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => Err("is not executable".into()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("does not exist".into()),
        Err(error) => Err(format!("cannot be looked at: {}", reason(&error))),
    }
}

/// The system's words for an error, without its number.
pub(super) fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}
