//! What happens to the manager and to the bus costs modules nothing, and callers a short wait.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shmooze::scope::{End, Exit, Reached, Scopes as _, State};
use tokio::task::JoinSet;

use crate::world::{Module, PATIENCE, World, ended, eventually, held, nothing_is_held_but};

/// Modules that begin and end at the same time.
const AT_ONCE: usize = 12;
/// The longest that one may take from launch to end: the time-outs of calls and jobs are longer, so none was waited for.
const SHORT_WAIT: Duration = Duration::from_secs(20);

/// Begins and ends modules of all sorts, many at once, while systemctl(1) does `what`, again and again; some live all the
/// while. Neither a scope nor a process nor a descriptor is left.
pub async fn under_load(world: &Arc<World>, times: usize, what: &[&[&str]]) {
    world.accustomed().await;
    let before = held().await;
    let mut old = Vec::new();
    for _ in 0..3 {
        old.push(world.launch(world.spec("exec sleep 1000")).await);
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for number in 0..AT_ONCE {
        let (world, done) = (Arc::clone(world), Arc::clone(&done));
        load.spawn(async move {
            let (mut turn, mut longest) = (number, Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                one(&world, turn).await;
                longest = longest.max(begun.elapsed());
                turn += 1;
            }
            (turn - number, longest)
        });
    }
    for _ in 0..times {
        let manager = if world.root { "--system" } else { "--user" };
        // On the bus it may be cut off itself; that it is done is what counts.
        for arguments in what {
            let mut command = tokio::process::Command::new("systemctl");
            command.arg(manager).args(*arguments).stderr(Stdio::null()).status().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    done.store(true, Ordering::Relaxed);
    let workers = load.join_all().await;
    let modules: usize = workers.iter().map(|(modules, _)| modules).sum();
    let longest = workers.iter().map(|(_, longest)| *longest).max().unwrap();
    println!("{modules} modules began and ended, the longest took {longest:?}");
    assert!(longest < SHORT_WAIT, "{longest:?}");
    for module in &mut old {
        assert_eq!(*module.launched.state.borrow(), State::Running);
        assert_eq!(module.stopped(world).await.reached, Reached::Terminate);
    }
    world.nothing_is_left().await;
    nothing_is_held_but(&before).await;
}

/// A module's whole life, another each turn.
async fn one(world: &World, turn: usize) {
    match turn % 5 {
        0 | 1 => {
            // Of one that forks in the moment of its SIGTERM the child may not hear it, whoever sends it.
            let mut module = world.launch(world.spec("exec sleep 1000")).await;
            if turn % 5 == 1 {
                // It may be seen too late by one that was executed a moment ago.
                world.house.freeze(module.uid).await.unwrap();
            }
            world.stop(&module).await;
            assert_eq!(gone(&mut module).await.reached, Reached::Terminate);
        }
        2 => {
            let mut module = world.launch(world.spec("exit 4")).await;
            assert_eq!(gone(&mut module).await, ended(Exit::Status(4), Reached::Exit));
        }
        3 => {
            let mut spec = world.spec("");
            spec.program.command = vec!["/no/such/program".into()];
            let error = world.house.launch(spec).await.unwrap_err().to_string();
            assert!(error.starts_with("/no/such/program could not be started: "), "{error}");
        }
        _ => {
            // Nobody waits for it any more.
            let spec = world.spec("exec sleep 1000");
            let uid = spec.uid;
            let _ = tokio::time::timeout(Duration::from_millis(2), world.house.launch(spec)).await;
            world.house.stop(uid).await.unwrap();
            eventually("forgotten", || world.house.watch(uid).is_none()).await;
        }
    }
}

#[tokio::test]
async fn daemon_reload_under_load() {
    let Some(world) = World::alone("reload").await.map(Arc::new) else { return };
    under_load(&world, 10, &[&["daemon-reload"]]).await;
}

#[tokio::test]
async fn daemon_reexec_under_load() {
    let Some(world) = World::alone("reexec").await.map(Arc::new) else { return };
    under_load(&world, 10, &[&["daemon-reexec"]]).await;
}

/// Where the bus is started too often, it is not any more.
pub const FORGET: &[&str] = &["reset-failed", "dbus.service"];

#[tokio::test]
async fn a_restart_of_the_bus_under_load() {
    let Some(world) = World::alone("bus").await.map(Arc::new) else { return };
    under_load(&world, 4, &[FORGET, &["restart", "dbus.service"]]).await;
}

#[tokio::test]
async fn what_ends_while_there_is_no_bus_is_seen_to_end() {
    let Some(world) = World::alone("blind").await else { return };
    let script = "while [ ! -e $dir/go ]; do sleep 0.02; done; exit 5";
    let mut module = world.launch(world.spec(script)).await;
    let mut daemon = world.launch(world.spec("(while [ ! -e $dir/go ]; do sleep 0.02; done) & exit 0")).await;
    let mut obedient = world.launch(world.spec("exec sleep 1000")).await;
    let mut spec = world.spec("trap '' TERM; touch $dir/up; while :; do sleep 1000; done");
    spec.terminate = Duration::from_millis(500);
    let mut stubborn = world.launch(spec).await;
    eventually("up", || world.file("up").exists()).await;
    assert_eq!(daemon.exited().await, Exit::Status(0));
    let bus = ["dbus.socket", "dbus.service"];
    assert!(world.systemctl(&["stop", bus[0], bus[1]]).status.success());
    let blind = async {
        std::fs::write(world.file("go"), "").unwrap();
        world.stop(&obedient).await;
        world.stop(&stubborn).await;
        [gone(&mut module).await, gone(&mut daemon).await, gone(&mut obedient).await, gone(&mut stubborn).await]
    };
    let ends = tokio::time::timeout(PATIENCE, blind).await;
    assert!(world.systemctl(&["start", bus[0], bus[1]]).status.success());
    let [module, daemon, obedient, stubborn] = ends.expect("all ends without a bus");
    assert_eq!(module, ended(Exit::Status(5), Reached::Exit));
    assert_eq!(daemon, ended(Exit::Status(0), Reached::Exit));
    assert_eq!(obedient, ended(Exit::Signal(15), Reached::Terminate));
    assert_eq!(stubborn, ended(Exit::Signal(9), Reached::Kill));
    world.nothing_is_left().await;
    // And it is business as usual.
    let mut after = world.launch(world.spec("exit 6")).await;
    assert_eq!(after.gone(&world).await, ended(Exit::Status(6), Reached::Exit));
}

async fn gone(module: &mut Module) -> End {
    let state = tokio::time::timeout(PATIENCE, module.launched.state.wait_for(State::is_gone)).await;
    state.expect("an end").unwrap().end().unwrap()
}
