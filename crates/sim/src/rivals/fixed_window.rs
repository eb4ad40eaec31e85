//! The fixed window: so many tokens between two full minutes, hours or days of the store's clock.
//!
//! So work `INCR` and `EXPIRE` on a key that names the window, Envoy's ratelimit service,
//! Flask-Limiter by default and Kong's `rate-limiting`. Around the end of a window twice the quota
//! passes at once. Scripts that count before they compare also count what they deny; here a denial
//! counts nothing, which is the same as long as all costs are 1.

use super::meter::Refusal;
use super::quota::{Counts, Quota};

/// The count of the window.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct FixedWindow(Counts);

impl FixedWindow {
    /// Whether `cost` fits into the window of `now_us`.
    pub(super) fn room(&mut self, cost: u64, quota: Quota, now_us: u64) -> Result<(), Refusal> {
        if cost > quota.tokens {
            return Err(Refusal::NEVER);
        }
        self.0.move_to(quota.index(now_us));
        if self.0.current <= quota.tokens - cost {
            return Ok(());
        }
        Err(Refusal::until(quota.end_us(self.0.index).into(), now_us))
    }

    /// Counts `cost`, for which there is room.
    pub(super) fn charge(&mut self, cost: u64) {
        self.0.current += cost;
    }

    /// Whether it still says more than a blank one.
    pub(super) fn matters(&self, quota: Quota, now_us: u64) -> bool {
        self.0.index >= quota.index(now_us)
    }
}
