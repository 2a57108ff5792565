//! A service under more than it is made for: crowds, clients that dribble or never read, lines as long as may be, modules without end.
//! It answers the others, says what is too much, needs no more memory than is stated (docs/reliability.md), and is as before
//! when it is over.

// Helpers stand outside of test functions, where clippy does not see that they are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::{Client, Daemon, PATIENCE, World, eventually};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

/// What a service may take at most whatever clients do, but for its modules: docs/reliability.md, in kB.
const MOST_KB: u64 = 400 * 1024;

/// Lets this process, and the daemons that it starts, have as many descriptors as they may; answers how many that are.
fn raise_open_files() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that is sent until the connection is closed.
fn to_the_end(mut stream: TcpStream) -> String {
    let mut text = String::new();
    // A reset after the last byte is an end, too.
    if let Err(error) = stream.read_to_string(&mut text) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{text}");
    }
    text
}

fn refusal(of: &Value) -> &str {
    assert_eq!(of["success"], false, "{of}");
    of["error"].as_str().unwrap()
}

/// The descriptors of a daemon, but for those of children that wait to become modules.
fn held(daemon: &Daemon) -> usize {
    daemon.descriptors() - 2 * daemon.waiting().len()
}

/// Writes as much as is taken; answers whether nothing was for a second.
fn is_full(stream: &mut TcpStream, bytes: &[u8], written: &mut usize) -> bool {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    match stream.write(bytes) {
        Ok(count) => {
            *written += count;
            false
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// A world whose queue or pool has other bounds.
fn bounded(service: &str, bounds: &Value) -> World {
    let world = World::new();
    world.change(|settings| {
        let service = settings["services"][service].as_object_mut().unwrap();
        service.extend(bounds.as_object().unwrap().clone());
    });
    world
}

/// A line of `length` bytes that asks for the list.
fn long_line(length: usize) -> Vec<u8> {
    let mut line = br#"{"cmd": "pool", "other": ""#.to_vec();
    line.resize(length - 2, b'x');
    line.extend_from_slice(b"\"}");
    line.push(b'\n');
    line
}

#[test]
fn a_crowd_is_served() {
    // Ours and those of the other tests of this program, which run beside it.
    let crowd = 10_000.min(raise_open_files() / 2);
    let world = World::new();
    let daemon = world.start_pool();
    let uid = Client::connect(world.pool).add("tiny", &json!({}));
    let before = held(&daemon);

    let idle: Vec<TcpStream> = (0..crowd - 1200).map(|_| connect(world.pool)).collect();
    // A client that sends a byte a minute has sent some and will send another at some time.
    let mut dribbling: Vec<TcpStream> = (0..1000).map(|_| connect(world.pool)).collect();
    let request = b"{\"cmd\": \"pool\"}\n";
    for byte in &request[..5] {
        dribbling.iter_mut().for_each(|stream| stream.write_all(&[*byte]).unwrap());
    }
    // One that asks and asks and reads nothing, until nothing more is taken of it.
    let mut deaf = connect(world.pool);
    let ask = b"{\"cmd\": \"modules_available\"}\n".repeat(100);
    let mut asked = 0;
    while !is_full(&mut deaf, &ask, &mut asked) {
        assert!(asked < 100 << 20, "it is listened to though it does not read");
    }

    // A hundred and fifty that add at once, and all are answered.
    let mut adding: Vec<Client> = (0..150).map(|_| Client::connect(world.pool)).collect();
    let add = json!({"cmd": "add", "args": {"type": "tiny"}}).to_string();
    adding.iter_mut().for_each(|client| client.send(&add));
    // And meanwhile whoever comes is answered.
    let mut ordinary = Client::connect(world.pool);
    for _ in 0..100 {
        assert_eq!(ordinary.call("ask_module", &json!({"uid": uid, "parameters": []}))["success"], true);
    }
    for client in &mut adding {
        let added = client.receive();
        assert!(added["result"]["uid"].is_string(), "{added}");
    }
    assert_eq!(ordinary.list("pool").len(), 151);
    // Also those who were slow.
    for stream in &mut dribbling {
        stream.write_all(&request[5..]).unwrap();
        let mut begin = [0; 16];
        stream.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"{\"success\": true");
    }
    let most = daemon.memory_kb("VmHWM:");
    assert!(most < 128 * 1024, "{most} kB for {crowd} connections");

    // It is over.
    drop((idle, dribbling, deaf, adding));
    let uids = ordinary.list("pool").into_iter().filter(|listed| *listed != uid).collect::<Vec<_>>();
    assert_eq!(ordinary.call("rm", &json!({"uids": uids}))["success"], true);
    // The ordinary client's own.
    eventually("as many descriptors as before", || held(&daemon) <= before + 1);
    assert_eq!(Client::connect(world.pool).list("pool"), [uid]);
}

#[test]
fn a_connection_too_many_is_told_so() {
    let world = bounded("queue", &json!({"max_connections": 3}));
    let daemon = world.start_queue();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(world.queue)).collect();
    clients.iter_mut().for_each(|client| assert!(client.list("queue").is_empty()));
    let before = daemon.descriptors();
    for _ in 0..200 {
        let mut late = connect(world.queue);
        // Some ask before they hear it.
        let _ = late.write_all(b"{\"cmd\": \"queue\"}\n");
        let expected = "{\"success\": false, \"error\": \"Too many connections: max_connections is 3.\"}\n";
        assert_eq!(to_the_end(late), expected);
    }
    clients.iter_mut().for_each(|client| assert!(client.list("queue").is_empty()));
    eventually("nothing is left of them", || daemon.descriptors() <= before);
    // Another number counts at once.
    world.change(|settings| settings["services"]["queue"]["max_connections"] = json!(4));
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("room for one more", || {
        let mut more = connect(world.queue);
        more.write_all(b"{\"cmd\": \"queue\"}\n").unwrap();
        more.shutdown(Shutdown::Write).unwrap();
        to_the_end(more).starts_with("{\"success\": true")
    });
    clients.pop();
    eventually("room for who comes when one has gone", || {
        let mut more = connect(world.queue);
        more.write_all(b"{\"cmd\": \"queue\"}\n").unwrap();
        more.shutdown(Shutdown::Write).unwrap();
        to_the_end(more).starts_with("{\"success\": true")
    });
}

#[test]
fn a_list_has_an_end() {
    let world = bounded("queue", &json!({"max_length": 3, "max_modules": 5}));
    let _daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let add = |client: &mut Client| client.call("add", &json!({"type": "tiny"}));
    // All at once: those that start are counted.
    let adds = vec![json!({"cmd": "add", "args": {"type": "tiny"}}).to_string(); 5];
    let mut others: Vec<Client> = (0..5).map(|_| Client::connect(world.queue)).collect();
    others.iter_mut().zip(&adds).for_each(|(client, add)| client.send(add));
    let answers: Vec<Value> = others.iter_mut().map(Client::receive).collect();
    let refused: Vec<&Value> = answers.iter().filter(|answer| answer["success"] == false).collect();
    assert_eq!(refused.iter().map(|answer| refusal(answer)).collect::<Vec<_>>(), ["Queue is full: max_length is 3."; 2]);
    let list = client.list("queue");
    assert_eq!(list.len(), 3);
    // A background is no part of the list.
    assert_eq!(client.call("set_bg", &json!({"type": "tiny"}))["success"], true);
    assert_eq!(refusal(&add(&mut client)), "Queue is full: max_length is 3.");
    assert_eq!(client.call("rm", &json!({"uids": [list[1]]}))["success"], true);
    eventually("room again", || add(&mut client)["success"] == true);
    assert_eq!(client.list("queue").len(), 3);
}

#[test]
fn modules_have_an_end() {
    let world = bounded("pool", &json!({"max_modules": 4}));
    let _daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    let uids: Vec<String> = (0..4).map(|_| client.add("tiny", &json!({}))).collect();
    assert_eq!(refusal(&client.call("add", &json!({"type": "tiny"}))), "Service is full: max_modules is 4.");
    assert_eq!(client.list("pool"), uids);
    assert_eq!(client.call("rm", &json!({"uids": uids}))["success"], true);
    eventually("room again", || client.call("add", &json!({"type": "tiny"}))["success"] == true);
}

#[test]
fn long_lines_of_many_are_answered_in_bounded_memory() {
    let world = World::new();
    let daemon = world.start_pool();
    // 300 MB of lines, all of them begun before any is ended.
    let line = long_line(1_000_000);
    let clients: Vec<TcpStream> = (0..300).map(|_| connect(world.pool)).collect();
    let begun = std::sync::Barrier::new(clients.len());
    let each = |mut stream: TcpStream| {
        stream.write_all(&line[..16_000]).unwrap();
        begun.wait();
        stream.write_all(&line[16_000..]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        to_the_end(stream)
    };
    let each = &each;
    let answered = std::thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().map(|stream| scope.spawn(move || each(stream))).collect();
        // Who has little to say is not kept waiting by any of it.
        let mut ordinary = Client::connect(world.pool);
        (0..50).for_each(|_| assert!(ordinary.list("pool").is_empty()));
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let refused = answered.iter().filter(|answer| answer.contains("No room for so long a line: 67108864 bytes")).count();
    let served = answered.iter().filter(|answer| *answer == "{\"success\": true, \"result\": []}\n").count();
    assert_eq!((refused + served, answered.len()), (300, 300), "{answered:?}");
    assert!(served >= 30, "{served}");
    let most = daemon.memory_kb("VmHWM:");
    assert!(most < MOST_KB, "{most} kB");
    println!("300 lines of 1 MB: {served} answered, {refused} refused, {most} kB at most");
}

#[test]
fn long_lines_that_never_end_keep_nobody_from_being_answered() {
    let world = World::new();
    let daemon = world.start_pool();
    let line = long_line(1_000_000);
    // They take all the room that there is.
    let mut slow: Vec<TcpStream> = (0..100).map(|_| connect(world.pool)).collect();
    for stream in &mut slow {
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < line.len() - 1 {
            match stream.write(&line[sent..line.len() - 1]) {
                Ok(bytes) => sent += bytes,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
    }
    let mut ordinary = Client::connect(world.pool);
    (0..50).for_each(|_| assert!(ordinary.list("pool").is_empty()));
    // Somebody else's long line has its turn when they have been slow for too long.
    let mut long = Client::connect(world.pool);
    let text = String::from_utf8(line).unwrap();
    eventually("a long line is answered", || {
        long.send(text.trim_end());
        let answer = long.receive();
        if answer["success"] == true {
            return true;
        }
        assert!(refusal(&answer).starts_with("No room for so long a line"), "{answer}");
        false
    });
    assert!(daemon.memory_kb("VmHWM:") < MOST_KB);
    drop(slow);
    assert!(ordinary.list("pool").is_empty());
}

#[test]
fn answers_that_are_not_read_do_not_pile_up() {
    let world = World::new();
    let daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    // Each answer is 6 MB: more than the kernel takes of what is not read.
    let uid = client.add("echo", &json!({}));
    let text = "x".repeat(6_000_000);
    let set = client.call("tell_module", &json!({"uid": uid, "cmd": "set", "args": {"parameters": {"text": text}}}));
    assert_eq!(set["success"], true);
    let ask = json!({"cmd": "ask_module", "args": {"uid": uid, "parameters": ["text"]}});
    assert_eq!(client.ask(&ask)["result"]["text"], text);
    let before = daemon.descriptors();
    // 600 MB of answers, and a list of requests with 6 GB of them on one line, of which nothing is read.
    let mut deaf: Vec<TcpStream> = (0..100).map(|_| connect(world.pool)).collect();
    deaf.iter_mut().for_each(|stream| stream.write_all(format!("{ask}\n").as_bytes()).unwrap());
    let mut greedy = connect(world.pool);
    greedy.write_all(format!("{}\n", Value::from(vec![ask.clone(); 1000])).as_bytes()).unwrap();
    (0..50).for_each(|_| assert_eq!(client.list("pool").len(), 1));
    eventually("no room", || {
        let answer = client.ask(&ask);
        let full = "No room for so long an answer: 67108864 bytes of answers wait to be read.";
        answer["success"] == false && refusal(&answer) == full
    });
    // Long answers have their turn when nobody has read the others for too long.
    eventually("a long answer", || client.ask(&ask)["success"] == true);
    let most = daemon.memory_kb("VmHWM:");
    assert!(most < MOST_KB, "{most} kB");
    println!("100 unread answers of 6 MB: {most} kB at most");
    drop((deaf, greedy));
    eventually("as many descriptors as before", || daemon.descriptors() <= before);
    assert_eq!(client.ask(&ask)["success"], true);
}

#[test]
fn without_descriptors_clients_wait_and_are_served_when_there_are_some() {
    let world = World::new();
    let settings = world.settings.display().to_string();
    let program = env!("CARGO_BIN_EXE_shmooze-pool");
    let limited = format!("ulimit -n 64 && exec {program} --settings {settings}");
    let daemon = Daemon::start(std::process::Command::new("sh").args(["-c", &limited]), 1);
    // Three quarters of them are for clients, and the others for modules.
    let mut clients: Vec<Client> = (0..48).map(|_| Client::connect(world.pool)).collect();
    clients.iter_mut().for_each(|client| assert!(client.list("pool").is_empty()));
    assert_eq!(
        to_the_end(connect(world.pool)),
        "{\"success\": false, \"error\": \"Too many connections: max_connections is 48.\"}\n"
    );
    // Modules until there is no descriptor left for more of them.
    let add = json!({"type": "tiny"});
    let mut added = 0;
    while clients[0].call("add", &add)["success"] == true {
        added += 1;
        assert!(added < 64);
    }
    assert_eq!(clients[0].list("pool").len(), added);
    let ticks = cpu_ticks(daemon.pid());
    clients.truncate(24);
    eventually("room for modules", || clients[0].call("add", &add)["success"] == true);
    assert!(cpu_ticks(daemon.pid()) - ticks < 1000, "it spins");
}

/// CPU time of a process in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
