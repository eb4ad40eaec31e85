//! The estimate of what a limit has left, as a header tells it.
//!
//! # Invariant
//!
//! `remaining` lies between what the replica holds and the burst, and is 0 for a denied request. A
//! longer time until the bucket is full never gives more of it.

use core::time::Duration;

use crate::limit::Limit;
use crate::limit_id::LimitId;
use crate::verdict::Verdict;

/// An estimate of what a limit has left of one key, from the last word of the store.
///
/// | | [`Verdict::held`] | [`Estimate::remaining`] |
/// |---|---|---|
/// | counts | what this replica holds on lease | what no replica has leased or spent, and what this one holds |
/// | may be spent without asking the store | all of it, until the lease ends | only what is held |
/// | other replicas | never change it | have spent or leased some of it since |
/// | between two exchanges | shrinks by each request here | shrinks by each request here, grows at the rate |
/// | a central decision | 0, because nothing is held | what the store had left |
/// | a denied request | 0 | 0 |
/// | use | a lower bound, for decisions | `RateLimit-Remaining` and its like, for people |
///
/// It is too high by what others have taken since this replica last heard from the store, and too
/// low by what others hold and will give back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The limit it is of: of several, the one closest to exhaustion.
    pub limit: LimitId,
    /// The burst of that limit: the most that can remain.
    pub burst: u64,
    /// Tokens that the limit has left: at most the burst, at least what this replica holds.
    pub remaining: u64,
    /// Time until the whole burst remains if nothing more is spent.
    pub reset: Duration,
}

impl Limit {
    /// An estimate of what this limit has left after `verdict`; `None` if the verdict was reached
    /// without a look at the limit, so that nothing is known.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use leasehold_core::{Decided, Limit, LimitId, Verdict};
    ///
    /// // 30 tokens were leased of 2000, and one of them is spent.
    /// let limit: Limit = "1000/s burst 2000".parse()?;
    /// let verdict = Verdict::allow(Decided::Local, 29, Duration::from_millis(30));
    /// let verdict = verdict.with_limit(LimitId::FIRST);
    /// let estimate = limit.estimate(&verdict).expect("a limit is named");
    /// assert_eq!((verdict.held(), estimate.remaining), (29, 1999));
    /// # Ok::<(), leasehold_core::LimitError>(())
    /// ```
    pub fn estimate(&self, verdict: &Verdict) -> Option<Estimate> {
        let limit = verdict.limit()?;
        let full_nanos = verdict.full_nanos()?;
        let held = verdict.held();
        let remaining = if verdict.is_allowed() {
            self.remaining(held, full_nanos)
        } else {
            0
        };
        Some(Estimate {
            limit,
            burst: self.burst(),
            remaining,
            reset: if verdict.is_allowed() {
                self.time_for(self.burst() - remaining)
            } else {
                verdict.reset()
            },
        })
    }

    /// Tokens that this limit has left if a replica holds `held` of them, and the bucket is full
    /// again after `full_nanos` if all that is on lease is spent: see [`Estimate::remaining`].
    #[inline]
    pub fn remaining(&self, held: u64, full_nanos: u64) -> u64 {
        let free = self.capacity().saturating_sub(self.used(full_nanos));
        free.saturating_add(held).min(self.burst())
    }

    /// Tokens charged or on lease of a bucket that is full after so many nanoseconds, rounded up.
    #[inline]
    fn used(&self, full_nanos: u64) -> u64 {
        // Times are rounded up to the microsecond.
        let nanos = full_nanos.saturating_sub(999);
        if nanos == 0 {
            return 0;
        }
        let rate = self.rate();
        let (tokens, period) = (rate.tokens, rate.period.0);
        // 64 bits, as a rule, because a division of 128 takes several times as long.
        let in_time = nanos.checked_mul(tokens).zip(period.checked_mul(1000));
        if let Some((tokens, period)) = in_time {
            return tokens.div_ceil(period);
        }
        let period = u128::from(period) * 1000;
        let used = (u128::from(nanos) * u128::from(tokens)).div_ceil(period);
        u64::try_from(used).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Decided, Reason, Retry};

    fn limit(text: &str) -> Limit {
        text.parse().unwrap()
    }

    fn remaining(limit: &Limit, held: u64, full_in: Duration) -> u64 {
        let verdict = Verdict::allow(Decided::Local, held, full_in).with_limit(LimitId(3));
        let estimate = limit.estimate(&verdict).unwrap();
        assert_eq!(
            (estimate.limit, estimate.burst),
            (LimitId(3), limit.burst())
        );
        assert!(
            estimate.remaining >= held.min(limit.burst()),
            "{estimate:?}"
        );
        assert!(estimate.remaining <= limit.burst(), "{estimate:?}");
        assert!(
            estimate.reset <= limit.time_for(limit.capacity()),
            "{estimate:?}"
        );
        estimate.remaining
    }

    /// The estimate is exact at the moment of the store's reply, whatever the rate.
    #[test]
    fn what_is_used_is_not_remaining_and_what_is_held_is() {
        for text in [
            "1000/s burst 2000",
            "100/h",
            "3/s burst 7",
            "999983/day burst 5000",
            "1/365day burst 1",
        ] {
            let limit = limit(text);
            for used in [0, 1, 2, limit.burst() / 2, limit.burst()] {
                let used = used.min(limit.burst());
                let full_in = limit.time_for(used);
                for held in [0, used / 2, used] {
                    let expected = limit.burst() - used + held;
                    assert_eq!(
                        remaining(&limit, held, full_in),
                        expected,
                        "{text}: {used}, {held}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_limit_that_nobody_asked_for_in_a_long_time_has_its_burst() {
        let limit = limit("100/h burst 50 overshoot 10");
        assert_eq!(remaining(&limit, 0, Duration::ZERO), 50);
        assert_eq!(remaining(&limit, 40, Duration::ZERO), 50);
        assert_eq!(
            remaining(&limit, 40, Duration::MAX),
            40,
            "what is held, it has"
        );
        let verdict = Verdict::allow(Decided::Local, 0, Duration::ZERO).with_limit(LimitId(0));
        assert_eq!(limit.estimate(&verdict).unwrap().reset, Duration::ZERO);
    }

    #[test]
    fn the_time_to_the_burst_is_that_of_what_does_not_remain() {
        let limit = limit("10/s burst 50");
        let verdict = Verdict::allow(Decided::Local, 10, Duration::from_secs(2));
        let estimate = limit.estimate(&verdict.with_limit(LimitId(0))).unwrap();
        assert_eq!(
            (estimate.remaining, estimate.reset),
            (40, Duration::from_secs(1))
        );
    }

    #[test]
    fn a_denied_request_finds_nothing_and_an_undecided_one_knows_nothing() {
        let limit = limit("10/s burst 50");
        let retry = Retry::After(Duration::from_millis(100));
        let denied = Verdict::deny(Decided::Local, Reason::Exhausted, retry);
        let denied = denied
            .with_reset(Duration::from_secs(5))
            .with_limit(LimitId(0));
        let estimate = limit.estimate(&denied).unwrap();
        assert_eq!(
            (estimate.remaining, estimate.reset),
            (0, Duration::from_secs(5))
        );
        let unknown = Verdict::allow_unknown(Decided::Fallback);
        assert_eq!(limit.estimate(&unknown.with_limit(LimitId(0))), None);
        let nowhere = Verdict::allow(Decided::Local, 1, Duration::ZERO);
        assert_eq!(limit.estimate(&nowhere), None);
    }
}
