//! The leaky bucket as a meter: a request pours its cost in if that does not spill, and the bucket
//! leaks at the rate.
//!
//! So work nginx `limit_req` with `nodelay`, gubernator's `LEAKY_BUCKET` and most Redis scripts
//! that keep a number and a time stamp. nginx counts in thousandths of a request and milliseconds;
//! this is exact. As a meter it admits the very same requests as the token bucket. It differs where
//! a limit changes under way: what lies in this bucket stays so many tokens, whereas the token
//! bucket stays as far from full, in time. (The leaky bucket as a queue, which delays requests, is
//! not modelled.)
//!
//! # Invariant
//!
//! The level is what was poured in and has not leaked, exactly, in level units of `weight` each.

use leasehold_core::{Limit, StoreTime};

use super::meter::Refusal;

/// The bucket's content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LeakyBucket {
    level: u64,
    /// When the level was exact.
    at: StoreTime,
    /// The weight of a token in `level`; 0 in a blank one.
    weight: u64,
}

impl Default for LeakyBucket {
    fn default() -> Self {
        Self {
            level: 0,
            at: StoreTime::ZERO,
            weight: 0,
        }
    }
}

impl LeakyBucket {
    /// Whether `cost` fits in at `now_us`.
    pub(super) fn room(&mut self, cost: u64, limit: &Limit, now_us: u64) -> Result<(), Refusal> {
        let free_from = limit.burst().checked_sub(cost).ok_or(Refusal::NEVER)?;
        let now = StoreTime::from_micros(now_us);
        self.adopt(limit);
        self.leak(now, limit);
        let free_from = limit.scale().level(free_from);
        match self.level.checked_sub(free_from) {
            None | Some(0) => Ok(()),
            Some(over) => {
                let scale = limit.scale();
                let tick = self.at.as_micros() / scale.tick + over.div_ceil(scale.drain);
                let leaked_us = tick.saturating_mul(scale.tick).min(WAIT_MAX_US);
                Err(Refusal::after_us(leaked_us.saturating_sub(now_us)))
            }
        }
    }

    /// Pours `cost` in, for which there is room.
    pub(super) fn charge(&mut self, cost: u64, limit: &Limit) {
        self.level += limit.scale().level(cost);
    }

    /// Whether it still says more than a blank one.
    pub(super) fn matters(&self, limit: &Limit, now_us: u64) -> bool {
        let mut later = *self;
        later.adopt(limit);
        later.leak(StoreTime::from_micros(now_us), limit);
        later.level > 0
    }

    /// Leaks up to `to`; time that goes back leaks nothing.
    fn leak(&mut self, to: StoreTime, limit: &Limit) {
        let scale = limit.scale();
        let leaked = scale.ticks(self.at, to).saturating_mul(scale.drain);
        self.level = self.level.saturating_sub(leaked);
        self.at = self.at.max(to);
    }

    /// Weighs the level anew if the limit has changed, rounding up.
    fn adopt(&mut self, limit: &Limit) {
        let weight = limit.scale().weight;
        if self.weight != weight {
            let level = u128::from(self.level) * u128::from(weight);
            let level = level.div_ceil(u128::from(self.weight.max(1)));
            self.level = u64::try_from(level).unwrap_or(u64::MAX).min(LEVEL_MAX);
            self.weight = weight;
        }
    }
}

/// Nobody waits as long: 142 years.
const WAIT_MAX_US: u64 = 1 << 52;

/// No level a limit can need comes near; what is above only waits for a limit to change back.
const LEVEL_MAX: u64 = 1 << 62;
