//! The breaker of one part of the store: whether calls are sent there, and when a failed part is
//! tried again. Each wait is longer than the last, and replicas do not try at the same time.
//!
//! # States
//!
//! *Closed*: calls are sent. *Open*, after some failures in a row: nothing is sent. *Half-open*,
//! once the wait is over: one call finds out whether the store is back. If the store is back, the
//! breaker closes; if not, a longer wait begins.

use std::time::Duration;

use leasehold_core::{Instant, SplitMix64};

/// A circuit breaker with full jitter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Breaker {
    /// Failures in a row, of calls that were sent while somebody expected an answer.
    failures: u32,
    opened: Instant,
    until: Instant,
}

impl Breaker {
    pub(crate) fn handle_success(&mut self) {
        *self = Self::default();
    }

    /// Whether the store is away, as far as is known: it failed, and was not heard of since. One
    /// call at a time finds out whether it is back.
    pub(crate) fn is_open(&self) -> bool {
        self.failures >= OPENS_AT
    }

    /// Since when the store is away, if it is.
    pub(crate) fn open_since(&self) -> Option<Instant> {
        self.is_open().then_some(self.opened)
    }

    /// A call that was sent at `sent` failed. What was sent before the wait that is on, or was on
    /// last, says nothing new.
    pub(crate) fn handle_failure(&mut self, sent: Instant, jitter: &mut SplitMix64, now: Instant) {
        if self.is_open() && sent < self.until {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures == OPENS_AT {
            self.opened = now;
        }
        if let Some(again) = self.failures.checked_sub(OPENS_AT) {
            self.until = now + backoff(again, jitter);
        }
    }

    /// Until when nothing may be sent, or might.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Until when nothing may be sent, if that is after `now`.
    pub(crate) fn blocked_until(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }
}

/// How long to wait after a failure before the next attempt, once it has failed `again` times more:
/// full jitter, but never so little that a failure is answered at once.
pub(crate) fn backoff(again: u32, jitter: &mut SplitMix64) -> Duration {
    FIRST / 2 + jitter.within(leasehold_core::backoff(FIRST, LONGEST, again))
}

/// A network that loses one message in ten is not taken for a store that is away more than a few
/// times in a thousand calls; a store that is away is taken for one after as many time-outs.
const OPENS_AT: u32 = 3;

/// A local store that restarts is back within this.
const FIRST: Duration = Duration::from_millis(50);

/// A store that comes back is noticed within this.
const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    fn open(jitter: &mut SplitMix64) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..OPENS_AT {
            breaker.handle_failure(NOW, jitter, NOW);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_any_answer_starts_the_count_over() {
        let (mut breaker, mut jitter) = (Breaker::default(), SplitMix64::new(7));
        for _ in 0..10 {
            for _ in 1..OPENS_AT {
                breaker.handle_failure(NOW, &mut jitter, NOW);
                assert!(!breaker.is_open());
                assert_eq!(
                    breaker.blocked_until(NOW),
                    None,
                    "the next call goes at once"
                );
            }
            breaker.handle_success();
        }
        let breaker = open(&mut jitter);
        assert!(breaker.is_open());
        assert!(breaker.blocked_until(NOW).is_some());
    }

    #[test]
    fn what_was_sent_before_the_wait_does_not_lengthen_it() {
        let mut jitter = SplitMix64::new(7);
        let mut breaker = open(&mut jitter);
        let until = breaker.until;
        let later = NOW + Duration::from_millis(10);
        breaker.handle_failure(NOW, &mut jitter, later);
        assert_eq!(breaker.until, until);
        breaker.handle_failure(until, &mut jitter, until);
        assert!(breaker.until > until, "the call that looked failed too");
    }

    #[test]
    fn each_look_in_vain_waits_longer_up_to_a_ceiling_and_success_forgets() {
        let mut jitter = SplitMix64::new(7);
        let mut breaker = open(&mut jitter);
        let mut longest = Duration::ZERO;
        for failure in 1..40u32 {
            let now = breaker.until;
            breaker.handle_failure(now, &mut jitter, now);
            let wait = breaker.until.since(now);
            let ceiling = FIRST * 2u32.pow(failure.min(6));
            assert!(
                wait >= FIRST / 2 && wait <= FIRST / 2 + ceiling.min(LONGEST),
                "{wait:?}"
            );
            longest = longest.max(wait);
        }
        assert!(longest > LONGEST / 2, "{longest:?}");
        breaker.handle_success();
        assert_eq!(breaker.blocked_until(NOW), None);
        assert!(!breaker.is_open());
    }
}
