//! What happens to the manager and to the bus costs modules nothing, and callers a short wait.

use std::time::{Duration, Instant};

use shmooze::scope::{Exit, Reached, State};

use crate::world::{PATIENCE, World, descriptors, ended, eventually};

/// Launches and ends modules, four at a time, while systemctl(1) does `what`, again and again; some modules live all the while.
async fn under_load(world: &World, times: usize, what: &[&str]) {
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
            let _ = tokio::process::Command::new("systemctl").arg(manager).args(what).status().await.unwrap();
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
    under_load(&world, 10, &["daemon-reload"]).await;
}

#[tokio::test]
async fn daemon_reexec_under_load() {
    let Some(world) = World::alone("reexec").await else { return };
    under_load(&world, 10, &["daemon-reexec"]).await;
}

#[tokio::test]
async fn a_restart_of_the_bus_under_load() {
    let Some(world) = World::alone("bus").await else { return };
    // Not `restart`: the bus may also crash, and is started again by its socket.
    under_load(&world, 4, &["kill", "-s", "KILL", "dbus.service"]).await;
}

#[tokio::test]
async fn what_ends_while_there_is_no_bus_is_seen_to_end() {
    let Some(world) = World::alone("blind").await else { return };
    let script = "while [ ! -e $dir/go ]; do sleep 0.02; done; exit 5";
    let mut module = world.launch(world.spec(script)).await;
    let mut daemon = world.launch(world.spec("(while [ ! -e $dir/go ]; do sleep 0.02; done) & exit 0")).await;
    let mut stopped = world.launch(world.spec("exec sleep 1000")).await;
    assert_eq!(daemon.exited().await, Exit::Status(0));
    world.systemctl(&["kill", "-s", "KILL", "dbus.service"]);
    std::fs::write(world.file("go"), "").unwrap();
    world.stop(&stopped).await;
    assert_eq!(module.exited().await, Exit::Status(5));
    for (module, exit) in [(&mut module, Exit::Status(5)), (&mut daemon, Exit::Status(0))] {
        let end = *tokio::time::timeout(PATIENCE, module.launched.state.wait_for(State::is_gone)).await.unwrap().unwrap();
        assert_eq!(end.exit(), Some(exit));
    }
    assert_eq!(stopped.exited().await, Exit::Signal(15));
    eventually("forgotten", || stopped.launched.state.borrow().is_gone()).await;
    world.nothing_is_left().await;
}
