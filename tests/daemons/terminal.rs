//! A family in the foreground of a terminal.

use std::process::{Command, Stdio};

use super::manager::Program;
use crate::common::World;

/// Runs the program in a terminal of its own, closes the terminal once it serves, and tells how the program ended.
const TERMINAL: &str = r#"
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
while b"is open at" not in seen:
    seen += os.read(terminal, 1024)
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// Its SIGHUP is one that ends, and in order, not one to read the settings again.
#[test]
fn ends_with_the_terminal() {
    let world = World::new();
    let output = Command::new("timeout")
        .args(["30", "python3", "-c", TERMINAL, Program::Run.path(), "--settings"])
        .arg(&world.settings)
        .env("SHMOOZE_SCOPES", "process-groups")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n");
}
