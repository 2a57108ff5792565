//! Modules that never open their streams: a broker's own code, in a scope of systemd.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use shmooze::engine::Restarts;
use shmooze::handover::Keeper;
use shmooze::launcher::Local;
use shmooze::module::{self, Birth, Cause, Event};
use shmooze::protocol::Uid;
use shmooze::record::Record;
use shmooze::scope::{Exit, Reached};
use shmooze::settings::{Settings, Timeouts};
use tokio::sync::mpsc;

use crate::world::{PATIENCE, SHORT, World, alive};

/// How long one may take to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// How long it may take to end by itself.
const EXIT: Duration = Duration::from_millis(300);

/// Adds a module of one script; answers how it ended and how long all of it took.
async fn added(world: &World, script: &str) -> (module::Ending, Duration) {
    let modules = json!({"clock": {"process": ["sh", "-c", script]}});
    let service = &*world.service;
    let text = json!({"ports": {service: 1}, "services": {service: {"kind": "queue", "modules": modules}}});
    let settings = Settings::parse(&text.to_string(), &world.file("settings.json")).unwrap();
    let launcher = Local::new(Arc::new(settings), Arc::new(world.house.clone()));
    let birth = Birth {
        uid: Uid::new(),
        service: world.service.as_str().into(),
        type_name: "clock".into(),
        background: false,
        added: SystemTime::now(),
        args: None,
        timeouts: Timeouts { connect: CONNECT, exit: EXIT, terminate: SHORT, ..Timeouts::default() },
        max_line_bytes: 65536,
        restarts: Restarts::default(),
        last_parameters: None,
    };
    let uid = birth.uid;
    let (events, mut told) = mpsc::channel(8);
    let begun = Instant::now();
    let _handle = module::spawn(birth, Arc::new(launcher), Record::off(), Keeper::off(), events);
    let mut ending = None;
    while let Some(event) = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap() {
        match event {
            Event::Started { result, .. } => assert!(result.is_err()),
            Event::Gone { ending: how, .. } => ending = Some(how),
            other => panic!("{other:?}"),
        }
    }
    let took = begun.elapsed();
    assert_eq!(alive(&uid.to_string()), [0; 0]);
    assert!(world.units().is_empty());
    (ending.unwrap(), took)
}

#[tokio::test]
async fn one_that_never_connects() {
    let Some(world) = World::new("silent").await else { return };
    let (ending, took) = added(&world, "setsid sleep 1000 & exec sleep 1000").await;
    assert_eq!((ending.cause, ending.reached, ending.exit), (Cause::NotConnected, Reached::Terminate, Some(Exit::Signal(15))));
    assert!(took >= CONNECT && took < CONNECT + EXIT + Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn one_that_never_connects_and_ignores_sigterm() {
    let Some(world) = World::new("deaf").await else { return };
    let (ending, took) = added(&world, "trap '' TERM; setsid sleep 1000 & while :; do sleep 1000; done").await;
    assert_eq!((ending.cause, ending.reached, ending.exit), (Cause::NotConnected, Reached::Kill, Some(Exit::Signal(9))));
    assert!(took >= CONNECT + SHORT && took < CONNECT + EXIT + SHORT + Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn one_that_ends_instead_and_leaves_a_daemon() {
    let Some(world) = World::new("leaves").await else { return };
    let (ending, took) = added(&world, "(setsid sh -c \"trap '' TERM; while :; do sleep 1000; done\" &); exit 3").await;
    assert_eq!((ending.cause, ending.reached, ending.exit), (Cause::NotConnected, Reached::Kill, Some(Exit::Status(3))));
    assert!(took < EXIT + SHORT + Duration::from_secs(15), "{took:?}");
}
