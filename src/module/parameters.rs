//! The parameters that a module has announced.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use indexmap::{IndexMap, IndexSet};
use serde_json::value::RawValue;

use crate::protocol::{Object, Raw, parse_object, raw_text, write_object};

/// Names and values may take this many bytes for each module; what would exceed it is refused.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// How often the module was started again, with the time that it waits for: no name that a module is likely to use.
const RESTARTS: &str = "shmooze_restarts";

/// When one that waits is started again, in seconds since 1970.
const RESTART_AT: &str = "shmooze_restart_at";

/// Names that are kept of what has changed since it was looked at last; of a module that changes more, nothing but that is known.
const MOST_NAMES: usize = 1024;

/// Cached parameters of one module. The module's task writes, everybody reads without waiting for it.
#[derive(Debug, Default)]
pub struct Parameters {
    inner: Mutex<Inner>,
    watcher: Watcher,
}

/// Whom changes are told.
#[derive(Default)]
struct Watcher(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Watcher" } else { "None" })
    }
}

#[derive(Debug)]
struct Inner {
    values: IndexMap<Box<str>, Raw>,
    bytes: usize,
    /// What has changed since it was taken last; `None` where that is too much.
    changed: Option<IndexSet<Box<str>>>,
    /// That something has changed was told since then.
    is_told: bool,
    /// They are those of a process before: what the module announces takes their place.
    of_before: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Self { values: IndexMap::new(), bytes: 0, changed: Some(IndexSet::new()), is_told: false, of_before: false }
    }
}

/// What has changed of a module's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Nothing that is not known.
    Nothing,
    /// These: the values that they have now, as the text of an object, and the names of those that are gone.
    Some(Vec<u8>, Vec<Box<str>>),
    /// More than was kept.
    TooMuch,
}

/// A module announced more than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("set_parameters: argument \"parameters\" makes the module's parameters larger than {MOST_BYTES} bytes.")]
pub struct TooLarge;

impl Parameters {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those that were kept.
    pub(super) fn restore(values: impl IntoIterator<Item = (String, Raw)>) -> Self {
        Self { inner: Mutex::new(Inner::of(values)), watcher: Watcher::default() }
    }

    /// Those that a module begins with that was started again `restarts` times.
    pub(super) fn begin(restarts: u32, values: impl IntoIterator<Item = (String, Raw)>) -> Self {
        Self::restore(Self::of_restarts(restarts, None).into_iter().chain(values))
    }

    /// What clients are told of a module that was started again `restarts` times; none of one that never was. `at` is when one
    /// that waits is, in ms since 1970.
    pub(super) fn of_restarts(restarts: u32, at: Option<u64>) -> Vec<(String, Raw)> {
        let number = |number: serde_json::Number| raw_text(number.to_string().into_bytes());
        let count = (restarts > 0).then(|| number(restarts.into())).flatten().map(|count| (RESTARTS.to_owned(), count));
        let at =
            at.and_then(|at| number(serde_json::Number::from_f64(at as f64 / 1000.0)?)).map(|at| (RESTART_AT.to_owned(), at));
        count.into_iter().chain(at).collect()
    }

    /// The module has ended and waits: what it had announced is not so any more.
    pub(crate) fn wait(&self, restarts: u32, at: u64) {
        self.with(|inner| *inner = Inner::of(Self::of_restarts(restarts, Some(at))));
    }

    /// Those of a process before, as the text of an object, until the module announces its own.
    pub(super) fn of_before(text: &str) -> Self {
        let value: Option<Raw> = serde_json::from_str(text).ok();
        let object = value.as_deref().and_then(parse_object).unwrap_or_default();
        let parameters = Self::restore(object.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        parameters.with(|inner| inner.of_before = true);
        parameters
    }

    /// From now on `watcher` is called after each change; the first that is given stays.
    pub(crate) fn watch(&self, watcher: impl Fn() + Send + Sync + 'static) {
        let _ = self.watcher.0.set(Box::new(watcher));
    }

    fn changed(&self) {
        if let Some(watcher) = self.watcher.0.get() {
            watcher();
        }
    }

    /// All of them, as the text of an object.
    pub(crate) fn all(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_all(&mut out);
        out
    }

    /// Appends all of them, as the text of an object.
    pub(crate) fn write_all(&self, out: &mut Vec<u8>) {
        self.with(|inner| write_object(inner.values.iter().map(|(name, value)| (&**name, &**value)), out));
    }

    /// Whether something has changed of which nobody was told since [`Parameters::take_changed`]; true once.
    pub(super) fn is_news(&self) -> bool {
        self.with(|inner| {
            let has_changed = inner.changed.as_ref().is_none_or(|names| !names.is_empty());
            has_changed && !std::mem::replace(&mut inner.is_told, true)
        })
    }

    /// What has changed since this was asked last.
    pub(crate) fn take_changed(&self) -> Changed {
        self.with(|inner| {
            inner.is_told = false;
            match inner.changed.replace(IndexSet::new()) {
                None => Changed::TooMuch,
                Some(names) if names.is_empty() => Changed::Nothing,
                Some(names) => {
                    let mut set = Vec::new();
                    let there = names.iter().filter_map(|name| inner.values.get_key_value(name));
                    write_object(there.map(|(name, value)| (&**name, &**value)), &mut set);
                    Changed::Some(set, names.into_iter().filter(|name| !inner.values.contains_key(name)).collect())
                }
            }
        })
    }

    /// Merges `new` into what is there; answers whether anything changed.
    ///
    /// # Errors
    /// A sentence that says so; what came before the value that exceeds is merged.
    pub fn set(&self, new: &Object<'_>) -> Result<bool, TooLarge> {
        let set = self.with(|inner| {
            let mut changed = std::mem::take(&mut inner.of_before);
            if changed {
                for name in inner.values.keys().cloned().collect::<Vec<_>>() {
                    inner.unset(&name);
                }
            }
            for (name, value) in new.iter() {
                changed |= inner.set(name, value)?;
            }
            Ok(changed)
        });
        // Of what was refused a part may have been taken.
        if set != Ok(false) {
            self.changed();
        }
        set
    }

    /// Removes the parameters of these names; answers whether any was there.
    pub fn unset<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        let unset = self.with(|inner| names.filter(|name| inner.unset(name)).count() > 0);
        if unset {
            self.changed();
        }
        unset
    }

    /// Appends an object of those of `names` that are there.
    pub fn write<'a>(&self, names: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
        self.with(|inner| {
            let there = names.filter_map(|name| inner.values.get_key_value(name));
            write_object(there.map(|(name, value)| (&**name, &**value)), out);
        });
    }

    /// One value as JSON text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Raw> {
        self.with(|inner| inner.values.get(name).cloned())
    }
}

impl Inner {
    fn of(values: impl IntoIterator<Item = (String, Raw)>) -> Self {
        let mut inner = Self::default();
        for (name, value) in values {
            let old = inner.values.get(&*name).map(|old| name.len() + old.get().len()).unwrap_or_default();
            inner.bytes = inner.bytes + name.len() + value.get().len() - old;
            inner.values.insert(name.into(), value);
        }
        inner
    }

    fn set(&mut self, name: &str, value: &RawValue) -> Result<bool, TooLarge> {
        let size = value.get().len();
        if let Some(old) = self.values.get_mut(name) {
            if old.get() == value.get() {
                return Ok(false);
            }
            let bytes = self.bytes - old.get().len() + size;
            if bytes > MOST_BYTES {
                return Err(TooLarge);
            }
            self.bytes = bytes;
            *old = value.to_owned();
        } else {
            let bytes = self.bytes + name.len() + size;
            if bytes > MOST_BYTES {
                return Err(TooLarge);
            }
            self.bytes = bytes;
            self.values.insert(name.into(), value.to_owned());
        }
        self.note(name);
        Ok(true)
    }

    fn unset(&mut self, name: &str) -> bool {
        let Some(old) = self.values.shift_remove(name) else { return false };
        self.bytes -= name.len() + old.get().len();
        self.note(name);
        true
    }

    fn note(&mut self, name: &str) {
        let Some(names) = &mut self.changed else { return };
        if !names.contains(name) {
            names.insert(name.into());
        }
        if names.len() > MOST_NAMES {
            self.changed = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(parameters: &Parameters, text: &str) -> Result<bool, TooLarge> {
        parameters.set(&serde_json::from_str(text).unwrap())
    }

    fn show(parameters: &Parameters, names: &[&str]) -> String {
        let mut out = Vec::new();
        parameters.write(names.iter().copied(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn merge_and_remove() {
        let parameters = Parameters::default();
        assert_eq!(set(&parameters, r#"{"a":1,"b":[1, {"c":null}]}"#), Ok(true));
        assert_eq!(set(&parameters, r#"{"a":1}"#), Ok(false));
        assert_eq!(set(&parameters, r#"{"a":null,"é":"☃","a":2}"#), Ok(true));
        assert_eq!(show(&parameters, &["é", "nope", "a", "b"]), r#"{"é": "☃", "a": 2, "b": [1, {"c":null}]}"#);
        assert!(parameters.unset(["nope", "a"].into_iter()));
        assert!(!parameters.unset(["a"].into_iter()));
        assert_eq!(show(&parameters, &["a"]), "{}");
        assert_eq!(parameters.get("b").unwrap().get(), r#"[1, {"c":null}]"#);
    }

    #[test]
    fn what_has_changed_is_told_once() {
        let parameters = Parameters::default();
        assert!(!parameters.is_news());
        assert_eq!(parameters.take_changed(), Changed::Nothing);
        set(&parameters, r#"{"a": 1, "b": 2, "a": 3}"#).unwrap();
        parameters.unset(["b", "nope"].into_iter());
        assert_eq!([parameters.is_news(), parameters.is_news()], [true, false]);
        assert_eq!(parameters.take_changed(), Changed::Some(br#"{"a": 3}"#.to_vec(), vec!["b".into()]));
        set(&parameters, r#"{"a": 3}"#).unwrap();
        assert!(!parameters.is_news(), "it is what it was");
        for number in 0..=MOST_NAMES {
            set(&parameters, &format!(r#"{{"x{number}": 0}}"#)).unwrap();
            parameters.unset([format!("x{number}").as_str()].into_iter());
        }
        assert!(parameters.is_news());
        assert_eq!(parameters.take_changed(), Changed::TooMuch);
        assert_eq!(parameters.take_changed(), Changed::Nothing);
    }

    #[test]
    fn memory_is_bounded() {
        let parameters = Parameters::default();
        let big = format!("\"{}\"", "x".repeat(MOST_BYTES - 10));
        assert_eq!(set(&parameters, &format!("{{\"a\":{big}}}")), Ok(true));
        assert_eq!(set(&parameters, r#"{"b":"0123456789"}"#), Err(TooLarge));
        assert_eq!(set(&parameters, r#"{"a":1,"b":"0123456789"}"#), Ok(true));
        assert!(parameters.unset(["a", "b"].into_iter()));
        assert_eq!(parameters.with(|inner| inner.bytes), 0);
    }
}
