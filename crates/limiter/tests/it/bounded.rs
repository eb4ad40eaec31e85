//! Keys are chosen by clients: however many there are, memory is bounded and limits hold.

use std::time::Duration;

use leasehold::{Decided, KeyRef, LimitId, Limiter, Reason, Tuning};
use tokio::task::JoinSet;

use crate::world::{build, denial, drain, eventually, one_limit};

#[tokio::test]
async fn a_flood_of_keys_is_bounded_and_a_hot_key_keeps_its_limit() {
    let limiter = build(one_limit("1/h burst 200").keys_max(100));
    let flood = tokio::spawn(flood(limiter.clone()));
    let mut allowed = 0;
    while !flood.is_finished() {
        let verdict = limiter.acquire("hot", 1).await;
        allowed += u64::from(verdict.is_allowed());
        if let Some(denial) = verdict.denial() {
            assert_eq!(denial.reason, Reason::Exhausted);
        }
        assert!(limiter.stats().keys <= 100, "{:?}", limiter.stats());
        tokio::task::yield_now().await;
    }
    flood.await.expect("no panic");
    assert_eq!(allowed + drain(&limiter, "hot".into()).await, 200);
}

/// Ten thousand keys, a hundred at a time. Each is allowed: the store decides where the cache
/// has no room.
async fn flood(limiter: Limiter) {
    let mut tasks = JoinSet::new();
    for user in 0..10_000 {
        if tasks.len() >= 100 {
            tasks
                .join_next()
                .await
                .expect("there are some")
                .expect("no panic");
        }
        let limiter = limiter.clone();
        tasks.spawn(async move {
            let verdict = limiter.acquire(&format!("user:{user}"), 1).await;
            assert!(verdict.is_allowed(), "{verdict:?}");
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn a_key_that_finds_no_room_keeps_its_limit() {
    let limiter = build(one_limit("1/h burst 20").keys_max(1));
    assert!(limiter.acquire("first", 1).await.is_allowed());
    let mut allowed = 0;
    for _ in 0..60 {
        // So that it stays in the cache.
        let _ = limiter.acquire("first", 1).await;
        allowed += u64::from(limiter.acquire("second", 1).await.is_allowed());
    }
    assert_eq!(allowed, 20);
    assert_eq!(limiter.stats().keys, 1);
}

/// Limits for users and for all together, in a cache with room for one key, and that is taken.
async fn full_cache(user: &str, global: &str) -> Limiter {
    let builder = one_limit(user).limit("global", global);
    let limiter = build(builder.keys_max(1).budget(Duration::from_secs(2)));
    assert!(limiter.acquire("first", 1).await.is_allowed());
    limiter
}

fn user_and_all(user: &str) -> [(KeyRef<'_>, u32); 2] {
    [(user.into(), 1), (everybody(), 1)]
}

fn everybody() -> KeyRef<'static> {
    (LimitId(1), "everybody").into()
}

/// The stock that was sent for went to entries that nobody could find: the request sent for more,
/// until its budget was spent.
#[tokio::test]
async fn who_asks_under_two_limits_and_finds_no_room_is_decided_exactly() {
    let limiter = full_cache("1/h burst 20", "1/h burst 30").await;
    let mut allowed = 0;
    for _ in 0..60 {
        // So that it stays in the cache.
        let _ = limiter.acquire("first", 1).await;
        let verdict = limiter.acquire_all(&user_and_all("second")).await;
        match verdict.denial() {
            None => allowed += 1,
            Some(denial) => assert_eq!(denial.reason, Reason::Exhausted),
        }
    }
    assert_eq!(allowed, 20);
    assert_eq!(
        drain(&limiter, everybody()).await,
        10,
        "and nothing is lost"
    );
    limiter.shutdown().await.expect("all is given back");
}

#[tokio::test]
async fn keys_without_room_are_bounded_and_stay_only_as_long_as_they_are_needed() {
    let limiter = full_cache("1000/s", "1000000/s").await;
    let mut denied = 0;
    for user in 0..200 {
        let verdict = limiter
            .acquire_all(&user_and_all(&format!("user:{user}")))
            .await;
        if let Some(denial) = verdict.denial() {
            assert_eq!(denial.reason, Reason::Overloaded);
            assert!(denial.retry.wait().is_some());
            denied += 1;
        }
        assert!(limiter.stats().keys <= 1 + 64, "{:?}", limiter.stats());
    }
    assert!(denied > 0, "the test asks for more than there is room for");
    eventually("their tokens are back and they are gone", async || {
        let stats = limiter.stats();
        (stats.keys <= 1 && stats.tokens.held() == 0).then_some(())
    })
    .await;
    assert!(
        limiter
            .acquire_all(&user_and_all("user:199"))
            .await
            .is_allowed()
    );
}

#[tokio::test]
async fn keys_that_nobody_asks_for_are_forgotten() {
    let mut tuning = Tuning::default();
    tuning.idle_after = Duration::from_millis(200);
    let limiter = build(one_limit("1000/s").tuning(tuning));
    for user in 0..200 {
        assert!(
            limiter
                .acquire(&format!("user:{user}"), 1)
                .await
                .is_allowed()
        );
        let _ = limiter.try_acquire(format!("guest:{user}"), 1);
    }
    eventually(
        "all are forgotten, and nothing is kept for them",
        async || {
            let stats = limiter.stats();
            (stats.keys == 0 && stats.tokens.held() == 0).then_some(())
        },
    )
    .await;
    assert!(limiter.stats().keys_evicted >= 400);
    assert!(
        limiter.acquire("user:0", 1).await.is_allowed(),
        "and come back"
    );
}

#[tokio::test]
async fn a_key_that_was_forgotten_is_still_limited() {
    let mut tuning = Tuning::default();
    tuning.idle_after = Duration::from_millis(100);
    let limiter = build(one_limit("1/h burst 1000").tuning(tuning));
    for _ in 0..400 {
        assert!(limiter.acquire("alice", 1).await.is_allowed());
    }
    eventually("it is forgotten", async || {
        (limiter.stats().keys == 0).then_some(())
    })
    .await;
    let verdict = limiter.acquire("alice", 601).await;
    assert_eq!(denial(verdict).reason, Reason::Exhausted);
    assert_eq!(verdict.decided(), Decided::Store);
    assert!(limiter.acquire("alice", 600).await.is_allowed());
}
