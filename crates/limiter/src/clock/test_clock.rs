//! A clock that stands still until a test moves it.
//!
//! # Invariant
//!
//! All that reads this clock waits by it too. A wait ends when the clock has reached its end, and
//! never before.

use std::collections::BTreeMap;
use std::future;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
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
}

#[derive(Debug)]
struct State {
    nanos: u64,
    /// Whom to wake, by when and in the order in which they came.
    sleepers: BTreeMap<(u64, u64), Waker>,
    next_sleeper: u64,
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
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    /// Waits until so much time has passed.
    pub(super) fn sleep(&self, time: Duration) -> Sleep {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Sleep {
            until: self.nanos().saturating_add(nanos),
            clock: self.clone(),
            sleeper: None,
        }
    }

    /// What comes of `work`, if it comes within `time`.
    pub(super) async fn timeout<T>(
        &self,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut sleep = std::pin::pin!(self.sleep(time));
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

    /// Moves the clock to the next time somebody waits for, once all that can run has run, if
    /// `somebody_waits` or a request does. Otherwise it waits for ever. While the store is `asked`,
    /// it is given a moment of real time to answer.
    pub(super) async fn go_on(&self, somebody_waits: bool, asked: bool) {
        let waits = || somebody_waits || self.0.requests.load(Relaxed) > 0;
        if !waits() {
            future::pending::<()>().await;
        }
        if asked {
            tokio::time::sleep(ANSWERED_WITHIN).await;
        } else {
            tokio::task::yield_now().await;
        }
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

/// A store in memory answers as soon as it is asked. What takes longer is a test of a store that is
/// slow or silent, and its timeouts are to come.
const ANSWERED_WITHIN: Duration = Duration::from_millis(20);

/// A request that waits while this is there.
#[derive(Debug)]
pub(crate) struct RequestWaits(TestClock);

impl Drop for RequestWaits {
    fn drop(&mut self) {
        self.0.0.requests.fetch_sub(1, Relaxed);
    }
}

/// Waits for a time of a test's clock.
#[derive(Debug)]
pub(super) struct Sleep {
    until: u64,
    clock: TestClock,
    sleeper: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.state();
        if state.nanos >= self.until {
            return Poll::Ready(());
        }
        let sleeper = *self.sleeper.get_or_insert_with(|| {
            state.next_sleeper += 1;
            state.next_sleeper
        });
        let waker = context.waker().clone();
        state.sleepers.insert((self.until, sleeper), waker);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(sleeper) = self.sleeper {
            self.clock.state().sleepers.remove(&(self.until, sleeper));
        }
    }
}
