//! The last events of a service, for all who follow them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::said::{self, Event};

/// Events that are kept.
const MOST_EVENTS: usize = 4096;
/// Bytes that they may have together; the last is kept however long it is.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// What one browser is sent at a time, in bytes; an event that is longer comes alone.
const PORTION: usize = 256 * 1024;

/// A place in the stream of a service's events: everything up to it has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which numbering the revision is of: another begins with each whole state that the service sends unasked.
    pub(super) epoch: u64,
    /// The revision.
    pub(super) revision: u64,
}

/// What comes after a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// These events, after which the place is this.
    Events(Place, Bytes),
    /// Nothing yet.
    Nothing,
    /// Nobody knows any more.
    Lost,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    epoch: u64,
    /// Events after this revision are all here.
    floor: u64,
    /// The revision of the last event.
    last: u64,
    events: VecDeque<Event>,
    bytes: usize,
    /// What was due last, which the next is due, too, as a rule.
    made: Option<(Place, Place, Bytes)>,
}

impl Ring {
    /// Begins anew after `revision`: whoever is anywhere else is lost.
    pub(super) fn begin(&mut self, revision: u64) {
        *self = Self { epoch: self.epoch + 1, floor: revision, last: revision, ..Self::default() };
    }

    /// The place after the last event.
    pub(super) const fn end(&self) -> Place {
        Place { epoch: self.epoch, revision: self.last }
    }

    /// The place after `revision`, where what follows it is known.
    pub(super) fn place(&self, revision: u64) -> Option<Place> {
        (self.floor..=self.last).contains(&revision).then_some(Place { epoch: self.epoch, revision })
    }

    /// Whether `revision` is before everything that is kept.
    pub(super) const fn is_before(&self, revision: u64) -> bool {
        revision < self.floor
    }

    /// The next event. One that is no later than the last is not news.
    pub(super) fn push(&mut self, event: Event) {
        if event.revision <= self.last {
            return;
        }
        self.last = event.revision;
        self.bytes += event.text.len();
        self.events.push_back(event);
        while self.events.len() > MOST_EVENTS || (self.bytes > MOST_BYTES && self.events.len() > 1) {
            let Some(event) = self.events.pop_front() else { return };
            self.bytes -= event.text.len();
            self.floor = event.revision;
        }
    }

    /// How many events and bytes have come after `place`; `None` where nobody knows.
    pub(super) fn distance(&self, place: Place) -> Option<(usize, usize)> {
        if place.epoch != self.epoch || place.revision < self.floor {
            return None;
        }
        let first = self.events.partition_point(|event| event.revision <= place.revision);
        let bytes = self.events.range(first..).map(|event| event.text.len()).sum();
        Some((self.events.len() - first, bytes))
    }

    /// What comes after `place`, as much as is sent at a time.
    pub(super) fn after(&mut self, place: Place) -> After {
        if place.epoch != self.epoch || place.revision < self.floor {
            return After::Lost;
        }
        if place.revision >= self.last {
            return After::Nothing;
        }
        if let Some((_, to, bytes)) = self.made.as_ref().filter(|(from, to, _)| *from == place && to.revision == self.last) {
            return After::Events(*to, bytes.clone());
        }
        let first = self.events.partition_point(|event| event.revision <= place.revision);
        let mut bytes = 0;
        let fits = |event: &&Event| {
            let is_first = bytes == 0;
            bytes += event.text.len();
            is_first || bytes <= PORTION
        };
        let count = self.events.range(first..).take_while(fits).count();
        let portion = self.events.range(first..first + count);
        let to = Place { epoch: self.epoch, revision: portion.clone().next_back().map_or(self.last, |event| event.revision) };
        let bytes = said::together(portion);
        self.made = Some((place, to, bytes.clone()));
        After::Events(to, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64, length: usize) -> Event {
        let text = Bytes::from(vec![u8::try_from(revision % 10).unwrap(); length]);
        Event { revision, text, parameters: None, is_state: false }
    }

    fn text(ring: &mut Ring, revision: u64) -> String {
        let place = Place { epoch: ring.epoch, revision };
        match ring.after(place) {
            After::Events(to, bytes) => format!("{} to {}", bytes.len(), to.revision),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_goes_on_from_its_place() {
        let mut ring = Ring::default();
        ring.begin(10);
        assert_eq!(text(&mut ring, 10), "Nothing");
        assert_eq!((ring.place(9), ring.place(11)), (None, None));
        for revision in [11, 13, 13, 12, 14] {
            ring.push(event(revision, 5));
        }
        assert_eq!(text(&mut ring, 9), "Lost");
        assert_eq!(text(&mut ring, 10), "15 to 14");
        assert_eq!(text(&mut ring, 12), "10 to 14");
        assert_eq!(text(&mut ring, 14), "Nothing");
        // One that was sent a state which is ahead of the events.
        assert_eq!(text(&mut ring, 20), "Nothing");
        let before = ring.place(12).unwrap();
        ring.begin(12);
        assert_eq!(ring.after(before), After::Lost, "the same number of another time");
    }

    #[test]
    fn it_is_bounded_and_sent_in_portions() {
        let mut ring = Ring::default();
        ring.begin(0);
        for revision in 1..=(MOST_EVENTS as u64 + 5) {
            ring.push(event(revision, 1));
        }
        assert_eq!((text(&mut ring, 4).as_str(), text(&mut ring, 5).as_str()), ("Lost", "4096 to 4101"));
        ring.begin(0);
        for revision in 1..=5 {
            ring.push(event(revision, PORTION / 2));
        }
        ring.push(event(6, 2 * PORTION));
        assert_eq!(text(&mut ring, 0), format!("{PORTION} to 2"));
        assert_eq!(text(&mut ring, 4), format!("{} to 5", PORTION / 2));
        assert_eq!(text(&mut ring, 5), format!("{} to 6", 2 * PORTION));
        ring.push(event(7, 2 * MOST_BYTES));
        assert_eq!((text(&mut ring, 5).as_str(), ring.events.len()), ("Lost", 1));
        assert_eq!(text(&mut ring, 6), format!("{} to 7", 2 * MOST_BYTES));
    }

    #[test]
    fn what_all_are_due_is_made_once() {
        let mut ring = Ring::default();
        ring.begin(0);
        ring.push(event(1, 5));
        ring.push(event(2, 5));
        let place = ring.place(0).unwrap();
        let (After::Events(_, one), After::Events(_, other)) = (ring.after(place), ring.after(place)) else { panic!() };
        assert_eq!(one.as_ptr(), other.as_ptr());
        ring.push(event(3, 5));
        assert_eq!(text(&mut ring, 0), "15 to 3");
    }
}
