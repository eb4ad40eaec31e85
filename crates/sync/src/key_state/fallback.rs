//! A key while the store is away: how it falls back on its replica, and how it returns to the
//! store.
//!
//! # Invariant
//!
//! Falling back and returning both close the account first, so the lease in it is either the
//! store's or the key's own, never both. What the store counts as outstanding then is charged there
//! when it expires, so no spent token is lost.

use std::time::Duration;

use leasehold_core::{Decided, Instant, Reason, Reply, Request, Verdict};

use super::{Context, KeyState, Next};
use crate::wait_queue::{Waiter, Waiting};

impl<W: Waiter> KeyState<W> {
    /// Falls back, unless a lease of the store's still serves: then returns when to check again.
    /// `context` is of the store.
    pub(crate) fn fall_back(
        &mut self,
        context: &mut Context<'_>,
        now: Instant,
    ) -> Option<Duration> {
        if self.is_in_fallback() {
            return None;
        }
        let left = self
            .account
            .as_ref()
            .map(|account| account.deadline.since(now));
        let left = left.unwrap_or(Duration::ZERO);
        if !self.queue.is_waited_for() && !left.is_zero() {
            return Some(left.min(context.sizing.interval));
        }
        self.close_account(context, now);
        self.fallback.get_or_insert_default().set_active(true);
        self.start_over(context);
        None
    }

    /// Returns from fallback. `context` is of this replica's local limit.
    pub(crate) fn return_to_store(&mut self, context: &mut Context<'_>, now: Instant) {
        if !self.is_in_fallback() {
            return;
        }
        self.close_account(context, now);
        if let Some(fallback) = &mut self.fallback {
            fallback.set_active(false);
        }
        self.start_over(context);
    }

    /// Ends the lease of the key, with the store too, and returns the requests that still wait.
    /// `context` is of the store.
    pub(crate) fn give_up(&mut self, context: &mut Context<'_>, now: Instant) -> Vec<Waiting<W>> {
        self.close_account(context, now);
        self.queue.clear_wish();
        self.queue.drop_gone();
        self.queue.drain().collect()
    }

    /// Forgets what was learned of one bucket, because it tells nothing about the other.
    fn start_over(&mut self, context: &Context<'_>) {
        self.plan.start_over(context.sizing);
        self.refusal = None;
        let is_in_fallback = self.is_in_fallback();
        self.entry.clear_denial();
        self.entry.set_in_fallback(is_in_fallback);
    }

    /// The store has forgiven all that was charged on the key, so a denial from before tells
    /// nothing. `context` is of the store.
    pub(crate) fn handle_forgiven(&mut self, context: &Context<'_>) {
        if !self.is_in_fallback() {
            self.start_over(context);
            self.forgiven_in_flight = self.in_flight;
        }
    }

    /// After the reply to a call that may have been made before the store forgave what was charged:
    /// if it denies, the denial tells nothing.
    pub(super) fn forgive_again(&mut self, context: &Context<'_>) {
        if std::mem::take(&mut self.forgiven_in_flight) && !self.is_in_fallback() {
            self.start_over(context);
        }
    }

    /// The charge that the store must hear of before all else: tokens admitted without it.
    pub(crate) fn poll_charge(&mut self) -> Option<Request> {
        let tokens = self.uncharged();
        if tokens == 0 {
            self.fallback = None;
            return None;
        }
        self.in_flight = true;
        Some(Request::Charge { tokens })
    }

    /// The store has charged `tokens`, and the key goes on as any other. Tokens that it admitted
    /// since the charge was sent stay uncharged.
    pub(super) fn handle_charged(
        &mut self,
        tokens: u64,
        context: &mut Context<'_>,
        now: Instant,
    ) -> Next {
        self.return_to_store(context, now);
        if let Some(fallback) = &mut self.fallback {
            fallback.record_charged(tokens);
        }
        Next::Call
    }

    /// The reply to `request` in place of the store's.
    pub(crate) fn answer_in_fallback(
        &mut self,
        request: &Request,
        context: &Context<'_>,
        now: Instant,
    ) -> Reply {
        let limit = &context.sizing.limit;
        self.fallback
            .get_or_insert_default()
            .answer(request, context.policy, limit, now)
    }
}

/// Marks a verdict as one of a key in fallback: a denial is for want of the store then.
#[cold]
pub(crate) fn in_fallback(verdict: Verdict) -> Verdict {
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
