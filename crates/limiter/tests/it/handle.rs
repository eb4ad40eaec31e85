//! A key that its caller keeps.

use std::time::Duration;

use leasehold::{Decided, Mode, Reason, Tuning};

use crate::world::{alone, build, denial, eventually, one_limit};

#[tokio::test]
async fn a_handle_and_its_limiter_spend_one_limit() {
    let limiter = alone("1/h burst 20");
    let mut handle = limiter.handle("alice");
    let mut clone = handle.clone();
    let mut allowed = 0;
    for _ in 0..10 {
        allowed += u64::from(handle.acquire(1).await.is_allowed());
        allowed += u64::from(clone.acquire(1).await.is_allowed());
        allowed += u64::from(limiter.acquire("alice", 1).await.is_allowed());
    }
    assert_eq!(allowed, 20);
    assert_eq!(denial(handle.acquire(1).await).reason, Reason::Exhausted);
    assert_eq!(denial(handle.try_acquire(1)).reason, Reason::Exhausted);
    assert_eq!(denial(handle.acquire(21).await).reason, Reason::TooCostly);
    assert!(limiter.acquire("bob", 1).await.is_allowed(), "another key");
}

#[tokio::test]
async fn a_handle_that_does_not_wait_sends_for_tokens() {
    let mut handle = alone("1000/s").handle("alice");
    assert_eq!(denial(handle.try_acquire(1)).reason, Reason::NotLeased);
    let verdict = eventually("a token has come", async || {
        Some(handle.try_acquire(1)).filter(leasehold::Verdict::is_allowed)
    });
    assert_eq!(verdict.await.decided(), Decided::Local);
}

/// Caught: a handle that keeps the entry it found first, which nobody gives tokens any more.
#[tokio::test]
async fn a_handle_finds_its_key_again_when_it_was_forgotten() {
    let mut tuning = Tuning::default();
    tuning.idle_after = Duration::from_millis(100);
    let limiter = build(one_limit("1000/s burst 1000").tuning(tuning));
    let mut handle = limiter.handle("alice");
    for _ in 0..3 {
        eventually("the handle decides here", async || {
            let verdict = handle.acquire(1).await;
            (verdict.is_allowed() && verdict.decided() == Decided::Local).then_some(())
        })
        .await;
        eventually("the key is forgotten", async || {
            (limiter.stats().keys == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_handle_asks_the_store_where_the_limiter_would() {
    let limiter = build(one_limit("1/h burst 2").mode(Mode::Central));
    let mut handle = limiter.handle("alice");
    for expected in [true, true, false] {
        let verdict = handle.acquire(1).await;
        assert_eq!(verdict.is_allowed(), expected);
        assert_eq!(verdict.decided(), Decided::Store);
    }
}

#[tokio::test]
async fn a_handle_ends_with_its_limiter() {
    let limiter = alone("1000/s");
    let mut handle = limiter.handle("alice");
    assert!(handle.acquire(1).await.is_allowed());
    limiter.shutdown().await.expect("the store answers");
    assert_eq!(denial(handle.acquire(1).await).reason, Reason::ShutDown);
}
