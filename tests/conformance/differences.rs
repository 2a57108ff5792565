//! Where we answer otherwise than the recorded original, on purpose: `differences.txt`, read.
//!
//! A line of that file holds for as long as it is seen: one that is not observed any more fails its transcript just as
//! a difference that is not listed does.

use std::collections::{BTreeMap, HashMap};

/// The list itself.
const LIST: &str = include_str!("differences.txt");

/// What stands in the place of what was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ours {
    /// Nothing comes.
    Nothing,
    /// The stream ends.
    End,
    /// This line, in which `*` stands for any text; for the gateway status, content type and body.
    Line(String),
}

/// One difference.
#[derive(Debug, Clone)]
pub struct Difference {
    /// What comes instead.
    pub ours: Ours,
    /// What a module shall answer to a line that the original did not write.
    pub reply: Option<String>,
    /// The recorded answer is right as well: it is a race.
    pub optional: bool,
    /// Why, in one sentence.
    pub reason: String,
}

/// The differences of one transcript by place: a step's number, `A.cmd[2]` for what a stream got, `A.cmd@4` for what a
/// stream gets on top while step 4 is answered, `row[3]` for a row of the command log.
pub type Places = BTreeMap<String, Difference>;

/// The whole list.
#[derive(Debug, Default)]
pub struct Differences {
    by_transcript: HashMap<String, Places>,
}

impl Differences {
    /// Reads the list.
    ///
    /// # Errors
    /// A sentence that names the line which is not as it must be.
    pub fn read() -> Result<Self, String> {
        let mut reasons = HashMap::new();
        let mut used = Vec::new();
        let mut list = Self::default();
        for (number, line) in LIST.lines().enumerate() {
            let at_fault = |what: &str| format!("differences.txt:{}: {what}: {line}", number + 1);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (first, rest) = line.split_once(' ').ok_or_else(|| at_fault("too short"))?;
            if first == "reason" {
                let (name, why) = rest.trim().split_once(' ').ok_or_else(|| at_fault("a reason without a sentence"))?;
                reasons.insert(name.to_owned(), why.trim().to_owned());
                continue;
            }
            let (places, rest) = rest.trim().split_once(' ').ok_or_else(|| at_fault("no place"))?;
            let (reason, ours) = rest.trim().split_once(' ').ok_or_else(|| at_fault("no answer"))?;
            used.push(reason.to_owned());
            let reason = reasons.get(reason).ok_or_else(|| at_fault("a reason that is not explained above"))?;
            for name in braces(first) {
                for place in ranges(places).ok_or_else(|| at_fault("bad place"))? {
                    let optional = place.ends_with('?');
                    let place = place.trim_end_matches('?').to_owned();
                    let entry = list.by_transcript.entry(name.clone()).or_default();
                    let difference = read_ours(ours.trim(), optional, reason);
                    if entry.insert(place, difference).is_some() {
                        return Err(at_fault("listed twice"));
                    }
                }
            }
        }
        match reasons.keys().find(|name| !used.contains(name)) {
            Some(name) => Err(format!("differences.txt: nothing differs for the reason {name:?}")),
            None => Ok(list),
        }
    }

    /// Those of one transcript.
    pub fn of(&self, transcript: &str) -> Places {
        self.by_transcript.get(transcript).cloned().unwrap_or_default()
    }

    /// The transcripts that the list names.
    pub fn transcripts(&self) -> impl Iterator<Item = &str> {
        self.by_transcript.keys().map(String::as_str)
    }
}

fn read_ours(text: &str, optional: bool, reason: &str) -> Difference {
    let (line, reply) = match text.rsplit_once(" => ") {
        Some((line, reply)) => (line.trim(), Some(reply.to_owned())),
        None => (text, None),
    };
    let ours = match line {
        "-" => Ours::Nothing,
        "<eof>" => Ours::End,
        line => Ours::Line(line.to_owned()),
    };
    Difference { ours, reply, optional, reason: reason.to_owned() }
}

/// `{queue,pool}_x` is `queue_x` and `pool_x`.
fn braces(text: &str) -> Vec<String> {
    let whole = || vec![text.to_owned()];
    let Some((before, rest)) = text.split_once('{') else { return whole() };
    let Some((choices, after)) = rest.split_once('}') else { return whole() };
    choices.split(',').flat_map(|choice| braces(&format!("{before}{choice}{after}"))).collect()
}

/// `1,3-5,A.cmd[2]` is `1`, `3`, `4`, `5` and `A.cmd[2]`.
fn ranges(text: &str) -> Option<Vec<String>> {
    let mut places = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((from, to)) if part.starts_with(|c: char| c.is_ascii_digit()) => {
                let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
                places.extend((from..=to).map(|number| number.to_string()));
            }
            _ => places.push(part.to_owned()),
        }
    }
    Some(places)
}
