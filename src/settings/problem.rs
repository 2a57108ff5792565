//! What is wrong with a settings file: one sentence for each problem, and all of them at once.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a JSON path such as `services.queue.modules.clock.timeouts.exit`; empty where it is the file as a whole.
    pub path: String,
    /// What, as one sentence on one line that starts with the file and names the path.
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Why settings were refused: everything that is wrong with them. Shows one sentence a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The problems; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// The place of a value inside the settings, written out only where a sentence names it: nearly all are read without one.
#[derive(Debug, Clone, Default)]
pub(super) struct JsonPath<'a>(Option<Rc<Step<'a>>>);

/// The last step to a place.
#[derive(Debug)]
enum Step<'a> {
    Key(JsonPath<'a>, &'a str),
    Index(JsonPath<'a>, usize),
}

impl<'a> JsonPath<'a> {
    /// The file as a whole.
    pub(super) const fn root() -> Self {
        Self(None)
    }

    /// The value of `key` here.
    pub(super) fn key(&self, key: &'a str) -> Self {
        Self(Some(Rc::new(Step::Key(self.clone(), key))))
    }

    /// The element number `index` here, counted from 0.
    pub(super) fn index(&self, index: usize) -> Self {
        Self(Some(Rc::new(Step::Index(self.clone(), index))))
    }
}

impl fmt::Display for JsonPath<'_> {
    /// A key that would not read well after a dot stands in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain =
            |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        match self.0.as_deref() {
            None => Ok(()),
            Some(Step::Key(above, key)) if !is_plain(key) => write!(f, "{above}[{}]", quoted(key)),
            Some(Step::Key(above, key)) if above.0.is_none() => f.write_str(key),
            Some(Step::Key(above, key)) => write!(f, "{above}.{key}"),
            Some(Step::Index(above, index)) => write!(f, "{above}[{index}]"),
        }
    }
}

/// `text` between quotation marks, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            // Besides control characters: what ends a line or turns its direction for a reader (U+2028 … U+202E).
            _ if character.is_control() || ('\u{2028}'..='\u{202e}').contains(&character) => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

/// Collects the problems of one file.
#[derive(Debug)]
pub(super) struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    /// No problem so far with `file`, which the sentences call as the caller calls it.
    pub(super) fn new(file: &Path) -> Self {
        let file = file.display().to_string().replace(char::is_control, "?");
        Self { file, list: Vec::new() }
    }

    /// Notes that the value `at` this place … `what`, which goes on the sentence and ends in no full stop.
    pub(super) fn add(&mut self, at: &JsonPath<'_>, what: impl fmt::Display) {
        let path = at.to_string();
        let subject = if path.is_empty() { "the whole file" } else { path.as_str() };
        let mut sentence = format!("{}: {subject} {what}", self.file);
        if !sentence.ends_with('?') {
            sentence.push('.');
        }
        self.list.push(Problem { path, sentence });
    }

    /// Notes something about the file that concerns no value in it.
    pub(super) fn add_to_file(&mut self, what: impl fmt::Display) {
        self.list.push(Problem { path: String::new(), sentence: format!("{}: {what}.", self.file) });
    }

    /// What was noted.
    pub(super) fn into_list(self) -> Vec<Problem> {
        self.list
    }

    /// `value`, or the error where anything was noted.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, SettingsError> {
        if self.list.is_empty() { Ok(value) } else { Err(SettingsError { problems: self.list }) }
    }

    /// The error. Call it only where something was noted.
    pub(super) fn into_error(self) -> SettingsError {
        SettingsError { problems: self.list }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let services = JsonPath::root().key("services");
        assert_eq!(services.to_string(), "services");
        assert_eq!(services.key("my-queue_2").key("process").index(0).to_string(), "services.my-queue_2.process[0]");
        assert_eq!(services.key("a b").key("").to_string(), "services[\"a b\"][\"\"]");
        assert_eq!(JsonPath::root().key("a\n\"\\\u{2028}é").to_string(), "[\"a\\u000a\\\"\\\\\\u2028é\"]");
    }

    #[test]
    fn one_sentence_a_line() {
        let mut problems = Problems::new(Path::new("a\nb.json"));
        problems.add(&JsonPath::root().key("name"), "must be a string, not 5");
        problems.add(&JsonPath::root(), "must be an object, not null");
        problems.add_to_file("cannot be read: Is a directory");
        let error = problems.into_error();
        assert_eq!(
            error.to_string(),
            "a?b.json: name must be a string, not 5.\n\
             a?b.json: the whole file must be an object, not null.\n\
             a?b.json: cannot be read: Is a directory."
        );
        assert_eq!(error.problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), ["name", "", ""]);
    }
}
