//! The end of a limiter: what it leased goes back.

use std::sync::Arc;
use std::time::Duration;

use leasehold::{Decided, Limiter, MemoryStore, Reason, Retry};
use tokio::task::JoinSet;

use crate::fault_store::{Fault, FaultStore};
use crate::world::{beside, build, clock, denial, drain, eventually, one_limit};

const LIMIT: &str = "1/h burst 1000";

/// Spends until tokens are held beyond those spent; says how many were spent.
async fn lease(limiter: &Limiter) -> u32 {
    let mut spent = 0;
    eventually("something is held", async || {
        spent += u32::from(limiter.acquire("alice", 1).await.is_allowed());
        (limiter.try_acquire("alice", 0).is_allowed() && limiter.stats().tokens.held() > 0)
            .then_some(())
    })
    .await;
    spent
}

#[tokio::test]
async fn what_was_leased_is_there_for_the_next_at_once() {
    handed_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_leased_is_there_for_the_next_at_once_on_several_threads() {
    handed_over().await;
}

async fn handed_over() {
    let store = Arc::new(MemoryStore::new());
    let one = beside(LIMIT, Arc::clone(&store));
    let spent = lease(&one).await;
    one.shutdown().await.expect("the store answers");
    assert_eq!(one.stats().tokens.held(), 0);

    let next = beside(LIMIT, store);
    let verdict = next.acquire("alice", 1000 - spent).await;
    assert!(verdict.is_allowed(), "{spent} were spent: {verdict:?}");
    assert_eq!(drain(&next, "alice".into()).await, 0);
}

#[tokio::test]
async fn who_comes_after_the_end_is_told() {
    let limiter = beside(LIMIT, MemoryStore::new());
    lease(&limiter).await;
    limiter.shutdown().await.expect("the store answers");
    let verdicts = [
        limiter.acquire("alice", 1).await,
        limiter.try_acquire("alice", 1),
        limiter.acquire("bob", 1).await,
        limiter.try_acquire("bob", 1),
        limiter.acquire_all(&[("alice", 1)]).await,
        limiter.try_acquire_all(&[("alice", 1)]),
    ];
    for verdict in verdicts {
        assert_eq!(denial(verdict).reason, Reason::ShutDown);
        assert_eq!(verdict.decided(), Decided::Local);
        assert_eq!(denial(verdict).retry, Retry::Never);
    }
    limiter
        .shutdown()
        .await
        .expect("a second time does nothing");
}

#[tokio::test]
async fn who_waits_at_the_end_is_told() {
    let silent = FaultStore::new(Fault::Silent);
    let builder = one_limit(LIMIT).store(silent);
    let limiter = build(builder.shutdown_patience(Duration::from_millis(50)));
    let mut waiting = JoinSet::new();
    for user in 0..20 {
        let limiter = limiter.clone();
        waiting.spawn(async move { limiter.acquire(&format!("user:{}", user / 2), 1).await });
    }
    eventually("the store is asked", async || {
        (limiter.stats().batches > 0).then_some(())
    })
    .await;
    limiter.shutdown().await.expect("nothing was granted");
    for verdict in waiting.join_all().await {
        assert_eq!(denial(verdict).reason, Reason::ShutDown);
    }
}

/// The second to ask was told that all is done as soon as the first had asked.
#[tokio::test]
async fn everybody_who_asks_for_the_end_hears_of_it_when_it_has_come() {
    let store = Arc::new(MemoryStore::new());
    let slow = FaultStore::before(Arc::clone(&store), Fault::Slow(Duration::from_millis(50)));
    let limiter = beside(LIMIT, slow);
    lease(&limiter).await;
    let other = beside(LIMIT, store);
    let outstanding = async move || other.peek("alice").await.map(|peek| peek.outstanding);
    assert!(outstanding().await.expect("the store answers") > 0);
    let mut shutdowns = JoinSet::new();
    for _ in 0..3 {
        let (limiter, outstanding) = (limiter.clone(), outstanding.clone());
        shutdowns.spawn(async move {
            let ended = limiter.shutdown().await;
            (ended, outstanding().await.expect("the store answers"))
        });
    }
    for (ended, outstanding) in shutdowns.join_all().await {
        ended.expect("the store answers");
        assert_eq!(outstanding, 0);
    }
}

#[tokio::test]
async fn the_last_clone_to_go_gives_back_too() {
    let store = Arc::new(MemoryStore::new());
    let one = beside(LIMIT, Arc::clone(&store));
    let spent = lease(&one).await;
    let clone = one.clone();
    drop(one);
    assert!(clone.acquire("bob", 1).await.is_allowed(), "one is left");
    drop(clone);

    let next = beside(LIMIT, store);
    eventually("what was leased is back", async || {
        let peek = next.peek("alice").await.expect("the store answers");
        (peek.outstanding == 0).then_some(())
    })
    .await;
    // Not after the lease time, when it would have been charged.
    assert!(next.acquire("alice", 1000 - spent).await.is_allowed());
}

#[tokio::test]
async fn a_store_that_is_gone_is_waited_for_with_patience() {
    for fault in [Fault::Silent, Fault::Fails] {
        let store = FaultStore::new(Fault::None);
        let patience = Duration::from_millis(200);
        let builder = one_limit(LIMIT).store(Arc::clone(&store));
        let limiter = build(builder.shutdown_patience(patience));
        lease(&limiter).await;
        store.set(fault);
        let start = clock();
        let both = tokio::join!(limiter.shutdown(), limiter.shutdown());
        let left = both.0.expect_err("nobody confirms");
        assert_eq!(both.1, Err(left), "whoever asks is told");
        let waited = clock().since(start);
        assert!(waited >= patience && waited < patience * 10, "{waited:?}");
        assert!(left.tokens > 0);
        assert!(
            left.to_string()
                .starts_with(&format!("{} tokens", left.tokens))
        );
    }
}

#[tokio::test]
async fn a_store_that_comes_back_in_time_gets_all() {
    let memory = Arc::new(MemoryStore::new());
    let store = FaultStore::before(Arc::clone(&memory), Fault::None);
    let limiter = beside(LIMIT, Arc::clone(&store));
    let spent = lease(&limiter).await;
    store.set(Fault::Fails);
    let failed = limiter.stats().failed_batches;
    let ended = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.shutdown().await }
    });
    eventually("the store has failed", async || {
        (limiter.stats().failed_batches > failed).then_some(())
    })
    .await;
    store.set(Fault::None);
    ended.await.expect("no panic").expect("all is back");
    let next = beside(LIMIT, memory);
    assert!(next.acquire("alice", 1000 - spent).await.is_allowed());
}
