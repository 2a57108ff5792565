//! Where the gateway's tokens come from: a credential of the service manager's, or a file named on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blocking;
use crate::access::Tokens;
use crate::settings::{Keeper, Settings, load_tokens};

/// The variable of the environment that names the folder of credentials (`systemd.exec(5)`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// What the credential is called.
const CREDENTIAL: &str = "tokens";

/// Options of what serves HTTP.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TokenOptions {
    /// Which endpoints take which tokens; else the credential `tokens` of the service manager, where it gives one
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
}

impl TokenOptions {
    /// Reads the tokens, for the endpoints of `settings`. Where neither a file nor a credential is given, there are none.
    ///
    /// # Errors
    /// All that is wrong with the file, one sentence a line; one that is named and cannot be read is at fault, too.
    pub async fn load(&self, settings: &Arc<Settings>) -> Result<Arc<Tokens>, String> {
        let credentials = std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from);
        let (given, settings) = (self.tokens.clone(), Arc::clone(settings));
        blocking(move || match file(given.as_deref(), credentials.as_deref()) {
            Some((path, keeper)) => load_tokens(&path, keeper, &settings).map_err(|error| error.to_string()),
            None => Ok(Tokens::default()),
        })
        .await
        .map(Arc::new)
    }
}

/// The file, and who vouches for it. Of a folder of credentials only what is certainly not there counts as not given.
fn file(given: Option<&Path>, credentials: Option<&Path>) -> Option<(PathBuf, Keeper)> {
    if let Some(path) = given {
        return Some((path.to_path_buf(), Keeper::Owner));
    }
    let path = credentials?.join(CREDENTIAL);
    let is_missing = std::fs::symlink_metadata(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    (!is_missing).then_some((path, Keeper::Manager))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_file() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        assert_eq!(file(None, None), None);
        assert_eq!(file(None, Some(here)), None);
        let named = Path::new("/nowhere/x");
        assert_eq!(file(Some(named), Some(here)), Some((named.to_path_buf(), Keeper::Owner)));
        std::os::unix::fs::symlink("/nowhere/x", here.join("tokens")).unwrap();
        assert_eq!(file(None, Some(here)), Some((here.join("tokens"), Keeper::Manager)));
        // A folder that is none.
        std::fs::write(here.join("file"), "").unwrap();
        assert!(file(None, Some(&here.join("file"))).is_some());
    }
}
