//! How much is admitted, at full speed and whatever happens to answers: never more than
//! `burst + rate * time`, and nearly all of that.

use std::sync::Arc;
use std::time::Duration;

use leasehold::store::{Instant, Store};
use leasehold::{Decided, Limiter, MemoryStore, Reason, Tuning};
use tokio::task::JoinSet;

use crate::fault_store::{Fault, FaultStore};
use crate::world::{build, clock, one_limit};

const LIMIT: &str = "20000/s";
const BURST: u64 = 20_000;
const RATE: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn two_limiters_admit_the_limit_and_no_more() {
    let store = Arc::new(MemoryStore::new());
    let limiters = [(); 2].map(|()| limiter(Arc::clone(&store)));
    judge(&storm(&limiters).await, 75);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_limiters_admit_the_limit_and_no_more() {
    let store = Arc::new(MemoryStore::new());
    let limiters = [(); 4].map(|()| limiter(Arc::clone(&store)));
    judge(&storm(&limiters).await, 75);
}

#[tokio::test]
async fn two_limiters_on_one_thread_admit_the_limit_and_no_more() {
    let store = Arc::new(MemoryStore::new());
    let limiters = [(); 2].map(|()| limiter(Arc::clone(&store)));
    judge(&storm(&limiters).await, 75);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_does_not_make_more_tokens() {
    let store = Arc::new(MemoryStore::new());
    let slow = Fault::Slow(Duration::from_millis(20));
    let limiters = [(); 3].map(|()| limiter(FaultStore::before(Arc::clone(&store), slow)));
    judge(&storm(&limiters).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_do_not_make_more_tokens() {
    let store = Arc::new(MemoryStore::new());
    let lossy = Fault::LosesAnswers;
    let limiters = [(); 3].map(|()| limiter(FaultStore::before(Arc::clone(&store), lossy)));
    // Each lost answer is waited out, so how much is admitted says little.
    judge(&storm(&limiters).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_key_is_decided_here() {
    let limiter = build(one_limit("1000000/s"));
    let storm = storm(std::slice::from_ref(&limiter)).await;
    let stats = limiter.stats();
    let message = format!("{storm:?} {stats:?}");
    // Four batches a second are due, and a thousand times as many requests get through.
    assert!(storm.local > 50 * stats.batches, "{message}");
}

fn limiter(store: impl Store) -> Limiter {
    build(one_limit(LIMIT).tuning(Tuning::default()).store(store))
}

/// The counts of a time in which everybody asked as fast as they could.
#[derive(Debug, Default)]
struct Storm {
    asked: u64,
    admitted: u64,
    /// Decided without the store.
    local: u64,
    elapsed: Duration,
    /// Time in which the machine let nobody act.
    stalled: Duration,
}

/// A second of requests for one key, by two tasks for each limiter.
async fn storm(limiters: &[Limiter]) -> Storm {
    let start = clock();
    let end = start + Duration::from_secs(1);
    let mut tasks = JoinSet::new();
    for limiter in limiters.iter().chain(limiters) {
        tasks.spawn(ask(limiter.clone(), end));
    }
    let stalled = tokio::spawn(watch(end));
    let mut storm = Storm::default();
    for task in tasks.join_all().await {
        storm.asked += task.asked;
        storm.admitted += task.admitted;
        storm.local += task.local;
    }
    storm.elapsed = clock().since(start);
    storm.stalled = stalled.await.expect("no panic");
    storm
}

/// How much later than it wanted a task acted that, like those of the limiters, awaits a timer.
async fn watch(end: Instant) -> Duration {
    let step = Duration::from_millis(10);
    let mut stalled = Duration::ZERO;
    loop {
        let before = clock();
        if before >= end {
            return stalled;
        }
        tokio::time::sleep(step).await;
        stalled += clock().since(before).saturating_sub(step * 2);
    }
}

async fn ask(limiter: Limiter, end: Instant) -> Storm {
    let mut storm = Storm::default();
    while clock() < end {
        let verdict = limiter.acquire("alice", 1).await;
        storm.asked += 1;
        storm.admitted += u64::from(verdict.is_allowed());
        storm.local += u64::from(verdict.decided() == Decided::Local);
        let denial = verdict.denial();
        if denial.is_some_and(|denial| denial.reason != Reason::Exhausted) {
            assert_eq!(verdict.decided(), Decided::Fallback, "{verdict:?}");
        }
        // A decision made here does not await, and others want this thread.
        if storm.asked % 16 == 0 || denial.is_some() {
            tokio::task::yield_now().await;
        }
    }
    storm
}

fn judge(storm: &Storm, percent: u64) {
    // The store's clock counts microseconds, begun ones at either end.
    let due = due(storm.elapsed + Duration::from_micros(2));
    assert!(storm.admitted <= due, "at most {due}: {storm:?}");
    let due = due_to(storm, percent);
    assert!(storm.admitted >= due, "at least {due}: {storm:?}");
}

fn due(time: Duration) -> u64 {
    BURST + RATE * u64::try_from(time.as_micros()).expect("seconds") / 1_000_000
}

/// A program that may run for a part of the time only gets that part.
fn due_to(storm: &Storm, percent: u64) -> u64 {
    let acted = storm.elapsed.saturating_sub(storm.stalled);
    let due = due(acted) - if acted < storm.elapsed / 2 { BURST } else { 0 };
    due.min(storm.asked) * percent / 100
}
