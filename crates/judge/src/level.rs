//! How much is in use, in the units of a limit: what both the ideal bucket and the virtual queue
//! are made of.
//!
//! # Invariant
//!
//! A level drains at the rate of its limit, never below 0, and nothing else lowers it.

use crate::limit::{ExactTokens, JudgedLimit};

/// Tokens in use, draining at the rate. It keeps neither limit nor time: many have them in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    units: u128,
}

impl Level {
    /// Time passes.
    pub fn drain(&mut self, elapsed_ns: u64, limit: JudgedLimit) {
        self.units = self.units.saturating_sub(limit.drained_in(elapsed_ns));
    }

    /// Whether so many tokens more stay within the burst.
    pub fn has_room(self, tokens: u64, limit: JudgedLimit) -> bool {
        self.units + limit.weight(tokens) <= limit.burst_weight()
    }

    /// So many tokens are taken, whether there is room or not.
    pub fn add(&mut self, tokens: u64, limit: JudgedLimit) {
        self.units += limit.weight(tokens);
    }

    /// Whether nothing is in use.
    pub fn is_empty(self) -> bool {
        self.units == 0
    }

    /// Tokens in use beyond the burst.
    pub fn beyond_burst(self, limit: JudgedLimit) -> ExactTokens {
        ExactTokens::of(self.units.saturating_sub(limit.burst_weight()), limit)
    }

    /// Converts the tokens to units of another limit, with less than one unit rounded away.
    #[must_use]
    pub fn reweighed(self, old: JudgedLimit, new: JudgedLimit) -> Self {
        let (old, new) = (u128::from(old.per_ns), u128::from(new.per_ns));
        let (whole, rest) = (self.units / old, self.units % old);
        Self {
            units: whole * new + rest * new / old,
        }
    }
}

/// A queue to which each admission adds its tokens and which drains at the rate: the judge of
/// overshoot.
///
/// After an admission at `t`, what is in the queue is the most that `admitted - rate * (t - s)`
/// comes to over all windows `[s, t]`. So one pass finds the worst of all windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct VirtualQueue {
    level: Level,
    drained_to_ns: u64,
    risen_since_ns: u64,
}

impl VirtualQueue {
    /// Admits so many tokens, and says what then exceeds the burst. The limit is the same at each
    /// call.
    ///
    /// # Panics
    ///
    /// If `now_ns` goes back, in a build with overflow checks.
    #[inline]
    pub fn admit(&mut self, now_ns: u64, tokens: u32, limit: JudgedLimit) -> ExactTokens {
        self.level.drain(now_ns - self.drained_to_ns, limit);
        self.drained_to_ns = now_ns;
        if self.level.is_empty() {
            self.risen_since_ns = now_ns;
        }
        self.level.add(tokens.into(), limit);
        self.level.beyond_burst(limit)
    }

    /// The start of the fullest window that ends with the last admission: an admission to an empty
    /// queue.
    pub fn risen_since_ns(&self) -> u64 {
        self.risen_since_ns
    }
}

/// A perfect limiter: one bucket in one place, without delay. It starts full, and
/// a request is allowed if its tokens are there at the instant it comes.
#[derive(Clone, Copy, Debug)]
pub struct IdealBucket {
    limit: JudgedLimit,
    level: Level,
    drained_at_ns: u64,
}

impl IdealBucket {
    /// All of the burst is there: nothing is in use.
    pub fn full(limit: JudgedLimit) -> Self {
        Self {
            limit,
            level: Level::default(),
            drained_at_ns: 0,
        }
    }

    /// Spends `cost` if it is there.
    ///
    /// # Panics
    ///
    /// If `now_ns` goes back, in a build with overflow checks.
    pub fn spend(&mut self, cost: u32, now_ns: u64) -> bool {
        self.level.drain(now_ns - self.drained_at_ns, self.limit);
        self.drained_at_ns = now_ns;
        let fits = self.level.has_room(cost.into(), self.limit);
        if fits {
            self.level.add(cost.into(), self.limit);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A bucket as a clock: the time at which all of it would be back, in signed fractions
    /// of a nanosecond. Nothing drains.
    struct TheoreticalArrival {
        limit: JudgedLimit,
        /// In nanoseconds times `tokens`.
        back_at: i128,
    }

    impl TheoreticalArrival {
        fn spend(&mut self, cost: u32, now_ns: u64) -> bool {
            let (tokens, per_ns) = (i128::from(self.limit.tokens), i128::from(self.limit.per_ns));
            let now = i128::from(now_ns) * tokens;
            let back_at = self.back_at.max(now) + i128::from(cost) * per_ns;
            let fits = back_at - i128::from(self.limit.burst) * per_ns <= now;
            if fits {
                self.back_at = back_at;
            }
            fits
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn the_ideal_is_a_theoretical_arrival_time(
            gaps in prop::collection::vec((0_u64..40, 1_u32..5), 0..60),
            (tokens, per_ns, burst) in (1_u64..6, 1_u64..20, 0_u64..8),
        ) {
            let limit = JudgedLimit::new(tokens, per_ns, burst).unwrap();
            let mut bucket = IdealBucket::full(limit);
            let mut other = TheoreticalArrival { limit, back_at: 0 };
            let mut now_ns = 0;
            for (gap, cost) in gaps {
                now_ns += gap;
                prop_assert_eq!(bucket.spend(cost, now_ns), other.spend(cost, now_ns));
            }
        }
    }

    #[test]
    fn a_bucket_starts_full_and_refills_to_the_nanosecond() {
        // Three tokens per ten nanoseconds: the next is there after four, not after three.
        let mut bucket = IdealBucket::full(JudgedLimit::new(3, 10, 2).unwrap());
        let times = [100, 100, 100, 103, 104, 106, 107];
        let allowed = times.map(|now_ns| bucket.spend(1, now_ns));
        assert_eq!(allowed, [true, true, false, false, true, false, true]);
    }

    #[test]
    fn another_limit_weighs_the_same_tokens() {
        let limit = |per_ns| JudgedLimit::new(1, per_ns, 0).unwrap();
        let mut level = Level::default();
        level.add(7, limit(10));
        level.drain(5, limit(10));
        let reweighed = level.reweighed(limit(10), limit(1000));
        assert_eq!(reweighed.beyond_burst(limit(1000)).units, 6500);
        let coarse = level.reweighed(limit(10), limit(1));
        assert_eq!(coarse.beyond_burst(limit(1)).units, 6);
    }
}
