//! A stream of well-spread numbers from a seed, to spread timers and to seed hashes.
//!
//! Replicas that started together must not ask together. Nothing here is secret or needs to be
//! unpredictable: a seed gives the same stream for ever, so that simulations repeat.

use core::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The stream of `seed`. Streams differ even where seeds are small numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number; all are as likely.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Self::mix(self.0)
    }

    /// A number that depends on all bits of `number`, and differs for every other.
    pub const fn mix(number: u64) -> u64 {
        let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time from 0 up to `duration`, evenly drawn: 0 if `duration` is, else below it.
    pub fn within(&mut self, duration: Duration) -> Duration {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let product = u128::from(self.draw()) * u128::from(nanos);
        Duration::from_nanos(u64::try_from(product >> 64).expect("at most `nanos`"))
    }
}

/// The longest delay before the next attempt, after `again` attempts in a row that failed: `first`,
/// doubled with each, and `longest` at most. A caller draws from it, so that replicas which failed
/// together do not come back together.
pub fn backoff(first: Duration, longest: Duration, again: u32) -> Duration {
    let doubled = 1_u128.checked_shl(again).unwrap_or(u128::MAX);
    let nanos = first.as_nanos().saturating_mul(doubled);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The first outputs that the authors publish for seed 1234567.
    #[test]
    fn a_seed_gives_the_published_stream_for_ever() {
        let mut chance = SplitMix64::new(1_234_567);
        assert_eq!(chance.draw(), 6_457_827_717_110_365_317);
        assert_eq!(chance.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn times_stay_within_their_range_and_cover_it() {
        let mut chance = SplitMix64::new(1);
        let range = Duration::from_millis(100);
        let draws: Vec<Duration> = (0..1000).map(|_| chance.within(range)).collect();
        assert!(draws.iter().all(|draw| *draw < range));
        assert!(draws.iter().any(|draw| *draw < range / 50));
        assert!(draws.iter().any(|draw| *draw > range * 49 / 50));
        assert_eq!(chance.within(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_delay_doubles_up_to_the_longest_whatever_the_number_of_failures() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(2));
        let delays = [0, 1, 5, 6, 63, 64, 128, u32::MAX].map(|it| backoff(first, longest, it));
        assert_eq!(
            delays.map(|it| it.as_millis()),
            [50, 100, 1600, 2000, 2000, 2000, 2000, 2000]
        );
        assert_eq!(backoff(longest, first, 0), first);
        assert_eq!(
            backoff(Duration::MAX, Duration::MAX, 9).as_nanos(),
            u64::MAX.into()
        );
    }
}
