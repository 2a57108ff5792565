//! Limits bite, from the first instruction on: only where the kernel has all controllers, which a container may lack.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use shmooze::scope::{End, Exceeded, Exit, Reached, Scopes as _};
use shmooze::settings::{Amount, OomPolicy, Permyriad, ScopeLimit};

use crate::world::{World, cgroup_directory, ended, eventually, population};

const SIGKILL: Exit = Exit::Signal(Signal::SIGKILL as i32);

/// 64 MiB, and no swap to flee to.
fn little_memory() -> Vec<ScopeLimit> {
    vec![ScopeLimit::MemoryMax(Amount::Units(64 << 20)), ScopeLimit::MemorySwapMax(Amount::Units(0))]
}

/// A command that fills as much memory, and half of it again at the most.
fn hungry(megabytes: u32) -> String {
    format!("perl -e '$x = \"x\"; $x x= {megabytes} << 20'")
}

/// The counters of a file such as `cpu.stat`, by name.
fn counters(group: &Path, file: &str) -> HashMap<String, u64> {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[tokio::test]
async fn a_module_over_its_memory_is_killed_and_that_is_known() {
    let Some(world) = World::new("memory").await else { return };
    // What it may have is fine.
    let mut spec = world.spec(&format!("exec {}", hungry(16)));
    spec.limits = little_memory();
    let mut modest = world.launch(spec).await;
    assert_eq!(modest.gone(&world).await, ended(Exit::Status(0), Reached::Exit));
    let mut spec = world.spec(&format!("exec {}", hungry(128)));
    spec.limits = little_memory();
    let mut greedy = world.launch(spec).await;
    let end = greedy.gone(&world).await;
    assert_eq!((end.exit, end.exceeded), (SIGKILL, Some(Exceeded::Memory)));
}

#[tokio::test]
async fn all_of_a_module_goes_with_a_child_over_its_memory() {
    let Some(world) = World::new("family").await else { return };
    let mut spec = world.spec(&format!("setsid sleep 1000 & {} & trap '' TERM; while :; do wait; done", hungry(128)));
    spec.limits = little_memory();
    spec.limits.push(ScopeLimit::OomPolicy(OomPolicy::Kill));
    let mut module = world.launch(spec).await;
    let End { exit, exceeded, .. } = module.gone(&world).await;
    assert_eq!((exit, exceeded), (SIGKILL, Some(Exceeded::Memory)));
}

#[tokio::test]
async fn a_module_over_its_processor_time_is_slowed_down() {
    let Some(world) = World::new("busy").await else { return };
    let mut spec = world.spec("while :; do :; done");
    // 20 ms of each 100.
    spec.limits = vec![ScopeLimit::CpuQuota(Permyriad(2000))];
    let mut module = world.launch(spec).await;
    let group = cgroup_directory(module.launched.pid);
    let throttled = |times: u64| {
        let group = group.clone();
        move || counters(&group, "cpu.stat").get("nr_throttled").is_some_and(|throttled| *throttled >= times)
    };
    eventually("throttled ten times", throttled(10)).await;
    let stat = counters(&group, "cpu.stat");
    println!("throttled {} of {} periods", stat["nr_throttled"], stat["nr_periods"]);
    // What was begun may go a little over.
    let share = stat["usage_usec"] / stat["nr_periods"];
    assert!(share <= 30_000, "{share} µs of 100,000 in a period: {stat:?}");
    // While it runs it is given more than one loop can take.
    world.house.set_limits(module.uid, vec![ScopeLimit::CpuQuota(Permyriad(20_000))]).await.unwrap();
    assert_eq!(fs::read_to_string(group.join("cpu.max")).unwrap(), "200000 100000\n");
    let before = counters(&group, "cpu.stat");
    eventually("ten more periods", || counters(&group, "cpu.stat")["nr_periods"] >= before["nr_periods"] + 10).await;
    let after = counters(&group, "cpu.stat");
    // One period may have been over already.
    assert!(after["nr_throttled"] <= before["nr_throttled"] + 1, "{before:?} {after:?}");
    world.stop(&module).await;
    module.gone(&world).await;
}

#[tokio::test]
async fn a_module_that_forks_without_end_comes_to_its_number_of_tasks_and_is_gone() {
    let Some(world) = World::new("tasks").await else { return };
    let bomb = "$SIG{TERM} = \"IGNORE\"; while (1) { defined fork or select(undef, undef, undef, 0.01) }";
    let mut spec = world.spec(&format!("exec perl -e '{bomb}' $uid"));
    spec.terminate = std::time::Duration::from_millis(700);
    spec.limits = vec![ScopeLimit::TasksMax(Amount::Units(20))];
    let mut module = world.launch(spec).await;
    let group = cgroup_directory(module.launched.pid);
    eventually("refused", || counters(&group, "pids.events").get("max").is_some_and(|refused| *refused > 0)).await;
    assert_eq!(population(&group), 20);
    world.stop(&module).await;
    assert_eq!(module.gone(&world).await, ended(SIGKILL, Reached::Kill));
}
