//! When a module that failed is started again, and when it is given up: the bookkeeping, without a clock.
//!
//! ```text
//!   ended ─▶ `limit` restarts within the last `window`? ──yes──▶ given up
//!                │ no
//!                ▼
//!            again after `delay`, then twice that, … up to `max_delay`; from `delay` once more where no restart lies
//!            within the last `window`, so after a module has lived for that long
//! ```
//!
//! As systemd's `RestartSec=`, `RestartMaxDelaySec=`, `StartLimitBurst=` and `StartLimitIntervalSec=` (`systemd.service(5)`,
//! `systemd.unit(5)`), for each module by itself.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How restarts follow one another. All times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long the first waits.
    pub delay: u64,
    /// How long any waits at most.
    pub max_delay: u64,
    /// How many there may be within `window`.
    pub limit: u32,
    /// How long a restart counts.
    pub window: u64,
}

/// What becomes of a module that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is started again at this time, in ms of the same clock.
    Again(u64),
    /// It has been started again too often of late.
    GivenUp,
}

/// The restarts of one module. Names of its fields are part of what is kept (`handover/`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    count: u32,
    /// How often the delay was doubled, and once more.
    step: u32,
    /// When the last ones were due that count still, oldest first.
    recent: VecDeque<u64>,
}

impl Restarts {
    /// How many there were, with the one that is waited for.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The module ended at `now`; where it is started again, that counts from now on.
    pub fn ended(&mut self, now: u64, policy: &Policy) -> Verdict {
        // A clock that went back makes what is ahead of it recent.
        self.recent.retain(|due| now.saturating_sub(*due) < policy.window);
        if self.recent.len() >= policy.limit as usize {
            return Verdict::GivenUp;
        }
        if self.recent.is_empty() {
            self.step = 0;
        }
        let factor = 1u64.checked_shl(self.step).unwrap_or(u64::MAX);
        let due = now.saturating_add(policy.delay.saturating_mul(factor).min(policy.max_delay));
        self.step = self.step.saturating_add(1);
        self.count = self.count.saturating_add(1);
        self.recent.push_back(due);
        Verdict::Again(due)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy { delay: 1_000, max_delay: 10_000, limit: 5, window: 60_000 };

    /// The delays of a module that ends as soon as it is started, until it is given up.
    fn delays(restarts: &mut Restarts, now: &mut u64, policy: &Policy) -> Vec<u64> {
        let mut delays = Vec::new();
        while let Verdict::Again(due) = restarts.ended(*now, policy) {
            delays.push(due - *now);
            *now = due;
        }
        delays
    }

    #[test]
    fn delays_double_up_to_the_largest_and_the_limit_ends_them() {
        let (mut restarts, mut now) = (Restarts::default(), 5_000);
        assert_eq!(delays(&mut restarts, &mut now, &POLICY), [1_000, 2_000, 4_000, 8_000, 10_000]);
        assert_eq!(restarts.count(), 5);
        assert_eq!(restarts.ended(now, &POLICY), Verdict::GivenUp);
        // Another limit counts at once.
        assert_eq!(restarts.ended(now, &Policy { limit: 6, ..POLICY }), Verdict::Again(now + 10_000));
    }

    #[test]
    fn who_has_lived_for_the_window_begins_anew() {
        let mut restarts = Restarts::default();
        assert_eq!(restarts.ended(0, &POLICY), Verdict::Again(1_000));
        assert_eq!(restarts.ended(1_000 + 59_999, &POLICY), Verdict::Again(60_999 + 2_000), "not long enough");
        assert_eq!(restarts.ended(62_999 + 60_000, &POLICY), Verdict::Again(122_999 + 1_000));
        assert_eq!(restarts.count(), 3);
    }

    #[test]
    fn one_that_was_started_again_often_but_long_ago_is_not_given_up() {
        let (mut restarts, mut now) = (Restarts::default(), 0);
        delays(&mut restarts, &mut now, &POLICY);
        // The first restart was due at 1 s, the last at 25 s.
        assert_eq!((now, restarts.ended(60_999, &POLICY)), (25_000, Verdict::GivenUp));
        assert_eq!(restarts.ended(61_000, &POLICY), Verdict::Again(71_000));
    }

    #[test]
    fn the_largest_numbers() {
        let policy = Policy { delay: u64::MAX, max_delay: u64::MAX, limit: u32::MAX, window: u64::MAX };
        let mut restarts = Restarts { step: u32::MAX, count: u32::MAX, recent: [u64::MAX].into() };
        assert_eq!(restarts.ended(u64::MAX, &policy), Verdict::Again(u64::MAX));
    }

    proptest! {
        /// Whenever it fails: never more than the limit within the window, each wait within its bounds, and what is kept is
        /// bounded and can be read again.
        #[test]
        fn promises_hold_for_any_life(
            (delay, more, limit, window) in (1u64..5_000, 0u64..50_000, 1u32..8, 1u64..100_000),
            lives in prop::collection::vec(prop_oneof![Just(0u64), 1u64..200_000], 1..60),
        ) {
            let policy = Policy { delay, max_delay: delay + more, limit, window };
            let (mut restarts, mut now, mut dues) = (Restarts::default(), 1_000_000, Vec::<u64>::new());
            for life in lives {
                now += life;
                let within = dues.iter().filter(|due| now - **due < window).count();
                restarts = serde_json::from_str(&serde_json::to_string(&restarts).unwrap()).unwrap();
                match restarts.ended(now, &policy) {
                    Verdict::GivenUp => prop_assert!(within >= limit as usize),
                    Verdict::Again(due) => {
                        prop_assert!(within < limit as usize);
                        prop_assert!((policy.delay..=policy.max_delay).contains(&(due - now)));
                        prop_assert!(within > 0 || due - now == delay, "long enough ago: from the first delay");
                        dues.push(due);
                        now = due;
                    }
                }
                prop_assert!(restarts.recent.len() <= limit as usize);
                prop_assert_eq!(restarts.count() as usize, dues.len());
            }
        }
    }
}
