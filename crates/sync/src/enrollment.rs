//! The place of this replica on the roster of one part of the store: when it tells the roster what,
//! and what it may spend of advances for it.
//!
//! # Invariant
//!
//! The replica says that it works by fewer parts only when all has been reported, and heard of,
//! that it may have spent by more; and that it leaves, when nothing is left to report and it spends
//! no more. It works by its place for no longer than nine tenths of the time that it asked for,
//! from when it asked: the store counts from later.

use std::time::Duration;

use leasehold_core::{Enroll, Instant, Micros, PARTS, Seat, StoreTime};

use crate::advance_right::{AdvanceRight, Parts};

/// The place on one roster.
#[derive(Debug, Default)]
pub(crate) struct Enrollment {
    /// The parts by which the replica works.
    parts: Parts,
    /// The parts that it had, while it may not have reported all that it spent by them.
    had: u32,
    /// Since when all that is spent is spent by `parts`.
    since: Instant,
    /// Until when it works by them.
    until: Instant,
    /// When its entry ends on the store's clock, as it was told last.
    known: StoreTime,
    /// When it tells the roster again, along with other calls.
    renew_at: Instant,
    /// Whether anybody has asked for a key since it last told.
    asked: bool,
    in_flight: bool,
    /// Whether what is in flight says that it leaves.
    leaving: bool,
}

/// The part of a message to the roster that does not depend on the place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Telling {
    pub(crate) replica: u64,
    /// How long a place is to last.
    pub(crate) lease: Duration,
    /// The most parts to wish for.
    pub(crate) most: u32,
    /// Whether the replica is shutting down.
    pub(crate) closing: bool,
}

impl Enrollment {
    /// Somebody asks for a key.
    pub(crate) fn handle_asked(&mut self) {
        self.asked = true;
    }

    /// Whether the replica may be on the roster, and spend what is its part.
    fn has_place(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Whether the replica has not left yet, as far as it has heard.
    pub(crate) fn is_enrolled(&self) -> bool {
        self.until > Instant::ORIGIN
    }

    /// When something is to be told though nothing else goes.
    pub(crate) fn due(&self, lease: Duration, closing: bool, now: Instant) -> Option<Instant> {
        if self.in_flight || !self.has_place(now) {
            return None;
        }
        if closing {
            return Some(Instant::ORIGIN);
        }
        Some(self.renew_at + lease / 6)
    }

    /// The message for a batch that goes now, if any. `has_calls` says whether it goes anyway;
    /// `oldest` tells when the oldest token was spent that is unheard, if there is one.
    pub(crate) fn poll(
        &mut self,
        telling: Telling,
        right: &AdvanceRight,
        has_calls: bool,
        oldest: impl FnOnce() -> Option<Instant>,
        now: Instant,
    ) -> Option<Enroll> {
        if self.in_flight {
            return None;
        }
        let Telling {
            replica,
            lease,
            most,
            closing,
        } = telling;
        let is_due = self.due(lease, closing, now).is_some_and(|due| due <= now);
        if !(has_calls || is_due) {
            return None;
        }
        let has_place = self.has_place(now);
        let leaves = closing || !(self.asked || has_calls);
        let is_told = has_place && now < self.renew_at;
        if leaves && !has_place || !leaves && is_told {
            return None;
        }
        let oldest = oldest();
        if leaves {
            if oldest.is_some() {
                return None;
            }
            right.end();
        } else if !has_place {
            // Since the place ended the replica has no parts. It says so once all is reported,
            // because its entry may live on.
            if self.had > 0 && oldest.is_some() {
                return None;
            }
            self.parts = Parts::default();
        }
        if oldest.is_none_or(|oldest| oldest >= self.since) {
            self.had = self.parts.later;
        }
        self.in_flight = true;
        self.leaving = leaves;
        self.asked = false;
        Some(Enroll {
            replica,
            lease: Micros::from_duration(lease),
            parts: self.had,
            most,
            leaves,
            known: self.known,
        })
    }

    /// The roster has said what it has to say of what was told at `sent`. `used` is for how long
    /// after that the place is used; `longest` is the longest quarantine of all limits.
    pub(crate) fn handle_seat(
        &mut self,
        told: &Seat,
        right: &AdvanceRight,
        sent: Instant,
        used: Duration,
        longest: Duration,
        now: Instant,
    ) {
        self.in_flight = false;
        self.known = told.expiry;
        if self.leaving || told.parts > PARTS {
            self.give_up(right);
            return;
        }
        // How long ago the new parts were another's, at least: since then this clock has gone on.
        let (store_now, store_ended) = (told.now.as_micros(), told.ended.as_micros());
        let ago = Duration::from_micros(store_now.saturating_sub(store_ended));
        let ahead = Duration::from_micros(store_ended.saturating_sub(store_now));
        let is_past = store_ended == 0 || ago >= longest;
        let old = self.parts;
        let sure = if is_past {
            told.parts
        } else {
            old.sure.min(told.kept)
        };
        let sure = sure.min(told.due);
        let later = told.parts.min(told.due);
        let ended = if is_past {
            Instant::ORIGIN
        } else {
            before(now, ago) + ahead
        };
        if later < old.later {
            // Whatever was spent until now may have been spent by more.
            self.since = now;
        }
        self.had = told.parts;
        self.parts = Parts {
            sure,
            later: later.max(sure),
            ended,
        };
        self.until = sent + used;
        let renewed_within = if told.kept == 0 {
            (used / 3).min(TOLD_AGAIN)
        } else {
            used / 3
        };
        self.renew_at = sent + renewed_within;
        right.set(self.parts, self.until);
    }

    /// The message came to nothing, or nobody knows. If it was that the replica leaves, it does not
    /// come back to a place that it may have left.
    pub(crate) fn handle_failure(&mut self, right: &AdvanceRight, now: Instant) {
        self.in_flight = false;
        self.renew_at = self.renew_at.max(now + AGAIN_AFTER);
        if self.leaving {
            self.give_up(right);
        }
    }

    /// Spends no more.
    fn give_up(&mut self, right: &AdvanceRight) {
        right.end();
        self.until = Instant::ORIGIN;
        self.parts = Parts::default();
        self.had = 0;
        self.leaving = false;
    }
}

/// The time so long before `now`; the first after the origin if that was before.
fn before(now: Instant, ago: Duration) -> Instant {
    let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
    Instant::from_nanos(now.as_nanos().saturating_sub(ago).max(1))
}

/// A newcomer hears within this how many there are.
const TOLD_AGAIN: Duration = Duration::from_millis(450);

/// Nobody waits for what is told to the roster.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use leasehold_core::{Limit, Roster};

    use super::*;

    const LEASE: Duration = Duration::from_secs(6);
    const USED: Duration = Duration::from_millis(5400);
    /// The longest quarantine of all limits.
    const LONGEST: Duration = Duration::from_secs(2);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1000 + 1000 * seconds)
    }

    fn telling(replica: u64) -> Telling {
        Telling {
            replica,
            lease: LEASE,
            most: PARTS,
            closing: false,
        }
    }

    /// A replica and its place.
    #[derive(Default)]
    struct Replica {
        place: Enrollment,
        right: AdvanceRight,
        name: u64,
    }

    impl Replica {
        fn named(name: u64) -> Self {
            Self {
                name,
                ..Self::default()
            }
        }

        fn tell(&mut self, oldest: Option<Instant>, closing: bool, now: Instant) -> Option<Enroll> {
            let telling = Telling {
                closing,
                ..telling(self.name)
            };
            let right = &self.right;
            self.place.poll(telling, right, !closing, || oldest, now)
        }

        /// Tells the roster, which answers at once.
        fn exchange(&mut self, roster: &mut Roster, oldest: Option<Instant>, now: Instant) {
            if let Some(enroll) = self.tell(oldest, false, now) {
                let store_now = StoreTime::from_micros(now.as_nanos() / 1000 + 77_000_000);
                let seat = roster.enroll(&enroll, store_now);
                let right = &self.right;
                self.place
                    .handle_seat(&seat, right, now, USED, LONGEST, now);
            }
        }

        fn tokens(&self, now: Instant) -> u32 {
            let limit: Limit = "1000/s burst 900 advance 100".parse().unwrap();
            self.right.tokens(&limit, now)
        }
    }

    fn parts_of(roster: &Roster, name: u64) -> u32 {
        let mut entries = roster.entries();
        entries.find(|it| it.0 == name).map_or(0, |it| it.2)
    }

    #[test]
    fn a_place_is_renewed_while_somebody_asks_and_left_when_nobody_does() {
        let (mut roster, mut replica) = (Roster::default(), Replica::named(1));
        replica.exchange(&mut roster, None, at(0));
        assert_eq!(replica.tokens(at(0)), 10, "as one of many newcomers");
        assert_eq!(replica.tell(None, false, at(0)), None, "not yet");
        replica.exchange(&mut roster, None, at(2));
        assert_eq!(replica.tokens(at(7)), 25, "renewed");
        let due = replica.place.due(LEASE, false, at(2)).unwrap();
        assert!(due < at(6), "before it ends");
        let (place, right) = (&mut replica.place, &replica.right);
        let mut told = |oldest| place.poll(telling(1), right, false, || oldest, due);
        assert_eq!(told(Some(at(1))), None, "it has to report");
        let enroll = told(None).unwrap();
        assert!(enroll.leaves);
        assert_eq!(replica.tokens(due), 0);
    }

    #[test]
    fn fewer_parts_are_admitted_to_once_all_that_was_spent_by_more_is_reported() {
        let mut roster = Roster::default();
        let mut replicas: Vec<_> = (0..5).map(Replica::named).collect();
        for replica in &mut replicas[..4] {
            replica.exchange(&mut roster, None, at(0));
        }
        for replica in &mut replicas[..4] {
            replica.exchange(&mut roster, None, at(1));
            assert_eq!(replica.tokens(at(1)), 25);
        }
        replicas[4].exchange(&mut roster, None, at(1));
        assert_eq!(replicas[4].tokens(at(1)), 0);
        // When they exchange, when the oldest token was spent that is unheard then, and the parts
        // that the store believes that they have.
        for (second, oldest, parts) in [(3, 1, 4), (5, 1, 4), (7, 4, 5)] {
            for replica in &mut replicas[..4] {
                replica.exchange(&mut roster, Some(at(oldest)), at(second));
                assert_eq!(replica.tokens(at(second)), 20, "it works by fewer at once");
                assert_eq!(parts_of(&roster, replica.name), PARTS / parts, "{second}");
            }
            replicas[4].exchange(&mut roster, None, at(second));
        }
        assert_eq!(
            replicas[4].tokens(at(8)),
            0,
            "it was another's a moment ago"
        );
        replicas[4].exchange(&mut roster, None, at(9));
        assert_eq!(replicas[4].tokens(at(10)), 20);
    }

    #[test]
    fn who_leaves_comes_back_as_anybody_new() {
        let (mut roster, mut replica) = (Roster::default(), Replica::named(1));
        replica.exchange(&mut roster, None, at(0));
        assert_eq!(replica.tell(Some(at(0)), true, at(1)), None);
        let enroll = replica.tell(None, true, at(1)).unwrap();
        assert_eq!(replica.tokens(at(1)), 0, "from when it says so");
        roster.enroll(&enroll, StoreTime::from_micros(79_000_000));
        replica.place.handle_failure(&replica.right, at(1));
        replica.exchange(&mut roster, None, at(2));
        assert_eq!(replica.tokens(at(2)), 0);
        assert_eq!(replica.tokens(at(4)), 10);
    }

    /// Its entry may have ended, and others may have had its parts.
    #[test]
    fn no_parts_outlive_the_end_of_a_place() {
        let (mut roster, mut replica) = (Roster::default(), Replica::named(1));
        replica.exchange(&mut roster, None, at(0));
        replica.exchange(&mut roster, None, at(2));
        assert_eq!(replica.tokens(at(2)), 25);
        let over = Instant::from_millis(8500);
        assert_eq!(replica.tokens(over), 0);
        assert_eq!(
            replica.tell(Some(at(2)), false, over),
            None,
            "not all is reported"
        );
        let enroll = replica.tell(None, false, over).unwrap();
        assert_eq!(enroll.parts, 0);
        replica.place.handle_failure(&replica.right, over);
        let entry = roster.entries().next().unwrap();
        assert_eq!(entry.2, PARTS / 4, "it lives on");
        replica.exchange(&mut roster, None, over);
        assert_eq!(replica.tokens(over), 0, "as anybody new");
    }
}
