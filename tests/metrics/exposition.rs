//! A reader of OpenMetrics text (openmetrics.io, version 1.0) that lets nothing pass which a strict one refuses.

use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// All samples by name and labels.
#[derive(Debug, Default)]
pub struct Exposition {
    samples: BTreeMap<(String, Labels), f64>,
}

struct Family {
    name: String,
    kind: String,
}

impl Family {
    /// Which samples it may have.
    fn has(&self, sample: &str) -> bool {
        let Some(suffix) = sample.strip_prefix(&self.name) else { return false };
        match self.kind.as_str() {
            "counter" => suffix == "_total",
            "gauge" => suffix.is_empty(),
            "info" => suffix == "_info",
            "histogram" => ["_bucket", "_count", "_sum"].contains(&suffix),
            other => panic!("type {other}"),
        }
    }
}

impl Exposition {
    pub fn read(text: &str) -> Self {
        let text = text.strip_suffix("# EOF\n").expect("ends with # EOF");
        let mut read = Self::default();
        let mut families: Vec<Family> = Vec::new();
        for line in text.split_terminator('\n') {
            let Some(meta) = line.strip_prefix("# ") else {
                read.sample(line, families.last().expect("a family before its samples"));
                continue;
            };
            let [keyword, name, rest] = meta.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            match keyword {
                "HELP" => {
                    assert!(families.iter().all(|family| family.name != name), "{name} is there twice");
                    assert!(rest.ends_with('.') && !rest.ends_with(".."), "{line}");
                    families.push(Family { name: name.to_owned(), kind: String::new() });
                }
                "TYPE" => {
                    let family = families.last_mut().filter(|family| family.name == name).expect(line);
                    assert_eq!(std::mem::replace(&mut family.kind, rest.to_owned()), "", "{line}");
                }
                "UNIT" => assert!(name.ends_with(&format!("_{rest}")) && families.last().unwrap().name == name, "{line}"),
                _ => panic!("{line}"),
            }
        }
        read.check_histograms(&families);
        read
    }

    fn sample(&mut self, line: &str, family: &Family) {
        let end = line.find(['{', ' ']).expect(line);
        let (name, rest) = line.split_at(end);
        assert!(family.has(name), "{line} in {}", family.name);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (Labels::new(), rest),
        };
        let value: f64 = value.strip_prefix(' ').expect(line).parse().expect(line);
        assert!(value >= 0.0, "{line}");
        assert!(self.samples.insert((name.to_owned(), labels), value).is_none(), "{line} is there twice");
    }

    /// Buckets grow, and the last holds all.
    fn check_histograms(&self, families: &[Family]) {
        for family in families.iter().filter(|family| family.kind == "histogram") {
            let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for ((_, labels), count) in self.of(&format!("{}_bucket", family.name)) {
                let mut labels = labels.clone();
                let bound = labels.remove("le").unwrap().parse().unwrap();
                series.entry(labels).or_default().push((bound, *count));
            }
            for (labels, mut buckets) in series {
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                assert!(buckets.is_sorted_by(|one, other| one.1 <= other.1), "{labels:?} {buckets:?}");
                let count = self.samples[&(format!("{}_count", family.name), labels.clone())];
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{labels:?}");
                assert!(self.samples.contains_key(&(format!("{}_sum", family.name), labels)));
            }
        }
    }

    pub fn of(&self, name: &str) -> impl Iterator<Item = (&(String, Labels), &f64)> {
        self.samples.iter().filter(move |((of, _), _)| of == name)
    }

    /// The value of the one sample of this name with these labels among its own.
    pub fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |of: &Labels| labels.iter().all(|(key, value)| of.get(*key).is_some_and(|is| is == value));
        let found: Vec<_> = self.of(name).filter(|((_, of), _)| has(of)).collect();
        let [(_, value)] = found[..] else { panic!("{name} {labels:?}: {found:?}") };
        *value
    }

    /// What all samples of this name are together that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |of: &Labels| labels.iter().all(|(key, value)| of.get(*key).is_some_and(|is| is == value));
        self.of(name).filter(|((_, of), _)| has(of)).map(|(_, value)| value).sum()
    }
}

/// The labels, and what comes after their brace.
fn labels(text: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    let mut rest = text;
    loop {
        let (key, after) = rest.split_once("=\"").expect(text);
        assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{text}");
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().expect(text) {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().expect(text).1 {
                    'n' => '\n',
                    same @ ('\\' | '"') => same,
                    other => panic!("\\{other} in {text}"),
                }),
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(key.to_owned(), value).is_none(), "{text}");
        rest = &after[end + 1..];
        match rest.split_at_checked(1) {
            Some((",", more)) => rest = more,
            Some(("}", after)) => return (labels, after),
            _ => panic!("{text}"),
        }
    }
}
