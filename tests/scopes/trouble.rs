//! What happens to the manager and to the bus costs modules nothing, and callers a short wait.

use std::time::{Duration, Instant};

use shmooze::scope::{End, Exit, Reached, State};

use crate::world::{Module, PATIENCE, World, descriptors, ended, eventually};

/// Launches and ends modules, four at a time, while systemctl(1) does `what`, again and again; some modules live all the while.
async fn under_load(world: &World, times: usize, what: &[&[&str]]) {
    let mut old = Vec::new();
    for _ in 0..3 {
        old.push(world.launch(world.spec("exec sleep 1000")).await);
    }
    let before = descriptors();
    let (mut longest, mut launched) = (Duration::ZERO, 0);
    let disturbing = async {
        for _ in 0..times {
            let manager = if world.root { "--system" } else { "--user" };
            // On the bus it may be cut off itself; that it is done is what counts.
            for arguments in what {
                let mut command = tokio::process::Command::new("systemctl");
                command.arg(manager).args(*arguments).stderr(std::process::Stdio::null()).status().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    let done = std::cell::Cell::new(false);
    let loading = async {
        while !done.get() {
            let one = async {
                let begun = Instant::now();
                let mut module = world.launch(world.spec("sleep 1000 & wait")).await;
                let took = begun.elapsed();
                world.stop(&module).await;
                let end = tokio::time::timeout(PATIENCE, module.launched.state.wait_for(State::is_gone)).await;
                assert_eq!(end.expect("an end").unwrap().end().unwrap().reached, Reached::Terminate);
                took
            };
            let took = {
                let another = || async {
                    let mut module = world.launch(world.spec("exit 4")).await;
                    assert_eq!(module.exited().await, Exit::Status(4));
                    let end = tokio::time::timeout(PATIENCE, module.launched.state.wait_for(State::is_gone)).await;
                    assert_eq!(end.expect("an end").unwrap().end(), Some(ended(Exit::Status(4), Reached::Exit)));
                };
                tokio::join!(one, another(), another(), another()).0
            };
            launched += 4;
            longest = longest.max(took);
        }
    };
    tokio::join!(loading, async {
        disturbing.await;
        done.set(true);
    });
    println!("{launched} launches, the longest took {longest:?}");
    assert!(longest < Duration::from_secs(15), "{longest:?}");
    for module in &mut old {
        assert_eq!(*module.launched.state.borrow(), State::Running);
        world.stop(module).await;
        assert_eq!(module.gone(world).await.reached, Reached::Terminate);
    }
    world.nothing_is_left().await;
    eventually("descriptors closed", || descriptors() <= before + 2).await;
}

#[tokio::test]
async fn daemon_reload_under_load() {
    let Some(world) = World::alone("reload").await else { return };
    under_load(&world, 10, &[&["daemon-reload"]]).await;
}

#[tokio::test]
async fn daemon_reexec_under_load() {
    let Some(world) = World::alone("reexec").await else { return };
    under_load(&world, 10, &[&["daemon-reexec"]]).await;
}

#[tokio::test]
async fn a_restart_of_the_bus_under_load() {
    let Some(world) = World::alone("bus").await else { return };
    let unit = "dbus.service";
    // Where it is started too often, it is not any more.
    let forget: &[&str] = &["reset-failed", unit];
    // A user's manager waits for a bus that crashed until the time for authentication is over, which is 90 s.
    let restart: &[&str] = if world.root { &["kill", "-s", "KILL", unit] } else { &["restart", unit] };
    under_load(&world, 4, &[forget, restart]).await;
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
    module.launched.state.wait_for(State::is_gone).await.unwrap().end().unwrap()
}
