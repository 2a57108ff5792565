//! Many scopes, and scopes of others.

use std::collections::HashSet;

use shmooze::scope::{Exit, Reached, Scopes as _, State};

use crate::world::{PATIENCE, World, cgroup, ended, held, nothing_is_held_but};

#[tokio::test]
async fn fifty_at_once_and_nothing_is_left() {
    let Some(world) = World::alone("fifty").await else { return };
    world.accustomed().await;
    let before = held().await;
    let mut launches = tokio::task::JoinSet::new();
    for number in 0..50 {
        let house = world.house.clone();
        // Some have no program.
        let mut spec = world.spec("exec sleep 1000");
        if number % 10 == 0 {
            spec.program.command = vec!["/no/such/program".into()];
        }
        launches.spawn(async move { (spec.uid, house.launch(spec).await) });
    }
    let (mut launched, mut refused) = (Vec::new(), 0);
    while let Some(joined) = launches.join_next().await {
        match joined.unwrap() {
            (uid, Ok(it)) => launched.push((uid, it)),
            (_, Err(_)) => refused += 1,
        }
    }
    assert_eq!((launched.len(), refused), (45, 5));
    for (uid, it) in &launched {
        assert_eq!(*it.state.borrow(), State::Running);
        assert!(cgroup(it.pid).ends_with(&world.unit(*uid)));
        world.house.stop(*uid).await.unwrap();
    }
    for (_, it) in &mut launched {
        tokio::time::timeout(PATIENCE, it.state.wait_for(State::is_gone)).await.unwrap().unwrap();
    }
    world.nothing_is_left().await;
    nothing_is_held_but(&before).await;
}

#[tokio::test]
async fn slices_of_bounded_size() {
    let Some(world) = World::new("slices").await else { return };
    let mut launches = tokio::task::JoinSet::new();
    for _ in 0..205 {
        let (house, spec) = (world.house.clone(), world.spec("exec sleep 1000"));
        launches.spawn(async move { (spec.uid, house.launch(spec).await.unwrap()) });
    }
    let launched = launches.join_all().await;
    let slices: HashSet<String> = launched.iter().map(|(_, it)| cgroup(it.pid).rsplit('/').nth(1).unwrap().to_owned()).collect();
    let service = world.service.replace('-', r"\x2d");
    assert_eq!(slices, HashSet::from([format!("shmooze-{service}.slice"), format!("shmooze-{service}-1.slice")]));
    // The second one is inside the first.
    let inner = launched.iter().find(|(_, it)| cgroup(it.pid).contains("-1.slice/")).unwrap();
    assert!(cgroup(inner.1.pid).contains(&format!("shmooze-{service}.slice/shmooze-{service}-1.slice/")));
    for (uid, _) in &launched {
        world.house.stop(*uid).await.unwrap();
    }
    for (_, mut it) in launched {
        tokio::time::timeout(PATIENCE, it.state.wait_for(State::is_gone)).await.unwrap().unwrap();
    }
    world.nothing_is_left().await;
}

/// Whether the kernel says how a process ended that is nobody's child here (Linux 6.15 and later).
fn exits_are_told() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|number| number.parse().ok()).take(2).collect();
    numbers >= vec![6, 15]
}

#[tokio::test]
async fn scopes_of_an_earlier_launcher_are_found_and_ended() {
    let Some(world) = World::new("earlier").await else { return };
    let mut modules = Vec::new();
    for script in ["exec sleep 1000", "sleep 1000 & exit 0", "sleep 1000 & wait"] {
        modules.push(world.launch(world.spec(script)).await);
    }
    assert_eq!(modules[1].exited().await, Exit::Status(0));
    let later = world.other_house();
    let listed: Vec<_> = later.list().await.unwrap().into_iter().filter(|it| it.service == world.service).collect();
    assert_eq!(listed.len(), 3);
    for module in [&modules[0], &modules[2]] {
        let found = listed.iter().find(|it| it.uid == module.uid).unwrap();
        assert_eq!(found.pid, module.launched.pid, "the oldest process is the main one");
    }
    // One that ends by itself is seen too, and how where the kernel tells.
    let told = |exit| if exits_are_told() { exit } else { Exit::Unknown };
    let mut state = later.watch(modules[0].uid).unwrap();
    later.kill(modules[0].uid, 9).await.unwrap();
    let end = *state.wait_for(State::is_gone).await.unwrap();
    assert_eq!(end.end(), Some(ended(told(Exit::Signal(9)), Reached::Exit)));
    // Of the second only a descendant is there, whose end is not the module's.
    for (module, exit) in modules[1..].iter().zip([Exit::Unknown, told(Exit::Signal(15))]) {
        let mut state = later.watch(module.uid).unwrap();
        later.stop(module.uid).await.unwrap();
        let end = *tokio::time::timeout(PATIENCE, state.wait_for(State::is_gone)).await.unwrap().unwrap();
        assert_eq!(end.end(), Some(ended(exit, Reached::Terminate)));
    }
    for module in &mut modules {
        module.gone(&world).await;
    }
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_of_an_earlier_launcher_is_stopped_without_being_looked_for_first() {
    let Some(world) = World::new("unseen").await else { return };
    let mut module = world.launch(world.spec("exec sleep 1000")).await;
    world.other_house().stop(module.uid).await.unwrap();
    assert_eq!(module.gone(&world).await.reached, Reached::Terminate);
}
