//! The manual pages beside what they are about, and the version beside itself: whatever is said twice agrees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All names of properties anywhere in a schema.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let ("properties", Some(properties)) = (name.as_str(), value.as_object()) {
                    found.extend(properties.keys().filter(|key| *key != "$schema").cloned());
                }
                keys(value, found);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| keys(element, found)),
        _ => {}
    }
}

/// The words that begin a paragraph of a page: what `.TP` is followed by.
fn described(page: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = page.lines().collect();
    let tags = lines.windows(2).filter(|pair| pair[0] == ".TP").map(|pair| pair[1]);
    tags.flat_map(|tag| tag.split([' ', '"', ','])).map(|word| word.replace("\\-", "-")).collect()
}

#[test]
fn every_key_of_the_settings_has_its_place() {
    let mut wanted = BTreeSet::new();
    keys(&serde_json::from_str(&text("docs/settings.schema.json")).unwrap(), &mut wanted);
    assert!(wanted.len() > 50 && wanted.contains("MemoryMax") && wanted.contains("spare_scopes"), "{wanted:?}");
    let described = described(&text("docs/man/shmooze-settings.5"));
    let missing: Vec<&String> = wanted.difference(&described).collect();
    assert!(missing.is_empty(), "docs/man/shmooze-settings.5 lacks {missing:?}");
}

#[test]
fn every_option_has_its_place() {
    for (program, page) in [
        (env!("CARGO_BIN_EXE_shmooze-gateway"), "shmooze-gateway.8"),
        (env!("CARGO_BIN_EXE_shmooze-launcher"), "shmooze-launcher.8"),
        (env!("CARGO_BIN_EXE_shmooze-pool"), "shmooze-pool.8"),
        (env!("CARGO_BIN_EXE_shmooze-queue"), "shmooze-queue.8"),
        (env!("CARGO_BIN_EXE_shmooze-run"), "shmooze-run.1"),
    ] {
        let output = Command::new(program).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let options = help.split([' ', '\n', ',']).filter(|word| word.starts_with("--"));
        let wanted: BTreeSet<String> = options.map(str::to_owned).collect();
        assert!(wanted.contains("--settings"), "{help}");
        let described = described(&text(&format!("docs/man/{page}")));
        let options: BTreeSet<String> = described.into_iter().filter(|word| word.starts_with("--")).collect();
        assert_eq!(options, wanted, "docs/man/{page}");
    }
}

/// The files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn units_and_catalog_point_to_pages_that_there_are() {
    let (mut units, mut seen) = (Vec::new(), 0);
    files(&file("units"), &mut units);
    for unit in units {
        for line in fs::read_to_string(&unit).unwrap().lines() {
            let Some((_, page)) = line.split_once("Documentation").and_then(|(_, rest)| rest.split_once("man:")) else {
                continue;
            };
            seen += 1;
            // Of templates, for both.
            for kind in ["queue", "pool"] {
                let page = page.replace("@KIND@", kind).replace('(', ".").replace(')', "");
                assert!(file(&format!("docs/man/{page}")).exists(), "{}: {line}", unit.display());
            }
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn pages_point_to_pages_that_there_are() {
    let mut pages = Vec::new();
    files(&file("docs/man"), &mut pages);
    for page in &pages {
        for line in fs::read_to_string(page).unwrap().lines().filter(|line| line.starts_with(".BR shmooze\\-")) {
            let words: Vec<String> = line.split([' ', '(', ')']).map(|word| word.replace("\\-", "-")).collect();
            let [_, name, _, section, ..] = &words[..] else { continue };
            assert!(file(&format!("docs/man/{name}.{section}")).exists(), "{}: {line}", page.display());
        }
    }
    assert!(pages.len() >= 8);
}

#[test]
fn the_package_installs_every_page() {
    let mut pages = Vec::new();
    files(&file("docs/man"), &mut pages);
    let names = pages.iter().map(|page| format!("docs/man/{}", page.file_name().unwrap().display()));
    let installed: BTreeSet<String> = text("debian/shmooze.manpages").lines().map(str::to_owned).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), installed);
}

#[test]
fn the_version_is_one() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(text("debian/changelog").lines().next().unwrap().split(' ').nth(1), Some(&*format!("({version})")));
    assert!(text("sdk/python/pyproject.toml").contains(&format!("\nversion = \"{version}\"\n")));
}

#[test]
fn the_settings_of_the_package_are_sound() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shmz"));
    // What this machine lacks, the package brings.
    let output = command.args(["check", "--only-file", "--settings"]).arg(file("debian/settings.json")).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()), (Some(0), String::new()));
}
