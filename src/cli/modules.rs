//! The modules that a service lists, and finding one by the first digits of its uid.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::CliError;
use super::connect::Services;
use crate::protocol::{Object, Response};

/// A module as `queue`, `pool` and `bg` show it.
#[derive(Debug, Deserialize)]
pub(super) struct Module<'a> {
    #[serde(borrow)]
    pub(super) uid: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub(super) type_name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) parameters: Object<'a>,
    /// Of one that is down, `restarting`.
    #[serde(borrow, default)]
    pub(super) state: Option<Cow<'a, str>>,
}

/// A module that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) uid: String,
    type_name: String,
    /// It is the background of a queue, not one of its list.
    pub(super) is_background: bool,
}

/// The list that `result` is; `None` where it is none.
pub(super) fn list(result: &RawValue) -> Option<Vec<Module<'_>>> {
    serde_json::from_str(result.get()).ok()
}

/// The one module that `result` is, or none where it is null; `None` where it is neither.
pub(super) fn one(result: &RawValue) -> Option<Option<Module<'_>>> {
    serde_json::from_str(result.get()).ok()
}

/// Finds each of `given`, a uid or its first digits, among the modules of `service`, the background included.
///
/// # Errors
/// [`CliError::Refused`] where there is no such module, [`CliError::Usage`] where there are several, or whatever kept
/// the service from answering.
pub(super) async fn find(services: &Services, service: &str, given: &[String]) -> Result<Vec<Found>, CliError> {
    // One line that queues and pools understand: each refuses the words of the other.
    let [queue, pool, background] = services.ask_all(service, ["queue", "pool", "bg"]).await?;
    let listed = match (queue, pool) {
        (Response::Failure(_), Response::Failure(_)) => {
            return Err(CliError::Refused(format!("Service {service} is no queue and no pool.")));
        }
        (Response::Success(listed), _) | (_, Response::Success(listed)) => listed,
    };
    let background = match background {
        Response::Success(background) => background,
        Response::Failure(_) => None,
    };
    let senseless = || services.senseless(service);
    let listed = listed.as_deref().map_or(Some(Vec::new()), list).ok_or_else(senseless)?;
    let background = background.as_deref().map_or(Some(None), one).ok_or_else(senseless)?;
    let found = |module: Module<'_>, is_background| Found {
        uid: module.uid.into_owned(),
        type_name: module.type_name.into_owned(),
        is_background,
    };
    let listed = listed.into_iter().map(|module| found(module, false));
    let all: Vec<Found> = listed.chain(background.map(|module| found(module, true))).collect();
    given.iter().map(|given| pick(&all, given, service)).collect()
}

fn pick(all: &[Found], given: &str, service: &str) -> Result<Found, CliError> {
    if given.is_empty() {
        return Err(CliError::Usage("A uid cannot be empty.".to_owned()));
    }
    if let Some(exact) = all.iter().find(|found| found.uid == given) {
        return Ok(exact.clone());
    }
    let candidates: Vec<&Found> = all.iter().filter(|found| found.uid.starts_with(given)).collect();
    match candidates.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(CliError::Refused(format!("There is no module {given:?} in {service}."))),
        several => {
            let shown = several.iter().map(|found| format!("{} ({})", found.uid, found.type_name));
            let shown = shown.collect::<Vec<_>>().join(", ");
            Err(CliError::Usage(format!("Several modules in {service} start with {given:?}: {shown}.")))
        }
    }
}

/// The arguments of `rm` and `mv`.
#[derive(Debug, Serialize)]
pub(super) struct Uids {
    uids: Vec<String>,
}

impl Uids {
    /// The modules that were found.
    pub(super) fn of(found: Vec<Found>) -> Self {
        Self { uids: found.into_iter().map(|found| found.uid).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let found = |uid: &str| Found { uid: uid.to_owned(), type_name: "clock".to_owned(), is_background: false };
        let all = [found("ab1"), found("ab2"), found("c"), found("cd")];
        let pick = |given: &str| pick(&all, given, "queue").map_or_else(|error| error.to_string(), |found| found.uid);
        assert_eq!(pick("ab1"), "ab1");
        assert_eq!(pick("cd"), "cd");
        assert_eq!(pick("c"), "c", "a whole uid is itself even where another begins with it");
        assert_eq!(pick("ab"), "Several modules in queue start with \"ab\": ab1 (clock), ab2 (clock).");
        assert_eq!(pick("x"), "There is no module \"x\" in queue.");
        assert_eq!(pick(""), "A uid cannot be empty.");
    }

    #[test]
    fn what_is_a_list() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        assert!(list(&raw("[]")).is_some());
        assert!(list(&raw(r#"[{"uid": "a", "type": "b", "parameters": {"c": 1}, "since": 5}]"#)).is_some());
        assert!(list(&raw(r#"[{"uid": 5, "type": "b"}]"#)).is_none());
        assert!(list(&raw("{}")).is_none());
        assert!(matches!(one(&raw("null")), Some(None)));
        assert!(one(&raw("5")).is_none());
    }
}
