//! Where the settings of a machine and of a user are, and the copy of those that were good last.
//!
//! ```text
//!   /etc/shmooze/settings.json ──good──▶ in force ──Place::keep──▶ /var/lib/shmooze/settings.json
//!              │                                                            │
//!              ╰──────broken──▶ Place::fallback: in force as it was ◀───────╯
//! ```
//!
//! An administrator who slips does not lose what runs: at the next start of the machine it is as it was before the slip.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::{DEFAULT_FILE, Detail, Settings, SettingsError};

/// The copy of [`DEFAULT_FILE`].
const DEFAULT_COPY: &str = "/var/lib/shmooze/settings.json";

/// Where it is below a user's folders of configuration and of state (XDG Base Directory Specification).
const USER_FILE: &str = "shmooze/settings.json";

/// Writable by others than their owner.
const WRITABLE: u32 = 0o022;

/// A settings file that a service manager goes by, and its last good copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file that people edit.
    pub file: PathBuf,
    /// Where the copy is kept.
    pub copy: PathBuf,
}

/// What can be had in place of a broken file.
#[derive(Debug)]
pub enum Fallback {
    /// The settings that were good last, as if they stood in the file itself.
    Good(Box<Settings>),
    /// Nothing, for this reason; a sentence that names the copy.
    None(String),
}

impl Place {
    /// That of the machine.
    #[must_use]
    pub fn of_system() -> Self {
        Self { file: DEFAULT_FILE.into(), copy: DEFAULT_COPY.into() }
    }

    /// That of the user whose environment `lookup` knows; `None` where it names no home.
    #[must_use]
    pub fn of_user(lookup: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        // As the specification has it: a path that is not absolute is as good as none.
        let folder = |variable: &str| lookup(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        Some(Self {
            file: folder("XDG_CONFIG_HOME").or_else(|| below_home(".config"))?.join(USER_FILE),
            copy: folder("XDG_STATE_HOME").or_else(|| below_home(".local/state"))?.join(USER_FILE),
        })
    }

    /// The place that `file` is the settings file of, seen from this process; `None` for any other file, of which no copy is
    /// kept.
    #[must_use]
    pub fn of_file(file: &Path) -> Option<Self> {
        let user = Self::of_user(&|name| std::env::var(name).ok());
        [Some(Self::of_system()), user].into_iter().flatten().find(|place| place.file == file)
    }

    /// What is in force where the file is there and at fault: the copy, read with the variables that `lookup` knows.
    pub fn fallback(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Fallback {
        self.fallback_in(Path::new("/"), lookup)
    }

    /// As [`Place::fallback`] on a machine whose files are below `root`.
    pub(crate) fn fallback_in(&self, root: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Fallback {
        let copy = below(root, &self.copy);
        let shown = self.copy.display();
        match check_trust(&copy) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => return Fallback::None(format!("There is no last good copy {shown}.")),
            Err(error) => return Fallback::None(format!("The last good copy {shown} is not used: {error}.")),
        }
        match Settings::read_file(&copy, &self.file, lookup, Detail::All) {
            Ok(settings) => Fallback::Good(Box::new(settings)),
            Err(SettingsError { problems }) => {
                // As of an older version, whose settings are not those of this one.
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                Fallback::None(format!("The last good copy {shown} is at fault, too: {first}"))
            }
        }
    }

    /// Keeps `settings` as the last good ones; answers whether the copy was another before. It is replaced as a whole or not
    /// at all.
    ///
    /// # Errors
    /// Where the copy cannot be written.
    pub fn keep(&self, settings: &Settings) -> io::Result<bool> {
        if check_trust(&self.copy).is_ok() && fs::read_to_string(&self.copy).is_ok_and(|kept| kept == settings.text()) {
            return Ok(false);
        }
        let folder = self.copy.parent().unwrap_or_else(|| Path::new("/"));
        if !folder.exists() {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        let draft = self.copy.with_extension(format!("json.{}", std::process::id()));
        let written = write(&draft, settings.text(), &self.file).and_then(|()| fs::rename(&draft, &self.copy));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written.map(|()| true)
    }
}

impl Settings {
    /// The settings that were good last in place of those in the file that [`Settings::load`] reads, with the place of their
    /// copy; `None` where that file is missing or no service manager goes by it, or there are none.
    #[must_use]
    pub fn last_good(path: Option<&Path>) -> Option<(Self, Place)> {
        let file = Self::file_of(path);
        let place = Place::of_file(&file)?;
        if fs::symlink_metadata(&file).is_err_and(|error| is_missing(&error)) {
            return None;
        }
        match place.fallback(&|name| std::env::var(name).ok()) {
            Fallback::Good(settings) => Some((*settings, place)),
            Fallback::None(_) => None,
        }
    }
}

/// Whether a file is not there, nor the folder that it would be in.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The absolute `path` on a machine whose files are below `root`.
pub(crate) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Whether nobody could have written `copy` but root and this process's own user: it says what is run, and as whom.
fn check_trust(copy: &Path) -> io::Result<()> {
    for path in [Some(copy), copy.parent()].into_iter().flatten() {
        let metadata = fs::symlink_metadata(path)?;
        let owner = metadata.uid();
        let is_own = owner == 0 || owner == geteuid().as_raw();
        if !is_own || metadata.mode() & WRITABLE != 0 || metadata.is_symlink() {
            return Err(io::Error::other(format!("{} is not root's alone", path.display())));
        }
    }
    Ok(())
}

/// Writes a new file that survives a power cut once it has its name. Who may not read `original` may not read it either.
fn write(path: &Path, text: &str, original: &Path) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    if let Ok(original) = fs::metadata(original) {
        let is_same_group = fchown(&file, None, Some(original.gid())).is_ok();
        let readers = if is_same_group { 0o644 } else { 0o604 };
        file.set_permissions(fs::Permissions::from_mode(original.mode() & readers))?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place(folder: &Path) -> Place {
        Place { file: folder.join("etc/settings.json"), copy: folder.join("state/shmooze/settings.json") }
    }

    fn settings(port: u16) -> Settings {
        Settings::parse(&format!("{{\"ports\": {{\"queue\": {port}}}}}"), Path::new("/s.json")).unwrap()
    }

    fn reason(place: &Place) -> String {
        match place.fallback(&|_| None) {
            Fallback::None(reason) => reason,
            Fallback::Good(settings) => panic!("{settings:?}"),
        }
    }

    #[test]
    fn of_a_user() {
        let place = |variables: &[(&str, &str)]| {
            Place::of_user(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
                .map(|place| (place.file.display().to_string(), place.copy.display().to_string()))
        };
        let shown = |file: &str, copy: &str| Some((file.to_owned(), copy.to_owned()));
        let home = shown("/h/.config/shmooze/settings.json", "/h/.local/state/shmooze/settings.json");
        assert_eq!(place(&[("HOME", "/h")]), home);
        assert_eq!(place(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "relative"), ("XDG_STATE_HOME", "")]), home);
        let own = shown("/c/shmooze/settings.json", "/s/shmooze/settings.json");
        assert_eq!(place(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "/s")]), own);
        assert_eq!(place(&[("XDG_CONFIG_HOME", "/c")]), None);
    }

    #[test]
    fn what_is_kept_is_what_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        assert_eq!(reason(&place), format!("There is no last good copy {}.", place.copy.display()));
        assert!(place.keep(&settings(1)).unwrap());
        assert!(!place.keep(&settings(1)).unwrap(), "it is the same");
        assert!(place.keep(&settings(2)).unwrap());
        let Fallback::Good(settings) = place.fallback(&|_| None) else { panic!() };
        assert_eq!((settings.ports["queue"], &settings.file), (2, &place.file), "paths in it mean what they meant in the file");
        // No draft is left.
        assert_eq!(fs::read_dir(place.copy.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_copy_that_others_could_have_written_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        place.keep(&settings(1)).unwrap();
        for path in [&*place.copy, place.copy.parent().unwrap()] {
            let before = fs::metadata(path).unwrap().permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(before.mode() | 0o020)).unwrap();
            assert!(reason(&place).ends_with(&format!("is not used: {} is not root's alone.", path.display())));
            fs::set_permissions(path, before).unwrap();
        }
        assert!(matches!(place.fallback(&|_| None), Fallback::Good(_)));
        fs::rename(&place.copy, folder.path().join("other")).unwrap();
        symlink(folder.path().join("other"), &place.copy).unwrap();
        assert!(reason(&place).contains("is not root's alone"));
        // And is replaced by one that is.
        assert!(place.keep(&settings(1)).unwrap());
        assert!(matches!(place.fallback(&|_| None), Fallback::Good(_)));
    }

    #[test]
    fn a_copy_at_fault() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        place.keep(&settings(1)).unwrap();
        fs::write(&place.copy, "{").unwrap();
        let reason = reason(&place);
        assert!(reason.contains("is at fault, too: ") && reason.contains("is not JSON at line 1"), "{reason}");
    }

    #[test]
    fn secrets_stay_so() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        fs::create_dir(place.file.parent().unwrap()).unwrap();
        fs::write(&place.file, "").unwrap();
        for (port, mode, expected) in [(1, 0o640, 0o640), (2, 0o600, 0o600), (3, 0o666, 0o644)] {
            fs::set_permissions(&place.file, fs::Permissions::from_mode(mode)).unwrap();
            place.keep(&settings(port)).unwrap();
            assert_eq!(fs::metadata(&place.copy).unwrap().mode() & 0o7777, expected);
        }
    }

    #[test]
    fn where_it_cannot_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state"), "").unwrap();
        assert!(place(folder.path()).keep(&settings(1)).is_err());
    }
}
