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
    /// its buckets count as spent from `hold` from now, when the last lease it may have
    /// forgotten has ended.
    pub fn meet(found: Option<Self>, known: StoreTime, hold: Micros, now: StoreTime) -> Self {
        match found {
            None if known == StoreTime::ZERO => Self {
                since: now,
                emptied: StoreTime::ZERO,
            },
            None => Self::lost(known, hold, now),
            Some(birth) if known == StoreTime::ZERO || known == birth.since => birth,
            // Somebody has seen the loss before us.
            Some(birth) if known < birth.since && birth.emptied > StoreTime::ZERO => birth,
            // A caller without memory took an emptied store for a new one; or the store fell
            // back to an older state.
            Some(birth) => Self::lost(birth.since.max(known), hold, now),
        }
    }

    /// The marker of a store that was started anew from what it had saved, `found` among it.
    pub fn restarted(found: Self, hold: Micros, now: StoreTime) -> Self {
        Self::lost(found.since, hold, now)
    }

    fn lost(after: StoreTime, hold: Micros, now: StoreTime) -> Self {
        Self {
            since: now.max(after + Micros(1)),
            emptied: now + hold,
        }
    }
}

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
}
