//! Whether a store that knows nothing of a key ever knew: when it came up empty.
//!
//! A missing key may be one that was never used, or one whose history was lost with the store's
//! memory. One marker per store tells them apart: it says when the store began, and from when on
//! its buckets count as spent.
//!
//! # Invariant
//!
//! A caller that remembers a store's beginning and meets another one always finds, or makes, a
//! marker that counts every bucket as spent. Only a caller without memory may find a store empty
//! and take its buckets for full.

use crate::time::{Micros, StoreTime};

/// The marker of one store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Birth {
    /// When the marker was made; later markers of one store have later times. Identifies the
    /// marker: callers remember it and send it with each call.
    pub since: StoreTime,
    /// When every bucket counted as spent; [`StoreTime::ZERO`] if buckets began full. In the
    /// future while leases that the store has forgotten may still be spent from.
    pub emptied: StoreTime,
}

impl Birth {
    /// The marker in force once a caller that remembers `known` ([`StoreTime::ZERO`]: nothing)
    /// meets a store whose marker is `found`. If the two disagree, what the store knew is lost:
    /// its buckets count as spent from `quarantine` from now, when the last lease it may have
    /// forgotten has ended.
    ///
    /// All four are input. A marker that no store can have made, by `is_possible`, is replaced
    /// by one that says that all is lost; a memory of such a marker is met by one that counts
    /// every bucket as spent.
    pub fn meet(found: Option<Self>, known: StoreTime, quarantine: Micros, now: StoreTime) -> Self {
        let found = found.map(|found| {
            if found.is_possible(quarantine, now) {
                found
            } else {
                Self::lost(StoreTime::ZERO, quarantine, now)
            }
        });
        let is_later = |since| known < since || known > now + AHEAD_MAX;
        match found {
            None if known == StoreTime::ZERO => Self {
                since: now,
                emptied: StoreTime::ZERO,
            },
            None => Self::lost(known, quarantine, now),
            Some(birth) if known == StoreTime::ZERO || known == birth.since => birth,
            // Somebody has seen the loss before us.
            Some(birth) if is_later(birth.since) && birth.emptied > StoreTime::ZERO => birth,
            // A caller without memory took an emptied store for a new one; or the store fell
            // back to an older state.
            Some(birth) => Self::lost(birth.since.max(known), quarantine, now),
        }
    }

    /// The marker of a store that was started anew from what it had saved, `found` among it.
    pub fn restarted(found: Self, quarantine: Micros, now: StoreTime) -> Self {
        let after = if found.is_possible(quarantine, now) {
            found.since
        } else {
            StoreTime::ZERO
        };
        Self::lost(after, quarantine, now)
    }

    /// The beginning to remember of a store that says this at its own time `now`, if it can be one.
    ///
    /// A replica sends back only what it remembers, so one wrong answer disables nobody.
    pub fn to_remember(&self, now: StoreTime) -> Option<StoreTime> {
        let is_possible = self.since > StoreTime::ZERO && self.since <= now + AHEAD_MAX;
        is_possible.then_some(self.since)
    }

    /// Whether a store whose clock says `now` can have made the marker, for callers whose leases
    /// run for `quarantine` at most.
    ///
    /// It lies ahead of the clock only if the clock was set back, and while forgotten leases run.
    pub(crate) fn is_possible(&self, quarantine: Micros, now: StoreTime) -> bool {
        let quarantine = quarantine.min(QUARANTINE_MAX);
        self.to_remember(now).is_some() && self.emptied <= now + quarantine.max(AHEAD_MAX)
    }

    /// The marker of a store that has lost everything, and whose former marker was no later than
    /// `after`.
    pub(crate) fn lost(after: StoreTime, quarantine: Micros, now: StoreTime) -> Self {
        Self {
            since: now.max(after + Micros(1)).min(now + AHEAD_MAX),
            emptied: now + quarantine.min(QUARANTINE_MAX),
        }
    }
}

/// A minute: clocks are set back by less, and a quarantine is mostly shorter.
pub(crate) const AHEAD_MAX: Micros = Micros(60_000_000);

/// A year, and a day for leap years: no lease is longer.
const QUARANTINE_MAX: Micros = Micros(366 * 86_400_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Micros = Micros(1000);
    const NEVER: StoreTime = StoreTime::ZERO;

    fn at(micros: u64) -> StoreTime {
        StoreTime::from_micros(micros)
    }

    fn born(since: u64, emptied: u64) -> Birth {
        Birth {
            since: at(since),
            emptied: at(emptied),
        }
    }

    #[test]
    fn a_first_deployment_starts_with_full_buckets() {
        assert_eq!(Birth::meet(None, NEVER, HOLD, at(50)), born(50, 0));
        assert_eq!(
            Birth::meet(Some(born(50, 0)), NEVER, HOLD, at(60)),
            born(50, 0)
        );
        assert_eq!(
            Birth::meet(Some(born(50, 0)), at(50), HOLD, at(60)),
            born(50, 0)
        );
    }

    #[test]
    fn a_store_that_forgot_counts_as_spent_once_forgotten_leases_are_over() {
        assert_eq!(Birth::meet(None, at(50), HOLD, at(70)), born(70, 1070));
    }

    #[test]
    fn the_second_to_notice_a_loss_accepts_what_the_first_declared() {
        assert_eq!(
            Birth::meet(Some(born(70, 1070)), at(50), HOLD, at(90)),
            born(70, 1070)
        );
    }

    #[test]
    fn a_newcomer_who_took_an_emptied_store_for_a_new_one_is_overruled() {
        assert_eq!(
            Birth::meet(Some(born(70, 0)), at(50), HOLD, at(90)),
            born(90, 1090)
        );
    }

    #[test]
    fn a_store_that_fell_back_to_an_older_state_counts_as_spent() {
        assert_eq!(
            Birth::meet(Some(born(50, 0)), at(70), HOLD, at(90)),
            born(90, 1090)
        );
        assert_eq!(Birth::restarted(born(50, 0), HOLD, at(90)), born(90, 1090));
    }

    #[test]
    fn a_marker_is_never_older_than_one_it_replaces() {
        assert_eq!(
            Birth::meet(None, at(50), HOLD, at(20)),
            born(51, 1020),
            "the clock went back"
        );
    }

    /// One reply that said so was sent back, counted up, stored, and refused by every replica for
    /// ever.
    #[test]
    fn a_marker_that_no_store_can_have_made_is_replaced_and_the_store_goes_on() {
        let now = at(1 << 50);
        let (ahead, far) = (at((1 << 50) + AHEAD_MAX.0), (1 << 52) - 1);
        for (since, emptied) in [(far, 0), (u64::MAX, 0), (0, 0), (5, far), (5, u64::MAX)] {
            for known in [0, 5, far, u64::MAX] {
                let found = Some(born(since, emptied));
                let birth = Birth::meet(found, at(known), HOLD, now);
                assert_eq!(birth.emptied, now + HOLD, "{since} {emptied} {known}");
                assert!(birth.since >= now && birth.since <= ahead, "{birth:?}");
                assert_eq!(Birth::meet(Some(birth), at(known), HOLD, now), birth);
                let restarted = Birth::restarted(born(since, emptied), HOLD, now);
                assert_eq!(restarted, born(1 << 50, (1 << 50) + HOLD.0));
            }
        }
        let quarantine = Micros(u64::MAX);
        let birth = Birth::meet(None, at(5), quarantine, now);
        assert_eq!(birth.emptied, now + QUARANTINE_MAX);
        assert_eq!(
            Birth::meet(Some(birth), at(5), HOLD, now).emptied,
            now + HOLD
        );
    }

    #[test]
    fn a_memory_of_what_cannot_be_counts_as_that_of_another_store_once() {
        let now = at(1 << 50);
        for known in [at((1 << 52) - 1), at(u64::MAX)] {
            for found in [None, Some(born(5, 0))] {
                let birth = Birth::meet(found, known, HOLD, now);
                assert_eq!(birth.emptied, now + HOLD, "its buckets count as spent");
                let later = now + Micros(1000);
                assert_eq!(Birth::meet(Some(birth), known, HOLD, later), birth);
                assert_eq!(birth.to_remember(now), Some(birth.since));
            }
        }
        assert_eq!(born(5, 7).to_remember(now), Some(at(5)));
        assert_eq!(born(0, 7).to_remember(now), None);
        assert_eq!(born((1 << 52) - 1, 7).to_remember(now), None);
    }
}
