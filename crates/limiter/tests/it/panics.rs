//! Stores that panic, and a background task that does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use leasehold::store::{Batch, Store, StoreFuture};
use leasehold::{Health, Limiter, MemoryStore, Mode, Reason, TaskState};

use crate::log::Log;
use crate::world::{beside, build, denial, drain, eventually, one_limit};

const LIMIT: &str = "1/h burst 1000";

/// A store that panics when it is told to.
#[derive(Default)]
struct Panics {
    memory: MemoryStore,
    /// When asked.
    exchange: AtomicBool,
    /// When its task asks how many parts it has, which it does when the store goes away.
    task: AtomicBool,
}

impl Store for Panics {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        assert!(!self.exchange.load(Relaxed), "the store is out of order");
        self.memory.exchange(batch)
    }

    fn partitions(&self) -> u32 {
        assert!(!self.task.load(Relaxed), "no parts are known");
        1
    }

    fn round_trips(&self) -> u64 {
        self.memory.round_trips()
    }
}

/// Holds tokens of Alice's from now on; says how many were leased.
async fn lease(limiter: &Limiter) -> u64 {
    eventually("something is held", async || {
        if limiter.try_acquire("alice", 1).is_allowed() {
            return Some(limiter.stats().tokens.granted);
        }
        let _ = limiter.try_acquire("alice", 100);
        None
    })
    .await
}

#[tokio::test]
async fn a_store_that_panics_is_one_that_does_not_answer() {
    for mode in [Mode::Lease, Mode::Central] {
        let store = Arc::new(Panics::default());
        let builder = one_limit(LIMIT).store(Arc::clone(&store)).mode(mode);
        let limiter = build(builder.budget(Duration::from_millis(500)));
        store.exchange.store(true, Relaxed);
        let verdict = limiter.acquire("alice", 1).await;
        let reason = denial(verdict).reason;
        assert!(
            matches!(reason, Reason::StoreUnavailable | Reason::BudgetSpent),
            "{verdict:?}"
        );
        store.exchange.store(false, Relaxed);
        eventually("it answers again", async || {
            limiter.acquire("alice", 1).await.is_allowed().then_some(())
        })
        .await;
        assert_eq!(limiter.health().panics, 0, "the task did not");
    }
}

/// It was gone for good, and nobody heard of it.
#[tokio::test]
async fn a_panic_of_the_background_task_is_reported_and_the_task_begins_anew() {
    let log = Log::new();
    let _logged = log.listen();
    let store = Arc::new(Panics::default());
    let limiter = build(one_limit(LIMIT).store(Arc::clone(&store)));
    let held = lease(&limiter).await;
    let mut handle = limiter.handle("alice");
    assert!(handle.try_acquire(1).is_allowed());
    let health = panic(&limiter, &store).await;
    assert_eq!(health.last_panic.as_deref(), Some("no parts are known"));
    let lines = log.lines();
    let reported = |line: &&String| line.contains("ERROR") && line.contains("no parts are known");
    assert_eq!(lines.iter().filter(reported).count(), 1, "{lines:?}");

    store.task.store(false, Relaxed);
    store.exchange.store(false, Relaxed);
    eventually("it is at work again", async || {
        (limiter.health().task == TaskState::Running).then_some(())
    })
    .await;
    assert!(
        !limiter
            .try_acquire("alice", u32::try_from(held).unwrap() - 1)
            .is_allowed(),
        "what it held is gone"
    );
    assert!(
        !handle
            .try_acquire(u32::try_from(held).unwrap() - 1)
            .is_allowed(),
        "for handles too"
    );
    // What was leased is not granted twice: the store counts it until the lease ends.
    let bound = 1000 - held;
    let admitted = drain(&limiter, "alice".into()).await;
    assert!(
        admitted <= bound,
        "{admitted} of {bound} that were not leased"
    );
    assert!(
        admitted >= bound / 2,
        "{admitted} of {bound} that were not leased"
    );
    let tokens = limiter.stats().tokens;
    assert!(
        tokens.granted >= held + admitted,
        "counts go on: {tokens:?}"
    );
    assert!(limiter.health().is_good(), "{:?}", limiter.health());
    limiter.shutdown().await.expect("the store answers");
    let next = beside(LIMIT, Arc::clone(&store));
    assert!(next.peek("alice").await.is_ok());
}

#[tokio::test]
async fn a_task_that_panics_again_and_again_is_restarted_at_its_leisure() {
    let log = Log::new();
    let _logged = log.listen();
    let store = Arc::new(Panics::default());
    let limiter = build(
        one_limit(LIMIT)
            .store(Arc::clone(&store))
            .budget(Duration::from_millis(20)),
    );
    for panics in 1..=4 {
        let health = panic(&limiter, &store).await;
        assert!(health.panics >= panics, "{health:?}");
    }
    store.task.store(false, Relaxed);
    store.exchange.store(false, Relaxed);
    eventually("it is at work again", async || {
        limiter.acquire("bob", 1).await.is_allowed().then_some(())
    })
    .await;
}

/// Makes the task panic once more, and says how the limiter is then.
async fn panic(limiter: &Limiter, store: &Panics) -> Health {
    let before = limiter.health().panics;
    store.exchange.store(true, Relaxed);
    store.task.store(true, Relaxed);
    let mut user = 0;
    eventually("the task panics", async || {
        user += 1;
        // In the background: whoever waits when it panics is told so.
        let _ = limiter.try_acquire(format!("user:{user}"), 1);
        let health = limiter.health();
        (health.panics > before).then_some(health)
    })
    .await
}

#[tokio::test]
async fn who_waits_when_the_task_panics_is_told_to_come_back() {
    let store = Arc::new(Panics::default());
    let limiter = build(one_limit(LIMIT).store(Arc::clone(&store)));
    store.exchange.store(true, Relaxed);
    store.task.store(true, Relaxed);
    let verdict = limiter.acquire("alice", 1).await;
    let denial = denial(verdict);
    assert_eq!(denial.reason, Reason::TaskEnded);
    assert!(denial.retry.wait().is_some());
}
