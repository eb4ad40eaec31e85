//! Looking without spending.

use std::time::Duration;

use crate::fault_store::{Fault, FaultStore};
use crate::world::{alone, build, eventually, one_limit};

#[tokio::test]
async fn looking_spends_nothing() {
    let limiter = alone("1/h burst 10");
    for _ in 0..100 {
        let peek = limiter.peek("alice").await.expect("the store answers");
        assert_eq!((peek.free, peek.held, peek.outstanding), (10, 0, 0));
        assert_eq!(peek.reset, Duration::ZERO);
    }
    assert!(limiter.acquire("alice", 10).await.is_allowed());
}

#[tokio::test]
async fn what_is_spent_held_and_free_adds_up() {
    let limiter = alone("1/h burst 10000");
    let mut spent = 0;
    // Until it pays to lease.
    let peek = eventually("something is held", async || {
        for _ in 0..20 {
            spent += u64::from(limiter.acquire("alice", 1).await.is_allowed());
        }
        let peek = limiter.peek("alice").await.expect("the store answers");
        (peek.held > 0).then_some(peek)
    })
    .await;
    // Nobody spends meanwhile, so the only thing not known is what the store was told of it.
    assert!(peek.outstanding >= peek.held, "{peek:?}");
    let charged = 10_000 - peek.free - peek.outstanding;
    assert!(charged <= spent, "{spent} spent, {peek:?}");
    assert!(
        charged + peek.outstanding - peek.held >= spent,
        "{spent} spent, {peek:?}"
    );
    assert_eq!(peek.replicas, 1);
    assert!(peek.reset > Duration::ZERO);
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error() {
    let limiter = build(one_limit("1/h").store(FaultStore::new(Fault::Fails)));
    let error = limiter.peek("alice").await.expect_err("nobody answers");
    assert_eq!(error.to_string(), "connection refused");

    let silent = FaultStore::new(Fault::Silent);
    let budget = Duration::from_millis(50);
    let limiter = build(one_limit("1/h").store(silent).budget(budget));
    let error = limiter.peek("alice").await.expect_err("nobody answers");
    assert_eq!(error.to_string(), "no answer within 50ms");
}
