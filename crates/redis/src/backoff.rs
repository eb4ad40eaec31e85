//! How long to wait before the next attempt to connect.
//!
//! # Invariant
//!
//! A delay is drawn evenly from zero to a ceiling that doubles with each attempt, from `min` up to
//! `max`. The draw differs between replicas, so replicas that lost one server together do not come
//! back together. A connection that is lost early does not bring the ceiling down, so a server that
//! greets and then refuses every request is not asked more often than a server that is gone.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use leasehold_core::SplitMix64;

/// Delays between attempts: exponential, with full jitter.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    attempts: u32,
    chance: SplitMix64,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            min,
            max,
            attempts: 0,
            chance: SplitMix64::new(seed),
        }
    }

    /// The delay before the next attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let ceiling = leasehold_core::backoff(self.min, self.max, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        self.chance.within(ceiling)
    }

    /// Starts over if a connection lasted long enough to count as good.
    pub(crate) fn handle_loss(&mut self, lasted: Duration) {
        if lasted >= self.max {
            self.start_over();
        }
    }

    /// Forgets earlier attempts.
    pub(crate) fn start_over(&mut self) {
        self.attempts = 0;
    }
}

/// A seed from the system's randomness, which std uses for the keys of its hash maps.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(2);

    #[test]
    fn delays_fill_a_ceiling_that_doubles_up_to_the_maximum() {
        let mut highest = [Duration::ZERO; 100];
        for seed in 0..500 {
            let mut backoff = Backoff::new(MIN, MAX, seed);
            for highest in &mut highest {
                *highest = backoff.next_delay().max(*highest);
            }
        }
        for (attempt, highest) in highest.into_iter().enumerate() {
            let doublings = u32::try_from(attempt.min(20)).unwrap();
            let ceiling = (MIN * 2u32.pow(doublings)).min(MAX);
            assert!(highest < ceiling, "attempt {attempt} waited {highest:?}");
            assert!(
                highest > ceiling.mul_f64(0.95),
                "attempt {attempt}: {highest:?}"
            );
        }
    }

    #[test]
    fn delays_are_spread_evenly() {
        let mut backoff = Backoff::new(MAX, MAX, 1);
        let early = (0..1000).filter(|_| backoff.next_delay() < MAX / 2);
        let early = early.count();
        assert!(
            (400..600).contains(&early),
            "{early} of 1000 in the first half"
        );
    }

    #[test]
    fn replicas_draw_different_delays() {
        let first = Backoff::new(MIN, MAX, random_seed()).next_delay();
        let second = Backoff::new(MIN, MAX, random_seed()).next_delay();
        assert_ne!(first, second);
    }

    #[test]
    fn only_a_connection_that_lasted_brings_the_ceiling_down() {
        let mut backoff = Backoff::new(MIN, MAX, 7);
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.handle_loss(MAX / 2);
        assert_eq!(backoff.attempts, 10, "it died young");
        backoff.handle_loss(MAX);
        assert_eq!(backoff.attempts, 0);
    }
}
