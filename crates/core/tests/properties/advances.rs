//! Advances: replicas on a roster spend before they ask, and the promise is kept all the same.
//!
//! The replicas of these tests are a model that shares no code with the one that ships: see
//! `enrolled`. Each of its rules is left out once, and is missed.

use std::cell::Cell;

use leasehold_core::{Enroll, Ledgers, Limit, Micros, Reply, Request, Seat, Status, StoreTime};

use crate::advance_fleet::{AdvanceFleet, Trouble};
use crate::enrolled::{Enrolled, Flaw};
use crate::random::{Random, for_seeds, replaying};
use crate::virtual_queue::VirtualQueue;

#[test]
fn the_promise_is_kept_by_replicas_that_spend_before_they_ask() {
    let nearly_reached = Cell::new(0);
    for_seeds(SCHEDULES, |random| {
        let fullest_percent = keeps_the_promise(Trouble::default(), random);
        if fullest_percent > 95 {
            nearly_reached.set(nearly_reached.get() + 1);
        }
    });
    let enough = SCHEDULES / 100;
    assert!(
        replaying() || nearly_reached.get() > enough,
        "schedules that are too tame prove nothing: {nearly_reached:?}"
    );
}

#[test]
fn the_promise_is_kept_by_replicas_that_spend_before_they_ask_and_a_store_that_forgets() {
    let trouble = Trouble {
        losses: true,
        ..Trouble::default()
    };
    for_seeds(SCHEDULES, |random| {
        keeps_the_promise(trouble, random);
    });
}

/// A network that delays messages for longer than anybody waits.
#[test]
fn the_promise_is_kept_though_what_the_roster_is_told_comes_late_twice_and_in_any_order() {
    let trouble = Trouble {
        losses: false,
        flaw: Some(Flaw::EnrollsInDisorder),
    };
    for_seeds(SCHEDULES, |random| {
        keeps_the_promise(trouble, random);
    });
}

/// A rule that nobody misses is one too many, or the schedules are too tame.
#[test]
fn no_rule_of_a_replica_can_be_left_out() {
    if replaying() {
        return;
    }
    for flaw in [
        Flaw::NoQuarantine,
        Flaw::RestoresUnlooked,
        Flaw::RestoresUnheard,
    ] {
        let trouble = Trouble {
            losses: false,
            flaw: Some(flaw),
        };
        let found = (1..=SCHEDULES * 4).find(|seed| is_broken(trouble, *seed));
        assert!(found.is_some(), "{flaw:?} does no harm");
        eprintln!("{flaw:?}: seed {found:?}");
    }
}

#[test]
fn a_lone_replica_below_the_rate_is_always_answered_from_its_advance() {
    let limit: Limit = "100/min burst 100 advance 8".parse().expect("a limit");
    let mut store: Ledgers<usize> = Ledgers::new(1);
    let mut replica = Enrolled::start(1, 1, StoreTime::ZERO, None, &mut Random::seeded(1));
    replica.most = 5040;
    for serial in 0..1000 {
        let now = START + serial * 1_000_000;
        if serial > 1 {
            assert_eq!(
                replica.left(0, &limit, now),
                2,
                "of eight, a quarter: {serial}"
            );
            replica.spend(0, 2 - serial % 2);
        }
        let item = replica.report(0);
        let enroll = replica.enroll(serial, Micros(6_000_000), now);
        let enroll = enroll.expect("nothing is awaited");
        let at = StoreTime::from_micros(now);
        let calls = [(0, &limit, &item.request)];
        let (birth, replies) = store.execute(replica.known, Micros(6_000_000), calls, at);
        let told = store.enroll(&enroll, at);
        replica.known = birth.since;
        replica.hear(&item, &replies[0]);
        let sent = replica.clock(now);
        replica.sit(&told, birth.since, serial, (sent, enroll.lease));
    }
}

/// Fleets that crash as soon as they may spend keep a key's true level up for ever, while the level
/// that its ledger knows of drains: the ledger is forgotten, and what it knew is granted again.
#[test]
fn the_promise_is_kept_when_one_fleet_after_another_crashes() {
    assert_eq!(
        excess_of_fleets_that_crash(14),
        0,
        "a full bucket has drained"
    );
    assert!(
        excess_of_fleets_that_crash(4) > 0,
        "an advance has, which is too little"
    );
}

/// The tokens too many where a fleet spends so many seconds after the last has ended.
fn excess_of_fleets_that_crash(quarantine: u64) -> u64 {
    let limit: Limit = "1/s burst 10 advance 4".parse().expect("a limit");
    let mut story = Story {
        queue: VirtualQueue::new(&limit),
        store: Ledgers::new(10),
        known: StoreTime::ZERO,
        limit,
    };
    // All that can be granted is spent, in two steps: so that the ledger is kept no longer than it
    // must be.
    let first = story.enroll_four(1, 0, 0);
    let first = story.enroll_four(1, first.parts, 1);
    assert_eq!((first.parts, first.ended), (1260, StoreTime::ZERO));
    story.spend(2, 100);
    story.spend(4, 101);
    story.spend_advances(850);
    // The four crash; their entries end at 1.001 s.
    let mut ended = 1001;
    for first in [5, 9] {
        let spends = ended + quarantine * 1000;
        story.live(first, ended, spends + 500);
        story.spend_advances(spends);
        ended = spends + 1500;
    }
    // Where they spend every four seconds, the ledger has been forgotten by the next time.
    let now = ended + quarantine * 1000;
    story.live(13, ended, now);
    let free = story.spend(0, now);
    story.spend(free, now);
    story.spend_advances(now);
    story.queue.excess()
}

/// A replica is cut off for so long that others get its parts, and comes back. Its first message
/// is executed, but the answer is lost. If it had kept its parts beyond its deadline, the second
/// answer would confirm them, and they would be those of a replica that has just spent them and
/// crashed.
#[test]
fn no_parts_outlive_their_deadline() {
    assert_eq!(excess_after_a_cut(None), 0);
    assert!(excess_after_a_cut(Some(Flaw::KeepsPartsForEver)) > 0);
}

/// The tokens too many once a replica with this flaw comes back.
fn excess_after_a_cut(flaw: Option<Flaw>) -> u64 {
    let mut meeting = Meeting::new();
    let limit = meeting.limit;
    let mut queue = VirtualQueue::new(&limit);
    let start = |id| Enrolled::start(id, 1, StoreTime::ZERO, flaw, &mut Random::seeded(1));
    let mut replicas = [1, 2, 3, 4, 5].map(start);
    let [cut_off, crashing, second, third, newcomer] = &mut replicas;
    for time in [0, 100] {
        for replica in [&mut *cut_off, &mut *crashing, &mut *second, &mut *third] {
            meeting.enroll(replica, time, Answer::Heard);
        }
    }
    // The first replica is cut off, and its entry ends at 10.1 s. The newcomer gets its parts, and
    // may use them once the limit has yielded 140 tokens.
    let usable = 10_100 + 1_400_000;
    for time in (4000..=usable).step_by(4000) {
        for replica in [&mut *crashing, &mut *second, &mut *third] {
            meeting.enroll(replica, time, Answer::Heard);
        }
        if time > 11_000 {
            meeting.enroll(newcomer, time, Answer::Heard);
        }
    }
    // All tokens are spent at once. Then a replica crashes, and its entry ends at 1418 s.
    let rush = usable + 1;
    queue.admit(meeting.spend_all(rush), at(rush).as_micros());
    for replica in [&mut *crashing, &mut *second, &mut *third, &mut *newcomer] {
        let left = replica.left(0, &limit, at(rush).as_micros());
        assert_eq!(left, 10);
        replica.spend(0, left);
        queue.admit(left, at(rush).as_micros());
    }
    for time in [1_412_000, 1_416_000] {
        for replica in [&mut *second, &mut *third, &mut *newcomer] {
            meeting.enroll(replica, time, Answer::Heard);
        }
    }
    let back = 1_418_001;
    meeting.enroll(cut_off, back, Answer::Lost);
    meeting.enroll(cut_off, back + 1, Answer::Heard);
    let now = at(back + 2).as_micros();
    queue.admit(cut_off.left(0, &limit, now), now);
    queue.excess()
}

/// Four replicas spend all of their advances, and report nothing for as long as a newcomer waits
/// for the parts that they give up.
#[test]
fn no_parts_are_given_up_before_all_that_was_spent_by_them_is_reported() {
    assert_eq!(excess_after_a_newcomer(None), 0);
    assert!(excess_after_a_newcomer(Some(Flaw::ConfirmsEarly)) > 0);
}

/// The tokens too many once a newcomer to replicas with this flaw spends its part.
fn excess_after_a_newcomer(flaw: Option<Flaw>) -> u64 {
    let mut meeting = Meeting::new();
    let limit = meeting.limit;
    let mut queue = VirtualQueue::new(&limit);
    let start = |id| Enrolled::start(id, 1, StoreTime::ZERO, flaw, &mut Random::seeded(1));
    let mut first = [1, 2, 3, 4].map(start);
    for time in [0, 100] {
        for replica in &mut first {
            meeting.enroll(replica, time, Answer::Heard);
        }
    }
    queue.admit(meeting.spend_all(101), at(101).as_micros());
    for replica in &mut first {
        let left = replica.left(0, &limit, at(101).as_micros());
        assert_eq!(left, 10);
        replica.spend(0, left);
        queue.admit(left, at(101).as_micros());
    }
    // Whatever the store has is spent, so that the bucket never empties.
    let mut newcomer = start(5);
    let end = 1_600_000;
    for time in (4000..=end).step_by(4000) {
        for replica in first.iter_mut().chain([&mut newcomer]) {
            meeting.enroll(replica, time, Answer::Heard);
        }
        queue.admit(meeting.spend_all(time), at(time).as_micros());
    }
    let now = at(end).as_micros();
    queue.admit(newcomer.left(0, &limit, now), now);
    queue.excess()
}

/// A store, and a network that is told what it loses.
struct Meeting {
    store: Ledgers<u32>,
    limit: Limit,
    lease: Micros,
    serial: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Heard,
    Lost,
}

impl Meeting {
    fn new() -> Self {
        Self {
            store: Ledgers::new(1),
            limit: "1/10s burst 100 advance 40".parse().expect("a limit"),
            lease: Micros(10_000_000),
            serial: 0,
        }
    }

    fn enroll(&mut self, replica: &mut Enrolled, time: u64, answer: Answer) {
        let now = at(time);
        let asked_at = replica.clock(now.as_micros());
        self.serial += 1;
        replica.most = 5040;
        let enroll = replica.enroll(self.serial, self.lease, now.as_micros());
        let enroll = enroll.expect("nothing is awaited, and nothing was spent before a deadline");
        let (birth, _) = self.store.execute(replica.known, self.lease, [], now);
        let seat = self.store.enroll(&enroll, now);
        if answer == Answer::Lost {
            replica.give_up(self.serial);
            return;
        }
        replica.known = birth.since;
        replica.sit(&seat, birth.since, self.serial, (asked_at, self.lease));
    }

    /// Spends all that the store has, and says how much that was.
    fn spend_all(&mut self, time: u64) -> u64 {
        let cost = self.ask(0, time).free;
        assert_eq!(self.ask(cost, time).status, Status::Spent);
        cost
    }

    fn ask(&mut self, cost: u64, time: u64) -> Reply {
        let request = Request::Spend { cost };
        let calls = [(1, &self.limit, &request)];
        let (_, replies) = self
            .store
            .execute(StoreTime::ZERO, self.lease, calls, at(time));
        replies[0]
    }
}

/// Four replicas with a token each, on a clock of milliseconds.
struct Story {
    limit: Limit,
    /// When the entries of the four end, as they were told last.
    known: StoreTime,
    store: Ledgers<u32>,
    queue: VirtualQueue,
}

impl Story {
    /// Four replicas live: they come, renew twice a second for a lease of a second, and crash after
    /// their last renewal.
    fn live(&mut self, first: u64, from: u64, to: u64) {
        self.known = StoreTime::ZERO;
        let seat = self.enroll_four(first, 0, from);
        assert_eq!(seat.ended, at(from), "when those before ended");
        let mut parts = seat.parts;
        for time in (from + 500..=to).step_by(500) {
            let seat = self.enroll_four(first, parts, time);
            assert_eq!(seat.kept, parts);
            parts = seat.parts;
        }
        assert_eq!(parts, 1260);
    }

    fn enroll_four(&mut self, first: u64, parts: u32, time: u64) -> Seat {
        self.store.execute(StoreTime::ZERO, SECOND, [], at(time));
        let seats = (first..first + 4).map(|replica| {
            let enroll = Enroll {
                replica,
                lease: SECOND,
                parts,
                most: 5040,
                leaves: false,
                known: self.known,
            };
            self.store.enroll(&enroll, at(time))
        });
        let seats: Vec<Seat> = seats.collect();
        self.known = seats[0].expiry;
        seats[0]
    }

    fn spend_advances(&mut self, time: u64) {
        self.queue.admit(4, at(time).as_micros());
    }

    fn spend(&mut self, cost: u64, time: u64) -> u64 {
        let request = Request::Spend { cost };
        let calls = [(1, &self.limit, &request)];
        let (_, replies) = self.store.execute(StoreTime::ZERO, SECOND, calls, at(time));
        assert_eq!(replies[0].status, Status::Spent);
        self.queue.admit(cost, at(time).as_micros());
        replies[0].free
    }
}

fn at(millis: u64) -> StoreTime {
    StoreTime::from_micros(START + millis * 1000)
}

/// How full any key was at its fullest, in percent.
fn keeps_the_promise(trouble: Trouble, random: &mut Random) -> u64 {
    let mut fleet = AdvanceFleet::new(trouble, random);
    for _ in 0..STEPS {
        fleet.step();
        assert_eq!(fleet.excess(), 0, "tokens too many in some window");
    }
    fleet.settle();
    fleet.fullest_percent()
}

fn is_broken(trouble: Trouble, seed: u64) -> bool {
    let mut random = Random::seeded(seed);
    let mut fleet = AdvanceFleet::new(trouble, &mut random);
    (0..STEPS).any(|_| {
        fleet.step();
        fleet.excess() > 0
    })
}

const SECOND: Micros = Micros(1_000_000);

/// When stories begin: any time that is not the store's epoch.
const START: u64 = 1_700_000_000_000_000;

/// As many as a debug build runs in a few seconds.
const SCHEDULES: u64 = 6_000;

/// Enough for a few seats to begin and end.
const STEPS: u64 = 120;
