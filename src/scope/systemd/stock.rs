//! Which spares there are, which are wanted, and when the next one may be made: bookkeeping, without a process or a clock.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::properties::Kind;

/// Spares of all kinds together.
pub(super) const MOST: usize = 64;
/// How long to wait after a spare could not be made or was lost, before another one is; doubled each time, up to [`LONGEST_PAUSE`],
/// until a module was launched in one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// All spares; each is something of type `T`, whose being dropped gives it up.
#[derive(Debug)]
pub(super) struct Stock<T> {
    /// The one whose kind was launched last is the last.
    pools: Vec<Pool<T>>,
    /// The number of the next spare.
    number: u64,
}

/// Spares of one kind, any of which will do.
#[derive(Debug)]
struct Pool<T> {
    kind: Kind,
    wanted: usize,
    /// The oldest first.
    parked: VecDeque<(u64, T)>,
    /// Whether somebody asks for [`Stock::next`].
    filling: bool,
    /// Whether one is being made.
    making: bool,
    pause: Duration,
    not_before: Option<Instant>,
}

/// What whoever fills a pool is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Make one, then say [`Stock::park`] or [`Stock::failed`].
    Make,
    /// Ask again then.
    Wait(Instant),
    /// Nothing, nor ask again.
    Done,
}

impl<T> Default for Stock<T> {
    fn default() -> Self {
        Self { pools: Vec::new(), number: 0 }
    }
}

impl<T> Stock<T> {
    /// Takes a spare for a launch.
    pub(super) fn take(&mut self, kind: &Kind) -> Option<T> {
        let pool = self.pool(kind)?;
        Some(pool.parked.pop_front()?.1)
    }

    /// A module was launched, and of such spares so many are wanted. Answers whether somebody must begin to fill its pool.
    pub(super) fn launched(&mut self, kind: &Kind, wanted: usize) -> bool {
        let known = self.pools.iter().position(|pool| pool.kind == *kind).map(|index| self.pools.remove(index));
        self.pools.retain(|pool| pool.filling || !pool.parked.is_empty());
        let Some(mut pool) = known.or_else(|| (wanted > 0).then(|| Pool::new(kind.clone()))) else { return false };
        pool.wanted = wanted;
        pool.parked.truncate(wanted);
        let begin = pool.begin_to_fill();
        self.pools.push(pool);
        begin
    }

    /// A module was launched in one of these spares, so they are good for something.
    pub(super) fn proved(&mut self, kind: &Kind) {
        if let Some(pool) = self.pool(kind) {
            (pool.pause, pool.not_before) = (FIRST_PAUSE, None);
        }
    }

    /// What whoever fills the pool of that kind is to do.
    pub(super) fn next(&mut self, kind: &Kind, now: Instant) -> Next {
        let full = self.pools.iter().map(|pool| pool.parked.len() + usize::from(pool.making)).sum::<usize>() >= MOST;
        let Some(index) = self.pools.iter().position(|pool| pool.kind == *kind) else { return Next::Done };
        let pool = &mut self.pools[index];
        if pool.parked.len() >= pool.wanted {
            pool.filling = false;
            return Next::Done;
        }
        if let Some(not_before) = pool.not_before.filter(|not_before| *not_before > now) {
            return Next::Wait(not_before);
        }
        if full {
            // The kind that was launched longest ago does with one less.
            let Some(other) = self.pools[..index].iter_mut().find(|pool| !pool.parked.is_empty()) else {
                self.pools[index].filling = false;
                return Next::Done;
            };
            other.parked.pop_front();
            other.wanted = other.parked.len();
        }
        self.pools[index].making = true;
        Next::Make
    }

    /// One was made. Answers its number, or gives it back where it is not wanted any more.
    pub(super) fn park(&mut self, kind: &Kind, spare: T) -> Result<u64, T> {
        let number = self.number;
        let Some(pool) = self.pool(kind) else { return Err(spare) };
        pool.making = false;
        if pool.parked.len() >= pool.wanted {
            return Err(spare);
        }
        pool.parked.push_back((number, spare));
        self.number += 1;
        Ok(number)
    }

    /// One could not be made.
    pub(super) fn failed(&mut self, kind: &Kind, now: Instant) {
        if let Some(pool) = self.pool(kind) {
            pool.making = false;
            pool.put_off(now);
        }
    }

    /// One is good for nothing any more. Answers whether somebody must begin to fill its pool.
    pub(super) fn lost(&mut self, kind: &Kind, number: u64, now: Instant) -> bool {
        let Some(pool) = self.pool(kind) else { return false };
        pool.parked.retain(|(parked, _)| *parked != number);
        pool.put_off(now);
        pool.begin_to_fill()
    }

    /// One was ended by somebody who wants it no more. It is not replaced before the next launch of its kind.
    pub(super) fn dismissed(&mut self, kind: &Kind, number: u64) {
        if let Some(pool) = self.pool(kind) {
            pool.parked.retain(|(parked, _)| *parked != number);
            pool.wanted = pool.parked.len();
        }
    }

    /// No spare is wanted until the next launch of its kind.
    pub(super) fn give_up(&mut self) {
        for pool in &mut self.pools {
            pool.parked.clear();
            pool.wanted = 0;
        }
    }

    /// How many there are.
    pub(super) fn parked(&self) -> usize {
        self.pools.iter().map(|pool| pool.parked.len()).sum()
    }

    fn pool(&mut self, kind: &Kind) -> Option<&mut Pool<T>> {
        self.pools.iter_mut().find(|pool| pool.kind == *kind)
    }
}

impl<T> Pool<T> {
    fn new(kind: Kind) -> Self {
        let (parked, pause) = (VecDeque::new(), FIRST_PAUSE);
        Self { kind, wanted: 0, parked, filling: false, making: false, pause, not_before: None }
    }

    fn begin_to_fill(&mut self) -> bool {
        let begin = !self.filling && self.parked.len() < self.wanted;
        self.filling |= begin;
        begin
    }

    fn put_off(&mut self, now: Instant) {
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(type_name: &str) -> Kind {
        Kind {
            service: "queue".into(),
            type_name: type_name.into(),
            is_app: false,
            terminate: Duration::from_secs(5),
            limits: Vec::new(),
            part_of: None,
        }
    }

    /// Does what whoever fills a pool does; answers how many were made.
    fn fill(stock: &mut Stock<u32>, kind: &Kind, now: Instant) -> u32 {
        let mut made = 0;
        while stock.next(kind, now) == Next::Make {
            made += 1;
            stock.park(kind, made).unwrap();
        }
        made
    }

    #[test]
    fn a_pool_is_filled_after_a_launch_and_again_after_each() {
        let (mut stock, clock, now) = (Stock::default(), kind("clock"), Instant::now());
        assert_eq!(stock.take(&clock), None);
        assert!(stock.launched(&clock, 3));
        assert!(!stock.launched(&clock, 3), "somebody fills it already");
        assert_eq!(fill(&mut stock, &clock, now), 3);
        assert_eq!((stock.take(&clock), stock.parked()), (Some(1), 2), "the oldest first");
        assert!(stock.launched(&clock, 3));
        assert_eq!(fill(&mut stock, &clock, now), 1);
        assert!(!stock.launched(&clock, 3), "it is full");
    }

    #[test]
    fn only_what_is_equal_will_do() {
        let (mut stock, clock, now) = (Stock::default(), kind("clock"), Instant::now());
        assert!(stock.launched(&clock, 1));
        assert_eq!(fill(&mut stock, &clock, now), 1);
        let others = [
            kind("radio"),
            Kind { service: "pool".into(), ..clock.clone() },
            Kind { terminate: Duration::from_secs(6), ..clock.clone() },
            Kind { limits: vec![crate::settings::ScopeLimit::CpuWeight(7)], ..clock.clone() },
            Kind { part_of: Some("queue.service".into()), ..clock.clone() },
        ];
        for other in &others {
            assert_eq!(stock.take(other), None);
        }
        assert_eq!(stock.take(&clock), Some(1));
    }

    #[test]
    fn none_where_none_are_wanted_and_fewer_where_fewer_are() {
        let (mut stock, clock, now) = (Stock::<u32>::default(), kind("clock"), Instant::now());
        assert!(!stock.launched(&clock, 0));
        assert!(stock.pools.is_empty());
        assert!(stock.launched(&clock, 4));
        assert_eq!(fill(&mut stock, &clock, now), 4);
        assert!(!stock.launched(&clock, 2));
        assert_eq!(stock.parked(), 2);
        assert!(!stock.launched(&clock, 0));
        assert_eq!(stock.parked(), 0);
        assert!(!stock.launched(&kind("radio"), 0));
        assert!(stock.pools.is_empty(), "nothing is remembered of kinds without spares");
    }

    #[test]
    fn given_up_while_one_is_made() {
        let (mut stock, clock, now) = (Stock::default(), kind("clock"), Instant::now());
        assert!(stock.launched(&clock, 2));
        assert_eq!(stock.next(&clock, now), Next::Make);
        stock.park(&clock, 1).unwrap();
        assert_eq!(stock.next(&clock, now), Next::Make);
        stock.give_up();
        assert_eq!(stock.parked(), 0);
        assert_eq!(stock.park(&clock, 2), Err(2));
        assert_eq!(stock.next(&clock, now), Next::Done);
        assert!(stock.launched(&clock, 2), "the next launch begins anew");
    }

    #[test]
    fn what_fails_is_tried_again_less_and_less_often() {
        let (mut stock, clock, mut now) = (Stock::default(), kind("clock"), Instant::now());
        assert!(stock.launched(&clock, 1));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(stock.next(&clock, now), Next::Make);
            stock.failed(&clock, now);
            assert!(!stock.launched(&clock, 1), "a launch does not hurry it");
            let then = now + Duration::from_secs(seconds);
            assert_eq!(stock.next(&clock, now), Next::Wait(then));
            now = then;
        }
        assert_eq!(fill(&mut stock, &clock, now), 1);
        // One that is made and dies is no better.
        assert!(stock.lost(&clock, 0, now));
        assert_eq!(stock.next(&clock, now), Next::Wait(now + LONGEST_PAUSE));
        now += LONGEST_PAUSE;
        assert_eq!(fill(&mut stock, &clock, now), 1);
        assert!(stock.take(&clock).is_some());
        stock.proved(&clock);
        assert!(stock.launched(&clock, 1));
        assert_eq!(fill(&mut stock, &clock, now), 1);
        assert!(stock.lost(&clock, 2, now));
        assert_eq!(stock.next(&clock, now), Next::Wait(now + FIRST_PAUSE));
    }

    #[test]
    fn what_somebody_ends_is_not_replaced_before_the_next_launch() {
        let (mut stock, clock, now) = (Stock::default(), kind("clock"), Instant::now());
        stock.launched(&clock, 3);
        fill(&mut stock, &clock, now);
        stock.dismissed(&clock, 1);
        assert_eq!((stock.parked(), stock.next(&clock, now)), (2, Next::Done));
        assert!(stock.launched(&clock, 3));
        assert_eq!(fill(&mut stock, &clock, now), 1, "and then at once");
    }

    #[test]
    fn one_that_is_lost_after_it_was_taken_takes_no_other_with_it() {
        let (mut stock, clock, now) = (Stock::default(), kind("clock"), Instant::now());
        stock.launched(&clock, 2);
        fill(&mut stock, &clock, now);
        assert_eq!(stock.take(&clock), Some(1));
        assert!(stock.lost(&clock, 0, now));
        assert_eq!(stock.parked(), 1);
        assert!(!stock.lost(&kind("radio"), 1, now));
    }

    #[test]
    fn kinds_that_were_launched_lately_have_the_room() {
        let (mut stock, now) = (Stock::default(), Instant::now());
        let kinds: Vec<Kind> = (0..5).map(|number| kind(&format!("type{number}"))).collect();
        for kind in &kinds[..4] {
            stock.launched(kind, 16);
            assert_eq!(fill(&mut stock, kind, now), 16);
        }
        assert_eq!(stock.parked(), MOST);
        stock.launched(&kinds[0], 16);
        stock.launched(&kinds[4], 16);
        assert_eq!(fill(&mut stock, &kinds[4], now), 16);
        assert_eq!(stock.parked(), MOST);
        assert_eq!(stock.take(&kinds[1]), None, "launched longest ago");
        assert!(stock.take(&kinds[0]).is_some());
        // The one that was launched longest ago gets none from the others.
        assert_eq!(fill(&mut stock, &kinds[0], now), 1);
        stock.take(&kinds[2]);
        assert!(stock.lost(&kinds[2], u64::MAX, now));
        stock.launched(&kinds[3], 16);
        assert_eq!(fill(&mut stock, &kinds[2], now + FIRST_PAUSE), 1);
        stock.take(&kinds[2]);
        stock.park(&kinds[3], 0).unwrap_err();
        assert_eq!(stock.parked(), MOST - 1);
    }
}
