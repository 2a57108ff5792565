//! A module's arguments as people type them: `key=value`, or one JSON object for all.

use serde_json::value::RawValue;

use super::CliError;
use crate::protocol::{Raw, parse_object, raw_string, write_object};

/// The arguments for a module: each word `key=value`, the value being JSON where it reads as JSON, and text otherwise;
/// or one word `{…}`, a JSON object. `None` where there is no word.
///
/// Values go out as they were typed, so numbers keep all their digits.
///
/// # Errors
/// [`CliError::Usage`] naming the word that is neither, or the key that is given twice.
pub(super) fn read(words: &[String]) -> Result<Option<Raw>, CliError> {
    if let [word] = words
        && word.trim_start().starts_with('{')
    {
        return object(word).map(Some);
    }
    let mut members: Vec<(&str, Raw)> = Vec::with_capacity(words.len());
    for word in words {
        let Some((key, text)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(CliError::Usage(format!("Argument {word:?} is not of the form KEY=VALUE.")));
        };
        if members.iter().any(|(other, _)| *other == key) {
            return Err(CliError::Usage(format!("Argument {key:?} is given twice.")));
        }
        members.push((key, value(text)));
    }
    if members.is_empty() { Ok(None) } else { assemble(&members).map(Some) }
}

/// What `text` stands for: itself where it is JSON, else the string that it is.
fn value(text: &str) -> Raw {
    json(text).unwrap_or_else(|_| raw_string(text))
}

fn object(word: &str) -> Result<Raw, CliError> {
    let usage = |reason: String| CliError::Usage(format!("Arguments {word:?} are not a JSON object: {reason}."));
    let object = json(word).map_err(|error| usage(error.to_string()))?;
    let members = parse_object(&object).ok_or_else(|| usage("a key is no text".to_owned()))?;
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(CliError::Usage(format!("Argument {:?} is given twice.", pair[0]))),
        None => Ok(object),
    }
}

/// `text` as JSON on one line: what may stand between tokens may be a newline, which ends a request.
pub(super) fn json(text: &str) -> Result<Raw, serde_json::Error> {
    let parsed: &RawValue = serde_json::from_str(text)?;
    RawValue::from_string(parsed.get().replace(['\n', '\r'], " "))
}

fn assemble(members: &[(&str, Raw)]) -> Result<Raw, CliError> {
    let mut text = Vec::new();
    write_object(members.iter().map(|(key, value)| (*key, &**value)), &mut text);
    let unfit = |error: String| CliError::Usage(format!("Arguments cannot be written as JSON: {error}."));
    let text = String::from_utf8(text).map_err(|error| unfit(error.to_string()))?;
    RawValue::from_string(text).map_err(|error| unfit(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match read(&words) {
            Ok(raw) => raw.map_or_else(|| "nothing".to_owned(), |raw| raw.get().to_owned()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn values() {
        assert_eq!(shown(&[]), "nothing");
        assert_eq!(
            shown(&["a=5", "b=text", "c=", "d=\"5\"", "e=[1, {}]", "f=x=y", "g=null", "h=NaN", "i= 5 ", "j=1 2"]),
            r#"{"a": 5, "b": "text", "c": "", "d": "5", "e": [1, {}], "f": "x=y", "g": null, "h": "NaN", "i": 5, "j": "1 2"}"#
        );
        assert_eq!(shown(&["n=123456789012345678901234567890"]), r#"{"n": 123456789012345678901234567890}"#);
        assert_eq!(shown(&["a=\"x\ny"]), r#"{"a": "\"x\ny"}"#, "a text may hold a newline; it is escaped");
        assert_eq!(shown(&["a=[1,\n2]"]), r#"{"a": [1, 2]}"#);
    }

    #[test]
    fn one_object() {
        assert_eq!(shown(&["{}"]), "{}");
        assert_eq!(shown(&[" {\"a\":\r\n\"b=c\"}"]), "{\"a\":  \"b=c\"}");
        assert_eq!(
            shown(&["{\"a\":"]),
            "Arguments \"{\\\"a\\\":\" are not a JSON object: EOF while parsing a value at line 1 column 5."
        );
        assert_eq!(shown(&["{\"a\":1,\"\\u0061\":2}"]), "Argument \"a\" is given twice.");
    }

    #[test]
    fn words_at_fault() {
        assert_eq!(shown(&["a=1", "b=2", "a=3"]), "Argument \"a\" is given twice.");
        assert_eq!(shown(&["a"]), "Argument \"a\" is not of the form KEY=VALUE.");
        assert_eq!(shown(&["=5"]), "Argument \"=5\" is not of the form KEY=VALUE.");
        assert_eq!(shown(&["a=1", "{}"]), "Argument \"{}\" is not of the form KEY=VALUE.");
    }

    proptest! {
        /// Any text arrives as itself or as the JSON that it is, and always on one line.
        #[test]
        fn whatever_is_typed_is_one_line_of_json(text in ".{0,20}|[0-9\\[\\]{}\",: \n]{0,12}") {
            let raw = read(&[format!("k={text}")]).unwrap().unwrap();
            prop_assert!(!raw.get().contains('\n'));
            let sent: serde_json::Value = serde_json::from_str(raw.get()).unwrap();
            let meant = serde_json::from_str(&text).unwrap_or_else(|_| serde_json::Value::String(text.clone()));
            prop_assert_eq!(&sent["k"], &meant);
        }
    }
}
