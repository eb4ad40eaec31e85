//! Whole numbers as doubles and back, where the last digits do not matter.

use leasehold_core::Rate;

/// A whole number as a double: exact up to 2^53, which is 104 days in nanoseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is larger is rounded, as documented"
)]
pub const fn float(number: u64) -> f64 {
    number as f64
}

/// The whole part of a number; 0 if it is negative, and the largest number if it is larger.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the whole part is meant, and the cast saturates"
)]
pub const fn whole(number: f64) -> u64 {
    number as u64
}

/// Nanoseconds as seconds.
pub const fn seconds(ns: u64) -> f64 {
    float(ns) / 1e9
}

/// The rate of a limit, in tokens per second.
pub fn per_second(rate: Rate) -> f64 {
    float(rate.tokens) * 1e6 / float(rate.period.0)
}
