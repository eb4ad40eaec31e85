//! Keys whose limit is reset.

use std::sync::Arc;
use std::time::Duration;

use leasehold::test::TestClock;
use leasehold::{Limiter, MemoryStore, Mode};

use crate::fault_store::{Fault, FaultStore};
use crate::world::{build, denial, one_limit};

/// Asks until denied, and says how often it was allowed.
async fn drain(limiter: &Limiter, key: &str) -> u32 {
    let mut tokens = 0;
    while limiter.acquire(key, 1).await.is_allowed() {
        tokens += 1;
    }
    tokens
}

#[tokio::test]
async fn a_key_that_is_reset_has_its_burst_again_at_once_and_no_more() {
    for mode in [Mode::Lease, Mode::Central] {
        let limiter = build(one_limit("1/day burst 3").mode(mode));
        for round in 0..3 {
            assert_eq!(drain(&limiter, "alice").await, 3, "{mode:?}, {round}");
            assert_eq!(drain(&limiter, "alice").await, 0, "{mode:?}, {round}");
            limiter.reset("alice").await.expect("the store answers");
        }
        assert_eq!(drain(&limiter, "bob").await, 3, "{mode:?}: another key");
        assert_eq!(limiter.peek("bob").await.expect("it answers").free, 0);
        limiter.reset("alice").await.expect("the store answers");
        assert_eq!(limiter.peek("bob").await.expect("it answers").free, 0);
    }
}

#[tokio::test]
async fn what_others_hold_is_theirs_and_counts() {
    let store = Arc::new(MemoryStore::new());
    let [one, other] =
        [(); 2].map(|()| build(one_limit("1/day burst 100000").store(store.clone())));
    let mut before = 0;
    for _ in 0..2000 {
        before += u64::from(one.acquire("alice", 1).await.is_allowed());
    }
    assert_eq!(before, 2000);
    other.reset("alice").await.expect("the store answers");
    let peek = other.peek("alice").await.expect("the store answers");
    assert!(peek.outstanding > 0, "one holds a lease: {peek:?}");
    assert_eq!(peek.free + peek.outstanding, 100_000, "{peek:?}");
}

/// It was denied for as long as the store had said: for a day.
#[tokio::test]
async fn another_replica_that_denies_the_key_hears_of_it_soon() {
    let clock = TestClock::new();
    let store = Arc::new(MemoryStore::with_clock(&clock));
    let replica = || {
        build(
            one_limit("1/day burst 3")
                .store(store.clone())
                .clock(&clock),
        )
    };
    let (one, other) = (replica(), replica());
    assert_eq!(drain(&one, "alice").await, 3);
    let told = denial(other.acquire("alice", 1).await);
    assert!(
        told.retry.wait() > Some(Duration::from_hours(1)),
        "{told:?}"
    );
    one.reset("alice").await.expect("the store answers");
    let mut waited = Duration::ZERO;
    while !other.acquire("alice", 1).await.is_allowed() {
        assert!(waited < SOON, "denied {waited:?} after the reset");
        pass(&clock).await;
        waited += STEP;
    }
}

/// Lets some time of the clock pass, and the tasks do what is due by then.
async fn pass(clock: &TestClock) {
    clock.advance(STEP);
    tokio::time::sleep(Duration::from_millis(5)).await;
}

const STEP: Duration = Duration::from_millis(100);

/// A look at a denied key is due each second, and some calls take time.
const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_reset_that_the_store_did_not_hear_is_an_error() {
    let limiter = build(one_limit("1/day").store(FaultStore::new(Fault::Fails)));
    let error = limiter.reset("alice").await.expect_err("nobody answers");
    assert_eq!(error.to_string(), "connection refused");
    let limiter = build(one_limit("1/day"));
    limiter
        .reset(("other", "alice"))
        .await
        .expect_err("there is no such limit");
    limiter.shutdown().await.expect("the store answers");
    limiter.reset("alice").await.expect_err("it is shut down");
}
