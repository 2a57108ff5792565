//! The house of systemd on really booted machines: `tests/scopes` runs inside, as root and as a user with a manager of her own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use shmooze_test_machine::{Kind, Machine, Program, Suite, Tests};

/// Tests that only root's manager can pass.
const SYSTEM: &str = "system::";
/// Tests that need the controllers of a whole machine.
const LIMITS: &str = "limits::";

fn main() -> ExitCode {
    let scopes = built("scopes");
    let program = |name: &str| {
        Program::new(name, &scopes).env("SHMOOZE_REQUIRE_SYSTEMD", "1").afterwards("nothing is left", nothing_is_left)
    };
    Tests::new()
        .prepare(|machine| {
            machine.copy_program(env!("CARGO_BIN_EXE_shmooze-shim"), "/opt/shmooze-test/shmooze-shim");
            // Before her manager starts: what her modules print is read in the journal too.
            machine.run(&["usermod", "-aG", "systemd-journal", "alice"]).success();
        })
        .program(Kind::CONTAINERS, &program("root").without(LIMITS))
        .program(Kind::CONTAINERS, &program("alice").in_manager_of("alice").without(SYSTEM).without(LIMITS))
        .program(&[Kind::Emulated(Suite::Trixie)], &program("root").only(LIMITS))
        .main()
}

/// A test program of this package that runs elsewhere than where it is built.
fn built(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--no-run", "--message-format=json", "--test", name]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "the test program {name} does not build");
    let messages = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let mut programs = messages.filter_map(|message: serde_json::Value| {
        let of_it = message["target"]["name"] == name && message["profile"]["test"] == true;
        of_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    programs.next().unwrap_or_else(|| panic!("cargo does not say where the test program {name} is"))
}

/// No scope, no process, no control group of any module: in no manager, whatever the tests did. Slices are left by design.
fn nothing_is_left(machine: &Machine) {
    let script = r#"
units() {
    local all
    all=$(systemctl "$@" list-units --all --plain --no-legend --full 'shmooze-*') || echo "no answer: $*"
    grep -v '\.slice ' <<<"$all"
}
units --system
! systemctl -q is-active user@1000.service || units --user --machine=alice@.host
find /sys/fs/cgroup -name 'shmooze-*.scope'
grep -l populated.1 $(find /sys/fs/cgroup -path '*shmooze*' -name cgroup.events)
pgrep --full --list-full 'shmooze-shi[m]|uid=[0-9a-f]{8}-'
grep -ls SHMOOZE_UID= /proc/[0-9]*/environ
"#;
    assert_eq!(machine.shell(script).text(), "");
}
