//! Scopes that are made before their modules.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shmooze::protocol::Uid;
use shmooze::scope::{Exit, Reached, ScopeError, Scopes as _, Spec, State, Systemd};
use shmooze::settings::{Amount, ScopeLimit};

use crate::world::{Module, PATIENCE, World, alive, cgroup, ended, eventually, held, nothing_is_held_but, shim};

/// A part of the names of such scopes that no other has.
const MARK: &str = "-clock-spare-";

fn with_spares(world: &World, spares: usize, script: &str) -> Spec {
    Spec { spares, ..world.spec(script) }
}

/// Launches it, in whichever scope.
async fn launch(world: &World, house: &Systemd, spec: Spec) -> Module {
    let mut module = world.launch_in(house, spec).await.unwrap();
    module.unit = module.launched.cgroup.as_ref().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    module
}

/// Launches a first module, whose like have so many spares from then on.
async fn first(world: &World, house: &Systemd, spares: usize) -> Module {
    let module = launch(world, house, with_spares(world, spares, "exec sleep 1000")).await;
    assert!(!module.unit.contains(MARK), "{}", module.unit);
    parked(house, spares).await;
    module
}

async fn parked(house: &Systemd, spares: usize) {
    eventually("spares wait", || house.spares() == spares).await;
}

/// Ends all, and sees that nothing is left.
async fn end(world: &World, modules: Vec<Module>) {
    world.house.give_up_spares();
    for mut module in modules {
        world.stop(&module).await;
        module.gone(world).await;
    }
    world.nothing_is_left().await;
}

fn pid_of(world: &World, unit: &str) -> u32 {
    let group = PathBuf::from("/sys/fs/cgroup").join(world.show(unit, "ControlGroup").trim_start_matches('/'));
    std::fs::read_to_string(group.join("cgroup.procs")).unwrap().trim().parse().unwrap()
}

fn spare_units(world: &World) -> Vec<String> {
    world.units().into_iter().filter(|unit| unit.contains(MARK)).collect()
}

#[tokio::test]
async fn a_module_in_a_spare_is_like_any_other() {
    let Some(world) = World::new("spare").await else { return };
    let module = first(&world, &world.house, 2).await;
    let waiting = spare_units(&world);
    assert_eq!(waiting.len(), 2);
    let description = world.show(&waiting[0], "Description");
    assert_eq!(description, format!("shmooze spare for clock of {}", world.service));
    let listed = |list: Vec<shmooze::scope::Listed>| list.into_iter().filter(|it| it.service == world.service).count();
    assert_eq!(listed(world.house.list().await.unwrap()), 1, "what waits is no module");

    let script = "[ \"$SHMOOZE_UID\" = $uid ] && [ \"$JOURNAL_STREAM\" = \"$(stat -Lc %d:%i /proc/self/fd/2)\" ] || exit 1\n\
                  cat /proc/self/cgroup >$dir/group; echo \"it is $uid\"; exec sleep 1000";
    let mut second = launch(&world, &world.house, with_spares(&world, 2, script)).await;
    assert!(waiting.contains(&second.unit), "{} is none of {waiting:?}", second.unit);
    let group = world.file("group");
    eventually("it looked", || std::fs::read_to_string(&group).is_ok_and(|text| !text.is_empty())).await;
    assert!(std::fs::read_to_string(&group).unwrap().trim_end().ends_with(&second.unit));
    let description = format!("shmooze module clock {} of {}", second.uid, world.service);
    eventually("the description", || world.show(&second.unit, "Description") == description).await;
    assert_eq!(listed(world.house.list().await.unwrap()), 2);
    let said = serde_json::json!(format!("it is {}", second.uid));
    eventually("what it printed", || world.journal(&second).iter().any(|line| line["MESSAGE"] == said)).await;
    world.house.freeze(second.uid).await.unwrap();
    world.house.thaw(second.uid).await.unwrap();
    // Another one waits in its place.
    parked(&world.house, 2).await;
    world.stop(&second).await;
    assert_eq!(second.gone(&world).await, ended(Exit::Signal(15), Reached::Terminate));
    end(&world, vec![module]).await;
}

#[tokio::test]
async fn eight_at_once_each_in_one_of_its_own() {
    let Some(world) = World::alone("eight").await else { return };
    let world = Arc::new(world);
    world.accustomed().await;
    let before = held().await;
    let mut modules = vec![first(&world, &world.house, 8).await];
    let mut launches = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let world = Arc::clone(&world);
        launches.spawn(async move { launch(&world, &world.house, with_spares(&world, 8, "exec sleep 1000")).await });
    }
    let launched = launches.join_all().await;
    for module in &launched {
        assert!(module.unit.contains(MARK) && cgroup(module.launched.pid).ends_with(&module.unit));
    }
    let mut units: Vec<_> = launched.iter().map(|module| module.unit.clone()).collect();
    units.sort();
    units.dedup();
    assert_eq!(units.len(), 8);
    parked(&world.house, 8).await;
    modules.extend(launched);
    end(&world, modules).await;
    nothing_is_held_but(&before).await;
}

#[tokio::test]
async fn limits_hold_from_the_start_and_others_have_spares_of_their_own() {
    let Some(world) = World::new("alike").await else { return };
    let of = |limits: &[ScopeLimit]| Spec { limits: limits.to_vec(), ..with_spares(&world, 1, "exec sleep 1000") };
    let (few, more) = ([ScopeLimit::TasksMax(Amount::Units(77))], [ScopeLimit::TasksMax(Amount::Units(78))]);
    let mut modules = vec![launch(&world, &world.house, of(&few)).await];
    parked(&world.house, 1).await;
    // As after a change of the settings.
    modules.push(launch(&world, &world.house, of(&more)).await);
    assert!(!modules[1].unit.contains(MARK), "the spare is of other limits");
    parked(&world.house, 2).await;
    for (limits, tasks) in [(&more, "78"), (&few, "77")] {
        let module = launch(&world, &world.house, of(limits)).await;
        assert!(module.unit.contains(MARK), "{}", module.unit);
        assert_eq!(world.show(&module.unit, "TasksMax"), tasks);
        modules.push(module);
    }
    let last = modules.last().unwrap();
    world.house.set_limits(last.uid, vec![ScopeLimit::TasksMax(Amount::Units(79))]).await.unwrap();
    assert_eq!(world.show(&last.unit, "TasksMax"), "79");
    end(&world, modules).await;
}

#[tokio::test]
async fn none_for_those_whose_time_is_limited() {
    let Some(world) = World::new("mortal").await else { return };
    let limits = vec![ScopeLimit::RuntimeMax(Some(Duration::from_secs(1000)))];
    let mortal = launch(&world, &world.house, Spec { limits, ..with_spares(&world, 2, "exec sleep 1000") }).await;
    let other =
        launch(&world, &world.house, Spec { type_name: "radio".into(), ..with_spares(&world, 2, "exec sleep 1000") }).await;
    parked(&world.house, 2).await;
    assert_eq!(spare_units(&world), [""; 0], "of the type clock");
    end(&world, vec![mortal, other]).await;
}

#[tokio::test]
async fn one_that_dies_is_replaced() {
    let Some(world) = World::new("dying").await else { return };
    let module = first(&world, &world.house, 1).await;
    let unit = spare_units(&world).remove(0);
    let begun = Instant::now();
    world.systemctl(&["kill", "--signal=KILL", &unit]);
    eventually("another one", || matches!(&spare_units(&world)[..], [other] if *other != unit)).await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "at no such rate: {:?}", begun.elapsed());
    parked(&world.house, 1).await;
    let second = launch(&world, &world.house, with_spares(&world, 1, "exec sleep 1000")).await;
    assert!(second.unit.contains(MARK));
    end(&world, vec![module, second]).await;
}

#[tokio::test]
async fn one_that_is_good_for_nothing_is_not_noticed_by_who_launches() {
    let Some(world) = World::new("bad").await else { return };
    let mut modules = vec![first(&world, &world.house, 1).await];
    let mut known: Vec<String> = Vec::new();
    for trouble in ["freeze", "kill --signal=STOP", "kill --signal=KILL", "stop"] {
        parked(&world.house, 1).await;
        known.extend(modules.iter().map(|module| module.unit.clone()));
        let unit = spare_units(&world).into_iter().find(|unit| !known.contains(unit)).unwrap();
        let pid = pid_of(&world, &unit);
        let words: Vec<&str> = trouble.split(' ').chain([unit.as_str()]).collect();
        assert!(world.systemctl(&words).status.success());
        let stat = format!("/proc/{pid}/stat");
        let is_stopped = || std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") T "));
        eventually("stopped", || !trouble.contains("STOP") || is_stopped()).await;
        let module = launch(&world, &world.house, with_spares(&world, 1, "exec sleep 1000")).await;
        assert_ne!(module.unit, unit, "{trouble}");
        assert!(cgroup(module.launched.pid).ends_with(&module.unit));
        eventually(trouble, || !std::path::Path::new(&stat).exists()).await;
        known.push(unit);
        modules.push(module);
    }
    end(&world, modules).await;
}

#[tokio::test]
async fn a_manager_that_refuses_is_not_asked_without_pause() {
    let Some(world) = World::new("refuses").await else { return };
    // The first is good, later ones end at once.
    let (directory, shim) = (world.directory.path().display().to_string(), shim());
    let script =
        format!("mkdir {directory}/first 2>/dev/null && exec {}\ncat /proc/uptime >>{directory}/tries\nexit 3", shim.display());
    let house = world.house_with_shim(&script);
    let mut module = launch(&world, &house, with_spares(&world, 16, "exec sleep 1000")).await;
    let tries = || {
        let text = std::fs::read_to_string(world.file("tries")).unwrap_or_default();
        text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect::<Vec<f64>>()
    };
    // Until one has ended, the next is made.
    eventually("a pause", || tries().windows(2).any(|times| times[1] - times[0] >= 0.9)).await;
    assert!(tries().len() <= 2 * 16, "{:?}", tries());
    parked(&house, 0).await;
    drop(house);
    world.stop(&module).await;
    module.gone(&world).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_program_that_is_missing_leaves_nothing() {
    let Some(world) = World::new("absent").await else { return };
    let module = first(&world, &world.house, 1).await;
    let mut spec = with_spares(&world, 1, "");
    let uid = spec.uid;
    spec.program.command = vec!["/no/such/program".into(), world.service.clone()];
    let error = world.house.launch(spec).await.unwrap_err();
    assert_eq!(error.to_string(), "/no/such/program could not be started: No such file or directory");
    eventually("forgotten", || world.house.watch(uid).is_none()).await;
    end(&world, vec![module]).await;
}

#[tokio::test]
async fn one_module_is_launched_once() {
    let Some(world) = World::new("once").await else { return };
    let module = first(&world, &world.house, 1).await;
    let spec = Spec { uid: module.uid, ..with_spares(&world, 1, "exec sleep 1000") };
    assert_eq!(world.house.launch(spec).await.unwrap_err(), ScopeError::Exists(module.uid));
    assert_eq!(world.house.spares(), 1, "it cost none");
    end(&world, vec![module]).await;
}

#[tokio::test]
async fn they_end_with_the_house_and_modules_do_not() {
    let Some(world) = World::new("house").await else { return };
    let house = world.other_house();
    let mut modules = vec![first(&world, &house, 3).await];
    modules.push(launch(&world, &house, with_spares(&world, 3, "exec sleep 1000")).await);
    parked(&house, 3).await;
    assert_eq!(world.units().len(), 5);
    drop(house.clone());
    assert_eq!(house.spares(), 3, "it lives");
    drop(house);
    eventually("only modules", || world.units().len() == 2).await;
    assert!(modules.iter().all(|module| *module.launched.state.borrow() == State::Running));
    end(&world, modules).await;
}

#[tokio::test]
async fn they_end_with_the_unit_that_they_are_part_of() {
    let Some(world) = World::new("part").await else { return };
    let unit = format!("{}.service", world.service);
    let mut run = Command::new("systemd-run");
    if !world.root {
        run.arg("--user");
    }
    assert!(run.args(["--quiet", "--unit", &unit, "sleep", "1000"]).status().unwrap().success());
    let spec = Spec { part_of: Some(unit.clone()), ..with_spares(&world, 2, "exec sleep 1000") };
    let mut module = launch(&world, &world.house, spec).await;
    parked(&world.house, 2).await;
    assert!(world.systemctl(&["stop", &unit]).status.success());
    assert_eq!(module.gone(&world).await.reached, Reached::Terminate);
    eventually("none waits", || world.house.spares() == 0).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn what_a_killed_process_left_is_told_apart() {
    let Some(world) = World::new("left").await else { return };
    let own = std::env::current_exe().unwrap();
    let mut other = Command::new(own)
        .args(["--exact", "spare::another_process", "--ignored", "--nocapture"])
        .env("SHMOOZE_TEST_SERVICE", &world.service)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(other.stdout.take().unwrap()).lines().map_while(Result::ok);
    // Two modules, the second of them in a spare.
    let uids: Vec<Uid> = lines.filter_map(|line| line.strip_prefix("launched ")?.parse().ok()).take(2).collect();
    assert_eq!((uids.len(), world.units().len()), (2, 5));
    let listed = async |house: &Systemd| {
        let list = house.list().await.unwrap().into_iter().filter(|it| it.service == world.service);
        let mut found: Vec<Uid> = list.map(|it| it.uid).collect();
        found.sort_by_key(|uid| uids.iter().position(|known| known == uid));
        found
    };
    // As another process sees them while that one lives.
    assert_eq!(listed(&world.house).await, uids);
    other.kill().unwrap();
    other.wait().unwrap();
    eventually("only modules", || world.units().len() == 2).await;
    let later = world.other_house();
    assert_eq!(listed(&later).await, uids);
    // One without being looked for first.
    world.other_house().stop(uids[1]).await.unwrap();
    later.stop(uids[0]).await.unwrap();
    for uid in uids {
        let state = later.watch(uid);
        if let Some(mut state) = state {
            tokio::time::timeout(PATIENCE, state.wait_for(State::is_gone)).await.unwrap().unwrap();
        }
        assert_eq!(alive(&uid.to_string()), [0; 0]);
    }
    world.nothing_is_left().await;
}

/// Launches and waits to be killed.
#[tokio::test]
#[ignore = "a part of another test"]
async fn another_process() {
    let Ok(service) = std::env::var("SHMOOZE_TEST_SERVICE") else { return };
    let Some(mut world) = World::new("another").await else { return };
    world.service = service;
    for _ in 0..2 {
        let module = launch(&world, &world.house, with_spares(&world, 3, "exec sleep 1000")).await;
        parked(&world.house, 3).await;
        println!("\nlaunched {}", module.uid);
    }
    std::future::pending::<()>().await;
}
