//! `shmooze-generator`, which the manager waits for at boot and at each `daemon-reload`, against a process that does nothing but
//! parse the same file (`serde_json::Value`): settings of the example, of 500 and of 5,000 module types.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::process::role;
use crate::table::{Aim, Table};
use crate::world::programs;

/// What a generator may take of what parsing takes.
const AIM: Aim = Aim::AtMost(2.0);

pub fn measure(table: &mut Table) {
    let example = include_str!("../../tests/generator/01-demo/root/etc/shmooze/settings.json").to_owned();
    for (what, aim, text) in [
        ("the example", Aim::None, example),
        ("500 module types", AIM, settings(500)),
        ("5,000 module types", AIM, settings(5000)),
    ] {
        let name = format!("generator: {what}");
        if !table.wants(&name) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc/shmooze/settings.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        let pairs = table.alternate(|| generate(folder.path()), || run(role("parse").arg(&file)));
        table.ratio(&name, "ms", aim, &pairs);
    }
}

/// A queue of so many types, each with some of everything.
fn settings(number: usize) -> String {
    let one = |index: usize| {
        json!({
            "title": format!("Type number {index}"),
            "process": ["/usr/bin/python3", "-m", format!("modules.type{index}")],
            "environment": {"LANG": "C.UTF-8"},
            "limits": {"MemoryMax": "512M", "TasksMax": 64},
            "timeouts": {"connect": 5000},
            "args": {"url": {"title": "Address", "type": "string"}},
        })
    };
    let types: Map<String, Value> = (0..number).map(|index| (format!("type-{index}"), one(index))).collect();
    let settings = json!({"ports": {"queue": 9420}, "services": {"queue": {"kind": "queue", "modules": types}}});
    format!("{settings:#}")
}

fn generate(root: &Path) -> f64 {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(programs().join("shmooze-generator"));
    run(command.arg(out.path()).env("SYSTEMD_SCOPE", "system").env("SHMOOZE_GENERATOR_ROOT", root))
}

/// Milliseconds until it has ended.
fn run(command: &mut Command) -> f64 {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).status().unwrap();
    let took = begun.elapsed();
    assert!(status.success());
    took.as_secs_f64() * 1e3
}

/// The other side.
pub fn parse(file: &str) {
    let text = fs::read_to_string(file).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    // Neither does a process that ends have to give it back.
    std::mem::forget(value);
}
