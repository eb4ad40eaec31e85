//! The sliding window log: every admission with its time, for the length of a window.
//!
//! So work limiters on a Redis sorted set, with `ZADD` and `ZREMRANGEBYSCORE`, such as the package
//! rolling-rate-limiter. Exact for every window of that length, at the price of one
//! entry per admission. Scripts that log before they count also log what they deny, and lock out
//! whoever keeps trying; here a denial logs nothing.
//!
//! # Invariant
//!
//! `sum` is the sum of the log, whose times never fall. What is as old as a window has left it:
//! the window is `(now - window, now]`.

use std::collections::VecDeque;

use super::meter::Refusal;
use super::quota::Quota;

/// The admissions, each with its time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct SlidingLog {
    log: VecDeque<(u64, u64)>,
    sum: u64,
}

impl SlidingLog {
    /// Whether `cost` fits into the window that ends at `now_us`.
    pub(super) fn room(&mut self, cost: u64, quota: Quota, now_us: u64) -> Result<(), Refusal> {
        let free_from = quota.tokens.checked_sub(cost).ok_or(Refusal::NEVER)?;
        self.drop_old(quota, now_us);
        if self.sum <= free_from {
            return Ok(());
        }
        let mut sum = self.sum;
        let leaves = |&(at_us, cost): &(u64, u64)| {
            sum -= cost;
            (sum <= free_from).then_some(u128::from(at_us) + u128::from(quota.window_us))
        };
        let fits_at = self.log.iter().find_map(leaves);
        Err(Refusal::until(
            fits_at.expect("nothing is left of an empty log"),
            now_us,
        ))
    }

    /// Logs `cost`, for which there is room.
    pub(super) fn charge(&mut self, cost: u64, now_us: u64) {
        let last_us = self.log.back().map_or(0, |&(at_us, _)| at_us);
        self.log.push_back((now_us.max(last_us), cost));
        self.sum += cost;
    }

    /// Whether it still says more than a blank one.
    pub(super) fn matters(&self, quota: Quota, now_us: u64) -> bool {
        let last = self.log.back();
        last.is_some_and(|&(at_us, _)| at_us.saturating_add(quota.window_us) > now_us)
    }

    fn drop_old(&mut self, quota: Quota, now_us: u64) {
        while let Some(&(at_us, cost)) = self.log.front()
            && at_us.saturating_add(quota.window_us) <= now_us
        {
            self.log.pop_front();
            self.sum -= cost;
        }
    }
}
