//! What is in the packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::{packages, run};

pub fn lintian() {
    let mut command = Command::new("lintian");
    command.args(["--pedantic", "--fail-on", "error,warning,pedantic", "--allow-root"]).arg(packages().file(".changes"));
    let said = run(&mut command).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "");
}

pub fn manual_pages() {
    let root = packages().root.join("usr/share/man");
    let mut pages = Vec::new();
    for section in fs::read_dir(&root).unwrap() {
        let section = section.unwrap().path();
        pages.extend(fs::read_dir(&section).unwrap().map(|page| page.unwrap().path()));
    }
    let names: Vec<String> = pages.iter().map(|page| page.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for wanted in [
        "shmz.1.gz",
        "shmz-add.1.gz",
        "shmz-apply.1.gz",
        "shmooze-run.1.gz",
        "shmooze-settings.5.gz",
        "shmooze-module.7.gz",
        "shmooze-gateway.8.gz",
        "shmooze-generator.8.gz",
        "shmooze-launcher.8.gz",
        "shmooze-pool.8.gz",
        "shmooze-queue.8.gz",
    ] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is missing in {names:?}");
    }
    for page in &pages {
        render(page);
        // Each program and each verb of shmz has one that says what it is.
        let said = run(Command::new("lexgrog").arg(page)).unwrap_or_else(|said| panic!("{said}"));
        assert!(String::from_utf8_lossy(&said.stdout).contains(" - "), "{}", page.display());
    }
}

/// Both who render manual pages have nothing to say about it.
fn render(page: &Path) {
    let mut man = Command::new("man");
    man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(page).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
    let said = run(&mut man).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(String::from_utf8_lossy(&said.stderr), "", "{}", page.display());
    assert!(!said.stdout.is_empty(), "{}", page.display());
    // Its sentence names the lines.
    run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(page)).unwrap_or_else(|said| panic!("{said}"));
}

pub fn completions() {
    let share = packages().root.join("usr/share");
    let bash = share.join("bash-completion/completions/shmz");
    let zsh = share.join("zsh/vendor-completions/_shmz");
    let fish = share.join("fish/vendor_completions.d/shmz.fish");
    let completed = |shell: &str, arguments: &[&str], file: &PathBuf| {
        let said = run(Command::new(shell).args(arguments).arg(file)).unwrap_or_else(|said| panic!("{said}"));
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    // As bash completes `shmz se`.
    let script = "source \"$1\"; COMP_WORDS=(shmz se); COMP_CWORD=1; _shmz shmz se shmz; echo \"${COMPREPLY[*]}\"";
    assert_eq!(completed("bash", &["-c", script, "bash"], &bash), "set-bg send settings\n");
    completed("zsh", &["-n"], &zsh);
    assert!(fs::read_to_string(&zsh).unwrap().starts_with("#compdef shmz\n"));
    completed("fish", &["--no-execute"], &fish);
    let script = "source $argv[1]; complete -C 'shmz se' | string split -f1 \\t | sort";
    assert_eq!(completed("fish", &["--no-config", "-c", script], &fish), "send\nset-bg\nsettings\n");
}
