//! Answers on the update stream that the module has not read yet.
//!
//! A module may never read them (protocol.md section 5), so they are kept as runs of the same answer: a million times
//! `{"success": true}` takes no more room than once. Where different ones pile up beyond a bound, the surplus is
//! answered by one sentence that says so.

use std::collections::VecDeque;

use crate::handover::{DONE, Owed};
use crate::protocol::Response;

/// Texts of answers that differ may take this many bytes.
const MOST_BYTES: usize = 64 * 1024;
/// How much is rendered at a time.
const CHUNK: usize = 8 * 1024;

const SURPLUS: &str = "{\"success\": false, \"error\": \"Too many answers are unread.\"}";

/// The answers that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Rendered and partly written.
    rendered: Vec<u8>,
    written: usize,
    runs: VecDeque<Run>,
    bytes: usize,
}

#[derive(Debug)]
struct Run {
    text: Text,
    count: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Text {
    Done,
    Surplus,
    Other(Box<str>),
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            Self::Done => DONE,
            Self::Surplus => SURPLUS,
            Self::Other(text) => text,
        }
    }

    /// What it takes beside the run itself, in bytes.
    const fn size(&self) -> usize {
        if let Self::Other(text) = self { text.len() } else { 0 }
    }
}

impl Answers {
    /// Those that a process before had not written wholly, but for the first `written` bytes of them.
    pub(super) fn resume(owed: impl IntoIterator<Item = (Owed, u64)>, mut written: u64) -> Self {
        let mut answers = Self::default();
        for (owed, count) in owed {
            let text = match owed {
                Owed::Done => Text::Done,
                Owed::Text(text) if text == SURPLUS => Text::Surplus,
                Owed::Text(text) => Text::Other(text.into()),
            };
            if text != Text::Surplus {
                answers.bytes += text.size() + size_of::<Run>();
            }
            answers.runs.push_back(Run { text, count });
        }
        while written > 0 && !answers.is_empty() {
            let part = answers.chunk().len().min(usize::try_from(written).unwrap_or(usize::MAX));
            answers.advance(part);
            written -= part as u64;
        }
        answers
    }

    /// The answer that was appended last.
    pub(super) fn last(&self) -> Owed {
        match self.runs.back().map(|run| &run.text) {
            Some(Text::Done) | None => Owed::Done,
            Some(text) => Owed::Text(text.as_str().to_owned()),
        }
    }

    /// Appends the answer to one update.
    pub(super) fn push(&mut self, response: &Response) {
        match response {
            Response::Success(None) => self.push_text(Text::Done),
            other => self.push_text(Text::Other(other.to_text().into())),
        }
    }

    /// Appends the answer to a list of updates.
    pub(super) fn push_list(&mut self, responses: &[Response]) {
        let mut out = vec![b'['];
        for (at, response) in responses.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            response.write(&mut out);
        }
        out.push(b']');
        self.push_text(Text::Other(String::from_utf8(out).unwrap_or_default().into()));
    }

    fn push_text(&mut self, text: Text) {
        if let Some(last) = self.runs.back_mut().filter(|last| last.text == text) {
            last.count += 1;
            return;
        }
        let size = text.size();
        // A run itself takes room too, so that alternating answers are bounded as well.
        if self.bytes + size + size_of::<Run>() > MOST_BYTES {
            match self.runs.back_mut().filter(|last| last.text == Text::Surplus) {
                Some(last) => last.count += 1,
                None => self.runs.push_back(Run { text: Text::Surplus, count: 1 }),
            }
            return;
        }
        self.bytes += size + size_of::<Run>();
        self.runs.push_back(Run { text, count: 1 });
    }

    /// What to write next; empty where nothing is left.
    pub(super) fn chunk(&mut self) -> &[u8] {
        if self.written == self.rendered.len() {
            self.rendered.clear();
            self.written = 0;
            self.render();
        }
        &self.rendered[self.written..]
    }

    /// This many bytes of [`Answers::chunk`] were written.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.rendered.len() && self.runs.is_empty() {
            *self = Self::default();
        }
    }

    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.rendered.len() && self.runs.is_empty()
    }

    fn render(&mut self) {
        while let Some(run) = self.runs.front_mut() {
            let text = run.text.as_str().as_bytes();
            while run.count > 0 && self.rendered.len() < CHUNK {
                self.rendered.extend_from_slice(text);
                self.rendered.push(b'\n');
                run.count -= 1;
            }
            if run.count > 0 {
                return;
            }
            let size = run.text.size();
            if run.text != Text::Surplus {
                self.bytes -= size + size_of::<Run>();
            }
            self.runs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(answers: &mut Answers) -> String {
        let mut all = Vec::new();
        while !answers.is_empty() {
            let chunk = answers.chunk();
            let part = chunk.len().min(1000);
            all.extend_from_slice(&chunk[..part]);
            answers.advance(part);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn answers_come_in_order() {
        let mut answers = Answers::default();
        for _ in 0..3 {
            answers.push(&Response::DONE);
        }
        answers.push(&Response::Failure("no".into()));
        answers.push_list(&[Response::DONE, Response::Failure("x".into())]);
        answers.push(&Response::DONE);
        let done = format!("{DONE}\n");
        let expected = format!(
            "{done}{done}{done}{{\"success\": false, \"error\": \"no\"}}\n[{DONE}, {{\"success\": false, \"error\": \"x\"}}]\n{done}"
        );
        assert_eq!(drain(&mut answers), expected);
        assert_eq!(answers.bytes, 0);
        assert_eq!(answers.rendered.capacity(), 0, "an idle module keeps no buffer");
    }

    #[test]
    fn a_million_unread_answers_take_no_room_and_none_is_missing() {
        let mut answers = Answers::default();
        for _ in 0..1_000_000 {
            answers.push(&Response::DONE);
        }
        assert_eq!(answers.runs.len(), 1);
        assert_eq!(drain(&mut answers).lines().count(), 1_000_000);
    }

    #[test]
    fn different_ones_are_bounded_and_still_counted() {
        let mut answers = Answers::default();
        for number in 0..100_000 {
            answers.push(&Response::Failure(format!("error {number}")));
        }
        assert!(answers.bytes <= MOST_BYTES);
        assert!(answers.runs.len() < 2_000);
        let text = drain(&mut answers);
        assert_eq!(text.lines().count(), 100_000);
        assert!(text.ends_with(&format!("{SURPLUS}\n")));
    }

    #[test]
    fn alternating_ones_are_bounded() {
        let mut answers = Answers::default();
        for _ in 0..100_000 {
            answers.push(&Response::DONE);
            answers.push(&Response::Failure(String::new()));
        }
        assert!(answers.runs.len() < 5_000);
        assert_eq!(drain(&mut answers).lines().count(), 200_000);
    }
}
