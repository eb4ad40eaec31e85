//! The limit that was promised, and the exact arithmetic by which it is judged.
//!
//! # Invariant
//!
//! Exact, in integers. With a rate of `tokens` per `per_ns`, one token weighs `per_ns` units and a
//! nanosecond drains `tokens` units; nothing is ever divided until a result is shown, but for the
//! change of a limit, which says how it rounds. Numbers of limits are at most 2^60, times below
//! 2^64 and costs below 2^32. So draining stays below 2^124, and a level does as long as fewer than
//! 2^64 tokens are taken.

use std::cmp::Ordering;

use serde::Serialize;
use serde::ser::Serializer;
use thiserror::Error;

/// The limit that was promised for each key: `tokens` per `per_ns`, and a burst.
///
/// Made by [`new`](Self::new), which checks what the arithmetic relies on; the numbers are there to
/// be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JudgedLimit {
    /// Tokens that are added per [`per_ns`](Self::per_ns).
    pub tokens: u64,
    /// The time of the rate, in nanoseconds; at least 1.
    pub per_ns: u64,
    /// The most tokens that may be used at once after a rest.
    pub burst: u64,
}

impl JudgedLimit {
    /// A rate of `tokens` per `per_ns` nanoseconds, with a burst of `burst` tokens.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if `per_ns` is 0 or a number is above 2^60.
    pub fn new(tokens: u64, per_ns: u64, burst: u64) -> Result<Self, LimitError> {
        if per_ns == 0 {
            return Err(LimitError::NoTime);
        }
        for (what, number) in [("tokens", tokens), ("per_ns", per_ns), ("burst", burst)] {
            if number > LIMIT_MOST {
                return Err(LimitError::TooLarge { what, number });
            }
        }
        Ok(Self {
            tokens,
            per_ns,
            burst,
        })
    }

    /// Units that so many tokens weigh.
    pub fn weight(self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.per_ns)
    }

    /// Units that the burst weighs.
    pub fn burst_weight(self) -> u128 {
        self.weight(self.burst)
    }

    /// Units that drain in so much time.
    pub fn drained_in(self, elapsed_ns: u64) -> u128 {
        u128::from(elapsed_ns) * u128::from(self.tokens)
    }

    /// Compares the rates, exactly.
    pub fn compare_rates(self, other: Self) -> Ordering {
        // Numbers are at most 2^60.
        let rate = u128::from(self.tokens) * u128::from(other.per_ns);
        rate.cmp(&(u128::from(other.tokens) * u128::from(self.per_ns)))
    }

    /// A limit with the larger rate of two and the larger burst of two.
    #[must_use]
    pub fn or_larger(self, other: Self) -> Self {
        let faster = match self.compare_rates(other) {
            Ordering::Less => other,
            Ordering::Equal | Ordering::Greater => self,
        };
        Self {
            burst: self.burst.max(other.burst),
            ..faster
        }
    }

    /// Whether neither the rate nor the burst of another limit is larger.
    pub fn covers(self, other: Self) -> bool {
        other.burst <= self.burst && self.compare_rates(other).is_ge()
    }
}

/// Why a limit cannot be judged.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LimitError {
    /// The rate divides by zero.
    #[error("a rate needs a time: per_ns is 0")]
    NoTime,
    /// The arithmetic would overflow.
    #[error("{what} is {number}, above 2^60")]
    TooLarge {
        /// Which of the three numbers.
        what: &'static str,
        /// The number.
        number: u64,
    },
}

/// A number of tokens, exact to the smallest fraction. They compare exactly, also those of
/// different limits. Serialised as a number of tokens for display.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ExactTokens {
    /// In units of the limit, `per_ns` of which are a token.
    pub units: u128,
    /// The weight of a token.
    pub per_ns: u64,
}

impl ExactTokens {
    /// So many units of a limit.
    pub fn of(units: u128, limit: JudgedLimit) -> Self {
        Self {
            units,
            per_ns: limit.per_ns,
        }
    }

    /// No tokens of a limit.
    pub fn zero(limit: JudgedLimit) -> Self {
        Self::of(0, limit)
    }

    /// Whether it is none at all, not the smallest fraction.
    pub fn is_zero(self) -> bool {
        self.units == 0
    }

    /// Whole tokens, rounded up: a limiter is never flattered.
    pub fn rounded_up(self) -> u64 {
        let tokens = self.units.div_ceil(self.per_ns.into());
        tokens
            .try_into()
            .expect("an overshoot is no more than was admitted")
    }

    /// For display.
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    pub fn as_f64(self) -> f64 {
        self.units as f64 / self.per_ns as f64
    }

    /// Whole tokens, and the units that are left.
    fn split(self) -> (u128, u128) {
        let token = u128::from(self.per_ns);
        (self.units / token, self.units % token)
    }
}

impl Ord for ExactTokens {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((whole, rest), (other_whole, other_rest)) = (self.split(), other.split());
        // A rest is less than a token, below 2^60, so the products are below 2^120.
        let fraction = rest * u128::from(other.per_ns);
        let other_fraction = other_rest * u128::from(self.per_ns);
        (whole, fraction).cmp(&(other_whole, other_fraction))
    }
}

impl PartialOrd for ExactTokens {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ExactTokens {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ExactTokens {}

impl Serialize for ExactTokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

/// Keeps the arithmetic below 128 bits. As nanoseconds, 36 years.
pub const LIMIT_MOST: u64 = 1 << 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_cannot_be_judged_are_refused() {
        assert_eq!(JudgedLimit::new(1, 0, 1), Err(LimitError::NoTime));
        let error = JudgedLimit::new(1, 1, LIMIT_MOST + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "burst is 1152921504606846977, above 2^60"
        );
        assert!(
            JudgedLimit::new(0, 1, 0).is_ok(),
            "a limit of nothing is a limit"
        );
    }

    #[test]
    fn tokens_of_different_limits_compare_exactly() {
        let of = |units, per_ns| ExactTokens::of(units, JudgedLimit::new(1, per_ns, 1).unwrap());
        assert_eq!(of(1, 2), of(2, 4));
        assert!(of(3, 2) > of(4, 3));
        assert!(of(7, 3) > of(9, 4));
        // The nearest to each other that there are, and the largest.
        let most = u128::from(LIMIT_MOST);
        assert!(of(most - 2, LIMIT_MOST - 1) < of(most - 1, LIMIT_MOST));
        assert!(of(u128::MAX >> 4, LIMIT_MOST) < of(u128::MAX >> 4, LIMIT_MOST - 1));
    }

    #[test]
    fn tokens_are_rounded_up_for_a_verdict_and_divided_for_display() {
        let half = ExactTokens::of(5, JudgedLimit::new(1, 10, 1).unwrap());
        assert_eq!(half.rounded_up(), 1);
        assert!((half.as_f64() - 0.5).abs() < 1e-12);
        assert!(!half.is_zero());
    }
}
