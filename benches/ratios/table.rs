//! The rows, printed as they are measured.

use std::time::Duration;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    AtLeast(f64),
    AtMost(f64),
    None,
}

impl Aim {
    fn text(self) -> String {
        match self {
            Self::AtLeast(figure) => format!("≥ {figure}"),
            Self::AtMost(figure) => format!("≤ {figure}"),
            Self::None => String::new(),
        }
    }

    fn verdict(self, figure: f64) -> &'static str {
        let is_met = match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
            Self::None => return "",
        };
        if is_met { "yes" } else { "no" }
    }
}

/// How the benchmark is run, and its table.
pub struct Table {
    filters: Vec<String>,
    pub rounds: usize,
    pub round: Duration,
    rows: usize,
}

impl Table {
    pub fn new(filters: Vec<String>, rounds: usize, round: Duration) -> Self {
        Self { filters, rounds, round, rows: 0 }
    }

    /// Whether a row of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// Whether any row whose name begins with `group` is asked for.
    pub fn wants_some_of(&self, group: &str) -> bool {
        self.wants(group) || self.filters.iter().any(|filter| filter.starts_with(group))
    }

    /// A row of figures that were taken in turns, ours first: their medians, and the median and range of the ratios.
    pub fn ratio(&mut self, name: &str, unit: &str, aim: Aim, pairs: &[(f64, f64)]) {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, bare)| ours / bare).collect();
        let (ours, bare) = (median(pairs.iter().map(|pair| pair.0)), median(pairs.iter().map(|pair| pair.1)));
        let (least, most) =
            ratios.iter().fold((f64::MAX, f64::MIN), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
        let ratio = median(ratios.iter().copied());
        let range = format!("{least:.2} – {most:.2}");
        self.row(name, &format!("{} {unit}", figure(ours)), &figure(bare), &format!("{ratio:.2}"), &range, aim, ratio);
    }

    /// A row of one figure that has nothing beside it.
    pub fn absolute(&mut self, name: &str, unit: &str, aim: Aim, value: f64) {
        self.row(name, &format!("{} {unit}", figure(value)), "", "", "", aim, value);
    }

    /// Says that something could not be measured.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.row(name, &format!("skipped: {why}"), "", "", "", Aim::None, 0.0);
    }

    /// Takes both sides in turns, after one round of each that does not count.
    pub fn alternate<T>(&self, mut ours: impl FnMut() -> T, mut bare: impl FnMut() -> T) -> Vec<(T, T)> {
        let (_, _) = (ours(), bare());
        (0..self.rounds).map(|_| (ours(), bare())).collect()
    }

    #[allow(clippy::too_many_arguments, reason = "one for each column")]
    fn row(&mut self, name: &str, ours: &str, bare: &str, ratio: &str, range: &str, aim: Aim, judged: f64) {
        if !self.wants(name) {
            return;
        }
        if self.rows == 0 {
            println!("| {:<46} | {:>13} | {:>9} | {:>5} | {:>13} | {:>6} | met |", "", "ours", "bare", "ratio", "range", "aim");
            println!("|{:-<48}|{:->14}:|{:->10}:|{:->6}:|{:->14}:|{:->7}:|-----|", "", "", "", "", "", "");
        }
        self.rows += 1;
        let (aim, met) = (aim.text(), aim.verdict(judged));
        println!("| {name:<46} | {ours:>13} | {bare:>9} | {ratio:>5} | {range:>13} | {aim:>6} | {met:<3} |");
    }

    pub fn end(self) {
        if self.rows == 0 {
            println!("No row is called like that.");
        }
    }
}

/// The middle figure.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
    (low + high) / 2.0
}

/// A figure to three digits or so.
fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
