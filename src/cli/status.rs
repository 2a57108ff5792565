//! `shmz status`: what services do, and what each module uses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Deserialize;

use super::{CliError, Shell, render};
use crate::protocol::Raw;

#[derive(Debug, Args)]
pub(super) struct Arguments {}

/// The answer to `status` (protocol.md section 3).
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    text: String,
    #[serde(default)]
    pub(super) queue: Vec<Module>,
    #[serde(default)]
    pub(super) pool: Vec<Module>,
    #[serde(default)]
    pub(super) background: Option<Module>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Module {
    pub(super) uid: String,
    #[serde(rename = "type")]
    pub(super) type_name: String,
    pub(super) state: String,
    since: f64,
    pub(super) memory: Option<u64>,
    pub(super) cpu: Option<f64>,
    pub(super) tasks: Option<u64>,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let services = shell.services()?;
        let names = services.brokers()?;
        for (at, name) in names.iter().enumerate() {
            // With one that does not answer, the others are shown all the same.
            let answer: Result<Raw, CliError> = services.ask(name, "status", None::<&()>).await;
            let result = match answer {
                Err(error) if names.len() > 1 => {
                    shell.print(&format!("{name}: {error}\n"))?;
                    continue;
                }
                answer => answer?,
            };
            if at > 0 && !shell.options.json {
                shell.print("\n")?;
            }
            shell.print_result(&result, |result| {
                let report: Report = serde_json::from_str(result.get()).map_err(|_| services.senseless(name))?;
                Ok(text(name, &report, SystemTime::now()))
            })?;
        }
        Ok(())
    }
}

pub(super) fn text(name: &str, report: &Report, now: SystemTime) -> String {
    let mut text = format!("{}: {}\n", render::one_line(name), render::one_line(&report.text));
    let listed = report.queue.iter().chain(&report.pool).enumerate().map(|(at, module)| ((at + 1).to_string(), module));
    let modules: Vec<(String, &Module)> =
        listed.chain(report.background.iter().map(|module| ("bg".to_owned(), module))).collect();
    if modules.is_empty() {
        return text;
    }
    let uids: Vec<&str> = modules.iter().map(|(_, module)| module.uid.as_str()).collect();
    let length = render::short_length(&uids);
    let rows: Vec<_> = modules
        .iter()
        .map(|(place, module)| {
            let since = UNIX_EPOCH + Duration::try_from_secs_f64(module.since).unwrap_or_default();
            [
                place.clone(),
                render::one_line(render::prefix(&module.uid, length)),
                render::one_line(&module.type_name),
                render::one_line(&module.state),
                duration(now.duration_since(since).unwrap_or_default()),
                module.memory.map_or_else(unknown, bytes),
                module.cpu.map_or_else(unknown, |seconds| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())),
                module.tasks.map_or_else(unknown, |tasks| tasks.to_string()),
            ]
        })
        .collect();
    text.push_str(&render::table(["#", "UID", "TYPE", "STATE", "FOR", "MEMORY", "CPU", "TASKS"], &rows));
    text
}

pub(super) fn unknown() -> String {
    "-".to_owned()
}

/// Such as `23.4M`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut unit = 0;
    let mut scale = 1u64;
    while bytes / scale >= 1024 && unit + 1 < UNITS.len() {
        scale *= 1024;
        unit += 1;
    }
    // To a tenth, without the detour over floating point.
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    if unit == 0 { format!("{bytes}B") } else { format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit]) }
}

/// Such as `1.25s`, `3min 20s` or `2h 5min`: the two largest units.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}.{:02}s", duration.subsec_millis() / 10),
        (0, 0, minutes, seconds) => format!("{minutes}min {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}min"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        for (number, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (24_500_000, "23.3M"), (5 << 30, "5.0G"), (u64::MAX, "16777215.9T")]
        {
            assert_eq!(bytes(number), text);
        }
        for (milliseconds, text) in
            [(0, "0.00s"), (1259, "1.25s"), (200_000, "3min 20s"), (7_500_000, "2h 5min"), (200_000_000, "2d 7h")]
        {
            assert_eq!(duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn a_report_as_people_read_it() {
        let report: Report = serde_json::from_str(
            r#"{"service": "queue", "kind": "queue", "revision": 3, "text": "playing clock 11111111, 1 waiting", "playing": "x",
                "queue": [{"uid": "11111111-a", "type": "clock", "state": "playing", "since": 1000.5, "added": 1, "memory": 2048, "cpu": 0.25, "tasks": 2},
                          {"uid": "22222222-b", "type": "sign", "state": "waiting", "since": 1000.5, "added": 1, "memory": null, "cpu": null, "tasks": null}],
                "background": {"uid": "33333333-c", "type": "dark", "state": "suspended", "since": 940.5, "added": 1, "memory": 7, "cpu": 61, "tasks": 1}}"#,
        )
        .unwrap();
        let expected = "\
queue: playing clock 11111111, 1 waiting
#   UID       TYPE   STATE      FOR      MEMORY  CPU      TASKS
1   11111111  clock  playing    2.00s    2.0K    0.25s    2
2   22222222  sign   waiting    2.00s    -       -        -
bg  33333333  dark   suspended  1min 2s  7B      1min 1s  1
";
        assert_eq!(text("queue", &report, UNIX_EPOCH + Duration::from_millis(1_002_500)), expected);
    }
}
