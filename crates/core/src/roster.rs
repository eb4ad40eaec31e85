//! The roster: which replicas may spend advances, and how large a part of each limit's advance each
//! of them has.
//!
//! A limit may set a part of its capacity aside, the [advance](crate::Limit::advance). A replica on
//! the roster spends its part of it before it has asked, on every key, and reports afterwards. The
//! store never grants what is set aside, so the promise holds whatever the replicas do with it.
//!
//! One roster serves all keys of one part of the store. An entry is a lease of parts: who lets it
//! expire may have spent what no report will ever tell, so its parts count as *retired*, and each
//! ledger charges them when it is touched next.
//!
//! # Invariant
//!
//! The parts of all entries are at most [`PARTS`]. An entry's parts shrink only when its replica
//! says that it works by fewer, and has reported whatever it spent by more. `retired` only grows,
//! and `ended` is no earlier than the end of any entry, or of any part of one: whoever is given
//! parts that others had uses them for a limit only once it has yielded its capacity and its
//! advance since.

use alloc::collections::BTreeMap;

use crate::time::{Micros, StoreTime};

/// All parts of an advance together. Many numbers divide it.
pub const PARTS: u32 = 5040;

/// The replicas that may spend advances.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Roster {
    entries: BTreeMap<u64, Entry>,
    retired: Retired,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Entry {
    expiry: StoreTime,
    parts: u32,
}

/// The end of advances that ledgers must know of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Retired {
    /// Parts of the entries that expired, in all.
    pub parts: u64,
    /// When an entry, or a part of one, ended last; [`StoreTime::ZERO`] if none has.
    pub ended: StoreTime,
}

/// The message by which a replica tells the roster, with any batch of calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Enroll {
    /// The replica.
    pub replica: u64,
    /// For how long its entry is to last.
    pub lease: Micros,
    /// The parts by which it works; it has reported whatever it spent by more.
    pub parts: u32,
    /// The most parts that it wishes for.
    pub most: u32,
    /// Whether it leaves: it has reported all that it spent, and spends no more.
    pub leaves: bool,
    /// When its entry ends, as it was told last; [`StoreTime::ZERO`] if it was not. A message that
    /// is late or repeated tells another time than the entry's: it gives up nothing, because it may
    /// speak of parts that the replica has been given again.
    pub known: StoreTime,
}

/// The answer of the roster to a replica.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seat {
    /// The parts that its entry had before, and has still. After answers that were lost these may
    /// be more than the replica knows of: of those, none may be used before `ended` allows it.
    pub kept: u32,
    /// The parts that it has now. Those beyond `kept` may have been another's until `ended`.
    pub parts: u32,
    /// The parts that are due to it. If they are fewer than it has, it is to work by these, report
    /// what it spent by more, and say so.
    pub due: u32,
    /// When parts were another's last; [`StoreTime::ZERO`] if nobody ever gave one up.
    pub ended: StoreTime,
    /// When its entry ends, on the store's clock; [`StoreTime::ZERO`] if it has none.
    pub expiry: StoreTime,
    /// The store's time when it said so.
    pub now: StoreTime,
}

impl Roster {
    /// A roster with nobody on it, of a store whose buckets counted as spent at `emptied`
    /// ([`StoreTime::ZERO`]: never). Replicas that were on the roster before may spend advances
    /// until then.
    pub const fn new(emptied: StoreTime) -> Self {
        let retired = Retired {
            parts: 0,
            ended: emptied,
        };
        Self {
            entries: BTreeMap::new(),
            retired,
        }
    }

    /// The roster that a store has kept: each entry is a replica, its expiry and its parts. They
    /// are not checked: a store that others may write to does so when it reads them, as the Redis
    /// script does.
    pub fn from_stored(
        entries: impl IntoIterator<Item = (u64, StoreTime, u32)>,
        retired: Retired,
    ) -> Self {
        let entries = entries.into_iter();
        let entries = entries.map(|(replica, expiry, parts)| (replica, Entry { expiry, parts }));
        Self {
            entries: entries.collect(),
            retired,
        }
    }

    /// The end of advances so far.
    pub const fn retired(&self) -> Retired {
        self.retired
    }

    /// The entries: each replica, its expiry and its parts.
    pub fn entries(&self) -> impl Iterator<Item = (u64, StoreTime, u32)> {
        let entries = self.entries.iter();
        entries.map(|(replica, entry)| (*replica, entry.expiry, entry.parts))
    }

    /// When the last of the entries ends; [`StoreTime::ZERO`] if there is none.
    pub(crate) fn latest(&self) -> StoreTime {
        let expiries = self.entries.values().map(|entry| entry.expiry);
        expiries.max().unwrap_or(StoreTime::ZERO)
    }

    /// Ends the entries whose time is over at `now`.
    pub fn expire(&mut self, now: StoreTime) {
        let retired = &mut self.retired;
        self.entries.retain(|_, entry| {
            let is_over = entry.expiry <= now;
            if is_over && entry.parts > 0 {
                retired.parts += u64::from(entry.parts);
                retired.ended = retired.ended.max(entry.expiry);
            }
            !is_over
        });
    }

    /// Enters a replica, renews its entry or ends it, at the store's time `now`.
    pub fn enroll(&mut self, enroll: &Enroll, now: StoreTime) -> Seat {
        self.expire(now);
        let found = self.entries.remove(&enroll.replica);
        let had = found.map_or(0, |entry| entry.parts);
        let is_full = found.is_none() && self.entries.len() >= REPLICAS_MAX;
        let is_late = found.is_some_and(|entry| entry.expiry != enroll.known);
        let kept = match (is_late, enroll.leaves) {
            (true, _) => had,
            (false, true) => 0,
            (false, false) => had.min(enroll.parts),
        };
        if kept < had {
            self.retired.ended = self.retired.ended.max(now);
        }
        if enroll.leaves || is_full {
            if let Some(entry) = found.filter(|_| is_late) {
                self.entries.insert(enroll.replica, entry);
            }
            return Seat {
                ended: self.retired.ended,
                now,
                ..Seat::default()
            };
        }
        let replicas = u32::try_from(self.entries.len() + 1).unwrap_or(u32::MAX);
        let least = if found.is_none() {
            NEWCOMERS_MIN
        } else {
            REPLICAS_MIN
        };
        let due = (PARTS / replicas.max(least)).min(enroll.most);
        let others: u32 = self.entries.values().map(|entry| entry.parts).sum();
        let parts = kept.max(due.min(PARTS - others));
        // Each renewal has an expiry of its own, so that a message from before it is known as late.
        let later = found.map_or(StoreTime::ZERO, |entry| entry.expiry + Micros(1));
        let expiry = later.max(now + enroll.lease.min(LEASE_MAX));
        self.entries.insert(enroll.replica, Entry { expiry, parts });
        Seat {
            kept,
            parts,
            due,
            ended: self.retired.ended,
            expiry,
            now,
        }
    }
}

/// With fewer replicas each gets no more than with so many: those that come next find something.
const REPLICAS_MIN: u32 = 4;

/// A newcomer gets no more than with so many at first, because a whole fleet may start at once. The
/// parts that nobody has had then are for those that are there.
const NEWCOMERS_MIN: u32 = 10;

/// So many replicas have a part at most. The roster is read with every batch.
pub const REPLICAS_MAX: usize = 64;

/// A day: no lease of an entry is as long.
pub(crate) const LEASE_MAX: Micros = Micros(86_400_000_000);

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(seconds: u64) -> StoreTime {
        StoreTime::from_micros(seconds * SECOND)
    }

    fn enroll(replica: u64, parts: u32) -> Enroll {
        Enroll {
            replica,
            lease: Micros(6 * SECOND),
            parts,
            most: PARTS,
            leaves: false,
            known: StoreTime::ZERO,
        }
    }

    /// As `enroll`, of a replica that was told when its entry in the roster ends.
    fn again(roster: &Roster, replica: u64, parts: u32) -> Enroll {
        let entry = roster.entries().find(|it| it.0 == replica);
        Enroll {
            known: entry.map_or(StoreTime::ZERO, |it| it.1),
            ..enroll(replica, parts)
        }
    }

    #[test]
    fn the_first_few_have_a_part_each_that_was_never_anothers() {
        for (replicas, parts) in [(1, 4), (4, 4), (7, 7), (10, 10)] {
            let mut roster = Roster::default();
            for replica in 0..replicas {
                let seat = roster.enroll(&enroll(replica, 0), at(1));
                let expected = Seat {
                    kept: 0,
                    parts: PARTS / 10,
                    due: PARTS / 10,
                    ended: StoreTime::ZERO,
                    expiry: at(7),
                    now: at(1),
                };
                assert_eq!(seat, expected);
            }
            for replica in 0..replicas {
                let again = again(&roster, replica, PARTS / 10);
                let seat = roster.enroll(&again, at(2));
                assert_eq!((seat.parts, seat.ended), (PARTS / parts, StoreTime::ZERO));
            }
        }
    }

    /// A roster of so many replicas that have been told how many they are.
    fn told(replicas: u64) -> Roster {
        let mut roster = Roster::default();
        for replica in 0..replicas {
            roster.enroll(&enroll(replica, 0), at(1));
        }
        for replica in 0..replicas {
            roster.enroll(&again(&roster, replica, PARTS / 10), at(1));
        }
        roster
    }

    #[test]
    fn parts_are_given_up_only_by_who_says_that_it_works_by_fewer() {
        let mut roster = told(4);
        assert_eq!(
            roster.enroll(&enroll(4, 0), at(2)).parts,
            0,
            "all are given"
        );
        let mut told = Vec::new();
        for replica in 0..4 {
            let seat = roster.enroll(&again(&roster, replica, PARTS / 4), at(2));
            assert_eq!((seat.parts, seat.due), (PARTS / 4, PARTS / 5));
            told.push(seat.due);
        }
        for (replica, parts) in (0..4).zip(told) {
            let seat = roster.enroll(&again(&roster, replica, parts), at(3));
            assert_eq!((seat.kept, seat.parts), (PARTS / 5, PARTS / 5));
        }
        let seat = roster.enroll(&enroll(4, 0), at(4));
        assert_eq!((seat.parts, seat.ended), (PARTS / 5, at(3)));
        assert_eq!(roster.retired().parts, 0);
    }

    #[test]
    fn who_lets_an_entry_expire_is_charged_for_and_who_leaves_is_not() {
        let mut roster = Roster::default();
        roster.enroll(&enroll(1, 0), at(1));
        roster.enroll(&enroll(2, 0), at(2));
        let leaves = Enroll {
            leaves: true,
            ..again(&roster, 2, PARTS / 10)
        };
        assert_eq!(roster.enroll(&leaves, at(3)).expiry, StoreTime::ZERO);
        let ended = |parts, ended| Retired { parts, ended };
        assert_eq!(roster.retired(), ended(0, at(3)));
        roster.expire(at(7));
        assert_eq!(roster.retired(), ended(u64::from(PARTS / 10), at(7)));
        let seat = roster.enroll(&enroll(3, 0), at(8));
        assert_eq!((seat.parts, seat.ended), (PARTS / 10, at(7)));
    }

    #[test]
    fn what_is_late_or_repeated_gives_up_nothing() {
        let mut roster = told(4);
        let first = enroll(1, 0);
        let shrinks = again(&roster, 1, PARTS / 20);
        let leaves = Enroll {
            leaves: true,
            ..shrinks
        };
        roster.enroll(&again(&roster, 1, PARTS / 4), at(2));
        for late in [first, shrinks] {
            let seat = roster.enroll(&late, at(3));
            assert_eq!((seat.kept, seat.ended), (PARTS / 4, StoreTime::ZERO));
        }
        roster.enroll(&leaves, at(3));
        assert_eq!(roster.entries().count(), 4);
        assert_eq!(roster.retired(), Retired::default());
    }

    #[test]
    fn an_entry_is_never_shortened_and_the_roster_has_an_end() {
        let mut roster = Roster::default();
        for replica in 0..100 {
            let seat = roster.enroll(&enroll(replica, 0), at(1));
            let is_entered = seat.expiry > StoreTime::ZERO;
            assert_eq!(is_entered, replica < REPLICAS_MAX as u64);
        }
        let short = Enroll {
            lease: Micros(1),
            ..enroll(0, 0)
        };
        let expiry = roster.enroll(&short, at(2)).expiry;
        assert_eq!(expiry, at(7) + Micros(1), "and never the same again");
    }
}
