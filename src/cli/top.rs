//! `shmz top`: which modules use how much, again and again.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::live::{Screen, until_interrupted};
use super::status::{Module, Report, bytes, duration, unknown};
use super::{CliError, Shell, render};
use crate::protocol::Raw;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The time between two samples, in seconds
    #[arg(short, long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    delay: Duration,
    /// End after this many samples
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,
}

/// A time that is neither too short nor for ever.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds from 0.1 to 86400 is expected".to_owned())
}

/// One module at one time.
#[derive(Debug)]
struct Row {
    service: String,
    module: Module,
    /// Of one CPU since the sample before; `None` at first.
    percent: Option<f64>,
}

/// CPU time of each module, in seconds, and when that was.
type Before = HashMap<String, (f64, Instant)>;

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        until_interrupted(self.sample(shell)).await
    }

    async fn sample(&self, shell: &Shell) -> Result<(), CliError> {
        let services = shell.services()?;
        let names = services.brokers()?;
        let (mut before, mut screen, mut taken) = (Before::new(), None, 0);
        loop {
            let (mut rows, mut errors, mut now) = (Vec::new(), String::new(), Before::new());
            for name in &names {
                let report: Result<Raw, CliError> = services.ask(name, "status", None::<&()>).await;
                let report = report.and_then(|report| serde_json::from_str(report.get()).map_err(|_| services.senseless(name)));
                match report {
                    Ok(report) => rows.extend(measure(name, report, &before, &mut now, Instant::now())),
                    // With one that does not answer, the others are shown all the same.
                    Err(error) if taken > 0 || names.len() > 1 => {
                        errors.push_str(&format!("{}: {}\n", render::one_line(name), render::one_line(&error.to_string())));
                    }
                    Err(error) => return Err(error),
                }
            }
            before = now;
            if shell.options.json {
                shell.print(&lines(&names, &rows, SystemTime::now()))?;
            } else {
                if taken == 0 {
                    screen = Screen::enter();
                }
                let text = format!("{errors}{}", text(&mut rows));
                match &screen {
                    Some(screen) => screen.show(&text)?,
                    None if taken > 0 => shell.print(&format!("\n{text}"))?,
                    None => shell.print(&text)?,
                }
            }
            taken += 1;
            if self.samples.is_some_and(|samples| taken >= samples) {
                return Ok(());
            }
            sleep(self.delay).await;
        }
    }
}

/// The modules of a report, with what of a CPU each has had since `before`; `now` is filled for the next time.
fn measure(service: &str, report: Report, before: &Before, now: &mut Before, at: Instant) -> Vec<Row> {
    let modules = report.queue.into_iter().chain(report.pool).chain(report.background);
    modules
        .map(|module| {
            let percent = module.cpu.and_then(|cpu| {
                now.insert(module.uid.clone(), (cpu, at));
                let (last, then) = before.get(&module.uid).copied()?;
                let elapsed = (at - then).as_secs_f64();
                (elapsed > 0.0).then(|| (cpu - last).max(0.0) / elapsed * 100.0)
            });
            Row { service: service.to_owned(), module, percent }
        })
        .collect()
}

/// One line of JSON for each service.
fn lines(names: &[String], rows: &[Row], now: SystemTime) -> String {
    let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let line = |name: &String| {
        let modules = rows.iter().filter(|row| row.service == *name).map(|Row { module, percent, .. }| {
            json!({
                "uid": module.uid, "type": module.type_name, "state": module.state, "cpu_percent": percent,
                "cpu": module.cpu, "memory": module.memory, "tasks": module.tasks,
            })
        });
        format!("{}\n", json!({"time": time, "service": name, "modules": modules.collect::<Vec<_>>()}))
    };
    names.iter().map(line).collect()
}

/// A table, who uses most first.
fn text(rows: &mut [Row]) -> String {
    rows.sort_by(|one, other| {
        let key = |row: &Row| (row.percent.unwrap_or_default(), row.module.memory.unwrap_or_default());
        key(other).partial_cmp(&key(one)).unwrap_or(std::cmp::Ordering::Equal)
    });
    let uids: Vec<&str> = rows.iter().map(|row| row.module.uid.as_str()).collect();
    let length = render::short_length(&uids);
    let cells: Vec<_> = rows
        .iter()
        .map(|Row { service, module, percent }| {
            [
                render::one_line(service),
                render::one_line(render::prefix(&module.uid, length)),
                render::one_line(&module.type_name),
                render::one_line(&module.state),
                percent.map_or_else(unknown, |percent| format!("{percent:.1}")),
                module.cpu.map_or_else(unknown, |seconds| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())),
                module.memory.map_or_else(unknown, bytes),
                module.tasks.map_or_else(unknown, |tasks| tasks.to_string()),
            ]
        })
        .collect();
    render::table(["SERVICE", "UID", "TYPE", "STATE", "%CPU", "CPU", "MEMORY", "TASKS"], &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cpu: f64) -> Report {
        let module = |uid: &str, cpu| json!({"uid": uid, "type": "clock", "state": "playing", "since": 0, "memory": 2048, "cpu": cpu, "tasks": 1});
        let gone =
            json!({"uid": "c", "type": "sign", "state": "waiting", "since": 0, "memory": null, "cpu": null, "tasks": null});
        serde_json::from_value(json!({"text": "", "queue": [module("a", cpu), gone], "background": module("b", 9.0)})).unwrap()
    }

    #[test]
    fn shares_of_a_cpu_since_the_sample_before() {
        let start = Instant::now();
        let (mut first, mut second) = (Before::new(), Before::new());
        let rows = measure("queue", report(1.0), &Before::new(), &mut first, start);
        assert!(rows.iter().all(|row| row.percent.is_none()));
        let mut rows = measure("queue", report(1.5), &first, &mut second, start + Duration::from_secs(2));
        assert_eq!(rows.iter().map(|row| row.percent).collect::<Vec<_>>(), [Some(25.0), None, Some(0.0)]);
        let expected = "\
SERVICE  UID  TYPE   STATE    %CPU  CPU    MEMORY  TASKS
queue    a    clock  playing  25.0  1.50s  2.0K    1
queue    b    clock  playing  0.0   9.00s  2.0K    1
queue    c    sign   waiting  -     -      -       -
";
        assert_eq!(text(&mut rows), expected);
        let line: serde_json::Value = serde_json::from_str(&lines(&["queue".to_owned()], &rows[..1], UNIX_EPOCH)).unwrap();
        let module =
            json!({"uid": "a", "type": "clock", "state": "playing", "cpu_percent": 25.0, "cpu": 1.5, "memory": 2048, "tasks": 1});
        assert_eq!(line, json!({"time": 0.0, "service": "queue", "modules": [module]}));
    }

    #[test]
    fn delays() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "x", "0", "-1", "1e9", "NaN", "inf"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
