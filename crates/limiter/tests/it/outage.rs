//! A store that is away: what is said, how soon, and what goes on without it.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{Builder, Decided, FailurePolicy, Limiter, MemoryStore, Reason, Tuning};

use crate::fault_store::{Fault, FaultStore};
use crate::log::Log;
use crate::world::{PATIENCE, beside, build, clock, denial, eventually, one_limit};

/// Beyond the budget: a busy machine may be late by this.
const SLACK: Duration = Duration::from_secs(1);

#[tokio::test]
async fn nobody_waits_longer_than_the_budget() {
    let budget = Duration::from_millis(100);
    let silent = FaultStore::new(Fault::Silent);
    let limiter = build(one_limit("1000/s").store(silent).budget(budget));
    let key = "alice";
    for several in [false, true] {
        let start = clock();
        let verdict = if several {
            limiter.acquire_all(&[(key, 1)]).await
        } else {
            limiter.acquire(key, 1).await
        };
        let waited = clock().since(start);
        // The runtime's clock counts milliseconds.
        let least = budget.saturating_sub(Duration::from_millis(2));
        assert!(waited >= least && waited < budget + SLACK, "{waited:?}");
        assert_eq!(denial(verdict).reason, Reason::BudgetSpent);
        assert_eq!(verdict.decided(), Decided::Fallback);
        assert!(denial(verdict).retry.wait().is_some());
    }
}

#[tokio::test]
async fn a_store_that_fails_is_named_at_once() {
    for fault in [Fault::Fails, Fault::OneReplyShort] {
        let store = FaultStore::new(fault);
        let limiter = build(one_limit("1000/s").store(Arc::clone(&store)));
        let start = clock();
        for user in 0..100 {
            let key = format!("user:{user}");
            let verdict = limiter.acquire(&key, 1).await;
            assert_eq!(denial(verdict).reason, Reason::StoreUnavailable);
            assert_eq!(verdict.decided(), Decided::Fallback);
            assert!(denial(verdict).retry.wait().is_some());
        }
        // Once it has failed, it is left alone for a while: nobody waits for it.
        assert!(clock().since(start) < SLACK, "{:?}", clock().since(start));
        assert!(limiter.stats().failed_batches > 0);
        // Without back-off there would be a call for each.
        assert!(limiter.stats().batches < 50, "{:?}", limiter.stats());
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_in_time_is_not_asked_by_everybody() {
    let store = FaultStore::new(Fault::Silent);
    let builder = one_limit("1000/s").store(Arc::clone(&store));
    let limiter = build(builder.call_timeout(Duration::from_millis(20)));
    let verdict = limiter.acquire("alice", 1).await;
    assert_eq!(denial(verdict).reason, Reason::StoreUnavailable);
    let verdict = limiter.acquire("bob", 1).await;
    assert_eq!(denial(verdict).reason, Reason::StoreUnavailable);
}

#[tokio::test]
async fn a_store_that_comes_back_is_noticed() {
    for fault in [Fault::Fails, Fault::Silent, Fault::OneReplyShort] {
        let store = FaultStore::new(fault);
        let builder = one_limit("1/h burst 1000").store(Arc::clone(&store));
        let limiter = build(builder.call_timeout(Duration::from_millis(20)));
        eventually("the store has failed a few times", async || {
            let verdict = limiter.acquire("alice", 1).await;
            assert_eq!(denial(verdict).reason, Reason::StoreUnavailable);
            (limiter.stats().failed_batches >= 3).then_some(())
        })
        .await;
        store.set(Fault::None);
        let back = clock();
        eventually("a request is allowed", async || {
            let verdict = limiter.acquire("alice", 1).await;
            let reason = verdict.denial().map(|denial| denial.reason);
            assert!(matches!(reason, None | Some(Reason::StoreUnavailable)));
            verdict.is_allowed().then_some(())
        })
        .await;
        // The longest back-off, and a moment.
        let noticed = clock().since(back);
        assert!(noticed < Duration::from_millis(2500) + SLACK, "{noticed:?}");
    }
}

#[tokio::test]
async fn a_lease_goes_on_while_the_store_is_away() {
    let store = FaultStore::new(Fault::None);
    let limiter = build(one_limit("1000/s burst 100000").store(Arc::clone(&store)));
    let held = lease(&limiter).await;
    store.set(Fault::Silent);
    for spent in 0..held {
        let verdict = limiter.try_acquire("alice", 1);
        assert!(verdict.is_allowed(), "{spent} of {held}: {verdict:?}");
        assert_eq!(verdict.decided(), Decided::Local);
    }
}

#[tokio::test]
async fn a_lease_that_has_ended_is_not_spent() {
    let lease_time = Duration::from_millis(200);
    let mut tuning = Tuning::default();
    (tuning.lease_min, tuning.lease_max) = (lease_time, lease_time);
    tuning.backoff_max = lease_time / 2;
    let store = FaultStore::new(Fault::None);
    let builder = one_limit("1000/s burst 100000").store(Arc::clone(&store));
    let limiter = build(builder.tuning(tuning));
    lease(&limiter).await;
    store.set(Fault::Silent);
    // Nothing sent from here on is answered, so every lease ends within its time.
    tokio::time::sleep(lease_time).await;
    let verdict = limiter.try_acquire("alice", 1);
    assert_eq!(denial(verdict).reason, Reason::NotLeased);
}

#[tokio::test]
async fn what_the_store_does_not_say_is_never_called_exhausted() {
    let store = FaultStore::new(Fault::None);
    let builder = one_limit("1000/s burst 100000").store(Arc::clone(&store));
    let builder = builder.tuning(Tuning::default());
    let builder = builder.call_timeout(Duration::from_millis(20));
    let limiter = build(builder.budget(Duration::from_millis(50)));
    lease(&limiter).await;
    for fault in [Fault::Fails, Fault::Silent, Fault::OneReplyShort] {
        store.set(fault);
        let failed = limiter.stats().failed_batches;
        let key = format!("somebody new: {fault:?}");
        eventually("the lease has ended and the store has failed", async || {
            let verdicts = [
                limiter.acquire("alice", 1).await,
                limiter.try_acquire("alice", 1),
                limiter
                    .acquire_all(&[("alice", 1), (key.as_str(), 1)])
                    .await,
                limiter.acquire(&key, 1).await,
            ];
            for verdict in verdicts {
                let reason = verdict.denial().map(|denial| denial.reason);
                assert_ne!(reason, Some(Reason::Exhausted), "{verdict:?}");
            }
            let over = !verdicts[0].is_allowed();
            (over && limiter.stats().failed_batches > failed).then_some(())
        })
        .await;
    }
}

/// Asks until a stock of tokens is held; says how many.
async fn lease(limiter: &Limiter) -> u64 {
    let start = clock();
    loop {
        let verdict = limiter.acquire("alice", 1).await;
        assert!(verdict.is_allowed(), "{verdict:?}");
        if verdict.decided() == Decided::Local && verdict.held() >= 20 {
            return verdict.held();
        }
        assert!(clock().since(start) < PATIENCE, "nothing is leased ahead");
        tokio::task::yield_now().await;
    }
}

/// A limiter with a failure policy, one of four as far as it is told.
fn of_four(limit: &str, policy: FailurePolicy) -> Builder {
    let mut tuning = Tuning::default();
    tuning.max_replicas = std::num::NonZeroU32::new(4);
    one_limit(limit)
        .tuning(tuning)
        .failure_policy("api", policy)
        .call_timeout(Duration::from_millis(20))
}

/// Admissions in so many requests, of which none may be denied as over the limit.
async fn admitted(limiter: &Limiter, requests: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..requests {
        let verdict = limiter.acquire("alice", 1).await;
        match verdict.denial() {
            None => admitted += 1,
            Some(denial) => assert_eq!(denial.reason, Reason::StoreUnavailable),
        }
    }
    admitted
}

/// How many tokens of `alice` the store has left.
async fn left(store: &Arc<MemoryStore>, limit: &str) -> u64 {
    let other = beside(limit, Arc::clone(store));
    let mut left = 0;
    while other.acquire("alice", 1).await.is_allowed() {
        left += 1;
    }
    left
}

#[tokio::test]
async fn a_local_limit_admits_its_part_while_the_store_is_away_and_pays_for_it() {
    let limit = "1/h burst 1000";
    for fault in [Fault::Fails, Fault::Silent] {
        let memory = Arc::new(MemoryStore::new());
        let store = FaultStore::before(Arc::clone(&memory), fault);
        let builder = of_four(limit, FailurePolicy::Local).store(Arc::clone(&store));
        let limiter = build(builder);
        assert_eq!(admitted(&limiter, 400).await, 250, "a quarter, {fault:?}");
        let verdict = limiter.try_acquire("alice", 1);
        assert_eq!(denial(verdict).reason, Reason::StoreUnavailable);
        let failed = limiter.stats().failed_batches;
        eventually("it has looked for the store in vain", async || {
            assert_eq!(
                admitted(&limiter, 10).await,
                0,
                "no second burst, {fault:?}"
            );
            (limiter.stats().failed_batches > failed + 2).then_some(())
        })
        .await;
        let api = limiter.limit_id("api").unwrap();
        let bound = limiter.overshoot_bound(api);
        assert!(matches!(bound, Some(250..=252)), "{bound:?}");
        store.set(Fault::None);
        eventually("what was admitted is charged", async || {
            let stats = limiter.stats();
            (stats.tokens_in_fallback.spent == 250 && stats.uncharged == 0).then_some(())
        })
        .await;
        eventually("the bound is as ever", async || {
            (limiter.overshoot_bound(api) == Some(0)).then_some(())
        })
        .await;
        let verdict = limiter.acquire("alice", 1).await;
        assert!(
            verdict.is_allowed(),
            "the whole limit is there again: {verdict:?}"
        );
        limiter.shutdown().await.unwrap();
        assert_eq!(left(&memory, limit).await, 749);
    }
}

#[tokio::test]
async fn an_open_limit_admits_everything_while_the_store_is_away_and_pays_for_it() {
    let limit = "1/h burst 1000";
    for fault in [Fault::Fails, Fault::Silent] {
        let memory = Arc::new(MemoryStore::new());
        let store = FaultStore::before(Arc::clone(&memory), fault);
        let builder = of_four(limit, FailurePolicy::Open).store(Arc::clone(&store));
        let limiter = build(builder);
        let api = limiter.limit_id("api").unwrap();
        assert_eq!(limiter.overshoot_bound(api), Some(0));
        assert_eq!(admitted(&limiter, 700).await, 700, "{fault:?}");
        assert_eq!(limiter.overshoot_bound(api), None, "no bound");
        store.set(Fault::None);
        eventually("what was admitted is charged", async || {
            let stats = limiter.stats();
            (stats.tokens_in_fallback.spent == 700 && stats.uncharged == 0).then_some(())
        })
        .await;
        limiter.shutdown().await.unwrap();
        assert_eq!(left(&memory, limit).await, 300);
    }
}

/// A store that never answers, and a budget that ends before the call does.
#[tokio::test]
async fn an_open_limit_denies_nobody_whose_budget_ends() {
    let memory = Arc::new(MemoryStore::new());
    let store = FaultStore::before(Arc::clone(&memory), Fault::Silent);
    let builder = of_four("1/h burst 10", FailurePolicy::Open).store(Arc::clone(&store));
    let limiter = build(
        builder
            .budget(Duration::from_millis(5))
            .call_timeout(PATIENCE / 10),
    );
    let verdict = limiter.acquire("alice", 1).await;
    assert!(verdict.is_allowed(), "{verdict:?}");
    assert_eq!(verdict.decided(), Decided::Fallback);
    eventually("it is counted", async || {
        (limiter.stats().tokens_in_fallback.spent >= 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_local_limit_without_a_known_number_of_replicas_is_closed() {
    for (limit, replicas) in [
        ("1000/s", None),
        ("1/h burst 3", std::num::NonZeroU32::new(4)),
    ] {
        let mut tuning = Tuning::default();
        tuning.max_replicas = replicas;
        let builder = of_four(limit, FailurePolicy::Local).tuning(tuning);
        let limiter = build(builder.store(FaultStore::new(Fault::Fails)));
        assert_eq!(admitted(&limiter, 20).await, 0, "{limit}");
    }
}

/// Such a limit was closed at the start, and nobody was told.
#[tokio::test]
async fn whoever_builds_a_local_limit_without_a_number_of_replicas_is_warned() {
    let policies = [
        FailurePolicy::Closed,
        FailurePolicy::Local,
        FailurePolicy::Open,
    ];
    for policy in policies {
        for replicas in [None, std::num::NonZeroU32::new(4)] {
            let log = Log::new();
            let listening = log.listen();
            let mut tuning = Tuning::default();
            tuning.max_replicas = replicas;
            let builder = of_four("1000/s", policy).tuning(tuning);
            let _limiter = build(builder.store(FaultStore::new(Fault::Fails)));
            drop(listening);
            let lines = log.lines();
            let warned = lines.iter().any(|line| {
                line.contains("WARN") && line.contains("max_replicas") && line.contains("limit=api")
            });
            let right = policy == FailurePolicy::Local && replicas.is_none();
            assert_eq!(warned, right, "{policy:?}, {replicas:?}: {lines:?}");
        }
    }
}

#[tokio::test]
async fn a_lease_is_spent_before_a_limit_falls_back() {
    let store = FaultStore::new(Fault::None);
    let builder = of_four("1000/s burst 100000", FailurePolicy::Local);
    let limiter = build(builder.store(Arc::clone(&store)));
    let held = lease(&limiter).await;
    store.set(Fault::Fails);
    for spent in 0..held {
        let verdict = limiter.try_acquire("alice", 1);
        assert!(verdict.is_allowed(), "{spent} of {held}: {verdict:?}");
    }
    assert_eq!(limiter.stats().tokens_in_fallback.granted, 0);
}
