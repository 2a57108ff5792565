//! What of changed settings takes more than reading them again.

use crate::settings::{GATEWAY_PORT, Service, Settings};

/// What a queue or pool called `name`, started by `old`, does not take over from `new`; one sentence each.
pub(super) fn of_broker(old: &Settings, new: &Settings, name: &str) -> Vec<String> {
    let mut left: Vec<String> = of_port(old, new, name).into_iter().collect();
    if old.max_line_bytes != new.max_line_bytes {
        left.push(format!(
            "max_line_bytes is {} now; {name} keeps to {} until it is restarted",
            new.max_line_bytes, old.max_line_bytes
        ));
    }
    if old.log_database_path != new.log_database_path {
        left.push(format!("log_database_path is another now; {name} goes on with that of before until it is restarted"));
    }
    let restored = |settings: &Settings| settings.services.get(name).and_then(Service::lists).map(|lists| lists.restore);
    if let (Some(before), Some(now)) = (restored(old), restored(new))
        && before != now
    {
        left.push(format!("services.{name}.restore is {now} now; that holds for {name} once it is restarted"));
    }
    left
}

/// What the gateway, started by `old`, does not take over from `new`.
pub(super) fn of_gateway(old: &Settings, new: &Settings) -> Vec<String> {
    let mut left: Vec<String> = of_port(old, new, GATEWAY_PORT).into_iter().collect();
    if old.gateway.address != new.gateway.address {
        left.push(format!("gateway.address is {} now; the gateway moves there when it is restarted", new.gateway.address));
    }
    left
}

/// Services of `new` that `old` did not have, of `old` that `new` has not, and those that are of another kind now.
pub(super) fn of_services(old: &Settings, new: &Settings) -> Vec<String> {
    let mut left = Vec::new();
    for (name, service) in &new.services {
        match old.services.get(name) {
            None => left.push(format!("services.{name} is new; it takes a restart")),
            Some(before) if before.kind() != service.kind() => {
                let (now, then) = (service.kind(), before.kind());
                left.push(format!("services.{name} is of the kind {now} now; it goes on as {then} until a restart"));
            }
            Some(Service::App(before)) if service != &Service::App(before.clone()) => {
                left.push(format!("services.{name} is another program now; it is started so when the one of before ends"));
            }
            Some(_) => {}
        }
    }
    let gone = old.services.keys().filter(|name| !new.services.contains_key(*name));
    left.extend(gone.map(|name| format!("services.{name} is gone; it goes on as it was until a restart")));
    let had_gateway = old.ports.contains_key(GATEWAY_PORT);
    if had_gateway != new.ports.contains_key(GATEWAY_PORT) {
        let what = if had_gateway { "is gone; the gateway goes on where it is until" } else { "is new; the gateway takes" };
        left.push(format!("ports.{GATEWAY_PORT} {what} a restart"));
    }
    left
}

/// `new`, but for the services that go on as they were in `old`.
pub(super) fn kept(old: &Settings, new: &Settings) -> Settings {
    let mut kept = new.clone();
    for (name, before) in &old.services {
        if kept.services.get(name).is_none_or(|service| service.kind() != before.kind()) {
            kept.services.insert(name.clone(), before.clone());
        }
    }
    kept
}

fn of_port(old: &Settings, new: &Settings, name: &str) -> Option<String> {
    let (old, new) = (old.ports.get(name)?, new.ports.get(name)?);
    (old != new).then(|| format!("ports.{name} is {new} now; it stays where it is until it is restarted"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn settings(change: impl FnOnce(&mut Value)) -> Settings {
        let mut value = json!({
            "ports": {"queue": 1, "pool": 2, "volume": 3, "wsgi": 4},
            "services": {
                "queue": {"kind": "queue", "modules": {"a": {"process": ["a"]}}},
                "pool": {"kind": "pool"},
                "volume": {"kind": "app", "process": ["volume"]},
            },
        });
        change(&mut value);
        Settings::parse(&value.to_string(), Path::new("x.json")).unwrap()
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let (old, new) = (settings(|_| {}), settings(change));
        let parts = [of_broker(&old, &new, "queue"), of_gateway(&old, &new), of_services(&old, &new)];
        parts.concat()
    }

    #[test]
    fn what_is_taken_over() {
        let change = |value: &mut Value| {
            value["services"]["queue"]["modules"] = json!({"b": {"process": ["b"]}});
            value["public"] = json!(["ports"]);
            value["static_path"] = json!("/srv");
            value["ports"]["other"] = json!(77);
            value["gateway"] = json!({"max_connections": 7});
        };
        assert_eq!(changed(change), [""; 0]);
    }

    #[test]
    fn what_is_not() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 11] = [
            (|value| value["ports"]["queue"] = json!(7), "ports.queue is 7 now; it stays where it is until it is restarted"),
            (|value| value["ports"]["wsgi"] = json!(8), "ports.wsgi is 8 now; it stays where it is until it is restarted"),
            (
                |value| value["max_line_bytes"] = json!(4096),
                "max_line_bytes is 4096 now; queue keeps to 8388608 until it is restarted",
            ),
            (
                |value| value["log_database_path"] = json!("/x"),
                "log_database_path is another now; queue goes on with that of before until it is restarted",
            ),
            (
                |value| value["services"]["queue"]["restore"] = json!(true),
                "services.queue.restore is true now; that holds for queue once it is restarted",
            ),
            (
                |value| value["gateway"] = json!({"address": "::1"}),
                "gateway.address is ::1 now; the gateway moves there when it is restarted",
            ),
            (
                |value| {
                    value["services"]["more"] = json!({"kind": "pool"});
                    value["ports"]["more"] = json!(9);
                },
                "services.more is new; it takes a restart",
            ),
            (
                |value| drop(value["services"].as_object_mut().unwrap().remove("pool")),
                "services.pool is gone; it goes on as it was until a restart",
            ),
            (
                |value| value["services"]["pool"]["kind"] = json!("queue"),
                "services.pool is of the kind queue now; it goes on as pool until a restart",
            ),
            (
                |value| value["services"]["volume"]["process"] = json!(["loud"]),
                "services.volume is another program now; it is started so when the one of before ends",
            ),
            (
                |value| drop(value["ports"].as_object_mut().unwrap().remove("wsgi")),
                "ports.wsgi is gone; the gateway goes on where it is until a restart",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(changed(change), [expected]);
        }
    }

    #[test]
    fn what_goes_on_goes_on_with_what_it_had() {
        let old = settings(|_| {});
        let new = settings(|value| {
            value["services"] = json!({
                "queue": {"kind": "queue", "modules": {"b": {"process": ["b"]}}},
                "pool": {"kind": "queue"},
            });
        });
        let kept = kept(&old, &new);
        assert!(kept.services["queue"].lists().unwrap().modules.contains_key("b"));
        assert_eq!((&kept.services["pool"], &kept.services["volume"]), (&old.services["pool"], &old.services["volume"]));
    }
}
