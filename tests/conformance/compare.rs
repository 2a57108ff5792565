//! Comparing what came with what was recorded: as JSON values, with `$U1`, `$U2` … for identifiers.

use std::collections::HashMap;

use serde_json::Value;

/// Which identifier a placeholder stands for.
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    uids: HashMap<String, String>,
}

/// How strictly to compare.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// `*` in an expected text stands for any text.
    pub globs: bool,
    /// The order of a list of modules says nothing.
    pub any_order: bool,
}

impl Bindings {
    /// Whether the line `got` is the line `expected`; binds placeholders that are met for the first time if it is.
    pub fn agree(&mut self, expected: &str, got: &str, manner: Manner) -> bool {
        match (value(expected), value(got)) {
            (Some(expected), Some(got)) => self.agree_values(&expected, &got, manner),
            (None, None) => text_agrees(expected, got, manner),
            _ => false,
        }
    }

    /// The same of values.
    pub fn agree_values(&mut self, expected: &Value, got: &Value, manner: Manner) -> bool {
        let mut trial = self.clone();
        let agree = trial.walk(expected, got, manner);
        if agree {
            *self = trial;
        }
        agree
    }

    fn walk(&mut self, expected: &Value, got: &Value, manner: Manner) -> bool {
        match (expected, got) {
            (Value::String(expected), Value::String(got)) => {
                if is_placeholder(expected) {
                    self.bind(expected, got)
                } else {
                    text_agrees(expected, got, manner)
                }
            }
            (Value::Array(expected), Value::Array(got)) => {
                if expected.len() != got.len() {
                    return false;
                }
                if manner.any_order && expected.len() > 1 && expected.iter().all(|entry| entry.get("uid").is_some()) {
                    return self.walk_in_any_order(expected, got, manner);
                }
                expected.iter().zip(got).all(|(expected, got)| self.walk(expected, got, manner))
            }
            (Value::Object(expected), Value::Object(got)) => {
                expected.len() == got.len()
                    && expected.iter().all(|(key, expected)| got.get(key).is_some_and(|got| self.walk(expected, got, manner)))
            }
            (expected, got) => expected == got,
        }
    }

    fn walk_in_any_order(&mut self, expected: &[Value], got: &[Value], manner: Manner) -> bool {
        let mut left: Vec<&Value> = got.iter().collect();
        expected.iter().all(|expected| match left.iter().position(|got| self.clone().walk(expected, got, manner)) {
            Some(at) => self.walk(expected, left.remove(at), manner),
            None => false,
        })
    }

    fn bind(&mut self, placeholder: &str, got: &str) -> bool {
        if let Some(bound) = self.uids.get(placeholder) {
            return bound == got;
        }
        let new = is_uid(got) && !self.uids.values().any(|bound| bound == got);
        if new {
            self.uids.insert(placeholder.to_owned(), got.to_owned());
        }
        new
    }

    /// `line` with every placeholder replaced by what it stands for.
    ///
    /// # Errors
    /// Where a placeholder stands for nothing yet.
    pub fn fill_in(&self, line: &[u8]) -> Result<Vec<u8>, String> {
        if memchr::memmem::find(line, b"$U").is_none() {
            return Ok(line.to_vec());
        }
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let mut parts = text.split("$U");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let placeholder = format!("$U{}", &part[..digits]);
            filled += self.uids.get(&placeholder).ok_or_else(|| format!("{placeholder} was not given out"))?;
            filled += &part[digits..];
        }
        Ok(filled.into_bytes())
    }

    /// `line` with every identifier replaced by its placeholder, for people.
    pub fn shown(&self, line: &str) -> String {
        self.uids.iter().fold(line.to_owned(), |line, (placeholder, uid)| line.replace(uid, placeholder))
    }
}

/// The JSON value of a line, in which Python's `NaN` is read as null.
fn value(line: &str) -> Option<Value> {
    serde_json::from_str(line).or_else(|_| serde_json::from_str(&line.replace("NaN", "null"))).ok()
}

fn is_placeholder(text: &str) -> bool {
    text.strip_prefix("$U").is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A version 4 UUID as the original wrote it.
fn is_uid(text: &str) -> bool {
    text.parse::<shmooze::protocol::Uid>().is_ok() && text.as_bytes()[14] == b'4'
}

/// Whether `got` is the text `expected`.
pub fn text_agrees(expected: &str, got: &str, manner: Manner) -> bool {
    if !manner.globs || !expected.contains('*') {
        return expected == got;
    }
    let mut parts = expected.split('*');
    let Some(mut rest) = got.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}
