//! When to try a store again that has failed: later each time, and not all replicas at once.

use std::time::Duration;

use leasehold_core::Instant;

use crate::jitter::Jitter;

/// Exponential back-off with full jitter. While it lasts, nothing is sent.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    failures: u32,
    until: Instant,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            failures: 0,
            until: Instant::ORIGIN,
        }
    }

    pub(crate) fn handle_success(&mut self) {
        self.failures = 0;
        self.until = Instant::ORIGIN;
    }

    /// Whether the last that was heard of the store is that it failed: one call at a time finds
    /// out whether it is back.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.failures > 0
    }

    /// What was sent before the wait that is on, or was on last, says nothing new.
    pub(crate) fn handle_failure(&mut self, sent: Instant, jitter: &mut Jitter, now: Instant) {
        if self.failures > 0 && sent < self.until {
            return;
        }
        let ceiling = FIRST * 2u32.pow(self.failures.min(DOUBLINGS));
        // At least half the first step, so that a failure is never answered at once.
        self.until = now + FIRST / 2 + jitter.within(ceiling.min(LONGEST));
        self.failures = self.failures.saturating_add(1);
    }

    /// Until when nothing may be sent, if that is after `now`.
    pub(crate) fn holds(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }
}

/// A local store that restarts is back within this.
const FIRST: Duration = Duration::from_millis(50);

/// A store that comes back is noticed within this.
const LONGEST: Duration = Duration::from_secs(1);

/// 50 ms doubled six times is beyond the longest.
const DOUBLINGS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_longer_up_to_a_ceiling_and_success_forgets() {
        let (mut backoff, mut jitter) = (Backoff::new(), Jitter::new(7));
        let now = Instant::from_millis(1000);
        let mut longest = Duration::ZERO;
        for failure in 0..40u32 {
            let now = backoff.until;
            backoff.handle_failure(now, &mut jitter, now);
            let wait = backoff.until.since(now);
            let ceiling = FIRST * 2u32.pow(failure.min(DOUBLINGS));
            assert!(
                wait >= FIRST / 2 && wait <= FIRST / 2 + ceiling.min(LONGEST),
                "{wait:?}"
            );
            longest = longest.max(wait);
        }
        assert!(longest > LONGEST / 2, "{longest:?}");
        assert_eq!(backoff.holds(now), Some(backoff.until));
        backoff.handle_success();
        assert_eq!(backoff.holds(now), None);
    }
}
