//! A syncer whose requests ask the store for themselves: several at a time, about one key.

use super::*;

/// A replica of `limit` whose batches may be under way together.
fn asking(limit: &str) -> Syncer<Caller> {
    let mut syncer = replica(limit, FailurePolicy::Closed, 4);
    syncer.limits.tuning.batches_in_flight = 8;
    syncer
}

fn ask(syncer: &mut Syncer<Caller>, cost: u32, now: Instant) {
    syncer.acquire(ALICE, cost, Purpose::Spend, Caller::default(), now);
}

/// The one batch that goes now.
fn sent(syncer: &mut Syncer<Caller>, now: Instant) -> Batch {
    let batch = syncer.poll_batch(now).expect("it goes at once");
    assert!(syncer.poll_batch(now).is_none(), "all went with it");
    batch
}

/// The store answers a batch.
fn answered(syncer: &mut Syncer<Caller>, store: &mut Store, batch: &Batch, now: Instant) {
    let answer = store.answer(batch, now);
    syncer.handle_answer(batch, &answer, now).unwrap();
}

fn costs(batch: &Batch) -> Vec<u64> {
    let costs = batch.calls.iter().map(|call| match call.request {
        Request::Spend { cost } => cost,
        ref other => panic!("no central spend: {other:?}"),
    });
    costs.collect()
}

#[test]
fn nobody_waits_for_the_call_of_another_and_each_gets_the_verdict_of_its_own() {
    let (mut syncer, mut store) = (asking("1/h burst 5"), Store::default());
    ask(&mut syncer, 1, NOW);
    let first = sent(&mut syncer, NOW);
    ask(&mut syncer, 3, NOW);
    ask(&mut syncer, 2, NOW);
    let second = sent(&mut syncer, NOW);
    assert_eq!((costs(&first), costs(&second)), (vec![1], vec![3, 2]));
    // The store executes them in this order, and its answers overtake each other.
    let answers = [&first, &second].map(|batch| store.answer(batch, NOW));
    let allowed = |syncer: &mut Syncer<Caller>| {
        let verdicts = verdicts(syncer).into_iter();
        verdicts.map(|it| it.is_allowed()).collect::<Vec<_>>()
    };
    syncer.handle_answer(&second, &answers[1], NOW).unwrap();
    assert_eq!(allowed(&mut syncer), [true, false], "3 and 2 of 4");
    syncer.handle_answer(&first, &answers[0], NOW).unwrap();
    assert_eq!(allowed(&mut syncer), [true]);
    assert_eq!(syncer.tokens().spent, 4);
}

#[test]
fn a_call_that_failed_is_made_again_for_its_own_request() {
    let (mut syncer, mut store) = (asking("1/h burst 5"), Store::default());
    ask(&mut syncer, 4, NOW);
    let lost = sent(&mut syncer, NOW);
    ask(&mut syncer, 1, NOW);
    let heard = sent(&mut syncer, NOW);
    answered(&mut syncer, &mut store, &heard, NOW);
    assert!(verdicts(&mut syncer)[0].is_allowed());
    let later = NOW + Duration::from_millis(250);
    syncer.handle_failure(&lost, later);
    assert_eq!(costs(&sent(&mut syncer, later)), [4]);
}

#[test]
fn one_batch_asks_for_no_more_of_a_key_than_there_can_be() {
    let (mut syncer, mut store) = (asking("1/h burst 3"), Store::default());
    for _ in 0..3 {
        ask(&mut syncer, 2, NOW);
    }
    let first = syncer.poll_batch(NOW).unwrap();
    assert_eq!(costs(&first), [2]);
    let second = syncer.poll_batch(NOW).expect("the next goes beside it");
    assert_eq!(costs(&second), [2]);
    answered(&mut syncer, &mut store, &first, NOW);
    answered(&mut syncer, &mut store, &second, NOW);
    let verdicts = verdicts(&mut syncer);
    let allowed = verdicts.iter().filter(|it| it.is_allowed());
    assert_eq!((allowed.count(), syncer.tokens().spent), (1, 2));
}

#[test]
fn a_gap_has_those_who_ask_wait_for_each_other() {
    let mut syncer = asking("1/h burst 5");
    syncer.limits.tuning.ask_gap = Duration::from_millis(10);
    ask(&mut syncer, 1, NOW);
    assert_eq!(costs(&sent(&mut syncer, NOW)), [1]);
    for _ in 0..5 {
        ask(&mut syncer, 1, NOW);
        assert!(syncer.poll_batch(NOW).is_none());
    }
    syncer.handle_timeout(NOW);
    let due = syncer.poll_timeout(NOW).map(|(at, _)| at);
    let later = NOW + Duration::from_millis(10);
    assert_eq!(due, Some(later));
    let batch = syncer.poll_batch(later).expect("the gap is over");
    assert_eq!(costs(&batch), [1; 4], "as many as a batch takes");
}

/// A key whose alarm rang while it was queued was forgotten, and its place in the queue was taken
/// for that of the next key in its slot, in whatever part of the store that lies.
#[test]
fn a_key_that_is_queued_keeps_its_slot() {
    let mut syncer = asking("1/h burst 5");
    ask(&mut syncer, 1, NOW);
    let slot = syncer.keys.slots().next().unwrap();
    assert!(syncer.keys.live(slot).queued);
    syncer.forget(slot, NOW);
    assert!(syncer.keys.get(slot).is_some());
    assert_eq!(costs(&sent(&mut syncer, NOW)), [1]);
}

#[test]
fn all_who_ask_for_themselves_are_answered_at_once_while_the_store_is_away() {
    let mut syncer = replica("1/h burst 5", FailurePolicy::Local, 4);
    for _ in 0..3 {
        ask(&mut syncer, 1, NOW);
        fail(&mut syncer, 0..1);
    }
    fail(&mut syncer, 1..200);
    assert_eq!(syncer.parts_away(), 1);
    verdicts(&mut syncer);
    let now = NOW + Duration::from_millis(201);
    for _ in 0..3 {
        ask(&mut syncer, 1, now);
    }
    fail(&mut syncer, 201..213);
    assert_eq!(verdicts(&mut syncer).len(), 3);
}

/// Each refusal once kept the key away for twice as long, whatever the store had said.
#[test]
fn a_refusal_lasts_for_as_long_as_the_store_said() {
    let (mut syncer, mut store) = (asking("10/s burst 1"), Store::default());
    let mut now = NOW;
    for turn in 0..8 {
        // Others take each token before this replica comes.
        emptied(&syncer, &mut store, now);
        ask(&mut syncer, 1, now);
        let batch = sent(&mut syncer, now);
        answered(&mut syncer, &mut store, &batch, now);
        let denied = verdicts(&mut syncer)[0];
        let wait = denied.denial().and_then(|it| it.retry.wait());
        let wait = wait.expect("others were there first");
        assert!(wait <= Duration::from_millis(101), "{turn}: {wait:?}");
        now = now + wait;
    }
}

/// A bucket whose tokens come faster than the store answers was asked for each request, one by one
/// in each batch, and the queue grew without end.
#[test]
fn a_flood_is_denied_here_although_the_refusal_is_over_when_it_arrives() {
    let mut syncer = replica("1000/s burst 1", FailurePolicy::Closed, 4);
    let mut store = Store::default();
    let earlier = NOW + Duration::from_millis(5);
    for _ in 0..50 {
        ask(&mut syncer, 1, NOW);
    }
    let batch = syncer.poll_batch(NOW).unwrap();
    answered(&mut syncer, &mut store, &batch, earlier);
    assert!(verdicts(&mut syncer)[0].is_allowed());
    let batch = syncer.poll_batch(earlier).unwrap();
    // The store looks half a round trip before the answer arrives.
    let answer = store.answer(&batch, earlier);
    let now = earlier + Duration::from_millis(5);
    syncer.handle_answer(&batch, &answer, now).unwrap();
    let told = verdicts(&mut syncer);
    let denied = told.iter().filter(|it| !it.is_allowed());
    assert_eq!(
        (told.len(), denied.count()),
        (48, 48),
        "one is worth a call"
    );
    let batch = syncer.poll_batch(now).unwrap();
    answered(&mut syncer, &mut store, &batch, now);
    assert!(verdicts(&mut syncer)[0].is_allowed());
}

/// While what was admitted without the store was being reported, no request was asked for: each
/// waited for its whole budget, and was admitted without the store again.
#[test]
fn requests_ask_beside_the_charge_of_those_that_did_not_wait_for_the_store() {
    let mut syncer = replica("1/h burst 5", FailurePolicy::Open, 4);
    syncer.limits.tuning.batches_in_flight = 8;
    let mut store = Store::default();
    syncer.admitted(ALICE, 2, NOW);
    ask(&mut syncer, 1, NOW);
    let first = sent(&mut syncer, NOW);
    ask(&mut syncer, 1, NOW);
    let second = sent(&mut syncer, NOW);
    let requests = |batch: &Batch| {
        let requests = batch.calls.iter().map(|call| call.request);
        requests.collect::<Vec<_>>()
    };
    let spend = Request::Spend { cost: 1 };
    assert_eq!(requests(&first), [Request::Charge { tokens: 2 }, spend]);
    assert_eq!(requests(&second), [spend]);
    answered(&mut syncer, &mut store, &first, NOW);
    answered(&mut syncer, &mut store, &second, NOW);
    assert!(verdicts(&mut syncer).iter().all(Verdict::is_allowed));
    assert_eq!(syncer.uncharged(), 0);
    ask(&mut syncer, 2, NOW);
    let third = sent(&mut syncer, NOW);
    answered(&mut syncer, &mut store, &third, NOW);
    assert!(!verdicts(&mut syncer)[0].is_allowed(), "all was charged");
}

/// The tokens of the lease, and the record of it at the store, were kept until the lease ended.
#[test]
fn a_key_that_leases_no_more_gives_back_beside_its_requests() {
    let mut syncer = asking("1000/s burst 1000");
    let mut store = Store::default();
    for millis in 0..200 {
        let now = NOW + Duration::from_millis(millis);
        ask(&mut syncer, 1, now);
        store.serve(&mut syncer, now);
    }
    assert!(syncer.unsettled() > 0, "it leases");
    let small = NamedLimit {
        limit: "10000/s burst 10".parse().unwrap(),
        ..syncer.limits.named(LimitId::FIRST).clone()
    };
    syncer.set_limits(Arc::new([small]));
    let now = NOW + Duration::from_millis(220);
    ask(&mut syncer, 10_000, now);
    ask(&mut syncer, 10, now);
    store.serve(&mut syncer, now);
    assert_eq!(syncer.unsettled(), 0);
}

/// The count of replies to come from before the store forgave was too high once a call had failed,
/// and the next denial was taken for one of them.
#[test]
fn a_denial_after_all_was_forgiven_is_believed_also_if_a_call_failed_before() {
    let (mut syncer, mut store) = (asking("1/h burst 5"), Store::default());
    ask(&mut syncer, 5, NOW);
    let lost = sent(&mut syncer, NOW);
    store.answer(&lost, NOW);
    syncer.handle_forgiven(ALICE, NOW);
    let now = NOW + Duration::from_millis(20);
    syncer.handle_failure(&lost, now);
    let again = sent(&mut syncer, now);
    answered(&mut syncer, &mut store, &again, now);
    assert!(!verdicts(&mut syncer)[0].is_allowed());
    let said = syncer.keys.cache.requests().try_acquire(ALICE, 5, now);
    assert!(matches!(said, LocalDecision::Deny(_)), "{said:?}");
}

/// A connection that fails at once, beside another that serves, was tried as fast as it could fail.
#[test]
fn who_fails_at_once_is_not_asked_again_at_once() {
    let mut syncer = asking("1/h burst 5");
    ask(&mut syncer, 1, NOW);
    let batch = sent(&mut syncer, NOW);
    syncer.handle_failure(&batch, NOW);
    assert!(syncer.poll_batch(NOW).is_none());
    let later = NOW + syncer.limits.tuning.call_gap;
    syncer.handle_timeout(NOW);
    assert_eq!(syncer.poll_timeout(NOW).map(|(at, _)| at), Some(later));
    let batch = sent(&mut syncer, later);
    let late = later + Duration::from_millis(250);
    syncer.handle_failure(&batch, late);
    assert_eq!(costs(&sent(&mut syncer, late)), [1], "it has waited enough");
}

/// Somebody else takes all that is free of Alice's bucket.
fn emptied(syncer: &Syncer<Caller>, store: &mut Store, now: Instant) {
    let limit = syncer.limits.named(LimitId::FIRST).limit;
    let birth = Birth {
        since: StoreTime::from_micros(1),
        emptied: StoreTime::ZERO,
    };
    let ledger = store.0.entry(ALICE.subject.into()).or_default();
    let now = StoreTime::from_micros(now.as_nanos() / 1000);
    let mut exchange = |cost| {
        let spend = Request::Spend { cost };
        Ledger::exchange(ledger, &spend, &limit, birth, now)
    };
    let free = exchange(0).free;
    assert_eq!(exchange(free).status, Status::Spent);
}

/// It waited for the end of the backoff, and so for its whole budget.
#[test]
fn who_asked_in_vain_while_the_bucket_was_found_short_does_not_wait_for_the_end_of_that() {
    const COSTLY: u32 = 1_000_000_000;
    let mut syncer = asking("1000/s burst 2000000000");
    let mut store = Store::default();
    let mut now = NOW;
    for _ in 0..200 {
        now = now + Duration::from_millis(1);
        ask(&mut syncer, 1, now);
        store.serve(&mut syncer, now);
    }
    assert!(syncer.unsettled() > 0, "it leases");
    verdicts(&mut syncer);
    emptied(&syncer, &mut store, now);
    ask(&mut syncer, COSTLY, now);
    let lost = sent(&mut syncer, now);
    assert_eq!(costs(&lost), [u64::from(COSTLY)]);
    for _ in 0..100 {
        ask(&mut syncer, 100, now);
    }
    let short = sent(&mut syncer, now);
    answered(&mut syncer, &mut store, &short, now);
    verdicts(&mut syncer);
    assert!(syncer.keys.live(0).retry_at() > now, "it stays away");
    syncer.handle_failure(&lost, now);
    let denied = verdicts(&mut syncer);
    assert_eq!(denied.len(), 1);
    assert!(!denied[0].is_allowed());
}
