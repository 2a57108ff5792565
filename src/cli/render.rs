//! Answers as people read them.

use serde_json::value::RawValue;

/// The shortest abbreviation of a uid that is printed, in characters.
pub(super) const SHORT: usize = 8;

/// How long uids are to be printed, in characters, so that no two of `uids` look the same.
pub(super) fn short_length(uids: &[&str]) -> usize {
    let longest = uids.iter().map(|uid| uid.chars().count()).max().unwrap_or(SHORT);
    (SHORT..longest)
        .find(|length| {
            let mut short: Vec<&str> = uids.iter().map(|uid| prefix(uid, *length)).collect();
            short.sort_unstable();
            short.windows(2).all(|pair| pair[0] != pair[1])
        })
        .unwrap_or(longest)
}

/// The first `length` characters of `text`.
pub(super) fn prefix(text: &str, length: usize) -> &str {
    text.char_indices().nth(length).map_or(text, |(end, _)| &text[..end])
}

/// Columns under their headings, two spaces between them.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in std::iter::once(&headings.map(str::to_owned)).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A JSON value in the form in which it can be typed as a value: text bare, unless it would be read as something else,
/// and anything else as JSON.
pub(super) fn value(value: &RawValue) -> String {
    let bare = serde_json::from_str::<String>(value.get()).ok().filter(|text| {
        let typed_back = serde_json::from_str::<&RawValue>(text).is_err();
        typed_back && !text.is_empty() && !text.contains([' ', '"', '\'']) && !text.contains(char::is_control)
    });
    bare.unwrap_or_else(|| printable(value.get()))
}

/// A result for people: text as it is, nothing for null, anything else as JSON; each ends its line.
pub(super) fn result(value: &RawValue) -> String {
    match serde_json::from_str::<Option<String>>(value.get()) {
        Ok(None) => String::new(),
        Ok(Some(text)) => format!("{}\n", printable(&text)),
        Err(_) => format!("{}\n", printable(value.get())),
    }
}

/// `text` without what could drive the terminal: control characters but newline and tab are escaped.
pub(super) fn printable(text: &str) -> String {
    escape(text, |c| c.is_control() && c != '\n' && c != '\t')
}

/// `text` on one line, for standard error.
pub(super) fn one_line(text: &str) -> String {
    escape(text, char::is_control)
}

fn escape(text: &str, bad: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if bad(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn columns() {
        let rows = [["1".into(), "é".into(), String::new()], ["10".into(), "longer".into(), "x y".into()]];
        assert_eq!(table(["#", "TYPE", "MORE"], &rows), "#   TYPE    MORE\n1   é\n10  longer  x y\n");
        assert_eq!(table(["#", "TYPE"], &[]), "#  TYPE\n");
    }

    #[test]
    fn uids_are_as_long_as_they_must_be() {
        assert_eq!(short_length(&[]), 8);
        assert_eq!(short_length(&["0123456789", "1123456789"]), 8);
        assert_eq!(short_length(&["01234567890", "01234567891"]), 11);
        assert_eq!(short_length(&["0123456789", "0123456780", "x"]), 10);
        assert_eq!(short_length(&["same", "same"]), 4);
        assert_eq!((prefix("é234", 2), prefix("x", 8)), ("é2", "x"));
    }

    #[test]
    fn values_can_be_typed_back() {
        for (json, shown) in [
            ("\"playing\"", "playing"),
            ("5.0", "5.0"),
            ("\"5\"", "\"5\""),
            ("\"a b\"", "\"a b\""),
            ("\"\"", "\"\""),
            ("\"null\"", "\"null\""),
            ("{\"a\": [1]}", "{\"a\": [1]}"),
            ("\"a\\nb\"", "\"a\\nb\""),
        ] {
            assert_eq!(value(&raw(json)), shown);
        }
    }

    #[test]
    fn results() {
        assert_eq!(result(&raw("null")), "");
        assert_eq!(result(&raw("\"two\\nlines\"")), "two\nlines\n");
        assert_eq!(result(&raw("[1, \"x\"]")), "[1, \"x\"]\n");
        assert_eq!(result(&raw("\"\\u001b[2J\\u009b1m\"")), "\\u{1b}[2J\\u{9b}1m\n");
        assert_eq!(one_line("a\nb\u{7}"), "a\\nb\\u{7}");
    }
}
