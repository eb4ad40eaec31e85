//! The answer to a request: allowed or denied, why, decided where, and what to tell the caller.

use core::fmt;
use core::time::Duration;

/// The answer to a request.
// Flat: it is written once and read where it lies. An enum in it would be copied in overlapping parts,
// which a processor does not forward from its stores: that took a third of a decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a verdict that nobody looks at limits nothing"]
pub struct Verdict {
    /// Tokens this replica may still spend without asking the store: a lower bound of what is
    /// left of the limit, not an estimate of it. For central decisions, what the store had left.
    pub remaining: u64,
    /// Time until the key's bucket is full again if nothing more is spent, as far as is known
    /// here; zero if nothing is known.
    pub reset: Duration,
    /// Where it was decided.
    pub decided: Decided,
    /// `None` if it is allowed.
    reason: Option<Reason>,
    /// `None` if it is allowed, or never can be.
    retry_after: Option<Duration>,
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
            reset,
            decided,
            reason: None,
            retry_after: None,
        }
    }

    /// A verdict that denies.
    #[inline]
    pub const fn deny(decided: Decided, reason: Reason, retry_after: Option<Duration>) -> Self {
        Self {
            remaining: 0,
            reset: Duration::ZERO,
            decided,
            reason: Some(reason),
            retry_after,
        }
    }

    /// The same with `reset` filled in.
    #[inline]
    pub const fn with_reset(mut self, reset: Duration) -> Self {
        self.reset = reset;
        self
    }

    /// Whether the request may go ahead: its cost is paid. Nothing is paid by one that is denied.
    #[inline]
    pub const fn is_allowed(&self) -> bool {
        self.reason.is_none()
    }

    /// Why it was denied, if it was.
    pub const fn denial(&self) -> Option<Denial> {
        match self.reason {
            None => None,
            Some(reason) => Some(Denial {
                reason,
                retry_after: self.retry_after,
            }),
        }
    }

    /// The earliest time at which the same request can be allowed; `None` if it was allowed or
    /// never can be.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
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
