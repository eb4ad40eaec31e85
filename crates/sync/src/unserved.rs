//! A key that the store does not serve although it answers: it cannot read what is stored under the
//! key, or has no room for another key.
//!
//! # Invariant
//!
//! The trouble stays with the key: neither the other calls of the batch nor the breaker notice it.
//! The store is asked about the key again, each time later, up to once a second.

use leasehold_core::{Decided, Instant, Reason, Retry, SplitMix64, Verdict};

use crate::breaker::backoff;
use crate::fallback::FailurePolicy;

/// The state of a key that the store did not serve when it was last asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unserved {
    reason: Reason,
    /// Replies in a row by which the store refused to serve the key.
    replies: u32,
    until: Instant,
}

impl Unserved {
    /// The store has refused again, for `reason`.
    pub(crate) fn again(
        before: Option<Self>,
        reason: Reason,
        jitter: &mut SplitMix64,
        now: Instant,
    ) -> Self {
        let replies = before.map_or(0, |before| before.replies);
        Self {
            reason,
            replies: replies.saturating_add(1),
            until: now + backoff(replies, jitter),
        }
    }

    /// The time until which the store is not asked about the key, if that is after `now`.
    pub(crate) fn blocked_until(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }

    /// The failure policy that applies to the key, where its limit has `policy`. A store without
    /// room for the key still keeps the limit of every other key, so nothing is admitted beside it.
    pub(crate) fn policy(&self, policy: FailurePolicy) -> FailurePolicy {
        match self.reason {
            Reason::Overloaded => FailurePolicy::Closed,
            _ => policy,
        }
    }

    /// The denial of a request for the key.
    pub(crate) fn denial(&self, now: Instant) -> Verdict {
        let retry = Retry::After(self.until.since(now));
        Verdict::deny(Decided::Fallback, self.reason, retry)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_store_is_asked_again_later_each_time_and_at_least_every_other_second() {
        let mut jitter = SplitMix64::new(7);
        let (mut unserved, mut now) = (None, Instant::from_millis(1000));
        let mut waits = Vec::new();
        for _ in 0..40 {
            let next = Unserved::again(unserved, Reason::StoreUnavailable, &mut jitter, now);
            let until = next.blocked_until(now).expect("it is not asked at once");
            waits.push(until.since(now));
            let denial = next.denial(now).denial().expect("it denies");
            assert_eq!(denial.retry, Retry::After(until.since(now)));
            (unserved, now) = (Some(next), until);
        }
        assert!(waits[0] < Duration::from_millis(100), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait < Duration::from_secs(2)));
        assert!(
            waits[10..]
                .iter()
                .any(|wait| *wait > Duration::from_millis(500))
        );
    }
}
