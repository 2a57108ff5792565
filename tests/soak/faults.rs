//! What goes wrong on a machine, at random.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::asking::{Random, is_under_way};
use super::install::SETTINGS;
use super::within::{pid_of, try_run, until};

pub const SERVICES: [&str; 4] = ["shmooze-queue", "shmooze-pool", "shmooze-launcher", "shmooze-gateway"];

/// Does one of these things, waits until all daemons are there again, and says what it was.
pub fn strike(random: &mut Random) -> String {
    let said = match random.below(18) {
        0..=7 => {
            // Each of the sets that are not empty.
            let set = random.below(15) + 1;
            let victims: Vec<&str> = (0..4).filter(|bit| set & (1 << bit) != 0).map(|bit| SERVICES[bit]).collect();
            kill(&victims, random)
        }
        8 => kill(&SERVICES, random),
        9 | 10 => run(&["systemctl", "daemon-reload"]),
        11 => run(&["systemctl", "daemon-reexec"]),
        12 => run(&["systemctl", "restart", "dbus.service"]),
        13 => run(&["systemctl", "restart", "systemd-journald.service"]),
        14 => run(&["systemctl", "restart", SERVICES[random.below(4)]]),
        15 => run(&[&["systemctl", "restart"], SERVICES.as_slice()].concat()),
        16 => pause(random),
        _ => reload(random),
    };
    for service in SERVICES {
        until(&format!("{service} is there after {said}"), || try_run(&["systemctl", "is-active", service]) == "active");
    }
    said
}

fn run(words: &[&str]) -> String {
    try_run(words);
    words.join(" ")
}

/// Half of the time not before somebody waits for an answer.
fn kill(services: &[&str], random: &mut Random) -> String {
    let pids: Vec<u32> = services.iter().map(|service| pid_of(service)).collect();
    if random.below(2) == 0 {
        let give_up = Instant::now() + Duration::from_secs(5);
        while !is_under_way() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    // One that is being started anew already is left alone.
    for pid in pids.iter().filter(|pid| **pid != 0) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid as i32), nix::sys::signal::Signal::SIGKILL);
    }
    for (service, pid) in services.iter().zip(pids) {
        until(&format!("{service} is started anew"), || ![0, pid].contains(&pid_of(service)));
    }
    format!("kill -KILL {}", services.join(" "))
}

/// One of them stands still for a moment, as on a machine that swaps.
fn pause(random: &mut Random) -> String {
    let service = SERVICES[random.below(4)];
    let pid = pid_of(service).to_string();
    try_run(&["kill", "-STOP", &pid]);
    std::thread::sleep(Duration::from_millis(random.below(5_000) as u64));
    try_run(&["kill", "-CONT", &pid]);
    format!("kill -STOP, -CONT {service}")
}

/// The settings change, and all read them.
fn reload(random: &mut Random) -> String {
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(SETTINGS).unwrap()).unwrap();
    settings["name"] = json!(format!("Test {}", random.below(1_000)));
    // As an editor does it: nobody reads half of it.
    let new = format!("{SETTINGS}.new");
    std::fs::write(&new, settings.to_string()).unwrap();
    std::fs::rename(new, SETTINGS).unwrap();
    run(&[&["systemctl", "reload"], SERVICES.as_slice()].concat())
}
