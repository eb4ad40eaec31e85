//! The time between two readings of the machine's clock, from the processor's counter.
//!
//! # Invariant
//!
//! A time told here is never before the machine's own, and at most [`AHEAD`] and what the counter
//! gains in [`SPAN`] after it. Ahead is the safe side: a lease ends early, never late.
//!
//! A reading of the machine's clock is good for [`SPAN`], counted in ticks; then whoever comes next
//! takes another. So nobody keeps the time for anybody: a process that was stopped finds that its
//! last reading is too old, as does one whose machine slept while the counter ran on, and if the
//! counter began anew, it stands before the reading. What is left is a counter that stops while the
//! machine sleeps and goes on where it was: that is told late, for [`SPAN`] at most, until the next
//! reading finds the counter slow, and then never again by the counter.
//!
//! # Orderings
//!
//! `good_until` is stored with `Release` after `offset`, and loaded with `Acquire` before it: who
//! sees until when a reading is good sees that reading, or a later one.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::counter;

/// Tells the time by the counter, from readings of a dearer clock.
#[derive(Debug)]
pub(super) struct TscClock {
    first: Reading,
    /// Nanoseconds a tick, times 2^32.
    rate: u64,
    /// [`SPAN`] in ticks.
    span: u64,
    /// The nanoseconds to add to those counted.
    offset: AtomicU64,
    /// The tick at which the last reading is too old.
    good_until: AtomicU64,
    /// Somebody takes a reading at this moment.
    reading: AtomicBool,
    /// The counter was found not to keep time.
    distrusted: AtomicBool,
}

/// The machine's clock and the counter at the same moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) ticks: u64,
    pub(super) nanos: u64,
}

impl TscClock {
    /// Counts from `first` at the rate seen between two readings; `None` if they show none.
    pub(super) fn new(first: Reading, second: Reading) -> Option<Self> {
        let ticks = second.ticks.checked_sub(first.ticks)?;
        let nanos = second.nanos.checked_sub(first.nanos)?;
        let rate = (u128::from(nanos) << 32).checked_div(u128::from(ticks))?;
        let rate = u64::try_from(rate).ok().filter(|rate| *rate > 0)?;
        let span = u64::try_from((u128::from(SPAN) << 32) / u128::from(rate)).ok()?;
        Some(Self {
            first,
            rate,
            span,
            offset: AtomicU64::new(0),
            good_until: AtomicU64::new(first.ticks),
            reading: AtomicBool::new(false),
            distrusted: AtomicBool::new(false),
        })
    }

    /// The time at `ticks`, if the last reading is good for it.
    #[inline]
    pub(super) fn at(&self, ticks: u64) -> Option<u64> {
        let left = self.good_until.load(Acquire).wrapping_sub(ticks);
        // A counter before the reading, or past its end, wraps to a large number.
        (left.wrapping_sub(1) < self.span).then(|| self.counted(ticks))
    }

    #[inline]
    fn counted(&self, ticks: u64) -> u64 {
        let since = u128::from(ticks.wrapping_sub(self.first.ticks));
        #[expect(clippy::cast_possible_truncation, reason = "600 years of nanoseconds")]
        let nanos = ((since * u128::from(self.rate)) >> 32) as u64;
        nanos.wrapping_add(self.offset.load(Relaxed))
    }

    /// Takes a new reading, unless somebody does so already.
    #[cold]
    pub(super) fn renew(&self, read: impl FnOnce() -> Option<Reading>) {
        if self.distrusted.load(Relaxed) || self.reading.swap(true, Acquire) {
            return;
        }
        if let Some(reading) = read() {
            self.take(reading);
        }
        self.reading.store(false, Release);
    }

    /// One thread at a time.
    fn take(&self, Reading { ticks, nanos }: Reading) {
        let due = self.good_until.load(Relaxed);
        let lasted = ticks.wrapping_sub(due.wrapping_sub(self.span));
        let told = self.counted(ticks);
        let right = nanos.wrapping_add(AHEAD);
        let first = due == self.first.ticks;
        if !first && lasted < COMPARABLE * self.span && told.abs_diff(right) > self.wrong(lasted) {
            self.distrusted.store(true, Relaxed);
            return;
        }
        let offset = self.offset.load(Relaxed);
        let offset = offset.wrapping_add(right.wrapping_sub(told));
        self.offset.store(offset, Relaxed);
        self.good_until
            .store(ticks.wrapping_add(self.span), Release);
    }

    /// By how many nanoseconds the counter may be off after so many ticks: else it is not one to
    /// tell the time by.
    fn wrong(&self, ticks: u64) -> u64 {
        let spans = ticks / self.span + 1;
        spans * AHEAD
    }
}

/// How long a reading is good: 2^23 ns = 8.4 ms.
const SPAN: u64 = 1 << 23;

/// The nanoseconds by which all times are told too late. They are more than a counter that keeps
/// time within a thousandth loses in [`SPAN`] (the rate is measured within a hundred millionths,
/// and the kernel steers its clock by half a thousandth at most).
const AHEAD: u64 = 10_000;

/// For how many spans the counter is held against the clock. What is longer ago may be a sleep of
/// the machine, in which the counter is allowed to stop.
const COMPARABLE: u64 = 120;

/// A reading at one moment: `None` if it took so long that it is none (the thread was put aside).
pub(super) fn read(nanos: impl Fn() -> u64, ticks: impl Fn() -> u64) -> Option<Reading> {
    for _ in 0..TRIES {
        let before = ticks();
        let nanos = nanos();
        let after = ticks();
        // The earlier tick: the clock may stand later than it by the time in between, which makes
        // the told time later, too.
        if after.wrapping_sub(before) < TICKS_BETWEEN {
            return Some(Reading {
                ticks: before,
                nanos,
            });
        }
    }
    None
}

/// How often to try for a reading that nothing comes tsc.
const TRIES: usize = 8;

/// 1 to 4 us, by the processor.
const TICKS_BETWEEN: u64 = 4000;

/// The machine's counter held against its clock; `None` if the kernel does not trust it.
pub(super) fn calibrated(nanos: impl Fn() -> u64) -> Option<TscClock> {
    if !counter::trusted() {
        return None;
    }
    let first = read(&nanos, counter::ticks)?;
    while nanos() < first.nanos + BASELINE {
        std::hint::spin_loop();
    }
    TscClock::new(first, read(&nanos, counter::ticks)?)
}

/// How long the rate is measured, once in a process: 2 ms, in which two readings that are 100 ns
/// wrong are 100 millionths wrong.
const BASELINE: u64 = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 ticks a nanosecond.
    const fn reading(nanos: u64) -> Reading {
        let ticks = 1_000_000 + 3 * nanos;
        Reading { ticks, nanos }
    }

    fn started() -> TscClock {
        let tsc = TscClock::new(reading(0), reading(BASELINE)).unwrap();
        tsc.take(reading(BASELINE));
        tsc
    }

    /// The time that the clock tells `nanos` after the start, less `nanos`.
    fn told(tsc: &TscClock, nanos: u64) -> Option<u64> {
        let told = tsc.at(reading(nanos).ticks)?;
        Some(told.checked_sub(nanos).expect("never behind"))
    }

    #[test]
    fn between_readings_the_counter_tells_the_time_and_never_late() {
        let tsc = started();
        for since in [0, 1, 1000, SPAN - 2] {
            let ahead = told(&tsc, BASELINE + since).unwrap();
            assert!(ahead.abs_diff(AHEAD) < 10, "{ahead}");
        }
    }

    #[test]
    fn nothing_is_told_without_a_reading_that_is_fresh() {
        let tsc = TscClock::new(reading(0), reading(BASELINE)).unwrap();
        assert_eq!(told(&tsc, 0), None, "none was taken yet");
        let tsc = started();
        for since in [SPAN + 2, 3 * SPAN, 1_000_000_000, 1 << 60] {
            assert_eq!(told(&tsc, BASELINE + since), None, "{since}");
        }
        assert_eq!(told(&tsc, BASELINE - 1000), None, "the counter restarted");
    }

    #[test]
    fn a_new_reading_corrects_what_the_counter_gained_or_lost() {
        for drift in [-3000_i64, 3000] {
            let tsc = started();
            let (nanos, ticks) = (BASELINE + SPAN, reading(BASELINE + SPAN).ticks);
            let right = nanos.checked_add_signed(drift).unwrap();
            tsc.renew(|| {
                Some(Reading {
                    ticks,
                    nanos: right,
                })
            });
            let told = tsc.at(ticks + 3).unwrap();
            assert!(told.abs_diff(right + AHEAD) < 10);
        }
    }

    #[test]
    fn a_counter_that_does_not_keep_time_is_not_asked_again() {
        let tsc = started();
        let ticks = reading(BASELINE + SPAN).ticks;
        let slept = Reading {
            ticks,
            nanos: BASELINE + 5_000_000_000,
        };
        tsc.renew(|| Some(slept));
        assert_eq!(tsc.at(ticks + 1), None);
        tsc.renew(|| Some(reading(BASELINE + 2 * SPAN)));
        assert_eq!(told(&tsc, BASELINE + 2 * SPAN + 1), None, "never again");
    }

    #[test]
    fn after_a_long_sleep_a_counter_that_stopped_is_trusted_again() {
        let tsc = started();
        let ticks = reading(BASELINE + 200 * SPAN).ticks;
        let nanos = 1 << 50;
        tsc.renew(|| Some(Reading { ticks, nanos }));
        let told = tsc.at(ticks + 3).unwrap();
        assert!(told.abs_diff(nanos + AHEAD) < 10);
    }

    #[test]
    fn two_readings_that_show_no_rate_make_no_clock() {
        assert!(TscClock::new(reading(5), reading(5)).is_none());
        assert!(TscClock::new(reading(5), reading(4)).is_none());
        let stands = Reading {
            ticks: u64::MAX,
            nanos: 0,
        };
        assert!(TscClock::new(reading(5), stands).is_none());
    }

    #[test]
    fn a_reading_that_was_interrupted_is_none() {
        let ticks = std::cell::Cell::new(0);
        let slow = || {
            ticks.set(ticks.get() + TICKS_BETWEEN);
            ticks.get()
        };
        assert!(read(|| 7, slow).is_none());
        assert_eq!(
            read(|| 7, || 9).map(|it| (it.ticks, it.nanos)),
            Some((9, 7))
        );
    }
}
