//! Processes that wait to become modules, without a scope.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use shmooze::scope::{Exit, Reached, Scopes as _, Spec, State, Systemd};
use shmooze::settings::{Amount, ScopeLimit};

use crate::world::{World, cgroup, ended, eventually, shim};

/// A house that nobody launches in but this test, and its shim, by which those that wait are told apart.
fn own_house(world: &World) -> (Systemd, PathBuf) {
    let path = world.file("own-shim");
    // By another process: a file that a fork of this one still has open for writing cannot be executed.
    assert!(Command::new("cp").arg(shim()).arg(&path).status().unwrap().success());
    (world.house_with_shim_at(path.clone()), path)
}

/// The processes that execute this program.
fn waiting(program: &Path) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|it| it == program)).collect()
}

/// Waits until so many wait, and no others are about to; answers them.
async fn until_waiting(house: &Systemd, program: &Path, number: usize) -> Vec<u32> {
    eventually("those that wait", || house.warm() == number && waiting(program).len() == number).await;
    waiting(program)
}

#[tokio::test]
async fn a_module_that_waited_is_like_any_other() {
    let Some(world) = World::new("waited").await else { return };
    let (house, program) = own_house(&world);
    assert_eq!(house.warm(), 0, "before there is a need");
    let mut first = world.launch_in(&house, world.spec("exec sleep 1000")).await.unwrap();
    let [pid] = until_waiting(&house, &program, 1).await[..] else { panic!("one waits") };
    assert_eq!(cgroup(pid), cgroup(std::process::id()), "it is where its house is");
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    eventually("three streams, and what it reads by", || open() == 4).await;
    let listed = house.list().await.unwrap();
    assert_eq!(listed.iter().filter(|it| it.service == world.service).count(), 1, "it is no module");

    let script = "[ \"$JOURNAL_STREAM\" = \"$(stat -Lc %d:%i /proc/self/fd/2)\" ] || exit 1\n\
                  tr '\\0' '\\n' </proc/$$/environ | cut -d= -f1 | sort | tr '\\n' ' ' >$dir/names\n\
                  ulimit -n >$dir/files; umask >$dir/mask; pwd >$dir/where\n\
                  cut -d' ' -f6 /proc/$$/stat >$dir/session; echo \"it is $uid\"; cat /proc/self/cgroup >$dir/group; exec sleep 1000";
    let mut spec = Spec { limits: vec![ScopeLimit::TasksMax(Amount::Units(77))], ..world.spec(script) };
    spec.program.resource_limits.push(("LimitNOFILE".to_owned(), 77, 77));
    spec.program.umask = Some(0o027);
    spec.program.working_directory = Some("/usr".into());
    let mut second = world.launch_in(&house, spec).await.unwrap();
    assert_eq!(second.launched.pid, pid, "the one that waited");
    assert_eq!(world.show(&second.unit, "TasksMax"), "77");
    let read = |name: &str| std::fs::read_to_string(world.file(name)).unwrap_or_default().trim().to_owned();
    eventually("it looked", || !read("group").is_empty()).await;
    assert!(read("group").ends_with(&second.unit));
    // What a shell sets by itself is not in the environment that it was given.
    assert_eq!(read("names"), "JOURNAL_STREAM PATH SHMOOZE_UID");
    // The shell has some of its own, which end with it.
    eventually("the shell has gone", || std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().starts_with(b"sleep")).await;
    let mut open: Vec<_> =
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    open.sort_unstable();
    assert_eq!(open, ["0", "1", "2"]);
    assert_eq!((read("files"), read("mask"), read("where")), ("77".into(), "0027".into(), "/usr".into()));
    assert_eq!(read("session"), pid.to_string());
    let said = serde_json::json!(format!("it is {}", second.uid));
    eventually("what it printed", || world.journal(&second).iter().any(|line| line["MESSAGE"] == said)).await;

    // They end with the house, and modules do not.
    until_waiting(&house, &program, 1).await;
    drop(house);
    eventually("none waits", || waiting(&program).is_empty()).await;
    for module in [&mut first, &mut second] {
        assert_eq!(*module.launched.state.borrow(), State::Running);
        world.stop(module).await;
        assert_eq!(module.gone(&world).await, ended(Exit::Signal(15), Reached::Terminate));
    }
    world.nothing_is_left().await;
}

#[tokio::test]
async fn one_that_somebody_kills_or_stops_is_not_noticed_by_who_launches() {
    let Some(world) = World::new("harmed").await else { return };
    let (house, program) = own_house(&world);
    let mut modules = vec![world.launch_in(&house, world.spec("exec sleep 1000")).await.unwrap()];
    for signal in ["KILL", "TERM", "STOP"] {
        let [pid] = until_waiting(&house, &program, 1).await[..] else { panic!("one waits") };
        assert!(Command::new("kill").args(["-s", signal, &pid.to_string()]).status().unwrap().success());
        let stat = format!("/proc/{pid}/stat");
        let is_stopped = || std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") T "));
        // One that has ended is waited for at once.
        eventually(signal, || if signal == "STOP" { is_stopped() } else { !Path::new(&stat).exists() }).await;
        let module = world.launch_in(&house, world.spec("exec sleep 1000")).await.unwrap();
        assert_ne!(module.launched.pid, pid);
        assert!(cgroup(module.launched.pid).ends_with(&module.unit));
        eventually("it is gone", || !Path::new(&stat).exists()).await;
        modules.push(module);
    }
    end(&world, modules).await;
}

#[tokio::test]
async fn as_many_wait_as_were_needed_and_no_more_than_eight() {
    let Some(world) = World::new("bounded").await.map(Arc::new) else { return };
    let (house, program) = own_house(&world);
    let burst = async |number: usize| {
        let mut launches = tokio::task::JoinSet::new();
        for _ in 0..number {
            let (world, house) = (Arc::clone(&world), house.clone());
            launches.spawn(async move { world.launch_in(&house, world.spec("exec sleep 1000")).await.unwrap() });
        }
        launches.join_all().await
    };
    let mut modules = burst(3).await;
    until_waiting(&house, &program, 3).await;
    modules.extend(burst(12).await);
    let before = until_waiting(&house, &program, 8).await;
    let eight = burst(8).await;
    assert!(eight.iter().all(|module| before.contains(&module.launched.pid)));
    modules.extend(eight);
    until_waiting(&house, &program, 8).await;
    end(&world, modules).await;
}

async fn end(world: &World, mut modules: Vec<crate::world::Module>) {
    for module in &modules {
        world.stop(module).await;
    }
    for module in &mut modules {
        module.gone(world).await;
    }
}
