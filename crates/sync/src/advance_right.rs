//! The right of this replica to spend advances of the keys in one part of the store: how many
//! parts of each advance it has, and until when. The sync task writes it, request threads read it.
//!
//! # Invariant
//!
//! The right ends by the clock, whether or not anybody writes again. A reader that meets a writer
//! has no right for this once: it sees the words of one writing or none.
//!
//! # Orderings
//!
//! A writer takes `until` away first and puts it back last, and no two writings put the same: a
//! reader that saw the same `until` before and after, by `Acquire`, saw what was written with it.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Duration;

use leasehold_core::{Instant, Limit};

/// The words of one part of the store.
#[derive(Debug, Default)]
pub(crate) struct AdvanceRight {
    /// When the right ends; 0 if there is none.
    until: AtomicU64,
    /// The parts that it is for: see [`Parts`].
    parts: AtomicU64,
    /// When somebody else last had some of the new parts, or later; 0 if nobody ever had.
    ended: AtomicU64,
}

/// The parts of each advance that a replica may spend.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Parts {
    /// At once.
    pub(crate) sure: u32,
    /// Once a limit has yielded its capacity and its advance since `ended`. No fewer than `sure`.
    pub(crate) later: u32,
    /// When somebody else last had some of the later ones; [`Instant::ORIGIN`] if nobody ever had.
    pub(crate) ended: Instant,
}

impl AdvanceRight {
    /// Gives the right to so many parts until then.
    pub(crate) fn set(&self, parts: Parts, until: Instant) {
        self.until.swap(0, AcqRel);
        let both = u64::from(parts.later) << 32 | u64::from(parts.sure);
        self.parts.store(both, Relaxed);
        self.ended.store(parts.ended.as_nanos(), Relaxed);
        self.until.store(until.as_nanos(), Release);
    }

    /// Takes the right away.
    pub(crate) fn end(&self) {
        self.until.store(0, Relaxed);
    }

    /// The most tokens of a key under `limit` that the replica may have spent of its advance, and
    /// the store has not restored.
    pub(crate) fn tokens(&self, limit: &Limit, now: Instant) -> u32 {
        let until = self.until.load(Acquire);
        if limit.advance() == 0 || now.as_nanos() >= until {
            return 0;
        }
        let both = self.parts.load(Relaxed);
        let ended = Instant::from_nanos(self.ended.load(Relaxed));
        fence(Acquire);
        if self.until.load(Relaxed) != until {
            return 0;
        }
        let (later, sure) = (both >> 32, both & u64::from(u32::MAX));
        let is_later = ended == Instant::ORIGIN || now >= ended + quarantine(limit);
        let parts = if is_later { later } else { sure };
        u32::try_from(limit.advance_of(parts)).unwrap_or(u32::MAX)
    }
}

/// The time, on this replica's clock, in which a limit certainly yields its capacity and its
/// advance: by then all that a replica spent that crashed has drained, or is charged.
pub(crate) fn quarantine(limit: &Limit) -> Duration {
    let yielded = limit.time_for(limit.capacity().saturating_add(limit.advance()));
    // Clocks may differ by a tenth, as for leases.
    yielded.saturating_add(yielded / 8).min(QUARANTINE_MAX)
}

/// A hundred years: an instant that far ahead is one.
const QUARANTINE_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

#[cfg(test)]
mod tests {
    use leasehold_core::PARTS;

    use super::*;

    const NOW: Instant = Instant::from_millis(1000);
    const UNTIL: Instant = Instant::from_millis(9000);

    fn limit(text: &str) -> Limit {
        text.parse().unwrap()
    }

    #[test]
    fn a_right_is_for_its_parts_and_ends_by_the_clock() {
        let (limit, right) = (limit("100/s burst 100 advance 40"), AdvanceRight::default());
        assert_eq!(right.tokens(&limit, NOW), 0);
        let parts = Parts {
            sure: PARTS / 4,
            later: PARTS / 4,
            ended: Instant::ORIGIN,
        };
        right.set(parts, UNTIL);
        assert_eq!(right.tokens(&limit, NOW), 10);
        assert_eq!(right.tokens(&limit, UNTIL), 0);
        assert_eq!(right.tokens(&"100/s".parse().unwrap(), NOW), 0);
        right.end();
        assert_eq!(right.tokens(&limit, NOW), 0);
    }

    #[test]
    fn parts_that_were_anothers_are_used_once_what_those_spent_has_drained() {
        let right = AdvanceRight::default();
        let parts = Parts {
            sure: PARTS / 8,
            later: PARTS / 4,
            ended: NOW,
        };
        right.set(parts, UNTIL);
        let fast = limit("100/s burst 100 advance 40");
        assert_eq!(right.tokens(&fast, NOW), 5);
        let later = NOW + Duration::from_millis(1574);
        assert_eq!(right.tokens(&fast, later), 5);
        let later = NOW + Duration::from_millis(1575);
        assert_eq!(right.tokens(&fast, later), 10);
        assert_eq!(right.tokens(&limit("1/h burst 100 advance 40"), later), 5);
    }
}
