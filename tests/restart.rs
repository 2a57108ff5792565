//! Modules that are started again, by the real pool and the real queue over real sockets.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::process::Command;

use common::{Client, World, eventually, processes};
use serde_json::{Value, json};

/// A world in which the module types of this name are started again so.
fn world(name: &str, restart: &Value) -> World {
    let world = World::new();
    world.change(|settings| {
        settings["services"]["pool"]["modules"][name]["restart"] = restart.clone();
        settings["services"]["queue"]["backgrounds"][name]["restart"] = restart.clone();
    });
    world
}

fn wanted() -> Value {
    json!({"parameters": {"problem": ["shmooze_restarts", "shmooze_restart_at"]}})
}

#[test]
fn a_module_that_crashes_comes_back() {
    // Long enough to be looked at while it waits.
    let world = world("problem", &json!({"delay": 3_000}));
    let daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    let (a, b, c) = (client.add("echo", &json!({})), client.add("problem", &json!({})), client.add("echo", &json!({})));
    let before = processes(&b);
    let plain = client.call("pool", &json!({}));
    assert_eq!(client.call("pool", &wanted())["result"][1]["parameters"], json!({}));
    // It ends under the command.
    let crash = json!({"uid": b, "cmd": "crash", "args": {"status": 7}});
    assert_eq!(client.call("tell_module", &crash)["error"], "Pipe to module unexpectedly closed");
    eventually("it waits", || client.call("pool", &wanted())["result"][1]["parameters"]["shmooze_restart_at"].is_number());
    let listed = client.call("pool", &wanted())["result"].clone();
    assert_eq!((&listed[0]["uid"], &listed[1]["uid"], &listed[2]["uid"]), (&json!(a), &json!(b), &json!(c)));
    assert_eq!((&listed[1]["state"], &listed[1]["parameters"]["shmooze_restarts"]), (&json!("restarting"), &json!(1)));
    assert_eq!(client.call("tell_module", &crash)["error"], "Pipe to module unexpectedly closed");
    let life = client.call("history", &json!({"limit": 1}))["result"][0].clone();
    assert_eq!((&life["uid"], &life["exit"], &life["cause"]), (&json!(b), &json!({"status": 7}), &json!("stream_lost")));
    assert_eq!(life["restart_at"], listed[1]["parameters"]["shmooze_restart_at"]);
    let shmz = Command::new(env!("CARGO_BIN_EXE_shmz")).arg("--settings").arg(&world.settings).arg("pool").output().unwrap();
    let shown = String::from_utf8(shmz.stdout).unwrap();
    assert!(shown.contains("problem (restarting)\n"), "{shown}");

    eventually("it is back", || client.call("pool", &json!({})) == plain);
    let after = processes(&b);
    assert!(!after.is_empty() && after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
    let parameters = client.call("pool", &wanted())["result"][1]["parameters"].clone();
    assert_eq!(parameters, json!({"shmooze_restarts": 1}));
    assert_eq!(client.call("tell_module", &json!({"uid": b, "cmd": "pause"}))["success"], true);
    assert_eq!(client.call("status", &json!({}))["result"]["pool"][1]["restarts"], 1);
    // Removed while it waits.
    client.call("tell_module", &crash);
    eventually("it waits again", || client.call("pool", &json!({}))["result"][1]["state"] == "restarting");
    assert_eq!(client.call("rm", &json!({"uids": [b]})), json!({"success": true}));
    assert_eq!(client.list("pool"), [a, c]);
    assert!(daemon.terminate().success());
}

#[test]
fn a_clean_exit_is_no_failure_and_a_crash_loop_ends() {
    let world = world("problem", &json!({"delay": 1, "limit": 3}));
    let daemon = world.start_pool();
    let mut client = Client::connect(world.pool);
    let clean = client.add("problem", &json!({}));
    client.call("tell_module", &json!({"uid": clean, "cmd": "crash", "args": {"status": 0}}));
    eventually("it is gone", || client.list("pool").is_empty());
    let life = client.call("history", &json!({"limit": 1}))["result"][0].clone();
    assert_eq!((&life["exit"], &life["restart_at"], &life["given_up"]), (&json!({"status": 0}), &Value::Null, &Value::Null));
    // It crashes as soon as it is initialised, whatever is done.
    let uid = client.add("problem", &json!({"crash": 9}));
    eventually("it is given up", || client.list("pool").is_empty());
    let lives = client.call("history", &json!({"limit": 10}))["result"].as_array().unwrap().clone();
    let of_it: Vec<&Value> = lives.iter().filter(|life| life["uid"] == *uid).collect();
    assert_eq!((of_it.len(), &of_it[0]["given_up"], &of_it[0]["restarts"]), (4, &json!(true), &json!(3)));
    daemon.wait_for_log("is given up: it was started again 3 times within 600 s");
    assert!(daemon.terminate().success());
}

#[test]
fn a_background_that_crashes_comes_back_and_the_service_ends_while_it_waits() {
    let world = world("problem", &json!({"delay": 1}));
    let daemon = world.start_queue();
    let mut client = Client::connect(world.queue);
    let answer = client.call("set_bg", &json!({"type": "problem"}));
    let uid = answer["result"]["uid"].as_str().unwrap().to_owned();
    let before = processes(&uid);
    client.call("tell_background", &json!({"uid": uid, "cmd": "crash"}));
    let state = |client: &mut Client| client.call("status", &json!({}))["result"]["background"]["state"].clone();
    eventually("it plays again", || processes(&uid) != before && state(&mut client) == "playing");
    assert_eq!(client.call("bg", &json!({}))["result"], json!({"uid": uid, "type": "problem"}));
    world.change(|settings| settings["services"]["queue"]["backgrounds"]["problem"]["restart"] = json!({"delay": 86_400_000}));
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.wait_for_log("the settings were read again");
    client.call("tell_background", &json!({"uid": uid, "cmd": "crash"}));
    eventually("it waits", || client.call("bg", &json!({}))["result"]["state"] == "restarting");
    assert!(daemon.terminate().success(), "nobody waits for it");
    assert_eq!(processes(&uid), [] as [i32; 0]);
}
