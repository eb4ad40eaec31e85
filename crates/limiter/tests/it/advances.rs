//! Limits with an advance: requests on keys that nobody has asked about are answered at once.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{Decided, Limiter, MemoryStore};

use crate::fault_store::{Fault, FaultStore};
use crate::world::{alone, beside, denial, drain, eventually};

/// Waits until the limiter may spend so many tokens of each key in advance: once it has asked the
/// store about any key, and been told how many replicas there are.
async fn enrolled(limiter: &Limiter, tokens: u32) {
    let verdict = limiter.acquire("somebody", 1).await;
    assert!(verdict.is_allowed());
    let mut others = 0;
    eventually("it is on the roster", async || {
        others += 1;
        let verdict = limiter.try_acquire(format!("other:{others}"), tokens);
        verdict.is_allowed().then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_wait_is_allowed_on_a_key_that_nobody_knows() {
    let limiter = alone("1/h burst 100 advance 20");
    enrolled(&limiter, 5).await;
    for _ in 0..5 {
        let verdict = limiter.try_acquire("alice", 1);
        assert!(verdict.is_allowed(), "{verdict:?}");
        assert_eq!(verdict.decided(), Decided::Local);
    }
    let key = limiter.handle("bob");
    assert!(key.clone().try_acquire(1).is_allowed());
    limiter.shutdown().await.expect("the store answers");
}

#[tokio::test]
async fn a_request_does_not_wait_for_a_store_that_is_slow() {
    let memory = Arc::new(MemoryStore::new());
    let slow = FaultStore::before(memory, Fault::Slow(Duration::from_millis(200)));
    let limiter = beside("100/min burst 1000 advance 100", slow);
    enrolled(&limiter, 2).await;
    for user in 0..500 {
        let verdict = limiter.acquire(&format!("user:{user}"), 1).await;
        assert!(verdict.is_allowed());
        assert_eq!(verdict.decided(), Decided::Local, "user {user}");
    }
    limiter.shutdown().await.expect("the store answers");
}

/// Tokens that are set aside are granted to nobody else, and none of them is spent twice.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_spend_in_advance_admit_the_burst_and_no_more() {
    let store = Arc::new(MemoryStore::new());
    let limit = "1/h burst 100 advance 20";
    let limiters: Vec<_> = (0..4).map(|_| beside(limit, Arc::clone(&store))).collect();
    for limiter in &limiters {
        enrolled(limiter, 5).await;
    }
    let mut admitted = 0;
    for limiter in &limiters {
        let here = drain(limiter, "alice".into()).await;
        assert!(here >= 5, "{here}: each has its part");
        admitted += here;
    }
    assert!((95..=100).contains(&admitted), "{admitted}");
    for limiter in limiters {
        limiter.shutdown().await.expect("the store answers");
        let tokens = limiter.stats().tokens;
        assert_eq!(tokens.held(), 0, "{tokens:?}");
    }
}

#[tokio::test]
async fn a_limiter_reports_all_that_it_spent_before_it_ends() {
    let store = Arc::new(MemoryStore::new());
    let limit = "1/day burst 100 advance 40";
    let limiter = beside(limit, Arc::clone(&store));
    enrolled(&limiter, 10).await;
    for _ in 0..10 {
        assert!(limiter.try_acquire("alice", 1).is_allowed());
    }
    limiter.shutdown().await.expect("the store answers");
    let next = beside(limit, store);
    let peek = next.peek("alice").await.expect("the store answers");
    assert_eq!(peek.free, 50, "of the sixty that are granted");
}

#[tokio::test]
async fn nobody_is_allowed_what_the_store_has_no_room_for() {
    let limiter = alone("1/h burst 20 advance 8");
    enrolled(&limiter, 2).await;
    let admitted = drain(&limiter, "alice".into()).await;
    assert_eq!(admitted, 14, "twelve are granted, and two are its part");
    let verdict = limiter.try_acquire("alice", 1);
    assert!(denial(verdict).retry.wait().is_some());
}
