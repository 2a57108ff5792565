//! The broker over a house that only records.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{Broker, Configuration};
use crate::launcher::Local;
use crate::protocol::Incoming;
use crate::record::Record;
use crate::scope::{Call, Recording, Scopes as _};
use crate::service::{Handler, Reply};
use crate::settings::{Amount, ScopeLimit, Service, Settings};

fn settings(memory: &str) -> Arc<Settings> {
    let text = json!({
        "ports": {"pool": 9001},
        "services": {"pool": {"kind": "pool", "modules": {
            "limited": {"process": ["/bin/limited"], "limits": {"MemoryMax": memory, "RuntimeMaxSec": 60}},
            "free": {"process": ["/bin/free"]},
        }}},
    });
    Arc::new(Settings::parse(&text.to_string(), Path::new("/settings.json")).unwrap())
}

#[tokio::test]
async fn changed_limits_reach_the_modules_that_live() {
    let before = settings("64M");
    let house = Arc::new(Recording::new());
    let local = Local::new(Arc::clone(&before), house.clone());
    let configuration = Configuration::of("pool", &before.services["pool"], 1024).unwrap();
    let broker = Broker::start(configuration, Arc::new(local.clone()), Record::off());
    let add = |name: &'static str| {
        let broker = broker.clone();
        // Nobody connects, so this is not answered while the test runs.
        tokio::spawn(async move {
            let line = format!("{{\"cmd\": \"add\", \"args\": {{\"type\": \"{name}\"}}}}");
            let mut scratch = String::new();
            let Ok(Incoming::One(Ok(request))) = Incoming::read(line.as_bytes(), &mut scratch) else { panic!("{line}") };
            if let Reply::Later(reply) = broker.call(request) {
                reply.await;
            }
        })
    };
    let _limited = add("limited");
    house.until(|calls| calls.len() == 1).await;
    let limited = house.list().await.unwrap()[0].uid;
    let _free = add("free");
    house.until(|calls| calls.len() == 2).await;

    let apply = async |settings: Arc<Settings>| {
        local.set_settings(Arc::clone(&settings));
        let Service::Pool(types) = settings.services["pool"].clone() else { panic!("no pool") };
        broker.set_types(Arc::new(types)).await;
    };
    apply(Arc::clone(&before)).await;
    apply(settings("32M")).await;
    let changes =
        |calls: &[Call]| -> Vec<Call> { calls.iter().filter(|call| matches!(call, Call::SetLimits(..))).cloned().collect() };
    house.until(|calls| !changes(calls).is_empty()).await;
    let limits = vec![ScopeLimit::MemoryMax(Amount::Units(32 << 20))];
    assert_eq!(changes(&house.calls()), [Call::SetLimits(limited, limits)], "one call, for the one that has changed");
}
