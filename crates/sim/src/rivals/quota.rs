//! A limit as counters of windows understand it: so many tokens in each window.
//!
//! Such limiters know no burst: of `"100/min burst 20"` they see the 100 and the minute. A window
//! other than the limit's own period may be asked for; the quota is then what the rate yields in
//! it, rounded down to whole tokens.
//!
//! # Invariant
//!
//! Counts of windows never move to an earlier window: a clock that goes back counts on in the
//! window it had reached.

use leasehold_core::{Limit, Micros};

use crate::units::Span;

/// A number of tokens per window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Quota {
    /// Tokens in each window.
    pub(super) tokens: u64,
    /// The length of a window in microseconds; at least 1.
    pub(super) window_us: u64,
}

impl Quota {
    /// The quota of `limit` in its own period.
    pub(super) const fn of(limit: &Limit) -> Self {
        let rate = limit.rate();
        let Micros(window_us) = rate.period;
        Self {
            tokens: rate.tokens,
            window_us,
        }
    }

    /// The quota of `limit` in windows of another length.
    pub(super) fn within(limit: &Limit, window: Span) -> Self {
        let own = Self::of(limit);
        let window_us = (window.0 / 1000).max(1);
        let tokens = u128::from(own.tokens) * u128::from(window_us) / u128::from(own.window_us);
        Self {
            tokens: u64::try_from(tokens).unwrap_or(u64::MAX),
            window_us,
        }
    }

    /// Which window `now_us` lies in.
    pub(super) const fn index(self, now_us: u64) -> u64 {
        now_us / self.window_us
    }

    /// When the window `index` is over.
    pub(super) const fn end_us(self, index: u64) -> u64 {
        (index + 1).saturating_mul(self.window_us)
    }

    /// How much of the window `index` is yet to come at `now_us`: all of it, for a clock that has
    /// gone back to before the window.
    pub(super) fn left_us(self, index: u64, now_us: u64) -> u64 {
        let left = self.end_us(index).saturating_sub(now_us);
        left.min(self.window_us)
    }
}

/// Tokens counted in a window and in the one before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    /// Which window.
    pub(super) index: u64,
    /// Tokens in it.
    pub(super) current: u64,
    /// Tokens in the one before.
    pub(super) previous: u64,
}

impl Counts {
    /// Moves on to the window `index`, if that is a later one.
    pub(super) fn move_to(&mut self, index: u64) {
        if index <= self.index {
            return;
        }
        self.previous = if index == self.index + 1 {
            self.current
        } else {
            0
        };
        self.current = 0;
        self.index = index;
    }

    /// Whether `cost` more tokens fit if the window before counts for the part of it that a
    /// window ending now would still cover, `left_us` of its length.
    pub(super) fn fits(&self, cost: u64, quota: Quota, left_us: u64) -> bool {
        let window = u128::from(quota.window_us);
        let weighted = u128::from(self.previous) * u128::from(left_us);
        let whole = u128::from(self.current) + u128::from(cost);
        weighted + whole * window <= u128::from(quota.tokens) * window
    }

    /// How long after the start of a window `cost` fits beside `current`, if the window before
    /// counted `previous` tokens; `None` if not before its end.
    ///
    /// That is the least `e` with `previous * (window - e) <= (tokens - current - cost) * window`.
    pub(super) fn fits_from_us(
        previous: u64,
        current: u64,
        cost: u64,
        quota: Quota,
    ) -> Option<u64> {
        let room = quota.tokens.checked_sub(current.checked_add(cost)?)?;
        if previous <= room {
            return Some(0);
        }
        let left = u128::from(room) * u128::from(quota.window_us) / u128::from(previous);
        let left = u64::try_from(left).expect("less than a window: room is less than previous");
        Some(quota.window_us - left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_the_rate_over_the_window() {
        let limit: Limit = "100/min burst 20".parse().unwrap();
        assert_eq!(
            Quota::of(&limit),
            Quota {
                tokens: 100,
                window_us: 60_000_000
            }
        );
        assert_eq!(Quota::within(&limit, Span::from_secs(30)).tokens, 50);
        assert_eq!(Quota::within(&limit, Span::from_millis(599)).tokens, 0);
    }

    #[test]
    fn counts_move_on_and_never_back() {
        let mut counts = Counts {
            index: 4,
            current: 7,
            previous: 3,
        };
        counts.move_to(3);
        assert_eq!((counts.index, counts.current, counts.previous), (4, 7, 3));
        counts.move_to(5);
        assert_eq!((counts.index, counts.current, counts.previous), (5, 0, 7));
        counts.current = 2;
        counts.move_to(7);
        assert_eq!((counts.index, counts.current, counts.previous), (7, 0, 0));
    }

    #[test]
    fn the_first_fitting_microsecond_fits_and_the_one_before_does_not() {
        let quota = Quota {
            tokens: 10,
            window_us: 1_000,
        };
        for (previous, current, cost) in [(10, 0, 1), (9, 3, 2), (10, 9, 1), (7, 5, 4)] {
            let counts = Counts {
                index: 1,
                current,
                previous,
            };
            let from = Counts::fits_from_us(previous, current, cost, quota).unwrap();
            assert!(counts.fits(cost, quota, quota.window_us - from));
            assert!(from == 0 || !counts.fits(cost, quota, quota.window_us - from + 1));
        }
        assert_eq!(Counts::fits_from_us(0, 9, 2, quota), None);
        assert_eq!(Counts::fits_from_us(0, 0, 11, quota), None);
    }
}
