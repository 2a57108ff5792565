use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::access::{Guard, Tokens};
use crate::settings::Settings;

fn configuration(settings: &Value) -> Configuration {
    Configuration::from_settings(&Settings::parse(&settings.to_string(), Path::new("/settings.json")).unwrap())
}

fn example() -> Configuration {
    configuration(&json!({
        "ports": {"queue": 1, "pool": 2, "volume": 3, "a_b {}": 4, "wsgi": 5},
        "services": {
            "queue": {"kind": "queue", "modules": {
                "plain": {"process": ["/bin/plain"]},
                "rich": {"process": ["/bin/rich"], "title": "Rich", "args": {"speed": {"type": "number", "enum": [1, 2], "default": 1}}},
            }},
            "pool": {"kind": "pool", "modules": {"plain": {"process": ["/bin/plain"]}}},
        },
    }))
}

/// All that `value` refers to.
fn references(value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn whatever_is_referred_to_is_there() {
    let mut configuration = example();
    for tokens in [Tokens::default(), Tokens { others: Some(Arc::new(Guard::default())), ..Tokens::default() }] {
        configuration.tokens = Arc::new(tokens);
        for shows_types in [true, false] {
            let description = describe(&configuration, |_| shows_types);
            let mut found = HashSet::new();
            references(&description, &mut found);
            assert!(found.len() > 50, "{}", found.len());
            for reference in found {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(description.pointer(pointer).is_some(), "{reference}");
            }
        }
    }
}

#[test]
fn commands_are_those_of_the_kind() {
    let description = describe(&example(), |_| true);
    let commands = |service: &str| -> HashSet<String> {
        let mapping = &description["components"]["schemas"][format!("service.{service}.command")]["discriminator"]["mapping"];
        mapping.as_object().unwrap().keys().cloned().collect()
    };
    let names = |verbs: &mut dyn Iterator<Item = Verb>| verbs.map(|verb| verb.name().to_owned()).collect::<HashSet<_>>();
    // Without types of backgrounds there is none to be set.
    let of_queues = |verb: &Verb| verb.is_of_queues() && *verb != Verb::SetBackground;
    assert_eq!(commands("queue"), names(&mut Verb::ALL.into_iter().filter(of_queues)));
    assert_eq!(commands("pool"), names(&mut Verb::ALL.into_iter().filter(|verb| verb.is_of_pools())));
}

#[test]
fn arguments_of_modules_are_as_they_are_declared() {
    let schemas = |shows_types| describe(&example(), |_| shows_types)["components"]["schemas"].take();
    let add = &schemas(true)["service.queue.add"]["properties"]["args"]["oneOf"];
    assert_eq!(add[0]["properties"], json!({"type": {"const": "plain"}, "args": {"type": "object"}}));
    assert_eq!(add[1]["title"], "Rich");
    assert_eq!(add[1]["properties"]["args"]["properties"]["speed"], json!({"type": "number", "enum": [1, 2], "default": 1}));
    let hidden = schemas(false);
    assert!(hidden.get("service.queue.add").is_none());
    assert!(!hidden.to_string().contains("Rich"));
    assert_eq!(hidden["service.queue.command"]["discriminator"]["mapping"]["add"], "#/components/schemas/command.add");
}

#[test]
fn paths_are_below_the_prefix_and_hold_no_templates() {
    let names = |configuration: &Configuration| -> HashSet<String> {
        describe(configuration, |_| true)["paths"].as_object().unwrap().keys().cloned().collect()
    };
    let mut configuration = example();
    configuration.wsgi_prefix = "/{api}/".to_owned();
    assert!(names(&configuration).is_superset(&["/%7Bapi%7D/queue", "/%7Bapi%7D/a_b%20%7B%7D/events"].map(str::to_owned).into()));
    // A name with a slash leads nowhere; a service comes before what is ours.
    let odd = configuration_of(&["fake/x", "settings.json"]);
    let expected = ["/settings.json", "/settings.json/events", "/openapi.json", "/healthz", "/metrics"].map(str::to_owned);
    assert_eq!(names(&odd), expected.into());
    assert!(describe(&odd, |_| true)["paths"]["/settings.json"].get("get").is_none());
}

fn configuration_of(services: &[&str]) -> Configuration {
    let endpoint = |name: &&str| ((*name).to_owned(), crate::client::Endpoint::local(1));
    Configuration { services: services.iter().map(endpoint).collect(), ..Configuration::default() }
}

#[test]
fn names_of_schemas_are_told_apart() {
    for (name, schema) in [
        ("queue", "service.queue.add"),
        ("a_b", "service.a__b.add"),
        ("a b", "service.a_20b.add"),
        ("a.b", "service.a_2Eb.add"),
        ("é", "service._C3_A9.add"),
    ] {
        assert_eq!(of_service(name, "add"), schema);
    }
}
