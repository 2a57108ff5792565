//! Filling in the templates of `units/templates/`.

/// `template` with what stands between two `@` replaced by the value of that name; a line that consists of a name alone is
/// replaced by as many lines as the value has, none where it is empty. What was put in is not looked through again.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(2 * template.len());
    let value = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    for line in template.lines() {
        if let Some(value) = line.strip_prefix('@').and_then(|rest| rest.strip_suffix('@')).and_then(value) {
            for line in value.lines() {
                filled.push_str(line);
                filled.push('\n');
            }
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('@') {
            filled.push_str(before);
            match after.split_once('@').and_then(|(name, after)| Some((value(name)?, after))) {
                Some((value, after)) => {
                    filled.push_str(value);
                    rest = after;
                }
                None => {
                    filled.push('@');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        filled.push('\n');
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lines() {
        let values = [("A", "one @B@ two"), ("B", ""), ("LINES", "x=1\ny=@A@")];
        let filled = fill("a@A@b@B@c @X@ @ @A@\n@LINES@\n@B@\nend@", &values);
        assert_eq!(filled, "aone @B@ twobc @X@ @ one @B@ two\nx=1\ny=@A@\nend@\n");
    }
}
