//! WATCHDOG: signs of life. That they stop with what they are signs of is shown beside the code, where time can be held.

use std::time::{Duration, Instant};

use serde_json::json;

use super::manager::{Manager, PROGRAMS, Program};
use crate::common::{Client, Daemon, World};

#[test]
fn signs_of_life_come_at_half_the_interval() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let mut command = manager.command(program, &world, Vec::new());
        let begun = Instant::now();
        let _daemon = Daemon::start(command.env("WATCHDOG_USEC", "200000"), 0);
        for _ in 0..11 {
            manager.until("WATCHDOG=1");
        }
        // No more often, but for the grain of the timer: however late a sign is read, it was not given before its time.
        assert!(begun.elapsed() > Duration::from_millis(10 * 100 - 25), "{program:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_service_gives_them_while_it_ends() {
    let (world, manager) = (World::new(), Manager::new());
    let mut command = manager.command(Program::Pool, &world, Vec::new());
    let daemon = Daemon::start(command.env("WATCHDOG_USEC", "20000"), 0);
    manager.until("READY=1");
    Client::connect(world.pool).add("problem", &json!({"noquit": true, "noterm": true}));
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    manager.until("STOPPING=1");
    manager.until("WATCHDOG=1");
    assert!(daemon.end().0.success());
}

#[test]
fn none_are_given_for_another_process() {
    for program in PROGRAMS {
        let (world, manager) = (World::new(), Manager::new());
        let mut command = manager.command(program, &world, Vec::new());
        let daemon = Daemon::start(command.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1"), 0);
        manager.until("READY=1");
        daemon.signal(nix::sys::signal::Signal::SIGTERM);
        // The first would have come before it was ready.
        assert!(daemon.end().0.success());
        assert!(!manager.rest().contains(&"WATCHDOG=1".to_owned()), "{program:?}");
    }
}
