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
pub(crate) struct Denied(AtomicU64);

impl Denied {
    /// Counts a denied request of `cost` tokens; false if another thread did so at the same time.
    #[inline]
    pub(crate) fn add(&self, cost: u32) -> bool {
        // 64 bits, so that an addition is all it takes: they overflow after 2^32 requests of the
        // largest cost between two looks.
        let cost = u64::from(cost);
        let before = self.0.load(Relaxed);
        let alone = self
            .0
            .compare_exchange(before, before.wrapping_add(cost), Relaxed, Relaxed)
            .is_ok();
        if !alone {
            self.0.fetch_add(cost, Relaxed);
        }
        alone
    }

    /// The tokens denied since the last call, at most `u32::MAX`.
    pub(crate) fn take(&self) -> u32 {
        u32::try_from(self.0.swap(0, Relaxed)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_is_counted_once() {
        let denied = Denied::default();
        assert!(denied.add(2));
        assert!(denied.add(3));
        assert_eq!(denied.take(), 5);
        assert_eq!(denied.take(), 0);
    }

    #[test]
    fn a_huge_number_does_not_look_small() {
        let denied = Denied::default();
        assert!(denied.add(u32::MAX));
        assert!(denied.add(u32::MAX));
        assert_eq!(denied.take(), u32::MAX);
    }
}
