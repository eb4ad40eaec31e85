//! Several limits at once.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{KeyRef, LimitId, Limiter, MemoryStore, Reason, Retry};
use tokio::task::JoinSet;

use crate::fault_store::{Fault, FaultStore};
use crate::world::{PATIENCE, build, clock, denial, drain, eventually, one_limit};

const USER: LimitId = LimitId(0);
const GLOBAL: LimitId = LimitId(1);

/// Limits for users ("api") and for all together.
fn two_limits(user: &str, global: &str) -> leasehold::Builder {
    one_limit(user).limit("global", global)
}

fn both(user: &str) -> [(KeyRef<'_>, u32); 2] {
    [((USER, user).into(), 1), (everybody(), 1)]
}

fn everybody() -> KeyRef<'static> {
    (GLOBAL, "everybody").into()
}

#[tokio::test]
async fn a_denial_by_one_limit_leaves_the_other_untouched() {
    let limiter = build(two_limits("1/h burst 10", "1/h burst 3"));
    let mut allowed = 0;
    for _ in 0..30 {
        let verdict = limiter.acquire_all(&both("alice")).await;
        match verdict.denial() {
            None => allowed += 1,
            Some(denial) => assert_eq!(denial.reason, Reason::Exhausted),
        }
    }
    assert_eq!(allowed, 3);
    assert_eq!(drain(&limiter, (USER, "alice").into()).await, 7);
}

#[tokio::test]
async fn who_does_not_wait_gets_all_or_none_too() {
    let limiter = build(two_limits("1/h burst 10", "1/h burst 3"));
    let mut allowed = 0;
    let exhausted = eventually("the limit is reached", async || {
        let verdict = limiter.try_acquire_all(&both("alice"));
        allowed += u64::from(verdict.is_allowed());
        let denial = verdict.denial()?;
        (denial.reason == Reason::Exhausted).then_some(())
    });
    exhausted.await;
    assert_eq!(allowed, 3);
    assert_eq!(drain(&limiter, (USER, "alice").into()).await, 7);
}

#[tokio::test]
async fn a_key_named_twice_pays_twice() {
    let limiter = build(one_limit("1/h burst 5"));
    let alice = || KeyRef::from("alice");
    let verdict = limiter.acquire_all(&[(alice(), 2), (alice(), 2)]).await;
    assert!(verdict.is_allowed(), "{verdict:?}");
    let verdict = limiter.acquire_all(&[(alice(), 1), (alice(), 1)]).await;
    assert_eq!(denial(verdict).reason, Reason::Exhausted);
    assert_eq!(drain(&limiter, alice()).await, 1);
}

/// Only the first cost was sent for, and it was there already.
#[tokio::test]
async fn who_names_a_key_twice_and_does_not_wait_is_sent_for_both() {
    let limiter = build(one_limit("1/h burst 20"));
    let twice = [("alice", 4), ("alice", 4)];
    let first = limiter.try_acquire_all(&twice);
    assert_eq!(denial(first).reason, Reason::NotLeased);
    eventually("eight tokens are here", async || {
        let stats = limiter.stats();
        (stats.tokens.held() >= 8).then_some(())
    })
    .await;
    assert!(limiter.try_acquire_all(&twice).is_allowed());
}

#[tokio::test]
async fn costs_of_one_key_that_exceed_its_burst_together_are_never_to_be_had() {
    let limiter = build(one_limit("1/h burst 5"));
    let verdict = limiter.acquire_all(&[("alice", 3), ("alice", 3)]).await;
    assert_eq!(denial(verdict).reason, Reason::TooCostly);
}

/// It was asked for, and as nothing was to be asked for, the answer never came.
#[tokio::test]
async fn what_costs_nothing_does_not_stand_in_the_way() {
    let limiter = build(two_limits("1/h burst 5", "1/h burst 5"));
    let start = [((USER, "alice").into(), 1), (everybody(), 0)];
    let verdict = limiter.acquire_all(&start).await;
    assert!(verdict.is_allowed(), "{verdict:?}");
    let verdict = limiter.try_acquire_all(&[((USER, "bob"), 0)]);
    assert!(verdict.is_allowed(), "{verdict:?}");
    assert!(limiter.acquire_all::<&str>(&[]).await.is_allowed());
    assert_eq!(drain(&limiter, (USER, "alice").into()).await, 4);
    assert_eq!(drain(&limiter, everybody()).await, 5);
}

/// No limit applies, and yet it told 4 294 967 295 tokens remaining.
#[tokio::test]
async fn who_names_no_limit_is_allowed_and_promised_nothing() {
    let limiter = build(two_limits("1/h burst 5", "1/h burst 5"));
    let alice = ((USER, "alice").into(), 0);
    for requests in [&[][..], &[alice], &[alice, (everybody(), 0)], &[alice; 100]] {
        for verdict in [
            limiter.acquire_all(requests).await,
            limiter.try_acquire_all(requests),
        ] {
            assert!(verdict.is_allowed(), "{verdict:?}");
            assert_eq!((verdict.held(), verdict.reset()), (0, Duration::ZERO));
            assert_eq!((verdict.limit(), limiter.estimate(&verdict)), (None, None));
        }
    }
    assert_eq!(limiter.stats().batches, 0, "nobody was asked");
    limiter.shutdown().await.expect("nothing is out");
    for requests in [&[][..], &[alice]] {
        let verdict = limiter.acquire_all(requests).await;
        assert_eq!(denial(verdict).reason, Reason::ShutDown);
    }
}

/// A stack frame was taken for each key, and keys were compared each with each: 12 000 ended the
/// process.
#[tokio::test(flavor = "multi_thread")]
async fn who_names_thousands_of_keys_gets_all_or_none() {
    const MANY: usize = 12_000;
    let limiter = build(one_limit("10/h burst 5").keys_max(200_000).budget(PATIENCE));
    let names: Vec<_> = (0..100_000)
        .map(|number| format!("user:{number}"))
        .collect();
    let many = ones(&names[..MANY]);
    let verdict = limiter.acquire_all(&many).await;
    assert!(verdict.is_allowed(), "{verdict:?}");
    assert!(limiter.stats().tokens.spent <= MANY as u64);

    // Each key once more than there is left of it.
    let often: Vec<_> = many.iter().copied().cycle().take(5 * MANY).collect();
    let denied = denial(limiter.acquire_all(&often).await);
    assert_eq!(denied.reason, Reason::Exhausted);
    assert!(!limiter.try_acquire_all(&often).is_allowed());
    assert_eq!(drain(&limiter, many[0].0).await, 4, "none was spent");

    // More than can wait for the store at a time.
    let all = ones(&names);
    let verdict = limiter.acquire_all(&all[MANY..]).await;
    let reason = verdict.denial().map(|denial| denial.reason);
    assert!(
        matches!(reason, None | Some(Reason::Overloaded)),
        "{verdict:?}"
    );
    let start = clock();
    assert!(
        !limiter.try_acquire_all(&all).is_allowed(),
        "the first is used up"
    );
    let took = clock().since(start);
    assert!(took < PATIENCE / 2, "keys were compared for {took:?}");
}

/// One token of each key.
fn ones(names: &[String]) -> Vec<(KeyRef<'_>, u32)> {
    names.iter().map(|name| (name.into(), 1)).collect()
}

#[tokio::test]
async fn what_can_never_be_is_said_before_anything_is_asked_for() {
    let limiter = build(two_limits("1/h burst 10", "1/h burst 3"));
    let requests = [((USER, "alice").into(), 1), (everybody(), 4)];
    for verdict in [
        limiter.acquire_all(&requests).await,
        limiter.try_acquire_all(&requests),
    ] {
        assert_eq!(denial(verdict).reason, Reason::TooCostly);
        assert_eq!(denial(verdict).retry, Retry::Never);
    }
    assert_eq!(limiter.stats().batches, 0);
}

#[tokio::test]
async fn callers_in_opposite_orders_do_not_stop_each_other() {
    opposite_orders().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_in_opposite_orders_do_not_stop_each_other_on_several_threads() {
    opposite_orders().await;
}

async fn opposite_orders() {
    let limiter = build(two_limits("1000000/s", "1000000/s"));
    let mut tasks = JoinSet::new();
    for turned in [false, true] {
        let limiter = limiter.clone();
        tasks.spawn(async move {
            let mut requests = both("alice");
            if turned {
                requests.reverse();
            }
            for _ in 0..2000 {
                let verdict = limiter.acquire_all(&requests).await;
                assert!(verdict.is_allowed(), "{verdict:?}");
                tokio::task::yield_now().await;
            }
        });
    }
    let done = tokio::time::timeout(PATIENCE, tasks.join_all()).await;
    done.expect("both get through");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_crowds_for_two_limits_gets_them_exactly() {
    let store = Arc::new(MemoryStore::new());
    let limiters = [(); 2].map(|()| {
        let slow = FaultStore::before(Arc::clone(&store), Fault::None);
        build(two_limits("1/h burst 100", "1/h burst 300").store(slow))
    });
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let limiter = limiters[task % 2].clone();
        tasks.spawn(async move {
            let user = format!("user:{}", task / 2);
            (user.clone(), attempts(&limiter, &user).await)
        });
    }
    let allowed = tasks.join_all().await;
    let mut total: u64 = allowed.iter().map(|(_, allowed)| allowed).sum();
    for limiter in &limiters {
        limiter.shutdown().await.expect("the store answers");
    }

    // Somebody who comes afterwards finds exactly what is left of each limit.
    let next = build(two_limits("1/h burst 100", "1/h burst 300").store(store));
    for user in 0..4 {
        let user = format!("user:{user}");
        let mine = allowed.iter().filter(|(name, _)| *name == user);
        let spent: u64 = mine.map(|(_, allowed)| allowed).sum();
        assert_eq!(
            spent + drain(&next, (USER, user.as_str()).into()).await,
            100,
            "{user}"
        );
    }
    total += drain(&next, everybody()).await;
    assert_eq!(total, 300);
}

/// Five hundred attempts at one token of each limit; says how many got both.
async fn attempts(limiter: &Limiter, user: &str) -> u64 {
    let mut allowed = 0;
    for _ in 0..500 {
        let verdict = limiter.acquire_all(&both(user)).await;
        match verdict.denial() {
            None => allowed += 1,
            Some(denial) => assert_eq!(denial.reason, Reason::Exhausted),
        }
        tokio::task::yield_now().await;
    }
    allowed
}
