//! Where the lists of services are kept that are launched again after a reboot.

use std::env;
use std::path::PathBuf;

use crate::settings::Service;
use crate::store::{List, OpenError, Store, file_in};

/// Options of a program that keeps lists.
#[derive(Debug, Clone, clap::Args)]
pub struct StateOptions {
    /// Folder for the lists of services with "restore"; else STATE_DIRECTORY, else shmooze/lists where a user's state is
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
}

impl StateOptions {
    /// The stored list of a service, where its settings want one.
    ///
    /// # Errors
    /// One sentence where there is no place for it, or another process has it.
    pub(super) async fn open(&self, name: &str, service: &Service) -> Result<(Store, List), String> {
        let nothing = (Store::off(), List::default());
        if !service.lists().is_some_and(|lists| lists.restore) {
            return Ok(nothing);
        }
        let folder = self.folder(&|name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from));
        let Some(folder) = folder else {
            return Err(format!(
                "services.{name}.restore is true and there is no place for the list: --state names none, and neither \
                 STATE_DIRECTORY nor HOME is set"
            ));
        };
        let (path, service) = (file_in(&folder, name), name.to_owned());
        match tokio::task::spawn_blocking(move || Store::open(&path, &service)).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error @ OpenError::InUse(_))) => Err(format!("{name}: {error}")),
            // There is a list that cannot be read now, and may be at the next start: it stays as it is.
            Ok(Err(error)) => {
                tracing::error!("{name} begins without its list, which stays as it is until a restart: {error}");
                Ok(nothing)
            }
            Err(error) => Err(format!("{name}: {error}")),
        }
    }

    fn folder(&self, variable: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
        let of_unit = || {
            let folders = variable("STATE_DIRECTORY")?;
            env::split_paths(&folders).next()
        };
        // Relative ones are invalid (XDG Base Directory Specification).
        let of_user = || {
            let named = variable("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
            let state = named.or_else(|| Some(variable("HOME")?.join(".local/state")))?;
            Some(state.join("shmooze/lists"))
        };
        self.state.clone().or_else(of_unit).or_else(of_user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let folder = |state: Option<&str>, variables: &[(&str, &str)]| {
            let options = StateOptions { state: state.map(PathBuf::from) };
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            options.folder(&find).map(|folder| folder.display().to_string())
        };
        let unit = ("STATE_DIRECTORY", "/var/lib/shmooze/shmooze-queue:/var/lib/other");
        let home = ("HOME", "/home/alice");
        assert_eq!(folder(Some("/srv"), &[unit, home]).unwrap(), "/srv");
        assert_eq!(folder(None, &[home, unit]).unwrap(), "/var/lib/shmooze/shmooze-queue");
        assert_eq!(folder(None, &[home]).unwrap(), "/home/alice/.local/state/shmooze/lists");
        assert_eq!(folder(None, &[home, ("XDG_STATE_HOME", "/state")]).unwrap(), "/state/shmooze/lists");
        assert_eq!(folder(None, &[home, ("XDG_STATE_HOME", "state")]).unwrap(), "/home/alice/.local/state/shmooze/lists");
        assert_eq!(folder(None, &[]), None);
    }
}
