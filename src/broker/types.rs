//! The answer to `types`: what a page has to know of each module type to draw forms and controls for it.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::protocol::Response;
use crate::settings::{Lists, ModuleType};

/// `{"modules": {NAME: {"title", "args", "commands"}}, "backgrounds": {…}}`, in the order of the settings. How a module is
/// started is nobody's business, and not among it.
pub(super) fn describe(types: &Lists) -> Response {
    Response::of(&json!({"modules": all(&types.modules), "backgrounds": all(&types.backgrounds)}))
}

fn all(types: &IndexMap<String, Arc<ModuleType>>) -> Map<String, Value> {
    types.iter().map(|(name, module_type)| (name.clone(), one(module_type))).collect()
}

fn one(module_type: &ModuleType) -> Value {
    json!({"title": module_type.title, "args": module_type.args, "commands": module_type.commands})
}
