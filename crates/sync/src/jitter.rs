//! A small stream of random numbers for spreading timers, seeded by a value.
//!
//! Replicas that started together must not ask together. Nothing here is secret or needs to be
//! unpredictable; a seed gives the same stream for ever, so that simulations repeat.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and `duration`, evenly.
    pub(crate) fn within(&mut self, duration: Duration) -> Duration {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let product = u128::from(self.next()) * u128::from(nanos);
        Duration::from_nanos(u64::try_from(product >> 64).expect("at most `nanos`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_for_ever() {
        let mut jitter = Jitter::new(42);
        let stream: Vec<u64> = (0..3).map(|_| jitter.next()).collect();
        assert_eq!(
            stream,
            [
                0xBDD7_3226_2FEB_6E95,
                0x28EF_E333_B266_F103,
                0x4752_6757_130F_9F52
            ]
        );
    }

    #[test]
    fn it_stays_within_and_covers_the_range() {
        let mut jitter = Jitter::new(1);
        let range = Duration::from_millis(100);
        let draws: Vec<Duration> = (0..1000).map(|_| jitter.within(range)).collect();
        assert!(draws.iter().all(|draw| *draw < range));
        assert!(draws.iter().any(|draw| *draw < range / 50));
        assert!(draws.iter().any(|draw| *draw > range * 49 / 50));
        assert_eq!(jitter.within(Duration::ZERO), Duration::ZERO);
    }
}
