//! What a daemon costs that has nothing to do.

use std::time::Duration;

use crate::process::{cpu_time, resident_kib, wake_ups};
use crate::table::{Aim, Table};
use crate::world::{Client, Daemon, World};

/// How long nothing is done.
const REST: Duration = Duration::from_secs(10);

pub fn measure(table: &mut Table) {
    let names = ["idle: queue", "idle: pool", "idle: gateway"];
    if !table.wants_some_of("idle") {
        return;
    }
    let world = World::new(0);
    let daemons = [world.start_queue(), world.start_pool(), world.start_gateway()];
    // One request each, so that what is set up at the first one is there.
    for port in [world.queue, world.pool] {
        Client::connect(port).ask("{\"cmd\": \"modules_available\"}");
    }
    let mut client = Client::connect(world.gateway);
    client.send("GET /settings.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r");
    assert_eq!(client.receive(), "HTTP/1.1 200 OK\r\n");
    drop(client);
    std::thread::sleep(Duration::from_secs(1));
    for (name, daemon) in names.into_iter().zip(&daemons) {
        table.absolute(&format!("{name}: resident memory"), "MiB", Aim::AtMost(6.0), resident_kib(daemon.pid()) as f64 / 1024.0);
    }
    let before: Vec<_> = daemons.iter().map(|daemon| (cpu_time(daemon.pid()), wake_ups(daemon.pid()))).collect();
    std::thread::sleep(REST);
    for ((name, daemon), (cpu, wakes)) in names.into_iter().zip(&daemons).zip(before) {
        let used = cpu_time(daemon.pid()) - cpu;
        table.absolute(&format!("{name}: CPU in 10 s"), "µs", Aim::AtMost(0.0), used.as_secs_f64() * 1e6);
        table.absolute(&format!("{name}: wake-ups in 10 s"), "", Aim::AtMost(0.0), (wake_ups(daemon.pid()) - wakes) as f64);
    }
}

/// Rows of what `daemon` does while nobody wants anything of it.
pub fn rest(table: &mut Table, name: &str, daemon: &Daemon) {
    let (cpu, wakes) = (cpu_time(daemon.pid()), wake_ups(daemon.pid()));
    std::thread::sleep(REST);
    let used = cpu_time(daemon.pid()) - cpu;
    table.absolute(&format!("{name}: CPU in 10 s"), "µs", Aim::AtMost(0.0), used.as_secs_f64() * 1e6);
    table.absolute(&format!("{name}: wake-ups"), "", Aim::AtMost(0.0), (wake_ups(daemon.pid()) - wakes) as f64);
}
