//! The events of real queues and pools over real sockets: the command `watch`, and streams through a real gateway.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "events/stream.rs"]
mod stream;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{Client, Daemon, PATIENCE, World, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use stream::{Event, State, Stream};

fn start_gateway(world: &World) -> Daemon {
    Daemon::start(Command::new(env!("CARGO_BIN_EXE_shmooze-gateway")).arg("--settings").arg(&world.settings), 1)
}

/// What `watch` answers: the revision, and the events.
fn watch(client: &mut Client, args: &Value) -> (u64, Vec<Event>) {
    let answer = client.call("watch", args);
    read(&answer)
}

fn read(answer: &Value) -> (u64, Vec<Event>) {
    assert_eq!(answer["success"], true, "{answer}");
    let events = answer["result"]["events"].as_array().unwrap().iter().map(|event| Event {
        name: event["event"].as_str().unwrap().to_owned(),
        id: event["revision"].as_u64().unwrap(),
        data: event["data"].clone(),
    });
    (answer["result"]["revision"].as_u64().unwrap(), events.collect())
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

/// The list as `queue` or `pool` and `bg` have it, with what `status` says of states: what a copy has to be.
fn truth(client: &mut Client, kind: &str) -> Value {
    let wanted = json!({"parameters": {"echo": ["init", "state", "n"], "tiny": []}});
    let list = client.call(kind, &wanted)["result"].clone();
    let background = if kind == "queue" { client.call("bg", &wanted)["result"].clone() } else { Value::Null };
    let status = client.call("status", &json!({}))["result"].clone();
    json!({"list": list, "background": background, "playing": status["playing"], "states": State::states(&status)})
}

#[test]
fn watch_answers_when_there_is_something_newer() {
    let world = World::new();
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let mut watcher = Client::connect(world.queue);
    let (mut revision, events) = watch(&mut watcher, &json!({}));
    assert_eq!(
        (names(&events), events[0].data.clone()),
        (
            vec!["state"],
            json!({"service": "queue", "kind": "queue", "revision": revision, "playing": null, "queue": [], "background": null})
        )
    );
    let mut state = State::new(&events[0]);
    // Nothing newer: it says so when the time is over.
    let begun = Instant::now();
    assert_eq!(watch(&mut watcher, &json!({"revision": revision, "timeout": 300})), (revision, vec![]));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(watch(&mut watcher, &json!({"revision": revision})), (revision, vec![]), "no time, no waiting");

    // One who waits keeps nobody from anything.
    watcher.send(&json!({"cmd": "watch", "args": {"revision": revision, "timeout": 60_000}}).to_string());
    let uid = client.add("echo", &json!({"title": "é"}));
    let mut all = Vec::new();
    let (next, events) = read(&watcher.receive());
    revision = next;
    all.extend(events);
    let mut until = |watcher: &mut Client, name: &str, all: &mut Vec<Event>| {
        while !all.iter().any(|event| event.name == name) {
            let (next, events) = watch(watcher, &json!({"revision": revision, "timeout": 10_000}));
            revision = next;
            all.extend(events);
        }
    };
    until(&mut watcher, "playing", &mut all);
    assert_eq!(all[0].name, "added");
    let added = &all[0].data;
    assert_eq!((&added["uid"], &added["type"], &added["state"]), (&json!(uid), &json!("echo"), &json!("waiting")));
    assert_eq!(added["parameters"]["init"], json!({"title": "é"}));
    assert_eq!(added.get("index"), None, "it is the last");
    for event in all.drain(..) {
        state.apply(&event);
    }

    // What it was told, and how that went.
    client.call("tell_module", &json!({"uid": uid, "cmd": "echo", "args": {"secret": 1}}));
    client.call("tell_module", &json!({"uid": uid, "cmd": "nonsense"}));
    until(&mut watcher, "log", &mut all);
    let log = all.iter().find(|event| event.name == "log").unwrap();
    assert_eq!(log.data, json!({"uid": uid, "line": "do_echo: done"}), "without what it was told");

    // Its end: at once that it is off the list, then how its process ended.
    all.clear();
    client.call("rm", &json!({"uids": [uid]}));
    let removed =
        |all: &[Event]| all.iter().filter(|event| event.name == "removed").map(|event| event.data.clone()).collect::<Vec<_>>();
    let deadline = Instant::now() + 2 * PATIENCE;
    while removed(&all).len() < 2 {
        assert!(Instant::now() < deadline, "{all:?}");
        let (next, events) = watch(&mut watcher, &json!({"revision": revision, "timeout": 10_000}));
        revision = next;
        all.extend(events);
    }
    let told = removed(&all);
    assert_eq!(told[0], json!({"uid": uid, "status": null, "reason": "removed"}));
    assert!(told[1]["status"].is_object() && told[1]["reason"] == "removed", "{told:?}");
    for event in &all {
        state.apply(event);
    }
    assert_eq!(state.compared(), truth(&mut client, "queue"));

    for (args, error) in [
        (json!({"revision": "x"}), "watch: argument \"revision\" must be a whole number that is not negative."),
        (json!({"timeout": -1}), "watch: argument \"timeout\" must be a whole number that is not negative."),
        (json!({"since": 5}), "watch: unknown argument \"since\"."),
    ] {
        assert_eq!(client.call("watch", &args)["error"], error);
    }
    // One that counts otherwise has a new beginning, as has one of another process.
    for strange in [0, 5, revision + 1_000_000_000] {
        assert_eq!(names(&watch(&mut watcher, &json!({"revision": strange, "timeout": 60_000})).1), ["state"], "{strange}");
    }
    // Who waits does not keep the service from ending.
    watcher.send(&json!({"cmd": "watch", "args": {"revision": revision, "timeout": 60_000}}).to_string());
    client.call("queue", &json!({}));
    let begun = Instant::now();
    assert!(daemon.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
}

/// Changes of all kinds, one after the other, and several at a time.
fn changes(port: u16, rounds: usize) {
    let mut client = Client::connect(port);
    let mut uids: Vec<String> = Vec::new();
    for round in 0..rounds {
        uids.push(client.add("tiny", &json!({})));
        if round % 3 == 0 {
            client.call("set_bg", &json!({"type": "tiny"}));
        }
        if round % 2 == 0 {
            let moved = [&uids[uids.len() / 2], &uids[uids.len() - 1]];
            client.call("mv", &json!({"uids": moved}));
        }
        if uids.len() > 4 {
            let removed = [uids.remove(round % 3), uids.remove(1)];
            client.call("rm", &json!({"uids": removed}));
        }
    }
}

#[test]
fn a_snapshot_and_what_follows_are_the_list() {
    let world = World::new();
    let _queue = world.start_queue();
    let _gateway = start_gateway(&world);
    let port = world.queue;
    let changing: Vec<_> = (0..3).map(|_| std::thread::spawn(move || changes(port, 12))).collect();
    // They come in the midst of it, at different times, and one goes and comes again.
    let following: Vec<_> = (0..6u64)
        .map(|number| {
            let gateway = world.gateway;
            std::thread::spawn(move || {
                let mut client = Client::connect(port);
                for _ in 0..number {
                    client.call("status", &json!({}));
                }
                let mut stream = Stream::open(gateway, "/queue/events", None);
                let mut state = State::new(&stream.next());
                if number % 2 == 1 {
                    state.apply(&stream.next());
                    let last = stream.last_id.unwrap();
                    drop(stream);
                    stream = Stream::open(gateway, "/queue/events", Some(last));
                }
                (stream, state)
            })
        })
        .collect();
    changing.into_iter().for_each(|thread| thread.join().unwrap());
    let mut client = Client::connect(port);
    let expected = truth(&mut client, "queue");
    for thread in following {
        let (mut stream, mut state) = thread.join().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while state.compared() != expected {
            assert!(Instant::now() < deadline, "{} instead of {expected}", state.compared());
            let event = stream.next();
            assert!(event.id > state.revision || event.name == "state", "{event:?} after {}", state.revision);
            state.apply(&event);
        }
    }
}

#[test]
fn one_that_is_started_again_keeps_its_place() {
    let world = World::new();
    world.change(|settings| settings["services"]["pool"]["modules"]["echo"]["restart"] = json!({"delay": 500}));
    let daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    let uids = ["one", "two", "three"].map(|title| client.add("echo", &json!({"title": title})));
    let (mut revision, events) = watch(&mut client, &json!({}));
    let mut state = State::new(&events[0]);
    client.call("tell_module", &json!({"uid": uids[1], "cmd": "die"}));
    let mut states = Vec::new();
    // It is down, it is launched, it plays.
    while states.len() < 3 {
        let (next, events) = watch(&mut client, &json!({"revision": revision, "timeout": 10_000}));
        revision = next;
        for event in &events {
            state.apply(event);
            let listed = state.compared()["list"].clone();
            let listed: Vec<&str> = listed.as_array().unwrap().iter().map(|module| module["uid"].as_str().unwrap()).collect();
            assert_eq!(listed, uids, "{event:?}");
            if event.data["uid"] == uids[1] && matches!(event.name.as_str(), "added" | "playing") {
                let shown = event.data["state"].as_str().unwrap_or(&event.name).to_owned();
                if states.last() != Some(&shown) {
                    states.push(shown);
                }
            }
        }
    }
    assert_eq!(states, ["restarting", "waiting", "playing"]);
    eventually("the copy is the list", || {
        let (next, events) = watch(&mut client, &json!({"revision": revision}));
        revision = next;
        events.iter().for_each(|event| state.apply(event));
        state.compared()["states"] == truth(&mut client, "pool")["states"]
    });
    assert!(daemon.terminate().success());
}

#[test]
fn a_stream_goes_on_without_a_gap() {
    let world = World::new();
    let _pool = world.start_pool();
    let _gateway = start_gateway(&world);
    let mut client = Client::connect(world.pool);
    let mut first = Stream::open(world.gateway, "/pool/events", None);
    assert_eq!(first.header("content-type"), Some("text/event-stream"));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert_eq!(first.header("x-accel-buffering"), Some("no"));
    let beginning = first.next();
    assert_eq!((beginning.name.as_str(), &beginning.data["revision"]), ("state", &json!(beginning.id)));
    let a = client.add("tiny", &json!({}));
    assert_eq!(first.until("added").data["uid"], a);
    let last = first.last_id.unwrap();
    drop(first);
    let b = client.add("tiny", &json!({}));
    let mut again = Stream::open(world.gateway, "/pool/events", Some(last));
    let added = again.until("added");
    assert_eq!(added.data["uid"], b, "and not from the beginning");
    assert!(added.id > last);
    // What nobody knows any more is answered by a whole state.
    for id in [7, last + 1_000_000_000] {
        let state = Stream::open(world.gateway, "/pool/events", Some(id)).next();
        assert_eq!((state.name.as_str(), state.data["pool"].as_array().unwrap().len()), ("state", 2), "{id}");
    }
}

#[test]
fn parameters_come_together_twenty_times_a_second_at_most() {
    let world = World::new();
    let _pool = world.start_pool();
    let _gateway = start_gateway(&world);
    let mut client = Client::connect(world.pool);
    let uid = client.add("echo", &json!({}));
    let mut stream = Stream::open(world.gateway, "/pool/events", None);
    stream.next();
    let begun = Instant::now();
    let count = 300;
    for n in 1..=count {
        let answer = client.call("tell_module", &json!({"uid": uid, "cmd": "set", "args": {"parameters": {"n": n}}}));
        assert_eq!(answer["success"], true, "{answer}");
    }
    let took = begun.elapsed();
    let mut seen = Vec::new();
    while seen.last() != Some(&json!(count)) {
        seen.push(stream.until("parameters").data["parameters"]["n"].clone());
    }
    let most = took.as_millis() / 50 + 3;
    assert!((seen.len() as u128) < most, "{} in {took:?}", seen.len());
}

#[test]
fn a_slow_browser_is_shown_a_state_and_slows_nobody() {
    let world = World::new();
    let _pool = world.start_pool();
    let _gateway = start_gateway(&world);
    let mut client = Client::connect(world.pool);
    let uid = client.add("echo", &json!({}));
    let mut slow = Stream::open_with_buffer(world.gateway, "/pool/events", 64 * 1024);
    let mut quick = Stream::open(world.gateway, "/pool/events", None);
    quick.next();
    // More than sockets, server and ring hold.
    let text = "x".repeat(400_000);
    for n in 0..40 {
        let value = format!("{n} {text}");
        client.call("tell_module", &json!({"uid": uid, "cmd": "set", "args": {"parameters": {"n": value}}}));
        // The other one has it before the next is told.
        while !quick.until("parameters").data["parameters"]["n"].as_str().unwrap().starts_with(&format!("{n} ")) {}
    }
    let mut states = 0;
    let last = loop {
        let event = slow.next();
        states += usize::from(event.name == "state");
        let n = if event.name == "state" { &event.data["pool"][0]["parameters"]["n"] } else { &event.data["parameters"]["n"] };
        if n.as_str().is_some_and(|n| n.starts_with("39 ")) {
            break event.id;
        }
    };
    assert!(states >= 2, "it has lost its place and got a whole state");
    assert!(quick.last_id.is_some_and(|id| id <= last), "and has come as far as the other");
}

#[test]
fn a_service_that_is_started_anew_is_gone_on_with() {
    let world = World::new();
    let queue = world.start_queue();
    let gateway = start_gateway(&world);
    let mut client = Client::connect(world.queue);
    client.add("tiny", &json!({}));
    let mut stream = Stream::open(world.gateway, "/queue/events", None);
    assert_eq!(stream.next().data["queue"].as_array().unwrap().len(), 1);
    let before = stream.last_id.unwrap();
    queue.signal(Signal::SIGKILL);
    drop(queue);
    let queue = world.start_queue();
    // The same stream: without a launcher that outlives it, its modules are gone.
    let state = stream.until("state");
    assert_eq!(state.data["queue"], json!([]));
    assert!(state.id > before);
    let mut client = Client::connect(world.queue);
    let uid = client.add("tiny", &json!({}));
    assert_eq!(stream.until("added").data["uid"], uid);
    // One that stays away: the stream ends, and who comes again is told why.
    assert!(queue.terminate().success());
    stream.read_to_end();
    let refused = Stream::refused(world.gateway, "GET", "/queue/events", "");
    assert_eq!(refused.0, 502, "{refused:?}");
    let _queue = world.start_queue();
    let mut stream = Stream::open(world.gateway, "/queue/events", None);
    assert_eq!(stream.next().name, "state");
    // The end of the gateway is the end of its streams.
    let begun = Instant::now();
    assert!(gateway.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    stream.read_to_end();
}

#[test]
fn who_may_follow_and_what_is_no_stream() {
    let world = World::with(&json!({"gateway": {"max_event_streams": 2}}));
    let _queue = world.start_queue();
    let _gateway = start_gateway(&world);
    let status = |method, path| Stream::refused(world.gateway, method, path, "").0;
    assert_eq!(status("GET", "/nobody/events"), 404);
    assert_eq!(status("POST", "/queue/events"), 405);
    // Not started.
    assert_eq!(status("GET", "/pool/events"), 502);
    let one = Stream::open(world.gateway, "/queue/events", None);
    let other = Stream::open(world.gateway, "/queue/events", None);
    assert_eq!(status("GET", "/queue/events"), 503);
    drop((one, other));
    eventually("there is room again", || {
        status("HEAD", "/queue/events") == 405 && Stream::try_open(world.gateway, "/queue/events", None).is_ok()
    });
}

#[test]
fn many_browsers_have_one_subscription_and_see_the_same() {
    const BROWSERS: usize = 200;
    let world = World::new();
    let queue = world.start_queue();
    let gateway = start_gateway(&world);
    let mut client = Client::connect(world.queue);
    client.call("queue", &json!({}));
    let (quiet, alone) = (queue.descriptors(), gateway.descriptors());
    let mut streams: Vec<Stream> = (0..BROWSERS).map(|_| Stream::open(world.gateway, "/queue/events", None)).collect();
    for stream in &mut streams {
        assert_eq!(stream.next().name, "state");
    }
    // One that waits, and one by which states are asked for.
    assert!(queue.descriptors() <= quiet + 2, "{} then, {quiet} before", queue.descriptors());
    let uid = client.add("tiny", &json!({}));
    for stream in &mut streams {
        assert_eq!(stream.until("added").data["uid"], uid);
    }
    drop(streams);
    // But for the connection by which states are asked for, which is kept for a while.
    eventually("nobody is subscribed", || gateway.descriptors() <= alone + 1);
}

/// Reads lines of a program's output as JSON.
fn json_lines(child: &mut std::process::Child) -> impl Iterator<Item = Value> + use<> {
    use std::io::BufRead;
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

#[test]
fn shmz_watch_prints_what_happens() {
    let world = World::new();
    let _queue = world.start_queue();
    let _gateway = start_gateway(&world);
    let mut client = Client::connect(world.queue);
    for route in [format!("http://127.0.0.1:{}", world.gateway), format!("tcp://127.0.0.1:{}", world.queue)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shmz"));
        let mut watching =
            command.args(["--url", &route, "watch", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = json_lines(&mut watching);
        assert_eq!(lines.next().unwrap()["event"], "state", "{route}");
        let uid = client.add("tiny", &json!({}));
        let added = lines.find(|line| line["event"] == "added").unwrap();
        assert_eq!(added["data"]["uid"], uid);
        client.call("rm", &json!({"uids": [uid]}));
        assert_eq!(lines.find(|line| line["event"] == "removed").unwrap()["data"]["reason"], "removed");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(watching.id()).unwrap());
        nix::sys::signal::kill(pid, Signal::SIGINT).unwrap();
        assert!(watching.wait().unwrap().success(), "{route}");
    }
}

#[test]
fn shmz_top_prints_samples() {
    let world = World::new();
    let _pool = world.start_pool();
    let mut client = Client::connect(world.pool);
    let uid = client.add("tiny", &json!({}));
    let top = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shmz"));
        let output =
            command.args(["--url", &format!("tcp://127.0.0.1:{}", world.pool), "top", "-d", "0.1", "-n", "2"]).args(more);
        let output = output.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let samples: Vec<Value> = top(&["--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &samples[..] else { panic!("{samples:?}") };
    assert_eq!((&first["modules"][0]["uid"], &first["modules"][0]["cpu_percent"]), (&json!(uid), &Value::Null));
    assert!(second["modules"][0]["cpu_percent"].is_f64() && second["modules"][0]["memory"].is_u64(), "{second}");
    let text = top(&[]);
    assert_eq!(text.matches("SERVICE").count(), 2, "{text}");
    assert!(text.contains(&format!("{}  tiny  playing", &uid[..8])), "{text}");
}
