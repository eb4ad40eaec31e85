//! Requests that wait for the store: how few calls they share, and what becomes of those who
//! stop waiting.

use std::time::Duration;

use leasehold::{Decided, Limiter, Reason};
use tokio::task::JoinSet;

use crate::fault_store::{Fault, FaultStore};
use crate::world::{alone, build, cancelled, denial, drain, eventually, one_limit};

const SLOW: Fault = Fault::Slow(Duration::from_millis(20));

#[tokio::test]
async fn those_who_wait_for_one_key_share_calls() {
    let limiter = build(one_limit("1/h burst 500").store(FaultStore::new(SLOW)));
    let allowed = acquire_together(&limiter, 500, |_| "alice".to_owned()).await;
    assert_eq!(allowed, 500);
    let stats = limiter.stats();
    // One for those who were heard first, one for the rest.
    assert!(stats.store_calls <= 5, "{stats:?}");
    assert!(!limiter.acquire("alice", 1).await.is_allowed());
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_on_several_threads_share_calls() {
    let limiter = build(one_limit("1/h burst 500").store(FaultStore::new(SLOW)));
    let allowed = acquire_together(&limiter, 500, |_| "alice".to_owned()).await;
    assert_eq!(allowed, 500);
    // Until a lease is seen to pay, those who come one by one ask one by one.
    assert!(limiter.stats().store_calls <= 100, "{:?}", limiter.stats());
}

#[tokio::test]
async fn many_keys_travel_together() {
    let limiter = alone("1/h burst 2");
    let allowed = acquire_together(&limiter, 5000, |n| format!("user:{n}")).await;
    assert_eq!(allowed, 5000);
    let stats = limiter.stats();
    assert_eq!(stats.keys, 5000);
    // 40 full ones would do.
    assert!(stats.batches <= 400, "{stats:?}");
    assert!(stats.store_calls <= 10_000, "{stats:?}");
}

#[tokio::test]
async fn the_first_to_wait_is_the_first_to_be_served() {
    let limiter = build(one_limit("1/h burst 100").store(FaultStore::new(SLOW)));
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let limiter = limiter.clone();
        tasks.spawn(async move { (number, limiter.acquire("alice", 1).await.is_allowed()) });
    }
    // On one thread, they ask in the order in which they were made.
    let mut allowed: Vec<_> = tasks.join_all().await;
    allowed.retain(|(_, allowed)| *allowed);
    allowed.sort_unstable();
    let expected: Vec<_> = (0..100).map(|number| (number, true)).collect();
    assert_eq!(allowed, expected);
}

#[tokio::test]
async fn who_stops_waiting_spends_nothing() {
    let limiter = build(one_limit("1/h burst 50").store(FaultStore::new(SLOW)));
    // Gone before the store is asked.
    for _ in 0..1000 {
        assert!(cancelled(limiter.acquire("alice", 1)).is_none());
    }
    assert_eq!(drain(&limiter, "alice".into()).await, 50);
}

#[tokio::test]
async fn who_stops_waiting_while_the_store_is_asked_spends_nothing() {
    let limiter = build(one_limit("1/h burst 50").store(FaultStore::new(SLOW)));
    let mut waiting = JoinSet::new();
    for _ in 0..1000 {
        let limiter = limiter.clone();
        waiting.spawn(async move { limiter.acquire("alice", 1).await });
    }
    eventually("the store is asked", async || {
        (limiter.stats().batches > 0).then_some(())
    })
    .await;
    waiting.shutdown().await;
    // What came for them lies here, for those who ask now.
    assert_eq!(drain(&limiter, "alice".into()).await, 50);
}

#[tokio::test]
async fn more_than_can_wait_are_turned_away() {
    let limiter = build(one_limit("1000000/s").store(FaultStore::new(SLOW)));
    // The task cannot hear any of them while this thread does not await.
    let verdicts = (0..20_000).map(|_| cancelled(limiter.acquire("alice", 1)));
    let turned_away: Vec<_> = verdicts.flatten().collect();
    assert!(!turned_away.is_empty());
    for verdict in turned_away {
        assert_eq!(denial(verdict).reason, Reason::Overloaded);
        assert_eq!(verdict.decided(), Decided::Fallback);
        assert!(denial(verdict).retry.wait().is_some());
    }
    let verdict = eventually("there is room again", async || {
        Some(limiter.acquire("alice", 1).await).filter(leasehold::Verdict::is_allowed)
    });
    let _ = verdict.await;
}

/// Acquires one token of each of `count` keys, all at once; says how many were allowed.
async fn acquire_together(limiter: &Limiter, count: u32, key: fn(u32) -> String) -> usize {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let limiter = limiter.clone();
        tasks.spawn(async move {
            let verdict = limiter.acquire(&key(number), 1).await;
            verdict.is_allowed()
        });
    }
    let verdicts = tasks.join_all().await;
    verdicts.into_iter().filter(|allowed| *allowed).count()
}
