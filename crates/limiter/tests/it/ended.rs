//! A limiter whose background task is not there any more, or cannot be.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use leasehold::{BuildError, Limiter, MemoryStore, Mode, NotReleased, Reason, Retry, TaskState};
use tokio::runtime::Runtime;

use crate::fault_store::{Fault, FaultStore};
use crate::world::{PATIENCE, alone, beside, build, clock, denial, eventually, one_limit};

const LIMIT: &str = "1/h burst 1000";

fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads.max(1)).enable_time();
    builder.build().expect("a runtime")
}

/// A limiter that holds tokens of Alice's, and how many.
async fn leased(limiter: &Limiter) -> u64 {
    eventually("something is held", async || {
        let _ = limiter.try_acquire("alice", 100);
        let held = limiter.stats().tokens.held();
        (held > 0).then_some(held)
    })
    .await
}

#[test]
fn a_runtime_without_timers_is_refused() {
    for mut builder in [
        tokio::runtime::Builder::new_current_thread(),
        tokio::runtime::Builder::new_multi_thread(),
    ] {
        let runtime = builder.build().expect("a runtime");
        let limit = LIMIT;
        let built = runtime.block_on(async { Limiter::builder().limit("api", limit).build() });
        let error = built.expect_err("it cannot wait");
        assert_eq!(error, BuildError::NoTimers);
        assert!(error.to_string().contains("enable_time"), "{error}");
    }
}

#[test]
fn a_runtime_that_has_ended_is_refused() {
    for threads in [0, 2] {
        let ended = runtime(threads);
        let handle = ended.handle().clone();
        drop(ended);
        let _within = handle.enter();
        let built = Limiter::builder().limit("api", LIMIT).build();
        let error = built.expect_err("its task would never run");
        assert_eq!(error, BuildError::RuntimeEnded);
    }
}

/// It said "not leased, come back in 10 ms" for ever, and a shut-down said that all was given back.
#[test]
fn after_its_runtime_a_limiter_says_so_and_owns_up_to_what_it_held() {
    for threads in [0, 2] {
        let runtime = runtime(threads);
        let (limiter, held) = runtime.block_on(async {
            let limiter = alone(LIMIT);
            let held = leased(&limiter).await;
            (limiter, held)
        });
        let mut handle = limiter.handle("alice");
        assert!(handle.try_acquire(0).is_allowed());
        drop(runtime);
        let all = [("alice", 1), ("bob", 1)];
        let verdicts = [
            limiter.try_acquire("alice", 1),
            limiter.try_acquire("bob", 1),
            limiter.try_acquire_all(&all),
            handle.try_acquire(1),
            block_on(limiter.acquire("alice", 1)),
            block_on(limiter.acquire("bob", 1)),
            block_on(limiter.acquire_all(&all)),
            block_on(handle.acquire(1)),
        ];
        for verdict in verdicts {
            let denial = denial(verdict);
            assert_eq!(
                (denial.reason, denial.retry),
                (Reason::TaskEnded, Retry::Never)
            );
        }
        assert_eq!(limiter.health().task, TaskState::Ended);
        assert!(!limiter.health().is_good());
        for _ in 0..2 {
            let left = block_on(limiter.shutdown()).expect_err("nobody gave anything back");
            assert_eq!(left, NotReleased { tokens: held });
        }
        assert!(block_on(limiter.peek("alice")).is_err());
    }
}

#[test]
fn who_waits_when_the_runtime_ends_is_told() {
    for threads in [0, 2] {
        let runtime = runtime(threads);
        let limiter = runtime.block_on(async { beside(LIMIT, FaultStore::new(Fault::Silent)) });
        let asked = limiter.clone();
        let waiting = thread::scope(|scope| {
            let waiting = scope.spawn(move || block_on(asked.acquire("alice", 1)));
            runtime.block_on(eventually("the store is asked", async || {
                (limiter.stats().batches > 0).then_some(())
            }));
            drop(runtime);
            waiting.join().expect("no panic")
        });
        assert_eq!(denial(waiting).reason, Reason::TaskEnded);
    }
}

/// Its timeout was tokio's, which panics elsewhere.
#[test]
fn requests_may_come_from_any_executor() {
    let runtime = runtime(2);
    let limiter = {
        let _within = runtime.enter();
        alone(LIMIT)
    };
    assert!(block_on(limiter.acquire("alice", 1)).is_allowed());
    assert!(block_on(limiter.acquire_all(&[("alice", 1)])).is_allowed());
    assert!(block_on(limiter.handle("bob").acquire(1)).is_allowed());
    assert!(block_on(limiter.peek("alice")).is_ok());
    block_on(limiter.shutdown()).expect("the store answers");

    let silent = FaultStore::new(Fault::Silent);
    for mode in [Mode::Lease, Mode::Central] {
        let builder = one_limit(LIMIT).store(Arc::clone(&silent)).mode(mode);
        let limiter = {
            let _within = runtime.enter();
            build(builder.budget(Duration::from_millis(20)))
        };
        let verdict = block_on(limiter.acquire("alice", 1));
        assert!(denial(verdict).retry.wait().is_some(), "{verdict:?}");
    }
}

/// The second was told that all was done while the first still gave back.
#[tokio::test]
async fn all_who_ask_for_the_end_hear_the_same_whenever_they_ask() {
    let store = Arc::new(MemoryStore::new());
    let slow = FaultStore::before(Arc::clone(&store), Fault::None);
    let limiter = beside(LIMIT, Arc::clone(&slow));
    leased(&limiter).await;
    slow.set(Fault::Slow(Duration::from_millis(100)));
    let first = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.shutdown().await }
    });
    eventually("it shuts down", async || {
        (limiter.health().task == TaskState::ShutDown).then_some(())
    })
    .await;
    limiter.shutdown().await.expect("the store answers");
    let other = beside(LIMIT, store);
    let peek = other.peek("alice").await.expect("the store answers");
    assert_eq!(peek.outstanding, 0, "it is done when the second hears so");
    first.await.expect("no panic").expect("the store answers");
    limiter.shutdown().await.expect("and whoever asks later");
}

#[test]
fn a_runtime_that_nobody_drives_is_seen() {
    let runtime = runtime(0);
    let limiter = runtime.block_on(async {
        let limiter = alone("1000/s");
        leased(&limiter).await;
        assert!(limiter.health().is_good(), "{:?}", limiter.health());
        limiter
    });
    let start = clock();
    let health = loop {
        let health = limiter.health();
        if health.overdue > Duration::from_secs(1) {
            break health;
        }
        assert!(clock().since(start) < PATIENCE, "{health:?}");
        thread::park_timeout(Duration::from_millis(50));
    };
    assert!(!health.is_good());
    assert_eq!(health.task, TaskState::Running);
}

/// An executor that knows nothing of tokio.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
