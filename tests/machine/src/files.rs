//! Files between the host and a machine.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process;
use std::time::Duration;

use crate::{Machine, Outcome, required};

/// How long a copy may take.
const LIMIT: Duration = Duration::from_secs(120);

impl Machine {
    /// Copies a file, or a folder with all in it, of the host to that path of the machine, permissions included.
    /// Everything belongs to root there.
    #[track_caller]
    pub fn copy_in(&self, host: impl AsRef<Path>, guest: &str) {
        required(self.try_copy_in(host.as_ref(), guest));
    }

    fn try_copy_in(&self, host: &Path, guest: &str) -> Outcome<()> {
        let trouble = |error: io::Error| format!("cannot read {}: {error}", host.display());
        let about = fs::metadata(host).map_err(trouble)?;
        if !about.is_dir() {
            let mode = format!("{:o}", about.permissions().mode() & 0o7777);
            return self.put(&mode, fs::read(host).map_err(trouble)?, guest);
        }
        let packed = process::Command::new("tar").arg("-C").arg(host).args(["-c", "."]).output().map_err(trouble)?;
        if !packed.status.success() {
            return Err(format!("cannot pack {}: {}", host.display(), String::from_utf8_lossy(&packed.stderr).trim()));
        }
        let unpack = "mkdir -p \"$0\" && exec tar -C \"$0\" -x --no-same-owner --preserve-permissions";
        self.complete(&["bash", "-c", unpack, guest], packed.stdout)
    }

    /// Copies a program in without what only a debugger reads, which may be nine tenths of it: an emulated machine takes ten
    /// seconds for that.
    #[track_caller]
    pub fn copy_program(&self, host: impl AsRef<Path>, guest: &str) {
        let host = host.as_ref();
        let small = self.folder().join(format!("program{}", guest.replace('/', "-")));
        let mut strip = process::Command::new("strip");
        let stripped = strip.arg("--strip-debug").arg("-o").arg(&small).arg(host).stderr(process::Stdio::null()).status();
        // Whatever cannot be stripped, such as a script, or where that program is not, goes in as it is.
        let done = stripped.is_ok_and(|status| status.success());
        required(self.try_copy_in(if done { &small } else { host }, guest));
        let _ = fs::remove_file(small);
    }

    /// Writes a file of the machine that everybody may read, and makes the folders that lead to it.
    #[track_caller]
    pub fn write(&self, guest: &str, content: impl Into<Vec<u8>>) {
        required(self.put("644", content.into(), guest));
    }

    fn put(&self, mode: &str, content: Vec<u8>, guest: &str) -> Outcome<()> {
        self.complete(&["install", "-D", "-m", mode, "/dev/stdin", guest], content)
    }

    /// What is in a file of the machine.
    #[track_caller]
    pub fn read(&self, guest: &str) -> Vec<u8> {
        self.command(&["cat", guest]).within(LIMIT).run().success().stdout
    }

    /// Copies a file of the machine to that path of the host.
    #[track_caller]
    pub fn copy_out(&self, guest: &str, host: impl AsRef<Path>) {
        let content = self.read(guest);
        let host = host.as_ref();
        required(fs::write(host, content).map_err(|error| format!("cannot write {}: {error}", host.display())));
    }

    fn complete(&self, argv: &[&str], input: Vec<u8>) -> Outcome<()> {
        let output = self.command(argv).input(input).within(LIMIT).try_run()?;
        if output.status == 0 { Ok(()) } else { Err(format!("{output:?}")) }
    }
}
