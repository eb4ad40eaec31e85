//! A part of a limit: the same tokens in so much longer a period.
//!
//! # Invariant
//!
//! A part is never faster than its fraction of the limit, and exactly as fast wherever that can be
//! written; its burst is rounded down to whole tokens, and is at least one.

use leasehold_core::{Limit, Micros, Rate};

/// `parts` of the `whole` parts of `limit`.
///
/// # Panics
///
/// If `parts` is 0 or more than `whole`.
pub(super) fn part_of(limit: &Limit, parts: u32, whole: u32) -> Limit {
    assert!(0 < parts && parts <= whole, "{parts} of {whole} parts");
    let Rate {
        tokens,
        period: Micros(period),
    } = limit.rate();
    let tokens = u128::from(tokens) * u128::from(parts);
    let period = u128::from(period) * u128::from(whole);
    let burst = u128::from(limit.burst()) * u128::from(parts) / u128::from(whole);
    let burst = u64::try_from(burst).expect("no more than the burst").max(1);
    let divisor = gcd(tokens, period);
    let exact = (tokens / divisor, period / divisor);
    // Numbers that cannot be kept exact together are rounded to what can, towards slower.
    let single = (1, period.div_ceil(tokens));
    let candidates = [exact, coarse(exact), single, coarse(single)];
    let fit = |burst| move |rate| limit_of(rate, burst);
    let found = candidates.into_iter().find_map(fit(burst));
    found
        .or_else(|| limit_of(coarse(single), 1))
        .expect("a token at a time, in whole seconds, can be kept exact")
}

fn limit_of((tokens, period): (u128, u128), burst: u64) -> Option<Limit> {
    let rate = Rate {
        tokens: u64::try_from(tokens).ok()?,
        period: Micros(u64::try_from(period).ok()?),
    };
    Limit::new(rate, burst, 0).ok()
}

/// A limit with a period of whole seconds, and no longer than can be written.
fn coarse((tokens, period): (u128, u128)) -> (u128, u128) {
    let seconds = period.div_ceil(SECOND_US);
    (tokens, seconds.min(SECONDS_MAX) * SECOND_US)
}

const fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

const SECOND_US: u128 = 1_000_000;
/// Half a million years, in whole seconds of microseconds in 64 bits.
const SECONDS_MAX: u128 = (u64::MAX as u128) / SECOND_US;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: [&str; 12] = [
        "1000000000/s",
        "1/365day burst 1",
        "999983/day burst 5000",
        "999983/day burst 2000000",
        "999983/day burst 1",
        "86399/day",
        "1/us burst 1000000",
        "1000000/s burst 1",
        "7/3ms burst 1k",
        "1/86399999999us burst 1",
        "1000000000000/999983us burst 3",
        "1/9000000000000000000us burst 1",
    ];

    /// Whether `part` yields no more than its fraction of `limit`, and whether exactly that.
    fn compare(part: &Limit, limit: &Limit, parts: u32, whole: u32) -> std::cmp::Ordering {
        let rate = |limit: &Limit| {
            (
                u128::from(limit.rate().tokens),
                u128::from(limit.rate().period.0),
            )
        };
        let ((tokens, period), (all, per)) = (rate(part), rate(limit));
        (tokens * per * u128::from(whole)).cmp(&(all * u128::from(parts) * period))
    }

    #[test]
    fn a_part_of_any_limit_can_be_kept_exact_and_is_never_faster() {
        for text in LIMITS {
            let limit: Limit = text.parse().unwrap();
            for (parts, whole) in [
                (1, 1),
                (1, 2),
                (1, 7),
                (1, 1000),
                (1, 999_983),
                (1, 1_000_000),
                (30_011, 65_536),
            ] {
                let part = part_of(&limit, parts, whole);
                assert!(part.burst() >= 1 && part.burst() <= limit.burst());
                let slower = compare(&part, &limit, parts, whole).is_le();
                assert!(
                    slower || part.rate().period.0 > 1 << 63,
                    "{part} of {limit}"
                );
            }
        }
    }

    #[test]
    fn common_parts_are_exact() {
        let part = |text: &str, parts, whole| {
            let limit: Limit = text.parse().unwrap();
            part_of(&limit, parts, whole).to_string()
        };
        assert_eq!(part("1000/s burst 100", 1, 10), "1/10ms burst 10");
        assert_eq!(part("100/min", 1, 7), "1/4200ms burst 14");
        assert_eq!(part("10/min burst 5", 1, 10), "1/min burst 1");
        assert_eq!(part("1000/s burst 100", 3, 4), "3/4ms burst 75");
    }
}
