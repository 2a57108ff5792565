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
    /// Where the programs of modules are searched that set no `PATH` of their own: that of the environment in which
    /// the settings were read. For [`Process::find_program`].
    #[must_use]
    pub fn search_path(&self) -> Option<&str> {
        self.search_path.as_deref()
    }

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

    fn check(&self, process: &Process, at: &JsonPath<'_>, problems: &mut Problems) {
        if let Err(what) = process.find_user() {
            problems.add(&at.key("user"), what);
        }
        match process.check_working_directory() {
            Ok(()) => {
                if let Err(what) = process.find_program(self.search_path()) {
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
        self.user.as_deref().map(find_user).transpose()
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

/// The user of this name or number.
///
/// # Errors
/// What is wrong with it, as a phrase that goes on "`user` …".
pub fn find_user(name: &str) -> Result<User, String> {
    let found = match User::from_name(name) {
        Ok(None) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
            name.parse().map_or(Ok(None), |number| User::from_uid(Uid::from_raw(number)))
        }
        found => found,
    };
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("names the user {}, who does not exist", quoted(name))),
        Err(error) => Err(format!("names the user {}, who cannot be looked up: {}", quoted(name), error.desc())),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use indexmap::IndexMap;
    use tempfile::TempDir;

    use super::*;

    fn process(program: &str) -> Process {
        Process {
            command: vec![program.to_owned()],
            environment: IndexMap::new(),
            working_directory: None,
            user: None,
            limits: IndexMap::new(),
        }
    }

    /// A folder with the program `run`, the text `text` and the folder `folder`.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [("run", 0o710), ("text", 0o644)] {
            let file = folder.path().join(name);
            fs::write(&file, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(folder.path().join("folder")).unwrap();
        folder
    }

    #[test]
    fn a_program_by_its_path() {
        let folder = folder();
        let named = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        assert_eq!(process(&named("run")).find_program(None), Ok(named("run").into()));
        for (name, what) in [("text", "is not executable"), ("folder", "is not a file"), ("none", "does not exist")] {
            let expected = format!("names the program \"{}\", which {what}", named(name));
            assert_eq!(process(&named(name)).find_program(None), Err(expected));
        }
        let beyond = process(&named("text/x")).find_program(None).unwrap_err();
        assert!(beyond.ends_with("which cannot be looked at: Not a directory"), "{beyond}");
    }

    #[test]
    fn a_program_relative_to_its_working_directory() {
        let folder = folder();
        let mut process = process("./run");
        assert!(process.find_program(None).is_err());
        process.working_directory = Some(folder.path().to_path_buf());
        assert_eq!(process.find_program(None), Ok(folder.path().join("./run")));
    }

    #[test]
    fn a_program_in_path() {
        let folder = folder();
        let here = folder.path().to_str().unwrap();
        let path = format!("/nowhere:{here}");
        assert_eq!(process("run").find_program(Some(&path)), Ok(folder.path().join("run")));
        let missing = |path| Err(format!("names the program \"run\", which is not in PATH ({path})"));
        assert_eq!(process("run").find_program(None), missing("/bin:/usr/bin"));
        assert!(process("text").find_program(Some(&path)).is_err());
        // The module's own PATH is the one that counts.
        let mut own = process("run");
        own.environment.insert("PATH".into(), "/nowhere".into());
        assert_eq!(own.find_program(Some(&path)), missing("/nowhere"));
        own.environment.insert("PATH".into(), here.into());
        assert_eq!(own.find_program(Some("/nowhere")), Ok(folder.path().join("run")));
        assert!(process("sh").find_program(None).is_ok());
    }

    #[test]
    fn users() {
        let find = |name: &str| {
            let found = Process { user: Some(name.to_owned()), ..process("sh") }.find_user();
            found.map(|user| user.map(|user| user.name))
        };
        assert_eq!(process("sh").find_user().map(|user| user.is_none()), Ok(true));
        assert_eq!(find("root"), Ok(Some("root".into())));
        assert_eq!(find("0"), Ok(Some("root".into())));
        for name in ["no such user", "4294967294", "99999999999999", "+0", "-1"] {
            assert_eq!(find(name), Err(format!("names the user \"{name}\", who does not exist")));
        }
    }

    #[test]
    fn working_directories() {
        let folder = folder();
        let check = |directory: &Path| {
            Process { working_directory: Some(directory.to_path_buf()), ..process("sh") }.check_working_directory()
        };
        assert_eq!(process("sh").check_working_directory(), Ok(()));
        assert_eq!(check(folder.path()), Ok(()));
        for (name, what) in [("text", "is not a directory"), ("none", "does not exist")] {
            let directory = folder.path().join(name);
            assert_eq!(check(&directory), Err(format!("names \"{}\", which {what}", directory.display())));
        }
        assert_eq!(check(Path::new("$HOME/x")), Err("names \"$HOME/x\", which is not an absolute path".into()));
    }

    #[test]
    fn all_problems_with_their_places() {
        let text = r#"{"ports": {"a": 1, "b": 2, "c": 3}, "services": {
            "a": {"kind": "queue", "modules": {"good": {"process": ["sh"]}, "one": {"process": ["/nowhere/x"], "user": "no one"}},
                  "backgrounds": {"two": {"process": ["./x"], "working_directory": "$UNSET/x"}}},
            "b": {"kind": "pool", "modules": {"three four": {"process": ["nosuchprogram"], "environment": {"PATH": ""}}}},
            "c": {"kind": "app", "process": ["sh"], "working_directory": "/nowhere"}}}"#;
        let settings = Settings::parse_with(text, Path::new("s.json"), &|name| (name == "PATH").then(|| "/bin".into())).unwrap();
        let problems: Vec<String> = settings.problems_of_machine().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "s.json: services.a.modules.one.user names the user \"no one\", who does not exist.",
                "s.json: services.a.modules.one.process[0] names the program \"/nowhere/x\", which does not exist.",
                "s.json: services.a.backgrounds.two.working_directory names \"$UNSET/x\", which is not an absolute path.",
                "s.json: services.b.modules[\"three four\"].process[0] names the program \"nosuchprogram\", which is not in PATH ().",
                "s.json: services.c.working_directory names \"/nowhere\", which does not exist.",
            ]
        );
        assert_eq!(settings.problems_of_machine()[0].path, "services.a.modules.one.user");
    }
}
