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

/// Handles one reply about one key.
pub(super) struct ReplyHandler<'a, 'c, W> {
    pub(super) key: &'a mut KeyState<W>,
    pub(super) reply: &'a Reply,
    /// When the request was sent that it replies to.
    pub(super) sent: Instant,
    pub(super) context: &'a mut Context<'c>,
    pub(super) verdicts: &'a mut Verdicts<W>,
    pub(super) now: Instant,
}

impl<W: Waiter> ReplyHandler<'_, '_, W> {
    /// The reply to a central spend of `cost`, for the request of this number.
    pub(super) fn handle_spent(&mut self, cost: u64, number: u64) -> Next {
        let (key, now) = (&mut *self.key, self.now);
        let waiting = key
            .queue
            .take_asking(number)
            .expect("a central spend is for a request that waits");
        // Metered at once. At the next alarm the request would pass for one that came meanwhile,
        // and a key that is asked for once would be kept for two alarms instead of one.
        key.meter_denied(waiting.cost);
        key.observe(self.context, now);
        let sizing = self.context.sizing;
        let verdict = central_verdict(self.reply, &sizing.limit, sizing.interval);
        key.entry.set_full_at(now + verdict.reset());
        self.verdicts.push_back((waiting.waiter, verdict));
        if verdict.is_allowed() {
            self.context.tokens.granted(cost);
            self.context.tokens.spent(cost);
            key.record_fallback(cost, self.context);
            key.plan.handle_spent();
            key.refusal = None;
        } else {
            key.plan.handle_refused();
            // The denial in place is counted from when the call was sent: a request that is sent
            // so long after it arrives in time. The caller's wait is counted from now.
            let known = known_wait(self.reply, &sizing.limit);
            let until = self.sent + known.unwrap_or(sizing.interval);
            if until > now {
                // With what is here, a request for as much more may be served.
                let live = self.key.entry.lease.view(now).live;
                self.refuse(waiting.cost.saturating_add(live), cost, until);
                self.deny_where(|other| other.cost >= waiting.cost, verdict);
            } else {
                self.keep_worth(waiting.cost, verdict);
            }
        }
        match &self.key.account {
            _ if self.key.queue.is_waited_for() => Next::Call,
            Some(_) => Next::Alarm(self.context.sizing.interval),
            None => Next::Alarm(self.key.remembered(self.context)),
        }
    }

    /// After a refusal of `cost` tokens that is over already: keeps the first of the requests that
    /// wait, as many as can be allowed if they are sent now, and denies the others. A store that
    /// yields tokens faster than it answers would otherwise be asked for each of them, and who came
    /// last would wait for all.
    fn keep_worth(&mut self, cost: u32, verdict: Verdict) {
        let sizing = self.context.sizing;
        let arrives = self.now.since(self.sent) + self.context.round_trip;
        let yielded = sizing.yields_within(arrives);
        // Not all of `cost` were free.
        let free = yielded.saturating_add(u64::from(cost) - 1);
        let mut left = free.min(sizing.limit.capacity());
        let is_denied = |waiting: &Waiting<W>| match left.checked_sub(waiting.cost.into()) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        };
        self.deny_where(is_denied, verdict);
    }

    /// Denies those of the requests that wait for which `is_denied` returns true.
    fn deny_where(&mut self, is_denied: impl FnMut(&Waiting<W>) -> bool, verdict: Verdict) {
        for waiting in self.key.queue.take_served(is_denied) {
            self.key.meter_denied(waiting.cost);
            self.verdicts.push_back((waiting.waiter, verdict));
        }
    }

    /// Denies requests for at least `cost` tokens in place until `until`, and remembers how many
    /// free tokens would disprove that.
    fn refuse(&mut self, cost: u32, disproof: u64, until: Instant) {
        self.key.entry.deny(cost, until);
        self.key.refusal = Some(Refusal::new(until, disproof, self.now));
    }

    /// The reply to a look, which asks for nothing. If the tokens that the store had refused for
    /// longer are free, somebody has reset the bucket, or the store has forgotten it.
    pub(super) fn handle_looked(&mut self) -> Next {
        let (key, now) = (&mut *self.key, self.now);
        key.entry
            .set_full_at(now + self.reply.full_in.as_duration());
        let refusal = key.refusal.as_mut();
        if refusal.is_some_and(|it| it.handle_look(self.reply.free, now)) {
            key.entry.clear_denial();
            key.refusal = None;
            key.plan.handle_disproved();
            return Next::Call;
        }
        match key.account {
            _ if key.queue.is_waited_for() => Next::Call,
            Some(_) if key.plan.retry_at() > now => key.next_in_backoff(self.context, now),
            _ => Next::Alarm(key.remembered(self.context)),
        }
    }

    /// The reply to a request for a lease.
    pub(super) fn handle_leased(&mut self, request: &LeaseRequest) -> Next {
        let (key, reply, now) = (&mut *self.key, self.reply, self.now);
        let is_in_fallback = key.is_in_fallback();
        let Some(account) = &mut key.account else {
            unreachable!("the account stays open while a call about it is under way");
        };
        // The lease is over, or counted almost as far as the store can count. The store charges
        // what is left of it when it expires, and a new lease begins.
        if reply.status == Status::Over || reply.granted > GRANTED_MAX {
            key.close_account(self.context, now);
            return Next::Call;
        }
        key.entry.set_full_at(now + reply.full_in.as_duration());
        account.confirm(request.spent, request.released);
        let end = self.sent + self.context.clock.used(request.lease);
        let granted = account.grant(reply.granted, reply.expiry, end);
        self.context.tokens.granted(granted);
        // No ledger grants more than its capacity to be held. If a store granted more all the same,
        // or granted it when the limit was larger, it gets the rest back. An open policy knows no
        // capacity.
        let held = account.granted() - request.spent - request.released;
        let most = if is_in_fallback {
            u64::MAX
        } else {
            self.context.sizing.limit.capacity()
        };
        let beyond = held.saturating_sub(most).min(granted);
        account.release(beyond);
        self.context.tokens.released(beyond);
        let lease_end = account.deadline;
        self.serve(granted - beyond, lease_end);
        if reply.status == Status::Left {
            self.key.close_account(self.context, now);
        }
        self.key.plan.handle_leased(reply, self.context.basis());
        self.next_leased()
    }

    /// Serves the requests that wait, in order, from the grant and from the cell, before any other
    /// thread can take the tokens. The rest goes into the cell.
    fn serve(&mut self, granted: u64, lease_end: Instant) {
        let (key, now) = (&mut *self.key, self.now);
        let keep = if key.queue.is_empty() { u32::MAX } else { 0 };
        let out = key.entry.withdraw(keep, now);
        let arrived_dead = if lease_end <= now { granted } else { 0 };
        let mut pot = granted - arrived_dead + u64::from(out.live);
        let mut stocked = 0;
        key.queue.drop_gone();
        let served = key.queue.take_served(|waiting| {
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
        let cell = key.entry.take_account(now);
        let room = u64::from(Lease::TOKENS_MAX) - u64::from(cell.unspent());
        let deposit = u32::try_from(pot.min(room)).expect("room in a cell fits 32 bits");
        let overflow = pot - u64::from(deposit);
        let dead = u64::from(key.entry.deposit(deposit, lease_end, now));
        let dead = dead + u64::from(out.dead) + arrived_dead;
        if let Some(account) = &mut key.account {
            account.release(dead + overflow);
        }
        self.context.tokens.expired(dead);
        self.context.tokens.released(overflow);
        let (left, reset) = (u64::from(deposit), self.reply.full_in.as_duration());
        let verdict = Verdict::allow(Decided::Store, left, reset);
        let served = served.into_iter();
        self.verdicts
            .extend(served.map(|waiting| (waiting.waiter, verdict)));
    }

    /// Chooses when to call next, and denies the requests for which nothing was left.
    fn next_leased(&mut self) -> Next {
        let (key, context, now) = (&mut *self.key, &mut *self.context, self.now);
        let outlook = key.outlook();
        if key.plan.supply() == Supply::Exhausted && key.plan.asks_store() {
            return self.next_where_requests_ask();
        }
        if key.plan.supply() != Supply::Exhausted {
            key.plan.end_backoff();
            let watermark = key.plan.watermark(outlook, context.basis());
            key.entry.set_watermark(watermark);
            return match (key.queue.is_waited_for(), &key.account) {
                (true, _) => Next::Call,
                (false, Some(_)) => Next::Alarm(self.report_within()),
                (false, None) => Next::Alarm(key.remembered(context)),
            };
        }
        let known = known_wait(self.reply, &context.sizing.limit);
        let known = known.map_or(Duration::ZERO, |wait| (self.sent + wait).since(now));
        let (sizing, replicas) = (context.sizing, self.reply.replicas);
        let jitter = &mut *context.jitter;
        let disproof = key
            .plan
            .back_off(known, replicas, outlook, sizing, jitter, now);
        key.entry.set_watermark(0);
        // The denial lasts until the next call is answered, because a request that comes before
        // finds nothing either.
        let answered = key.plan.retry_at().max(context.next_batch) + context.round_trip;
        self.refuse(1, disproof, answered);
        let reset = self.reply.full_in.as_duration();
        let verdict = exhausted(answered.since(now)).with_reset(reset);
        let key = &mut *self.key;
        for waiting in key.queue.drain() {
            key.asked_here = key.asked_here.saturating_add(u64::from(waiting.cost));
            self.verdicts.push_back((waiting.waiter, verdict));
        }
        // Nor is a wish for stock granted now: requests that come meanwhile are denied in place,
        // and looks go on.
        key.queue.clear_wish();
        key.next_in_backoff(self.context, now)
    }

    /// After a lease that found too little, where requests ask the store for themselves: the lease
    /// rests. Whoever wants tokens in stock is denied, because only a lease brings them.
    fn next_where_requests_ask(&mut self) -> Next {
        let (sizing, now) = (self.context.sizing, self.now);
        let known = known_wait(self.reply, &sizing.limit);
        let reset = self.reply.full_in.as_duration();
        let verdict = exhausted(known.unwrap_or(sizing.interval)).with_reset(reset);
        let stock = |waiting: &Waiting<W>| waiting.purpose == Purpose::Stock;
        self.deny_where(stock, verdict);
        self.key.queue.clear_wish();
        if let Some(until) = known.map(|wait| self.sent + wait)
            && until > now
        {
            // Not a token is free before, but for those that came.
            let more = self.key.entry.lease.view(now).live.saturating_add(1);
            self.refuse(more, 1, until);
            self.deny_where(|waiting| waiting.cost >= more, verdict);
        }
        let pause = self.report_within();
        let key = &mut *self.key;
        key.plan.rest_until(now + pause);
        key.entry.set_watermark(0);
        match &key.account {
            _ if key.queue.is_waited_for() => Next::Call,
            Some(_) => Next::Alarm(pause),
            None => Next::Alarm(key.remembered(self.context)),
        }
    }

    /// How soon to report.
    fn report_within(&self) -> Duration {
        // Without the token that is partly drained, so that the report comes before the bucket
        // has nothing else to drain.
        let charged = self.reply.charged(&self.context.sizing.limit);
        let tokens = charged.saturating_sub(1);
        let unsettled = self.key.account.as_ref();
        let unsettled = unsettled.map_or(0, LeaseAccount::unsettled);
        let (outlook, basis) = (self.key.outlook(), self.context.basis());
        self.key
            .plan
            .report_within(tokens, unsettled, outlook, basis)
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
pub(super) fn known_wait(reply: &Reply, limit: &Limit) -> Option<Duration> {
    match reply.wait {
        Wait::For(wait) => Some(wait.as_duration().min(limit.time_for(limit.capacity()))),
        Wait::None | Wait::Held => None,
    }
}
