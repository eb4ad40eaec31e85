//! The five algorithms behind one face, and spending under several limits at once.
//!
//! # Invariant
//!
//! All demands of a request are charged, or none: each is checked before the first is charged. A
//! request names a key of a limit at most once.

use leasehold_core::Limit;
use serde::Deserialize;

use super::fixed_window::FixedWindow;
use super::leaky_bucket::LeakyBucket;
use super::quota::Quota;
use super::sliding_counter::SlidingCounter;
use super::sliding_log::SlidingLog;
use super::table::{Slot, Table};
use super::token_bucket::TokenBucket;
use crate::model::Demand;

/// How requests are counted. Buckets know a limit's rate and burst, windows its tokens and period;
/// none of them knows a budget for overshoot.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// A bucket of tokens that fills at the rate, kept as GCRA does.
    #[default]
    TokenBucket,
    /// A bucket that leaks at the rate, as a meter: the same from below.
    LeakyBucket,
    /// A number of tokens between two full periods of the store's clock.
    FixedWindow,
    /// Two windows, the last one weighted by how much of it still counts.
    SlidingWindowCounter,
    /// Every admission with its time.
    SlidingWindowLog,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    /// The time until the cost would fit if nothing else came, in microseconds; `None` for never.
    pub(super) retry_after_us: Option<u64>,
}

impl Refusal {
    /// The cost alone is too much.
    pub(super) const NEVER: Self = Self {
        retry_after_us: None,
    };

    pub(super) const fn after_us(micros: u64) -> Self {
        Self {
            retry_after_us: Some(micros),
        }
    }

    /// The cost fits at `at_us`.
    pub(super) fn until(at_us: u128, now_us: u64) -> Self {
        let micros = at_us.saturating_sub(now_us.into());
        Self::after_us(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// In nanoseconds, as clients are told.
    pub(super) fn retry_after_ns(self) -> Option<u64> {
        self.retry_after_us
            .map(|micros| micros.saturating_mul(1000))
    }

    /// The one that lasts longest; all are looked at.
    pub(super) fn longest(rooms: impl Iterator<Item = Result<(), Self>>) -> Option<Self> {
        rooms.filter_map(Result::err).reduce(|longest, next| {
            if next.outlasts(longest) {
                next
            } else {
                longest
            }
        })
    }

    /// Whether it lasts longer than `other`.
    fn outlasts(self, other: Self) -> bool {
        let length = |refusal: Self| refusal.retry_after_us.map_or(u64::MAX, |micros| micros);
        length(self) > length(other)
    }
}

/// The use of one key, by one of the algorithms.
#[derive(Clone, Debug)]
pub(super) enum Meter {
    TokenBucket(TokenBucket),
    LeakyBucket(LeakyBucket),
    FixedWindow(FixedWindow),
    SlidingCounter(SlidingCounter),
    SlidingLog(SlidingLog),
}

impl Meter {
    pub(super) fn blank(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::TokenBucket => Self::TokenBucket(TokenBucket::default()),
            Algorithm::LeakyBucket => Self::LeakyBucket(LeakyBucket::default()),
            Algorithm::FixedWindow => Self::FixedWindow(FixedWindow::default()),
            Algorithm::SlidingWindowCounter => Self::SlidingCounter(SlidingCounter::default()),
            Algorithm::SlidingWindowLog => Self::SlidingLog(SlidingLog::default()),
        }
    }

    /// Whether `cost` more tokens may be spent at `now_us`.
    pub(super) fn room(&mut self, cost: u64, limit: &Limit, now_us: u64) -> Result<(), Refusal> {
        match self {
            Self::TokenBucket(bucket) => bucket.room(cost, limit, now_us),
            Self::LeakyBucket(bucket) => bucket.room(cost, limit, now_us),
            Self::FixedWindow(window) => window.room(cost, Quota::of(limit), now_us),
            Self::SlidingCounter(counter) => counter.room(cost, Quota::of(limit), now_us),
            Self::SlidingLog(log) => log.room(cost, Quota::of(limit), now_us),
        }
    }

    /// Spends `cost` tokens, for which there was room at `now_us`.
    pub(super) fn charge(&mut self, cost: u64, limit: &Limit, now_us: u64) {
        match self {
            Self::TokenBucket(bucket) => bucket.charge(cost, limit, now_us),
            Self::LeakyBucket(bucket) => bucket.charge(cost, limit),
            Self::FixedWindow(window) => window.charge(cost),
            Self::SlidingCounter(counter) => counter.charge(cost),
            Self::SlidingLog(log) => log.charge(cost, now_us),
        }
    }

    /// Whether it still says more than a blank one.
    pub(super) fn matters(&self, limit: &Limit, now_us: u64) -> bool {
        match self {
            Self::TokenBucket(bucket) => bucket.matters(limit, now_us),
            Self::LeakyBucket(bucket) => bucket.matters(limit, now_us),
            Self::FixedWindow(window) => window.matters(Quota::of(limit), now_us),
            Self::SlidingCounter(counter) => counter.matters(Quota::of(limit), now_us),
            Self::SlidingLog(log) => log.matters(Quota::of(limit), now_us),
        }
    }
}

/// The meters of all keys.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    algorithm: Algorithm,
    meters: Table<Meter>,
}

/// Which demand of a request refuses it, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Refused {
    /// The key that refuses for longest.
    pub(super) slot: Slot,
    pub(super) refusal: Refusal,
}

impl Meters {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            meters: Table::new(),
        }
    }

    /// Spends all demands at `now_us`, or none.
    pub(super) fn spend(
        &mut self,
        demands: &[Demand],
        limits: &[Limit],
        now_us: u64,
    ) -> Result<(), Refused> {
        self.meters
            .sweep_if_grown(|slot, meter| meter.matters(limit_of(limits, slot), now_us));
        let algorithm = self.algorithm;
        if let [demand] = demands {
            // The usual case, with one look-up.
            let slot = Slot::from(demand);
            let meter = self.meters.open(slot, || Meter::blank(algorithm));
            let (cost, limit) = (demand.cost.into(), limit_of(limits, slot));
            let room = meter.room(cost, limit, now_us);
            room.map_err(|refusal| Refused { slot, refusal })?;
            meter.charge(cost, limit, now_us);
            return Ok(());
        }
        self.check_all(demands, limits, now_us)?;
        for demand in demands {
            let slot = Slot::from(demand);
            let meter = self.meters.find_mut(slot).expect("opened by the check");
            meter.charge(demand.cost.into(), limit_of(limits, slot), now_us);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.meters.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.meters.len()
    }

    fn check_all(
        &mut self,
        demands: &[Demand],
        limits: &[Limit],
        now_us: u64,
    ) -> Result<(), Refused> {
        let algorithm = self.algorithm;
        let mut longest: Option<Refused> = None;
        for demand in demands {
            let slot = Slot::from(demand);
            let meter = self.meters.open(slot, || Meter::blank(algorithm));
            let room = meter.room(demand.cost.into(), limit_of(limits, slot), now_us);
            if let Err(refusal) = room
                && longest.is_none_or(|longest| refusal.outlasts(longest.refusal))
            {
                longest = Some(Refused { slot, refusal });
            }
        }
        longest.map_or(Ok(()), Err)
    }
}

/// The limit of a key.
pub(super) fn limit_of(limits: &[Limit], slot: Slot) -> &Limit {
    &limits[slot.limit as usize]
}

#[cfg(test)]
mod tests;
