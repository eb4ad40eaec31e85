//! The exact arithmetic of one limit: whole numbers that never round, overflow or drift, in Rust
//! and in Lua alike.
//!
//! A rate is `drain` level units per tick and one token weighs `weight` level units, reduced by
//! their greatest common divisor; a tick is a power of ten of microseconds, one wherever it fits.
//!
//! # Invariant
//!
//! `(capacity + burst) * weight < 2^52` and `drain < 2^52`: every level and every sum formed from
//! levels is an integer that a double, Lua's only number, holds exactly.

use crate::time::{Micros, StoreTime};

/// How a limit's tokens and time become level units and ticks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Scale {
    /// Level units that drain per tick.
    pub drain: u64,
    /// Level units that one token weighs.
    pub weight: u64,
    /// Microseconds per tick.
    pub tick: u64,
}

impl Scale {
    /// The finest scale on which `tokens_max` tokens fit, for `tokens` per `period`; `None` if
    /// there is none on which a tick yields less than a token.
    pub(crate) fn fit(tokens: u64, period: Micros, tokens_max: u64) -> Option<Self> {
        let ticks = core::iter::successors(Some(1u64), |tick| tick.checked_mul(10));
        ticks
            .take_while(|&tick| tick <= TICK_MAX)
            .filter_map(|tick| Self::with_tick(tokens, period, tick))
            .find(|scale| scale.holds(tokens_max))
    }

    fn with_tick(tokens: u64, period: Micros, tick: u64) -> Option<Self> {
        let drain = tokens.checked_mul(tick)?;
        let divisor = gcd(drain, period.0);
        Some(Self {
            drain: drain / divisor,
            weight: period.0 / divisor,
            tick,
        })
    }

    /// Whether `tokens_max` tokens stay exact; and, on a coarse clock, whether a tick is worth
    /// less than a token, so that a coarse tick never lets a whole token through early.
    fn holds(self, tokens_max: u64) -> bool {
        let level = u128::from(tokens_max) * u128::from(self.weight);
        let fits = level < u128::from(LEVEL_END) && self.drain < LEVEL_END;
        fits && (self.tick == 1 || self.drain < self.weight)
    }

    /// The level of `tokens` tokens.
    pub const fn level(&self, tokens: u64) -> u64 {
        tokens * self.weight
    }

    /// Whole ticks between two points: `to` in ticks less `from` in ticks, so that the ticks of
    /// adjoining spans add up exactly.
    pub const fn ticks(&self, from: StoreTime, to: StoreTime) -> u64 {
        (to.as_micros() / self.tick).saturating_sub(from.as_micros() / self.tick)
    }

    /// Ticks in which `level` has drained entirely.
    pub const fn ticks_to_drain(&self, level: u64) -> u64 {
        level.div_ceil(self.drain)
    }
}

pub(crate) const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Integers below 2^53 are exact in a double; one bit is kept free for sums of two levels.
pub(crate) const LEVEL_END: u64 = 1 << 52;

/// The coarsest tick, one second: coarser ones would show as steps that a person can see.
const TICK_MAX: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Micros = Micros(86_400_000_000);

    #[test]
    fn a_rate_is_reduced_to_lowest_terms() {
        let scale = Scale::fit(100, Micros(1_000_000), 200).unwrap();
        assert_eq!((scale.drain, scale.weight, scale.tick), (1, 10_000, 1));
        let scale = Scale::fit(1_000_000, DAY, 10_000).unwrap();
        assert_eq!((scale.drain, scale.weight, scale.tick), (1, 86_400, 1));
    }

    #[test]
    fn ticks_coarsen_only_when_microseconds_do_not_fit() {
        assert_eq!(Scale::fit(999_983, DAY, 50_000).unwrap().tick, 1);
        assert_eq!(Scale::fit(999_983, DAY, 2_000_000).unwrap().tick, 100);
    }

    #[test]
    fn what_fits_no_tick_is_refused() {
        assert_eq!(Scale::fit(999_983, DAY, 1 << 50), None);
    }

    #[test]
    fn the_ticks_of_adjoining_spans_add_up() {
        let scale = Scale {
            drain: 1,
            weight: 7,
            tick: 10,
        };
        let at = StoreTime::from_micros;
        assert_eq!(scale.ticks(at(9), at(10)), 1);
        assert_eq!(scale.ticks(at(10), at(19)), 0);
        assert_eq!(scale.ticks(at(9), at(19)), 1);
        assert_eq!(
            scale.ticks(at(19), at(9)),
            0,
            "time that went back drains nothing"
        );
    }
}
