//! A syncer whose replica answers from advances before it has asked.

use leasehold_core::Ledgers;

use super::*;
use crate::request_path::{RequestPath, Step, Then};

const SECOND: Duration = Duration::from_secs(1);

/// A store with a roster, and what it was asked.
struct Store {
    ledgers: Ledgers<Box<[u8]>>,
    requests: Vec<Request>,
}

impl Store {
    fn new() -> Self {
        Self {
            ledgers: Ledgers::new(usize::MAX),
            requests: Vec::new(),
        }
    }

    fn answer(&mut self, batch: &Batch, now: Instant) -> Answer {
        let now = StoreTime::from_micros(now.as_nanos() / 1000 + 500_000);
        let calls = batch.calls.iter().map(|call| {
            let key: Box<[u8]> = call.key().subject.into();
            (key, &batch.limit_of(call).limit, &call.request)
        });
        let (birth, replies) =
            (self.ledgers).execute(batch.known_birth, batch.quarantine, calls, now);
        let seat = batch.enroll.map(|enroll| self.ledgers.enroll(&enroll, now));
        let requests = batch.calls.iter().map(|call| call.request);
        self.requests.extend(requests);
        Answer {
            birth,
            seat,
            replies,
        }
    }
}

/// A replica and its store, and the time.
struct World {
    syncer: Syncer<Caller>,
    store: Store,
    now: Instant,
}

impl World {
    /// A replica of `limit` that has asked for Bob, and is on the roster.
    fn enrolled(limit: &str) -> Self {
        Self::new(limit, FailurePolicy::Closed)
    }

    fn new(limit: &str, policy: FailurePolicy) -> Self {
        let mut world = Self {
            syncer: replica(limit, policy, 4),
            store: Store::new(),
            now: NOW,
        };
        world.syncer.limits.tuning.max_replicas = None;
        for _ in 0..2 {
            // Once it is told how many replicas there are, it may spend a quarter.
            world.ask(BOB);
            world.serve();
            assert!(verdicts(&mut world.syncer)[0].is_allowed());
            world.pass(Duration::from_millis(500));
        }
        world.store.requests.clear();
        world
    }

    fn ask(&mut self, key: KeyRef<'_>) {
        let now = self.now;
        self.syncer
            .acquire(key, 1, Purpose::Spend, Caller::default(), now);
    }

    /// A request for a token of Alice's; whether it is decided here.
    fn request(&mut self) -> Option<Verdict> {
        let (status, cache) = (
            self.syncer.store_status(),
            self.syncer.keys.cache.requests(),
        );
        let path = RequestPath {
            cache: &Arc::clone(cache),
            limits: &Arc::clone(self.syncer.limits.all()),
            status: &status,
        };
        match path.acquire(ALICE, 1, None, self.now) {
            Step::Undecided(()) => None,
            Step::Decided { verdict, then } => {
                if then == Then::Report {
                    self.syncer.handle_advanced(ALICE, 1, self.now);
                }
                Some(verdict)
            }
        }
    }

    fn serve(&mut self) {
        while let Some(batch) = self.syncer.poll_batch(self.now) {
            let answer = self.store.answer(&batch, self.now);
            self.syncer
                .handle_answer(&batch, &answer, self.now)
                .unwrap();
        }
    }

    /// Time passes, in steps of a millisecond.
    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() {
            self.now = self.now + Duration::from_millis(1);
            self.syncer.handle_timeout(self.now);
            self.serve();
        }
    }

    fn charged(&self) -> u64 {
        let charges = self.store.requests.iter().map(|request| match request {
            Request::Charge { tokens } => *tokens,
            _ => 0,
        });
        charges.sum()
    }
}

#[test]
fn a_key_that_nobody_knows_is_answered_at_once_and_reported_later() {
    let mut world = World::enrolled("100/min burst 100 advance 20");
    for left in (0..5).rev() {
        let verdict = world.request().expect("it has five in advance");
        assert!(verdict.is_allowed());
        assert_eq!(verdict.held(), left);
    }
    assert_eq!(world.request(), None, "the sixth asks");
    assert!(world.store.requests.is_empty());
    world.pass(Duration::from_millis(30));
    assert_eq!(world.store.requests, [Request::Charge { tokens: 5 }]);
    assert!(world.request().is_some(), "it is restored");
    world.pass(SECOND * 2);
    assert_eq!(world.charged(), 6);
    let tokens = world.syncer.tokens();
    assert_eq!(tokens.spent, 8, "with Bob's");
}

#[test]
fn what_comes_within_a_second_goes_with_one_report() {
    let mut world = World::enrolled("100/min burst 100 advance 40");
    for _ in 0..5 {
        assert!(world.request().is_some());
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(world.charged(), 0);
    world.pass(SECOND);
    assert_eq!(world.store.requests, [Request::Charge { tokens: 5 }]);
}

#[test]
fn what_the_bucket_has_no_room_for_is_not_restored_until_it_has() {
    let mut world = World::enrolled("60/min burst 20 advance 8");
    let limit = world.syncer.limits.named(LimitId::FIRST).limit;
    let at = StoreTime::from_micros(world.now.as_nanos() / 1000 + 500_000);
    let fill = Request::Spend { cost: 12 };
    let known = world.syncer.store_status().known_birth(0);
    let calls = [(ALICE.subject.into(), &limit, &fill)];
    let (_, replies) = world.store.ledgers.execute(known, Micros(0), calls, at);
    assert_eq!(
        replies[0].status,
        Status::Spent,
        "others take all that is granted"
    );
    assert!(world.request().is_some() && world.request().is_some());
    world.pass(Duration::from_millis(30));
    assert_eq!(world.charged(), 2);
    let denial = world.request().expect("the store has told of it");
    assert!(!denial.is_allowed());
    world.pass(Duration::from_secs(2));
    assert!(
        !world
            .request()
            .expect("it takes three seconds")
            .is_allowed()
    );
    world.pass(Duration::from_secs(2));
    assert!(world.request().expect("restored").is_allowed());
}

#[test]
fn a_report_that_failed_goes_again() {
    let mut world = World::enrolled("100/min burst 100 advance 4");
    assert!(world.request().is_some());
    world.now = world.now + Duration::from_millis(20);
    let lost = world.syncer.poll_batch(world.now).expect("it is used up");
    assert_eq!(lost.calls.len(), 1);
    world.syncer.handle_failure(&lost, world.now);
    assert_eq!(world.request(), None);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.charged(), 1);
    assert!(world.request().is_some());
}

#[test]
fn a_replica_leaves_once_it_has_reported_all_and_spends_nothing_after() {
    let mut world = World::enrolled("100/min burst 100 advance 20");
    assert!(world.request().is_some());
    world.syncer.shut_down(world.now);
    assert_eq!(world.request(), None);
    assert!(!world.syncer.is_drained());
    world.pass(Duration::from_millis(50));
    assert!(world.syncer.is_drained());
    assert_eq!(world.charged(), 1);
    assert_eq!(world.store.ledgers.roster().entries().count(), 0);
    assert_eq!(world.store.ledgers.roster().retired().parts, 0);
}

#[test]
fn an_idle_replica_leaves_the_roster_and_is_silent() {
    let mut world = World::enrolled("100/min burst 100 advance 20");
    assert_eq!(world.store.ledgers.roster().entries().count(), 1);
    world.pass(SECOND * 10);
    assert_eq!(world.store.ledgers.roster().entries().count(), 0);
    assert_eq!(world.store.ledgers.roster().retired().parts, 0);
    assert_eq!(world.request(), None, "it asks, and comes back");
    world.ask(ALICE);
    world.serve();
    assert_eq!(world.store.ledgers.roster().entries().count(), 1);
}

#[test]
fn a_replica_that_hears_nothing_stops_before_its_place_ends() {
    let mut world = World::enrolled("100/min burst 1000 advance 200");
    world.now = world.now + Duration::from_millis(4899);
    assert!(world.request().is_some());
    world.now = world.now + Duration::from_millis(2);
    assert_eq!(world.request(), None, "nine tenths of six seconds are over");
}

/// A key's own ledger, in fallback, says nothing about the store.
#[test]
fn nothing_is_restored_by_what_a_replica_grants_itself() {
    let mut world = World::new("1/h burst 2000 advance 8", FailurePolicy::Local);
    let limit = world.syncer.limits.named(LimitId::FIRST).limit;
    let at = StoreTime::from_micros(world.now.as_nanos() / 1000 + 500_000);
    let known = world.syncer.store_status().known_birth(0);
    let fill = Request::Spend { cost: 1992 };
    let calls = [(ALICE.subject.into(), &limit, &fill)];
    world.store.ledgers.execute(known, Micros(0), calls, at);
    assert!(world.request().is_some() && world.request().is_some());
    world.pass(Duration::from_millis(30));
    assert_eq!(world.charged(), 2);
    // The store goes away, and Alice is decided here.
    world.syncer.limits.tuning.max_replicas = std::num::NonZeroU32::new(1);
    world.syncer.handle_forgiven(ALICE, world.now);
    let later = world.now + SECOND * 2;
    while world.now < later {
        world.now = world.now + Duration::from_millis(1);
        world.syncer.handle_timeout(world.now);
        world.ask(ALICE);
        while let Some(batch) = world.syncer.poll_batch(world.now) {
            world.syncer.handle_failure(&batch, world.now);
        }
    }
    let told = verdicts(&mut world.syncer);
    assert!(told.iter().any(Verdict::is_allowed), "by its local limit");
    let cache = Arc::clone(world.syncer.keys.cache.requests());
    let left = cache.take_advance(ALICE, 1, 2);
    assert_eq!(left, None, "it is used up still");
}

/// A report about a key that the store cannot read was never made again, and its replica could
/// neither give up parts nor leave.
#[test]
fn a_report_that_the_store_does_not_serve_goes_again() {
    let mut world = World::enrolled("100/min burst 100 advance 20");
    assert!(world.request().is_some());
    world.now = world.now + SECOND + Duration::from_millis(10);
    let batch = world.syncer.poll_batch(world.now).expect("it is reported");
    let mut answer = world.store.answer(&batch, world.now);
    for (call, reply) in batch.calls.iter().zip(&mut answer.replies) {
        if call.is_report() {
            *reply = Reply::unserved(Status::Unreadable, reply.now);
        }
    }
    let heard = world.syncer.handle_answer(&batch, &answer, world.now);
    heard.expect("there is a reply to each call");
    world.store.requests.clear();
    world.pass(SECOND * 2);
    assert_eq!(world.charged(), 1);
}

/// It ended before it had said so, and its parts counted as those of a replica that crashed.
#[test]
fn a_replica_that_ends_is_drained_once_it_has_left() {
    let mut world = World::enrolled("100/min burst 100 advance 20");
    assert_eq!(world.syncer.unsettled(), 0);
    world.syncer.shut_down(world.now);
    assert!(!world.syncer.is_drained(), "it has a place");
    world.serve();
    assert!(world.syncer.is_drained());
    assert_eq!(world.store.ledgers.roster().entries().count(), 0);
}
