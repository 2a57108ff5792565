//! The answer to `status`: what a service does, and what each of its modules uses.

use std::sync::Arc;

use serde_json::{Value, json};

use super::history::seconds;
use super::{Item, Kind, Snapshot, status};
use crate::module::Handle;
use crate::protocol::Response;
use crate::scope::Usage;

/// Reads what every module of the snapshot uses. Costs some file reads for each: not for a thread that others wait for.
pub(super) fn report(service: &str, kind: Kind, snapshot: &Snapshot, ending: &[Arc<Handle>]) -> Response {
    let list: Vec<Value> = snapshot.list().map(module).collect();
    let mut report = json!({
        "service": service,
        "kind": kind.name(),
        "revision": snapshot.revision(),
        "text": status::describe(kind, snapshot),
    });
    if kind == Kind::Queue {
        report["playing"] = json!(snapshot.playing(kind));
        report["background"] = json!(snapshot.background().map(module));
    }
    report[kind.name()] = Value::Array(list);
    report["ending"] = ending.iter().filter_map(|module| ends(module)).collect();
    Response::of(&report)
}

/// A module that ends, and the step in which it is.
fn ends(module: &Handle) -> Option<Value> {
    let (step, since) = module.ending()?;
    Some(json!({"uid": module.uid(), "type": module.type_name(), "step": step.name(), "since": seconds(since)}))
}

fn module(item: &Item) -> Value {
    let module: &Arc<Handle> = &item.module;
    // That of one that is down has ended.
    let process = module.process().filter(|_| !item.down);
    let usage = process.and_then(|process| match &process.cgroup {
        Some(cgroup) => Usage::of_cgroup(cgroup),
        None => Usage::of_process(process.pid),
    });
    json!({
        "uid": module.uid(),
        "type": module.type_name(),
        "state": item.state(),
        "since": seconds(item.since),
        "added": seconds(module.added()),
        "restarts": module.birth().restarts.count(),
        "pid": process.map(|process| process.pid),
        "scope": process.and_then(|process| process.scope()),
        "memory": usage.map(|usage| usage.memory),
        "cpu": usage.map(|usage| usage.cpu.as_secs_f64()),
        "tasks": usage.map(|usage| usage.tasks),
    })
}
