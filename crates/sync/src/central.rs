//! The verdict on a request that the store decided itself.

use std::time::Duration;

use leasehold_core::{Decided, Limit, Reason, Reply, Retry, Status, Verdict, Wait};

/// The verdict that `reply`, to a central spend, comes to when it arrives. If the store knows no
/// time at which the cost will fit, the verdict advises to wait for `patience`.
pub fn central_verdict(reply: &Reply, limit: &Limit, patience: Duration) -> Verdict {
    if let Some(reason) = reply.status.refusal() {
        return Verdict::deny(Decided::Fallback, reason, Retry::After(patience));
    }
    let reset = reset(reply, limit);
    if reply.status == Status::Spent {
        // Nothing is held here: the free tokens at the store follow from the time until the bucket
        // is full.
        return Verdict::allow(Decided::Store, 0, reset);
    }
    // Counted from now, and so from after the store looked: then there is room for certain.
    let retry_after = known_wait(reply, limit).unwrap_or(patience);
    let retry = Retry::After(retry_after.max(RETRY_AFTER_MIN));
    Verdict::deny(Decided::Store, Reason::Exhausted, retry).with_reset(reset)
}

/// How long draining takes to make room, if the store knows that; at most the time in which the
/// bucket fills. A store that tells of a later time, as a frozen bucket or a store in error does,
/// is asked again.
pub(crate) fn known_wait(reply: &Reply, limit: &Limit) -> Option<Duration> {
    match reply.wait {
        Wait::For(wait) => Some(wait.as_duration().min(limit.time_for(limit.capacity()))),
        Wait::None | Wait::Held => None,
    }
}

/// A denial never advises to come back at once: that is how storms begin.
pub const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);

/// Whole tokens neither charged nor outstanding.
pub fn free(reply: &Reply, limit: &Limit) -> u64 {
    let uncharged = limit.capacity_level().saturating_sub(reply.level);
    (uncharged / limit.scale().weight).saturating_sub(reply.outstanding)
}

/// Time until the bucket is full if nothing more is spent.
pub fn reset(reply: &Reply, limit: &Limit) -> Duration {
    let charged = reply.level.div_ceil(limit.scale().weight);
    limit.time_for(charged.saturating_add(reply.outstanding))
}
