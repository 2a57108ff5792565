//! `shmz apply` with a `systemctl` that plays a script: what it says, what it asks for, and where it stops. What systemd makes of
//! it is shown on booted machines (`tests/units/apply.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A user, their home, and the manager that they have.
struct Home {
    folder: TempDir,
}

#[derive(Debug, PartialEq)]
struct Ran {
    out: String,
    err: String,
    code: i32,
}

impl Home {
    /// In whose manager these units are up, so that `list-units` prints them.
    fn with(units: &[&str]) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        let path = |name: &str| home.path(name).display().to_string();
        for folder in ["bin", "run/systemd/generator"] {
            fs::create_dir_all(home.path(folder)).unwrap();
        }
        let list: String = units.iter().map(|unit| format!("{unit} loaded active running Text\n")).collect();
        fs::write(home.path("list"), list).unwrap();
        // Fails at what the file `bad` names.
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --user ] || exit 9\nshift\ncase $1 in\n\
             show-environment) printf 'HOME=%s\\nXDG_RUNTIME_DIR=%s\\nXDG_CONFIG_HOME=%s\\nODD=%s\\n' {} {} {} \"\\$'a b'\" ;;\n\
             list-units) while read -r line; do echo \"$line\"; done < {} ;;\n\
             *) echo \"$*\" >> {}\n[ \"$*\" != \"$(cat {} 2>/dev/null)\" ] || {{ echo 'Job failed.' >&2; echo 'See status.' >&2; exit 1; }} ;;\n\
             esac\n",
            path(""),
            path("run"),
            path("config"),
            path("list"),
            path("calls"),
            path("bad"),
        );
        let program = home.path("bin/systemctl");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> PathBuf {
        self.path("config/shmooze/settings.json")
    }

    fn write(&self, settings: &Value) {
        fs::create_dir_all(self.settings().parent().unwrap()).unwrap();
        fs::write(self.settings(), settings.to_string()).unwrap();
    }

    fn apply(&self, words: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_shmz"))
            .args(["apply", "--user"])
            .args(words)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { out: text(output.stdout), err: text(output.stderr), code: output.status.code().unwrap() }
    }

    /// What systemctl was told to do.
    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.path("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn copy(&self) -> Option<String> {
        fs::read_to_string(self.path(".local/state/shmooze/settings.json")).ok()
    }
}

fn queue() -> Value {
    json!({"ports": {"queue": 1, "my-app": 2}, "services": {"queue": {"kind": "queue"}, "my-app": {"kind": "app", "process": ["sh"]}}})
}

const STEPS: [&str; 4] =
    ["daemon-reload", "reload shmooze-launcher.service", r"start shmooze-my\x2dapp.service", "start shmooze-queue.socket"];

#[test]
fn each_change_and_each_step_is_said() {
    let home = Home::with(&["shmooze.target", "shmooze-launcher.service"]);
    home.write(&queue());
    let out = "my-app is new, at port 2.\nqueue is new, at port 1.\n\
               systemctl --user daemon-reload\n\
               systemctl --user reload shmooze-launcher.service\n\
               systemctl --user start 'shmooze-my\\x2dapp.service'\n\
               systemctl --user start shmooze-queue.socket\n";
    let dry = home.apply(&["--dry-run"]);
    let would: String = out.replace("systemctl", "would do: systemctl");
    assert_eq!(dry, Ran { out: would, err: String::new(), code: 0 });
    assert_eq!((home.calls(), home.copy()), (vec![], None), "nothing was done");
    assert_eq!(home.apply(&[]), Ran { out: out.into(), err: String::new(), code: 0 });
    assert_eq!(home.calls(), STEPS);
    assert_eq!(home.copy(), Some(queue().to_string()));
}

#[test]
fn where_nothing_runs_there_is_nothing_to_do() {
    let home = Home::with(&[]);
    home.write(&json!({"ports": {"x": 1}}));
    // As its generator would have done.
    let generated = home.path("run/systemd/generator/shmooze-launcher.service.d");
    fs::create_dir(&generated).unwrap();
    assert_eq!(home.apply(&[]).out, "systemctl --user daemon-reload\n");
    let out = Command::new(env!("CARGO_BIN_EXE_shmooze-generator"))
        .arg(home.path("run/systemd/generator"))
        .env_clear()
        .envs([("SYSTEMD_SCOPE", "user".into()), ("HOME", home.path("")), ("XDG_CONFIG_HOME", home.path("config"))])
        .output()
        .unwrap();
    assert!(out.status.success());
    assert_eq!(home.apply(&[]).out, "Nothing is to be done.\n", "what it makes of the settings is what the generator makes");
}

#[test]
fn the_first_step_that_fails_is_the_last() {
    let home = Home::with(&["shmooze.target", "shmooze-launcher.service"]);
    home.write(&queue());
    fs::write(home.path("bad"), STEPS[2]).unwrap();
    let did = home.apply(&[]);
    let sentence = "shmz: systemctl --user start 'shmooze-my\\x2dapp.service' failed: Job failed. See status.\n";
    assert_eq!((did.err.as_str(), did.code), (sentence, 1), "{did:?}");
    assert_eq!(home.calls(), STEPS[..3]);
    assert_eq!(home.copy(), None);
}

#[test]
fn settings_at_fault_change_nothing() {
    let home = Home::with(&["shmooze.target"]);
    home.write(&json!({"ports": {"queue": 0, "pool": 0}}));
    let did = home.apply(&[]);
    let file = home.settings().display().to_string();
    let sentence = format!(
        "shmz: {file}: ports.queue must be a port number from 1 to 65535, not 0. There is one more problem: see `shmz check`.\n"
    );
    assert_eq!(did, Ran { out: String::new(), err: sentence, code: 2 });
    assert_eq!(home.calls(), [""; 0]);
}

#[test]
fn what_the_machine_lacks_is_said_and_keeps_nobody() {
    let home = Home::with(&[]);
    home.write(&json!({"ports": {"a": 1}, "services": {"a": {"kind": "app", "process": ["/nowhere/a"]}}}));
    let did = home.apply(&[]);
    assert_eq!((did.code, did.err.as_str()), (0, ""));
    let first = did.out.lines().next().unwrap();
    assert!(first.ends_with("services.a.process[0] names the program \"/nowhere/a\", which does not exist."), "{first}");
    assert_eq!(home.calls(), ["daemon-reload"]);
}

#[test]
fn another_file_is_not_what_the_manager_goes_by() {
    let home = Home::with(&[]);
    home.write(&queue());
    let own = home.settings().display().to_string();
    assert_eq!(home.apply(&["--settings", &own]).code, 0);
    let did = home.apply(&["--settings", "/srv/x.json"]);
    let sentence = format!("shmz: /srv/x.json is not the file that the manager goes by, which is {own}.\n");
    assert_eq!(did, Ran { out: String::new(), err: sentence, code: 2 });
}

#[test]
fn without_systemd() {
    let home = Home::with(&[]);
    fs::remove_file(home.path("bin/systemctl")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_shmz"))
        .args(["apply", "--user"])
        .env_clear()
        .env("PATH", home.path("bin"))
        .output()
        .unwrap();
    let sentence = "shmz: systemctl --user show-environment cannot be executed: No such file or directory (os error 2).\n";
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(1), sentence));
}
