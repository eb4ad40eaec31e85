//! Requests that are denied, or that cost nothing, or very much.

use std::sync::Arc;
use std::time::Duration;

use leasehold::test::TestClock;
use leasehold::{Decided, Limiter, MemoryStore, Mode, Reason, Retry};

use crate::world::{alone, beside, build, denial, drain, eventually};

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

    // Asking again is answered here, and the answer is the same but for the time gone by, rounded
    // up by a tick of what is remembered.
    let calls = limiter.stats().store_calls;
    let again = limiter.acquire("alice", 1).await;
    assert_eq!(denial(again).reason, Reason::Exhausted);
    let tick = Duration::from_micros(1100);
    assert!(denial(again).retry.wait() <= Some(wait + tick), "{again:?}");
    assert_eq!(limiter.stats().store_calls, calls);

    tokio::time::sleep(wait).await;
    assert!(limiter.acquire("alice", 1).await.is_allowed());
}

/// A caller that comes back after exactly the time it was told, alone, is admitted: told by the
/// store, by what this replica remembers of the store's denial, and in central mode. A clock that
/// runs on its own while the test is delayed would only make the caller late, which helps it.
#[tokio::test]
async fn a_caller_that_comes_back_exactly_on_time_is_admitted() {
    let limits = ["70/s burst 1", "33/s burst 3", "7/s burst 1"];
    for (limit, mode) in cases(&limits, [Mode::Lease, Mode::Central]) {
        let limiter = build(Limiter::builder().limit("api", limit).mode(mode));
        for round in 0..8 {
            let mut told = limiter.acquire("alice", 1).await;
            while told.is_allowed() {
                told = limiter.acquire("alice", 1).await;
            }
            // Every other time by what is remembered, at any time of the wait.
            if round % 2 == 1 {
                let wait = denial(told).retry.wait().expect("there will be a token");
                spin(wait * round / 9);
                let again = limiter.acquire("alice", 1).await;
                if again.is_allowed() {
                    continue;
                }
                told = again;
            }
            let wait = denial(told).retry.wait().expect("there will be a token");
            spin(wait);
            let verdict = limiter.acquire("alice", 1).await;
            let case = format!("{limit}, {mode:?}, round {round}, told {told:?}");
            assert!(verdict.is_allowed(), "{case}: {verdict:?}");
        }
    }
}

/// A clock that stands still between the denial and the retry: nothing makes the caller late.
#[tokio::test]
async fn a_caller_that_comes_back_exactly_on_time_is_admitted_by_a_tests_clock() {
    let limits = ["7/3s burst 2", "5/min burst 1", "100/h burst 3"];
    for (limit, mode) in cases(&limits, [Mode::Lease, Mode::Central]) {
        let clock = TestClock::new();
        let limiter = build(
            Limiter::builder()
                .limit("api", limit)
                .mode(mode)
                .clock(&clock),
        );
        for round in 0..12_u32 {
            let mut told = limiter.acquire("alice", 1).await;
            while told.is_allowed() {
                told = limiter.acquire("alice", 1).await;
            }
            for part in 0..round % 3 {
                let wait = denial(told).retry.wait().expect("there will be a token");
                clock.advance(wait * (part + round) / 17);
                let again = limiter.acquire("alice", 1).await;
                if !again.is_allowed() {
                    told = again;
                }
            }
            let wait = denial(told).retry.wait().expect("there will be a token");
            clock.advance(wait);
            let verdict = limiter.acquire("alice", 1).await;
            let case = format!("{limit}, {mode:?}, round {round}, told {told:?}");
            assert!(verdict.is_allowed(), "{case}: {verdict:?}");
        }
    }
}

fn cases<'a>(limits: &'a [&str], modes: [Mode; 2]) -> impl Iterator<Item = (&'a str, Mode)> {
    limits
        .iter()
        .flat_map(move |limit| modes.map(|mode| (*limit, mode)))
}

/// Waits with no timer, which would round up.
fn spin(time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        std::hint::spin_loop();
    }
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
