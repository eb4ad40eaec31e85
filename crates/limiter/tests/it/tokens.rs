//! Where tokens go: what was granted was spent, given back, or lost to time.

use std::sync::Arc;
use std::time::Duration;

use leasehold::store::Instant;
use leasehold::{KeyRef, LimitId, Limiter, MemoryStore};
use tokio::task::JoinSet;

use crate::fault_store::{Fault, FaultStore};
use crate::world::{beside, build, cancelled, clock, eventually, one_limit};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_nothing_is_held_and_all_is_accounted_for() {
    let limiter = build(storm_limits().store(MemoryStore::new()));
    let spent = storm(&limiter, false).await;
    limiter.shutdown().await.expect("the store answers");
    let tokens = limiter.stats().tokens;
    assert_eq!(tokens.spent, spent, "{tokens:?}");
    assert_eq!(tokens.held(), 0, "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_store_does_tokens_are_accounted_for() {
    let store = FaultStore::new(Fault::LosesAnswers);
    let limiter = build(storm_limits().store(Arc::clone(&store)));
    let spent = storm(&limiter, true).await;
    limiter.shutdown().await.expect("every other answer comes");
    let tokens = limiter.stats().tokens;
    // Somebody may have gone in the moment in which the token was handed over.
    assert!(tokens.spent >= spent, "{spent} {tokens:?}");
    assert_eq!(tokens.held(), 0, "{tokens:?}");
}

/// A cell holds 16.7 million.
#[tokio::test]
async fn what_a_cell_cannot_hold_goes_back() {
    let memory = Arc::new(MemoryStore::new());
    let slow = Fault::Slow(Duration::from_millis(40));
    let slow = FaultStore::before(Arc::clone(&memory), slow);
    let limit = "1/h burst 100000000";
    let limiter = beside(limit, slow);
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        let limiter = limiter.clone();
        waiting.spawn(async move { limiter.acquire("alice", 4_000_000).await });
    }
    eventually("the store is asked", async || {
        (limiter.stats().batches > 0).then_some(())
    })
    .await;
    waiting.shutdown().await;
    limiter.shutdown().await.expect("the store answers");
    let tokens = limiter.stats().tokens;
    assert!(tokens.granted > 20_000_000, "{tokens:?}");
    assert_eq!(tokens.held(), 0, "{tokens:?}");
    let next = beside(limit, memory);
    assert!(next.acquire("alice", 100_000_000).await.is_allowed());
}

fn storm_limits() -> leasehold::Builder {
    let global = "5000/s";
    one_limit("500/s burst 50").limit("global", global)
}

/// Half a second of requests of all kinds, by four tasks; says how many tokens were spent on
/// requests that were allowed.
async fn storm(limiter: &Limiter, cancels: bool) -> u64 {
    let end = clock() + Duration::from_millis(500);
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        tasks.spawn(ask(limiter.clone(), task, cancels, end));
    }
    tasks.join_all().await.into_iter().sum()
}

async fn ask(limiter: Limiter, task: usize, cancels: bool, end: Instant) -> u64 {
    let global = KeyRef::from((LimitId(1), "everybody"));
    let mut spent = 0;
    for round in task.. {
        if clock() >= end {
            break;
        }
        let user = format!("user:{}", round % 20);
        let user = KeyRef::from(&user);
        let (verdict, cost) = match round % 5 {
            0 => (limiter.try_acquire(user, 2), 2),
            1 | 2 => (limiter.acquire_all(&[(user, 1), (global, 2)]).await, 3),
            3 if cancels => match cancelled(limiter.acquire(user, 1)) {
                Some(verdict) => (verdict, 1),
                None => continue,
            },
            _ => (limiter.acquire(user, 1).await, 1),
        };
        spent += if verdict.is_allowed() { cost } else { 0 };
        tokio::task::yield_now().await;
    }
    spent
}
