//! The meter of a key: how much of what was charged still counts, and until when.
//!
//! It alone knows level units: the ledger gives it tokens and hears tokens and times.
//!
//! # Invariant
//!
//! The level counts in level units of the meter's own weight, which is that of the limit it last
//! [adopted](Meter::adopt). A level never exceeds what stays exact beside another of its kind.

use crate::bucket::Bucket;
use crate::limit::Limit;
use crate::scale::LEVEL_END;
use crate::time::{Micros, StoreTime};

/// The meter of a key, on which its store charges tokens: a token bucket.
///
/// A meter is opaque but for the form in which a store keeps it: a level in level units, the time
/// at which that was exact, and the weight of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Meter {
    bucket: Bucket,
    /// The weight of a token in `bucket`, so that a change of the limit can be recognised.
    weight: u64,
}

impl Meter {
    /// The meter that a store has kept: `level` level units of which `weight` make a token, exact
    /// at `at`. `weight` is not 0.
    pub const fn from_stored(level: u64, at: StoreTime, weight: u64) -> Self {
        let bucket = Bucket { level, at };
        Self { bucket, weight }
    }

    /// Level units charged and not yet drained at [`at`](Self::at).
    pub const fn level(&self) -> u64 {
        self.bucket.level
    }

    /// The time at which the level was exact. In the future while the meter is frozen.
    pub const fn at(&self) -> StoreTime {
        self.bucket.at
    }

    /// Level units that make a token.
    pub const fn weight(&self) -> u64 {
        self.weight
    }

    /// Tokens charged and not yet drained at [`at`](Self::at), as near as a double comes: for
    /// people and logs.
    #[expect(clippy::cast_precision_loss, reason = "levels are below 2^53")]
    pub const fn charged(&self) -> f64 {
        self.bucket.level as f64 / self.weight as f64
    }

    /// A meter with nothing charged.
    pub(crate) const fn full(at: StoreTime, limit: &Limit) -> Self {
        Self::spent(0, at, limit)
    }

    /// A meter on which `tokens` count as charged at `at`; frozen until then if that is yet to
    /// come.
    pub(crate) const fn spent(tokens: u64, at: StoreTime, limit: &Limit) -> Self {
        let scale = limit.scale();
        Self::from_stored(scale.level(tokens), at, scale.weight)
    }

    /// Re-weighs the level if the limit has changed, rounding up: the safe side.
    pub(crate) fn adopt(&mut self, limit: &Limit) {
        let weight = limit.scale().weight;
        if weight != self.weight {
            let tokens = self.bucket.level / self.weight;
            let rest = self.bucket.level % self.weight;
            // Lua has no wider integer, so the rest is re-weighed in doubles that are exact
            // only for small weights, and counts as a whole token otherwise.
            let exact = self.weight < WEIGHT_EXACT && weight < WEIGHT_EXACT;
            let rest = match rest {
                0 => 0,
                rest if exact => (rest * weight).div_ceil(self.weight),
                _ => weight,
            };
            // Capped only to stay exact. A cap at the new capacity would forget what was charged,
            // and while a deployment mixes two limits, each of its calls would forget it again.
            let tokens = tokens.min(Self::tokens_max(limit));
            self.bucket.level = tokens * weight + rest;
            self.weight = weight;
        }
    }

    /// The most tokens of which a level stays exact under `limit`.
    pub(crate) const fn tokens_max(limit: &Limit) -> u64 {
        LEVEL_END / limit.scale().weight - 1
    }

    /// Drains up to `to`.
    pub(crate) fn drain(&mut self, to: StoreTime, limit: &Limit) {
        self.bucket.drain(to, limit);
    }

    /// Charges tokens for which there is room.
    pub(crate) fn spend(&mut self, tokens: u64, limit: &Limit) {
        self.bucket.level += limit.scale().level(tokens);
    }

    /// Charges tokens, fit they or not, as far as no more than `ceiling` are charged then.
    pub(crate) fn charge(&mut self, tokens: u64, ceiling: u64, limit: &Limit) {
        let (level, scale) = (self.bucket.level, limit.scale());
        let charged = level + scale.level(tokens.min(ceiling));
        self.bucket.level = level.max(charged.min(scale.level(ceiling)));
    }

    /// Takes all that is charged as drained.
    pub(crate) fn forgive(&mut self) {
        self.bucket.level = 0;
    }

    /// Whole tokens of the capacity that are not charged.
    pub(crate) const fn uncharged(&self, limit: &Limit) -> u64 {
        let uncharged = limit.capacity_level().saturating_sub(self.bucket.level);
        uncharged / limit.scale().weight
    }

    /// The time from `now` until at most `tokens` are charged; `None` if no more are.
    pub(crate) fn time_until_at_most(
        &self,
        tokens: u64,
        limit: &Limit,
        now: StoreTime,
    ) -> Option<Micros> {
        let allowed = limit.scale().level(tokens);
        match self.bucket.level.saturating_sub(allowed) {
            0 => None,
            lacking => Some(self.bucket.time_to_drain(lacking, limit, now)),
        }
    }

    /// Whether at most `tokens` are charged.
    pub(crate) const fn is_at_most(&self, tokens: u64, limit: &Limit) -> bool {
        self.bucket.level <= limit.scale().level(tokens)
    }

    /// The time from `now` until all that is charged and `more` tokens beside have drained.
    pub(crate) fn time_to_drain_with(&self, more: u64, limit: &Limit, now: StoreTime) -> Micros {
        let level = self.bucket.level + limit.scale().level(more);
        self.bucket.time_to_drain(level, limit, now)
    }
}

/// Two numbers below this have a product below 2^52.
const WEIGHT_EXACT: u64 = 1 << 26;
