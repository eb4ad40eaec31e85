//! A key while the store is away: how it falls back on itself, and how it returns.
//!
//! # Invariant
//!
//! Falling back and returning both close the books first, so a lease in them is either the store's
//! or the key's own, never both. What the store counts as outstanding then is charged there when
//! it expires: nothing is lost that was spent.

use std::time::Duration;

use leasehold_core::{Decided, Instant, Reason, Reply, Request, Verdict};

use super::{KeyState, Next, Pressure, Surroundings};
use crate::waiting::{Waiter, Waiting};

impl<W: Waiter> KeyState<W> {
    /// Falls back on itself, unless a lease of the store's still serves: then returns when to look
    /// again. `around` is of the store.
    pub(crate) fn fall_back(
        &mut self,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Option<Duration> {
        if self.is_alone() {
            return None;
        }
        let left = self.books.as_ref().map(|books| books.deadline.since(now));
        let left = left.unwrap_or(Duration::ZERO);
        if !self.is_waited_for() && !left.is_zero() {
            return Some(left.min(around.sizing.interval));
        }
        self.close_books(around, now);
        self.fallback.get_or_insert_default().set_active(true);
        self.start_over(around);
        None
    }

    /// Stops deciding alone. `around` is of this replica's own part of the limit.
    pub(crate) fn return_to_store(&mut self, around: &mut Surroundings<'_>, now: Instant) {
        if !self.is_alone() {
            return;
        }
        self.close_books(around, now);
        if let Some(fallback) = &mut self.fallback {
            fallback.set_active(false);
        }
        self.start_over(around);
    }

    /// Ends all business, with the store too; returns who waits still. `around` is of the store.
    pub(crate) fn give_up(
        &mut self,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Vec<Waiting<W>> {
        self.close_books(around, now);
        self.stock = 0;
        self.line.drop_gone();
        std::iter::from_fn(|| self.line.pop()).collect()
    }

    /// What was learned of one bucket says nothing of the other.
    fn start_over(&mut self, around: &Surroundings<'_>) {
        self.pressure = Pressure::Calm;
        self.hold = around.sizing.interval;
        self.quiet_until = Instant::ORIGIN;
        self.refusal = None;
        self.refusals = 0;
        self.entry.denial.clear();
        self.entry.set_alone(self.is_alone());
    }

    /// The store has forgiven all that was charged on the key, so a denial from before says nothing.
    /// `around` is of the store.
    pub(crate) fn handle_forgiven(&mut self, around: &Surroundings<'_>) {
        if !self.is_alone() {
            self.start_over(around);
        }
    }

    /// What the store must hear before all else: what was admitted without it.
    pub(crate) fn poll_charge(&mut self) -> Option<Request> {
        let tokens = self.owed();
        if tokens == 0 {
            self.fallback = None;
            return None;
        }
        self.in_flight = true;
        Some(Request::Charge { tokens })
    }

    /// The store has charged what was owed; the key goes on as any other. What it admitted meanwhile
    /// is owed still.
    pub(super) fn handle_charged(
        &mut self,
        tokens: u64,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Next {
        self.return_to_store(around, now);
        if let Some(fallback) = &mut self.fallback {
            fallback.pay(tokens);
        }
        Next::Call
    }

    /// The answer to `request` in place of the store's.
    pub(crate) fn answer_alone(
        &mut self,
        request: &Request,
        around: &Surroundings<'_>,
        now: Instant,
    ) -> Reply {
        let limit = &around.sizing.limit;
        self.fallback
            .get_or_insert_default()
            .answer(request, around.policy, limit, now)
    }
}

/// The same verdict, from a key that stands alone: if it denies, it is for want of the store.
#[cold]
pub(crate) fn alone(verdict: Verdict) -> Verdict {
    match verdict.denial() {
        None => verdict.with_decided(Decided::Fallback),
        Some(denial) => {
            let reason = Reason::StoreUnavailable;
            let verdict = Verdict::deny(Decided::Fallback, reason, denial.retry);
            let verdict = verdict.with_reset(denial.reset);
            match denial.limit {
                Some(limit) => verdict.with_limit(limit),
                None => verdict,
            }
        }
    }
}
