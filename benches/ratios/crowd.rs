//! Many modules and many clients, against few: what one `add`, one list, one question costs where there are 9,000 modules, and how long
//! an ordinary client waits beside 11,000 others.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::process::{raise_open_files, resident_kib};
use crate::table::{Aim, Table, median};
use crate::world::{Client, Daemon, World};

const MANY: usize = 9000;
const FEW: usize = 100;
/// Clients that fill a pool.
const CLIENTS: usize = 8;
/// Modules started, or questions asked, in one round.
const A_ROUND: usize = 10;
const IDLE: usize = 10_000;
/// Clients that send a byte a minute.
const DRIBBLING: usize = 1000;
/// Clients that add at once.
const ADDING: usize = 100;
const LIST: &str = "{\"cmd\": \"pool\"}";

pub fn measure(table: &mut Table) {
    if !table.wants_some_of("crowd") {
        return;
    }
    raise_open_files();
    modules(table);
    clients(table);
}

/// A pool, and beside it its launcher: each has only its own descriptors of a module, two and one.
struct Held {
    client: Client,
    uid: String,
    pool: Daemon,
    _launcher: Daemon,
    world: World,
}

impl Held {
    fn new(modules: usize) -> Self {
        let world = World::new(0);
        let launcher = world.start_launcher();
        let pool = world.start_pool_of_launcher();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = Client::connect(world.pool);
                    (0..modules / CLIENTS).for_each(|_| drop(client.add("tiny")));
                });
            }
        });
        let mut client = Client::connect(world.pool);
        let uid = (0..=modules % CLIENTS).map(|_| client.add("tiny")).last().unwrap();
        Self { client, uid, pool, _launcher: launcher, world }
    }

    /// Adds and removes a module; milliseconds until the former is answered, in the median.
    fn add(&mut self) -> f64 {
        let one = |_| {
            let begun = Instant::now();
            let uid = self.client.add("tiny");
            let took = begun.elapsed();
            self.client.ask(&format!(r#"{{"cmd": "rm", "args": {{"uids": ["{uid}"]}}}}"#));
            // Its end shall not be counted as part of the next one's beginning.
            self.pool.wait_for_log("module ");
            took.as_secs_f64() * 1e3
        };
        median((0..A_ROUND).map(one).collect::<Vec<_>>().into_iter())
    }

    /// Microseconds until it is answered, in the median.
    fn ask(&mut self, request: &str) -> f64 {
        ask(&mut self.client, request)
    }
}

fn ask(client: &mut Client, request: &str) -> f64 {
    let one = |_| {
        let begun = Instant::now();
        let answer = client.ask(request);
        assert!(answer.starts_with("{\"success\": true"), "{answer}");
        begun.elapsed().as_secs_f64() * 1e6
    };
    median((0..A_ROUND).map(one).collect::<Vec<_>>().into_iter())
}

fn modules(table: &mut Table) {
    let begun = Instant::now();
    let (mut many, mut few) = (Held::new(MANY), Held::new(FEW));
    let took = begun.elapsed();
    table.absolute("crowd: 9,100 modules added, 8 at once", "/s", Aim::None, (MANY + FEW) as f64 / took.as_secs_f64());
    let memory = resident_kib(many.pool.pid()) as f64 / 1024.0;
    table.absolute("crowd: pool of 9,000, resident memory", "MiB", Aim::AtMost(128.0), memory);
    let pairs = table.alternate(|| many.add(), || few.add());
    table.ratio("crowd: add at 9,000 modules, at 100", "ms", Aim::AtMost(1.2), &pairs);
    let parameters = [many.uid.clone(), few.uid.clone()]
        .map(|uid| format!(r#"{{"cmd": "ask_module", "args": {{"uid": "{uid}", "parameters": ["x"]}}}}"#));
    let pairs = table.alternate(|| many.ask(&parameters[0]), || few.ask(&parameters[1]));
    table.ratio("crowd: ask_module at 9,000 modules, at 100", "µs", Aim::AtMost(1.2), &pairs);
    let told = [many.uid.clone(), few.uid.clone()]
        .map(|uid| format!(r#"{{"cmd": "tell_module", "args": {{"uid": "{uid}", "cmd": "x"}}}}"#));
    let pairs = table.alternate(|| many.ask(&told[0]), || few.ask(&told[1]));
    table.ratio("crowd: tell_module at 9,000 modules, at 100", "µs", Aim::AtMost(1.2), &pairs);
    // For each module: a list ninety times as long.
    let pairs = table.alternate(|| many.ask(LIST) / MANY as f64, || few.ask(LIST) / FEW as f64);
    table.ratio("crowd: the list at 9,000, a module, at 100", "µs", Aim::AtMost(1.2), &pairs);
    drop(many.world);
    drop(few.world);
}

fn clients(table: &mut Table) {
    let (crowded, alone) = (World::new(0), World::new(0));
    let (pool, _alone) = (crowded.start_pool(), alone.start_pool());
    let idle: Vec<TcpStream> = (0..IDLE).map(|_| TcpStream::connect(("127.0.0.1", crowded.pool)).unwrap()).collect();
    let mut dribbling: Vec<TcpStream> =
        (0..DRIBBLING).map(|_| TcpStream::connect(("127.0.0.1", crowded.pool)).unwrap()).collect();
    // One that never reads, and asks until nothing more is taken of it.
    let mut deaf = TcpStream::connect(("127.0.0.1", crowded.pool)).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let asked = loop {
        if let Err(error) = deaf.write_all(format!("{LIST}\n").as_bytes()) {
            break error.kind();
        }
    };
    assert_eq!(asked, ErrorKind::WouldBlock);
    let (mut ours, mut theirs) = (Client::connect(crowded.pool), Client::connect(alone.pool));
    let mut turn = 0;
    let mut dribble = || {
        // In each round as many as a second would bring.
        for _ in 0..DRIBBLING / 60 {
            dribbling[turn % DRIBBLING].write_all(b" ").unwrap();
            turn += 1;
        }
    };
    let crowded_ask = || {
        dribble();
        ask(&mut ours, LIST)
    };
    let pairs = table.alternate(crowded_ask, || ask(&mut theirs, LIST));
    table.ratio("crowd: a request beside 11,000 clients, alone", "µs", Aim::AtMost(2.0), &pairs);
    let memory = resident_kib(pool.pid()) as f64 / 1024.0;
    table.absolute("crowd: pool with 11,000 clients, resident", "MiB", Aim::AtMost(128.0), memory);

    let mut adding: Vec<Client> = (0..ADDING).map(|_| Client::connect(crowded.pool)).collect();
    let adds = || {
        adding.iter_mut().for_each(|client| client.send(r#"{"cmd": "add", "args": {"type": "tiny"}}"#));
        let took = ask(&mut ours, "{\"cmd\": \"modules_available\"}");
        let uids: Vec<String> = adding
            .iter_mut()
            .map(|client| {
                let answer: serde_json::Value = serde_json::from_str(client.receive()).unwrap();
                answer["result"]["uid"].as_str().unwrap().to_owned()
            })
            .collect();
        let remove = serde_json::json!({"cmd": "rm", "args": {"uids": uids}});
        ours.ask(&remove.to_string());
        (0..ADDING).for_each(|_| pool.wait_for_log("module "));
        took
    };
    let pairs = table.alternate(adds, || ask(&mut theirs, "{\"cmd\": \"modules_available\"}"));
    table.ratio("crowd: a request while 100 are added, alone", "µs", Aim::None, &pairs);
    drop(idle);
}
