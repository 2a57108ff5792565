//! "Did you mean …?" for a mistyped key.

/// The one of `known` that `written` most likely stands for: at most a third of its letters differ, in any case of
/// letters.
pub(super) fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&written, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Optimal string alignment distance: the fewest letters to put in, take out, replace or swap with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // A key that is longer by more than any bound of `closest` need not be measured: its length is attacker's choice.
    if a.len() > 2 * b.len() + 2 {
        return a.len();
    }
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("acb", "abc", 1),
            ("ab", "abc", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn suggestions() {
        let known = ["MemoryMax", "MemoryHigh", "TasksMax", "user"];
        assert_eq!(closest("memorymax", known), Some("MemoryMax"));
        assert_eq!(closest("MemoryMx", known), Some("MemoryMax"));
        assert_eq!(closest("TaskMax", known), Some("TasksMax"));
        assert_eq!(closest("usre", known), Some("user"));
        assert_eq!(closest("CPUShares", known), None);
        assert_eq!(closest("", known), None);
        assert_eq!(closest(&"x".repeat(1 << 20), known), None);
    }
}
