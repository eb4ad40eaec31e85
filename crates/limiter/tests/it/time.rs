//! Limiters in tests: a clock that the test moves, and tokio's when it is paused.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use leasehold::test::TestClock;
use leasehold::{Builder, FailurePolicy, Limiter, MemoryStore, Mode, NotReleased, Reason, Tuning};
use tokio::time;

use crate::fault_store::{Fault, FaultStore};
use crate::world::{build, denial};

const MINUTE: Duration = Duration::from_secs(60);

fn builder(limit: &str) -> Builder {
    Limiter::builder().limit("api", limit)
}

/// Asks until denied, and says how often it was allowed.
async fn drain(limiter: &Limiter, key: &str) -> u32 {
    let mut tokens = 0;
    while limiter.acquire(key, 1).await.is_allowed() {
        tokens += 1;
    }
    tokens
}

/// 97 of a hundred were denied: waits took no time, and the limiter's clock took real time.
#[tokio::test(start_paused = true)]
async fn cold_keys_are_served_in_paused_time() {
    let limiter = build(builder("100/min"));
    for user in 0..1000 {
        let verdict = limiter.acquire(&format!("user:{user}"), 1).await;
        assert!(verdict.is_allowed(), "{user}: {verdict:?}");
    }
    limiter.shutdown().await.expect("the store answers");
}

#[tokio::test(start_paused = true)]
async fn a_limit_refills_as_paused_time_is_moved() {
    for mode in [Mode::Lease, Mode::Central] {
        let store = Arc::new(MemoryStore::new());
        let limiter = build(builder("100/min").store(Arc::clone(&store)).mode(mode));
        let other = build(builder("100/min").store(store).mode(mode));
        assert_eq!(drain(&limiter, "alice").await, 100, "{mode:?}");
        assert_eq!(drain(&other, "alice").await, 0, "{mode:?}");
        time::advance(MINUTE).await;
        assert_eq!(drain(&limiter, "alice").await, 100, "{mode:?}");
        time::advance(MINUTE / 2).await;
        assert_eq!(drain(&limiter, "alice").await, 50, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_is_waited_for_in_paused_time() {
    let limiter = build(builder("100/min").store(FaultStore::new(Fault::Silent)));
    let start = time::Instant::now();
    let verdict = limiter.acquire("alice", 1).await;
    assert_eq!(denial(verdict).reason, Reason::BudgetSpent);
    let waited = start.elapsed();
    assert!((90..=101).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test]
async fn a_limit_refills_as_a_test_moves_its_clock() {
    refilled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_refills_as_a_test_moves_its_clock_on_several_threads() {
    refilled().await;
}

async fn refilled() {
    for mode in [Mode::Lease, Mode::Central] {
        let clock = TestClock::new();
        let store = Arc::new(MemoryStore::with_clock(&clock));
        let build = || {
            let builder = builder("100/min").store(Arc::clone(&store)).mode(mode);
            build(builder.clock(&clock))
        };
        let (limiter, other) = (build(), build());
        for minute in 1..4 {
            assert_eq!(drain(&limiter, "alice").await, 100, "{mode:?}, {minute}");
            assert_eq!(drain(&other, "alice").await, 0, "{mode:?}, {minute}");
            clock.advance(MINUTE);
        }
        assert!(clock.elapsed() < MINUTE * 4, "{:?}", clock.elapsed());
    }
}

#[tokio::test]
async fn while_a_tests_clock_stands_still_nothing_refills() {
    let clock = TestClock::new();
    let limiter = build(builder("1000/s burst 20").clock(&clock));
    assert!(drain(&limiter, "alice").await >= 20);
    let stood = clock.elapsed();
    time::sleep(Duration::from_millis(100)).await;
    assert_eq!(clock.elapsed(), stood, "nobody waits");
}

#[tokio::test]
async fn cold_keys_and_joint_requests_are_served_by_a_tests_clock() {
    let clock = TestClock::new();
    let limiter = build(builder("100/min").clock(&clock));
    for user in 0..200 {
        let (one, other) = (format!("one:{user}"), format!("other:{user}"));
        assert!(limiter.acquire(one.as_str(), 1).await.is_allowed());
        let both = [(one.as_str(), 1), (other.as_str(), 1)];
        let verdict = limiter.acquire_all(&both).await;
        assert!(verdict.is_allowed(), "{user}: {verdict:?}");
    }
    limiter.shutdown().await.expect("the store answers");
}

/// Budget, timeouts, policies and a shut-down's patience all go by it.
#[tokio::test]
async fn waits_for_a_silent_store_end_by_a_tests_clock() {
    let clock = TestClock::new();
    let store = FaultStore::before(Arc::new(MemoryStore::with_clock(&clock)), Fault::None);
    let mut tuning = Tuning::default();
    tuning.max_replicas = NonZeroU32::new(1);
    let limiter = build(
        builder("100/min")
            .failure_policy("api", FailurePolicy::Local)
            .tuning(tuning)
            .store(Arc::clone(&store))
            .clock(&clock),
    );
    for _ in 0..20 {
        assert!(limiter.acquire("alice", 1).await.is_allowed());
    }
    store.set(Fault::Silent);
    let verdict = limiter.acquire("bob", 1).await;
    assert_eq!(denial(verdict).reason, Reason::BudgetSpent);
    clock.advance(MINUTE);
    let mut verdict = limiter.acquire("bob", 1).await;
    for _ in 0..50 {
        if verdict.is_allowed() {
            break;
        }
        verdict = limiter.acquire("bob", 1).await;
    }
    assert!(verdict.is_allowed(), "by this replica's part: {verdict:?}");
    let ended = limiter.shutdown().await;
    assert!(matches!(ended, Ok(()) | Err(NotReleased { .. })));
}
