//! A limit: so many tokens per period, so many at once, and how far beyond that a deployment
//! agrees to go.
//!
//! # Invariant
//!
//! A `Limit` that exists is representable: its [`Scale`] has been found, and no later arithmetic
//! on it can round or overflow. It is checked once, here.

use core::fmt;
use core::time::Duration;

use crate::parse::{LimitError, Problem};
use crate::scale::Scale;
use crate::time::Micros;

/// So many tokens per period, in bursts of so many.
///
/// Written `"1000/s burst 2000"`, `"100/min"`, `"0.5/s"` or `"1000000/day burst 5000 overshoot 1%"`,
/// or [`Limit::per_second(1000).burst(2000)`](Self::per_second). Without `burst`, a whole period's
/// tokens may come at once; without `overshoot`, nothing beyond is ever admitted. Decimals are
/// exact: `0.5/s` is `1/2s`.
///
/// # The promise
///
/// For every key and every window of length `w`, however many replicas there are and whatever is
/// lost, delayed, duplicated or crashes: `admitted <= burst + overshoot + rate * w`. Windows are
/// read on the store's clock, at the limit's [`resolution`](Self::resolution).
///
/// # Examples
///
/// ```
/// use leasehold_core::Limit;
///
/// let limit: Limit = "1000/s burst 2000".parse()?;
/// assert_eq!(limit.burst(), 2000);
/// assert_eq!(limit.overshoot(), 0);
/// assert_eq!(limit.to_string(), "1000/s burst 2000");
///
/// let error = "1000".parse::<Limit>().unwrap_err();
/// assert!(error.to_string().contains("1000/s"));
/// # Ok::<(), leasehold_core::LimitError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Limit {
    rate: Rate,
    burst: u64,
    overshoot: u64,
    scale: Scale,
}

/// Tokens per period, as configured.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rate {
    /// Tokens in each period; at least 1.
    pub tokens: u64,
    /// The period; at least one microsecond.
    pub period: Micros,
}

impl Limit {
    /// `rate` with bursts of `burst` tokens and a budget of `overshoot` tokens beyond them.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if a number is zero that must not be, or if the numbers together are too
    /// large to be kept exact.
    pub fn new(rate: Rate, burst: u64, overshoot: u64) -> Result<Self, LimitError> {
        let positive = [
            (rate.tokens, Problem::ZeroRate),
            (rate.period.0, Problem::ZeroPeriod),
            (burst, Problem::ZeroBurst),
        ];
        if let Some((_, problem)) = positive.into_iter().find(|(number, _)| *number == 0) {
            return Err(LimitError::of(problem));
        }
        let tokens_max = burst.saturating_mul(2).saturating_add(overshoot);
        let scale = Scale::fit(rate.tokens, rate.period, tokens_max)
            .ok_or_else(|| LimitError::of(Problem::TooLarge))?;
        Ok(Self {
            rate,
            burst,
            overshoot,
            scale,
        })
    }

    /// The rate.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The most tokens that may be spent at once by an idle key. No single request may cost more.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Tokens that may be admitted beyond burst and rate; 0 unless configured.
    pub const fn overshoot(&self) -> u64 {
        self.overshoot
    }

    /// Burst and overshoot: what may be charged and outstanding together.
    pub const fn capacity(&self) -> u64 {
        self.burst + self.overshoot
    }

    /// The arithmetic of this limit.
    pub const fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The capacity in level units.
    pub const fn capacity_level(&self) -> u64 {
        self.scale.level(self.capacity())
    }

    /// The step in which the store's clock is read for this limit. One microsecond, except for
    /// limits whose numbers are too large to be exact on it; there a token may come up to one
    /// step early.
    pub const fn resolution(&self) -> Duration {
        Duration::from_micros(self.scale.tick)
    }

    /// The time in which the rate yields `tokens`, rounded up to the microsecond.
    pub fn time_for(&self, tokens: u64) -> Duration {
        let micros = u128::from(tokens) * u128::from(self.rate.period.0);
        let micros = micros.div_ceil(u128::from(self.rate.tokens));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} burst {}", self.rate, self.burst)?;
        if self.overshoot > 0 {
            write!(f, " overshoot {}", self.overshoot)?;
        }
        Ok(())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Micros(period) = self.period;
        let (unit, name) = UNITS
            .into_iter()
            .find(|(unit, _)| period.is_multiple_of(*unit))
            .unwrap_or((1, "us"));
        write!(f, "{}/", self.tokens)?;
        if period != unit {
            write!(f, "{}", period / unit)?;
        }
        f.write_str(name)
    }
}

/// Units of a period in microseconds with the names they are written by, longest first.
pub(crate) const UNITS: [(u64, &str); 6] = [
    (86_400_000_000, "day"),
    (3_600_000_000, "h"),
    (60_000_000, "min"),
    (1_000_000, "s"),
    (1_000, "ms"),
    (1, "us"),
];

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_limit_prints_as_it_may_be_written() {
        for text in [
            "1000/s burst 2000",
            "3/2min burst 7 overshoot 4",
            "1/day burst 1",
            "5/1500ms burst 2",
        ] {
            let limit: Limit = text.parse().unwrap();
            assert_eq!(limit.to_string(), text);
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }

    #[test]
    fn the_whole_range_from_a_token_a_day_to_a_thousand_million_a_second_is_exact() {
        for text in [
            "1/day",
            "1000000000/s",
            "999983/day burst 5000",
            "1/365day burst 1",
        ] {
            let limit: Limit = text.parse().unwrap();
            assert_eq!(limit.resolution(), Duration::from_micros(1), "{text}");
        }
    }

    #[test]
    fn time_for_tokens_is_never_too_short() {
        let limit: Limit = "3/s".parse().unwrap();
        assert_eq!(limit.time_for(1), Duration::from_micros(333_334));
        assert_eq!(limit.time_for(3), Duration::from_secs(1));
    }
}
