//! Requests that are denied, or that cost nothing, or very much.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{Decided, MemoryStore, Reason, Retry};

use crate::world::{alone, beside, denial, drain, eventually};

#[tokio::test]
async fn who_waits_as_long_as_told_is_admitted() {
    let limiter = alone("2/s burst 1");
    assert!(limiter.acquire("alice", 1).await.is_allowed());
    let told = limiter.acquire("alice", 1).await;
    assert_eq!(told.decided(), Decided::Store);
    assert_eq!(denial(told).reason, Reason::Exhausted);
    let wait = denial(told).retry.wait().expect("there will be a token");
    assert!(
        !wait.is_zero() && wait <= Duration::from_millis(500),
        "{wait:?}"
    );

    // Asking again is answered here, and the answer is the same but for the time gone by.
    let calls = limiter.stats().store_calls;
    let again = limiter.acquire("alice", 1).await;
    assert_eq!(denial(again).reason, Reason::Exhausted);
    assert!(denial(again).retry.wait() <= Some(wait), "{again:?}");
    assert_eq!(limiter.stats().store_calls, calls);

    tokio::time::sleep(wait).await;
    assert!(limiter.acquire("alice", 1).await.is_allowed());
}

#[tokio::test]
async fn a_fast_limit_tells_when_to_come_back_too() {
    let limiter = alone("1000/s burst 100");
    drain(&limiter, "alice".into()).await;
    for _ in 0..3 {
        // It is a lower bound: another request may have taken what came.
        let verdict = limiter.acquire("alice", 1).await;
        let Err(denial) = verdict.check() else {
            continue;
        };
        let wait = denial.retry.wait().expect("there will be a token");
        assert!(wait < Duration::from_secs(1), "{wait:?}");
        tokio::time::sleep(wait).await;
    }
    eventually("a token has come", async || {
        limiter.acquire("alice", 1).await.is_allowed().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cost_of_nothing_is_allowed_at_once() {
    let limiter = alone("1/h burst 1");
    drain(&limiter, "alice".into()).await;
    for key in ["alice", "bob"] {
        for verdict in [limiter.acquire(key, 0).await, limiter.try_acquire(key, 0)] {
            assert!(verdict.is_allowed(), "{verdict:?}");
            assert_eq!(verdict.decided(), Decided::Local);
        }
    }
    assert!(limiter.acquire("bob", 1).await.is_allowed());
}

#[tokio::test]
async fn a_cost_above_the_burst_is_never_to_be_had() {
    let limiter = alone("1000/s burst 10");
    for verdict in [
        limiter.acquire("alice", 11).await,
        limiter.try_acquire("alice", 11),
    ] {
        assert_eq!(denial(verdict).reason, Reason::TooCostly);
        assert_eq!(denial(verdict).retry, Retry::Never);
    }
    assert_eq!(limiter.stats().batches, 0, "the store is not asked");
    assert!(limiter.acquire("alice", 10).await.is_allowed());
}

#[tokio::test]
async fn a_key_too_long_for_a_name_is_refused() {
    let limiter = alone("1000/s");
    let longest = "x".repeat(1024);
    assert!(limiter.acquire(&longest, 1).await.is_allowed());
    let longer = "x".repeat(1025);
    for verdict in [
        limiter.acquire(&longer, 1).await,
        limiter.try_acquire(&longer, 1),
    ] {
        assert_eq!(denial(verdict).reason, Reason::KeyTooLong);
        assert_eq!(denial(verdict).retry, Retry::Never);
    }
    assert_eq!(limiter.stats().keys, 1);
}

#[tokio::test]
async fn any_bytes_are_a_key_and_no_two_keys_meet() {
    let limiter = alone("1/h burst 1");
    let keys: [&[u8]; 5] = [b"", b"\0", b"\xff\xfe", b"a:b", b"a"];
    for key in keys {
        assert!(limiter.acquire(key, 1).await.is_allowed(), "{key:?}");
    }
    for key in keys {
        assert!(!limiter.acquire(key, 1).await.is_allowed(), "{key:?}");
    }
}

/// More than a lease can hold: a cell has room for 16.7 million tokens.
#[tokio::test]
async fn a_cost_beyond_any_lease_is_decided_by_the_store() {
    let limiter = alone("1/h burst 100000000");
    for _ in 0..5 {
        let verdict = limiter.acquire("alice", 20_000_000).await;
        assert!(verdict.is_allowed(), "{verdict:?}");
        assert_eq!(verdict.decided(), Decided::Store);
    }
    let verdict = limiter.acquire("alice", 20_000_000).await;
    assert_eq!(denial(verdict).reason, Reason::Exhausted);
    assert!(!limiter.acquire("alice", 1).await.is_allowed());
}

#[tokio::test]
async fn great_and_small_costs_go_by_one_limit() {
    let store = Arc::new(MemoryStore::new());
    let limiters = [(); 2].map(|()| beside("1/h burst 100000000", Arc::clone(&store)));
    let mut spent = 0;
    for round in 0..40 {
        let cost = [1, 9_000_000, 3, 5_000_000][round % 4];
        let verdict = limiters[round % 2].acquire("alice", cost).await;
        spent += if verdict.is_allowed() {
            u64::from(cost)
        } else {
            0
        };
    }
    assert!(spent <= 100_000_000, "{spent}");
    assert!(spent > 90_000_000, "{spent}");
}
