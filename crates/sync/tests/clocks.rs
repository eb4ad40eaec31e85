//! A replica beside a store whose clock runs fast: what was leased ends here before it ends there.

use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Config, KeyRef, Owner};
use leasehold_core::{Birth, Instant, Ledger, StoreTime, Verdict};
use leasehold_sync::{Answer, FailurePolicy, NamedLimit, Purpose, Syncer, Tuning, Waiter};

/// Somebody who never stops waiting.
struct Caller;

impl Waiter for Caller {
    fn is_gone(&self) -> bool {
        false
    }
}

/// A store with one key, whose clock runs `percent` per cent too fast.
struct Store {
    ledger: Option<Ledger>,
    percent: u64,
}

impl Store {
    fn time(&self, now: Instant) -> StoreTime {
        let real = now.as_nanos() / 1000;
        StoreTime::from_micros(1_000_000_000 + real + real * self.percent / 100)
    }

    fn exchange(&mut self, batch: &leasehold_sync::Batch, now: Instant) -> Answer {
        let time = self.time(now);
        let birth = Birth {
            since: StoreTime::from_micros(1),
            emptied: StoreTime::ZERO,
        };
        let replies = batch.calls.iter().map(|call| {
            let limit = &batch.limit_of(call).limit;
            Ledger::exchange(&mut self.ledger, &call.request, limit, birth, time)
        });
        let replies = replies.collect();
        Answer {
            birth,
            seat: None,
            replies,
        }
    }
}

/// Asks for a token every millisecond for so many seconds; returns for how much longer the store
/// counts the lease that is held then, and for how much longer the replica spends of it.
fn lease_times(percent: u64, seconds: u64) -> (Duration, Duration) {
    let limits: Arc<[_]> = Arc::new([NamedLimit {
        name: "api".into(),
        limit: "10000/s burst 100000".parse().unwrap(),
        policy: FailurePolicy::Closed,
    }]);
    let owner = Owner::new(Config {
        keys_max: 10,
        seed: 1,
        signals: 16,
    });
    let cache = Arc::clone(owner.requests());
    let mut syncer = Syncer::new(owner, limits, Tuning::default(), 7, 7);
    let mut store = Store {
        ledger: None,
        percent,
    };
    let key = KeyRef::from("alice");
    let start = Instant::from_millis(1000);
    let mut now = start;
    let mut expiry = StoreTime::ZERO;
    while now.since(start) < Duration::from_secs(seconds) {
        syncer.acquire(key, 1, Purpose::Spend, Caller, now);
        while let Some(batch) = syncer.poll_batch(now) {
            let answer = store.exchange(&batch, now);
            expiry = answer.replies[0].expiry;
            syncer.handle_answer(&batch, &answer, now).unwrap();
        }
        while syncer
            .poll_verdict()
            .is_some_and(|(_, verdict): (_, Verdict)| {
                assert!(verdict.is_allowed(), "{verdict:?}");
                true
            })
        {}
        if syncer.poll_timeout(now).is_some_and(|(at, _)| at <= now) {
            syncer.handle_timeout(now);
        }
        syncer.handle_signals(now);
        now = now + Duration::from_millis(1);
    }
    let entry = cache.get(key).expect("a key in use is remembered");
    let until = |is_over: &dyn Fn(Instant) -> bool| {
        let mut later = now;
        while !is_over(later) {
            later = later + Duration::from_millis(1);
        }
        later.since(now)
    };
    let there = until(&|later| store.time(later) >= expiry);
    let here = until(&|later| entry.lease.view(later).live == 0);
    (there, here)
}

#[test]
fn a_lease_ends_here_before_it_ends_at_the_store() {
    for percent in [0, 5, 12, 30, 80] {
        let (there, here) = lease_times(percent, 15);
        assert!(here < there, "{percent} % too fast: {here:?} of {there:?}");
        assert!(
            here > there / 2,
            "{percent} % too fast: {here:?} of {there:?}"
        );
    }
}
