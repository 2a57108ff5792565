//! The service of an application's own program.
//!
//! systemd passes the words of the settings as they are. What it cannot express itself is left to `env` (coreutils), which executes
//! the program in its own place: a program that is searched in a `PATH` of its own or named relative to its folder, a folder that
//! does not fit a line, and variables whose names are none to systemd.

use std::path::Path;

use super::template::fill;
use super::{Manager, Surroundings, Tree, header, quote, unit};
use crate::settings::{App, FILE_VARIABLE, Process, Settings};

const SYSTEM: &str = include_str!("../../units/templates/system/app.service");
const USER: &str = include_str!("../../units/templates/user/app.service");

/// As whom programs run whose settings name nobody.
const DEFAULT_USER: &str = "shmooze-module";

/// The variable that tells a program which service it is.
const SERVICE_VARIABLE: &str = "SHMOOZE_SERVICE";

/// Executes a program after it has gone to a folder and set variables.
const ENV: &str = "/usr/bin/env";
/// What stands before a program that `env` would take for one more variable: it changes nothing and executes it.
const NICE: [&str; 4] = ["/usr/bin/nice", "-n", "0", "--"];

/// How long after its end it is started again: from one second to thirty, as `shmooze-run` has it.
const GROWING_DELAY: &str = "RestartSec=1\nRestartSteps=5\nRestartMaxDelaySec=30\n";
/// The same where it cannot grow.
const FIXED_DELAY: &str = "RestartSec=5\n";

/// Writes the unit of the service `name` and has it wanted.
///
/// # Errors
/// Why there is none; a sentence without its end.
pub(super) fn write(
    tree: &mut Tree,
    settings: &Settings,
    name: &str,
    app: &App,
    port: u16,
    surroundings: &Surroundings,
) -> Result<(), String> {
    let process = &app.process;
    let user = user(name, process, surroundings)?;
    let (template, user) = match surroundings.manager {
        Manager::System => (SYSTEM, user),
        Manager::User => (USER, String::new()),
    };
    let limits: String = process.limits.iter().map(|(name, limit)| limit_line(name, &limit.to_json())).collect();
    let values = [
        ("COMMAND", &*command_lines(settings, name, process)),
        ("HEADER", &header(settings)),
        ("LIMITS", &limits),
        ("NAME", name),
        ("PORT", &port.to_string()),
        ("RESTART", if surroundings.knows_restart_steps() { GROWING_DELAY } else { FIXED_DELAY }),
        ("USER", &user),
    ];
    let unit = unit(name, "service");
    tree.want(&unit);
    tree.file(unit, fill(template, &values));
    Ok(())
}

/// As whom it runs.
fn user(name: &str, process: &Process, surroundings: &Surroundings) -> Result<String, String> {
    let wanted = process.user.as_deref().unwrap_or(DEFAULT_USER);
    let is_own = || {
        let number = wanted.parse().is_ok_and(|number: u32| number == nix::unistd::geteuid().as_raw());
        process.user.is_none() || number || surroundings.user.as_deref() == Some(wanted)
    };
    if surroundings.manager == Manager::User && !is_own() {
        return Err(format!("services.{name} is left out, since the manager of a user runs nothing as somebody else (user)"));
    }
    quote::user(wanted).ok_or_else(|| format!("services.{name} is left out, since its user has no name that a user may have"))
}

/// `ExecStart=`, `WorkingDirectory=` and `Environment=`.
fn command_lines(settings: &Settings, name: &str, process: &Process) -> String {
    let own = [(FILE_VARIABLE, settings.file.display().to_string()), (SERVICE_VARIABLE, name.to_owned())];
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    let given = process.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let (plain, odd): (Vec<_>, Vec<_>) = own.chain(given).partition(|(name, _)| is_variable(name));
    let directory = process.working_directory.as_deref();
    let directory_line = directory.and_then(directory_value);
    let far = directory.filter(|_| directory_line.is_none()).map(|directory| directory.display().to_string());
    let program = process.command.first().map_or("", String::as_str);
    let mut words: Vec<String> = Vec::new();
    if far.is_some() || !odd.is_empty() || !is_executable(program, process) {
        words.push(ENV.to_owned());
        words.extend(far.into_iter().flat_map(|directory| ["-C".to_owned(), directory]));
        words.push("--".to_owned());
        words.extend(odd.iter().map(|(name, value)| format!("{name}={value}")));
        if program.contains('=') {
            words.extend(NICE.map(str::to_owned));
        }
    }
    words.extend_from_slice(&process.command);
    // The prefix leaves every $ as it is.
    words[0].insert(0, ':');
    let words: Vec<String> = words.iter().map(|word| quote::word(word)).collect();
    let mut lines = format!("ExecStart={}\n", words.join(" "));
    if let Some(directory) = directory_line {
        lines.push_str(&format!("WorkingDirectory={directory}\n"));
    }
    for (name, value) in plain {
        lines.push_str(&format!("Environment={}\n", quote::word(&format!("{name}={value}"))));
    }
    lines
}

/// Whether systemd itself finds and takes the program: an absolute path, or a name where no `PATH` of its own is to be
/// searched (`string_is_safe` of systemd).
fn is_executable(program: &str, process: &Process) -> bool {
    let is_safe = !program.contains(|c: char| c.is_ascii_control() || "\"'\\".contains(c));
    let is_path = program.starts_with('/') && !program.ends_with('/');
    let is_name = !program.contains('/')
        && !matches!(program, "." | "..")
        // Prefixes of ExecStart= now and to come.
        && program.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !process.environment.contains_key("PATH");
    is_safe && (is_path || is_name)
}

/// Whether systemd takes it for the name of a variable (`env_name_is_valid`).
fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// The value of `WorkingDirectory=`, which takes an absolute path without `..` that fits a line.
fn directory_value(directory: &Path) -> Option<String> {
    let is_plain = directory.is_absolute() && !directory.components().any(|part| part == std::path::Component::ParentDir);
    directory.to_str().filter(|_| is_plain).and_then(quote::line)
}

/// The limit as a line of its own; the settings call it as systemd does.
fn limit_line(name: &str, value: &serde_json::Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    // A share is written with one %: these settings know no specifiers.
    format!("{name}={value}\n")
}
