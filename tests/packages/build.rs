//! Builds the packages once, from a copy of the sources.
//!
//! ```text
//!   the sources ──copy──▶ target/packages/source ──dpkg-buildpackage──▶ target/packages/*.deb, *.changes
//!                                                 what cargo built for the other tests is of use
//!   *.deb ──another version──▶ target/packages/before/*.deb
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use shmooze_test_machine::Machine;

/// The version that the packages of before have.
const BEFORE: &str = "0.0.1~before";

/// Where machines have the packages.
const HERE: &str = "/opt/packages";
const HERE_BEFORE: &str = "/opt/packages-before";

/// What is not sources.
const LEFT_OUT: [&str; 3] = [".git", "fuzz", "target"];

/// What was built.
pub struct Packages {
    /// Where the packages are, and what describes them.
    pub folder: PathBuf,
    /// What they would put into the root of a machine.
    pub root: PathBuf,
    /// Where the packages of a version before are.
    before: PathBuf,
}

/// The packages, built for the first who asks.
pub fn packages() -> &'static Packages {
    static BUILT: OnceLock<Result<Packages, String>> = OnceLock::new();
    match BUILT.get_or_init(build) {
        Ok(packages) => packages,
        Err(sentence) => panic!("{sentence}"),
    }
}

impl Packages {
    /// The one file of these with this end.
    pub fn file(&self, end: &str) -> PathBuf {
        files(&self.folder, end).pop().unwrap()
    }

    /// Puts the packages where [`Packages::install`] takes them from.
    pub fn bring(&self, machine: &Machine) {
        bring(machine, &self.folder, HERE);
    }

    /// Installs the packages as an administrator does.
    pub fn install(&self, machine: &Machine) {
        self.bring(machine);
        install(machine, HERE);
    }

    /// Installs those of the version before.
    pub fn install_before(&self, machine: &Machine) {
        bring(machine, &self.before, HERE_BEFORE);
        install(machine, HERE_BEFORE);
    }
}

fn bring(machine: &Machine, folder: &Path, guest: &str) {
    for package in files(folder, ".deb") {
        let name = package.file_name().unwrap().to_string_lossy().into_owned();
        machine.copy_in(&package, &format!("{guest}/{name}"));
    }
}

fn install(machine: &Machine, guest: &str) {
    let script = format!("apt-get -y -o Dpkg::Use-Pty=0 install {guest}/*.deb");
    println!("{}", machine.command(&["bash", "-c", &script]).env("DEBIAN_FRONTEND", "noninteractive").run().success().text());
}

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

fn build() -> Result<Packages, String> {
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).unwrap();
    let folder = target.join("packages");
    let _ = fs::remove_dir_all(&folder);
    let source = folder.join("source");
    fs::create_dir_all(&source).unwrap();
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let entry = entry.unwrap();
        if LEFT_OUT.iter().all(|name| entry.file_name() != *name) {
            // With the times of files, by which cargo knows what it has built.
            run(Command::new("cp").arg("-a").arg(entry.path()).arg(&source))?;
        }
    }
    let mut command = Command::new("dpkg-buildpackage");
    command.args(["-us", "-uc", "-b"]).current_dir(&source);
    // As the other tests build, and hardly compressed: both are a matter of time alone.
    command.env("DEB_BUILD_OPTIONS", "noopt noautodbgsym").env("CARGO_TARGET_DIR", target);
    command.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    run(&mut command)?;
    let (root, before) = (folder.join("root"), folder.join("before"));
    fs::create_dir_all(&before).unwrap();
    for package in files(&folder, ".deb") {
        run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root))?;
        make_older(&package, &before)?;
    }
    Ok(Packages { folder, root, before })
}

/// Makes the same package of a version before.
fn make_older(package: &Path, folder: &Path) -> Result<(), String> {
    let unpacked = folder.join("unpacked");
    run(Command::new("dpkg-deb").arg("-R").arg(package).arg(&unpacked))?;
    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let older = text.replace(&format!("Version: {version}\n"), &format!("Version: {BEFORE}\n"));
    let older = older.replace(&format!("(= {version})"), &format!("(= {BEFORE})"));
    assert_ne!(older, text);
    fs::write(&control, older).unwrap();
    run(Command::new("dpkg-deb").args(["-Zgzip", "-z1", "-b"]).arg(&unpacked).arg(folder))?;
    fs::remove_dir_all(&unpacked).unwrap();
    Ok(())
}

/// Runs a command to its end; the sentence of one that fails has its last words.
pub fn run(command: &mut Command) -> Result<Output, String> {
    let output =
        command.output().map_err(|error| format!("{command:?}: {error} (tests/setup machines installs what is missing)"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    Err(format!("{command:?}: {}\n{}", output.status, lines[lines.len().saturating_sub(60)..].join("\n")))
}
