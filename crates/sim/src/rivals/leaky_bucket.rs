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

use leasehold_core::{Bucket, Limit, StoreTime};

use super::meter::Refusal;

/// The bucket's content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LeakyBucket {
    bucket: Bucket,
    /// The weight of a token in `bucket`; 0 in a blank one.
    weight: u64,
}

impl Default for LeakyBucket {
    fn default() -> Self {
        Self {
            bucket: Bucket::full(StoreTime::ZERO),
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
        self.bucket.drain(now, limit);
        let free_from = limit.scale().level(free_from);
        match self.bucket.level.checked_sub(free_from) {
            None | Some(0) => Ok(()),
            Some(over) => {
                let wait = self.bucket.time_to_drain(over, limit, now);
                Err(Refusal::after_us(wait.0))
            }
        }
    }

    /// Pours `cost` in, for which there is room.
    pub(super) fn charge(&mut self, cost: u64, limit: &Limit) {
        self.bucket.level += limit.scale().level(cost);
    }

    /// Whether it still says more than a blank one.
    pub(super) fn matters(&self, limit: &Limit, now_us: u64) -> bool {
        let mut later = *self;
        later.adopt(limit);
        later.bucket.drain(StoreTime::from_micros(now_us), limit);
        later.bucket.level > 0
    }

    /// Weighs the level anew if the limit has changed, rounding up.
    fn adopt(&mut self, limit: &Limit) {
        let weight = limit.scale().weight;
        if self.weight != weight {
            let level = u128::from(self.bucket.level) * u128::from(weight);
            let level = level.div_ceil(u128::from(self.weight.max(1)));
            self.bucket.level = u64::try_from(level).unwrap_or(u64::MAX).min(LEVEL_MAX);
            self.weight = weight;
        }
    }
}

/// No level a limit can need comes near; what is above only waits for a limit to change back.
const LEVEL_MAX: u64 = 1 << 62;
