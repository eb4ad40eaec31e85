//! The sliding window counter: this window's count, and of the last one's the part that a window
//! ending now would still cover.
//!
//! So work Cloudflare, `slidingWindow` of upstash's ratelimit and, by default, Kong's
//! `rate-limiting-advanced`. It takes the last window's requests for evenly spread. Where they were
//! not, up to nearly twice the quota passes within one window's length, yet not at once. Those
//! systems use doubles; this is exact.

use super::meter::Refusal;
use super::quota::{Counts, Quota};

/// Counts of the window and of the one before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct SlidingCounter(Counts);

impl SlidingCounter {
    /// Whether `cost` fits in at `now_us`.
    pub(super) fn room(&mut self, cost: u64, quota: Quota, now_us: u64) -> Result<(), Refusal> {
        if cost > quota.tokens {
            return Err(Refusal::NEVER);
        }
        self.0.move_to(quota.index(now_us));
        let left_us = quota.left_us(self.0.index, now_us);
        if self.0.fits(cost, quota, left_us) {
            return Ok(());
        }
        Err(Refusal::until(self.fits_at_us(cost, quota), now_us))
    }

    /// Counts `cost`, for which there is room.
    pub(super) fn charge(&mut self, cost: u64) {
        self.0.current += cost;
    }

    /// Whether it still says more than a blank one.
    pub(super) fn matters(&self, quota: Quota, now_us: u64) -> bool {
        self.0.index + 1 >= quota.index(now_us)
    }

    /// When `cost` will fit, in this window or in the next, if nothing else comes.
    fn fits_at_us(&self, cost: u64, quota: Quota) -> u128 {
        let Counts {
            index,
            current,
            previous,
        } = self.0;
        let start = u128::from(index) * u128::from(quota.window_us);
        if let Some(from) = Counts::fits_from_us(previous, current, cost, quota) {
            return start + u128::from(from);
        }
        let next = start + u128::from(quota.window_us);
        let from = Counts::fits_from_us(current, 0, cost, quota).unwrap_or(quota.window_us);
        next + u128::from(from)
    }
}
