//! Text in unit files so that systemd takes it for exactly that text (`systemd.syntax(7)`, `systemd.service(5)`).

use std::fmt::Write as _;

/// What needs no quotes in a list of words.
const PLAIN: &[u8] = b"_./:=,+-";

/// One word of `Environment=`, or of `ExecStart=` whose program has the prefix `:` (which leaves `$` alone): specifiers,
/// quotes, backslashes, control characters and the empty word are what they are.
pub(super) fn word(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || PLAIN.contains(&byte)) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '%' => quoted.push_str("%%"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ if character.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A value that goes to the end of its line and knows no quotes; `None` where such a line cannot hold it.
pub(super) fn line(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.trim() == text && !text.ends_with('\\') && !text.contains(|c: char| c.is_ascii_control());
    fits.then(|| text.replace('%', "%%"))
}

/// The value of `User=` for a user of the settings, whom it takes by name or number; `None` for what systemd takes for no
/// name, so that it would not run the program (`valid_user_group_name` of systemd, in its relaxed mode).
pub(super) fn user(name: &str) -> Option<String> {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        // Not the two numbers that stand for none.
        let number: u32 = name.parse().ok()?;
        return (number != u32::MAX && number != u32::from(u16::MAX)).then(|| number.to_string());
    }
    let is_name = !name.contains(['/', ':'])
        && name != "."
        && name != ".."
        && !name.strip_prefix('-').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    if is_name { line(name) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, expected) in [
            ("/usr/bin/python3", "/usr/bin/python3"),
            ("--a=b,c:d+e", "--a=b,c:d+e"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("$HOME ${X}", "\"$HOME ${X}\""),
            ("100%n", "\"100%%n\""),
            (r#"a"b\c'd"#, r#""a\"b\\c'd""#),
            ("a\nb\tc\rd\u{7f}", r#""a\nb\tc\x0dd\x7f""#),
            (";", "\";\""),
            ("#é\u{2028}", "\"#é\u{2028}\""),
        ] {
            assert_eq!(word(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lines() {
        assert_eq!(line("/srv/a b'\"\\c%").as_deref(), Some("/srv/a b'\"\\c%%"));
        for text in ["", " /a", "/a ", "/a\\", "/a\nb", "/a\rb"] {
            assert_eq!(line(text), None, "{text:?}");
        }
    }

    #[test]
    fn users() {
        for (name, expected) in [
            ("bob", Some("bob")),
            ("EXAMPLE\\bob", Some("EXAMPLE\\bob")),
            ("b%b", Some("b%%b")),
            ("0", Some("0")),
            ("0042", Some("42")),
            ("4294967295", None),
            ("65535", None),
            ("99999999999", None),
            ("-5", None),
            ("a:b", None),
            ("a/b", None),
            ("..", None),
            ("a\nExecStartPre=/bin/false", None),
            (" bob", None),
        ] {
            assert_eq!(user(name).as_deref(), expected, "{name:?}");
        }
    }
}
