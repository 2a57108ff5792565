//! Lists that are kept on disk: brokers that are killed without anybody who keeps their modules, and what comes back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

mod common;
use common::{Client, Daemon, World, eventually, free_port, tiny};

/// Settings in which both lists are kept.
fn world() -> World {
    let world = World::new();
    world.change(|settings| {
        for service in ["queue", "pool"] {
            settings["services"][service]["restore"] = json!(true);
            // However busy the machine is, but for those that are to be too late.
            for (name, of_type) in settings["services"][service]["modules"].as_object_mut().unwrap() {
                if name != "silent" {
                    of_type["timeouts"]["connect"] = json!(20_000);
                }
            }
        }
    });
    world
}

fn start(world: &World, kind: &str) -> Daemon {
    let program = if kind == "queue" { env!("CARGO_BIN_EXE_shmooze-queue") } else { env!("CARGO_BIN_EXE_shmooze-pool") };
    let state = world.path("state");
    Daemon::start(Command::new(program).arg("--settings").arg(&world.settings).arg("--state").arg(state), 1)
}

fn file(world: &World, kind: &str) -> PathBuf {
    world.path("state").join(format!("list-{kind}.sqlite3"))
}

/// Kills a broker; what it launched ends with its streams.
fn kill(mut daemon: Daemon) {
    daemon.signal(nix::sys::signal::Signal::SIGKILL);
    daemon.wait();
}

fn until_list(client: &mut Client, kind: &str, expected: &[String]) {
    eventually("the list is back", || client.list(kind) == expected);
}

fn shown(client: &mut Client, name: &str) -> Vec<Value> {
    let answer = client.call("queue", &json!({"parameters": {"echo": [name]}}));
    answer["result"].as_array().unwrap().iter().map(|item| item["parameters"][name].clone()).collect()
}

#[test]
fn order_arguments_background_and_what_plays_come_back() {
    let world = world();
    let queue = start(&world, "queue");
    let mut client = Client::connect(world.queue);
    let added: Vec<String> = (0..6).map(|number| client.add("echo", &json!({"number": number, "text": "☃ \" \\"}))).collect();
    let background = client.call("set_bg", &json!({"type": "echo", "args": {"number": "bg"}}));
    let background = background["result"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(client.call("mv", &json!({"uids": [added[4], added[2]]}))["success"], true);
    assert_eq!(client.call("rm", &json!({"uids": [added[1]]}))["success"], true);
    let expected = [4, 2, 0, 3, 5].map(|number: usize| added[number].clone());
    let is_back = |world: &World| {
        let mut client = Client::connect(world.queue);
        until_list(&mut client, "queue", &expected);
        eventually("the first plays", || shown(&mut client, "state")[0] == "playing");
        let inits = shown(&mut client, "init");
        assert_eq!(inits[0], json!({"number": 4, "text": "☃ \" \\"}));
        assert_eq!(inits.iter().map(|init| init["number"].clone()).collect::<Vec<_>>(), [4, 2, 0, 3, 5]);
        eventually("the background is back", || client.call("bg", &json!({}))["result"]["uid"] == json!(background));
        client
    };
    is_back(&world);
    kill(queue);
    let queue = start(&world, "queue");
    let mut client = is_back(&world);
    assert_eq!(shown(&mut client, "state")[1..], ["initialized"; 4]);
    drop(client);
    // An end in good order is no removal.
    assert!(queue.terminate().success());
    let queue = start(&world, "queue");
    let mut client = is_back(&world);
    // What is removed is gone for good, whoever does it.
    assert_eq!(client.call("rm", &json!({"uids": [expected[0]]}))["success"], true);
    client.call("tell_module", &json!({"uid": expected[1], "cmd": "finish"}));
    until_list(&mut client, "queue", &expected[2..]);
    eventually("no process is left of it", || {
        let history = client.call("history", &json!({}));
        history["result"].as_array().unwrap().iter().any(|life| life["uid"] == json!(expected[1]))
    });
    // It was not asked for, and so is written when it is known.
    assert_eq!(client.call("mv", &json!({"uids": []}))["success"], true);
    kill(queue);
    let _queue = start(&world, "queue");
    until_list(&mut Client::connect(world.queue), "queue", &expected[2..]);
}

#[test]
fn a_pool_comes_back() {
    let world = world();
    let pool = start(&world, "pool");
    let mut client = Client::connect(world.pool);
    let added: Vec<String> = (0..5).map(|_| client.add("tiny", &json!({}))).collect();
    kill(pool);
    let _pool = start(&world, "pool");
    until_list(&mut Client::connect(world.pool), "pool", &added);
}

#[test]
fn parameters_are_shown_until_there_are_others() {
    let world = world();
    let queue = start(&world, "queue");
    let mut client = Client::connect(world.queue);
    let first = client.add("echo", &json!({}));
    let uid = client.add("echo", &json!({}));
    let answer = client.call("tell_module", &json!({"uid": uid, "cmd": "set", "args": {"parameters": {"title": "Adagio"}}}));
    assert_eq!(answer["success"], true);
    // They are written with a change.
    eventually("the title is known", || shown(&mut client, "title")[1] == "Adagio");
    assert_eq!(client.call("mv", &json!({"uids": [first]}))["success"], true);
    kill(queue);
    // From now on they are modules that announce nothing.
    world.change(|settings| settings["services"]["queue"]["modules"]["echo"]["process"] = tiny());
    let _queue = start(&world, "queue");
    let mut client = Client::connect(world.queue);
    until_list(&mut client, "queue", &[first, uid]);
    assert_eq!(shown(&mut client, "title"), [Value::Null, json!("Adagio")]);
    assert_eq!(shown(&mut client, "state"), ["playing", "initialized"]);
}

#[test]
fn what_fails_three_times_is_set_aside() {
    let world = world();
    let queue = start(&world, "queue");
    let mut client = Client::connect(world.queue);
    let good = client.add("echo", &json!({}));
    let bad = client.add("tiny", &json!({"song": 7}));
    let unknown = client.add("problem", &json!({}));
    kill(queue);
    world.change(|settings| {
        let types = &mut settings["services"]["queue"]["modules"];
        types["tiny"]["process"] = json!(["/bin/false"]);
        types.as_object_mut().unwrap().remove("problem");
    });
    let queue = start(&world, "queue");
    queue.wait_for_log("of type problem is set aside: the settings have no type problem any more");
    let said = queue.wait_for_log("of type tiny is set aside: failed 3 times in a row: ");
    assert!(said.contains(&bad[..8]), "{said}");
    let mut client = Client::connect(world.queue);
    until_list(&mut client, "queue", std::slice::from_ref(&good));
    let history = client.call("history", &json!({}));
    let history = history["result"].as_array().unwrap();
    let of = |uid: &str| history.iter().filter(|life| life["uid"] == uid).map(|life| life["cause"].clone()).collect::<Vec<_>>();
    assert_eq!(of(&bad), ["set_aside", "not_connected", "not_connected", "not_connected"]);
    assert_eq!(of(&unknown), ["set_aside"]);
    kill(queue);
    // They are not tried again, and nothing of them is lost.
    let database = rusqlite::Connection::open(file(&world, "queue")).unwrap();
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM module"), 1);
    assert_eq!(count("SELECT count(*) FROM set_aside WHERE args = '{\"song\":7}' AND reason LIKE 'failed 3 times%'"), 1);
    assert_eq!(count("SELECT count(*) FROM set_aside WHERE type = 'problem'"), 1);
    drop(database);
    let _queue = start(&world, "queue");
    until_list(&mut Client::connect(world.queue), "queue", &[good]);
}

#[test]
fn a_second_broker_with_the_same_list_is_told_so() {
    let world = world();
    let _queue = start(&world, "queue");
    let other = free_port();
    world.change(|settings| settings["ports"]["queue"] = json!(other));
    let mut command = Command::new(env!("CARGO_BIN_EXE_shmooze-queue"));
    command.arg("--settings").arg(&world.settings).arg("--state").arg(world.path("state"));
    let output = command.env("SHMOOZE_SCOPES", "process-groups").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("list-queue.sqlite3 is in use by another process: two brokers cannot keep one list"), "{said}");
}

#[test]
fn the_family_in_the_foreground_keeps_its_lists_where_a_user_s_state_is() {
    let world = world();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shmooze-run"));
        command
            .arg("--settings")
            .arg(&world.settings)
            .env("XDG_STATE_HOME", world.path("xdg"))
            .stdout(std::process::Stdio::null());
        Daemon::start(&mut command, 2)
    };
    let family = run();
    let added = Client::connect(world.queue).add("tiny", &json!({}));
    kill(family);
    assert!(world.path("xdg/shmooze/lists/list-queue.sqlite3").exists());
    let _family = run();
    until_list(&mut Client::connect(world.queue), "queue", &[added]);
}

/// Numbers that look random and are the same for the same seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }
}

/// What a client knows of the queue.
#[derive(Default)]
struct Account {
    order: Vec<String>,
    known: HashSet<String>,
    /// What was asked last, without an answer.
    open: Option<(&'static str, Vec<String>)>,
    done: usize,
}

impl Account {
    /// One request; whether it was answered.
    fn act(&mut self, port: u16, random: &mut Random) -> bool {
        let mut pick = |order: &[String]| match order.len() {
            0 => Vec::new(),
            length => (0..=random.below(2)).map(|_| order[random.below(length)].clone()).collect(),
        };
        let uids = pick(&self.order);
        let cmd = match random.below(if self.order.len() > 8 { 2 } else { 4 }) {
            0 if !uids.is_empty() => "rm",
            1 if !uids.is_empty() => "mv",
            _ => "add",
        };
        let args = if cmd == "add" { json!({"type": "tiny"}) } else { json!({"uids": uids}) };
        self.open = Some((cmd, uids.clone()));
        let Some(answer) = ask(port, cmd, &args) else { return false };
        assert_eq!(answer["success"], true, "{cmd} {args}: {answer}");
        let new = answer["result"]["uid"].as_str().map(str::to_owned);
        self.order = after(&self.order, cmd, &uids, new.clone());
        self.known.extend(new);
        self.open = None;
        self.done += 1;
        true
    }

    /// What is stored is what was acknowledged, with or without what was asked last.
    fn compare(&mut self, stored: &[String]) {
        let without = self.order.clone();
        let with = self.open.take().map(|(cmd, uids)| {
            let new = stored.last().filter(|uid| cmd == "add" && !self.known.contains(*uid)).cloned();
            after(&self.order, cmd, &uids, new)
        });
        let is_so = stored == without || with.as_deref() == Some(stored);
        assert!(is_so, "stored: {stored:?}\nacknowledged: {without:?}\nmaybe: {with:?}");
        self.order = stored.to_vec();
        self.known.extend(stored.iter().cloned());
    }
}

fn after(order: &[String], cmd: &str, uids: &[String], new: Option<String>) -> Vec<String> {
    let others = || order.iter().filter(|uid| !uids.contains(uid)).cloned();
    let mut first: Vec<String> = Vec::new();
    for uid in uids {
        if !first.contains(uid) {
            first.push(uid.clone());
        }
    }
    match cmd {
        "add" => order.iter().cloned().chain(new).collect(),
        "rm" => others().collect(),
        _ => first.into_iter().chain(others()).collect(),
    }
}

fn ask(port: u16, cmd: &str, args: &Value) -> Option<Value> {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    stream.write_all(format!("{}\n", json!({"cmd": cmd, "args": args})).as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.ends_with('\n').then(|| serde_json::from_str(&line).unwrap())
}

#[test]
fn killed_again_and_again_nothing_acknowledged_is_missing() {
    let rounds = std::env::var("SHMOOZE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let seed = std::env::var("SHMOOZE_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) + 1);
    println!("SHMOOZE_SEED={seed} SHMOOZE_KILLS={rounds}");
    let world = world();
    let mut random = Random(seed);
    let account = Arc::new(Mutex::new(Account::default()));
    for round in 0..rounds {
        let queue = start(&world, "queue");
        // Half of the time also while the list is not up yet.
        if round % 2 == 0 {
            let expected = account.lock().unwrap().order.clone();
            until_list(&mut Client::connect(world.queue), "queue", &expected);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let client = {
            let (account, is_over, port) = (Arc::clone(&account), Arc::clone(&is_over), world.queue);
            let mut random = Random(seed + 1 + round);
            thread::spawn(move || while !is_over.load(Ordering::SeqCst) && account.lock().unwrap().act(port, &mut random) {})
        };
        thread::sleep(Duration::from_millis(random.below(300) as u64));
        kill(queue);
        is_over.store(true, Ordering::SeqCst);
        client.join().unwrap();
        let (_store, list) = shmooze::store::Store::open(&file(&world, "queue"), "queue").unwrap();
        let stored: Vec<String> = list.modules().map(|module| module.uid.to_string()).collect();
        account.lock().unwrap().compare(&stored);
    }
    let done = account.lock().unwrap().done;
    println!("{done} changes were acknowledged");
    assert!(done > 0);
    let _queue = start(&world, "queue");
    let expected = account.lock().unwrap().order.clone();
    until_list(&mut Client::connect(world.queue), "queue", &expected);
}
