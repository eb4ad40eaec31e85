//! A limiter that asks the store for every decision.

use std::sync::Arc;

use leasehold::{Decided, MemoryStore, Mode, Reason, Retry};

use crate::fault_store::{Fault, FaultStore};
use crate::world::{alone, build, denial, drain, one_limit};

#[tokio::test]
async fn two_central_limiters_share_a_limit_exactly() {
    let store = Arc::new(MemoryStore::new());
    let central = || one_limit("1/h burst 30").mode(Mode::Central);
    let limiters = [(); 2].map(|()| build(central().store(Arc::clone(&store))));
    for _ in 0..15 {
        for limiter in &limiters {
            let verdict = limiter.acquire("alice", 1).await;
            assert!(verdict.is_allowed(), "{verdict:?}");
            assert_eq!(verdict.decided(), Decided::Store);
        }
    }
    for limiter in &limiters {
        assert_eq!(drain(limiter, "alice".into()).await, 0);
        assert_eq!(limiter.stats().tokens.held(), 0);
        limiter.shutdown().await.expect("nothing was leased");
    }
}

#[tokio::test]
async fn a_central_limiter_and_one_that_leases_share_a_limit() {
    let store = Arc::new(MemoryStore::new());
    let central = build(
        one_limit("1/h burst 30")
            .mode(Mode::Central)
            .store(Arc::clone(&store)),
    );
    let leasing = build(one_limit("1/h burst 30").store(store));
    assert!(central.acquire("alice", 25).await.is_allowed());
    assert_eq!(drain(&leasing, "alice".into()).await, 5);
}

#[tokio::test]
async fn a_central_limiter_says_that_the_store_is_away() {
    let store = FaultStore::new(Fault::Fails);
    let limiter = build(
        one_limit("1/h burst 10")
            .mode(Mode::Central)
            .store(Arc::clone(&store)),
    );
    let verdict = limiter.acquire("alice", 1).await;
    assert_eq!(denial(verdict).reason, Reason::StoreUnavailable);
    assert_eq!(verdict.decided(), Decided::Fallback);
    store.set(Fault::OneReplyShort);
    let verdict = limiter.acquire("alice", 1).await;
    assert_eq!(denial(verdict).reason, Reason::StoreUnavailable);
    store.set(Fault::None);
    assert!(limiter.acquire("alice", 1).await.is_allowed());
}

/// It panicked, in the middle of a request.
#[tokio::test]
async fn several_limits_are_denied_centrally_and_the_reason_is_said() {
    let limiter = build(one_limit("1/h").mode(Mode::Central));
    for verdict in [
        limiter.acquire_all(&[("alice", 1)]).await,
        limiter.try_acquire_all(&[("alice", 1)]),
    ] {
        assert_eq!(denial(verdict).reason, Reason::NeedsLeases);
        assert_eq!(denial(verdict).retry, Retry::Never);
    }
    assert_eq!(limiter.stats().batches, 0, "nobody was asked");
}

#[tokio::test]
#[should_panic(expected = "the key names a limit of this limiter")]
async fn a_limit_of_another_limiter_is_a_bug() {
    let limiter = alone("1/h");
    let _ = limiter.try_acquire((leasehold::LimitId(1), "alice"), 1);
}
