//! What a thousand modules cost the pool that holds them.

use std::time::{Duration, Instant};

use crate::idle::rest;
use crate::process::{raise_open_files, resident_kib};
use crate::table::{Aim, Table};
use crate::world::{Client, World};

const MODULES: usize = 1000;
/// Clients that add at once.
const CLIENTS: usize = 8;

pub fn measure(table: &mut Table) {
    let [memory, rate, idle] = ["memory: of a held module", "memory: adds, 8 at once", "memory: idle with 1,000 modules"];
    if !table.wants_some_of("memory") {
        return;
    }
    raise_open_files();
    let world = World::new(0);
    let pool = world.start_pool();
    // What the first module needs once, such as a thread to read the process table, is not counted.
    let mut client = Client::connect(world.pool);
    let uid = client.add("tiny");
    client.ask(&format!(r#"{{"cmd": "rm", "args": {{"uids": ["{uid}"]}}}}"#));
    pool.wait_for_log("module ");

    let before = resident_kib(pool.pid());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(world.pool);
                (0..MODULES / CLIENTS).for_each(|_| drop(client.add("tiny")));
            });
        }
    });
    let took = begun.elapsed();
    let after = resident_kib(pool.pid());
    table.absolute(memory, "KiB", Aim::AtMost(16.0), (after - before) as f64 / MODULES as f64);
    table.absolute(rate, "/s", Aim::None, MODULES as f64 / took.as_secs_f64());
    // Threads that read the process table live on for some seconds.
    std::thread::sleep(Duration::from_secs(12));
    rest(table, idle, &pool);
}
