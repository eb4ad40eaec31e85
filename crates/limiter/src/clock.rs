//! The one place that reads time.
//!
//! The clock counts while the machine is suspended (`CLOCK_BOOTTIME` on Linux): a replica that
//! wakes up finds its leases ended, as the store did. It is disciplined like the store's clock
//! is, so the two do not drift apart by more than either is wrong.
//!
//! Requests read the processor's counter and add it to a reading of that clock which is a few
//! milliseconds old at most. That takes a third of the time of a reading: see [`tsc_clock`].
//!
//! Two cheaper clocks are not safe. `CLOCK_MONOTONIC_COARSE` stands still while the machine sleeps,
//! and while the one processor that keeps it is taken from a virtual machine. A time that a thread
//! of this process keeps for the others is stale when the process wakes from a SIGSTOP, which is
//! just when leases have ended; `leasehold faults --only replica-paused` shows that fault.

mod counter;
mod process;
#[cfg(feature = "test-util")]
mod test_clock;
mod tsc_clock;

use std::time::Duration;

use leasehold_core::Instant;
use tokio::runtime::Handle;

use self::process::Process;
#[cfg(feature = "test-util")]
pub use self::test_clock::TestClock;
#[cfg(feature = "test-util")]
use self::test_clock::Whose;
use self::tsc_clock::TscClock;

/// A monotonic clock whose origin is a second before it was made.
///
/// Started in a tokio runtime whose time is paused, as in a test with `start_paused`, it tells that
/// runtime's time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Where the kernel trusts the counter, and the time is the machine's.
    tsc: Option<&'static TscClock>,
    origin_nanos: u64,
    process: Process,
    source: Source,
}

/// Whose time it is.
#[derive(Clone, Debug)]
enum Source {
    Machine,
    /// That of a runtime, which a test has paused.
    Paused {
        runtime: Handle,
        start: tokio::time::Instant,
    },
    /// That of a test.
    #[cfg(feature = "test-util")]
    Test(TestClock),
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        // Here, and not in a request: it takes 2 ms.
        let process = Process::current(|| tsc_clock::calibrated(machine_nanos));
        match paused_runtime() {
            Some(runtime) => {
                let start = tokio::time::Instant::now();
                Self::of(process, Source::Paused { runtime, start })
            }
            None => Self {
                tsc: process.tsc(),
                origin_nanos: machine_nanos().saturating_sub(LEAD),
                process,
                source: Source::Machine,
            },
        }
    }

    /// The clock of a test.
    #[cfg(feature = "test-util")]
    pub(crate) fn of_test(clock: &TestClock) -> Self {
        let process = Process::current(|| tsc_clock::calibrated(machine_nanos));
        Self::of(process, Source::Test(clock.clone()))
    }

    /// A clock that is not the machine's, so that each reading asks its source.
    const fn of(process: Process, source: Source) -> Self {
        Self {
            tsc: None,
            origin_nanos: 0,
            process,
            source,
        }
    }

    /// The time now.
    #[inline]
    pub fn now(&self) -> Instant {
        self.since_origin(self.nanos())
    }

    /// The time now for a request: what [`now`](Self::now) says, or up to 20 us later. In a forked
    /// child of the process in which the clock was started, a time after all deadlines.
    #[inline]
    pub(crate) fn now_approx(&self) -> Instant {
        let counted = self.tsc.and_then(|tsc| tsc.at(counter::ticks()));
        self.since_origin(counted.unwrap_or_else(|| self.read()))
    }

    /// A reading of the source, for those that come soon after too.
    #[cold]
    fn read(&self) -> u64 {
        if self.is_forked() {
            return u64::MAX;
        }
        if let Some(tsc) = self.tsc {
            tsc.renew(|| tsc_clock::read(machine_nanos, counter::ticks));
        }
        self.nanos()
    }

    fn nanos(&self) -> u64 {
        match &self.source {
            Source::Machine => machine_nanos(),
            Source::Paused { runtime, start } => {
                let _within = runtime.enter();
                let passed = tokio::time::Instant::now().duration_since(*start);
                LEAD + u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX / 2)
            }
            #[cfg(feature = "test-util")]
            Source::Test(clock) => clock.nanos(),
        }
    }

    /// Whether this process is a forked child of the one in which the clock was started.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.process.is_forked()
    }

    /// Waits until so much time of this clock has passed, on a timer of `runtime`.
    pub(crate) async fn sleep(&self, runtime: &Handle, time: Duration) {
        #[cfg(feature = "test-util")]
        if let Source::Test(clock) = &self.source {
            return clock.sleep(Whose::Task, time).await;
        }
        let sleep = {
            let _timers = runtime.enter();
            tokio::time::sleep(time)
        };
        sleep.await;
    }

    /// The output of `work`, if it is there within `time`, on a timer of `runtime`.
    pub(crate) async fn timeout<T>(
        &self,
        runtime: &Handle,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        #[cfg(feature = "test-util")]
        if let Source::Test(clock) = &self.source {
            return clock.timeout(Whose::Request, time, work).await;
        }
        let timeout = {
            let _timers = runtime.enter();
            tokio::time::timeout(time, work)
        };
        timeout.await.ok()
    }

    /// The output of `work` for a call to a store, if it is there within `time`.
    #[cfg_attr(
        not(feature = "test-util"),
        expect(unused_variables, reason = "for a test's clock")
    )]
    pub(crate) async fn timeout_call<T>(
        &self,
        call: &Call,
        runtime: &Handle,
        time: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        #[cfg(feature = "test-util")]
        if let Some(watched) = &call.watched {
            return watched.timeout(time, work).await;
        }
        self.timeout(runtime, time, work).await
    }

    /// Runs the task of a limiter: a test's clock stands still while it runs.
    pub(crate) async fn run_task<T>(&self, task: impl Future<Output = T>) -> T {
        #[cfg(feature = "test-util")]
        if let Source::Test(clock) = &self.source {
            return clock.run_task(task).await;
        }
        task.await
    }

    /// A request waits, until what this returns is dropped.
    #[cfg_attr(
        not(feature = "test-util"),
        expect(clippy::unused_self, reason = "for a test's clock")
    )]
    pub(crate) fn request(&self) -> Waits {
        Waits {
            #[cfg(feature = "test-util")]
            _request: match &self.source {
                Source::Test(clock) => Some(clock.request()),
                _ => None,
            },
        }
    }

    /// A task asks a store, from now until what this returns and its clones are dropped.
    #[cfg_attr(
        not(feature = "test-util"),
        expect(clippy::unused_self, reason = "for a test's clock")
    )]
    pub(crate) fn call(&self) -> Call {
        Call {
            #[cfg(feature = "test-util")]
            watched: match &self.source {
                Source::Test(clock) => Some(clock.call()),
                _ => None,
            },
        }
    }

    /// Moves a test's clock on if a request waits for it, or somebody else does; see
    /// `TestClock`. Any other clock goes on by itself, and this waits for ever.
    #[cfg_attr(
        not(feature = "test-util"),
        expect(unused_variables, reason = "for a test's clock")
    )]
    pub(crate) async fn go_on(&self, somebody_waits: bool) {
        #[cfg(feature = "test-util")]
        if let Source::Test(clock) = &self.source {
            return clock.go_on(somebody_waits).await;
        }
        std::future::pending::<()>().await;
    }

    #[inline]
    fn since_origin(&self, nanos: u64) -> Instant {
        Instant::from_nanos(nanos.saturating_sub(self.origin_nanos))
    }
}

/// A request that waits while this is there.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    #[cfg(feature = "test-util")]
    _request: Option<test_clock::RequestWaits>,
}

impl Waits {
    /// The request has its verdict.
    #[expect(clippy::unused_self, reason = "what it holds ends with it")]
    pub(crate) fn end(self) {}
}

/// A call to a store: a test's clock stands still until the task has handled what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    #[cfg(feature = "test-util")]
    watched: Option<test_clock::Call>,
}

/// The current runtime, if its time is paused: it stands still while the machine's goes on.
fn paused_runtime() -> Option<Handle> {
    let runtime = Handle::try_current().ok()?;
    let (paused, start) = (tokio::time::Instant::now(), machine_nanos());
    while machine_nanos() < start + NOTICED {
        std::hint::spin_loop();
    }
    (tokio::time::Instant::now() == paused).then_some(runtime)
}

/// A microsecond, in which every clock that goes on does so.
const NOTICED: u64 = 1000;

/// The machine's own reading, the same for all processes on it, in nanoseconds.
#[cfg(target_os = "linux")]
#[inline]
#[expect(clippy::cast_sign_loss, reason = "time since boot is not negative")]
pub fn machine_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The machine's own reading, in nanoseconds since the first call in this process.
#[cfg(not(target_os = "linux"))]
pub fn machine_nanos() -> u64 {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads time"
    )]
    let (now, first) = (
        std::time::Instant::now(),
        FIRST.get_or_init(std::time::Instant::now),
    );
    u64::try_from(now.duration_since(*first).as_nanos()).unwrap_or(u64::MAX)
}

/// Keeps the first readings away from the origin, which stands for "never" in places.
const LEAD: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_from_after_the_origin() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first > Instant::ORIGIN);
        assert!(second >= first);
    }

    #[test]
    fn a_request_is_never_told_an_earlier_time_and_hardly_a_later_one() {
        let clock = Clock::start();
        for _ in 0..1_000_000 {
            let before = clock.now();
            let told = clock.now_approx();
            let after = clock.now();
            assert!(told >= before);
            assert!(told.since(after) < core::time::Duration::from_micros(20));
        }
    }
}
