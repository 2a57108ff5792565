//! Updates of modules, against a server that acknowledges any line.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::framing::Framing;
use crate::load::Sample;
use crate::module;
use crate::process::{Process, cpu_time, role};
use crate::table::{Aim, Table};
use crate::world::{Client, World};

/// How often updates come, and from how many modules.
const CASES: [(&str, usize, usize); 3] =
    [("updates: 1 module", 1, 1), ("updates: 16 modules", 16, 1), ("updates: 16 modules, 32 at a time", 16, 32)];

pub fn measure(table: &mut Table) {
    for (name, modules, window) in CASES {
        if !table.wants(name) {
            continue;
        }
        let world = World::new(0);
        let pool = world.start_pool();
        let uids: Vec<String> = (0..modules).map(|_| Client::connect(world.pool).add("updater")).collect();
        let mut ours = Side {
            pid: pool.pid(),
            streams: uids.iter().map(|_| Client::connect(world.pool)).collect(),
            commands: uids.iter().map(|uid| tell(uid, &module::run(table.round, window))).collect(),
        };

        let mut server = Process::start(role("server").args([Framing::Line.name(), "{\"success\": true}\n"]));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let ports = [listener.local_addr().unwrap().port(), server.port()].map(|port| port.to_string());
        let start = || Process::start(role("module").arg("localhost").args(&ports));
        let _running: Vec<Process> = (0..modules).map(|_| start()).collect();
        let mut bare = Side {
            pid: server.pid(),
            streams: (0..modules).map(|_| Client::on(listener.accept().unwrap().0)).collect(),
            commands: vec![module::run(table.round, window); modules],
        };

        let length = table.round;
        let pairs = table.alternate(|| ours.run(length), || bare.run(length));
        let of = |figure: fn(&Sample) -> f64| pairs.iter().map(|(ours, bare)| (figure(ours), figure(bare))).collect::<Vec<_>>();
        table.ratio(name, "/s", Aim::None, &of(|sample| sample.rate));
        table.ratio(&format!("{name}: CPU"), "µs", Aim::None, &of(|sample| sample.cpu));
    }
}

/// `tell_module` that says `command`, which is a `do_…`.
fn tell(uid: &str, command: &str) -> String {
    let command: Value = serde_json::from_str(command).unwrap();
    let name = command["cmd"].as_str().unwrap().strip_prefix("do_").unwrap();
    serde_json::json!({"cmd": "tell_module", "args": {"uid": uid, "cmd": name, "args": command["args"]}}).to_string()
}

/// Modules that can be told to begin.
struct Side {
    /// Who acknowledges.
    pid: u32,
    streams: Vec<Client>,
    commands: Vec<String>,
}

impl Side {
    fn run(&mut self, length: Duration) -> Sample {
        let cpu = cpu_time(self.pid);
        for (stream, command) in self.streams.iter_mut().zip(&self.commands) {
            stream.send(command);
        }
        let updates: u64 = self.streams.iter_mut().map(|stream| count(stream.receive())).sum();
        let cpu = cpu_time(self.pid) - cpu;
        Sample { rate: updates as f64 / length.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / updates as f64 }
    }
}

fn count(answer: &str) -> u64 {
    let value: Value = serde_json::from_str(answer).unwrap();
    value["result"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}
