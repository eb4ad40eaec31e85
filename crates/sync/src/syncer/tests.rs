//! A syncer whose cache is full, whose store goes away, or that has more to ask than one batch
//! carries.

mod advances;
mod asking;
mod unserved;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use leasehold_cache::{Config, LocalDecision};
use leasehold_core::{Birth, Ledger, Micros, Reply, Retry, SplitMix64, Status, StoreTime, Wait};

use super::*;

/// Somebody who waits until told that it is enough.
#[derive(Debug, Default)]
struct Caller {
    is_gone: Rc<Cell<bool>>,
}

impl Waiter for Caller {
    fn is_gone(&self) -> bool {
        self.is_gone.get()
    }
}

const NOW: Instant = Instant::from_millis(1000);
const ALICE: KeyRef<'_> = key(b"alice");
const BOB: KeyRef<'_> = key(b"bob");

const fn key(subject: &[u8]) -> KeyRef<'_> {
    let limit = LimitId::FIRST;
    KeyRef { limit, subject }
}

/// A replica with room for so many keys, and for four in a batch.
fn replica(limit: &str, policy: FailurePolicy, keys_max: usize) -> Syncer<Caller> {
    let limits = Arc::new([NamedLimit {
        name: "api".into(),
        limit: limit.parse().unwrap(),
        policy,
    }]);
    let cache = Owner::new(Config {
        keys_max,
        seed: 1,
        signals: 16,
    });
    let tuning = Tuning {
        max_replicas: std::num::NonZeroU32::new(1),
        batch_keys: 4,
        batches_in_flight: 1,
        ..Tuning::default()
    };
    Syncer::new(cache, limits, tuning, 7, 7)
}

/// A store that remembers what it granted.
#[derive(Default)]
struct Store(BTreeMap<Box<[u8]>, Option<Ledger>>);

impl Store {
    /// Answers all that is to be sent.
    fn serve(&mut self, syncer: &mut Syncer<Caller>, now: Instant) {
        while let Some(batch) = syncer.poll_batch(now) {
            let answer = self.answer(&batch, now);
            syncer.handle_answer(&batch, &answer, now).unwrap();
        }
    }

    fn answer(&mut self, batch: &Batch, now: Instant) -> Answer {
        let birth = Birth {
            since: StoreTime::from_micros(1),
            emptied: StoreTime::ZERO,
        };
        let now = StoreTime::from_micros(now.as_nanos() / 1000);
        let reply = |call: &Call| {
            let ledger = self.0.entry(call.key().subject.into()).or_default();
            Ledger::exchange(
                ledger,
                &call.request,
                &batch.limit_of(call).limit,
                birth,
                now,
            )
        };
        let replies = batch.calls.iter().map(reply).collect();
        Answer {
            birth,
            seat: None,
            replies,
        }
    }
}

/// Whatever is sent fails, in these milliseconds.
fn fail(syncer: &mut Syncer<Caller>, millis: Range<u64>) {
    for now in millis.map(|later| NOW + Duration::from_millis(later)) {
        while let Some(batch) = syncer.poll_batch(now) {
            syncer.handle_failure(&batch, now);
        }
        if syncer.poll_timeout(now).is_some_and(|(at, _)| at <= now) {
            syncer.handle_timeout(now);
        }
    }
}

fn verdicts(syncer: &mut Syncer<Caller>) -> Vec<Verdict> {
    let verdicts = std::iter::from_fn(|| syncer.poll_verdict());
    verdicts.map(|(_, verdict)| verdict).collect()
}

/// A replica whose cache is full of Alice, where three ask for eight tokens of Bob's each while the
/// store goes away.
fn three_ask_for_bob(policy: FailurePolicy) -> Syncer<Caller> {
    let mut syncer = replica("10/h burst 10", policy, 1);
    syncer.acquire(ALICE, 5, Purpose::Spend, Caller::default(), NOW);
    Store::default().serve(&mut syncer, NOW);
    assert!(verdicts(&mut syncer)[0].is_allowed());
    for _ in 0..3 {
        syncer.acquire(BOB, 8, Purpose::Spend, Caller::default(), NOW);
    }
    assert!(
        syncer.keys.cache.requests().get(BOB).is_none(),
        "there is no room"
    );
    fail(&mut syncer, 0..200);
    assert_eq!(syncer.parts_away(), 1);
    syncer
}

/// Each of the keys fell back on a local limit of its own: 24 of 10 were admitted, and no request
/// found what was left of the leases.
#[test]
fn a_key_without_room_that_was_asking_when_the_store_went_away_does_not_stand_alone() {
    let mut syncer = three_ask_for_bob(FailurePolicy::Local);
    let verdicts = verdicts(&mut syncer);
    assert_eq!(verdicts.len(), 3);
    for verdict in verdicts {
        let denial = verdict.denial().expect("nothing of it can be kept");
        assert_eq!(denial.reason, Reason::StoreUnavailable);
    }
    assert_eq!(syncer.tokens_in_fallback(), Tokens::default());
}

#[test]
fn an_open_limit_admits_who_was_asking_for_a_key_without_room_and_counts_it() {
    let mut syncer = three_ask_for_bob(FailurePolicy::Open);
    let verdicts = verdicts(&mut syncer);
    assert_eq!(verdicts.len(), 3);
    assert!(verdicts.iter().all(Verdict::is_allowed));
    let tokens = syncer.tokens_in_fallback();
    assert_eq!((tokens.spent, tokens.held()), (24, 0), "{tokens:?}");
    assert_eq!(syncer.uncharged(), 0, "nobody can keep it");
}

#[test]
fn what_a_key_without_room_had_leased_is_written_off_when_the_store_is_away() {
    let mut syncer = replica("1000/s", FailurePolicy::Local, 0);
    let caller = Caller::default();
    let is_gone = Rc::clone(&caller.is_gone);
    syncer.limits.tuning.lease_pays = 1.0;
    syncer.acquire(BOB, 80, Purpose::Spend, caller, NOW);
    let batch = syncer.poll_batch(NOW).unwrap();
    is_gone.set(true);
    let answer = Store::default().answer(&batch, NOW);
    syncer.handle_answer(&batch, &answer, NOW).unwrap();
    assert_eq!(syncer.tokens().held(), 80, "nobody took what was granted");
    for millis in 0..500 {
        // The questions that find the store away are another's.
        let now = NOW + Duration::from_millis(millis);
        syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), now);
        fail(&mut syncer, millis..millis + 1);
    }
    assert_eq!(syncer.parts_away(), 1);
    let tokens = syncer.tokens();
    assert_eq!((tokens.expired, tokens.held()), (80, 0), "{tokens:?}");
    assert_eq!(syncer.tokens_in_fallback(), Tokens::default());
    assert!(syncer.keys.iter().next().is_none(), "it is forgotten");
}

/// Asks for `cost` of Alice's tokens in every millisecond from `NOW` on, for so long.
fn ask_for_alice(syncer: &mut Syncer<Caller>, store: &mut Store, cost: u32, millis: u64) {
    for now in (0..millis).map(|later| NOW + Duration::from_millis(later)) {
        if matches!(
            syncer.keys.cache.requests().try_acquire(ALICE, cost, now),
            LocalDecision::Allow { .. }
        ) {
            syncer.handle_signals(now);
        } else {
            syncer.acquire(ALICE, cost, Purpose::Spend, Caller::default(), now);
        }
        syncer.handle_timeout(now);
        store.serve(syncer, now);
    }
    assert!(verdicts(syncer).iter().all(Verdict::is_allowed));
}

/// Which call of a batch is about Alice.
fn call_of_alice(batch: &Batch) -> Option<usize> {
    let mut calls = batch.calls.iter();
    calls.position(|call| call.key() == ALICE)
}

/// It waited behind all keys that somebody made up, and its limit was not used meanwhile.
#[test]
fn the_renewal_of_a_hot_key_goes_before_the_questions_of_cold_keys_that_came_earlier() {
    let mut syncer = replica("10000/s", FailurePolicy::Closed, 1);
    ask_for_alice(&mut syncer, &mut Store::default(), 5, 1000);
    let now = NOW + Duration::from_secs(1);
    for stranger in 0..100_u32 {
        syncer.acquire(
            key(&stranger.to_be_bytes()),
            1,
            Purpose::Spend,
            Caller::default(),
            now,
        );
    }
    let mut spends = (0..100_000).map(|_| syncer.keys.cache.requests().try_acquire(ALICE, 1, now));
    assert!(spends.any(|local| matches!(local, LocalDecision::Allow { wake: true, .. })));
    syncer.handle_signals(now);
    let batch = syncer.poll_batch(now).unwrap();
    assert_eq!(call_of_alice(&batch), Some(0));
    assert_eq!(batch.calls.len(), 4, "and the others go on");
}

/// A lease for a few requests that came together is reported on next, by one call per key. Whoever
/// makes up keys could put as many of those calls before the renewals of hot keys.
#[test]
fn what_a_moment_of_requests_leaves_behind_goes_with_the_cold_keys() {
    let (mut syncer, mut store) = (
        replica("10000/s", FailurePolicy::Closed, 1),
        Store::default(),
    );
    for _ in 0..5 {
        syncer.acquire(ALICE, 100, Purpose::Spend, Caller::default(), NOW);
    }
    store.serve(&mut syncer, NOW);
    assert_eq!(syncer.tokens().granted, 500, "it is leased");
    let mut calls = 0;
    for millis in 1..12_000_u64 {
        let now = NOW + Duration::from_millis(millis);
        syncer.acquire(
            key(&millis.to_be_bytes()),
            1,
            Purpose::Spend,
            Caller::default(),
            now,
        );
        syncer.handle_timeout(now);
        let is_hot =
            |state: &KeyState<Caller>| state.entry.key() == ALICE && state.queued && state.is_hot();
        let is_hot = syncer.keys.iter().any(is_hot);
        assert!(!is_hot, "she goes before strangers who came first");
        while let Some(batch) = syncer.poll_batch(now) {
            calls += u32::from(call_of_alice(&batch).is_some());
            let answer = store.answer(&batch, now);
            syncer.handle_answer(&batch, &answer, now).unwrap();
        }
    }
    assert!(calls > 0, "Alice's lease was never reported on");
    assert!(
        syncer.keys.cache.requests().get(ALICE).is_none(),
        "nor given back"
    );
}

/// Asks for `cost` of Alice's tokens so many times, once in each `gap`, and serves what the replica
/// wants of the store meanwhile. Returns how often the answer was here.
fn ask_now_and_then(
    syncer: &mut Syncer<Caller>,
    store: &mut Store,
    times: u64,
    cost: u32,
    gap: Duration,
) -> u64 {
    let gap_millis = u64::try_from(gap.as_millis()).unwrap();
    let mut local = 0;
    for millis in 0..times * gap_millis {
        let now = NOW + Duration::from_millis(millis);
        if millis % gap_millis == 0 {
            match syncer.keys.cache.requests().try_acquire(ALICE, cost, now) {
                LocalDecision::Allow { .. } => local += 1,
                _ => syncer.acquire(ALICE, cost, Purpose::Spend, Caller::default(), now),
            }
        }
        syncer.handle_signals(now);
        syncer.handle_timeout(now);
        store.serve(syncer, now);
    }
    assert!(verdicts(syncer).iter().all(Verdict::is_allowed));
    local
}

/// Every request of it asked the store, as no lease of a quarter of a second pays.
#[test]
fn what_a_well_filled_bucket_can_spare_is_leased_for_seconds_to_a_key_asked_for_now_and_then() {
    let (mut syncer, mut store) = (
        replica("1000/s", FailurePolicy::Closed, 1),
        Store::default(),
    );
    let local = ask_now_and_then(&mut syncer, &mut store, 60, 1, Duration::from_millis(400));
    assert!(local >= 55, "{local} of 60");
    let spare = 1000 / 10 / 10;
    assert!(syncer.tokens().held() <= 2 * spare, "{:?}", syncer.tokens());

    for later in 24_000..32_000 {
        let now = NOW + Duration::from_millis(later);
        syncer.handle_timeout(now);
        store.serve(&mut syncer, now);
    }
    let tokens = syncer.tokens();
    assert_eq!(
        (tokens.held(), tokens.expired),
        (0, 0),
        "given back in time"
    );
}

#[test]
fn one_request_or_two_that_meet_by_chance_lease_nothing() {
    for seed in 1..=100 {
        let mut syncer = replica("1000/s", FailurePolicy::Closed, 1);
        syncer.jitter = SplitMix64::new(seed);
        let mut store = Store::default();
        let local = ask_now_and_then(&mut syncer, &mut store, 2, 1, Duration::from_millis(700));
        assert_eq!(local, 0);
        for later in 1400..4000 {
            let now = NOW + Duration::from_millis(later);
            syncer.handle_timeout(now);
            store.serve(&mut syncer, now);
        }
        assert_eq!(syncer.tokens().granted, 2, "seed {seed}");
    }
}

/// It was leased for, at two calls a request, and among many replicas what was left of such leases
/// was too little for anybody and all that there was.
#[test]
fn one_costly_request_is_the_stores_to_decide() {
    let mut syncer = replica("1000/s", FailurePolicy::Closed, 1);
    let mut store = Store::default();
    let local = ask_now_and_then(&mut syncer, &mut store, 20, 90, Duration::from_millis(400));
    assert_eq!(local, 0);
    assert!(
        syncer.keys.iter().all(|key| key.unsettled() == 0),
        "nothing is held"
    );
    assert_eq!(syncer.tokens().granted, 20 * 90);
}

/// Its share is what four of the cheaper requests cost, so for the dearer ones no lease would
/// begin.
#[test]
fn a_key_whose_share_is_on_the_edge_stays_leased() {
    let mut syncer = replica("1000/s burst 800", FailurePolicy::Closed, 1);
    let mut store = Store::default();
    let mut asked = 0;
    for millis in 0..10_000_u64 {
        let now = NOW + Duration::from_millis(millis);
        if millis % 25 == 0 {
            let cost = if millis < 2_000 { 100 } else { 110 };
            let local = syncer.keys.cache.requests().try_acquire(ALICE, cost, now);
            if matches!(local, LocalDecision::Short { .. } | LocalDecision::Unknown) {
                asked += 1;
                syncer.acquire(ALICE, cost, Purpose::Spend, Caller::default(), now);
            }
        }
        syncer.handle_signals(now);
        syncer.handle_timeout(now);
        store.serve(&mut syncer, now);
    }
    assert!(asked <= 20, "{asked} of 400 asked the store");
}

/// While the task was busy they had piled up, each with a key that nobody asked for any more.
#[test]
fn who_gave_up_before_the_task_heard_of_it_takes_no_room_and_no_call() {
    let mut syncer = replica("10/s burst 20", FailurePolicy::Closed, 1);
    let caller = Caller::default();
    caller.is_gone.set(true);
    syncer.acquire(ALICE, 1, Purpose::Spend, caller, NOW);
    assert!(syncer.keys.cache.requests().get(ALICE).is_none());
    assert!(syncer.poll_batch(NOW).is_none());
    assert!(syncer.poll_verdict().is_none(), "nobody would hear it");
}

/// Its only request passed for another one at the first alarm, and kept it for a second.
#[test]
fn a_key_that_was_asked_for_once_is_forgotten_at_its_first_alarm() {
    let mut syncer = replica("10/s burst 20", FailurePolicy::Closed, 1);
    syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), NOW);
    Store::default().serve(&mut syncer, NOW);
    assert!(verdicts(&mut syncer)[0].is_allowed());
    let alarm = NOW + syncer.limits.sizing(LimitId(0)).time_constant * 4;
    syncer.handle_timeout(alarm);
    assert!(syncer.keys.iter().next().is_none());
}

/// Answers the one call of the only batch with `reply`.
fn answer_with(syncer: &mut Syncer<Caller>, reply: Reply, now: Instant) {
    let batch = syncer.poll_batch(now).unwrap();
    assert_eq!(batch.calls.len(), 1);
    let birth = Birth {
        since: StoreTime::from_micros(1),
        emptied: StoreTime::ZERO,
    };
    let replies = vec![reply];
    let answer = Answer {
        birth,
        seat: None,
        replies,
    };
    syncer.handle_answer(&batch, &answer, now).unwrap();
}

const DENIED: Reply = Reply {
    status: Status::Denied,
    granted: 0,
    expiry: StoreTime::ZERO,
    wait: Wait::None,
    free: 0,
    full_in: Micros(0),
    outstanding: 0,
    replicas: 0,
    demand: 0,
    now: StoreTime::from_micros(1_000_000),
};

/// It was denied for 142 years.
#[test]
fn a_wait_is_believed_for_as_long_as_the_bucket_takes_to_fill() {
    let mut syncer = replica("10/s burst 20", FailurePolicy::Closed, 4);
    syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), NOW);
    let wait = Wait::For(Micros((1 << 52) - 1));
    answer_with(&mut syncer, Reply { wait, ..DENIED }, NOW);
    let fill = Duration::from_secs(2);
    let told = verdicts(&mut syncer)[0].denial().unwrap().retry;
    assert_eq!(told, Retry::After(fill));
    let said = |at| syncer.keys.cache.requests().try_acquire(ALICE, 1, at);
    assert!(matches!(said(NOW + fill / 2), LocalDecision::Deny(_)));
    assert!(!matches!(said(NOW + fill), LocalDecision::Deny(_)));
}

/// Asks for one of Alice's tokens every `gap` milliseconds until one is had; returns after how many
/// milliseconds that was, and how many calls were made for it.
fn ask_until_allowed(
    syncer: &mut Syncer<Caller>,
    store: &mut Store,
    start: Instant,
    gap: u64,
) -> (u64, usize) {
    let mut calls = 0;
    for millis in 0..60_000 {
        let now = start + Duration::from_millis(millis);
        if millis % gap == 0 {
            match syncer.keys.cache.requests().try_acquire(ALICE, 1, now) {
                LocalDecision::Allow { .. } => return (millis, calls),
                LocalDecision::Deny(_) => {}
                _ => syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), now),
            }
        }
        syncer.handle_signals(now);
        syncer.handle_timeout(now);
        while let Some(batch) = syncer.poll_batch(now) {
            calls += batch.calls.len();
            let answer = store.answer(&batch, now);
            syncer.handle_answer(&batch, &answer, now).unwrap();
        }
        if verdicts(syncer).iter().any(Verdict::is_allowed) {
            return (millis, calls);
        }
    }
    panic!("denied for a minute");
}

/// Whatever had made room meanwhile, the key was denied here for the time that was told once.
#[test]
fn a_bucket_that_was_deleted_is_found_full_by_a_look_though_the_told_wait_was_long() {
    for gap in [1, 20, 300] {
        let mut syncer = replica("10/h burst 10", FailurePolicy::Closed, 4);
        let mut store = Store::default();
        for _ in 0..11 {
            syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), NOW);
            store.serve(&mut syncer, NOW);
        }
        let denied = verdicts(&mut syncer).last().unwrap().denial().unwrap();
        let denied = denied.retry.wait();
        assert!(denied >= Some(Duration::from_secs(360)), "{denied:?}");
        let start = NOW + Duration::from_millis(1);
        let later = start + Duration::from_secs(40);
        for millis in 0..40_000 {
            let now = start + Duration::from_millis(millis);
            if millis % gap == 0 {
                let said = syncer.keys.cache.requests().try_acquire(ALICE, 1, now);
                assert!(matches!(said, LocalDecision::Deny(_)), "{said:?}");
            }
            syncer.handle_timeout(now);
            store.serve(&mut syncer, now);
        }
        store.0.clear();
        let (millis, calls) = ask_until_allowed(&mut syncer, &mut store, later, gap);
        // One question is denied here, by the time of the next the store was asked.
        assert!(
            millis <= 2_000 + 2 * gap,
            "{millis} ms, asked for every {gap}"
        );
        assert!(calls <= 6, "{calls} calls");
    }
}

/// A replica that has spent all ten tokens of Alice's and knows of no denial, and its store.
fn used_up() -> (Syncer<Caller>, Store) {
    let mut syncer = replica("10/h burst 10", FailurePolicy::Closed, 4);
    let mut store = Store::default();
    for turn in 0..10 {
        let now = NOW + Duration::from_millis(100 * turn);
        syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), now);
        store.serve(&mut syncer, now);
    }
    let verdicts = verdicts(&mut syncer);
    assert_eq!(verdicts.len(), 10);
    assert!(verdicts.iter().all(Verdict::is_allowed));
    (syncer, store)
}

/// Then it is used up.
const LATER: Instant = Instant::from_millis(2000);

/// The wish outlived the denial, and while it was there no look was made.
#[test]
fn tokens_that_are_wished_for_while_the_store_is_asked_prevent_no_look() {
    let (mut syncer, mut store) = used_up();
    syncer.acquire(ALICE, 1, Purpose::Stock, Caller::default(), LATER);
    let batch = syncer.poll_batch(LATER).expect("it is asked for");
    let answer = store.answer(&batch, LATER);
    syncer.prefetch(ALICE, 1, LATER);
    syncer.handle_answer(&batch, &answer, LATER).unwrap();
    assert!(!verdicts(&mut syncer)[0].is_allowed());
    store.0.clear();
    let start = LATER + Duration::from_millis(1);
    let (millis, calls) = ask_until_allowed(&mut syncer, &mut store, start, 10);
    assert!(millis <= 2_000, "{millis} ms");
    assert!(calls <= 6, "{calls} calls");
}

/// The reply of before the reset denied the key after it, for as long as it told.
#[test]
fn a_reply_from_before_a_reset_denies_nothing_after_it() {
    let (mut syncer, mut store) = used_up();
    syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), LATER);
    let batch = syncer.poll_batch(LATER).expect("it is asked for");
    let answer = store.answer(&batch, LATER);
    store.0.clear();
    syncer.handle_forgiven(ALICE, LATER);
    syncer.handle_answer(&batch, &answer, LATER).unwrap();
    assert!(!verdicts(&mut syncer)[0].is_allowed());
    let said = syncer.keys.cache.requests().try_acquire(ALICE, 1, LATER);
    assert!(!matches!(said, LocalDecision::Deny(_)), "{said:?}");
    let now = LATER + Duration::from_millis(100);
    syncer.acquire(ALICE, 10, Purpose::Spend, Caller::default(), now);
    store.serve(&mut syncer, now);
    assert!(verdicts(&mut syncer)[0].is_allowed());
}

/// A thousand calls a second would be made for it, and none of them could be of use.
#[test]
fn looks_at_denied_keys_are_one_a_second_for_each_and_a_hundred_a_second_for_all() {
    for keys in [1_u64, 400] {
        let mut syncer = replica("10/h burst 1", FailurePolicy::Closed, 400);
        let mut store = Store::default();
        let mut start = NOW;
        for _ in 0..2 {
            for subject in 0..keys {
                let (subject, caller) = (subject.to_be_bytes(), Caller::default());
                syncer.acquire(key(&subject), 1, Purpose::Spend, caller, start);
            }
            for _ in 0..5 {
                start = start + Duration::from_millis(20);
                store.serve(&mut syncer, start);
            }
        }
        let (mut calls, mut in_second) = (0, 0);
        for millis in 1..=30_000 {
            let now = start + Duration::from_millis(millis);
            let subject = (millis % keys).to_be_bytes();
            let said = syncer
                .keys
                .cache
                .requests()
                .try_acquire(key(&subject), 1, now);
            assert!(
                matches!(said, LocalDecision::Deny(_)),
                "{said:?} at {millis} of {keys}"
            );
            syncer.handle_timeout(now);
            while let Some(batch) = syncer.poll_batch(now) {
                in_second += u64::try_from(batch.calls.len()).unwrap();
                let answer = store.answer(&batch, now);
                syncer.handle_answer(&batch, &answer, now).unwrap();
            }
            if millis % 1000 == 0 {
                assert!(in_second <= keys.min(132), "{in_second} calls in a second");
                calls += std::mem::take(&mut in_second);
            }
        }
        let looks = keys.min(100) * 29;
        assert!(calls >= looks / 4, "{calls} calls for {keys} keys");
    }
}

/// A wait that the store told wrongly was believed for 15 seconds, however often the key was asked
/// for.
#[test]
fn a_wait_that_was_told_wrongly_is_found_out_within_two_seconds() {
    let mut syncer = replica("10/h burst 10", FailurePolicy::Closed, 4);
    syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), NOW);
    let wait = Wait::For(Micros((1 << 52) - 1));
    answer_with(&mut syncer, Reply { wait, ..DENIED }, NOW);
    assert!(!verdicts(&mut syncer)[0].is_allowed());
    let start = NOW + Duration::from_millis(1);
    let (millis, calls) = ask_until_allowed(&mut syncer, &mut Store::default(), start, 10);
    assert!(millis <= 2_000, "{millis} ms");
    assert!(calls <= 6, "{calls} calls");
}

/// Its denial would have outlived the state that looks whether it holds.
#[test]
fn a_denied_key_that_nobody_asks_for_is_forgotten_with_its_denial() {
    let mut syncer = replica("10/h burst 10", FailurePolicy::Closed, 4);
    let mut store = Store::default();
    for _ in 0..11 {
        syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), NOW);
        store.serve(&mut syncer, NOW);
    }
    let mut calls = 0;
    for millis in 1..40_000 {
        let now = NOW + Duration::from_millis(millis);
        syncer.handle_timeout(now);
        while let Some(batch) = syncer.poll_batch(now) {
            calls += batch.calls.len();
            let answer = store.answer(&batch, now);
            syncer.handle_answer(&batch, &answer, now).unwrap();
        }
    }
    assert!(
        calls <= 2,
        "{calls} calls, to give back what is left of a lease"
    );
    assert!(syncer.keys.iter().next().is_none());
    store.0.clear();
    let later = NOW + Duration::from_secs(40);
    assert_eq!(
        ask_until_allowed(&mut syncer, &mut store, later, 1),
        (0, 1),
        "the store is asked at once"
    );
}

/// The codec refused it for ever, and with it the batch that it was in: 12 000 tasks, ten seconds.
#[test]
fn a_debt_is_no_more_than_the_capacity_and_is_paid() {
    let mut syncer = replica("10/s burst 4000000000", FailurePolicy::Open, 4);
    syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), NOW);
    fail(&mut syncer, 0..200);
    assert_eq!(syncer.parts_away(), 1);
    let later = NOW + Duration::from_millis(200);
    for _ in 0..12_000 {
        syncer.admitted(ALICE, 4_000_000_000, later);
        syncer.acquire(
            ALICE,
            4_000_000_000,
            Purpose::Spend,
            Caller::default(),
            later,
        );
    }
    fail(&mut syncer, 200..900);
    let admitted = verdicts(&mut syncer);
    assert!(admitted.iter().all(Verdict::is_allowed));
    let capacity = 4_000_000_000;
    assert_eq!(syncer.uncharged(), capacity);
    let mut store = Store::default();
    for millis in 900..5000 {
        let now = NOW + Duration::from_millis(millis);
        syncer.handle_timeout(now);
        while let Some(batch) = syncer.poll_batch(now) {
            for call in &batch.calls {
                if let Request::Charge { tokens } = call.request {
                    assert!(tokens <= capacity, "{tokens}");
                }
            }
            let answer = store.answer(&batch, now);
            syncer.handle_answer(&batch, &answer, now).unwrap();
        }
    }
    assert_eq!(syncer.uncharged(), 0);
}

#[test]
fn however_much_is_waited_for_the_store_can_count_what_is_asked() {
    let mut syncer = replica("10/s burst 4000000000", FailurePolicy::Closed, 4);
    let waiter = Caller::default();
    let is_gone = Rc::clone(&waiter.is_gone);
    syncer.acquire(ALICE, 1, Purpose::Stock, waiter, NOW);
    for _ in 0..1_200_000 {
        let is_gone = Rc::clone(&is_gone);
        let waiter = Caller { is_gone };
        syncer.acquire(ALICE, u32::MAX, Purpose::Stock, waiter, NOW);
    }
    let batch = syncer.poll_batch(NOW).unwrap();
    let Request::Lease(request) = batch.calls[0].request else {
        panic!("many wait");
    };
    let end = 1 << 52;
    assert!(request.needed < end && request.wanted < end, "{request:?}");
}

#[test]
fn an_answer_with_too_few_or_too_many_replies_is_none() {
    for replies in [vec![], vec![DENIED; 2]] {
        let mut syncer = replica("10/s", FailurePolicy::Closed, 4);
        syncer.acquire(ALICE, 1, Purpose::Spend, Caller::default(), NOW);
        let batch = syncer.poll_batch(NOW).unwrap();
        let birth = Birth {
            since: StoreTime::from_micros(1),
            emptied: StoreTime::ZERO,
        };
        let miscounted = Miscounted {
            calls: 1,
            replies: replies.len(),
        };
        let answer = Answer {
            birth,
            seat: None,
            replies,
        };
        let heard = syncer.handle_answer(&batch, &answer, NOW);
        assert_eq!(heard, Err(miscounted));
        let later = NOW + Duration::from_millis(50);
        Store::default().serve(&mut syncer, later);
        assert!(verdicts(&mut syncer)[0].is_allowed(), "it is asked again");
    }
}
