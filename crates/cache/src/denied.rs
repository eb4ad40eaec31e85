//! Tokens asked for and denied here, which no spend shows.
//!
//! Demand that was allowed is derived from the spends, so an allowed request pays nothing for it.
//!
//! # Orderings
//!
//! All `Relaxed`: a statistic, and the count publishes no other memory.

use core::sync::atomic::Ordering::Relaxed;

use crate::atomic::AtomicU64;

/// Tokens denied since the count was last taken.
#[derive(Debug, Default)]
pub struct Denied(AtomicU64);

impl Denied {
    /// Counts a denied request of `cost` tokens.
    #[inline]
    pub fn add(&self, cost: u32) {
        // 64 bits, so that an addition is all it takes: they overflow after 2^32 requests of the
        // largest cost between two looks.
        self.0.fetch_add(u64::from(cost), Relaxed);
    }

    /// The tokens denied since the last call, at most `u32::MAX`.
    pub fn take(&self) -> u32 {
        u32::try_from(self.0.swap(0, Relaxed)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_is_counted_once() {
        let denied = Denied::default();
        denied.add(2);
        denied.add(3);
        assert_eq!(denied.take(), 5);
        assert_eq!(denied.take(), 0);
    }

    #[test]
    fn a_huge_number_does_not_look_small() {
        let denied = Denied::default();
        denied.add(u32::MAX);
        denied.add(u32::MAX);
        assert_eq!(denied.take(), u32::MAX);
    }
}
