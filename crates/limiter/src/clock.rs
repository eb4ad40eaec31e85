//! The one place that reads time.
//!
//! The clock counts while the machine is suspended (`CLOCK_BOOTTIME` on Linux): a replica that
//! wakes up finds its leases ended, as the store did. It is disciplined like the store's clock
//! is, so the two do not drift apart by more than either is wrong.
//!
//! Requests are told the time by the processor's counter, from a reading of that clock that is a few
//! milliseconds old at most, which takes a third of the time: see [`tsc_clock`]. Cheaper clocks there are,
//! and none that would do. `CLOCK_MONOTONIC_COARSE` stands still while the machine sleeps, and while the
//! one processor that keeps it is taken from a virtual machine. A time that a thread of this process
//! keeps for the others is an old one when the process wakes from a SIGSTOP, just when leases have ended:
//! `leasehold faults --only replica-paused` is there for whoever tries it.

mod counter;
mod process;
mod tsc_clock;

use leasehold_core::Instant;

use self::process::Process;
use self::tsc_clock::TscClock;

/// A monotonic clock whose origin is a second before it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_nanos: u64,
    /// Where the kernel trusts the counter.
    tsc: Option<&'static TscClock>,
    process: Process,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        // Here, and not in a request: it takes 2 ms.
        let process = Process::current(|| tsc_clock::calibrated(machine_nanos));
        Self {
            tsc: process.tsc(),
            process,
            origin_nanos: machine_nanos().saturating_sub(LEAD),
        }
    }

    /// The time now.
    #[inline]
    pub fn now(&self) -> Instant {
        self.since_origin(machine_nanos())
    }

    /// The time now for a request: what [`now`](Self::now) says, or up to 20 us later. In a forked
    /// child of the process in which the clock was started, a time after all deadlines.
    #[inline]
    pub(crate) fn now_approx(self) -> Instant {
        let counted = self.tsc.and_then(|tsc| tsc.at(counter::ticks()));
        self.since_origin(counted.unwrap_or_else(|| self.read()))
    }

    /// A reading of the machine's clock, for those that come soon after too.
    #[cold]
    fn read(self) -> u64 {
        if self.is_forked() {
            return u64::MAX;
        }
        if let Some(tsc) = self.tsc {
            tsc.renew(|| tsc_clock::read(machine_nanos, counter::ticks));
        }
        machine_nanos()
    }

    /// Whether this process is a forked child of the one in which the clock was started.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.process.is_forked()
    }

    #[inline]
    fn since_origin(self, nanos: u64) -> Instant {
        Instant::from_nanos(nanos.saturating_sub(self.origin_nanos))
    }
}

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
