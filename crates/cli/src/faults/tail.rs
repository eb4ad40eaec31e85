//! The slowest thousandth of many calls, and how sure one can be of it.
//!
//! One in a thousand of some thousand calls is a handful, and on a machine that does other things
//! besides, which handful it is hangs on chance. So the quantile is shown with the bounds between
//! which it lies nineteen times in twenty: of n calls, k = n / 1000 are slower than it in the mean,
//! and k - 2 sqrt k to k + 2 sqrt k in a sample, because their number is binomial. Two quantiles
//! are compared by these bounds: a difference that chance would explain is none.

use leasehold_sim::numbers::float;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// Times of calls, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Tail {
    pub(crate) calls: usize,
    pub(crate) p50_ns: u64,
    pub(crate) p999_ns: u64,
    /// The bounds between which the p99.9 lies.
    pub(crate) p999_at_least_ns: u64,
    pub(crate) p999_at_most_ns: u64,
}

impl Tail {
    /// None if there are too few to tell.
    pub(crate) fn of(mut times: Vec<u64>) -> Option<Self> {
        if times.len() < TELLING {
            return None;
        }
        times.sort_unstable();
        let slower = times.len() / 1000;
        let chance = (times.len() * 4 / 1000).isqrt();
        // The call that so many are slower than.
        let from_slowest = |slower: usize| times[times.len() - 1 - slower];
        Some(Self {
            calls: times.len(),
            p50_ns: times[times.len() / 2],
            p999_ns: from_slowest(slower),
            p999_at_least_ns: from_slowest(slower + chance),
            p999_at_most_ns: from_slowest(slower.saturating_sub(chance)),
        })
    }

    /// Whether one in a thousand of these took surely more than `times` what one in a thousand of
    /// `healthy` took, and more than `floor_ns`.
    pub(crate) fn exceeds(&self, healthy: &Self, times: u64, floor_ns: u64) -> bool {
        self.p999_at_least_ns > (times * healthy.p999_at_most_ns).max(floor_ns)
    }
}

impl Display for Tail {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let us = |ns| float(ns) / 1e3;
        let (least, most) = (us(self.p999_at_least_ns), us(self.p999_at_most_ns));
        write!(f, "{:.1} us ({least:.1} to {most:.1})", us(self.p999_ns))
    }
}

/// The fewest calls that say something: with fewer, the bounds would span half of them.
const TELLING: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    impl Tail {
        /// As if nothing hung on chance.
        pub(crate) fn exactly(ns: u64) -> Self {
            Self {
                calls: TELLING,
                p50_ns: ns,
                p999_ns: ns,
                p999_at_least_ns: ns,
                p999_at_most_ns: ns,
            }
        }
    }

    #[test]
    fn the_bounds_are_calls_two_deviations_from_the_quantile() {
        let tail = Tail::of((0..100_000).rev().collect()).expect("enough");
        assert_eq!(tail.p50_ns, 50_000);
        // 100 are slower in the mean, 80 to 120 in a sample.
        assert_eq!(tail.p999_ns, 99_899);
        assert_eq!(
            (tail.p999_at_least_ns, tail.p999_at_most_ns),
            (99_879, 99_919)
        );
        assert!(Tail::of(vec![1; TELLING - 1]).is_none());
        let few = Tail::of((0..1000).collect()).expect("enough");
        assert_eq!((few.p999_at_least_ns, few.p999_at_most_ns), (996, 999));
    }

    /// Four thousand calls, of which so many in a thousand take 50 us.
    fn calls(slow_in_a_thousand: u64) -> Tail {
        let time = |call| {
            if call % 1000 < slow_in_a_thousand {
                50_000
            } else {
                100
            }
        };
        Tail::of((0..4000_u64).map(time).collect()).expect("enough")
    }

    #[test]
    fn a_handful_of_slow_calls_is_chance_and_a_hundredth_is_not() {
        let healthy = calls(0);
        assert!(!calls(2).exceeds(&healthy, 2, 5000));
        assert!(calls(3).exceeds(&healthy, 2, 5000));
        assert!(!calls(3).exceeds(&calls(1), 2, 5000), "as slow in health");
        assert!(!calls(3).exceeds(&healthy, 2, 50_000), "below the floor");
    }
}
