//! How scopes end, and that it is known how.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use shmooze::scope::{End, Exceeded, Exit, Reached, ScopeError, Scopes as _, State};
use shmooze::settings::ScopeLimit;

use crate::world::{SHORT, World, alive, ended, eventually};

const SIGTERM: Exit = Exit::Signal(Signal::SIGTERM as i32);
const SIGKILL: Exit = Exit::Signal(Signal::SIGKILL as i32);

#[tokio::test]
async fn sigterm_to_all() {
    let Some(world) = World::new("all").await else { return };
    let mut module = world.launch(world.spec("sleep 1000 & setsid sleep 1000 & touch $dir/up; wait")).await;
    eventually("up", || world.file("up").exists()).await;
    world.stop(&module).await;
    assert_eq!(module.gone(&world).await, ended(SIGTERM, Reached::Terminate));
    assert_eq!(world.house.stop(module.uid).await, Ok(()), "what is gone is stopped");
    assert_eq!(world.house.kill(module.uid, 10).await, Err(ScopeError::NoSuchScope(module.uid)));
}

#[tokio::test]
async fn a_module_that_ignores_sigterm_is_killed() {
    let Some(world) = World::new("ignores").await else { return };
    let mut spec = world.spec("trap '' TERM; sleep 1000 & touch $dir/up; while :; do wait; done");
    spec.terminate = SHORT;
    let mut module = world.launch(spec).await;
    eventually("up", || world.file("up").exists()).await;
    let stopped = Instant::now();
    world.stop(&module).await;
    assert_eq!(module.gone(&world).await, ended(SIGKILL, Reached::Kill));
    assert!(stopped.elapsed() >= SHORT, "it had {:?}", stopped.elapsed());
}

#[tokio::test]
async fn a_descendant_that_ignores_sigterm_is_killed_and_that_is_known() {
    let Some(world) = World::new("descendant").await else { return };
    let mut spec = world.spec("(trap '' TERM; touch $dir/up; while :; do sleep 1000; done) & wait");
    spec.terminate = SHORT;
    let mut module = world.launch(spec).await;
    eventually("up", || world.file("up").exists()).await;
    world.stop(&module).await;
    assert_eq!(module.exited().await, SIGTERM);
    assert_eq!(module.gone(&world).await, ended(SIGTERM, Reached::Kill));
}

#[tokio::test]
async fn descendants_live_on_until_they_are_stopped() {
    let Some(world) = World::new("linger").await else { return };
    let mut module = world.launch(world.spec("sleep 1000 & exit 3")).await;
    assert_eq!(module.exited().await, Exit::Status(3));
    // Over several looks at them.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(*module.launched.state.borrow(), State::Exited(Exit::Status(3)));
    assert_eq!(alive(&module.uid.to_string()).len(), 1);
    world.stop(&module).await;
    assert_eq!(module.gone(&world).await, ended(Exit::Status(3), Reached::Terminate));
}

#[tokio::test]
async fn descendants_may_end_by_themselves() {
    let Some(world) = World::new("natural").await else { return };
    let mut module = world.launch(world.spec("(while [ ! -e $dir/go ]; do sleep 0.05; done) & exit 0")).await;
    assert_eq!(module.exited().await, Exit::Status(0));
    std::fs::write(world.file("go"), "").unwrap();
    assert_eq!(module.gone(&world).await, ended(Exit::Status(0), Reached::Exit));
}

#[tokio::test]
async fn stopped_by_somebody_else() {
    let Some(world) = World::new("else").await else { return };
    let mut module = world.launch(world.spec("exec sleep 1000")).await;
    assert!(world.systemctl(&["stop", &module.unit]).status.success());
    assert_eq!(module.gone(&world).await, ended(SIGTERM, Reached::Terminate));
    let mut spec = world.spec("trap '' TERM; touch $dir/up; while :; do sleep 1000; done");
    spec.terminate = SHORT;
    let mut module = world.launch(spec).await;
    eventually("up", || world.file("up").exists()).await;
    assert!(world.systemctl(&["stop", &module.unit]).status.success());
    assert_eq!(module.gone(&world).await, ended(SIGKILL, Reached::Kill));
}

#[tokio::test]
async fn a_lifetime_that_is_over() {
    let Some(world) = World::new("lifetime").await else { return };
    let mut spec = world.spec("exec sleep 1000");
    spec.limits = vec![ScopeLimit::RuntimeMax(Some(Duration::from_millis(300)))];
    let mut module = world.launch(spec).await;
    let end = End { exit: SIGTERM, reached: Reached::Terminate, exceeded: Some(Exceeded::Time) };
    assert_eq!(module.gone(&world).await, end);
}

#[tokio::test]
async fn signals_reach_every_process() {
    let Some(world) = World::new("signals").await else { return };
    let script = "(trap 'echo >$dir/child; exit' USR1; touch $dir/ready1; while :; do sleep 0.05; done) & \
                  trap 'echo >$dir/main' USR1; touch $dir/ready2; wait; wait; exit 0";
    let mut module = world.launch(world.spec(script)).await;
    eventually("both ready", || world.file("ready1").exists() && world.file("ready2").exists()).await;
    // A child may be in a `sleep` of its own, which dies of the signal; that is what is asked for.
    world.house.kill(module.uid, Signal::SIGUSR1 as i32).await.unwrap();
    assert_eq!(module.gone(&world).await, ended(Exit::Status(0), Reached::Exit));
    assert!(world.file("main").exists() && world.file("child").exists());
}

#[tokio::test]
async fn frozen_and_thawed() {
    let Some(world) = World::new("freeze").await else { return };
    let script = "while :; do date +%s%N >$dir/t.new; mv $dir/t.new $dir/time; sleep 0.01; done";
    let mut module = world.launch(world.spec(script)).await;
    let time = || std::fs::read_to_string(world.file("time")).unwrap_or_default();
    eventually("it runs", || !time().is_empty()).await;
    world.house.freeze(module.uid).await.unwrap();
    let frozen_at = time();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(time(), frozen_at);
    world.house.thaw(module.uid).await.unwrap();
    eventually("it runs again", || time() != frozen_at).await;
    world.stop(&module).await;
    module.gone(&world).await;
}

#[tokio::test]
async fn with_the_unit_that_it_is_part_of() {
    let Some(world) = World::new("part").await else { return };
    let broker = format!("shmooze-test-{}.service", world.service);
    let manager = if world.root { "--system" } else { "--user" };
    let unit = format!("--unit={broker}");
    let run = std::process::Command::new("systemd-run").args(["-q", manager, &unit, "sleep", "1000"]).status().unwrap();
    assert!(run.success());
    let mut spec = world.spec("exec sleep 1000");
    spec.part_of = Some(broker.clone());
    let mut module = world.launch(spec).await;
    assert_eq!(world.show(&module.unit, "PartOf"), broker);
    assert!(world.show(&module.unit, "Before").contains(&broker));
    assert!(world.systemctl(&["restart", &broker]).status.success());
    assert_eq!(*module.launched.state.borrow(), State::Running);
    assert_eq!(world.show(&module.unit, "ActiveState"), "active");
    assert!(world.systemctl(&["stop", &broker]).status.success());
    assert_eq!(module.gone(&world).await, ended(SIGTERM, Reached::Terminate));
}

/// What a shutdown does is what these say (tried on both releases): it stops the slice and so the scope, and waits for both.
#[tokio::test]
async fn at_shutdown_with_its_slice_which_waits_for_it() {
    let Some(world) = World::new("shutdown").await else { return };
    let mut module = world.launch(world.spec("exec sleep 1000")).await;
    // A name with a backslash is quoted in a list.
    let list = |unit: &str, property: &str| world.show(unit, property).replace("\\\\", "\\").replace('"', "");
    let has = |unit: &str, property: &str, other: &str| list(unit, property).split(' ').any(|one| one == other);
    let slice = world.show(&module.unit, "Slice");
    for property in ["Requires", "After"] {
        assert!(has(&module.unit, property, &slice), "{property}: {}, not {slice}", list(&module.unit, property));
    }
    for property in ["Conflicts", "Before"] {
        assert!(has(&slice, property, "shutdown.target"), "{property} of {slice}");
        assert!(!has(&module.unit, property, "shutdown.target"), "{property} of {}", module.unit);
    }
    world.stop(&module).await;
    module.gone(&world).await;
}
