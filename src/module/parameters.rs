//! The parameters that a module has announced.

use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::protocol::{Object, Raw, raw_text, write_object};

/// Names and values may take this many bytes for each module; what would exceed it is refused.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// How often the module was started again, with the time that it waits for: no name that a module is likely to use.
const RESTARTS: &str = "shmooze_restarts";

/// When one that waits is started again, in seconds since 1970.
const RESTART_AT: &str = "shmooze_restart_at";

/// Cached parameters of one module. The module's task writes, everybody reads without waiting for it.
#[derive(Debug, Default)]
pub struct Parameters {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    values: IndexMap<Box<str>, Raw>,
    bytes: usize,
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
        Self { inner: Mutex::new(Inner::of(values)) }
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

    /// All of them, as the text of an object.
    pub(super) fn all(&self) -> Vec<u8> {
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
        self.with(|inner| {
            let mut changed = false;
            for (name, value) in new.iter() {
                changed |= inner.set(name, value)?;
            }
            Ok(changed)
        })
    }

    /// Removes the parameters of these names; answers whether any was there.
    pub fn unset<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        self.with(|inner| names.filter(|name| inner.unset(name)).count() > 0)
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
