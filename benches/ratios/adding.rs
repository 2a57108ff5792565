//! From `add` to its answer, against the least that starting the same program takes: fork and exec, both connections, one
//! command answered.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::table::{Aim, Table, median};
use crate::world::{Client, Daemon, World, tiny};

/// Modules started in one round.
const A_ROUND: usize = 20;

pub fn measure(table: &mut Table) {
    let name = "add: until it is answered";
    if !table.wants(name) {
        return;
    }
    let world = World::new(0);
    let pool = world.start_pool();
    let mut client = Client::connect(world.pool);
    let bare = Bare::new();
    let round = |one: &mut dyn FnMut() -> f64| median((0..A_ROUND).map(|_| one()).collect::<Vec<_>>().into_iter());
    let pairs = table.alternate(|| round(&mut || add(&mut client, &pool)), || round(&mut || bare.start()));
    table.ratio(name, "ms", Aim::AtMost(3.0), &pairs);
}

/// Adds and removes a module; milliseconds until the former is answered.
fn add(client: &mut Client, pool: &Daemon) -> f64 {
    let begun = Instant::now();
    let uid = client.add("tiny");
    let took = begun.elapsed();
    client.ask(&format!(r#"{{"cmd": "rm", "args": {{"uids": ["{uid}"]}}}}"#));
    // Its end shall not be counted as part of the next one's beginning.
    pool.wait_for_log("module ");
    took.as_secs_f64() * 1e3
}

struct Bare {
    command: TcpListener,
    update: TcpListener,
    arguments: [String; 3],
}

impl Bare {
    fn new() -> Self {
        let [command, update] = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
        let arguments = ["localhost".to_owned(), port(&command), port(&update)];
        Self { command, update, arguments }
    }

    /// Starts and ends a process; milliseconds until it has answered.
    fn start(&self) -> f64 {
        let begun = Instant::now();
        let mut child = Command::new(tiny()).args(&self.arguments).stdin(Stdio::null()).spawn().unwrap();
        let mut command = Client::on(self.command.accept().unwrap().0);
        let update = self.update.accept().unwrap();
        command.ask("{\"cmd\": \"init\", \"args\": {}}");
        let took = begun.elapsed();
        command.ask("{\"cmd\": \"rm\"}");
        drop((command, update));
        child.wait().unwrap();
        took.as_secs_f64() * 1e3
    }
}
