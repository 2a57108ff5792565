//! What changed limits of a type mean for its modules that live.

use crate::settings::{Limit, ModuleType};

/// What is to be done about the limits of a module that lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Change {
    /// Whether limits that can be set while it lives are others now, or are none any more.
    pub(super) is_set: bool,
    /// The names of those which it keeps until it ends, in the order of the alphabet.
    pub(super) kept: Vec<String>,
}

impl Change {
    /// From the limits of `before` to those of `now`; a module whose type is gone keeps what it has.
    pub(super) fn of(before: Option<&ModuleType>, now: Option<&ModuleType>) -> Self {
        let Some(now) = now else { return Self::default() };
        let now = &now.process.limits;
        let none = Default::default();
        let before = before.map_or(&none, |before| &before.process.limits);
        let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
        let mut change = Self::default();
        for name in names.filter(|name| before.get(*name) != now.get(*name)) {
            if before.get(name).or_else(|| now.get(name)).is_some_and(Limit::can_be_changed) {
                change.is_set = true;
            } else {
                change.kept.push(name.clone());
            }
        }
        change.kept.sort_unstable();
        change
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::settings::{Service, Settings};

    fn of_type(limits: &Value) -> ModuleType {
        let text = json!({"ports": {"pool": 1}, "services": {"pool": {"kind": "pool", "modules": {"x": {"process": ["x"], "limits": limits}}}}});
        let settings = Settings::parse(&text.to_string(), "/x.json".as_ref()).unwrap();
        let Service::Pool(lists) = &settings.services["pool"] else { panic!("no pool") };
        ModuleType::clone(&lists.modules["x"])
    }

    #[test]
    fn what_can_be_set_and_what_is_kept() {
        let all =
            json!({"MemoryMax": "1G", "CPUQuota": "50%", "RuntimeMaxSec": 5, "OOMPolicy": "stop", "Nice": 5, "LimitCORE": 0});
        for (now, is_set, kept) in [
            (all.clone(), false, vec![]),
            (
                json!({"MemoryMax": "2G", "CPUQuota": "50%", "RuntimeMaxSec": 5, "OOMPolicy": "stop", "Nice": 5, "LimitCORE": 0}),
                true,
                vec![],
            ),
            (json!({"RuntimeMaxSec": 5, "OOMPolicy": "stop", "Nice": 5, "LimitCORE": 0}), true, vec![]),
            (
                json!({"MemoryMax": "1G", "CPUQuota": "50%", "RuntimeMaxSec": 6, "Nice": 5}),
                false,
                vec!["LimitCORE", "OOMPolicy", "RuntimeMaxSec"],
            ),
            (json!({}), true, vec!["LimitCORE", "Nice", "OOMPolicy", "RuntimeMaxSec"]),
        ] {
            let kept = kept.into_iter().map(str::to_owned).collect();
            assert_eq!(Change::of(Some(&of_type(&all)), Some(&of_type(&now))), Change { is_set, kept }, "{now}");
        }
    }

    #[test]
    fn types_that_come_and_go() {
        let some = of_type(&json!({"MemoryMax": "1G"}));
        assert_eq!(Change::of(Some(&some), None), Change::default());
        assert_eq!(Change::of(None, Some(&some)), Change { is_set: true, kept: vec![] });
        assert_eq!(Change::of(None, Some(&of_type(&json!({})))), Change::default());
    }
}
