//! The parameters that a module has announced.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::protocol::{Object, Raw, parse_object, write_object};

/// Names and values may take this many bytes for each module; what would exceed it is refused.
const MOST_BYTES: usize = 16 * 1024 * 1024;

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

#[derive(Debug, Default)]
struct Inner {
    values: IndexMap<Box<str>, Raw>,
    bytes: usize,
    /// They are those of a process before: what the module announces takes their place.
    of_before: bool,
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
        let mut inner = Inner::default();
        for (name, value) in values {
            inner.bytes += name.len() + value.get().len();
            inner.values.insert(name.into(), value);
        }
        Self { inner: Mutex::new(inner), watcher: Watcher::default() }
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
        let names: Vec<Box<str>> = self.with(|inner| inner.values.keys().cloned().collect());
        let mut out = Vec::new();
        self.write(names.iter().map(AsRef::as_ref), &mut out);
        out
    }

    /// Merges `new` into what is there; answers whether anything changed.
    ///
    /// # Errors
    /// A sentence that says so; what came before the value that exceeds is merged.
    pub fn set(&self, new: &Object<'_>) -> Result<bool, TooLarge> {
        let set = self.with(|inner| {
            let mut changed = std::mem::take(&mut inner.of_before);
            if changed {
                *inner = Inner::default();
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
        Ok(true)
    }

    fn unset(&mut self, name: &str) -> bool {
        let Some(old) = self.values.shift_remove(name) else { return false };
        self.bytes -= name.len() + old.get().len();
        true
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
