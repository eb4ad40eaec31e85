//! The beat at which a replica reports: at equal intervals, and only if there is something to
//! report.
//!
//! # Invariant
//!
//! Reports of a replica lie a whole number of intervals apart. Where in the interval they lie is
//! drawn for each replica, so that a fleet which started together does not report together.

use std::time::Duration;

use leasehold_core::Instant;
use rand::RngExt;

use crate::stream::stream;
use crate::units::Span;

/// When a replica reports.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    interval_ns: u64,
    phase_ns: u64,
    due: Option<Instant>,
}

impl Beat {
    /// The beat of one replica; an interval of 0 counts as a nanosecond.
    pub(super) fn new(interval: Span, seed: u64, replica: u64) -> Self {
        let interval_ns = interval.0.max(1);
        Self {
            interval_ns,
            phase_ns: stream(seed, "beat", replica).random_range(0..interval_ns),
            due: None,
        }
    }

    /// Something is to be reported: at the next beat after `now`, unless one is due before.
    pub(super) fn arm(&mut self, now: Instant) {
        if self.due.is_none() {
            let past = (now.as_nanos() + self.interval_ns - self.phase_ns) % self.interval_ns;
            self.due = Some(now + Duration::from_nanos(self.interval_ns - past));
        }
    }

    pub(super) fn stop(&mut self) {
        self.due = None;
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_lie_whole_intervals_apart_and_replicas_beat_at_their_own_times() {
        let phase = |replica| {
            let mut beat = Beat::new(Span::from_millis(100), 1, replica);
            let due = [0, 50, 1234, 98_765].map(|millis| {
                let now = Instant::from_millis(millis);
                beat.stop();
                beat.arm(now);
                let due = beat.due().unwrap();
                assert!(due > now && due.since(now) <= Duration::from_millis(100));
                assert!(beat.is_due(due) && !beat.is_due(now));
                due.as_nanos() % 100_000_000
            });
            assert!(due.iter().all(|phase| *phase == due[0]));
            due[0]
        };
        assert_ne!(phase(0), phase(1));
    }
}
