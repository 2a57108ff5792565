//! How much room there is for clients: connections, and bytes that they have us keep.
//!
//! | of one connection | kept | beyond that |
//! |---|---|---|
//! | a line that has begun | [`SMALL_LINE`] | out of a budget of all connections; waited for, then refused |
//! | an answer that is not read yet | as much as is written at once | out of another budget; refused where nothing is left |
//!
//! What is refused is answered with a sentence, and the connection lives on. Whoever holds a part of a budget that is short and neither
//! goes on sending nor reads has to let go of it. So memory has a bound that does not depend on what clients do, and what is
//! small is served whatever others do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::Semaphore;

use super::Limits;

/// The beginning of a line that is kept without asking, in bytes.
pub(super) const SMALL_LINE: usize = 8 * 1024;
/// Each of the two budgets, in bytes; that of lines is twice the longest one at least.
const BUDGET: usize = 64 * 1024 * 1024;
/// With more connections than this, each is given less at a time.
const CROWD: usize = 1024;
/// Read or written at a time where there is a crowd, and read from whoever is quiet, in bytes.
pub(super) const LITTLE: usize = 4 * 1024;
/// Read or written at a time where there is none, in bytes.
const MUCH: usize = 64 * 1024;
/// Budgets are counted in these, in bytes.
const UNIT: usize = 1024;

/// The room of one service. How many connections it has room for may change while it serves.
#[derive(Debug)]
pub struct Room {
    max_connections: AtomicUsize,
    connections: AtomicUsize,
    pub(super) max_line_bytes: usize,
    /// Of lines that are being received or answered.
    pub(super) lines: Budget,
    /// Of answers that wait to be read.
    pub(super) answers: Budget,
}

impl Room {
    /// Room within these limits. Connections take three quarters of the descriptors that this process may have at most: modules
    /// take some, too.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        let Limits { max_line_bytes, max_connections } = limits;
        Arc::new(Self {
            max_connections: AtomicUsize::new(within_descriptors(max_connections)),
            connections: AtomicUsize::new(0),
            max_line_bytes,
            lines: Budget::new(BUDGET.max(2 * max_line_bytes)),
            answers: Budget::new(BUDGET),
        })
    }

    /// Has room for another number of connections from now on. Those that are open stay.
    pub fn set_max_connections(&self, max_connections: usize) {
        self.max_connections.store(within_descriptors(max_connections), Relaxed);
    }

    /// Room for one more connection, as long as what is returned lives; an error is how many there may be.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Place, usize> {
        let most = self.max_connections.load(Relaxed);
        // Only the loop that accepts enters.
        if self.connections.load(Relaxed) >= most {
            return Err(most);
        }
        self.connections.fetch_add(1, Relaxed);
        Ok(Place(Arc::clone(self)))
    }

    /// How much is read or written at a time, in bytes.
    pub(super) fn portion(&self) -> usize {
        if self.connections.load(Relaxed) > CROWD { LITTLE } else { MUCH }
    }
}

fn within_descriptors(connections: usize) -> usize {
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft / 4 * 3);
    connections.min(usize::try_from(most).unwrap_or(usize::MAX)).max(1)
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place(Arc<Room>);

impl Place {
    pub(super) fn room(&self) -> &Room {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

/// Bytes that all connections share.
#[derive(Debug)]
pub(super) struct Budget {
    /// In bytes.
    pub(super) total: usize,
    free: Semaphore,
}

impl Budget {
    fn new(total: usize) -> Self {
        Self { total, free: Semaphore::new(total / UNIT) }
    }

    /// Whether more than half of it is held.
    pub(super) fn is_short(&self) -> bool {
        self.free.available_permits() < self.total / UNIT / 2
    }

    /// Nothing of it yet.
    pub(super) const fn hold(&self) -> Held<'_> {
        Held { budget: self, units: 0 }
    }

    /// More than there is is all of it.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.total).div_ceil(UNIT)).unwrap_or(u32::MAX)
    }
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    budget: &'a Budget,
    units: u32,
}

impl Held<'_> {
    pub(super) const fn is_nothing(&self) -> bool {
        self.units == 0
    }

    /// Makes it `bytes` at least; answers whether there was as much.
    pub(super) fn try_grow(&mut self, bytes: usize) -> bool {
        let more = self.budget.units(bytes).saturating_sub(self.units);
        let is_there = self.budget.free.try_acquire_many(more).map(tokio::sync::SemaphorePermit::forget).is_ok();
        self.units += if is_there { more } else { 0 };
        is_there
    }

    /// As [`Held::try_grow`], once there is as much. Who came first is first. May be dropped and asked again.
    pub(super) async fn grow(&mut self, bytes: usize) {
        let more = self.budget.units(bytes).saturating_sub(self.units);
        // Never closed.
        if let Ok(permit) = self.budget.free.acquire_many(more).await {
            permit.forget();
            self.units += more;
        }
    }

    pub(super) fn give_back(&mut self) {
        self.budget.free.add_permits(usize::try_from(std::mem::take(&mut self.units)).unwrap_or(0));
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(max_connections: usize, max_line_bytes: usize) -> Arc<Room> {
        Room::new(Limits { max_line_bytes, max_connections })
    }

    #[test]
    fn as_many_connections_as_there_may_be() {
        let room = room(2, 1024);
        let places = [room.enter().unwrap(), room.enter().unwrap()];
        assert_eq!(room.enter().unwrap_err(), 2);
        room.set_max_connections(1);
        drop(places);
        let _one = room.enter().unwrap();
        assert_eq!(room.enter().unwrap_err(), 1);
    }

    #[test]
    fn descriptors_are_left_for_modules() {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(within_descriptors(usize::MAX), usize::try_from(soft / 4 * 3).unwrap());
    }

    #[test]
    fn what_is_held_is_given_back() {
        let room = room(1, 1024);
        let (mut one, mut other) = (room.answers.hold(), room.answers.hold());
        assert!(one.try_grow(BUDGET / 4) && one.try_grow(BUDGET / 2) && !room.answers.is_short());
        assert!(one.try_grow(BUDGET / 4 * 3) && room.answers.is_short());
        assert!(!other.try_grow(BUDGET / 2) && other.is_nothing());
        one.give_back();
        assert!(other.try_grow(usize::MAX), "all of it");
        drop(other);
        assert_eq!(room.answers.free.available_permits(), BUDGET / UNIT);
    }

    #[test]
    fn a_line_that_may_be_long_has_room() {
        let room = room(1, BUDGET);
        let (mut one, mut other) = (room.lines.hold(), room.lines.hold());
        assert!(one.try_grow(BUDGET) && other.try_grow(BUDGET));
    }
}
