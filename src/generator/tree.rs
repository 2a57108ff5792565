//! A folder of units: files, and the symbolic links that want them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::TARGET;
use crate::unit_name::PREFIX;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file with this text.
    File(String),
    /// A symbolic link to there.
    Link(PathBuf),
}

/// Units and links by their paths within the folder, of which each has at most one folder above it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// All of them.
    pub entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Puts a file there.
    pub(super) fn file(&mut self, path: String, text: String) {
        self.entries.insert(path, Entry::File(text));
    }

    /// Has the target want `unit`.
    pub(super) fn want(&mut self, unit: &str) {
        self.entries.insert(format!("{TARGET}.wants/{unit}"), Entry::Link(Path::new("..").join(unit)));
    }

    /// The text of a file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.entries.get(path)? {
            Entry::File(text) => Some(text),
            Entry::Link(_) => None,
        }
    }

    /// Writes everything below `folder`, which is there.
    ///
    /// # Errors
    /// With the path that could not be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        for (path, entry) in &self.entries {
            let path = folder.join(path);
            let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| match entry {
                Entry::File(text) => fs::write(&path, text),
                Entry::Link(to) => symlink(to, &path),
            });
            written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }

    /// What stands below `folder` that is this project's; nothing where there is no such folder.
    ///
    /// # Errors
    /// With the path that could not be read.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        for (name, path) in list(folder)? {
            if name.starts_with(PREFIX) || name.starts_with(TARGET) {
                tree.read_entry(name, &path)?;
            }
        }
        Ok(tree)
    }

    fn read_entry(&mut self, name: String, path: &Path) -> io::Result<()> {
        let with_path = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let kind = fs::symlink_metadata(path).map_err(with_path)?.file_type();
        if kind.is_dir() {
            for (below, path) in list(path)? {
                self.read_entry(format!("{name}/{below}"), &path)?;
            }
        } else if kind.is_symlink() {
            self.entries.insert(name, Entry::Link(fs::read_link(path).map_err(with_path)?));
        } else {
            self.entries.insert(name, Entry::File(fs::read_to_string(path).map_err(with_path)?));
        }
        Ok(())
    }
}

/// Names and paths in a folder; none where there is none. A name that is no text is nobody of ours.
fn list(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let with_path = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(with_path(error)),
    };
    let mut list = Vec::new();
    for entry in entries {
        let entry = entry.map_err(with_path)?;
        list.extend(entry.file_name().into_string().ok().map(|name| (name, entry.path())));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.file("shmooze-queue.socket.d/50-settings.conf".into(), "[Socket]\n".into());
        tree.file(r"shmooze-my\x2dqueue.socket".into(), String::new());
        tree.want(r"shmooze-my\x2dqueue.socket");
        tree.write(folder.path()).unwrap();
        let link = folder.path().join(r"shmooze.target.wants/shmooze-my\x2dqueue.socket");
        assert_eq!(fs::read_link(link).unwrap(), Path::new(r"../shmooze-my\x2dqueue.socket"));
        // Those of others are not ours.
        fs::write(folder.path().join("other.service"), "").unwrap();
        fs::create_dir(folder.path().join("multi-user.target.wants")).unwrap();
        assert_eq!(Tree::read(folder.path()).unwrap(), tree);
        assert_eq!(Tree::read(&folder.path().join("none")).unwrap(), Tree::default());
        let error = tree.write(folder.path()).unwrap_err().to_string();
        assert!(error.contains("File exists"), "{error}");
    }
}
