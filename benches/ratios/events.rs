//! Browsers that follow the events of one pool: what each costs the gateway, and the time from a module's update until the last of
//! them has it, beside a server that does nothing but write the same bytes to as many sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::process::{Process, raise_open_files, resident_kib, role};
use crate::table::{Aim, Table};
use crate::world::{Client, World};

const BROWSERS: usize = 5000;
/// Longer than changes of one module's parameters are held back for (protocol.md section 4).
const PAUSE: Duration = Duration::from_millis(100);
/// What counts as having had an event: the first, and each update.
const WAITED_FOR: [&[u8]; 2] = [b"event: state", b"event: parameters"];
/// As long as one of ours.
const EVENT: &str = "id: 1795554353000219\nevent: parameters\ndata: {\"uid\": \"7f6d0c6e-55f0-4c3c-9c0a-2f1a9e6b0b11\", \
    \"parameters\": {\"position\": 1000000000, \"playing\": true}}\n\n";

/// How many have had the event that is waited for.
#[derive(Default)]
struct Seen {
    count: AtomicUsize,
    all: Notify,
}

impl Seen {
    fn one(&self) {
        if self.count.fetch_add(1, Relaxed) + 1 == BROWSERS {
            self.all.notify_one();
        }
    }
}

/// Opens all of them.
async fn connect(port: u16, seen: &Arc<Seen>) {
    for _ in 0..BROWSERS {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET /pool/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let seen = Arc::clone(seen);
        tokio::spawn(async move {
            let mut received = vec![0; 8 * 1024];
            while let Ok(bytes @ 1..) = stream.read(&mut received).await {
                // Comments and what else is told of the module do not count.
                if WAITED_FOR.iter().any(|event| memchr::memmem::find(&received[..bytes], event).is_some()) {
                    seen.one();
                }
            }
        });
    }
}

async fn all(seen: &Seen) {
    tokio::time::timeout(Duration::from_secs(60), seen.all.notified()).await.expect("some browser has had nothing");
    seen.count.store(0, Relaxed);
}

/// The time from `begin` until each has had an event.
fn time(runtime: &Runtime, seen: &Seen, begin: impl FnOnce()) -> f64 {
    runtime.block_on(async {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        begin();
        all(seen).await;
        begun.elapsed().as_secs_f64() * 1e3
    })
}

pub fn measure(table: &mut Table) {
    let [memory, last] = ["events: of each of 5,000 browsers", "events: until the last of 5,000 has an update"];
    if !table.wants_some_of("events") {
        return;
    }
    raise_open_files();
    let world = World::new(0);
    let (_pool, gateway) = (world.start_pool(), world.start_gateway());
    let mut client = Client::connect(world.pool);
    let uid = client.add("updater");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = resident_kib(gateway.pid());
    let ours = Arc::new(Seen::default());
    runtime.block_on(async {
        connect(world.gateway, &ours).await;
        all(&ours).await;
    });
    table.absolute(memory, "KiB", Aim::None, (resident_kib(gateway.pid()) - before) as f64 / BROWSERS as f64);

    let mut bare = Process::start(role("spread").arg(EVENT));
    let port = bare.port();
    // Whoever comes first says when.
    let mut control = Client::connect(port);
    let theirs = Arc::new(Seen::default());
    runtime.block_on(async {
        connect(port, &theirs).await;
        // By when the last of them has been accepted, too.
        tokio::time::sleep(Duration::from_secs(1)).await;
        control.send("event");
        all(&theirs).await;
    });
    let update = format!(r#"{{"cmd": "tell_module", "args": {{"uid": "{uid}", "cmd": "one"}}}}"#);
    let pairs: Vec<(f64, f64)> = (0..table.rounds)
        .map(|_| (time(&runtime, &ours, || client.send(&update)), time(&runtime, &theirs, || control.send("event"))))
        .collect();
    table.ratio(last, "ms", Aim::None, &pairs);
}
