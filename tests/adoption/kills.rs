//! The proof: killed at random moments, again and again, while clients and modules are at work.
//!
//! `SHMOOZE_KILLS` says how often (15 by default; 100 are the promise of docs/reliability.md), `SHMOOZE_SEED` repeats the choices of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::account::Account;
use super::asking::{QUEUE, Random, tally};
use super::load::Client;
use super::within::{pid_of, property, run, scopes, try_run, until};

/// Where the host says how often, and by which seed.
pub const PLAN: &str = "/etc/shmooze-test-kills";
const KILLS: usize = 15;
/// The longest time from the first sign of life of a process to its end, in microseconds.
const LONGEST_LIFE: usize = 400_000;

pub fn of_the_broker() {
    prove(|_| vec!["shmooze-queue"]);
}

pub fn of_all() {
    prove(|random| match random.below(5) {
        0 => vec!["shmooze-launcher"],
        1 => vec!["shmooze-gateway", "shmooze-queue"],
        2 => vec!["shmooze-launcher", "shmooze-queue"],
        3 => vec!["shmooze-queue", "shmooze-launcher", "shmooze-gateway"],
        _ => vec!["shmooze-queue"],
    });
}

fn prove(victims: impl Fn(&mut Random) -> Vec<&'static str>) {
    let plan = std::fs::read_to_string(PLAN).unwrap_or_default();
    let mut words = plan.split(' ').map(str::trim);
    let kills = words.next().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed: u64 = words.next().and_then(|seed| seed.parse().ok()).unwrap_or(now.as_micros() as u64 | 1);
    println!("SHMOOZE_SEED={seed} SHMOOZE_KILLS={kills}");
    run(&["systemctl", "start", "shmooze.target", "shmooze-gateway.service"]);
    let over = AtomicBool::new(false);
    // One that lives through all of it.
    let stays = QUEUE.insist("add", &json!({"type": "counts"}))["uid"].as_str().unwrap().to_owned();
    let client = std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let (mut client, mut random) = (Client::new(QUEUE, "counts"), Random(seed));
            while !over.load(Ordering::Relaxed) {
                client.act(&mut random, &stays);
            }
            client
        });
        let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
        for _ in 0..kills {
            let victims = victims(&mut random);
            // Half of them at work, the others in the midst of adoption.
            if random.below(2) == 0 {
                QUEUE.list();
                std::thread::sleep(Duration::from_micros(random.below(LONGEST_LIFE) as u64));
            } else {
                std::thread::sleep(Duration::from_micros(random.below(LONGEST_LIFE / 8) as u64));
            }
            let before: Vec<u32> = victims.iter().map(|unit| pid_of(unit)).collect();
            // One that is being started anew already is left alone.
            before.iter().filter(|pid| **pid != 0).for_each(|pid| drop(try_run(&["kill", "-KILL", &pid.to_string()])));
            for (unit, before) in victims.iter().zip(before) {
                until(&format!("{unit} is there again"), || !matches!(pid_of(unit), pid if pid == 0 || pid == before));
            }
            if working.is_finished() {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        working.join()
    });
    let mut client = client.unwrap_or_else(|_| panic!("with SHMOOZE_SEED={seed}"));
    client.look();
    let seen = tally();
    println!("acknowledged: {:?}; without an answer: {:?}", seen.done, seen.errors);
    account(&client);
    nothing_is_left(&client);
}

/// What the modules themselves have seen.
fn account(client: &Client) {
    let status = QUEUE.insist("status", &json!({}));
    let mut counted = 0;
    for item in status["queue"].as_array().unwrap() {
        let uid = item["uid"].as_str().unwrap();
        let last = QUEUE.insist("tell_module", &json!({"uid": uid, "cmd": "rest"})).as_u64().unwrap();
        counted += last;
        let names: Vec<String> = (1..=last).map(|number| format!("n{number}")).collect();
        for some in names.chunks(1000) {
            let told = QUEUE.insist("ask_module", &json!({"uid": uid, "parameters": some}));
            let missing: Vec<&String> = some.iter().filter(|name| told.get(name.as_str()).is_none()).collect();
            assert!(missing.is_empty(), "{uid} has announced {missing:?}, which nobody knows");
        }
        assert_eq!(Account::of(uid).first(), format!("started {}", item["pid"]), "{uid} is another process");
    }
    println!("{counted} counts are there\n");
    let mut notes = BTreeMap::new();
    for account in Account::all() {
        account.check();
        let uid = account.uid();
        match client.order().iter().position(|other| other == uid) {
            Some(_) if account.is_removed() => panic!("{uid} was told to end and is there"),
            Some(0) => assert_eq!(account.plays(), Some(true), "{uid} is on top"),
            Some(_) => assert_ne!(account.plays(), Some(true), "{uid} is not on top"),
            None => {}
        }
        for (number, times) in account.notes() {
            let first = notes.insert(number, uid.to_owned());
            assert_eq!((first, times), (None, 1), "note {number} came twice");
        }
    }
    for (uid, number) in &client.noted {
        assert_eq!(notes.remove(number).as_ref(), Some(uid), "note {number} was acknowledged");
    }
    for (number, uid) in notes {
        assert!(client.may_be_noted.contains(&(uid, number)), "note {number} was asked for by nobody");
    }
}

/// No scope, process or descriptor is left but those of the modules that are there.
fn nothing_is_left(client: &Client) {
    let kept = || property("shmooze-queue", "NFileDescriptorStore");
    let mut expected: Vec<String> = client.order().iter().map(|uid| format!("shmooze-queue-counts-{uid}.scope")).collect();
    expected.sort();
    until("only those scopes are there that must be", || scopes() == expected);
    assert_eq!(try_run(&["pgrep", "-c", "-x", "counts"]), client.order().len().to_string());
    // The log, and at most a bundle for each.
    until("nothing else is kept", || kept().parse::<usize>().is_ok_and(|kept| kept <= client.order().len() + 1));
    // Each that was removed has ended once.
    let lives = QUEUE.insist("history", &json!({}));
    let mut ended: BTreeMap<&str, usize> = BTreeMap::new();
    lives.as_array().unwrap().iter().for_each(|life| *ended.entry(life["uid"].as_str().unwrap()).or_default() += 1);
    assert!(ended.values().all(|count| *count == 1), "{lives}");
    for uid in client.removed() {
        assert!(ended.contains_key(uid.as_str()), "nobody knows how {uid} ended");
    }
    QUEUE.insist("rm", &json!({"uids": client.order()}));
    assert_eq!(QUEUE.list(), []);
    until("no scope is left", || scopes().is_empty());
    until("no descriptor is left", || kept() == "1");
    assert_eq!(try_run(&["pgrep", "-a", "-u", "shmooze-module"]), "");
}
