//! The real queue and pool over real sockets, with real modules.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::process::Command;

use common::{Client, World, eventually, processes};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn the_way_of_a_queue() {
    let world = World::new();
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let a = client.add("echo", &json!({"title": "one"}));
    let b = client.add("echo", &json!({}));
    let shown = client.call("queue", &json!({"parameters": {"echo": ["init", "state"]}}));
    assert_eq!(
        shown["result"],
        json!([
            {"uid": a, "type": "echo", "parameters": {"init": {"title": "one"}, "state": "playing"}},
            {"uid": b, "type": "echo", "parameters": {"init": {}, "state": "initialized"}},
        ])
    );
    assert_eq!(client.call("mv", &json!({"uids": [b]})), json!({"success": true}));
    assert_eq!(client.list("queue"), [b.clone(), a.clone()]);
    let told = client.call("tell_module", &json!({"uid": a, "cmd": "echo", "args": {"n": 1}}));
    assert_eq!(told, json!({"success": true, "result": {"n": 1}}));
    assert_eq!(client.call("rm", &json!({"uids": [b]})), json!({"success": true}));
    let state = client.call("ask_module", &json!({"uid": a, "parameters": ["state"]}));
    assert_eq!(state["result"]["state"], "playing");
    assert!(daemon.terminate().success());
    assert_eq!(processes(&a), [] as [i32; 0]);
    assert_eq!(processes(&b), [] as [i32; 0]);
}

#[test]
fn status_tells_what_each_module_uses() {
    let world = World::new();
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let (a, b) = (client.add("tiny", &json!({})), client.add("echo", &json!({})));
    client.call("set_bg", &json!({"type": "tiny"}));
    let status = client.call("status", &json!({}))["result"].clone();
    assert_eq!((&status["service"], &status["kind"], &status["playing"]), (&json!("queue"), &json!("queue"), &json!(a)));
    assert_eq!(status["text"], format!("playing tiny {}, 1 waiting", &a[..8]));
    let [first, second] = &status["queue"].as_array().unwrap()[..] else { panic!("{status}") };
    assert_eq!((&first["uid"], &first["type"], &first["state"]), (&json!(a), &json!("tiny"), &json!("playing")));
    assert_eq!((&second["uid"], &second["state"], &second["scope"]), (&json!(b), &json!("waiting"), &json!(null)));
    assert_eq!(status["background"]["state"], "suspended");
    assert_eq!(first["pid"], processes(&a)[0]);
    // A Python interpreter is larger than the smallest module.
    let memory = |module: &serde_json::Value| module["memory"].as_u64().unwrap();
    assert!(memory(first) > 100_000 && memory(second) > memory(first), "{status}");
    assert!(first["tasks"] == 1 && second["cpu"].as_f64().unwrap() > 0.0, "{status}");
    assert!(first["since"].as_f64() >= first["added"].as_f64(), "{status}");
    let since = first["since"].clone();

    // It is told something else when it has to wait.
    client.call("mv", &json!({"uids": [b]}));
    let moved = client.call("status", &json!({}))["result"].clone();
    assert_eq!((&moved["queue"][1]["uid"], &moved["queue"][1]["state"]), (&json!(a), &json!("suspended")));
    assert!(moved["queue"][1]["since"].as_f64() > since.as_f64(), "{moved}");
    assert!(moved["revision"].as_u64() > status["revision"].as_u64());
    assert_eq!((&moved["ending"], &client.call("status", &json!({"x": 1}))["success"]), (&json!([]), &json!(false)));
    assert!(daemon.terminate().success());
}

#[test]
fn lists_lines_and_half_closed_clients() {
    let world = World::new();
    let _daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    client.send(
        "{\"cmd\": \"pool\"}\r\n\n   \nnonsense\n[{\"cmd\": \"pool\"}, 5]\n{\"cmd\": \"add\", \"args\": {\"type\": \"tiny\"}}",
    );
    client.close_sending();
    assert_eq!(client.receive(), json!({"success": true, "result": []}));
    assert!(client.receive()["error"].as_str().unwrap().starts_with("Line is not JSON: "));
    assert_eq!(client.receive()[1], json!({"success": false, "error": "Command not a dict."}));
    assert_eq!(client.receive()["success"], true, "whoever stops sending still gets his answers");
    assert!(client.is_closed());
}

#[test]
fn a_client_that_goes_away_leaves_its_module() {
    let world = World::new();
    let _daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    client.send("{\"cmd\": \"add\", \"args\": {\"type\": \"echo\"}}");
    drop(client);
    let mut other = Client::connect(world.pool);
    eventually("the module is added", || other.list("pool").len() == 1);
}

#[test]
fn a_line_over_the_limit_is_answered_and_skipped() {
    let world = World::with(&json!({"max_line_bytes": 4096}));
    let _daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    client.send(&format!("{{\"cmd\": \"queue\", \"x\": \"{}\"}}", "y".repeat(10_000)));
    assert_eq!(client.receive()["error"], "Line is longer than 4096 bytes.");
    assert_eq!(client.call("queue", &json!({}))["result"], json!([]));
}

#[test]
fn programs_that_do_not_become_modules() {
    let world = World::new();
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    client.list("queue");
    let before = daemon.descriptors();
    for _ in 0..5 {
        let missing = client.call("add", &json!({"type": "missing"}));
        assert_eq!(missing["error"], "Could not start module: /does/not/exist could not be started: No such file or directory");
        for type_name in ["exits", "silent"] {
            let answer = client.call("add", &json!({"type": type_name}));
            assert_eq!(answer, json!({"success": false, "error": "Could not connect to spawned module"}));
        }
        let refused = client.call("add", &json!({"type": "echo", "args": {"boom": "init refused"}}));
        assert_eq!(refused["error"], "init refused");
        let silent = client.call("add", &json!({"type": "problem", "args": {"noinit": true}}));
        assert_eq!(silent["error"], "Timeout sending message to module");
    }
    let settings = world.settings.display().to_string();
    eventually("nothing is left", || processes(&settings).is_empty());
    // One is there for good since the first connection: the netlink socket by which it knows who has connected. Each process
    // that waits to become a module has two, by one of which it is told what to become and by the other its end is seen.
    let kept = || 1 + 2 * daemon.waiting().len();
    eventually("no descriptor is leaked", || daemon.descriptors() == before + kept());
    assert!(!daemon.waiting().is_empty());
}

#[test]
fn a_module_inherits_no_descriptor() {
    let world = World::new();
    let _daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    client.add("tiny", &json!({}));
    let uid = client.add("tiny", &json!({}));
    let [pid] = processes(&uid)[..] else { panic!("one process") };
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap());
    let mut numbers: Vec<u32> = descriptors.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    // Its two streams, of which it has duplicated one.
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    // The service has raised its own limit of open files, which is not the module's business.
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_ascii_whitespace().nth(3), Some("1024"), "{files}");
}

#[test]
fn one_that_ignores_everything_is_killed_with_its_descendants() {
    let world = World::new();
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let uid = client.add("problem", &json!({"noquit": true, "noterm": true, "fork": true}));
    eventually("it has forked", || processes(&uid).len() >= 2);
    assert_eq!(client.call("rm", &json!({"uids": [uid]})), json!({"success": true}));
    assert_eq!(client.list("queue"), [] as [String; 0]);
    daemon.wait_for_log("ended by SIGKILL");
    eventually("all are gone", || processes(&uid).is_empty());
}

#[test]
fn how_far_an_ending_has_come() {
    let world = World::new();
    world.change(|settings| {
        let timeouts = |exit, terminate| json!({"connect": 20_000, "command": 10_000, "exit": exit, "terminate": terminate});
        let types = &mut settings["services"]["queue"]["modules"];
        for (name, timeouts) in [("waits", timeouts(60_000, 1)), ("stopped", timeouts(1, 60_000))] {
            types[name] = types["problem"].clone();
            types[name]["timeouts"] = timeouts;
        }
    });
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let uids = ["waits", "stopped"].map(|name| client.add(name, &json!({"noquit": true, "noterm": true})));
    assert_eq!(client.call("rm", &json!({"uids": uids})), json!({"success": true}));
    let mut steps = || {
        let ending = client.call("status", &json!({}))["result"]["ending"].clone();
        uids.each_ref()
            .map(|uid| ending.as_array().unwrap().iter().find(|one| one["uid"] == **uid).map(|one| one["step"].clone()))
    };
    eventually("each is in its step", || steps() == [Some(json!("exit")), Some(json!("terminate"))]);
    for pid in uids.iter().flat_map(|uid| processes(uid)) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
    eventually("none is left", || steps() == [None, None]);
    assert!(daemon.terminate().success());
}

#[test]
fn types_say_what_a_page_draws() {
    let world = World::new();
    let args = json!({"title": {"type": "string", "default": "é"}});
    let commands = json!({"seek": {"title": "Seek", "args": {"position": {"type": "number"}}}, "pause": {}});
    world.change(|settings| {
        let tiny = &mut settings["services"]["queue"]["modules"]["tiny"];
        (tiny["title"], tiny["args"], tiny["commands"]) = (json!("Tiny"), args.clone(), commands.clone());
    });
    let _daemons = (world.start_queue(), world.start_pool());
    let types = Client::connect(world.queue).call("types", &json!({}))["result"].clone();
    assert_eq!(types["modules"]["tiny"], json!({"title": "Tiny", "args": args, "commands": commands}));
    assert_eq!(types["backgrounds"]["tiny"], json!({"title": null, "args": {}, "commands": {}}));
    let names: Vec<&String> = types["modules"].as_object().unwrap().keys().collect();
    assert_eq!(json!(names), Client::connect(world.queue).call("modules_available", &json!({}))["result"]);
    assert_eq!(Client::connect(world.pool).call("types", &json!({}))["result"]["backgrounds"], json!({}));
}

#[test]
fn a_module_that_crashes_makes_room_for_the_next() {
    let world = World::new();
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let a = client.add("echo", &json!({}));
    let b = client.add("echo", &json!({}));
    let died = client.call("tell_module", &json!({"uid": a, "cmd": "die"}));
    assert_eq!(died["error"], "Pipe to module unexpectedly closed");
    eventually("the next is on top", || client.list("queue") == [b.clone()]);
    let playing = || Client::connect(world.queue).call("ask_module", &json!({"uid": b, "parameters": ["state"]}));
    eventually("the next plays", || playing()["result"]["state"] == "playing");
    let logged = daemon.wait_for_log("lost a stream");
    assert!(logged.contains("exit status 3"), "{logged}");
}

#[test]
fn a_module_that_says_that_it_ends_is_believed() {
    let world = World::new();
    let _daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    for ended in 1..=10 {
        let uid = client.add("echo", &json!({}));
        client.call("tell_module", &json!({"uid": uid, "cmd": "finish"}));
        let mut last = || client.call("history", &json!({}))["result"].as_array().unwrap().clone();
        eventually("its end is known", || last().len() == ended);
        let life = &last()[0];
        assert_eq!((&life["uid"], &life["cause"], &life["exit"]), (&json!(uid), &json!("own"), &json!({"status": 0})), "{life}");
        assert_eq!(life["reached"], "exit");
    }
}

#[test]
fn one_that_is_too_slow_is_removed() {
    let world = World::new();
    let daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    let uid = client.add("problem", &json!({"tooslow": true}));
    let answer = client.call("tell_module", &json!({"uid": uid, "cmd": "pause"}));
    assert_eq!(answer["error"], "Timeout sending message to module");
    assert_eq!(client.list("pool"), [] as [String; 0]);
    daemon.wait_for_log("did not answer in time");
}

#[test]
fn a_slow_module_holds_up_nobody_else() {
    let world = World::new();
    let _daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let uid = client.add("echo", &json!({}));
    let mut slow = Client::connect(world.queue);
    slow.send(&json!({"cmd": "tell_module", "args": {"uid": uid, "cmd": "sleep", "args": {"secs": 3}}}).to_string());
    assert_eq!(client.list("queue"), [uid]);
    assert!(slow.is_silent(), "a read waited for a module");
    assert_eq!(slow.receive(), json!({"success": true, "result": 3}));
}

/// A module that floods and never reads an answer, one that sends half a line, one that sends 100 MB without a newline,
/// one that answers twice: clients are served as if there were none, in bounded memory.
#[test]
fn ill_behaved_modules_hurt_nobody() {
    let world = World::new();
    let daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    let flood = client.add("problem", &json!({"flood": true}));
    client.add("problem", &json!({"halfline": true}));
    client.add("problem", &json!({"longline": true}));
    let twice = client.add("problem", &json!({"answertwice": true}));
    let good = client.add("echo", &json!({}));
    for _ in 0..200 {
        assert!(client.list("pool").contains(&flood));
    }
    for number in 0..50 {
        let told = client.call("tell_module", &json!({"uid": good, "cmd": "echo", "args": {"n": number}}));
        assert_eq!(told["result"]["n"], number);
    }
    assert!(client.list("pool").contains(&twice));
    assert!(daemon.memory_kb("VmHWM") < 80_000, "{} kB", daemon.memory_kb("VmHWM"));
}

#[test]
fn sigterm_drains() {
    let world = World::new();
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let uids: Vec<String> = (0..3).map(|_| client.add("echo", &json!({}))).collect();
    let stubborn = client.add("problem", &json!({"noquit": true, "noterm": true}));
    let mut waiting = Client::connect(world.queue);
    let slow = json!({"uid": uids[1], "cmd": "sleep", "args": {"secs": 1}});
    waiting.send(&json!({"cmd": "tell_module", "args": slow}).to_string());
    // It is being carried out once the other client's command to the same module has to wait for it.
    let mut second = Client::connect(world.queue);
    second.send(&json!({"cmd": "queue"}).to_string());
    second.receive();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(waiting.receive(), json!({"success": true, "result": 1}));
    assert!(daemon.terminate().success());
    for uid in uids.iter().chain([&stubborn]) {
        assert_eq!(processes(uid), [] as [i32; 0]);
    }
}

#[test]
fn a_port_that_is_taken_is_one_sentence() {
    let world = World::new();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", world.queue)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_shmooze-queue")).arg("--settings").arg(&world.settings).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = format!("shmooze-queue: queue: 127.0.0.1:{}: Address already in use", world.queue);
    assert!(error.lines().last().unwrap().starts_with(&expected), "{error}");
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_service_that_is_not_there_is_one_sentence() {
    let world = World::new();
    let output = Command::new(env!("CARGO_BIN_EXE_shmooze-pool"))
        .arg("--settings")
        .arg(&world.settings)
        .args(["--service", "queue"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.ends_with("services has no pool called queue\n"), "{error}");
}
