//! Counts of requests and tokens, asked for and given.

use std::ops::{Add, Sub};

use serde::Serialize;

/// How many requests, and the tokens they needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Tokens, their costs summed: of a request under several limits, those of all of them.
    pub tokens: u64,
}

impl Tally {
    /// One more request.
    pub fn count(&mut self, tokens: u64) {
        self.requests += 1;
        self.tokens += tokens;
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            tokens: self.tokens + other.tokens,
        }
    }
}

impl Sub for Tally {
    type Output = Self;

    /// The difference: what was added to `earlier` to make this.
    fn sub(self, earlier: Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            tokens: self.tokens - earlier.tokens,
        }
    }
}

/// Counts of requests by their fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Volumes {
    /// Those that arrived.
    pub offered: Tally,
    /// Those the limiter admitted.
    pub admitted: Tally,
    /// Those it denied. What is neither admitted nor denied still waits.
    pub denied: Tally,
    /// Those the ideal bucket admits.
    pub ideal_admitted: Tally,
}

impl Volumes {
    /// Tokens admitted over tokens the ideal admits, or `None` if that admits none.
    ///
    /// Below 1 the limiter wasted part of the limit. It can pass 1 a little without an overshoot:
    /// where costs differ, the ideal may spend on a small request what would have let a large one
    /// through.
    pub fn utilisation(&self) -> Option<f64> {
        share(self.admitted.tokens, self.ideal_admitted.tokens)
    }

    /// A request that needed so many tokens has its verdict.
    pub(crate) fn decide(&mut self, allowed: bool, tokens: u64) {
        if allowed {
            self.admitted.count(tokens);
        } else {
            self.denied.count(tokens);
        }
    }

    /// How many tokens fewer were admitted than the ideal admits; negative if more.
    pub(crate) fn shortfall(&self) -> i64 {
        // Both are far below 2^63: wrapping to a signed difference is exact.
        self.ideal_admitted
            .tokens
            .wrapping_sub(self.admitted.tokens)
            .cast_signed()
    }
}

impl Add for Volumes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            admitted: self.admitted + other.admitted,
            denied: self.denied + other.denied,
            ideal_admitted: self.ideal_admitted + other.ideal_admitted,
        }
    }
}

impl Sub for Volumes {
    type Output = Self;

    /// The difference: what was added to `earlier` to make this.
    fn sub(self, earlier: Self) -> Self {
        Self {
            offered: self.offered - earlier.offered,
            admitted: self.admitted - earlier.admitted,
            denied: self.denied - earlier.denied,
            ideal_admitted: self.ideal_admitted - earlier.ideal_admitted,
        }
    }
}

/// A part over its whole; `None` if there is no whole.
#[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utilisation_needs_something_to_use() {
        let tally = |tokens| Tally {
            requests: 1,
            tokens,
        };
        let volumes = |ideal| Volumes {
            admitted: tally(3),
            ideal_admitted: tally(ideal),
            ..Volumes::default()
        };
        assert_eq!(volumes(0).utilisation(), None);
        assert_eq!(volumes(4).utilisation(), Some(0.75));
        assert_eq!(volumes(1).shortfall(), -2);
        assert_eq!(volumes(9).shortfall(), 6);
    }
}
