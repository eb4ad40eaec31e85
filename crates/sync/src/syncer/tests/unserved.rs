//! Keys that the store does not serve although it answers.

use leasehold_core::{Reply, Status};

use super::*;

/// A store that does not serve Alice, for as long as `status` says why.
#[derive(Default)]
struct Partial {
    store: Store,
    status: Option<Status>,
    calls_of_alice: u64,
    /// Replicas that it counts beside this one.
    others: u64,
}

impl Partial {
    fn refusing(status: Status) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    fn serve(&mut self, syncer: &mut Syncer<Caller>, now: Instant) {
        while let Some(batch) = syncer.poll_batch(now) {
            // The ledger of a key that is not served is left as it is.
            let mut answer = self.store.answer(&others(&batch, self.status), now);
            for reply in &mut answer.replies {
                reply.replicas += self.others;
            }
            if let Some(place) = call_of_alice(&batch) {
                self.calls_of_alice += 1;
                if let Some(status) = self.status {
                    let now = StoreTime::from_micros(now.as_nanos() / 1000);
                    answer.replies.insert(place, Reply::unserved(status, now));
                }
            }
            syncer.handle_answer(&batch, &answer, now).unwrap();
        }
    }
}

fn others(batch: &Batch, status: Option<Status>) -> Batch {
    let mut batch = batch.clone();
    batch
        .calls
        .retain(|call| status.is_none() || call.key() != ALICE);
    batch
}

/// One of Alice's and one of Bob's tokens are asked for in each millisecond from the first on.
/// Returns how many of each were admitted, and the denials of Alice.
fn ask_for_both(
    syncer: &mut Syncer<Caller>,
    store: &mut Partial,
    millis: Range<u64>,
) -> (u64, u64, Vec<Verdict>) {
    let (mut alice, mut bob, mut denied) = (0, 0, Vec::new());
    for now in millis.map(|later| NOW + Duration::from_millis(later)) {
        for (key, admitted) in [(ALICE, &mut alice), (BOB, &mut bob)] {
            match syncer.keys.cache.requests().try_acquire(key, 1, now) {
                LocalDecision::Allow { .. } => *admitted += 1,
                LocalDecision::Deny(_) => {}
                _ => syncer.acquire(key, 1, Purpose::Spend, Caller::default(), now),
            }
            syncer.handle_signals(now);
            syncer.handle_timeout(now);
            store.serve(syncer, now);
            for verdict in verdicts(syncer) {
                if verdict.is_allowed() {
                    *admitted += 1;
                } else if key == ALICE {
                    denied.push(verdict);
                }
            }
        }
    }
    (alice, bob, denied)
}

#[test]
fn a_closed_limit_denies_the_key_that_cannot_be_read_and_no_other() {
    let mut syncer = replica("10000/s", FailurePolicy::Closed, 8);
    let mut store = Partial::refusing(Status::Unreadable);
    let (alice, bob, denied) = ask_for_both(&mut syncer, &mut store, 0..3000);
    assert_eq!((alice, bob), (0, 3000), "Bob has nothing to do with it");
    assert_eq!(denied.len(), 3000);
    let reasons = denied.iter().filter_map(Verdict::denial);
    assert!(
        reasons
            .into_iter()
            .all(|denial| denial.reason == Reason::StoreUnavailable)
    );
    assert!(
        (3..30).contains(&store.calls_of_alice),
        "{} calls",
        store.calls_of_alice
    );
    assert_eq!((syncer.parts_away(), syncer.keys_unserved()), (0, 1));

    // Once somebody has deleted the value the key is served again.
    store.status = None;
    let (alice, bob, _) = ask_for_both(&mut syncer, &mut store, 3000..6000);
    assert!(alice >= 1000, "{alice} of 3000");
    assert_eq!((bob, syncer.keys_unserved()), (3000, 0));
}

#[test]
fn an_open_limit_admits_all_that_is_asked_of_the_key_and_owes_it() {
    let mut syncer = replica("10000/s", FailurePolicy::Open, 8);
    let mut store = Partial::refusing(Status::Unreadable);
    let (alice, bob, _) = ask_for_both(&mut syncer, &mut store, 0..3000);
    assert_eq!((alice, bob), (3000, 3000));
    assert_eq!(syncer.overshoot_bound(LimitId::FIRST, NOW), None);
    assert!(
        (3..30).contains(&store.calls_of_alice),
        "{} calls",
        store.calls_of_alice
    );

    store.status = None;
    let (alice, bob, _) = ask_for_both(&mut syncer, &mut store, 3000..6000);
    assert_eq!((alice, bob), (3000, 3000));
    assert_eq!(
        (syncer.uncharged(), syncer.keys_unserved()),
        (0, 0),
        "all is charged"
    );
    assert!(syncer.overshoot_bound(LimitId::FIRST, NOW).is_some());
}

#[test]
fn a_local_limit_goes_by_this_replicas_part_of_it() {
    let mut syncer = replica("100/s burst 100", FailurePolicy::Local, 8);
    syncer.limits.tuning.max_replicas = std::num::NonZeroU32::new(4);
    let mut store = Partial::refusing(Status::Unreadable);
    store.others = 3;
    let (alice, _, denied) = ask_for_both(&mut syncer, &mut store, 0..1000);
    assert!((40..=50).contains(&alice), "{alice} of a quarter of 200");
    let reasons = denied.iter().filter_map(Verdict::denial);
    assert!(
        reasons
            .into_iter()
            .all(|denial| denial.reason == Reason::StoreUnavailable)
    );
    let bound = syncer.overshoot_bound(LimitId::FIRST, NOW + Duration::from_secs(1));
    assert_eq!(bound, Some(50));

    store.status = None;
    ask_for_both(&mut syncer, &mut store, 1000..4000);
    assert_eq!((syncer.uncharged(), syncer.keys_unserved()), (0, 0));
}

/// The policy is for a store that is away; this one is there, and full.
#[test]
fn a_key_that_the_store_has_no_room_for_is_denied_whatever_the_policy() {
    for policy in [
        FailurePolicy::Closed,
        FailurePolicy::Local,
        FailurePolicy::Open,
    ] {
        let mut syncer = replica("10000/s", policy, 8);
        let mut store = Partial::refusing(Status::Full);
        let (alice, bob, denied) = ask_for_both(&mut syncer, &mut store, 0..1000);
        assert_eq!((alice, bob), (0, 1000), "{policy:?}");
        let reasons = denied.iter().filter_map(Verdict::denial);
        assert!(
            reasons
                .into_iter()
                .all(|denial| denial.reason == Reason::Overloaded)
        );
        store.status = None;
        let (alice, _, _) = ask_for_both(&mut syncer, &mut store, 1000..4000);
        assert!(alice >= 1000, "{policy:?}: {alice} of 3000");
    }
}

/// It was leased before; what is left of that is spent, as in an outage.
#[test]
fn a_lease_of_a_key_that_cannot_be_read_any_more_is_spent_to_its_end() {
    let mut syncer = replica("10000/s", FailurePolicy::Closed, 8);
    let mut store = Partial::default();
    let (alice, _, _) = ask_for_both(&mut syncer, &mut store, 0..1000);
    assert_eq!(alice, 1000);
    let held = syncer.tokens().held();
    store.status = Some(Status::Unreadable);
    let (alice, _, denied) = ask_for_both(&mut syncer, &mut store, 1000..3000);
    assert!(alice > 0 && alice <= held, "{alice} of {held}");
    assert!(!denied.is_empty());
    let tokens = syncer.tokens();
    assert_eq!(
        tokens.granted,
        tokens.spent + tokens.released + tokens.expired + tokens.held()
    );
}

/// It asked without end for what nobody could take back, until patience ended.
#[test]
fn a_shut_down_does_not_wait_for_a_key_that_cannot_be_read() {
    let mut syncer = replica("10000/s", FailurePolicy::Closed, 8);
    let mut store = Partial::default();
    ask_for_both(&mut syncer, &mut store, 0..1000);
    store.status = Some(Status::Unreadable);
    let (now, before) = (NOW + Duration::from_secs(1), store.calls_of_alice);
    syncer.shut_down(now);
    for millis in 0..20 {
        let now = now + Duration::from_millis(millis);
        syncer.handle_timeout(now);
        store.serve(&mut syncer, now);
    }
    assert!(syncer.is_drained());
    assert!(
        syncer.unsettled() > 0,
        "which the store frees when the lease ends"
    );
    assert!(store.calls_of_alice - before <= 3);
}

/// It was sent back with every batch from then on, and no store can have begun then.
#[test]
fn a_birth_in_the_stores_future_is_not_remembered() {
    let mut syncer = replica("10000/s", FailurePolicy::Closed, 8);
    let mut store = Store::default();
    let mut told = |syncer: &mut Syncer<Caller>, since: u64, millis: u64| {
        let now = NOW + Duration::from_millis(millis);
        syncer.acquire(BOB, 1, Purpose::Spend, Caller::default(), now);
        syncer.handle_timeout(now);
        let batch = syncer.poll_batch(now).expect("Bob asks for nothing twice");
        let mut answer = store.answer(&batch, now);
        answer.birth.since = StoreTime::from_micros(since);
        syncer.handle_answer(&batch, &answer, now).unwrap();
        batch.known_birth.as_micros()
    };
    assert_eq!(told(&mut syncer, 5, 0), 0);
    for (number, since) in [(1 << 52) - 1, u64::MAX, 0, 70_000_000, 7]
        .into_iter()
        .enumerate()
    {
        assert_eq!(told(&mut syncer, since, 1000 * (number as u64 + 1)), 5);
    }
    assert_eq!(told(&mut syncer, 7, 7000), 7);
    // A store that was told of 7 and says 6 has counted all as lost: it was set back.
    assert_eq!(told(&mut syncer, 6, 8000), 7);
    assert_eq!(told(&mut syncer, 6, 9000), 6);
}
