//! The effects of the store's replies on a key: which requests are served, what is kept, and when
//! the store is asked again.
//!
//! # Invariant
//!
//! Granted tokens go to the requests that wait, first come, first served, before any other thread
//! can take them. The rest goes into the cell, and what does not fit is written off in the account.
//! A request that could not be served has a verdict, or another call follows.

use std::time::Duration;

use leasehold_cache::Lease;
use leasehold_core::{Decided, Instant, LeaseRequest, Limit, Reply, Retry, Status, Verdict, Wait};

use super::{Context, GRANTED_MAX, KeyState, Next, Refusal, Verdicts, exhausted};
use crate::lease_account::LeaseAccount;
use crate::plan::Supply;
use crate::wait_queue::{Purpose, Waiter, Waiting};

impl<W: Waiter> KeyState<W> {
    pub(super) fn handle_spent(
        &mut self,
        cost: u64,
        reply: &Reply,
        context: &mut Context<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        let waiting = self
            .queue
            .take_central()
            .expect("a central call is for a request that waits");
        // Metered at once. At the next alarm the request would pass for one that came meanwhile,
        // and a key that is asked for once would be kept for two alarms instead of one.
        self.meter_denied(waiting.cost);
        self.observe(context, now);
        let sizing = context.sizing;
        let verdict = central_verdict(reply, &sizing.limit, sizing.interval);
        self.entry.set_full_at(now + verdict.reset());
        match verdict.denial() {
            None => {
                verdicts.push_back((waiting.waiter, verdict));
                context.tokens.granted(cost);
                context.tokens.spent(cost);
                self.record_fallback(cost, context);
                self.plan.handle_spent();
                self.refusal = None;
            }
            Some(denial) => {
                let told = denial.retry.wait().unwrap_or_default();
                let retry_after = told.max(self.plan.handle_refused(sizing));
                let verdict = exhausted(retry_after).with_reset(verdict.reset());
                verdicts.push_back((waiting.waiter, verdict));
                self.refuse(waiting.cost, cost, now + retry_after, now);
                let as_costly = |other: &Waiting<W>| other.cost >= waiting.cost;
                for other in self.queue.take_served(as_costly) {
                    self.meter_denied(other.cost);
                    verdicts.push_back((other.waiter, verdict));
                }
            }
        }
        self.next_central(context)
    }

    /// Denies requests for at least `cost` tokens in place until `until`, and remembers how many
    /// free tokens would disprove that.
    fn refuse(&mut self, cost: u32, disproof: u64, until: Instant, now: Instant) {
        self.entry.deny(cost, until);
        self.refusal = Some(Refusal::new(until, disproof, now));
    }

    /// Handles the reply to a look, which asks for nothing. If the tokens that the store had
    /// refused for longer are free, somebody has reset the bucket, or the store has forgotten it.
    pub(super) fn handle_looked(
        &mut self,
        reply: &Reply,
        context: &Context<'_>,
        now: Instant,
    ) -> Next {
        self.entry.set_full_at(now + reply.full_in.as_duration());
        let refusal = self.refusal.as_mut();
        if refusal.is_some_and(|it| it.handle_look(reply.free, now)) {
            self.entry.clear_denial();
            self.refusal = None;
            self.plan.handle_disproved();
            return Next::Call;
        }
        match self.account {
            _ if self.queue.is_waited_for() => Next::Call,
            Some(_) if self.plan.retry_at() > now => self.next_in_backoff(context, now),
            _ => Next::Alarm(self.remembered(context)),
        }
    }

    fn next_central(&self, context: &Context<'_>) -> Next {
        if self.queue.is_waited_for() {
            Next::Call
        } else {
            Next::Alarm(self.remembered(context))
        }
    }

    pub(super) fn handle_leased(
        &mut self,
        request: &LeaseRequest,
        reply: &Reply,
        sent: Instant,
        context: &mut Context<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        let is_in_fallback = self.is_in_fallback();
        let Some(account) = &mut self.account else {
            unreachable!("the account stays open while a call about it is under way");
        };
        // The lease is over, or counted almost as far as the store can count. The store charges
        // what is left of it when it expires, and a new lease begins.
        if reply.status == Status::Over || reply.granted > GRANTED_MAX {
            self.close_account(context, now);
            return Next::Call;
        }
        self.entry.set_full_at(now + reply.full_in.as_duration());
        account.confirm(request.spent, request.released);
        let end = sent + context.clock.used(request.lease);
        let granted = account.grant(reply.granted, reply.expiry, end);
        context.tokens.granted(granted);
        // No ledger grants more than its capacity to be held. If a store granted more all the same,
        // or granted it when the limit was larger, it gets the rest back. An open policy knows no
        // capacity.
        let held = account.granted() - request.spent - request.released;
        let most = if is_in_fallback {
            u64::MAX
        } else {
            context.sizing.limit.capacity()
        };
        let beyond = held.saturating_sub(most).min(granted);
        account.release(beyond);
        context.tokens.released(beyond);
        let lease_end = account.deadline;
        self.serve(granted - beyond, lease_end, reply, context, verdicts, now);
        if reply.status == Status::Left {
            self.close_account(context, now);
        }
        self.plan.handle_leased(reply, context.sizing);
        self.next_leased(reply, sent, context, verdicts, now)
    }

    /// Serves the requests that wait, in order, from the grant and from the cell, before any other
    /// thread can take the tokens. The rest goes into the cell.
    fn serve(
        &mut self,
        granted: u64,
        lease_end: Instant,
        reply: &Reply,
        context: &mut Context<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) {
        let out = self
            .entry
            .withdraw(if self.queue.is_empty() { u32::MAX } else { 0 }, now);
        let arrived_dead = if lease_end <= now { granted } else { 0 };
        let mut pot = granted - arrived_dead + u64::from(out.live);
        let mut stocked = 0;
        self.queue.drop_gone();
        let served = self.queue.take_served(|waiting| {
            let cost = u64::from(waiting.cost);
            let fits = pot - stocked >= cost;
            match waiting.purpose {
                _ if !fits => {}
                Purpose::Spend => pot -= cost,
                Purpose::Stock => stocked += cost,
            }
            fits
        });
        // Refunds may come at any time, so their room is kept free.
        let cell = self.entry.take_account(now);
        let room = u64::from(Lease::TOKENS_MAX) - u64::from(cell.unspent());
        let deposit = u32::try_from(pot.min(room)).expect("room in a cell fits 32 bits");
        let overflow = pot - u64::from(deposit);
        let dead = u64::from(self.entry.deposit(deposit, lease_end, now));
        let dead = dead + u64::from(out.dead) + arrived_dead;
        if let Some(account) = &mut self.account {
            account.release(dead + overflow);
        }
        context.tokens.expired(dead);
        context.tokens.released(overflow);
        let left = u64::from(deposit);
        let verdict = Verdict::allow(Decided::Store, left, reply.full_in.as_duration());
        let served = served.into_iter();
        verdicts.extend(served.map(|waiting| (waiting.waiter, verdict)));
    }

    /// Chooses when to call next, and denies the requests for which nothing was left.
    fn next_leased(
        &mut self,
        reply: &Reply,
        sent: Instant,
        context: &mut Context<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        let outlook = self.outlook();
        if self.plan.supply() != Supply::Exhausted {
            self.plan.end_backoff();
            let watermark = self.plan.watermark(outlook, context.basis());
            self.entry.set_watermark(watermark);
            return match (self.queue.is_waited_for(), &self.account) {
                (true, _) => Next::Call,
                (false, Some(_)) => Next::Alarm(self.report_within(reply, context)),
                (false, None) => Next::Alarm(self.remembered(context)),
            };
        }
        let known = known_wait(reply, &context.sizing.limit);
        let known = known.map_or(Duration::ZERO, |wait| (sent + wait).since(now));
        let (sizing, replicas) = (context.sizing, reply.replicas);
        let jitter = &mut *context.jitter;
        let disproof = self
            .plan
            .back_off(known, replicas, outlook, sizing, jitter, now);
        self.entry.set_watermark(0);
        // The denial lasts until the next call is answered, because a request that comes before
        // finds nothing either.
        let answered = self.plan.retry_at().max(context.next_batch) + context.round_trip;
        self.refuse(1, disproof, answered, now);
        let verdict = exhausted(answered.since(now)).with_reset(reply.full_in.as_duration());
        for waiting in self.queue.drain() {
            self.asked_here = self.asked_here.saturating_add(u64::from(waiting.cost));
            verdicts.push_back((waiting.waiter, verdict));
        }
        // Nor is a wish for stock granted now: requests that come meanwhile are denied in place,
        // and looks go on.
        self.queue.clear_wish();
        self.next_in_backoff(context, now)
    }

    /// How soon to report.
    fn report_within(&self, reply: &Reply, context: &Context<'_>) -> Duration {
        // Without the token that is partly drained, so that the report comes before the bucket
        // has nothing else to drain.
        let tokens = reply.charged(&context.sizing.limit).saturating_sub(1);
        let unsettled = self.account.as_ref().map_or(0, LeaseAccount::unsettled);
        let (outlook, basis) = (self.outlook(), context.basis());
        self.plan.report_within(tokens, unsettled, outlook, basis)
    }
}

/// The verdict that `reply`, to a central spend, comes to when it arrives. If the store knows no
/// time at which the cost will fit, the verdict advises to wait for `patience`.
pub fn central_verdict(reply: &Reply, limit: &Limit, patience: Duration) -> Verdict {
    if let Some(reason) = reply.status.unserved() {
        return Verdict::deny(Decided::Fallback, reason, Retry::After(patience));
    }
    let reset = reply.full_in.as_duration();
    if reply.status == Status::Spent {
        // Nothing is held here: the free tokens at the store follow from the time until the bucket
        // is full.
        return Verdict::allow(Decided::Store, 0, reset);
    }
    // Counted from now, and so from after the store looked: then there is room for certain.
    exhausted(known_wait(reply, limit).unwrap_or(patience)).with_reset(reset)
}

/// How long draining takes to make room, if the store knows that; at most the time in which the
/// bucket fills. A store that tells of a later time, as a frozen bucket or a store in error does,
/// is asked again.
fn known_wait(reply: &Reply, limit: &Limit) -> Option<Duration> {
    match reply.wait {
        Wait::For(wait) => Some(wait.as_duration().min(limit.time_for(limit.capacity()))),
        Wait::None | Wait::Held => None,
    }
}
