//! The token bucket as stores keep it: GCRA, the generic cell rate algorithm.
//!
//! So work redis-cell, `throttled` for Go, `redis_rate`, throttlecrab and governor. They round
//! times to a nanosecond, a microsecond or a double; this keeps the fraction, so the model is
//! exact.
//!
//! # Invariant
//!
//! One point in time says it all: when the bucket would be full again if nothing more came. It is
//! never moved but by a charge, and an earlier clock reading only makes the bucket look emptier.

use leasehold_core::Limit;

use super::meter::Refusal;

/// When the bucket would be full again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct TokenBucket {
    /// The time at which the bucket is full, in whole microseconds of the clock it is asked by.
    full_at_us: u64,
    /// The rest beyond them, as level units of which `drain` make a tick.
    rest: u64,
    /// The drain by which `rest` was counted.
    drain: u64,
}

impl TokenBucket {
    /// Whether `cost` is there at `now_us`.
    pub(super) fn room(&self, cost: u64, limit: &Limit, now_us: u64) -> Result<(), Refusal> {
        let free_from = limit.burst().checked_sub(cost).ok_or(Refusal::NEVER)?;
        let level = self.level(limit, now_us);
        let over = level.saturating_sub(limit.scale().level(free_from).into());
        if over == 0 {
            return Ok(());
        }
        let scale = limit.scale();
        let ticks = over.div_ceil(scale.drain.into());
        // Clocks of ticks turn at multiples of a tick, not a tick from now.
        let tick = u128::from(now_us / scale.tick) + ticks;
        Err(Refusal::until(tick * u128::from(scale.tick), now_us))
    }

    /// Takes `cost` tokens, for which there is room.
    pub(super) fn charge(&mut self, cost: u64, limit: &Limit, now_us: u64) {
        let scale = limit.scale();
        let now = now_us / scale.tick;
        let (ticks, rest) = self.full_at(limit);
        let (ticks, rest) = if ticks < now { (now, 0) } else { (ticks, rest) };
        let level = rest + scale.level(cost);
        let ticks = ticks.saturating_add(level / scale.drain);
        *self = Self {
            full_at_us: ticks.saturating_mul(scale.tick),
            rest: level % scale.drain,
            drain: scale.drain,
        };
    }

    /// Whole tokens there at `now_us`.
    pub(super) fn tokens(&self, limit: &Limit, now_us: u64) -> u64 {
        let scale = limit.scale();
        let free = u128::from(scale.level(limit.burst())).saturating_sub(self.level(limit, now_us));
        u64::try_from(free).map_or(0, |free| free / scale.weight)
    }

    /// Whether it still says more than a blank one.
    pub(super) fn matters(&self, limit: &Limit, now_us: u64) -> bool {
        self.level(limit, now_us) > 0
    }

    /// Level units to drain until it is full.
    fn level(&self, limit: &Limit, now_us: u64) -> u128 {
        let scale = limit.scale();
        let (ticks, rest) = self.full_at(limit);
        match ticks.checked_sub(now_us / scale.tick) {
            Some(ticks) => u128::from(ticks) * u128::from(scale.drain) + u128::from(rest),
            None => 0,
        }
    }

    /// The time it is full again in ticks, and level units beyond. A time outlives a change of the
    /// limit, a fraction counted by another drain does not: it is rounded up.
    fn full_at(&self, limit: &Limit) -> (u64, u64) {
        let scale = limit.scale();
        let ticks = self.full_at_us.div_ceil(scale.tick);
        match self.rest {
            rest if self.drain == scale.drain => (ticks, rest),
            0 => (ticks, 0),
            _ => (ticks + 1, 0),
        }
    }
}
