//! What besides the settings decides on the units: whose manager reads them, its version, whether there is IPv6.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::settings::{Place, below};

/// Where the library of systemd is whose name tells its version; below the second, in folders such as `x86_64-linux-gnu`.
const LIBRARIES: [&str; 2] = ["/usr/lib/systemd", "/usr/lib64/systemd"];
const LIBRARIES_BY_MACHINE: &str = "/usr/lib";
const LIBRARY: &str = "libsystemd-shared-";

/// From here on there is `Type=notify-reload`.
const NOTIFY_RELOAD: u32 = 253;
/// From here on there are `RestartSteps=`, `RestartMaxDelaySec=` and `RestartMode=`.
const RESTART_STEPS: u32 = 254;

/// Of which variables the settings may make use: the same for the generator and `shmz apply`, whatever the environment of who
/// called that.
const USER_VARIABLES: [&str; 7] =
    ["HOME", "LOGNAME", "USER", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"];

/// Which manager reads the units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// That of the machine.
    System,
    /// That of a user.
    User,
}

/// Looks up variables of the environment.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What besides the settings decides on the units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Who reads them.
    pub manager: Manager,
    /// The version of systemd, where it is known.
    pub version: Option<u32>,
    /// Whether the kernel knows IPv6. Where it does not, a socket that listens on an address of it too would not open at all.
    pub ipv6: bool,
    /// The user whose manager it is, where it is one's.
    pub user: Option<String>,
    /// Below which the files of the machine are.
    pub(super) root: PathBuf,
}

impl Manager {
    /// The one that runs this process as a generator.
    pub(super) fn of_generator(variables: Variables<'_>) -> Self {
        match variables("SYSTEMD_SCOPE").as_deref() {
            Some("user") => Self::User,
            Some("system") => Self::System,
            _ if geteuid().is_root() => Self::System,
            // Of systemd before 251.
            _ => Self::User,
        }
    }

    /// The variables of `variables` that settings may use here.
    pub fn variables<'a>(self, variables: Variables<'a>) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| if self == Self::User && USER_VARIABLES.contains(&name) { variables(name) } else { None }
    }

    /// The places of settings, the first that is there being the one that counts.
    pub(super) fn places(self, variables: Variables<'_>) -> Vec<Place> {
        let user = if self == Self::User { Place::of_user(variables) } else { None };
        user.into_iter().chain([Place::of_system()]).collect()
    }
}

impl Surroundings {
    /// Looks round on a machine whose files are below `root`.
    #[must_use]
    pub fn look(manager: Manager, variables: Variables<'_>, root: &Path) -> Self {
        let user = if manager == Manager::User { variables("USER").or_else(|| variables("LOGNAME")) } else { None };
        Self {
            manager,
            version: version(root),
            // As systemd itself finds out.
            ipv6: below(root, Path::new("/proc/net/if_inet6")).exists(),
            user,
            root: root.to_path_buf(),
        }
    }

    /// Whether there is `Type=notify-reload`, for which older ones would take `simple`.
    pub(super) fn knows_notify_reload(&self) -> bool {
        self.version.is_some_and(|version| version >= NOTIFY_RELOAD)
    }

    /// Whether a service can be restarted without failing in between.
    pub(super) fn knows_restart_mode(&self) -> bool {
        self.version.is_some_and(|version| version >= RESTART_STEPS)
    }

    /// Whether the delay before a restart can grow.
    pub(super) fn knows_restart_steps(&self) -> bool {
        self.version.is_some_and(|version| version >= RESTART_STEPS)
    }
}

/// The version of systemd by the name of its library. Where there are several, in the middle of an upgrade, the lowest: what it
/// knows the others know, too.
fn version(root: &Path) -> Option<u32> {
    let by_machine = fs::read_dir(below(root, Path::new(LIBRARIES_BY_MACHINE))).into_iter().flatten().flatten();
    let by_machine = by_machine.filter(|entry| entry.file_name().to_string_lossy().contains("-linux-"));
    let folders = LIBRARIES.iter().map(|folder| below(root, Path::new(folder)));
    folders
        .chain(by_machine.map(|entry| entry.path().join("systemd")))
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| version_of(&entry.file_name().to_string_lossy()))
        .min()
}

/// `libsystemd-shared-257.so`, `libsystemd-shared-257.4-1.fc42.so`.
fn version_of(file_name: &str) -> Option<u32> {
    let rest = file_name.strip_prefix(LIBRARY)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(version(root), None);
        let put = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        put("usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so");
        put("usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-257.so");
        put("usr/lib/other/systemd/libsystemd-shared-1.so");
        assert_eq!(version(root), Some(257));
        put("usr/lib64/systemd/libsystemd-shared-256.4-1.fc42.so");
        assert_eq!(version(root), Some(256));
        put("usr/lib/systemd/libsystemd-shared-252.so");
        assert_eq!(version(root), Some(252));
        assert_eq!(version_of("libsystemd-shared-.so"), None);
    }

    #[test]
    fn of_this_machine() {
        assert!(version(Path::new("/")).is_none_or(|version| version > 200));
    }

    #[test]
    fn settings_use_a_user_s_variables_and_no_others() {
        let all = |name: &str| Some(format!("<{name}>"));
        let user = Manager::User.variables(&all);
        assert_eq!((user("HOME"), user("PATH")), (Some("<HOME>".into()), None));
        assert_eq!(Manager::System.variables(&all)("HOME"), None);
    }
}
