//! `shmooze-generator` as systemd runs it: each folder of `tests/generator/` is a small machine and what comes of it.
//!
//! ```text
//!   01-name/root/…           files of the machine: settings, the library that tells the version of systemd
//!           environment      variables, one a line; SYSTEMD_SCOPE says whose manager it is
//!           expected/…       the units and links
//!           expected.log     what is said
//! ```
//!
//! `SHMOOZE_BLESS=1` writes anew what is expected; look at the difference before it is committed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const GENERATOR: &str = env!("CARGO_BIN_EXE_shmooze-generator");

/// Files with their text and links with their target, by path.
type Entries = BTreeMap<PathBuf, (&'static str, String)>;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generator");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// All below `folder`; nothing where it is not.
fn entries(folder: &Path) -> Entries {
    let mut found = Entries::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(at) = waiting.pop() {
        let Ok(list) = fs::read_dir(&at) else { continue };
        for entry in list {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let name = path.strip_prefix(folder).unwrap().to_path_buf();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_symlink() {
                found.insert(name, ("link", fs::read_link(&path).unwrap().display().to_string()));
            } else {
                found.insert(name, ("file", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Copies entries; those of the machine must be writable by nobody else, which a checkout may have otherwise.
fn put(entries: &Entries, folder: &Path) {
    for (name, (kind, content)) in entries {
        let path = folder.join(name);
        let parent = path.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        if *kind == "link" {
            symlink(content, &path).unwrap();
        } else {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn generator(root: &Path, out: &Path, variables: &[(String, String)]) -> Output {
    let [early, late] = ["early", "late"].map(|name| out.with_file_name(name));
    let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Command::new(GENERATOR)
        .args([out, &early, &late])
        .env_clear()
        .env("SHMOOZE_GENERATOR_ROOT", root)
        // Not for the settings of the machine.
        .env("PATH", "/usr/bin:/bin")
        .envs(variables)
        .output()
        .unwrap()
}

/// What came of a case: its units and what was said.
fn run(case: &Path) -> (Entries, String) {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("root"), folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    put(&entries(&case.join("root")), &root);
    let variables = fs::read_to_string(case.join("environment")).unwrap_or_default();
    let variables: Vec<(String, String)> =
        variables.lines().map(|line| line.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap()).collect();
    let output = generator(&root, &out, &variables);
    assert_eq!(output.status.code(), Some(0), "{}", case.display());
    assert_eq!(output.stdout, b"", "{}", case.display());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "only into the first folder");
    (entries(&out), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_comes_of_settings() {
    let bless = std::env::var_os("SHMOOZE_BLESS").is_some();
    let cases = cases();
    assert!(cases.len() >= 10, "{cases:?}");
    for case in cases {
        let (units, said) = run(&case);
        let (expected, log) = (case.join("expected"), case.join("expected.log"));
        if bless {
            let _ = fs::remove_dir_all(&expected);
            put(&units, &expected);
            let _ = fs::remove_file(&log);
            if !said.is_empty() {
                fs::write(&log, &said).unwrap();
            }
        }
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(said, fs::read_to_string(&log).unwrap_or_default(), "{name}: what is said");
        let wanted = entries(&expected);
        for (path, entry) in &wanted {
            let (kind, text) = units.get(path).unwrap_or_else(|| panic!("{name}: {} is missing", path.display()));
            assert_eq!(*kind, entry.0, "{name}: {}", path.display());
            assert_eq!(text, &entry.1, "{name}: {}", path.display());
        }
        let more: Vec<_> = units.keys().filter(|path| !wanted.contains_key(*path)).collect();
        assert!(more.is_empty(), "{name}: {more:?} are not expected");
        for (path, (_, text)) in &units {
            // One of the settings' own words looks like a gap.
            let text = text.replace("@KIND@home", "");
            let gap = text.split('@').skip(1).find(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase()));
            assert_eq!(gap, None, "{name}: {} is not filled in:\n{text}", path.display());
        }
    }
}

/// Nobody else's machine reaches the gateway unless the settings say so.
#[test]
fn the_gateway_listens_to_this_machine_alone() {
    let mut seen = [0, 0];
    for case in cases() {
        let named = fs::read_to_string(case.join("root/etc/shmooze/settings.json")).unwrap_or_default().contains("\"address\"");
        let (units, _) = run(&case);
        let socket = units.get(Path::new("shmooze-gateway.socket.d/50-settings.conf"));
        for address in socket.iter().flat_map(|(_, text)| text.lines()).filter_map(|line| line.strip_prefix("ListenStream=")) {
            let is_loopback = address.is_empty() || address.starts_with("127.0.0.1:") || address.starts_with("[::1]:");
            assert!(is_loopback || named, "{}: {address}", case.display());
            seen[usize::from(!is_loopback)] += 1;
        }
    }
    assert!(seen[0] > 10 && seen[1] > 0, "{seen:?}");
}

/// What is said goes to the kernel's log where there is one, each sentence in one write.
#[test]
fn the_kernel_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("root"), folder.path().join("out"));
    let file = |text: &str| ("file", text.to_owned());
    let machine = Entries::from([("etc/shmooze/settings.json".into(), file("{")), ("dev/kmsg".into(), file(""))]);
    put(&machine, &root);
    fs::create_dir(&out).unwrap();
    let output = generator(&root, &out, &[("SYSTEMD_SCOPE".into(), "system".into())]);
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    let said = fs::read_to_string(root.join("dev/kmsg")).unwrap();
    assert!(said.starts_with("<3>shmooze-generator[") && said.contains("]: /etc/shmooze/settings.json: is not JSON"), "{said}");
    assert!(said.ends_with('\n'), "{said}");
}

/// The start of a machine goes on whatever happens; only who calls it by hand is told that this is not how.
#[test]
fn it_never_fails() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Entries::from([(
        "etc/shmooze/settings.json".into(),
        ("file", "{\"ports\": {\"queue\": 1}, \"services\": {\"queue\": {\"kind\": \"queue\"}}}".into()),
    )]);
    put(&machine, folder.path());
    let full = generator(folder.path(), Path::new("/dev/null/out"), &[("SYSTEMD_SCOPE".into(), "system".into())]);
    let said = String::from_utf8(full.stderr).unwrap();
    assert_eq!(full.status.code(), Some(0));
    assert!(said.contains("Units could not be written: /dev/null/out/"), "{said}");
    // A file that is none.
    fs::remove_file(folder.path().join("etc/shmooze/settings.json")).unwrap();
    fs::create_dir(folder.path().join("etc/shmooze/settings.json")).unwrap();
    let unreadable = generator(folder.path(), folder.path(), &[("SYSTEMD_SCOPE".into(), "system".into())]);
    let said = String::from_utf8(unreadable.stderr).unwrap();
    assert_eq!(unreadable.status.code(), Some(0));
    assert!(said.contains("cannot be read: Is a directory"), "{said}");
    for words in [&[][..], &["a", "b"], &["--help"], &["a", "b", "c", "d"]] {
        let output = Command::new(GENERATOR).args(words).current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("usage: shmooze-generator"), "{words:?}");
    }
}

/// Every unit that is installed or generated says where it is explained, and every daemon is started anew when it fails.
#[test]
fn units_say_where_they_are_explained() {
    let units = entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("units"));
    let units = units.iter().filter(|(path, _)| path.components().count() > 1);
    let mut number = 0;
    for (path, (_, text)) in units {
        let has = |beginning: &str| text.lines().any(|line| line.starts_with(beginning));
        assert!(has("Description=") && has("Documentation=man:"), "{}", path.display());
        let is_daemon = has("[Service]") && !has("Type=oneshot");
        assert!(!is_daemon || has("Restart=on-failure") || has("Restart=always"), "{}", path.display());
        number += 1;
    }
    assert!(number >= 20, "{number}");
}
