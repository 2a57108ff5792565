//! The roots that machines start from: built at most once for each recipe, however many tests ask at the same time.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};

use crate::scratch::{cache, lock};
use crate::{Kind, Outcome};

/// A cached folder. It is not removed while this lives.
pub(crate) struct Cached {
    /// Where it is.
    pub path: PathBuf,
    _in_use: Flock<File>,
}

/// The root of that kind, built if need be: about two minutes on a small host, with the Debian mirror near.
pub(crate) fn root(kind: Kind) -> Outcome<Cached> {
    let mut recipe = vec![include_str!("../roots.sh")];
    if kind.is_emulated() {
        recipe.extend([include_str!("../agent.py"), include_str!("../agent.service")]);
    }
    cached(&kind.to_string(), &recipe, |partial| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("roots.sh");
        let output = Command::new("bash")
            .arg(script)
            .args([kind.make(), kind.suite().name()])
            .arg(partial)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start roots.sh: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("the root of {kind} could not be built: {}", String::from_utf8_lossy(&output.stderr).trim()))
    })
}

/// The folder `NAME-HASH` of the cache, where the hash is that of the recipe. When it is not there, `build` makes it at the path that it is given.
pub(crate) fn cached(name: &str, recipe: &[&str], build: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<Cached> {
    cached_in(&cache()?.join("roots"), name, recipe, build)
}

fn cached_in(roots: &Path, name: &str, recipe: &[&str], build: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<Cached> {
    fs::create_dir_all(roots).map_err(|error| format!("cannot make {}: {error}", roots.display()))?;
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    let full = format!("{name}-{:016x}", hasher.finish());
    let path = roots.join(&full);
    let lock_path = roots.join(format!("{full}.lock"));
    let in_use = lock(&lock_path, FlockArg::LockShared)?;
    if path.exists() {
        return Ok(Cached { path, _in_use: in_use });
    }
    drop(in_use);
    let build_lock = lock(&lock_path, FlockArg::LockExclusive)?;
    if !path.exists() {
        let partial = roots.join(format!("{full}.partial"));
        remove(&partial)?;
        let start = Instant::now();
        eprintln!("building {} ...", path.display());
        build(&partial)?;
        fs::rename(&partial, &path).map_err(|error| format!("cannot keep {}: {error}", path.display()))?;
        eprintln!("built {} in {:.0} s", path.display(), start.elapsed().as_secs_f64());
        forget_others(roots, name, &full);
    }
    drop(build_lock);
    // Nobody removes the newest one in between: only who has built a newer one removes, and this is it.
    Ok(Cached { path, _in_use: lock(&lock_path, FlockArg::LockShared)? })
}

/// Removes what was built from older recipes of the same name and is in nobody's use.
fn forget_others(roots: &Path, name: &str, kept: &str) {
    let Ok(entries) = fs::read_dir(roots) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(other) = file_name.to_str().and_then(|file| file.strip_suffix(".lock")) else { continue };
        let of_that_name = other.strip_prefix(name).is_some_and(|rest| rest.len() == 17 && rest.starts_with('-'));
        if other == kept || !of_that_name {
            continue;
        }
        if let Ok(_unused) = lock(&entry.path(), FlockArg::LockExclusiveNonblock) {
            let _ = remove(&roots.join(other));
            let _ = remove(&roots.join(format!("{other}.partial")));
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove(folder: &Path) -> Outcome<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).map_err(|error| format!("cannot remove {}: {error}", folder.display()))
}

#[cfg(test)]
mod checks {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    /// A folder for one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("shmooze-test-cache-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn make(path: &Path) -> Outcome<()> {
        fs::create_dir(path).map_err(|error| error.to_string())
    }

    #[test]
    fn many_ask_and_one_builds() {
        let folder = Folder::new("many");
        let built = AtomicU32::new(0);
        let count = |path: &Path| {
            built.fetch_add(1, Ordering::Relaxed);
            make(path)
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(cached_in(&folder.0, "root", &["recipe"], count).unwrap().path.is_dir()));
            }
        });
        assert_eq!(built.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_build_that_fails_is_tried_again() {
        let folder = Folder::new("fails");
        let half = |path: &Path| make(path).and(Err("no network".to_owned()));
        assert_eq!(cached_in(&folder.0, "root", &["recipe"], half).err().as_deref(), Some("no network"));
        assert!(cached_in(&folder.0, "root", &["recipe"], make).is_ok());
    }

    #[test]
    fn a_new_recipe_takes_the_place_of_old_ones_that_nobody_uses() {
        let folder = Folder::new("old");
        let unused = cached_in(&folder.0, "root", &["1"], make).unwrap().path;
        let used = cached_in(&folder.0, "root", &["2"], make).unwrap();
        let other = cached_in(&folder.0, "root-of-another", &["1"], make).unwrap().path;
        let newest = cached_in(&folder.0, "root", &["3"], make).unwrap().path;
        assert!(!unused.exists());
        assert!(used.path.exists() && other.exists() && newest.exists());
    }
}
