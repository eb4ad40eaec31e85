//! A clock that stands still until a test moves it.
//!
//! # Invariant
//!
//! All that reads this clock waits by it too. A wait ends when the clock has reached its end, and
//! never before.
//!
//! The clock goes on by itself only when nothing is left to run at the time that it shows: no task
//! that it woke, and no call whose answer the task has yet to handle. On several threads a limiter
//! would otherwise move the clock past what another one has not come to.

use std::collections::BTreeMap;
use std::future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::LEAD;

/// A clock that stands still until a test moves it, for limiters and their embedded stores.
///
/// Give it to [`Builder::clock`](crate::Builder::clock) and, if limiters share a store, to
/// [`MemoryStore::with_clock`](crate::MemoryStore::with_clock). Clones are the same clock. Works on
/// any tokio runtime, in real time or paused.
///
/// One thing moves the clock besides the test: a request that waits. It waits for the next batch to
/// the store, which goes some milliseconds later, so while a request waits the clock goes on from
/// one such time to the next.
///
/// # Examples
///
/// A hundred a minute: use them up, move the clock by a minute, and there are a hundred more.
///
/// ```
/// use std::time::Duration;
/// use leasehold::{Limiter, test::TestClock};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = TestClock::new();
/// let limiter = Limiter::builder().limit("api", "100/min").clock(&clock).build()?;
/// for minute in 0..3 {
///     for request in 0..100 {
///         assert!(limiter.acquire("user:42", 1).await.is_allowed(), "{minute}, {request}");
///     }
///     assert!(!limiter.acquire("user:42", 1).await.is_allowed(), "{minute}");
///     clock.advance(Duration::from_secs(60));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Requests that wait for a verdict.
    requests: AtomicUsize,
    /// Tasks that run, tasks that were woken and have not run since, and calls that a task has to
    /// run or to handle.
    runnable: AtomicUsize,
    /// Calls that wait for their store.
    asked: AtomicUsize,
}

#[derive(Debug)]
struct State {
    nanos: u64,
    /// Whom to wake, by when and in the order in which they came.
    sleepers: BTreeMap<(u64, u64), Sleeper>,
    next_sleeper: u64,
}

#[derive(Debug)]
struct Sleeper {
    whose: Whose,
    waker: Waker,
}

/// On whose behalf somebody waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whose {
    /// A request waits, which its caller may leave aside: the clock goes on without it.
    Request,
    /// A limiter's task waits. It runs as soon as it is woken, and before the clock goes on.
    Task,
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TestClock {
    /// A clock that stands at its start.
    pub fn new() -> Self {
        let state = State {
            nanos: LEAD,
            sleepers: BTreeMap::new(),
            next_sleeper: 0,
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            requests: AtomicUsize::new(0),
            runnable: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        }))
    }

    /// Time passed since the clock was made.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.nanos() - LEAD)
    }

    /// Moves the clock, and wakes whoever waits for a time that has come. They run when the test
    /// next awaits something: [`acquire`](crate::Limiter::acquire) waits for them if need be, and
    /// [`try_acquire`](crate::Limiter::try_acquire) goes by what they have done so far.
    pub fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let to = self.nanos().saturating_add(nanos);
        self.advance_to(to);
    }

    pub(super) fn nanos(&self) -> u64 {
        self.state().nanos
    }

    fn advance_to(&self, nanos: u64) {
        let mut state = self.state();
        state.nanos = state.nanos.max(nanos);
        let after = state.nanos.saturating_add(1);
        let later = state.sleepers.split_off(&(after, 0));
        let due = std::mem::replace(&mut state.sleepers, later);
        let tasks = (due.values()).filter(|sleeper| sleeper.whose == Whose::Task);
        self.0.runnable.fetch_add(tasks.count(), Relaxed);
        drop(state);
        for sleeper in due.into_values() {
            sleeper.waker.wake();
        }
    }

    /// Waits until so much time has passed.
    pub(super) fn sleep(&self, whose: Whose, time: Duration) -> Sleep {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Sleep {
            until: self.nanos().saturating_add(nanos),
            whose,
            clock: self.clone(),
            sleeper: None,
        }
    }

    /// The output of `work`, if it is there within `time`.
    pub(super) async fn timeout<T>(
        &self,
        whose: Whose,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut sleep = std::pin::pin!(self.sleep(whose, time));
        let mut work = std::pin::pin!(work);
        future::poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            sleep.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// A request waits, until what this returns is dropped.
    pub(super) fn request(&self) -> RequestWaits {
        self.0.requests.fetch_add(1, Relaxed);
        RequestWaits(self.clone())
    }

    /// Runs a limiter's task, and counts when it runs.
    pub(super) async fn run_task<T>(&self, task: impl Future<Output = T>) -> T {
        let mut task = std::pin::pin!(task);
        future::poll_fn(|context| {
            let _runs = Counted::new(&self.0.runnable);
            task.as_mut().poll(context)
        })
        .await
    }

    /// A limiter's task is about to ask its store.
    pub(super) fn call(&self) -> Call {
        self.0.runnable.fetch_add(1, Relaxed);
        Call(Arc::new(CallState {
            clock: self.clone(),
            waits: AtomicBool::new(false),
        }))
    }

    /// Moves the clock to the next time that something waits for, once all that can run has run, if
    /// `somebody_waits` or a request does. Otherwise it waits for ever. A task awaits this.
    pub(super) async fn go_on(&self, somebody_waits: bool) {
        let waits = || somebody_waits || self.0.requests.load(Relaxed) > 0;
        if !waits() {
            future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        // The task that awaits this runs.
        until_at_most(1, &self.0.runnable, RUNS_WITHIN_MS).await;
        until_at_most(0, &self.0.asked, ANSWERED_WITHIN_MS).await;
        until_at_most(1, &self.0.runnable, RUNS_WITHIN_MS).await;
        let next = self.state().sleepers.first_key_value().map(|(at, _)| at.0);
        if let Some(next) = next.filter(|_| waits()) {
            self.advance_to(next);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until `count` is at most `most`, for at most so many milliseconds of real time.
async fn until_at_most(most: usize, count: &AtomicUsize, millis: u32) {
    for _ in 0..millis {
        if count.load(Relaxed) <= most {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Something that counts while this is there.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A request that waits while this is there.
#[derive(Debug)]
pub(crate) struct RequestWaits(TestClock);

impl Drop for RequestWaits {
    fn drop(&mut self) {
        self.0.0.requests.fetch_sub(1, Relaxed);
    }
}

/// A call to a store, from when a task means to send it until the task has handled what came of it:
/// clones of this are the same call, which ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<CallState>);

#[derive(Debug)]
struct CallState {
    clock: TestClock,
    /// For its store; otherwise it can run.
    waits: AtomicBool,
}

impl Call {
    /// The output of `work`, if it is there within `time`. Notes when the call waits for what only
    /// the store can do.
    pub(super) async fn timeout<T>(
        &self,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let work = self.0.clock.timeout(Whose::Task, time, work);
        let mut work = std::pin::pin!(work);
        future::poll_fn(|context| {
            self.0.set_waits(false);
            let output = work.as_mut().poll(context);
            self.0.set_waits(output.is_pending());
            output
        })
        .await
    }
}

impl CallState {
    fn set_waits(&self, waits: bool) {
        if self.waits.swap(waits, Relaxed) == waits {
            return;
        }
        let Inner {
            runnable, asked, ..
        } = &*self.clock.0;
        let (more, less) = if waits {
            (asked, runnable)
        } else {
            (runnable, asked)
        };
        more.fetch_add(1, Relaxed);
        less.fetch_sub(1, Relaxed);
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        self.set_waits(false);
        self.clock.0.runnable.fetch_sub(1, Relaxed);
    }
}

/// Waits for a time of a test's clock.
#[derive(Debug)]
pub(super) struct Sleep {
    until: u64,
    whose: Whose,
    clock: TestClock,
    sleeper: Option<u64>,
}

impl Sleep {
    /// The wait has ended: nobody wakes it any more, or it runs now that it was woken.
    fn end(&mut self, state: &mut State) {
        let Some(sleeper) = self.sleeper.take() else {
            return;
        };
        let is_woken = state.sleepers.remove(&(self.until, sleeper)).is_none();
        if is_woken && self.whose == Whose::Task {
            self.clock.0.runnable.fetch_sub(1, Relaxed);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.state();
        if state.nanos >= self.until {
            self.end(&mut state);
            return Poll::Ready(());
        }
        let number = *self.sleeper.get_or_insert_with(|| {
            state.next_sleeper += 1;
            state.next_sleeper
        });
        let sleeper = Sleeper {
            whose: self.whose,
            waker: context.waker().clone(),
        };
        state.sleepers.insert((self.until, number), sleeper);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let clock = self.clock.clone();
        self.end(&mut clock.state());
    }
}

/// A store in memory answers as soon as it is asked. A store that takes longer is slow or silent,
/// and its test waits for a timeout.
const ANSWERED_WITHIN_MS: u32 = 20;

/// On a busy machine a thread may wait so long for its turn. What has not run by then is stuck, and
/// so would the test be.
const RUNS_WITHIN_MS: u32 = 1000;
