//! The state that the request path and the sync task share: the cache, the clock, the limits, the
//! counts, and whether the limiter still decides.

use std::future;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use leasehold_cache::Requests;
use leasehold_core::{Decided, Instant, Reason, Retry, Verdict};
use leasehold_sync::{NamedLimit, StoreStatus};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::clock::{Call, Clock, Waits};
use crate::health::{Health, HealthCell, TaskState};
use crate::names::Names;
use crate::stats::Counters;

/// The clock by which a limiter reads the time, and the runtime by whose timers it waits.
#[derive(Debug)]
pub(crate) struct Time {
    pub(crate) clock: Clock,
    /// Where the task runs. Its timers serve callers on any executor.
    pub(crate) runtime: Handle,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cache: Arc<Requests>,
    pub(crate) limits: Arc<[NamedLimit]>,
    pub(crate) names: Names,
    /// The state of the store that the sync task and the request path share.
    pub(crate) status: Arc<StoreStatus>,
    pub(crate) counters: Counters,
    pub(crate) health: HealthCell,
    /// Wakes the task: a key runs low.
    pub(crate) wake: Notify,
    pub(crate) shutdown_patience: Duration,
    time: Time,
    /// [`OPEN`] at first.
    phase: AtomicU8,
    /// Once the task has ended: the tokens that it did not give back.
    left: watch::Sender<Option<u64>>,
}

impl Shared {
    pub(crate) fn new(
        cache: Arc<Requests>,
        limits: Arc<[NamedLimit]>,
        names: Names,
        shutdown_patience: Duration,
        status: Arc<StoreStatus>,
        time: Time,
    ) -> Self {
        Self {
            cache,
            status,
            counters: Counters::new(&limits),
            health: HealthCell::default(),
            limits,
            names,
            wake: Notify::new(),
            shutdown_patience,
            time,
            phase: AtomicU8::new(OPEN),
            left: watch::Sender::new(None),
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.time.clock.now()
    }

    /// The time now for a request that is decided here: see [`Clock::now_approx`].
    #[inline]
    pub(crate) fn now_approx(&self) -> Instant {
        self.time.clock.now_approx()
    }

    /// The output of `work`, if it is there within `time`. The caller may run on any executor.
    pub(crate) async fn timeout<T>(
        &self,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let Time { clock, runtime } = &self.time;
        clock.timeout(runtime, time, work).await
    }

    /// The output of `work` for a call to the store, if it is there within `time`.
    pub(crate) async fn timeout_call<T>(
        &self,
        call: &Call,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let Time { clock, runtime } = &self.time;
        clock.timeout_call(call, runtime, time, work).await
    }

    /// See [`Clock::run_task`].
    pub(crate) async fn run_task<T>(&self, task: impl Future<Output = T>) -> T {
        self.time.clock.run_task(task).await
    }

    /// Waits until a time has come; for ever if there is none.
    pub(crate) async fn sleep_until(&self, at: Option<Instant>) {
        match at {
            Some(at) => {
                let time = at.since(self.now());
                self.time.clock.sleep(&self.time.runtime, time).await;
            }
            None => future::pending().await,
        }
    }

    /// A request waits, until what this returns is dropped.
    pub(crate) fn request(&self) -> Waits {
        self.time.clock.request()
    }

    /// See [`Clock::call`].
    pub(crate) fn call(&self) -> Call {
        self.time.clock.call()
    }

    /// See [`Clock::go_on`].
    pub(crate) async fn go_on(&self, somebody_waits: bool) {
        self.time.clock.go_on(somebody_waits).await;
    }

    /// Why the limiter decides nothing any more, if it does not.
    #[inline]
    pub(crate) fn closed(&self) -> Option<Reason> {
        if self.is_forked() {
            return Some(Reason::Forked);
        }
        match self.phase.load(Relaxed) {
            OPEN => None,
            SHUT_DOWN => Some(Reason::ShutDown),
            _ => Some(Reason::TaskEnded),
        }
    }

    /// Whether this process is a forked child of the one that built the limiter.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.time.clock.is_forked()
    }

    /// The denial of a request that the task let go of without a verdict.
    pub(crate) fn dropped(&self) -> Verdict {
        let (reason, retry_after) = match self.closed() {
            Some(reason) => (reason, Retry::Never),
            None => (Reason::TaskEnded, Retry::After(RESTARTED_SOON)),
        };
        Verdict::deny(Decided::Local, reason, retry_after)
    }

    /// From now on requests are denied: the limiter is shutting down.
    pub(crate) fn shut_down(&self) {
        self.phase.store(SHUT_DOWN, Relaxed);
    }

    /// The task has ended, with so many tokens not given back.
    pub(crate) fn end(&self, left: u64) {
        self.left.send_replace(Some(left));
    }

    /// The task ends without being told to, because its runtime ends: requests are denied from now
    /// on.
    pub(crate) fn end_early(&self) {
        let _ = (self.phase).compare_exchange(OPEN, ENDED, Relaxed, Relaxed);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.left.borrow().is_some()
    }

    /// Waits for the end of the task: the tokens that it did not give back.
    pub(crate) async fn ended(&self) -> u64 {
        let mut left = self.left.subscribe();
        let left = left.wait_for(Option::is_some).await;
        let left = left.expect("its sender lives as long as this");
        left.expect("it is waited for")
    }

    pub(crate) fn health(&self) -> Health {
        let task = match self.closed() {
            Some(Reason::Forked) => TaskState::Forked,
            Some(Reason::ShutDown) => TaskState::ShutDown,
            Some(_) => TaskState::Ended,
            None if self.health.is_restarting() => TaskState::Restarting,
            None => TaskState::Running,
        };
        let parts = self.status.partitions();
        self.health.read(task, parts, self.now())
    }
}

/// The phases of a limiter's life.
const OPEN: u8 = 0;
const SHUT_DOWN: u8 = 1;
/// The task's runtime has ended.
const ENDED: u8 = 2;

/// The wait that a request is told which was lost in a panic of the task: about the time that a
/// restart takes.
const RESTARTED_SOON: Duration = Duration::from_millis(10);
