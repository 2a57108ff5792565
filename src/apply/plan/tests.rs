use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::generator::{Surroundings, generate};
use crate::settings::Settings;

fn tree(settings: &Value) -> Tree {
    let folder = Path::new("/none");
    let mut surroundings = Surroundings::look(Manager::System, &|_| None, folder);
    surroundings.ipv6 = true;
    let settings = Settings::parse(&settings.to_string(), Path::new("/etc/shmooze/settings.json")).unwrap();
    generate(&settings, &surroundings).tree
}

fn family() -> Value {
    json!({
        "ports": {"queue": 1, "pool": 2, "volume": 3, "wsgi": 4},
        "services": {
            "queue": {"kind": "queue"},
            "pool": {"kind": "pool"},
            "volume": {"kind": "app", "process": ["volume"]},
        },
    })
}

/// A family that runs by some settings, and what has happened since.
struct Running {
    loaded: Tree,
    last_good: Option<Tree>,
    units: Units,
    listening: HashSet<SocketAddr>,
}

impl Running {
    /// Everything is up and was asked for something.
    fn by(settings: &Value) -> Self {
        let loaded = tree(settings);
        let parts = part::of(&loaded);
        let names = parts.values().flat_map(Part::units).chain([TARGET.to_owned(), LAUNCHER.to_owned()]);
        let unit = || Unit { load: "loaded".into(), active: "active".into() };
        let listening = parts.values().flat_map(|part| part.addresses.clone()).collect();
        Self { loaded, last_good: None, units: names.map(|name| (name, unit())).collect(), listening }
    }

    fn set(mut self, states: &[(&str, &str)]) -> Self {
        for (name, active) in states {
            self.units.get_mut(*name).unwrap().active = (*active).to_owned();
        }
        self
    }

    fn plan(&self, wanted: &Value) -> (Vec<String>, Vec<String>) {
        let wanted = tree(wanted);
        let situation = Situation {
            loaded: &self.loaded,
            last_good: self.last_good.as_ref(),
            wanted: &wanted,
            units: &self.units,
            listening: &self.listening,
        };
        let plan = Plan::of(&situation);
        let steps = plan.steps.iter().map(|step| step.words().join(" ").replace("shmooze-", "")).collect();
        (plan.changes, steps)
    }
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut settings = family();
    change(&mut settings);
    settings
}

const RELOADS: [&str; 4] = ["reload launcher.service", "reload gateway.service", "reload pool.service", "reload queue.service"];

#[test]
fn who_runs_reads_the_settings_again() {
    let (changes, steps) = Running::by(&family()).plan(&family());
    assert_eq!((changes, steps), (vec![], RELOADS.map(str::to_owned).to_vec()));
    // Only those who do.
    let idle =
        [("shmooze-launcher.service", "inactive"), ("shmooze-pool.service", "failed"), ("shmooze-gateway.service", "activating")];
    let (_, steps) = Running::by(&family()).set(&idle).plan(&family());
    assert_eq!(steps, ["reload queue.service"]);
}

#[test]
fn what_moves_is_restarted_and_nothing_else() {
    let new = changed(|settings| settings["ports"]["queue"] = json!(7));
    let (changes, steps) = Running::by(&family()).plan(&new);
    assert_eq!(changes, ["queue moves from port 1 to port 7."]);
    assert_eq!(
        steps,
        ["daemon-reload", "restart queue.socket", "reload launcher.service", "reload gateway.service", "reload pool.service"]
    );
    // The service had not been asked for anything.
    let (_, steps) = Running::by(&family()).set(&[("shmooze-queue.service", "inactive")]).plan(&new);
    assert_eq!(steps[1], "restart queue.socket");
    // Somebody has stopped it, and it stays so.
    let stopped = [("shmooze-queue.service", "inactive"), ("shmooze-queue.socket", "inactive")];
    let (_, steps) = Running::by(&family()).set(&stopped).plan(&new);
    assert!(!steps.iter().any(|step| step.contains("queue")), "{steps:?}");
}

#[test]
fn a_gateway_that_moves() {
    let (changes, steps) = Running::by(&family()).plan(&changed(|settings| settings["ports"]["wsgi"] = json!(80)));
    assert_eq!(changes, ["the gateway moves from port 4 to port 80."]);
    assert_eq!(steps[..2], ["daemon-reload", "restart gateway.socket"]);
    let everywhere = changed(|settings| settings["gateway"] = json!({"address": "0.0.0.0"}));
    assert_eq!(Running::by(&family()).plan(&everywhere).0, ["the gateway moves to 0.0.0.0:4."]);
}

#[test]
fn new_and_gone() {
    let new = changed(|settings| {
        settings["ports"] = json!({"queue": 1, "volume": 3, "more": 2, "say": 9});
        settings["services"] = json!({
            "queue": {"kind": "queue"},
            "volume": {"kind": "app", "process": ["volume"]},
            "more": {"kind": "pool"},
            "say": {"kind": "app", "process": ["say"]},
        });
    });
    let (changes, steps) = Running::by(&family()).plan(&new);
    assert_eq!(changes, ["the gateway is gone.", "pool is gone.", "more is new, at port 2.", "say is new, at port 9."]);
    assert_eq!(
        steps,
        [
            "stop gateway.socket gateway.service",
            "stop pool.socket pool.service",
            "daemon-reload",
            "reload launcher.service",
            "start more.socket",
            "start say.service",
            "reload queue.service",
        ]
    );
    // Where the family is not up, nothing is started.
    let (_, steps) = Running::by(&family()).set(&[(TARGET, "inactive")]).plan(&new);
    assert!(!steps.iter().any(|step| step.starts_with("start")), "{steps:?}");
}

#[test]
fn programs() {
    let other = changed(|settings| settings["services"]["volume"]["process"] = json!(["louder"]));
    let (changes, steps) = Running::by(&family()).plan(&other);
    assert_eq!(changes, ["volume is changed."]);
    assert_eq!(steps[..2], ["daemon-reload", "restart volume.service"]);
    // It reads its port from the settings, and is told to by a restart.
    let (changes, steps) = Running::by(&family()).plan(&changed(|settings| settings["ports"]["volume"] = json!(33)));
    assert_eq!((&*changes[0], &*steps[1]), ("volume moves from port 3 to port 33.", "restart volume.service"));
}

#[test]
fn another_kind_of_the_same_name() {
    let (changes, steps) =
        Running::by(&family()).plan(&changed(|settings| settings["services"]["pool"]["kind"] = json!("queue")));
    assert_eq!((&*changes[0], &*steps[1]), ("pool is changed.", "restart pool.socket"));
    let program = changed(|settings| settings["services"]["pool"] = json!({"kind": "app", "process": ["x"]}));
    let mut running = Running::by(&family());
    let (changes, steps) = running.plan(&program);
    assert_eq!(changes, ["pool is gone.", "pool is new, at port 2."]);
    assert_eq!(steps[..3], ["stop pool.socket pool.service", "daemon-reload", "reload launcher.service"]);
    assert_eq!(steps[3], "start pool.service");
    running = Running::by(&program);
    assert_eq!(running.plan(&family()).1[..2], ["stop pool.service", "daemon-reload"]);
}

#[test]
fn each_finds_its_port_free() {
    // queue → pool's, pool → volume's, volume → a new one.
    let chain = changed(|settings| settings["ports"] = json!({"queue": 2, "pool": 3, "volume": 9, "wsgi": 4}));
    let (_, steps) = Running::by(&family()).plan(&chain);
    assert_eq!(steps[..4], ["daemon-reload", "restart volume.service", "restart pool.socket", "restart queue.socket"]);
    let swap = changed(|settings| settings["ports"] = json!({"queue": 2, "pool": 1, "volume": 9, "wsgi": 4}));
    let (_, steps) = Running::by(&family()).plan(&swap);
    assert_eq!(
        steps[..5],
        [
            "daemon-reload",
            "restart volume.service",
            "stop pool.socket pool.service queue.socket queue.service",
            "start pool.socket",
            "start queue.socket",
        ]
    );
}

/// The manager has loaded the new units already, and knows nothing of what runs by the old ones.
#[test]
fn after_a_daemon_reload_by_hand() {
    let new = changed(|settings| {
        settings["ports"] = json!({"queue": 7, "volume": 3, "more": 8, "wsgi": 4});
        settings["services"] = json!({
            "queue": {"kind": "queue"},
            "volume": {"kind": "app", "process": ["louder"]},
            "more": {"kind": "pool"},
        });
    });
    let mut running = Running::by(&family());
    running.last_good = Some(tree(&family()));
    running.loaded = tree(&new);
    running.units.get_mut("shmooze-pool.service").unwrap().load = "not-found".into();
    running.listening.retain(|address| address.port() != 1);
    let (changes, steps) = running.plan(&new);
    assert_eq!(changes, ["pool is gone.", "more is new, at port 8.", "queue is not yet at port 7.", "volume is changed."]);
    assert_eq!(
        steps,
        [
            "stop pool.socket pool.service",
            "restart queue.socket",
            "restart volume.service",
            "reload launcher.service",
            "start more.socket",
            "reload gateway.service",
        ]
    );
    // Nor does anybody know what was good last: what has lost its file is found all the same.
    running.last_good = None;
    running.units.get_mut("shmooze-pool.socket").unwrap().load = "not-found".into();
    let (changes, steps) = running.plan(&new);
    assert!(
        changes.contains(&"Nothing in the settings is for shmooze-pool.service, shmooze-pool.socket.".to_owned()),
        "{changes:?}"
    );
    assert_eq!(steps[0], "stop pool.service pool.socket");
}

#[test]
fn what_has_failed_is_started() {
    let failed = [("shmooze-queue.socket", "failed"), ("shmooze-queue.service", "failed"), ("shmooze-volume.service", "failed")];
    let (changes, steps) = Running::by(&family()).set(&failed).plan(&family());
    assert_eq!(changes, [""; 0]);
    let expected =
        ["reset-failed queue.socket queue.service", "start queue.socket", "reset-failed volume.service", "start volume.service"];
    assert_eq!(steps.iter().filter(|step| !step.starts_with("reload")).collect::<Vec<_>>(), expected);
}

#[test]
fn units_of_others_are_left_alone() {
    let mut running = Running::by(&family());
    let unit = |load: &str| Unit { load: load.into(), active: "active".into() };
    let others =
        HashMap::from([("shmooze-extra.service", "loaded"), ("shmooze-queue-x.scope", "loaded"), ("shmooze.slice", "not-found")]);
    running.units.extend(others.into_iter().map(|(name, load)| (name.to_owned(), unit(load))));
    assert_eq!(running.plan(&family()).1, RELOADS);
}
