//! Helpers that the tests share: limiters to test, polling, and the clock.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leasehold::store::{Instant, Store};
use leasehold::{Builder, Denial, KeyRef, Limiter, Reason, Tuning, Verdict, machine_nanos};

/// Longer than anything may take on the noisiest machine, and short enough to wait for once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A builder with one limit. Budget and leases are so long that a busy machine outlives neither.
pub(crate) fn one_limit(limit: &str) -> Builder {
    Limiter::builder()
        .limit("api", limit)
        .tuning(long_leases())
        .budget(PATIENCE)
        .call_timeout(PATIENCE)
        .shutdown_patience(PATIENCE)
}

fn long_leases() -> Tuning {
    let mut tuning = Tuning::default();
    tuning.lease_max = PATIENCE * 3;
    tuning.lease_min = tuning.lease_max;
    // A single caller at a time could otherwise not empty a bucket that fills fast.
    tuning.call_gap = Duration::from_millis(1);
    tuning
}

pub(crate) fn build(builder: Builder) -> Limiter {
    builder.build().unwrap_or_else(|error| panic!("{error}"))
}

/// A limiter with one limit and a store of its own.
pub(crate) fn alone(limit: &str) -> Limiter {
    build(one_limit(limit))
}

/// One of several limiters that share a store.
pub(crate) fn beside(limit: &str, store: impl Store) -> Limiter {
    build(one_limit(limit).store(store))
}

/// The time now, on the clock of limiters and stores.
pub(crate) fn clock() -> Instant {
    Instant::from_nanos(machine_nanos())
}

/// Asks until there is an answer.
///
/// # Panics
///
/// If there is none within [`PATIENCE`].
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let polled = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, polled).await;
    in_time.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Asks for a token of `key` until it is denied as exhausted; says how many there were.
pub(crate) async fn drain(limiter: &Limiter, key: KeyRef<'_>) -> u64 {
    let mut tokens = 0;
    loop {
        let verdict = limiter.acquire(key, 1).await;
        if !verdict.is_allowed() {
            assert_eq!(denial(verdict).reason, Reason::Exhausted);
            return tokens;
        }
        tokens += 1;
    }
}

/// The denial of a verdict that must not allow.
pub(crate) fn denial(verdict: Verdict) -> Denial {
    verdict
        .denial()
        .unwrap_or_else(|| panic!("allowed: {verdict:?}"))
}

/// Polls `future` once and drops it, as a caller does that goes away. Returns its output if it
/// had one already.
pub(crate) fn cancelled<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
