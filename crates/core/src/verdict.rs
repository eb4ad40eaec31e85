//! The answer to a request: allowed or denied, why, decided where, and what to tell the caller.

use core::fmt;
use core::time::Duration;

use crate::time::Instant;

/// The answer to a request.
// Plain words: no part of a decision is as dear as copying its answer in overlapping parts, or dividing
// for a `Duration` that nobody asks for.
#[derive(Clone, Copy, Eq, PartialEq)]
#[must_use = "a verdict that nobody looks at limits nothing"]
pub struct Verdict {
    remaining: u64,
    reset_nanos: u64,
    /// [`NEVER`] if it is allowed, or never can be.
    retry_nanos: u64,
    decided: Decided,
    /// `None` if it is allowed.
    reason: Option<Reason>,
}

/// Why a request was denied, and when to come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The earliest time at which the same request can be allowed, as far as is known; `None`
    /// if never.
    pub retry_after: Option<Duration>,
}

/// Why a request was denied. Only [`Exhausted`](Reason::Exhausted) and
/// [`TooCostly`](Reason::TooCostly) say that a limit was reached.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// The limit is used up for now.
    Exhausted,
    /// The cost exceeds the burst, or what can be leased where the request needs a lease: no
    /// wait will help.
    TooCostly,
    /// Nothing is leased here yet and the request would not wait. Tokens have been sent for.
    NotLeased,
    /// The store cannot be reached.
    StoreUnavailable,
    /// The store did not answer within the budget.
    BudgetSpent,
    /// Too many requests are waiting for the store already, or more keys are in use at a time than
    /// there is room for and the request needs several.
    Overloaded,
    /// The key is longer than the cache takes.
    KeyTooLong,
    /// The limiter is shutting down.
    ShutDown,
}

/// Where a verdict was reached.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Decided {
    /// In this process, with no I/O.
    Local,
    /// After one exchange with the store.
    Store,
    /// Without the store, because it could not be asked in time.
    Fallback,
}

impl Verdict {
    /// A verdict that allows.
    #[inline]
    pub const fn allow(decided: Decided, remaining: u64, reset: Duration) -> Self {
        Self {
            remaining,
            reset_nanos: nanos(reset),
            retry_nanos: NEVER,
            decided,
            reason: None,
        }
    }

    /// A verdict that denies.
    #[inline]
    pub const fn deny(decided: Decided, reason: Reason, retry_after: Option<Duration>) -> Self {
        Self {
            remaining: 0,
            reset_nanos: 0,
            retry_nanos: match retry_after {
                Some(wait) => nanos(wait),
                None => NEVER,
            },
            decided,
            reason: Some(reason),
        }
    }

    /// Allowed at `now` in this process, by a bucket that is full again at `full_at`.
    #[inline]
    pub const fn allow_here(remaining: u64, full_at: Instant, now: Instant) -> Self {
        Self {
            remaining,
            reset_nanos: full_at.nanos_since(now),
            retry_nanos: NEVER,
            decided: Decided::Local,
            reason: None,
        }
    }

    /// Denied at `now` in this process: the limit is used up until `until`, and its bucket is full
    /// again at `full_at`.
    #[inline]
    pub const fn deny_here(until: Instant, full_at: Instant, now: Instant) -> Self {
        Self {
            remaining: 0,
            reset_nanos: full_at.nanos_since(now),
            retry_nanos: latest(until.nanos_since(now)),
            decided: Decided::Local,
            reason: Some(Reason::Exhausted),
        }
    }

    /// The same with `reset` filled in.
    #[inline]
    pub const fn with_reset(mut self, reset: Duration) -> Self {
        self.reset_nanos = nanos(reset);
        self
    }

    /// Whether the request may go ahead: its cost is paid. Nothing is paid by one that is denied.
    #[inline]
    pub const fn is_allowed(&self) -> bool {
        self.reason.is_none()
    }

    /// Tokens this replica may still spend without asking the store: a lower bound of what is
    /// left of the limit, not an estimate of it. For central decisions, what the store had left.
    #[inline]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Time until the key's bucket is full again if nothing more is spent, as far as is known
    /// here; zero if nothing is known.
    #[inline]
    pub const fn reset(&self) -> Duration {
        Duration::from_nanos(self.reset_nanos)
    }

    /// Where it was decided.
    #[inline]
    pub const fn decided(&self) -> Decided {
        self.decided
    }

    /// Why it was denied, if it was.
    #[inline]
    pub const fn denial(&self) -> Option<Denial> {
        match self.reason {
            None => None,
            Some(reason) => Some(Denial {
                reason,
                retry_after: self.retry_after(),
            }),
        }
    }

    /// The earliest time at which the same request can be allowed; `None` if it was allowed or
    /// never can be.
    #[inline]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self.retry_nanos {
            NEVER => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

#[expect(
    clippy::missing_fields_in_debug,
    reason = "all are there, as times and reasons"
)]
impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("remaining", &self.remaining)
            .field("reset", &self.reset())
            .field("decided", &self.decided)
            .field("denial", &self.denial())
            .finish()
    }
}

/// Stands for no time at which a request could be allowed.
const NEVER: u64 = u64::MAX;

/// The longest time that is one: 584 years.
const fn latest(nanos: u64) -> u64 {
    if nanos == NEVER { NEVER - 1 } else { nanos }
}

const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    #[expect(clippy::cast_possible_truncation, reason = "it fits")]
    if nanos < NEVER as u128 {
        nanos as u64
    } else {
        NEVER - 1
    }
}

impl Reason {
    /// Every reason, for metrics that name them all from the start.
    pub const ALL: [Self; 8] = [
        Self::Exhausted,
        Self::TooCostly,
        Self::NotLeased,
        Self::StoreUnavailable,
        Self::BudgetSpent,
        Self::Overloaded,
        Self::KeyTooLong,
        Self::ShutDown,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "the limit is used up for now",
            Self::TooCostly => "the cost exceeds the burst, or what can be leased",
            Self::NotLeased => "nothing is leased here yet",
            Self::StoreUnavailable => "the store cannot be reached",
            Self::BudgetSpent => "the store did not answer within the budget",
            Self::Overloaded => "too many requests wait for the store, or too many keys are in use",
            Self::KeyTooLong => "the key is too long",
            Self::ShutDown => "the limiter is shutting down",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_it_was_made_of() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let allowed = Verdict::allow(Decided::Store, 7, minute);
        assert!(allowed.is_allowed());
        assert_eq!((allowed.remaining(), allowed.reset()), (7, minute));
        assert_eq!(allowed.decided(), Decided::Store);
        assert_eq!((allowed.denial(), allowed.retry_after()), (None, None));

        let denied = Verdict::deny(Decided::Fallback, Reason::Overloaded, Some(second));
        let denied = denied.with_reset(minute);
        assert!(!denied.is_allowed());
        assert_eq!((denied.remaining(), denied.reset()), (0, minute));
        assert_eq!(denied.decided(), Decided::Fallback);
        let (reason, retry_after) = (Reason::Overloaded, Some(second));
        let denial = Denial {
            reason,
            retry_after,
        };
        assert_eq!(denied.denial(), Some(denial));
        let never = Verdict::deny(Decided::Local, Reason::TooCostly, None);
        assert!(!never.is_allowed());
        assert_eq!(never.retry_after(), None);
    }

    #[test]
    fn what_is_decided_here_is_dated_from_now() {
        let [now, until, full_at] = [1, 3, 9].map(Instant::from_millis);
        let (wait, reset) = (until.since(now), full_at.since(now));
        let denied = Verdict::deny(Decided::Local, Reason::Exhausted, Some(wait));
        assert_eq!(
            Verdict::deny_here(until, full_at, now),
            denied.with_reset(reset)
        );
        let allowed = Verdict::allow(Decided::Local, 5, reset);
        assert_eq!(Verdict::allow_here(5, full_at, now), allowed);
        let late = Verdict::allow_here(5, now, full_at);
        assert_eq!(late.reset(), Duration::ZERO);
    }

    #[test]
    fn a_wait_beyond_all_measure_is_a_wait() {
        let denied = |wait| Verdict::deny(Decided::Local, Reason::Exhausted, Some(wait));
        for wait in [Duration::MAX, Duration::from_nanos(u64::MAX)] {
            assert!(denied(wait).retry_after().is_some());
        }
        let far = Verdict::deny_here(Instant::FAR_FUTURE, Instant::FAR_FUTURE, Instant::ORIGIN);
        assert!(far.retry_after().is_some());
    }

    #[test]
    fn a_verdict_is_four_words() {
        assert_eq!(size_of::<Verdict>(), 32);
    }
}
