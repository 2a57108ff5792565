//! Nothing of a module escapes: after its stop no process is left, whatever it did.

use std::path::Path;
use std::time::Duration;

use nix::sys::resource::RLIM_INFINITY;
use nix::unistd::User;
use shmooze::scope::{Exit, Reached, Scopes as _, State};
use shmooze::settings::{Amount, ScopeLimit};

use crate::world::{SHORT, World, alive, cgroup, cgroup_directory, eventually, population};

#[tokio::test]
async fn a_daemon_that_forked_twice_left_the_session_and_its_environment_and_ignores_sigterm() {
    let Some(world) = World::new("daemon").await else { return };
    let daemon = "trap \"\" TERM HUP INT; touch $0/up; while :; do sleep 1000; done";
    let script =
        format!("(setsid sh -c '(env -i PATH=/bin:/usr/bin setsid sh -c \"$1\" $2 '$uid' &)' sh '{daemon}' $dir); exit 0");
    let mut spec = world.spec(&script);
    spec.terminate = SHORT;
    let mut module = world.launch(spec).await;
    assert_eq!(module.exited().await, Exit::Status(0));
    eventually("up", || world.file("up").exists()).await;
    assert!(!alive(&module.uid.to_string()).is_empty());
    assert_eq!(module.stopped(&world).await.reached, Reached::Kill);
}

#[tokio::test]
async fn one_that_forks_and_leaves_in_its_very_first_instructions() {
    let Some(world) = World::new("hasty").await else { return };
    // It is stopped at once, and it is a matter of luck how far it has come; it never obeys where it has come far enough.
    let flight = "$SIG{TERM} = \"IGNORE\"; fork for 1 .. 3; setsid; fork; sleep 1000";
    for _ in 0..10 {
        let mut spec = world.spec("");
        let uid = spec.uid.to_string();
        spec.program.command = ["perl", "-MPOSIX=setsid", "-e", flight, &uid].map(Into::into).into();
        spec.terminate = Duration::from_millis(200);
        let mut module = world.launch(spec).await;
        module.stopped(&world).await;
    }
    world.nothing_is_left().await;
}

#[tokio::test]
async fn processes_that_have_stopped_themselves() {
    let Some(world) = World::new("stopped").await else { return };
    let script = "(touch $dir/child; kill -STOP $(exec sh -c 'echo $PPID')) & touch $dir/main; kill -STOP $$; exec sleep 1000";
    let mut module = world.launch(world.spec(script)).await;
    let pid = module.launched.pid;
    let stopped = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
    eventually("stopped", || world.file("child").exists() && stopped()).await;
    assert_eq!(module.stopped(&world).await.reached, Reached::Terminate);
}

#[tokio::test]
async fn processes_that_have_stopped_themselves_and_ignore_sigterm() {
    let Some(world) = World::new("stubborn").await else { return };
    let mut spec = world.spec("trap '' TERM; while :; do kill -STOP $$; done");
    spec.terminate = SHORT;
    let mut module = world.launch(spec).await;
    let pid = module.launched.pid;
    eventually("stopped", || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ")).await;
    assert_eq!(module.stopped(&world).await.reached, Reached::Kill);
}

#[tokio::test]
async fn one_that_is_frozen() {
    let Some(world) = World::new("frozen").await else { return };
    let mut module = world.launch(world.spec("sleep 1000 & wait")).await;
    world.house.freeze(module.uid).await.unwrap();
    let events = cgroup_directory(module.launched.pid).join("cgroup.events");
    assert!(std::fs::read_to_string(events).unwrap().contains("frozen 1"));
    assert_eq!(module.stopped(&world).await.reached, Reached::Terminate, "it was thawed, so it could obey");
}

#[tokio::test]
async fn one_that_is_frozen_and_ignores_sigterm() {
    let Some(world) = World::new("frosty").await else { return };
    let mut spec = world.spec("trap '' TERM; touch $dir/up; while :; do sleep 1000; done");
    spec.terminate = SHORT;
    let mut module = world.launch(spec).await;
    eventually("up", || world.file("up").exists()).await;
    world.house.freeze(module.uid).await.unwrap();
    assert_eq!(module.stopped(&world).await.reached, Reached::Kill);
}

#[tokio::test]
async fn one_that_is_frozen_behind_the_managers_back() {
    let Some(world) = World::new("behind").await else { return };
    let mut module = world.launch(world.spec("exec sleep 1000")).await;
    let group = cgroup_directory(module.launched.pid);
    std::fs::write(group.join("cgroup.freeze"), "1").unwrap();
    eventually("frozen", || std::fs::read_to_string(group.join("cgroup.events")).unwrap().contains("frozen 1")).await;
    assert_eq!(module.stopped(&world).await.reached, Reached::Terminate, "it was thawed, so it could obey");
}

#[tokio::test]
async fn one_that_only_the_manager_believes_to_be_frozen() {
    let Some(world) = World::new("belief").await else { return };
    let mut module = world.launch(world.spec("exec sleep 1000")).await;
    world.house.freeze(module.uid).await.unwrap();
    let group = cgroup_directory(module.launched.pid);
    std::fs::write(group.join("cgroup.freeze"), "0").unwrap();
    eventually("thawed", || std::fs::read_to_string(group.join("cgroup.events")).unwrap().contains("frozen 0")).await;
    assert_eq!(module.stopped(&world).await.reached, Reached::Terminate, "257 does not stop what it believes to be frozen");
}

#[tokio::test]
async fn one_that_is_frozen_while_it_is_stopped() {
    let Some(world) = World::new("race").await else { return };
    for _ in 0..10 {
        let mut module = world.launch(world.spec("exec sleep 1000")).await;
        let (_, stopped) = tokio::join!(world.house.freeze(module.uid), world.house.stop(module.uid));
        stopped.unwrap();
        assert_eq!(module.gone(&world).await.reached, Reached::Terminate);
    }
}

#[tokio::test]
async fn one_that_forks_without_end() {
    let Some(world) = World::new("bomb").await else { return };
    // Every process forks as fast as it can, and where there is no room it waits for some.
    let bomb = "$SIG{TERM} = \"IGNORE\"; while (1) { defined fork or select(undef, undef, undef, 0.01) }";
    let mut spec = world.spec(&format!("exec perl -e '{bomb}' $uid"));
    spec.terminate = SHORT;
    spec.limits = vec![ScopeLimit::TasksMax(Amount::Units(100))];
    // Where no controller counts tasks, the user's number of processes bounds it.
    spec.program.resource_limits = vec![("LimitNPROC".into(), 150, 150), ("LimitCORE".into(), 0, RLIM_INFINITY)];
    if world.root {
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        spec.program.user = Some(shmooze::scope::User { name: "nobody".into(), uid, gid });
    }
    let mut module = world.launch(spec).await;
    let group = cgroup_directory(module.launched.pid);
    eventually("many processes", || population(&group) >= 90).await;
    assert_eq!(module.stopped(&world).await.reached, Reached::Kill);
}

#[tokio::test]
async fn one_that_makes_groups_of_its_own() {
    let Some(world) = World::new("below").await else { return };
    let script = "g=/sys/fs/cgroup$(sed -n s/0:://p /proc/self/cgroup); mkdir $g/below || exit 1; \
                  sh -c \"echo \\$\\$ >$g/below/cgroup.procs; touch $dir/up; exec sleep 1000\" & wait";
    let mut module = world.launch(world.spec(script)).await;
    eventually("up", || world.file("up").exists()).await;
    module.stopped(&world).await;
}

#[tokio::test]
async fn one_that_moves_to_another_scope() {
    let Some(world) = World::new("moves").await else { return };
    let manager = if world.root { "--system" } else { "--user" };
    let unit = format!("moved-{}.scope", world.service);
    let script = format!(
        "trap '' TERM; export XDG_RUNTIME_DIR=/run/user/$(id -u); \
         exec systemd-run -q {manager} --scope --collect --unit={unit} sh -c 'touch $1/up; while :; do sleep 1000; done' $uid $dir"
    );
    let mut spec = world.spec(&script);
    spec.terminate = SHORT;
    let mut module = world.launch(spec).await;
    eventually("moved", || world.file("up").exists() && cgroup(module.launched.pid).ends_with(&unit)).await;
    assert_eq!(*module.launched.state.borrow(), State::Running);
    world.stop(&module).await;
    // The main process is ended wherever it is; what it starts elsewhere is another unit's.
    module.exited().await;
    eventually("gone", || module.launched.state.borrow().is_gone()).await;
    assert!(!Path::new(&format!("/proc/{}", module.launched.pid)).exists());
    world.systemctl(&["kill", "-s", "KILL", &unit]);
}

#[tokio::test]
async fn many_at_once() {
    let Some(world) = World::new("zoo").await else { return };
    let scripts = [
        "exec sleep 1000",
        "trap '' TERM; while :; do sleep 1000; done",
        "setsid sleep 1000 & exit 0",
        "kill -STOP $$",
        "exit 1",
        "kill -SEGV $$",
    ];
    let mut modules = Vec::new();
    for script in scripts.iter().cycle().take(30) {
        let mut spec = world.spec(script);
        spec.terminate = SHORT;
        modules.push(world.launch(spec).await);
    }
    for module in &modules {
        world.stop(module).await;
    }
    for module in &mut modules {
        module.gone(&world).await;
    }
    world.nothing_is_left().await;
}
