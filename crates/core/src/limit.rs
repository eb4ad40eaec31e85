//! A limit: so many tokens per period, so many at once, and how far beyond that a deployment
//! agrees to go.
//!
//! # Invariant
//!
//! A `Limit` that exists is representable: its [`Scale`] has been found, and no later arithmetic
//! on it can round or overflow. It is checked once, here.

use core::fmt;
use core::time::Duration;

use crate::limit_error::{LimitError, Problem};
use crate::roster::PARTS;
use crate::scale::{Scale, gcd};
use crate::time::Micros;

/// So many tokens per period, in bursts of so many.
///
/// A limit is written `"1000/s burst 2000"`, `"100/min"`, `"0.5/s"` or
/// `"1000000/day burst 5000 overshoot 1%"`, or in code
/// [`Limit::per_second(1000).burst(2000)`](Self::per_second). Without `burst`, a whole period's
/// tokens may come at once; without `overshoot`, nothing beyond is ever admitted; without
/// [`advance`](Self::advance), nothing is set aside. Decimals are exact: `0.5/s` is `1/2s`.
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
/// let limit: Limit = "1000/s burst 2000 advance 10%".parse()?;
/// assert_eq!((limit.advance(), limit.grantable()), (200, 1800));
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
    advance: u64,
    /// Kept, because each denial asks for it.
    cost_max: u64,
    scale: Scale,
}

/// A limit in the making: a rate, to which a burst and a budget are added.
///
/// Numbers that make no limit are found by [`build`](Self::build), and by whatever takes a limit.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use leasehold_core::Limit;
///
/// let limit = Limit::per_second(100).burst(200).overshoot(10).build()?;
/// assert_eq!(limit, "100/s burst 200 overshoot 10".parse()?);
/// assert_eq!(Limit::per_day(5000).build()?, "5000/day".parse()?);
/// assert_eq!(Limit::per(5, Duration::from_millis(1500)).build()?, "5/1.5s".parse()?);
///
/// let error = Limit::per_hour(100).burst(0).build().unwrap_err();
/// assert!(error.to_string().contains("a burst of 0 admits nothing"));
/// # Ok::<(), leasehold_core::LimitError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use = "it is no limit until it is built or given to a limiter"]
pub struct LimitBuilder {
    tokens: u64,
    period: Duration,
    burst: Option<u64>,
    overshoot: u64,
    advance: u64,
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
            advance: 0,
            cost_max: burst,
            scale,
        })
    }

    /// This limit with an advance of so many tokens: see [`advance`](Self::advance).
    ///
    /// # Errors
    ///
    /// [`LimitError`] if nothing would be left to grant.
    pub fn with_advance(self, tokens: u64) -> Result<Self, LimitError> {
        if tokens >= self.capacity() {
            return Err(LimitError::of(Problem::AllAdvanced));
        }
        Ok(Self {
            advance: tokens,
            cost_max: self.burst.min(self.capacity() - tokens),
            ..self
        })
    }

    /// `tokens` per second.
    pub const fn per_second(tokens: u64) -> LimitBuilder {
        Self::per(tokens, Duration::from_secs(1))
    }

    /// `tokens` per minute.
    pub const fn per_minute(tokens: u64) -> LimitBuilder {
        Self::per(tokens, Duration::from_secs(60))
    }

    /// `tokens` per hour.
    pub const fn per_hour(tokens: u64) -> LimitBuilder {
        Self::per(tokens, Duration::from_secs(3600))
    }

    /// `tokens` per 24 hours.
    pub const fn per_day(tokens: u64) -> LimitBuilder {
        Self::per(tokens, Duration::from_secs(86_400))
    }

    /// `tokens` per `period`.
    pub const fn per(tokens: u64, period: Duration) -> LimitBuilder {
        LimitBuilder {
            tokens,
            period,
            burst: None,
            overshoot: 0,
            advance: 0,
        }
    }

    /// The rate.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The most tokens that may be spent at once by an idle key.
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

    /// Tokens of the capacity that are set aside for replicas to spend before they have asked, each
    /// its part of them; 0 unless configured.
    ///
    /// A request on a key that its replica has not asked about is answered at once then. What is
    /// set aside is granted to nobody, so the promise stands; one replica alone can have no more at
    /// once than the rest and its own part.
    pub const fn advance(&self) -> u64 {
        self.advance
    }

    /// The tokens of the advance that are due to `parts` of its [`PARTS`](crate::PARTS), rounded
    /// down.
    pub fn advance_of(&self, parts: u64) -> u64 {
        let tokens = u128::from(self.advance) * u128::from(parts) / u128::from(PARTS);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    /// The capacity but for the advance: what leases and central spends are granted from.
    pub const fn grantable(&self) -> u64 {
        self.capacity() - self.advance
    }

    /// The most that a single request may cost: the burst, or what can be granted if that is less.
    pub const fn cost_max(&self) -> u64 {
        self.cost_max
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

impl LimitBuilder {
    /// Sets the burst, the most tokens that an idle key may spend at once; the tokens of a whole
    /// period unless set.
    pub const fn burst(mut self, tokens: u64) -> Self {
        self.burst = Some(tokens);
        self
    }

    /// Sets the overshoot budget, the tokens that may be admitted beyond burst and rate; 0 unless
    /// set.
    pub const fn overshoot(mut self, tokens: u64) -> Self {
        self.overshoot = tokens;
        self
    }

    /// Sets the advance, the tokens that are set aside for replicas to spend before they have
    /// asked; 0 unless set.
    pub const fn advance(mut self, tokens: u64) -> Self {
        self.advance = tokens;
        self
    }

    /// The limit.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if a number is zero that must not be, or if the numbers are too large to be
    /// kept exact.
    pub fn build(self) -> Result<Limit, LimitError> {
        let too_large = || LimitError::of(Problem::TooLarge);
        // A period of whole microseconds stays as it is; of others, the rate is brought to such.
        let nanos = self.period.as_nanos();
        let beyond = u64::try_from(nanos % 1000).expect("less than 1000");
        let common = gcd(1000, beyond);
        let tokens = self
            .tokens
            .checked_mul(1000 / common)
            .ok_or_else(too_large)?;
        let micros = u64::try_from(nanos / u128::from(common)).map_err(|_| too_large())?;
        let rate = Rate {
            tokens,
            period: Micros(micros),
        };
        let limit = Limit::new(rate, self.burst.unwrap_or(self.tokens), self.overshoot)?;
        limit.with_advance(self.advance)
    }
}

impl TryFrom<LimitBuilder> for Limit {
    type Error = LimitError;

    fn try_from(builder: LimitBuilder) -> Result<Self, LimitError> {
        builder.build()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} burst {}", self.rate, self.burst)?;
        if self.overshoot > 0 {
            write!(f, " overshoot {}", self.overshoot)?;
        }
        if self.advance > 0 {
            write!(f, " advance {}", self.advance)?;
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
    fn a_period_below_the_microsecond_stays_exact() {
        for (nanos, shown) in [
            (1_000_000_000, "7/s burst 7"),
            (1_500, "14/3us burst 7"),
            (1, "7000/us burst 7"),
            (1_250, "28/5us burst 7"),
        ] {
            let limit = Limit::per(7, Duration::from_nanos(nanos)).build().unwrap();
            assert_eq!(limit.to_string(), shown);
        }
    }

    #[test]
    fn numbers_that_make_no_limit_are_told_apart() {
        let second = Duration::from_secs(1);
        for (builder, advice) in [
            (Limit::per_second(0), "a rate of 0"),
            (Limit::per_minute(1).burst(0), "a burst of 0"),
            (Limit::per(1, Duration::ZERO), "a period of 0"),
            (Limit::per(1, Duration::MAX), "too large"),
            (Limit::per(u64::MAX, Duration::from_nanos(1)), "too large"),
            (Limit::per(1, second).burst(u64::MAX), "too large"),
            (Limit::per(1, second).overshoot(u64::MAX), "too large"),
        ] {
            let error = Limit::try_from(builder).expect_err(advice);
            assert!(error.to_string().contains(advice), "{builder:?}: {error}");
        }
    }

    #[test]
    fn time_for_tokens_is_never_too_short() {
        let limit: Limit = "3/s".parse().unwrap();
        assert_eq!(limit.time_for(1), Duration::from_micros(333_334));
        assert_eq!(limit.time_for(3), Duration::from_secs(1));
    }
}
