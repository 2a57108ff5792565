//! `shmz watch`: what happens in a queue or pool, while it happens.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::connect::{Kind, Services};
use super::live::{Screen, until_interrupted};
use super::status::Report;
use super::{CliError, Shell, render, status};
use crate::protocol::Raw;

/// How long a service is asked to wait for something newer, in ms; less than a gateway waits for it.
const PATIENCE: u64 = 5000;
/// How long to wait before a service that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// The shortest time between two pictures on a terminal.
const PICTURE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct Arguments {}

/// The answer to `watch` (protocol.md section 4).
#[derive(Debug, Deserialize)]
struct News {
    revision: u64,
    events: Vec<Raw>,
}

#[derive(Debug, Deserialize)]
struct Event {
    event: String,
    data: Value,
}

impl Arguments {
    pub(super) async fn run(&self, shell: &Shell) -> Result<(), CliError> {
        until_interrupted(watch(shell)).await
    }
}

async fn watch(shell: &Shell) -> Result<(), CliError> {
    let services = shell.services()?;
    let name = services.of_kind(&[Kind::Queue, Kind::Pool])?;
    let patience = PATIENCE.min(shell.options.timeout / 2);
    let mut names = Names::default();
    let mut news = ask(&services, &name, None, patience).await?;
    // Not before there is something to show.
    let screen = if shell.options.json { None } else { Screen::enter() };
    loop {
        match &screen {
            Some(screen) if !news.events.is_empty() => {
                let report: Raw = services.ask(&name, "status", None::<&()>).await?;
                let report: Report = serde_json::from_str(report.get()).map_err(|_| services.senseless(&name))?;
                screen.show(&status::text(&name, &report, SystemTime::now()))?;
                sleep(PICTURE).await;
            }
            Some(_) => {}
            None => {
                for event in &news.events {
                    let line = if shell.options.json { event.get().to_owned() } else { names.line(event) };
                    shell.print(&format!("{line}\n"))?;
                }
            }
        }
        let mut is_told = false;
        news = loop {
            match ask(&services, &name, Some(news.revision), patience).await {
                Ok(news) => break news,
                // It is started anew, or its gateway is.
                Err(error @ (CliError::Unreachable(_) | CliError::TimedOut(_) | CliError::Refused(_))) => {
                    if !std::mem::replace(&mut is_told, true) {
                        match &screen {
                            Some(screen) => screen.show(&format!("{}: {error}\n", render::one_line(&name)))?,
                            None => eprintln!("shmz: {} It is asked again.", render::one_line(&error.to_string())),
                        }
                    }
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
    }
}

async fn ask(services: &Services, name: &str, revision: Option<u64>, patience: u64) -> Result<News, CliError> {
    let args = revision.map(|revision| json!({"revision": revision, "timeout": patience}));
    let answer: Raw = services.ask(name, "watch", args.as_ref()).await?;
    serde_json::from_str(answer.get()).map_err(|_| services.senseless(name))
}

/// What modules are called in lines: of which type each is.
#[derive(Debug, Default)]
struct Names {
    types: HashMap<String, String>,
}

impl Names {
    /// An event as a line for people; as it came, where it cannot be understood.
    fn line(&mut self, event: &Raw) -> String {
        let Ok(Event { event: name, data }) = serde_json::from_str(event.get()) else { return render::one_line(event.get()) };
        let text = |key: &str| data[key].as_str().unwrap_or_default();
        match name.as_str() {
            "state" => {
                self.types.clear();
                let modules = data["queue"].as_array().or(data["pool"].as_array()).into_iter().flatten();
                modules.clone().chain(Some(&data["background"])).for_each(|module| self.learn(module));
                let count = modules.clone().count();
                let down = modules.chain(Some(&data["background"])).filter(|module| module["state"] == "restarting").count();
                let down = if down > 0 { format!(", {down} restarting") } else { String::new() };
                return format!("state       {count} module{}{down}", if count == 1 { "" } else { "s" });
            }
            "added" => self.learn(&data),
            _ => {}
        }
        let rest = match name.as_str() {
            // One that waits to be started again is added anew, and so is one that is up again.
            "added" if !text("state").is_empty() => format!("{} ({})", self.name(&data["uid"]), text("state")),
            "moved" => data["uids"].as_array().into_iter().flatten().map(|uid| self.name(uid)).collect::<Vec<_>>().join(", "),
            "removed" => {
                let how = match (&data["status"]["status"], &data["status"]["signal"]) {
                    (Value::Number(status), _) => format!(", exit status {status}"),
                    (_, Value::Number(signal)) => format!(", signal {signal}"),
                    _ => String::new(),
                };
                let line = format!("{}: {}{how}", self.name(&data["uid"]), text("reason"));
                if !data["status"].is_null() {
                    self.types.remove(text("uid"));
                }
                line
            }
            "parameters" => {
                let set = data["parameters"].as_object().into_iter().flatten().map(|(name, value)| format!(" {name}={value}"));
                let unset =
                    data["unset"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|name| format!(" {name}"));
                format!("{}:{}", self.name(&data["uid"]), set.chain(unset).collect::<String>())
            }
            "log" => format!("{}: {}", self.name(&data["uid"]), text("line")),
            _ => self.name(&data["uid"]),
        };
        render::one_line(&format!("{name:<10}  {rest}"))
    }

    fn learn(&mut self, module: &Value) {
        if let (Some(uid), Some(type_name)) = (module["uid"].as_str(), module["type"].as_str()) {
            self.types.insert(uid.to_owned(), type_name.to_owned());
        }
    }

    fn name(&self, uid: &Value) -> String {
        let uid = uid.as_str().unwrap_or_default();
        let type_name = self.types.get(uid).map(|name| format!(" {name}")).unwrap_or_default();
        format!("{}{type_name}", render::prefix(uid, render::SHORT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_as_lines() {
        let mut names = Names::default();
        let a = "11111111-2222-4333-8444-555555555555";
        for (event, line) in [
            (
                json!({"event": "state", "data": {"queue": [{"uid": a, "type": "clock"}], "background": null}}),
                "state       1 module",
            ),
            (
                json!({"event": "state", "data": {"pool": [{"uid": "c", "type": "sign", "state": "restarting"}, {"uid": "d"}]}}),
                "state       2 modules, 1 restarting",
            ),
            (
                json!({"event": "state", "data": {"queue": [{"uid": a, "type": "clock"}], "background": {"state": "restarting"}}}),
                "state       1 module, 1 restarting",
            ),
            (json!({"event": "added", "data": {"uid": "b", "type": "sign"}}), "added       b sign"),
            (
                json!({"event": "added", "data": {"uid": "b", "type": "sign", "state": "restarting"}}),
                "added       b sign (restarting)",
            ),
            (json!({"event": "moved", "data": {"uids": ["b", a]}}), "moved       b sign, 11111111 clock"),
            (json!({"event": "playing", "data": {"uid": a, "since": 5}}), "playing     11111111 clock"),
            (
                json!({"event": "parameters", "data": {"uid": a, "parameters": {"x": "\u{1b}"}, "unset": ["y"]}}),
                "parameters  11111111 clock: x=\"\\u001b\" y",
            ),
            (json!({"event": "log", "data": {"uid": a, "line": "a\nb"}}), "log         11111111 clock: a\\nb"),
            (json!({"event": "removed", "data": {"uid": "b", "status": null, "reason": "own"}}), "removed     b sign: own"),
            (
                json!({"event": "removed", "data": {"uid": "b", "status": {"signal": 9}, "reason": "own"}}),
                "removed     b sign: own, signal 9",
            ),
            (json!({"event": "suspended", "data": {"uid": "b"}}), "suspended   b"),
            (json!([5]), "[5]"),
        ] {
            let event = crate::protocol::raw(&event).unwrap();
            assert_eq!(names.line(&event), line);
        }
    }
}
