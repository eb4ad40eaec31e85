//! The answer to a request: allowed or denied, why, decided where, and what to tell the caller.
//!
//! # Invariant
//!
//! A time to come back stands on a [`Denial`] only, and there "never" is a [`Retry`] of its own: a
//! caller cannot take the lack of such a time for leave to go ahead.

use core::error::Error;
use core::fmt;
use core::time::Duration;

use crate::limit_id::LimitId;
use crate::time::Instant;

/// The answer to a request.
///
/// [`check`](Self::check) turns it into a `Result`, [`is_allowed`](Self::is_allowed) into a `bool`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use leasehold_core::{Decided, Reason, Retry, Verdict};
///
/// let allowed = Verdict::allow(Decided::Local, 7, Duration::ZERO);
/// assert_eq!(allowed.check()?.held, 7);
///
/// let denied = Verdict::deny(Decided::Local, Reason::KeyTooLong, Retry::Never);
/// let denial = denied.check().unwrap_err();
/// assert_eq!(denial.retry, Retry::Never);
/// assert_eq!(
///     denial.to_string(),
///     "request denied: the key is too long; no retry can succeed"
/// );
/// # Ok::<(), leasehold_core::Denial>(())
/// ```
// Plain words: no part of a decision is as dear as copying its answer in overlapping parts, or
// dividing for a `Duration` that nobody asks for.
#[derive(Clone, Copy, Eq, PartialEq)]
#[must_use = "a verdict that nobody looks at limits nothing"]
pub struct Verdict {
    /// As many as a lease can hold fit.
    held: u32,
    /// [`NO_LIMIT`] if no limit decided.
    limit: u32,
    /// [`UNKNOWN`] if nobody knows.
    full_nanos: u64,
    /// [`NEVER`] if it is allowed, or never can be.
    retry_nanos: u64,
    decided: Decided,
    /// `None` if it is allowed.
    reason: Option<Reason>,
}

/// An allowed request: its cost is paid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Admitted {
    /// See [`Verdict::held`].
    pub held: u64,
    /// See [`Verdict::limit`].
    pub limit: Option<LimitId>,
    /// See [`Verdict::reset`].
    pub reset: Duration,
    /// Where the request was decided.
    pub decided: Decided,
}

/// A denied request: why, and when to come back. Nothing is paid.
///
/// As an error, and in `Debug` too, it reads as a sentence: a `main` that returns it shows that.
#[derive(Clone, Copy, Eq, PartialEq)]
#[non_exhaustive]
pub struct Denial {
    /// The reason of the denial.
    pub reason: Reason,
    /// Whether and when the same request can be allowed.
    pub retry: Retry,
    /// See [`Verdict::reset`].
    pub reset: Duration,
    /// Where the request was decided.
    pub decided: Decided,
    /// See [`Verdict::limit`].
    pub limit: Option<LimitId>,
}

/// Whether and when a denied request can be allowed.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use leasehold_core::Retry;
///
/// let retry = Retry::After(Duration::from_millis(1200));
/// assert_eq!(retry.wait(), Some(Duration::from_millis(1200)));
/// assert_eq!(retry.seconds(), Some(2));
/// assert_eq!(retry.to_string(), "retry after 1.2s");
/// assert_eq!(Retry::Never.wait(), None);
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Retry {
    /// Not before this time has passed, as far as is known. Another request may be faster.
    After(Duration),
    /// No wait helps: this limiter will never allow the request.
    Never,
}

/// The reason of a denial. Only [`Exhausted`](Reason::Exhausted) and
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
    /// The store cannot be reached, or cannot read what it keeps of the key, or cannot count what
    /// it is asked for.
    StoreUnavailable,
    /// The store did not answer within the budget.
    BudgetSpent,
    /// Too many requests are waiting for the store already; or more keys are in use at a time than
    /// there is room for, in the store, or in this process and the request needs several.
    Overloaded,
    /// The key is longer than the cache takes.
    KeyTooLong,
    /// The limiter is shutting down.
    ShutDown,
    /// The limiter's background task is gone: the runtime that it ran on has ended, or it panicked
    /// and is being restarted. A restart is told by a time after which to come back.
    TaskEnded,
    /// This process is a forked child of the one that built the limiter, and holds nothing: what is
    /// leased is the parent's to spend. Build a limiter in the child.
    Forked,
    /// The key names a limit that the limiter has not.
    UnknownLimit,
    /// The request is under several limits, and the limiter leases nothing from which to pay them
    /// all or none.
    NeedsLeases,
}

/// Where a verdict was reached.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Decided {
    /// In this process, with no I/O.
    Local,
    /// After one exchange with the store.
    Store,
    /// Without the store, because it could not be asked in time.
    Fallback,
}

impl Verdict {
    /// A verdict that allows, of a bucket that is full again after `reset`. Holds beyond 32 bits
    /// count as the most that fit.
    #[inline]
    pub const fn allow(decided: Decided, held: u64, reset: Duration) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "it fits")]
        let held = if held < u32::MAX as u64 {
            held as u32
        } else {
            u32::MAX
        };
        Self {
            held,
            limit: NO_LIMIT,
            full_nanos: nanos(reset),
            retry_nanos: NEVER,
            decided,
            reason: None,
        }
    }

    /// A verdict that allows without a look at any bucket.
    #[inline]
    pub const fn allow_unknown(decided: Decided) -> Self {
        Self {
            held: 0,
            limit: NO_LIMIT,
            full_nanos: UNKNOWN,
            retry_nanos: NEVER,
            decided,
            reason: None,
        }
    }

    /// A verdict that denies.
    #[inline]
    pub const fn deny(decided: Decided, reason: Reason, retry: Retry) -> Self {
        Self {
            held: 0,
            limit: NO_LIMIT,
            full_nanos: 0,
            retry_nanos: match retry {
                Retry::After(wait) => nanos(wait),
                Retry::Never => NEVER,
            },
            decided,
            reason: Some(reason),
        }
    }

    /// Allowed at `now` in this process, by a bucket of `limit` that is full again at `full_at`.
    #[inline]
    pub const fn allow_here(held: u32, limit: LimitId, full_at: Instant, now: Instant) -> Self {
        Self {
            held,
            limit: limit.0,
            full_nanos: full_at.nanos_since(now),
            retry_nanos: NEVER,
            decided: Decided::Local,
            reason: None,
        }
    }

    /// Denied at `now` in this process: `limit` is used up until `until`, and its bucket is full
    /// again at `full_at`.
    #[inline]
    pub const fn deny_here(limit: LimitId, until: Instant, full_at: Instant, now: Instant) -> Self {
        Self {
            held: 0,
            limit: limit.0,
            full_nanos: full_at.nanos_since(now),
            retry_nanos: latest(until.nanos_since(now)),
            decided: Decided::Local,
            reason: Some(Reason::Exhausted),
        }
    }

    /// This verdict with another [`reset`](Self::reset).
    #[inline]
    pub const fn with_reset(mut self, reset: Duration) -> Self {
        self.full_nanos = nanos(reset);
        self
    }

    /// This verdict as one of `limit`.
    #[inline]
    pub const fn with_limit(mut self, limit: LimitId) -> Self {
        self.limit = limit.0;
        self
    }

    /// This verdict as reached elsewhere.
    #[inline]
    pub const fn with_decided(mut self, decided: Decided) -> Self {
        self.decided = decided;
        self
    }

    /// Whether the request may go ahead: its cost is paid. A denied request pays nothing.
    #[inline]
    #[must_use = "a verdict that nobody looks at limits nothing"]
    pub const fn is_allowed(&self) -> bool {
        self.reason.is_none()
    }

    /// The verdict as a `Result`, for callers that leave early by `?` when denied.
    ///
    /// # Errors
    ///
    /// [`Denial`] if the request may not go ahead.
    #[inline]
    pub const fn check(&self) -> Result<Admitted, Denial> {
        match self.denial() {
            Some(denial) => Err(denial),
            None => Ok(Admitted {
                held: self.held(),
                limit: self.limit(),
                reset: self.reset(),
                decided: self.decided,
            }),
        }
    }

    /// Tokens this replica holds and may still spend without asking the store: a lower bound of
    /// what the limit has left. 0 for a central decision, because nothing is held then.
    ///
    /// A header such as `RateLimit-Remaining` is fed by an estimate of what the limit has left:
    /// [`Limit::estimate`](crate::Limit::estimate), which shows both side by side.
    #[inline]
    pub const fn held(&self) -> u64 {
        self.held as u64
    }

    /// The limit that decided: the one that denies, or, of several that allow, the one closest to
    /// exhaustion. `None` if no limit was looked at, as when no key was named.
    #[inline]
    pub const fn limit(&self) -> Option<LimitId> {
        match self.limit {
            NO_LIMIT => None,
            number => Some(LimitId(number)),
        }
    }

    /// Time until the key's bucket is full again at the latest, as far as is known here: if all
    /// that replicas hold on lease is spent now, and nothing more. Zero if nothing is known.
    #[inline]
    pub const fn reset(&self) -> Duration {
        match self.full_nanos {
            UNKNOWN => Duration::ZERO,
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// The nanoseconds of [`reset`](Self::reset), if anything is known.
    pub(crate) const fn full_nanos(&self) -> Option<u64> {
        match self.full_nanos {
            UNKNOWN => None,
            nanos => Some(nanos),
        }
    }

    /// Where the request was decided.
    #[inline]
    pub const fn decided(&self) -> Decided {
        self.decided
    }

    /// The denial if the request may not go ahead: why, and when to come back.
    #[inline]
    pub const fn denial(&self) -> Option<Denial> {
        match self.reason {
            None => None,
            Some(reason) => Some(Denial {
                reason,
                retry: match self.retry_nanos {
                    NEVER => Retry::Never,
                    nanos => Retry::After(Duration::from_nanos(nanos)),
                },
                reset: self.reset(),
                decided: self.decided,
                limit: self.limit(),
            }),
        }
    }
}

impl Retry {
    /// The time to wait; `None` if no wait helps.
    #[inline]
    pub const fn wait(self) -> Option<Duration> {
        match self {
            Self::After(wait) => Some(wait),
            Self::Never => None,
        }
    }

    /// The time to wait in whole seconds, rounded up, as an HTTP `Retry-After` header has it;
    /// `None` if no wait helps.
    pub const fn seconds(self) -> Option<u64> {
        match self {
            Self::After(wait) if wait.subsec_nanos() > 0 => Some(wait.as_secs().saturating_add(1)),
            Self::After(wait) => Some(wait.as_secs()),
            Self::Never => None,
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
            .field("held", &self.held)
            .field("limit", &self.limit())
            .field("reset", &self.reset())
            .field("decided", &self.decided)
            .field("reason", &self.reason)
            .field("retry", &self.denial().map(|denial| denial.retry))
            .finish()
    }
}

impl fmt::Display for Retry {
    /// The wait in whole milliseconds, rounded up, or as it is if it is shorter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::After(wait) if wait < Duration::from_millis(1) => {
                write!(f, "retry after {wait:?}")
            }
            Self::After(wait) => {
                let millis = wait.as_nanos().div_ceil(1_000_000);
                let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
                write!(f, "retry after {wait:?}")
            }
            Self::Never => f.write_str("no retry can succeed"),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request denied: {}; {}", self.reason, self.retry)
    }
}

impl Error for Denial {}

crate::debug_by_display!(Denial);

/// Stands for no limit: the number of limits fits no memory before.
const NO_LIMIT: u32 = u32::MAX;

/// Stands for a time that nobody knows.
const UNKNOWN: u64 = u64::MAX;

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

impl Decided {
    /// Every place where a verdict is reached, for metrics that name them all from the start.
    pub const ALL: [Self; 3] = [Self::Local, Self::Store, Self::Fallback];

    /// The position of this place in [`ALL`](Self::ALL), for arrays with a count of each.
    ///
    /// # Examples
    ///
    /// ```
    /// use leasehold_core::Decided;
    ///
    /// let mut decided = [0_u64; Decided::ALL.len()];
    /// decided[Decided::Store.index()] += 1;
    /// assert_eq!(decided, [0, 1, 0]);
    /// ```
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Reason {
    /// Every reason, for metrics that name them all from the start.
    pub const ALL: [Self; 12] = [
        Self::Exhausted,
        Self::TooCostly,
        Self::NotLeased,
        Self::StoreUnavailable,
        Self::BudgetSpent,
        Self::Overloaded,
        Self::KeyTooLong,
        Self::ShutDown,
        Self::TaskEnded,
        Self::Forked,
        Self::UnknownLimit,
        Self::NeedsLeases,
    ];

    /// The position of this reason in [`ALL`](Self::ALL), for arrays with a count of each.
    ///
    /// # Examples
    ///
    /// ```
    /// use leasehold_core::Reason;
    ///
    /// let mut denials = [0_u64; Reason::ALL.len()];
    /// denials[Reason::Exhausted.index()] += 1;
    /// assert_eq!(denials.iter().sum::<u64>(), 1);
    /// ```
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "the limit is used up for now",
            Self::TooCostly => "the cost exceeds the burst, or what can be leased",
            Self::NotLeased => "nothing is leased here yet",
            Self::StoreUnavailable => {
                "the store cannot be reached, or cannot read what it has of the key"
            }
            Self::BudgetSpent => "the store did not answer within the budget",
            Self::Overloaded => "too many requests wait for the store, or too many keys are in use",
            Self::KeyTooLong => "the key is too long",
            Self::ShutDown => "the limiter is shutting down",
            Self::TaskEnded => "the limiter's background task is gone",
            Self::Forked => "the limiter was built before this process was forked",
            Self::UnknownLimit => "the key names a limit that this limiter has not",
            Self::NeedsLeases => "several limits at once need leases, and there are none",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_verdict_says_what_it_was_made_of() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let allowed = Verdict::allow(Decided::Store, 7, minute);
        assert!(allowed.is_allowed());
        assert_eq!((allowed.held(), allowed.reset()), (7, minute));
        assert_eq!(allowed.decided(), Decided::Store);
        assert_eq!(allowed.denial(), None);
        let admitted = Admitted {
            held: 7,
            limit: None,
            reset: minute,
            decided: Decided::Store,
        };
        assert_eq!(allowed.check(), Ok(admitted));

        let denied = Verdict::deny(Decided::Fallback, Reason::Overloaded, Retry::After(second));
        let denied = denied.with_reset(minute);
        assert!(!denied.is_allowed());
        assert_eq!((denied.held(), denied.reset()), (0, minute));
        assert_eq!(denied.decided(), Decided::Fallback);
        let denial = Denial {
            reason: Reason::Overloaded,
            retry: Retry::After(second),
            reset: minute,
            decided: Decided::Fallback,
            limit: None,
        };
        assert_eq!(denied.denial(), Some(denial));
        assert_eq!(denied.check(), Err(denial));
    }

    /// "Never" once looked like "allowed" to callers that asked when to come back.
    #[test]
    fn a_request_that_can_never_be_allowed_does_not_pass_for_an_allowed_one() {
        for reason in Reason::ALL {
            let never = Verdict::deny(Decided::Local, reason, Retry::Never);
            assert!(!never.is_allowed());
            let denial = never.check().unwrap_err();
            assert_eq!(denial.retry, Retry::Never);
            assert_eq!((denial.retry.wait(), denial.retry.seconds()), (None, None));
        }
    }

    #[test]
    fn a_denial_reads_as_a_sentence_also_where_main_shows_its_debug() {
        let denied = |wait| {
            let verdict = Verdict::deny(Decided::Store, Reason::Exhausted, Retry::After(wait));
            let denial = verdict.denial().unwrap();
            assert_eq!(format!("{denial:?}"), denial.to_string());
            denial.to_string()
        };
        let told = "request denied: the limit is used up for now; retry after 1.501s";
        assert_eq!(denied(Duration::from_nanos(1_500_000_001)), told);
        assert!(denied(Duration::from_micros(3)).ends_with("retry after 3µs"));
        assert!(denied(Duration::MAX).contains("retry after 18446744"));
    }

    #[test]
    fn what_is_decided_here_is_dated_from_now() {
        let [now, until, full_at] = [1, 3, 9].map(Instant::from_millis);
        let limit = LimitId(7);
        let (wait, reset) = (until.since(now), full_at.since(now));
        let denied = Verdict::deny(Decided::Local, Reason::Exhausted, Retry::After(wait));
        assert_eq!(
            Verdict::deny_here(limit, until, full_at, now),
            denied.with_reset(reset).with_limit(limit)
        );
        let allowed = Verdict::allow(Decided::Local, 5, reset).with_limit(limit);
        assert_eq!(Verdict::allow_here(5, limit, full_at, now), allowed);
        let late = Verdict::allow_here(5, limit, now, full_at);
        assert_eq!(late.reset(), Duration::ZERO);
    }

    #[test]
    fn a_wait_beyond_all_measure_is_a_wait() {
        let is_wait = |verdict: Verdict| verdict.denial().unwrap().retry.wait().is_some();
        for wait in [Duration::MAX, Duration::from_nanos(u64::MAX)] {
            let retry = Retry::After(wait);
            assert!(is_wait(Verdict::deny(
                Decided::Local,
                Reason::Exhausted,
                retry
            )));
            assert!(retry.seconds().is_some());
        }
        let far = Verdict::deny_here(
            LimitId::FIRST,
            Instant::FAR_FUTURE,
            Instant::FAR_FUTURE,
            Instant::ORIGIN,
        );
        assert!(is_wait(far));
    }

    #[test]
    fn a_verdict_names_its_limit_to_whoever_asks() {
        let (denied, retry) = (Reason::Exhausted, Retry::Never);
        for limit in [LimitId::FIRST, LimitId(7)] {
            let allowed = Verdict::allow_unknown(Decided::Local);
            assert_eq!((allowed.limit(), allowed.reset()), (None, Duration::ZERO));
            let allowed = allowed.with_limit(limit);
            assert_eq!(allowed.limit(), Some(limit));
            assert_eq!(allowed.check().unwrap().limit, Some(limit));
            let denied = Verdict::deny(Decided::Store, denied, retry).with_limit(limit);
            assert_eq!(denied.denial().unwrap().limit, Some(limit));
            let elsewhere = denied.with_decided(Decided::Fallback);
            assert_eq!(elsewhere.decided(), Decided::Fallback);
        }
    }

    #[test]
    fn every_reason_has_its_index_among_all() {
        for (index, decided) in Decided::ALL.into_iter().enumerate() {
            assert_eq!(decided.index(), index);
        }
        match Decided::Local {
            Decided::Local | Decided::Store | Decided::Fallback => {
                assert_eq!(Decided::ALL.len(), 3);
            }
        }
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
        // A reason that is added stands here and in `ALL`.
        match Reason::Exhausted {
            Reason::Exhausted
            | Reason::TooCostly
            | Reason::NotLeased
            | Reason::StoreUnavailable
            | Reason::BudgetSpent
            | Reason::Overloaded
            | Reason::KeyTooLong
            | Reason::ShutDown
            | Reason::TaskEnded
            | Reason::Forked
            | Reason::UnknownLimit
            | Reason::NeedsLeases => assert_eq!(Reason::ALL.len(), 12),
        }
    }

    #[test]
    fn a_verdict_is_four_words() {
        assert_eq!(size_of::<Verdict>(), 32);
    }
}
