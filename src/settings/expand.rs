//! `$VAR` and `${VAR}` in settings (protocol.md section 8).

/// `text` with every `$VAR` and `${VAR}` replaced by what `lookup` knows; an unset variable is left as it stands.
///
/// A name is what Python's `os.path.expandvars` takes for one: the longest run of ASCII letters, digits and `_` after
/// the `$`, or whatever stands between braces. What was put in is not expanded again.
#[must_use]
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        let (name, length) = variable(rest);
        match name.and_then(&lookup) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

/// The name of the variable that `text` starts with, and the bytes that it takes; `text` starts with `$`.
fn variable(text: &str) -> (Option<&str>, usize) {
    let after = &text[1..];
    if let Some(braced) = after.strip_prefix('{') {
        return match braced.find('}') {
            Some(end) => (Some(&braced[..end]), end + 3),
            None => (None, 1),
        };
    }
    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
    (Some(&after[..end]).filter(|name| !name.is_empty()), end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> String {
        expand(text, |name| match name {
            "HOME" => Some("/home/é".into()),
            "A_1" => Some("$HOME".into()),
            "EMPTY" => Some(String::new()),
            "a-b" => Some("braced".into()),
            _ => None,
        })
    }

    #[test]
    fn set_variables() {
        assert_eq!(expanded("$HOME/x"), "/home/é/x");
        assert_eq!(expanded("${HOME}x$HOME"), "/home/éx/home/é");
        assert_eq!(expanded("é$EMPTY-"), "é-");
        assert_eq!(expanded("${a-b}$A_1."), "braced$HOME.");
    }

    #[test]
    fn what_stays_as_it_stands() {
        for text in ["", "plain", "$", "a$", "$$", "$-", "${", "${HOME", "${}", "$UNSET/x", "${UNSET}", "$1", "$é", "$HOMES"] {
            assert_eq!(expanded(text), text);
        }
        assert_eq!(expanded("$UNSET$HOMEé$"), "$UNSET/home/éé$");
        assert_eq!(expanded("$${HOME}"), "$/home/é");
    }
}
