//! The marker of a store: all that it keeps beside its ledgers.
//!
//! # Invariant
//!
//! A roster belongs to one birth. Whenever the birth changes, the roster begins anew, and counts
//! whatever was on it before as ended when all buckets count as spent.

use crate::birth::{AHEAD_MAX, Birth};
use crate::ledger::Past;
use crate::roster::{LEASE_MAX, Roster};
use crate::time::{Micros, StoreTime};

/// The marker of one store: its birth, and who has been on the roster since.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Marker {
    /// The birth.
    pub birth: Birth,
    /// The roster since that birth.
    pub roster: Roster,
}

impl Marker {
    /// The marker in force once a caller that remembers `known` meets a store whose marker is
    /// `found`, with the entries ended whose time is over: see [`Birth::meet`].
    ///
    /// The marker that was found is input. One that no store can have made is replaced by one that
    /// says that all is lost.
    pub fn meet(found: Option<Self>, known: StoreTime, quarantine: Micros, now: StoreTime) -> Self {
        let found = found.map(|found| {
            if found.is_possible(quarantine, now) {
                found
            } else {
                Self::born(Birth::lost(StoreTime::ZERO, quarantine, now))
            }
        });
        let birth = found.as_ref().map(|found| found.birth);
        let birth = Birth::meet(birth, known, quarantine, now);
        let mut marker = match found {
            Some(found) if found.birth == birth => found,
            _ => Self::born(birth),
        };
        marker.roster.expire(now);
        marker
    }

    /// The marker of a store that was started anew from what it had saved, `found` among it. The
    /// roster may be that of long ago, so nobody is on it.
    pub fn restarted(found: &Self, quarantine: Micros, now: StoreTime) -> Self {
        Self::born(if found.is_possible(quarantine, now) {
            Birth::restarted(found.birth, quarantine, now)
        } else {
            Birth::lost(StoreTime::ZERO, quarantine, now)
        })
    }

    /// The past of the store, for a ledger that it touches.
    pub const fn past(&self) -> Past {
        Past {
            birth: self.birth,
            retired: self.roster.retired(),
        }
    }

    /// A marker on whose roster nobody has been yet.
    fn born(birth: Birth) -> Self {
        let roster = Roster::new(birth.emptied);
        Self { birth, roster }
    }

    /// Whether a store whose clock says `now` can have made the marker: see
    /// [`Birth::is_possible`]. What has ended lies no further ahead than the birth may, and what is
    /// to end no further than by the longest lease.
    fn is_possible(&self, quarantine: Micros, now: StoreTime) -> bool {
        let (Birth { emptied, .. }, retired) = (self.birth, self.roster.retired());
        let ended = Birth {
            emptied: retired.ended,
            ..self.birth
        };
        self.birth.is_possible(quarantine, now)
            && ended.is_possible(quarantine, now)
            && retired.ended >= emptied
            && retired.parts < RETIRED_END
            && self.roster.latest() <= now + LEASE_MAX + AHEAD_MAX
    }
}

/// A ledger stores the parts it has charged for in 32 bits, and one batch may retire all parts
/// beyond this. Nobody gets here honestly: four hundred thousand times a whole fleet would have to
/// be killed. The store counts as one that lost everything then, and begins anew.
const RETIRED_END: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::{Enroll, PARTS, Retired};

    const HOLD: Micros = Micros(1000);
    const NEVER: StoreTime = StoreTime::ZERO;

    fn at(micros: u64) -> StoreTime {
        StoreTime::from_micros(micros)
    }

    /// A marker of a store that began at 50, with one replica on its roster until 300.
    fn enrolled() -> Marker {
        let mut marker = Marker::meet(None, NEVER, HOLD, at(50));
        let enroll = Enroll {
            replica: 1,
            lease: Micros(200),
            parts: 0,
            most: PARTS,
            leaves: false,
            known: StoreTime::ZERO,
        };
        marker.roster.enroll(&enroll, at(100));
        marker
    }

    /// The roster is kept, but for what has ended, or it begins anew with the birth.
    fn assert_anew(marker: &Marker) {
        assert!(marker.birth.emptied > NEVER);
        assert_eq!(marker.roster, Roster::new(marker.birth.emptied));
    }

    #[test]
    fn a_roster_lasts_as_long_as_its_birth() {
        let marker = enrolled();
        let met = |known, now| Marker::meet(Some(marker.clone()), known, HOLD, now);
        assert_eq!(met(at(50), at(299)), marker);
        assert_eq!(met(NEVER, at(299)), marker);
        let over = met(at(50), at(300));
        let retired = over.roster.retired();
        assert_eq!(
            (retired.parts, retired.ended),
            (u64::from(PARTS / 10), at(300))
        );
        assert_eq!(over.roster.entries().count(), 0);
        assert_anew(&met(at(49), at(299)));
        assert_anew(&Marker::restarted(&marker, HOLD, at(299)));
        assert_anew(&Marker::meet(None, at(50), HOLD, at(299)));
    }

    #[test]
    fn a_marker_with_a_roster_that_cannot_be_is_one_that_was_lost() {
        let now = at(100_000_000);
        let found = |parts, ended| {
            let retired = Retired { parts, ended };
            Marker {
                roster: Roster::from_stored([], retired),
                ..enrolled()
            }
        };
        let met = |found| Marker::meet(Some(found), at(50), HOLD, now);
        let largest = found(RETIRED_END - 1, at(160_000_000));
        assert_eq!(met(largest.clone()), largest);
        for (parts, ended) in [(RETIRED_END, at(60)), (0, at(160_000_001))] {
            assert_anew(&met(found(parts, ended)));
            let restarted = Marker::restarted(&found(parts, ended), HOLD, now);
            assert_eq!(restarted.birth.since, now);
        }
        let emptied = Birth {
            since: at(60),
            emptied: at(200),
        };
        let entered = |expiry| Marker {
            roster: Roster::from_stored([(7, expiry, 1)], Retired::default()),
            ..enrolled()
        };
        let latest = now + LEASE_MAX + AHEAD_MAX;
        assert_eq!(met(entered(latest)), entered(latest));
        assert_anew(&met(entered(latest + Micros(1))));

        let retired = |ended| Retired { parts: 0, ended };
        let roster = |ended| Roster::from_stored([], retired(at(ended)));
        let kept = |ended| Marker {
            birth: emptied,
            roster: roster(ended),
        };
        let met = |found: &Marker| Marker::meet(Some(found.clone()), at(60), HOLD, now);
        assert_eq!(met(&kept(200)), kept(200));
        assert_anew(&met(&kept(199)));
    }

    #[test]
    fn a_store_whose_count_of_retired_parts_is_full_begins_anew_at_the_next_batch() {
        let retired = Retired {
            parts: RETIRED_END - 1,
            ended: at(60),
        };
        let entry = (7, at(300), PARTS);
        let found = Marker {
            roster: Roster::from_stored([entry], retired),
            ..enrolled()
        };
        let full = Marker::meet(Some(found), at(50), HOLD, at(300));
        assert_eq!(full.birth.since, at(50), "this batch has its answer yet");
        assert!(u32::try_from(full.roster.retired().parts).is_ok());
        assert_anew(&Marker::meet(Some(full), at(50), HOLD, at(301)));
    }
}
