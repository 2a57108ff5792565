//! `tell_module`: from a client through the pool to a module and back, against a relay that looks at nothing.

use crate::framing::Framing;
use crate::load::Clients;
use crate::process::{Process, role};
use crate::table::{Aim, Table};
use crate::world::{Client, World, tiny};

pub fn measure(table: &mut Table) {
    let name = "tell_module: 1 client";
    if !table.wants(name) {
        return;
    }
    let world = World::new(0);
    let pool = world.start_pool();
    let uid = Client::connect(world.pool).add("tiny");
    let request = format!("{{\"cmd\": \"tell_module\", \"args\": {{\"uid\": \"{uid}\", \"cmd\": \"it\"}}}}\n");
    let mut relay = Process::start(&mut role("relay"));
    let (clients, commands, updates) = (relay.port(), relay.port(), relay.port());
    let _module =
        Process::start(std::process::Command::new(tiny()).args(["localhost", &commands.to_string(), &updates.to_string()]));
    let mut ours = Clients::connect(pool.pid(), world.pool, 1, request.as_bytes(), Framing::Line);
    let mut bare = Clients::connect(relay.pid(), clients, 1, request.as_bytes(), Framing::Line);
    assert_eq!(ours.answer(), bare.answer());
    table.load(name, Aim::None, &mut ours, &mut bare);
}
