//! The denial that the store last gave for one key, so that the same question is not asked again.
//!
//! # Invariant
//!
//! A denial names the cost it was given for and holds for that cost and above, until its time is
//! up. Cost and time share one word, so no thread can pair the cost of one denial with the time of
//! another.
//!
//! # Orderings
//!
//! All `Relaxed`: the word publishes no other memory.

use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

use leasehold_core::Instant;

use crate::atomic::AtomicU64;

/// The latest denial of one key. Starts with none.
#[derive(Debug, Default)]
pub struct DenialCell(AtomicU64);

impl DenialCell {
    /// The unit of the times that are kept, 2^20 ns = 1.05 ms. A denial ends less than this before
    /// the time that it was given for.
    pub const TICK: Duration = Duration::from_nanos(1 << TICK_BITS);

    /// Denies requests for at least `cost` tokens until `until`, in place of any earlier denial. A
    /// cost that does not fit into the word leaves what is there as it is.
    pub(crate) fn deny(&self, cost: u32, until: Instant) {
        let denial = Denial {
            until_ticks: ticks(until),
            cost,
        };
        if cost <= COST_MAX {
            self.0.store(denial.pack(), Relaxed);
        }
    }

    /// Until when a request for `cost` tokens is denied, if it is at `now`.
    #[inline]
    pub fn denies(&self, cost: u32, now: Instant) -> Option<Instant> {
        let denial = Denial::unpack(self.0.load(Relaxed));
        (cost >= denial.cost && now < denial.until()).then(|| denial.until())
    }

    /// Forgets the denial: tokens have arrived.
    pub(crate) fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// The content of one word: the time in the high bits, the cost in the low ones.
struct Denial {
    until_ticks: u64,
    cost: u32,
}

impl Denial {
    fn pack(self) -> u64 {
        self.until_ticks << COST_BITS | u64::from(self.cost)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked to the field")]
    fn unpack(word: u64) -> Self {
        Self {
            until_ticks: word >> COST_BITS,
            cost: word as u32 & COST_MAX,
        }
    }

    #[inline]
    fn until(&self) -> Instant {
        Instant::from_nanos(self.until_ticks << TICK_BITS)
    }
}

/// `until` in ticks, rounded down: a denial that ends early costs one call to the store, one that
/// ends late denies what could pass.
fn ticks(until: Instant) -> u64 {
    (until.as_nanos() >> TICK_BITS).min(UNTIL_TICKS_MAX)
}

/// As many as a lease has for its tokens: a dearer request is never paid from one.
const COST_BITS: u32 = 24;
const COST_MAX: u32 = (1 << COST_BITS) - 1;

/// A tick is 2^20 ns = 1.05 ms, about a round trip to the store.
const TICK_BITS: u32 = 20;

/// The 40 bits that are left: 36 years of uptime.
const UNTIL_TICKS_MAX: u64 = u64::MAX >> COST_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ORIGIN;
    const UNTIL: Instant = Instant::from_nanos(100 << TICK_BITS);
    const BEFORE: Instant = Instant::from_nanos(UNTIL.as_nanos() - 1);

    #[test]
    fn nothing_is_denied_to_begin_with() {
        assert_eq!(DenialCell::default().denies(u32::MAX, NOW), None);
    }

    #[test]
    fn a_smaller_cost_may_still_pass() {
        let cell = DenialCell::default();
        cell.deny(5, UNTIL);
        assert_eq!(cell.denies(4, NOW), None);
        assert_eq!(cell.denies(5, NOW), Some(UNTIL));
        assert_eq!(cell.denies(6, NOW), Some(UNTIL));
    }

    #[test]
    fn a_denial_ends_on_time_or_early() {
        let cell = DenialCell::default();
        cell.deny(1, UNTIL + core::time::Duration::from_micros(500));
        assert_eq!(cell.denies(1, BEFORE), Some(UNTIL));
        assert_eq!(cell.denies(1, UNTIL), None);
    }

    #[test]
    fn the_latest_denial_counts() {
        let cell = DenialCell::default();
        cell.deny(1, UNTIL);
        cell.deny(9, UNTIL);
        assert_eq!(cell.denies(1, NOW), None);
        cell.clear();
        assert_eq!(cell.denies(9, NOW), None);
    }

    #[test]
    fn values_beyond_the_word_are_cut_to_it() {
        let latest = Instant::from_nanos(UNTIL_TICKS_MAX << TICK_BITS);
        let beyond = Instant::from_nanos((UNTIL_TICKS_MAX + 1) << TICK_BITS);
        for until in [latest, beyond, Instant::FAR_FUTURE] {
            let cell = DenialCell::default();
            cell.deny(COST_MAX, until);
            assert_eq!(cell.denies(u32::MAX, NOW), Some(latest));
            assert_eq!(cell.denies(COST_MAX - 1, NOW), None);
        }
    }

    /// It was kept as one for the largest cost that fits, and denied what the store had.
    #[test]
    fn a_denial_for_a_cost_beyond_the_word_says_nothing_of_smaller_costs() {
        let cell = DenialCell::default();
        cell.deny(u32::MAX, UNTIL);
        assert_eq!(cell.denies(COST_MAX + 1, NOW), None);
        cell.deny(7, UNTIL);
        cell.deny(u32::MAX, UNTIL);
        assert_eq!(cell.denies(7, NOW), Some(UNTIL), "the earlier one stands");
    }
}
