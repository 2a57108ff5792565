//! How scopes begin.

use std::process::Command;
use std::time::Duration;

use shmooze::scope::{Exit, Reached, ScopeError, Scopes as _, State};
use shmooze::settings::{Amount, Permyriad, ScopeLimit};

use crate::world::{World, alive, cgroup, ended, eventually};

#[tokio::test]
async fn a_module_is_in_its_scope_before_its_first_instruction() {
    let Some(world) = World::new("first").await else { return };
    // The first thing that it does is to fork; what is forked looks where it is, then leaves the session.
    let script = "cat /proc/self/cgroup >$dir/child & setsid cat /proc/self/cgroup >$dir/session & \
                  cat /proc/self/cgroup >$dir/main; wait; exit 7";
    let mut module = world.launch(world.spec(script)).await;
    assert_eq!(module.exited().await, Exit::Status(7));
    assert_eq!(module.gone(&world).await, ended(Exit::Status(7), Reached::Exit));
    eventually("the session looked", || std::fs::read_to_string(world.file("session")).is_ok_and(|text| !text.is_empty())).await;
    for name in ["main", "child", "session"] {
        let group = std::fs::read_to_string(world.file(name)).unwrap();
        assert!(group.trim_end().ends_with(&module.unit), "{name}: {group}");
    }
}

#[tokio::test]
async fn unit_and_slice_read_well() {
    let Some(world) = World::new("reads").await else { return };
    let mut module = world.launch(world.spec("exec sleep 1000")).await;
    let slice = format!("shmooze-{}.slice", world.service.replace('-', r"\x2d"));
    assert!(cgroup(module.launched.pid).ends_with(&format!("/shmooze.slice/{slice}/{}", module.unit)));
    let description = format!("shmooze module clock {} of {}", module.uid, world.service);
    assert_eq!(world.show(&module.unit, "Description"), description);
    assert_eq!(world.show(&module.unit, "Slice"), slice);
    assert_eq!(world.show(&module.unit, "CollectMode"), "inactive-or-failed");
    assert_eq!(world.show(&module.unit, "KillMode"), "control-group");
    assert_eq!(world.show(&module.unit, "TimeoutStopUSec"), "20s");
    let listed = world.house.list().await.unwrap();
    let own: Vec<_> = listed.iter().filter(|listed| listed.service == world.service).collect();
    assert_eq!((own.len(), own[0].uid, own[0].pid), (1, module.uid, module.launched.pid));
    world.stop(&module).await;
    module.gone(&world).await;
}

#[tokio::test]
async fn a_program_that_is_missing_leaves_nothing() {
    let Some(world) = World::new("missing").await else { return };
    let mut spec = world.spec("");
    let uid = spec.uid;
    spec.program.command = vec!["/no/such/program".into(), world.service.clone()];
    let error = world.house.launch(spec).await.unwrap_err();
    assert_eq!(error.to_string(), "/no/such/program could not be started: No such file or directory");
    eventually("forgotten", || world.house.watch(uid).is_none()).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_dies_while_its_scope_is_made_leaves_nothing() {
    let Some(world) = World::new("dies").await else { return };
    // A zombie gives an empty scope that stays for ever, so does one that dies a moment later; all moments are tried.
    for delay in ["", "sleep 0.001", "sleep 0.003", "sleep 0.005", "sleep 0.02"] {
        let house = world.house_with_shim(&format!("{delay}\nexit 3"));
        for _ in 0..8 {
            let spec = world.spec("exec sleep 1000");
            let uid = spec.uid;
            if let Ok(mut launched) = house.launch(spec).await {
                // It had read nothing, so nothing was executed, but that it ended all the same was seen only later.
                let state = launched.state.wait_for(State::is_gone).await.unwrap().exit();
                assert_eq!(state, Some(Exit::Status(3)));
            }
            eventually("forgotten", || house.watch(uid).is_none()).await;
        }
    }
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_is_killed_while_its_scope_is_made_leaves_nothing() {
    let Some(world) = World::new("killed").await else { return };
    for _ in 0..5 {
        // In which none waits, so that it is a new one.
        let house = world.other_house();
        let spec = world.spec("exec sleep 1000");
        let uid = spec.uid;
        let children = || std::fs::read_to_string(format!("/proc/self/task/{}/children", nix::unistd::gettid())).unwrap();
        let before = children();
        let launching = house.launch(spec);
        let killing = async {
            let mut shim = None;
            eventually("the shim", || {
                shim = children().split_whitespace().find(|pid| !before.contains(*pid)).map(str::to_owned);
                shim.is_some()
            })
            .await;
            Command::new("kill").arg("-KILL").arg(shim.unwrap()).status().unwrap();
        };
        let (launched, ()) = tokio::join!(launching, killing);
        if let Ok(mut launched) = launched {
            launched.state.wait_for(State::is_gone).await.unwrap();
        }
        eventually("forgotten", || house.watch(uid).is_none()).await;
    }
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_launch_that_nobody_waits_for_any_more_leaves_nothing() {
    let Some(world) = World::new("unwanted").await else { return };
    for microseconds in [0, 500, 1000, 2000, 4000, 8000] {
        let spec = world.spec("exec sleep 1000");
        let uid = spec.uid;
        let launched = tokio::time::timeout(Duration::from_micros(microseconds), world.house.launch(spec)).await;
        // One that was quicker was waited for.
        if launched.is_err() {
            eventually("forgotten", || world.house.watch(uid).is_none()).await;
        }
        world.house.stop(uid).await.unwrap();
        eventually("forgotten", || world.house.watch(uid).is_none()).await;
        assert_eq!(alive(&uid.to_string()), [0; 0]);
    }
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_scope_a_module() {
    let Some(world) = World::new("twice").await else { return };
    let spec = world.spec("exec sleep 1000");
    let uid = spec.uid;
    let mut module = world.launch(spec.clone()).await;
    assert_eq!(world.house.launch(spec.clone()).await.unwrap_err(), ScopeError::Exists(uid));
    // Nor by another process.
    assert_eq!(world.other_house().launch(spec).await.unwrap_err(), ScopeError::Exists(uid));
    assert_eq!(world.show(&module.unit, "ActiveState"), "active");
    world.stop(&module).await;
    module.gone(&world).await;
}

#[tokio::test]
async fn limits_are_set_and_changed() {
    let Some(world) = World::new("limits").await else { return };
    let mut spec = world.spec("exec sleep 1000");
    spec.limits = vec![ScopeLimit::TasksMax(Amount::Units(77)), ScopeLimit::MemoryMax(Amount::Units(1 << 26))];
    let mut module = world.launch(spec).await;
    assert_eq!(world.show(&module.unit, "TasksMax"), "77");
    assert_eq!(world.show(&module.unit, "MemoryMax"), "67108864");
    world.house.set_limits(module.uid, vec![ScopeLimit::TasksMax(Amount::Units(78))]).await.unwrap();
    assert_eq!(world.show(&module.unit, "TasksMax"), "78");
    assert_eq!(world.show(&module.unit, "MemoryMax"), "infinity", "it is given no longer");
    let all = [
        ("MemoryHigh", "infinity", ScopeLimit::MemoryHigh(Amount::Units(1 << 28))),
        ("MemorySwapMax", "infinity", ScopeLimit::MemorySwapMax(Amount::Units(0))),
        ("CPUQuotaPerSecUSec", "infinity", ScopeLimit::CpuQuota(Permyriad(5000))),
        ("CPUWeight", "[not set]", ScopeLimit::CpuWeight(50)),
        ("IOWeight", "[not set]", ScopeLimit::IoWeight(50)),
    ];
    world.house.set_limits(module.uid, all.iter().map(|(_, _, limit)| *limit).collect()).await.unwrap();
    for (name, unlimited, _) in &all {
        assert_ne!(world.show(&module.unit, name), *unlimited, "{name}");
    }
    world.house.set_limits(module.uid, Vec::new()).await.unwrap();
    for (name, unlimited, _) in &all {
        assert_eq!(world.show(&module.unit, name), *unlimited, "{name}");
    }
    // As one has it that was never limited.
    let other = world.launch(world.spec("exec sleep 1000")).await;
    assert_eq!(world.show(&module.unit, "TasksMax"), world.show(&other.unit, "TasksMax"));
    world.stop(&other).await;
    let error = world.house.set_limits(module.uid, vec![ScopeLimit::RuntimeMax(None)]).await.unwrap_err();
    assert!(matches!(error, ScopeError::Unsupported(_)), "{error}");
    world.stop(&module).await;
    module.gone(&world).await;
    let error = world.house.set_limits(module.uid, vec![ScopeLimit::CpuWeight(1)]).await.unwrap_err();
    assert_eq!(error, ScopeError::NoSuchScope(module.uid));
}

#[tokio::test]
async fn what_a_module_prints_is_its_own_in_the_journal() {
    let Some(world) = World::new("prints").await else { return };
    let script = "[ \"$JOURNAL_STREAM\" = \"$(stat -Lc %d:%i /proc/self/fd/2)\" ] || exit 1\n\
                  echo \"main $uid\"; echo \"<3>failure $uid\" >&2\n\
                  wait=\"while [ ! -e $dir/go ]; do sleep 0.05; done\"; sh -c \"echo child $uid; $wait\"";
    let mut module = world.launch(world.spec(script)).await;
    // Whose user is not root's must not have ended when journald looks who wrote.
    eventually("three lines", || world.journal(&module).len() == 3).await;
    for (line, (message, priority)) in world.journal(&module).iter().zip([("main", "6"), ("failure", "3"), ("child", "6")]) {
        assert_eq!(line["MESSAGE"], format!("{message} {}", module.uid));
        assert_eq!(line["PRIORITY"], priority);
        assert_eq!(line["SYSLOG_IDENTIFIER"], "clock");
    }
    std::fs::write(world.file("go"), "").unwrap();
    assert_eq!(module.exited().await, Exit::Status(0), "JOURNAL_STREAM is not that of the output");
    module.gone(&world).await;
}
