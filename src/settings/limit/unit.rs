//! Quantities as systemd writes them: `512M`, `50%`, `5min 20s`.

use std::time::Duration;

use super::Permyriad;

/// What systemd calls no limit.
pub(super) const INFINITY_WORD: &str = "infinity";

/// The units of systemd.time(7) in microseconds, each with all its names. A month is 30.44 days, a year 365.25.
const TIME_UNITS: &[(&[&str], u64)] = &[
    (&["us", "usec", "µs", "μs"], 1),
    (&["ms", "msec"], 1_000),
    (&["s", "sec", "second", "seconds"], 1_000_000),
    (&["m", "min", "minute", "minutes"], 60 * 1_000_000),
    (&["h", "hr", "hour", "hours"], 3_600 * 1_000_000),
    (&["d", "day", "days"], 86_400 * 1_000_000),
    (&["w", "week", "weeks"], 7 * 86_400 * 1_000_000),
    (&["M", "month", "months"], 2_629_800 * 1_000_000),
    (&["y", "year", "years"], 31_557_600 * 1_000_000),
];

/// Digits with an optional fraction, `1` or `1.5`, times `unit`; rounded down. `None` also where it does not fit.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut total = digits(whole)?.checked_mul(unit)?;
    if let Some(fraction) = fraction {
        if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Digit by digit: a long fraction cannot overflow, and what lies under the unit is dropped.
        let mut place = u128::from(unit);
        let mut scale: u128 = 1;
        let mut sum: u128 = 0;
        for digit in fraction.bytes().take(18) {
            scale *= 10;
            sum = sum * 10 + u128::from(digit - b'0');
        }
        place *= sum;
        total = total.checked_add(u64::try_from(place / scale).ok()?)?;
    }
    Some(total)
}

/// Decimal digits and nothing else.
pub(super) fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Bytes: `1048576`, `512M`, `1.5G`; the suffixes count by 1024.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (end, letter @ ('B' | 'K' | 'M' | 'G' | 'T' | 'P' | 'E')) => (&text[..end], "BKMGTPE".find(letter)?),
        _ => (text, 0),
    };
    times(number, 1 << (10 * unit))
}

/// A share: `50%`, `12.25%`.
pub(super) fn share(text: &str) -> Option<Permyriad> {
    let number = text.strip_suffix('%')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let hundredths = digits(fraction).filter(|_| fraction.len() <= 2)? * if fraction.len() == 1 { 10 } else { 1 };
    let permyriad = digits(whole)?.checked_mul(100)?.checked_add(hundredths)?;
    u32::try_from(permyriad).ok().map(Permyriad)
}

/// A time span: `90`, `1.5h`, `5min 20s`; a number without a unit counts `bare` microseconds each.
pub(super) fn time(text: &str, bare: u64) -> Option<Duration> {
    let mut rest = text.trim_matches(' ');
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let after = after.trim_start_matches(' ');
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let unit = if name.is_empty() {
            bare
        } else {
            TIME_UNITS.iter().find(|(names, _)| names.contains(&name)).map(|(_, unit)| *unit)?
        };
        total = total.checked_add(times(number, unit)?)?;
        rest = after.trim_start_matches(' ');
    }
    Some(Duration::from_micros(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", 0),
            ("1048576", 1_048_576),
            ("1B", 1),
            ("512M", 512 << 20),
            ("1.5G", 3 << 29),
            ("0.0009765625K", 1),
            ("1.99999999999999999999999999999999999999B", 1),
            ("15E", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in
            ["", "M", "-1", "+1", "1 M", "1MB", "1m", "1.", ".5", "1.5.5", "1e3", "16E", "18446744073709551616", "é", "1é"]
        {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn shares() {
        for (text, expected) in [("50%", 5000), ("0%", 0), ("12.5%", 1250), ("12.25%", 1225), ("0.05%", 5), ("400%", 40_000)] {
            assert_eq!(share(text), Some(Permyriad(expected)), "{text}");
        }
        for text in ["", "%", "50", "-5%", "5.%", ".5%", "5.123%", "5 %", "99999999999999999999%", "999999999999%", "5.-1%"] {
            assert_eq!(share(text), None, "{text}");
        }
    }

    #[test]
    fn time_spans() {
        let second = 1_000_000;
        for (text, expected) in [
            ("90", 90 * second),
            ("1.5", 1_500_000),
            ("5min 20s", 320 * second),
            ("5min20s", 320 * second),
            (" 1 h ", 3600 * second),
            ("100ms", 100_000),
            ("2 weeks 1d", 15 * 86_400 * second),
            ("1M", 2_629_800 * second),
            ("1y", 31_557_600 * second),
            ("7µs", 7),
            ("1 1", 2 * second),
        ] {
            assert_eq!(time(text, second), Some(Duration::from_micros(expected)), "{text}");
        }
        assert_eq!(time("90", 1), Some(Duration::from_micros(90)));
        for text in ["", " ", "s", "-1", "5 parsecs", "1.", "1..5s", "min 5", "99999999999999y", "5\tmin"] {
            assert_eq!(time(text, second), None, "{text}");
        }
    }
}
