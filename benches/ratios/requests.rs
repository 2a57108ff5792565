//! `queue` on a queue, against a server that answers the same bytes to any line.

use crate::framing::Framing;
use crate::load::Clients;
use crate::process::{Process, role};
use crate::table::{Aim, Table};
use crate::world::{Client, World};

const REQUEST: &[u8] = b"{\"cmd\": \"queue\"}\n";

pub fn measure(table: &mut Table) {
    for (modules, list) in [(0, "empty list"), (5, "list of 5")] {
        let cases = [(1, "1 connection"), (64, "64 connections")].map(|(count, text)| (count, format!("queue: {list}, {text}")));
        let cases: Vec<_> = cases.into_iter().filter(|(_, name)| table.wants(name)).collect();
        if cases.is_empty() {
            continue;
        }
        let world = World::new(0);
        let queue = world.start_queue();
        let mut client = Client::connect(world.queue);
        for _ in 0..modules {
            client.add("tiny");
        }
        let answer = client.ask("{\"cmd\": \"queue\"}").to_owned();
        let mut bare = Process::start(role("server").args([Framing::Line.name(), &answer]));
        let port = bare.port();
        for (connections, name) in cases {
            let mut ours = Clients::connect(queue.pid(), world.queue, connections, REQUEST, Framing::Line);
            let mut theirs = Clients::connect(bare.pid(), port, connections, REQUEST, Framing::Line);
            assert_eq!(ours.answer(), theirs.answer());
            table.load(&name, Aim::AtLeast(0.9), &mut ours, &mut theirs);
        }
    }
}
