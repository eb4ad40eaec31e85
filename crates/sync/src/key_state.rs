//! The state of one key in the background half of a replica: how much is asked for, how much is
//! leased, which requests wait, and when the store is called next.
//!
//! # Invariant
//!
//! At most one call about the lease is in flight; central spends need no record, so any number of
//! them may be. The first call of a lease opens its account, and the store's reply that the lease
//! is over closes it; between the two every token of the lease is in the cell, spent, or written
//! off. Falling back on the replica and returning to the store both close it first, so the lease in
//! it is either the store's or the key's own, never both.

mod replies;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Lease, OwnedEntry};
use leasehold_core::{
    Decided, Instant, LeaseRequest, Reason, RecordId, Reply, Request, Retry, SplitMix64, Verdict,
};

use crate::advance_account::AdvanceAccount;
use crate::batch::Call;
use crate::clock_drift::ClockDrift;
use crate::demand::KeyDemand;
use crate::fallback::{FailurePolicy, Fallback};
use crate::lease_account::LeaseAccount;
use crate::looks::{Looks, Refusal};
use crate::plan::{Basis, Outlook, Plan};
use crate::tokens::TokenCount;
use crate::tuning::{Sizing, Tuning};
use crate::unserved::Unserved;
use crate::wait_queue::{Purpose, WaitQueue, Waiter, Waiting};

use replies::ReplyHandler;

pub use replies::central_verdict;

#[derive(Debug)]
pub(crate) struct KeyState<W> {
    pub(crate) entry: OwnedEntry,
    /// The part of the store that keeps the key.
    pub(crate) partition: u32,
    /// Whether the key is in the queue of keys that want a call.
    pub(crate) queued: bool,
    /// Whether a call is in flight that is no central spend.
    pub(crate) in_flight: bool,
    /// When the store last forgave what was charged, if it did. What it replied to calls that were
    /// sent before may be older than that.
    forgiven_at: Option<Instant>,
    /// When the key's alarm rings, unless it rings before for a look.
    alarm_at: Instant,
    /// Whether anybody has asked since the last alarm that was not for a look.
    asked: bool,
    account: Option<LeaseAccount>,
    demand: KeyDemand,
    /// Tokens that requests asked this task for, and that the account does not count; not metered
    /// yet.
    asked_here: u64,
    plan: Plan,
    queue: WaitQueue<W>,
    /// The last refusal of the store, as long as it is remembered.
    refusal: Option<Refusal>,
    /// Present while the key is in fallback, and until the store has charged what it admitted then.
    fallback: Option<Box<Fallback>>,
    /// The account of what was spent of the replica's advance of the key.
    pub(crate) advance: AdvanceAccount,
    /// When something is to be reported of that, if it is queued for it.
    pub(crate) report_at: Option<Instant>,
    /// Present since the store last answered without serving the key.
    pub(crate) unserved: Option<Unserved>,
}

/// The context of a key: what it needs to know about its replica, and may use of it.
pub(crate) struct Context<'a> {
    pub(crate) sizing: &'a Sizing,
    pub(crate) tuning: &'a Tuning,
    pub(crate) replica: u64,
    /// Mean time from a call to its reply.
    pub(crate) round_trip: Duration,
    /// The shortest time from a call to its reply lately.
    pub(crate) distance: Duration,
    /// The next batch goes at this time, or before it if it is full or a request waits for it.
    pub(crate) next_batch: Instant,
    /// Whether the replica is shutting down: everything is given back, and nothing is asked for.
    pub(crate) closing: bool,
    /// Whether the part of the store that keeps the key is away.
    pub(crate) away: bool,
    /// The drift of the store's clock.
    pub(crate) clock: ClockDrift,
    /// The failure policy of the limit, as it applies to the key now.
    pub(crate) policy: FailurePolicy,
    /// Spreads in time what replicas would do at once.
    pub(crate) jitter: &'a mut SplitMix64,
    /// Numbers the leases of this replica.
    pub(crate) generations: &'a mut u64,
    /// The budget for looks, which all keys share.
    pub(crate) looks: &'a mut Looks,
    /// The replica's count of where the limit's tokens went.
    pub(crate) tokens: TokenCount<'a>,
    /// The capacity of the whole limit, even if `sizing` is for the local limit.
    pub(crate) capacity: u64,
    /// The replica's count of tokens that were admitted in fallback and are no longer uncharged.
    pub(crate) charged: &'a mut u64,
}

impl Context<'_> {
    /// The sizes by which a key plans.
    fn basis(&self) -> Basis<'_> {
        Basis {
            sizing: self.sizing,
            tuning: self.tuning,
            round_trip: self.round_trip,
            distance: self.distance,
        }
    }
}

/// The waiters that need wait no longer, each with its verdict.
pub(crate) type Verdicts<W> = VecDeque<(W, Verdict)>;

/// The next thing that a key wants of its replica.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// A call, as soon as one may go.
    Call,
    /// An alarm after this time.
    Alarm(Duration),
    /// The alarm that was arranged before, because this one rang for a look that is not due.
    Keep,
    /// Nothing: the key may be forgotten.
    Nothing,
}

/// The consequences of the store's reply to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Replied {
    /// The next thing that the key wants; `None`: what it wanted before.
    pub(crate) next: Option<Next>,
    /// Tokens of its advance that are restored.
    pub(crate) restored: u64,
}

impl<W: Waiter> KeyState<W> {
    pub(crate) fn new(entry: OwnedEntry, partition: u32, sizing: &Sizing, now: Instant) -> Self {
        Self {
            entry,
            partition,
            queued: false,
            in_flight: false,
            forgiven_at: None,
            alarm_at: Instant::ORIGIN,
            asked: false,
            account: None,
            demand: KeyDemand::new(sizing.time_constant, sizing.backoff_max, now),
            asked_here: 0,
            plan: Plan::new(sizing),
            queue: WaitQueue::new(),
            refusal: None,
            fallback: None,
            advance: AdvanceAccount::default(),
            report_at: None,
            unserved: None,
        }
    }

    /// Tokens the store counts as outstanding here.
    pub(crate) fn unsettled(&self) -> u64 {
        if self.is_in_fallback() {
            return 0;
        }
        self.account.as_ref().map_or(0, LeaseAccount::unsettled)
    }

    /// Whether calls are answered here, not by the store.
    pub(crate) fn is_in_fallback(&self) -> bool {
        self.fallback
            .as_ref()
            .is_some_and(|fallback| fallback.is_active())
    }

    /// Whether the next call renews a lease that pays, and so serves many requests. A key is not
    /// hot if its lease was for a few requests that came together, or if nobody has asked for it
    /// since the last alarm: the next call reports or gives back, and there are as many such calls
    /// as keys.
    pub(crate) fn is_hot(&self) -> bool {
        let account = self.account.as_ref();
        self.plan.is_leasing()
            && !self.plan.is_idle()
            && account.is_some_and(LeaseAccount::is_renewed)
    }

    /// Tokens admitted in fallback that the store has not charged yet.
    pub(crate) fn uncharged(&self) -> u64 {
        self.fallback
            .as_ref()
            .map_or(0, |fallback| fallback.uncharged())
    }

    /// Records that so many tokens were admitted without the store's leave, under a limit of this
    /// `capacity`. Returns how many of them are forgiven.
    pub(crate) fn record_uncharged(&mut self, tokens: u64, capacity: u64) -> u64 {
        self.fallback
            .get_or_insert_default()
            .record_uncharged(tokens, capacity)
    }

    /// Records tokens that the key admitted, if it is in fallback.
    fn record_fallback(&mut self, tokens: u64, context: &mut Context<'_>) {
        if self.is_in_fallback() {
            *context.charged += self.record_uncharged(tokens, context.capacity);
        }
    }

    /// Handles a request that waits for `cost` tokens. Returns the verdict if it is known already:
    /// since the request found the cell short, a reply may have filled it, or told that there is no
    /// more.
    pub(crate) fn handle_waiting(
        &mut self,
        waiter: W,
        cost: u32,
        purpose: Purpose,
        now: Instant,
    ) -> Option<(W, Verdict)> {
        self.demand.handle_request(cost);
        if let Some(left) = self.take(cost, purpose, now) {
            let reset = self.entry.full_at().since(now);
            let verdict = Verdict::allow(Decided::Local, u64::from(left), reset);
            return Some((waiter, verdict));
        }
        if let Some(until) = self.refused_until(cost, now) {
            self.meter_denied(cost);
            let unserved = self.unserved.filter(|_| !self.is_in_fallback());
            let denial = unserved.map_or_else(
                || exhausted(until.since(now)),
                |unserved| unserved.denial(now),
            );
            return Some((waiter, denial));
        }
        self.queue.push(waiter, cost, purpose);
        None
    }

    /// Takes `cost` tokens from the cell, or checks that they are there, unless other requests wait
    /// already. Returns how many are left.
    fn take(&self, cost: u32, purpose: Purpose, now: Instant) -> Option<u32> {
        if !self.queue.is_empty() {
            return None;
        }
        match purpose {
            Purpose::Spend => self.entry.lease.spend(cost, now).ok().map(|left| left.live),
            Purpose::Stock => Some(self.entry.lease.view(now).live).filter(|live| *live >= cost),
        }
    }

    /// The time until which `cost` tokens cannot be had, if it is known: no request waits for the
    /// end of a backoff, because no call goes before.
    fn refused_until(&self, cost: u32, now: Instant) -> Option<Instant> {
        let retry_at = self.plan.retry_at();
        let backs_off = retry_at > now && !self.in_flight;
        let denied = self.entry.denies(cost, now);
        denied.or(backs_off.then_some(retry_at))
    }

    /// Handles a request that wished for `cost` tokens to be here, and did not wait.
    pub(crate) fn handle_missed(&mut self, cost: u32) {
        self.demand.handle_request(cost);
        self.meter_denied(cost);
        self.queue.wish(u64::from(cost));
    }

    /// Whether requests wait for the next call.
    pub(crate) fn has_waiters(&self) -> bool {
        !self.queue.is_empty()
    }

    /// No call before this.
    pub(crate) fn retry_at(&self) -> Instant {
        self.plan.retry_at()
    }

    /// How many calls are in flight, central spends and reports among them.
    pub(crate) fn calls_in_flight(&self) -> usize {
        usize::from(self.in_flight) + self.queue.asking() + usize::from(self.advance.is_telling())
    }

    /// Handles a request that was allowed by the replica's advance. Returns how many tokens are
    /// used of that.
    pub(crate) fn handle_advanced(
        &mut self,
        cost: u32,
        context: &mut Context<'_>,
        now: Instant,
    ) -> u64 {
        self.demand.handle_request(cost);
        self.meter_denied(cost);
        context.tokens.granted(cost.into());
        context.tokens.spent(cost.into());
        self.advance.spend(cost.into(), now);
        self.advance.used()
    }

    /// How long the last refusal lasts.
    pub(crate) fn refused_for(&self, now: Instant) -> Duration {
        self.refusal
            .map_or(Duration::ZERO, |refusal| refusal.until().since(now))
    }

    /// The report to send, if there is something to report.
    pub(crate) fn poll_report(&mut self) -> Option<Call> {
        let tokens = self.advance.poll_report()?;
        Some(Call::report(Arc::clone(&self.entry), tokens))
    }

    /// Handles the store's reply to a report of `tokens`. Returns how many are restored.
    fn handle_reported(
        &mut self,
        tokens: u64,
        reply: &Reply,
        sent: Instant,
        context: &Context<'_>,
        now: Instant,
    ) -> u64 {
        let restored = self.advance.handle_reported(tokens, reply.free, now);
        self.entry.set_full_at(now + reply.full_in.as_duration());
        if restored == 0 && self.advance.is_unrestored() && !self.is_in_fallback() {
            let known = replies::known_wait(reply, &context.sizing.limit);
            if let Some(until) = known.map(|wait| sent + wait)
                && until > now
            {
                // There is no room at the store for a single token.
                let more = self.entry.lease.view(now).live.saturating_add(1);
                self.entry.deny(more, until);
                self.refusal = Some(Refusal::new(until, 1, now));
            }
        }
        restored
    }

    /// The cost of the central spend that is the next call, if it is one. It goes whatever else is
    /// in flight.
    pub(crate) fn central_cost(&self, now: Instant) -> Option<u32> {
        let leases_first = !self.in_flight && self.plan.leases_first(now);
        let may_be_central = self.plan.asks_store() && !leases_first;
        self.queue.central_cost(may_be_central, COST_LEASED_MAX)
    }

    /// Whether the next call is a central spend.
    pub(crate) fn wants_central(&self, now: Instant) -> bool {
        self.central_cost(now).is_some()
    }

    /// Whether a call may go now.
    pub(crate) fn may_call(&self, closing: bool, now: Instant) -> bool {
        let may = !self.in_flight || self.wants_central(now);
        may && (closing || self.is_looking() || self.plan.retry_at() <= now)
    }

    /// Handles the alarm. Returns what the key wants next.
    pub(crate) fn handle_alarm(&mut self, context: &mut Context<'_>, now: Instant) -> Next {
        if self.calls_in_flight() > 0 {
            return Next::Alarm(context.sizing.interval);
        }
        let is_asked = self.observe(context, now) > 0;
        self.asked |= is_asked;
        self.queue.drop_gone();
        let waits = self.queue.is_waited_for();
        if !waits && self.is_look_due(is_asked, context, now) {
            return Next::Call;
        }
        if !waits && now < self.alarm_at {
            return Next::Keep;
        }
        let asked = mem::take(&mut self.asked);
        match self.next_at_alarm(asked, waits, context, now) {
            Next::Nothing => self.kept_for_look(now),
            next => next,
        }
    }

    /// Arranges an alarm for `at`. Returns when it is to ring first: then, or before for a look. A
    /// time for a look that has passed does not ring, so the alarms of a key always go on in time.
    pub(crate) fn set_alarm(&mut self, at: Instant, now: Instant) -> Instant {
        self.alarm_at = at;
        let refusal = self.refusal.filter(|_| !self.is_in_fallback());
        let check = refusal.and_then(|it| it.next_check());
        let check = check.filter(|check| *check > now);
        check.map_or(at, |check| check.min(at))
    }

    /// When the alarm rings that is not for a look.
    pub(crate) fn alarm_at(&self) -> Instant {
        self.alarm_at
    }

    fn next_at_alarm(
        &mut self,
        asked: bool,
        waits: bool,
        context: &mut Context<'_>,
        now: Instant,
    ) -> Next {
        self.plan.handle_alarm(asked || waits);
        if self.fallback.is_some() && !context.away && !self.is_unserved(now) {
            // The store is back, and is to charge what was admitted without it.
            self.plan.end_backoff();
            return Next::Call;
        }
        if self.plan.retry_at() > now {
            if asked || waits {
                return self.next_in_backoff(context, now);
            }
            // Nobody asks any more: what is held may go back, and the key be forgotten. Its denial
            // stays.
            self.plan.end_backoff();
        }
        let outlook = self.outlook();
        self.plan.choose_mode(outlook, 0, context.basis());
        match &self.account {
            _ if waits => Next::Call,
            // Nothing is outstanding: the record may expire unattended.
            Some(account) if account.is_settled() && self.plan.is_idle() => {
                self.close_account(context, now);
                Next::Nothing
            }
            // A lull is not yet the end, unless the lease ends before it: tokens that are held then
            // are lost.
            Some(account)
                if self.plan.is_leasing() && self.plan.is_idle() && !self.plan.gives_back() =>
            {
                let lead = (context.round_trip + context.tuning.call_gap) * 2;
                match account.deadline.since(now).saturating_sub(lead) {
                    Duration::ZERO => {
                        self.plan.give_back();
                        Next::Call
                    }
                    left => Next::Alarm(self.patience(context).min(left)),
                }
            }
            // There is something to report or to give back, or tokens will be wanted.
            Some(_) => Next::Call,
            None if self.plan.is_leasing() && asked => Next::Call,
            None if asked => Next::Alarm(self.remembered(context)),
            None => Next::Nothing,
        }
    }

    /// Whether the next call is to look whether a denial that is remembered still holds.
    fn is_look_due(&mut self, is_asked: bool, context: &mut Context<'_>, now: Instant) -> bool {
        if self.is_in_fallback() || context.closing {
            return false;
        }
        let refusal = self.refusal.as_mut();
        refusal.is_some_and(|it| it.is_look_due(is_asked, context.looks, now))
    }

    /// Keeps a key without other work for as long as its denial is young, so that a look can find
    /// out whether the denial still holds.
    fn kept_for_look(&self, now: Instant) -> Next {
        let left = self.refusal.and_then(|it| it.kept_for(now));
        left.map_or(Next::Nothing, Next::Alarm)
    }

    /// Ends a long denial before the key is forgotten here, because no look would find out any more
    /// whether the denial still holds. The next request asks the store.
    pub(crate) fn let_go(&mut self, now: Instant) {
        if self.refusal.is_some_and(|it| it.ends_with_key(now)) {
            self.entry.clear_denial();
        }
    }

    fn is_looking(&self) -> bool {
        self.refusal.is_some_and(|it| it.is_looking())
    }

    /// The call to send, if there is something to ask or to report.
    pub(crate) fn poll_call(&mut self, context: &mut Context<'_>, now: Instant) -> Option<Call> {
        self.observe(context, now);
        self.queue.drop_gone();
        let is_look = self.refusal.as_mut().is_some_and(Refusal::take_look);
        if is_look && !self.in_flight && !context.closing && !self.queue.is_waited_for() {
            return Some(self.call(Request::Spend { cost: 0 }));
        }
        let needed = self.queue.needed().min(NEEDED_MAX);
        let outlook = self.outlook();
        if !self.in_flight {
            self.plan.choose_mode(outlook, needed, context.basis());
        }
        if self.wants_central(now) {
            if !self.in_flight && self.is_done_leasing() {
                // What is outstanding of the lease goes back beside the spends: nobody asks for it.
                let request = self.lease_request(0, 0, context, now);
                self.in_flight = true;
                return Some(Call::about(Arc::clone(&self.entry), request, 0));
            }
            let (number, cost) = self.queue.begin_central()?;
            let request = Request::Spend { cost: cost.into() };
            return Some(Call::about(Arc::clone(&self.entry), request, number));
        }
        if self.in_flight {
            return None;
        }
        let wanted = if context.closing {
            0
        } else {
            self.plan.wanted(needed, outlook, context.basis())
        };
        if wanted == 0 && self.account.is_none() {
            return None;
        }
        let request = self.lease_request(wanted, needed, context, now);
        self.queue.cover();
        Some(self.call(request))
    }

    /// Whether tokens are outstanding of a lease that is not asked for again.
    fn is_done_leasing(&self) -> bool {
        let account = self.account.as_ref();
        !self.plan.is_leasing() && account.is_some_and(|account| !account.is_settled())
    }

    /// Handles the store's reply to `call`, which was sent at `sent`. A reply that no ledger would
    /// give counts as a failure.
    pub(crate) fn handle_reply(
        &mut self,
        call: &Call,
        reply: &Reply,
        sent: Instant,
        context: &mut Context<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Replied {
        let request = &call.request;
        if call.is_report() {
            return self.handle_report_reply(call, reply, sent, context, now);
        }
        self.handle_returned(call);
        if !reply.answers(request) {
            // There is no reason to ask again at once: a store that answers so is in no good state.
            self.handle_failure(call, Duration::ZERO, context, verdicts, now);
            return Replied {
                next: Some(Next::Alarm(context.sizing.interval)),
                restored: 0,
            };
        }
        // In fallback it is not the store that replies, but for the charge that ends it.
        let restored = if self.is_in_fallback() {
            0
        } else {
            self.advance.restore(reply.free, sent)
        };
        let mut handler = ReplyHandler {
            key: self,
            reply,
            sent,
            context,
            verdicts,
            now,
        };
        let next = match request {
            Request::Spend { cost: 0 } => handler.handle_looked(),
            Request::Spend { cost } => handler.handle_spent(*cost, call.number()),
            Request::Charge { tokens } => self.handle_charged(*tokens, context, now),
            Request::Forgive => unreachable!("no key asks for it: a limiter does, beside its keys"),
            Request::Lease(request) => handler.handle_leased(request),
        };
        self.forgive_again(sent, context);
        Replied {
            next: Some(next),
            restored,
        }
    }

    /// Handles the store's reply to a report, or one that no ledger would give.
    fn handle_report_reply(
        &mut self,
        call: &Call,
        reply: &Reply,
        sent: Instant,
        context: &Context<'_>,
        now: Instant,
    ) -> Replied {
        let restored = match call.request {
            Request::Charge { tokens } if reply.answers(&call.request) => {
                self.handle_reported(tokens, reply, sent, context, now)
            }
            _ => {
                self.advance.handle_failure();
                0
            }
        };
        Replied {
            next: None,
            restored,
        }
    }

    /// Whether the store does not serve the key, and is not to be asked about it now.
    pub(crate) fn is_unserved(&self, now: Instant) -> bool {
        self.unserved
            .is_some_and(|it| it.blocked_until(now).is_some())
    }

    /// Handles an answer that did not serve the key, which is noted as [`Unserved`]. If nothing is
    /// admitted then, the requests that wait are denied; otherwise the key falls back.
    pub(crate) fn handle_unserved(
        &mut self,
        call: &Call,
        unserved: Unserved,
        context: &Context<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        self.end_call(call);
        if context.policy != FailurePolicy::Closed {
            return Next::Call;
        }
        self.deny_all(unserved.denial(now), verdicts);
        let retry_at = unserved.blocked_until(now);
        self.plan.set_retry_at(retry_at.unwrap_or(now));
        self.next_in_backoff(context, now)
    }

    /// Handles a call that failed, or whose outcome is unknown: nothing is believed. The requests
    /// that wait go on waiting, unless no call is to go for long: because the store is away, or the
    /// bucket was found short meanwhile.
    pub(crate) fn handle_failure(
        &mut self,
        call: &Call,
        retry_after: Duration,
        context: &Context<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        self.end_call(call);
        if !context.away || context.policy != FailurePolicy::Closed {
            let retry_at = self.plan.retry_at();
            if retry_at <= now || self.in_flight {
                return Next::Call;
            }
            self.deny_all(exhausted(retry_at.since(now)), verdicts);
            return self.next_in_backoff(context, now);
        }
        let denial = Verdict::deny(
            Decided::Fallback,
            Reason::StoreUnavailable,
            Retry::After(retry_after),
        );
        self.deny_all(denial, verdicts);
        Next::Alarm(context.sizing.interval)
    }

    /// A call is over that decided nothing. The request that a central spend was for waits again.
    fn end_call(&mut self, call: &Call) {
        if call.is_report() {
            self.advance.handle_failure();
            return;
        }
        self.handle_returned(call);
        self.queue.put_back(call.number());
    }

    /// A call is in flight no longer.
    fn handle_returned(&mut self, call: &Call) {
        if call.central_cost().is_none() {
            self.in_flight = false;
            self.queue.uncover();
        }
    }

    /// Denies all requests that wait.
    fn deny_all(&mut self, denial: Verdict, verdicts: &mut Verdicts<W>) {
        self.queue.clear_wish();
        let waiting = self.queue.drain();
        verdicts.extend(waiting.map(|waiting| (waiting.waiter, denial)));
    }

    /// Denies all requests that wait, because the limiter is shutting down.
    pub(crate) fn dismiss(&mut self) -> Vec<(W, Verdict)> {
        self.queue.clear_wish();
        let denial = Verdict::deny(Decided::Local, Reason::ShutDown, Retry::Never);
        let waiting = self.queue.drain();
        waiting.map(|waiting| (waiting.waiter, denial)).collect()
    }

    /// A call that is no central spend.
    fn call(&mut self, request: Request) -> Call {
        self.in_flight = true;
        self.queue.clear_wish();
        Call::about(Arc::clone(&self.entry), request, 0)
    }

    /// Measures the demand since this was called last. Returns how many tokens were asked for.
    fn observe(&mut self, context: &mut Context<'_>, now: Instant) -> u64 {
        let allowed = match &mut self.account {
            Some(account) => account.take_metered(self.entry.take_account(now)),
            None => 0,
        };
        self.record_fallback(allowed, context);
        self.count(&mut context.tokens, now);
        let asked = allowed.saturating_add(mem::take(&mut self.asked_here));
        self.demand.observe(asked, now);
        asked
    }

    /// Adds to the replica's count what was spent and denied since it was last counted. What was
    /// asked for is not metered yet.
    pub(crate) fn count(&mut self, count: &mut TokenCount<'_>, now: Instant) {
        if let Some(account) = &mut self.account {
            count.spent(account.take_counted(self.entry.take_account(now)));
        }
        let denied = u64::from(self.entry.take_denied());
        count.denied(denied);
        self.asked_here = self.asked_here.saturating_add(denied);
    }

    /// Counts tokens that this task was asked for and that the account does not count.
    fn meter_denied(&mut self, cost: u32) {
        self.asked_here = self.asked_here.saturating_add(u64::from(cost));
    }

    /// The outlook for the time that is planned for.
    fn outlook(&self) -> Outlook {
        self.demand.outlook(self.plan.supply())
    }

    /// How long a key without a lease is remembered.
    fn remembered(&self, context: &Context<'_>) -> Duration {
        self.plan.remembered(self.outlook(), context.basis())
    }

    /// How long the lease may go unreported.
    fn patience(&self, context: &Context<'_>) -> Duration {
        let unsettled = self.account.as_ref().map_or(0, LeaseAccount::unsettled);
        let outlook = self.outlook();
        self.plan.patience(unsettled, outlook, context.basis())
    }

    /// The next alarm of a key that may not call yet.
    fn next_in_backoff(&self, context: &Context<'_>, now: Instant) -> Next {
        Next::Alarm(self.plan.alarm_in_backoff(context.sizing, now))
    }

    fn lease_request(
        &mut self,
        wanted: u64,
        needed: u64,
        context: &mut Context<'_>,
        now: Instant,
    ) -> Request {
        let replica = context.replica;
        let ahead = self.plan.ahead(self.outlook(), context.basis());
        let account = self.account.get_or_insert_with(|| {
            *context.generations += 1;
            LeaseAccount::open(RecordId {
                replica,
                generation: *context.generations,
            })
        });
        // Twice what is wanted is kept, so that a lull does not send tokens back and forth.
        let keep = u32::try_from(wanted * 2).unwrap_or(Lease::TOKENS_MAX);
        let out = self.entry.withdraw(keep, now);
        account.release(u64::from(out.live + out.dead));
        context.tokens.released(u64::from(out.live));
        context.tokens.expired(u64::from(out.dead));
        let cell = self.entry.take_account(now);
        Request::Lease(LeaseRequest {
            record: account.record,
            granted: account.granted(),
            spent: account.spent(cell),
            released: account.released(),
            wanted: wanted.max(if wanted == 0 { 0 } else { needed }),
            needed: if wanted == 0 {
                0
            } else {
                needed + u64::from(cell.pending)
            },
            lease: Sizing::lease(ahead, context.tuning)
                .max(context.clock.lease_for(account.deadline.since(now))),
            expiry: account.expiry,
            demand: self
                .demand
                .report(self.plan.supply(), &context.sizing.limit),
        })
    }

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
    pub(crate) fn handle_forgiven(&mut self, context: &Context<'_>, now: Instant) {
        if !self.is_in_fallback() {
            self.start_over(context);
            self.forgiven_at = Some(now);
        }
    }

    /// After the reply to a call of `sent`: the store may have replied before it forgave what was
    /// charged, and if it denied, the denial tells nothing.
    fn forgive_again(&mut self, sent: Instant, context: &Context<'_>) {
        let is_older = self.forgiven_at.is_some_and(|at| sent <= at);
        if is_older && !self.is_in_fallback() {
            self.start_over(context);
        }
    }

    /// The charge that the store must hear of before all else: tokens admitted without it.
    pub(crate) fn poll_charge(&mut self) -> Option<Call> {
        if self.in_flight {
            return None;
        }
        let tokens = self.uncharged();
        if tokens == 0 {
            self.fallback = None;
            return None;
        }
        Some(self.call(Request::Charge { tokens }))
    }

    /// The store has charged `tokens`, and the key goes on as any other. Tokens that it admitted
    /// since the charge was sent stay uncharged.
    fn handle_charged(&mut self, tokens: u64, context: &mut Context<'_>, now: Instant) -> Next {
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

    /// Ends the lease here, because the store has ended it or nothing is left to report. The store
    /// has charged what is still in the cell.
    fn close_account(&mut self, context: &mut Context<'_>, now: Instant) {
        self.observe(context, now);
        if self.account.take().is_some() {
            let left = self.entry.renew_generation();
            context.tokens.expired(u64::from(left));
            self.entry.set_watermark(0);
        }
    }
}

/// A denial never advises to come back at once: that is how storms begin.
pub(crate) const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);

fn exhausted(retry_after: Duration) -> Verdict {
    let retry = Retry::After(retry_after.max(RETRY_AFTER_MIN));
    Verdict::deny(Decided::Store, Reason::Exhausted, retry)
}

/// The most tokens that one request asks for, whatever waits: half of what one lease is granted in
/// all, so that the store can count every number in a request.
const NEEDED_MAX: u64 = GRANTED_MAX / 2;

/// Tokens granted to one lease in all, after which the next begins: half of what the store can
/// count, so that no reply comes near the end of that.
const GRANTED_MAX: u64 = 1 << 51;

/// A request that costs more than this is decided by the store itself.
pub const COST_LEASED_MAX: u32 = Lease::TOKENS_MAX / 4;

#[cfg(test)]
mod tests {
    use leasehold_cache::{KeyRef, LimitId};

    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    #[derive(Debug, Eq, PartialEq)]
    struct Caller;

    impl Waiter for Caller {
        fn is_gone(&self) -> bool {
            false
        }
    }

    /// A key that holds `tokens` tokens and may not call for a second.
    fn key_in_backoff(tokens: u32) -> KeyState<Caller> {
        let sizing = Sizing::new("1000/s".parse().unwrap(), &Tuning::default());
        let mut entry = OwnedEntry::new(KeyRef {
            limit: LimitId(0),
            subject: b"k",
        });
        entry.deposit(tokens, Instant::from_millis(5000), NOW);
        let mut key = KeyState::new(entry, 0, &sizing, NOW);
        key.plan.set_retry_at(Instant::from_millis(2000));
        key
    }

    fn wait(key: &mut KeyState<Caller>, cost: u32, purpose: Purpose) -> Option<Verdict> {
        let known = key.handle_waiting(Caller, cost, purpose, NOW);
        known.map(|(_, verdict)| verdict)
    }

    /// Such a request once waited out the whole backoff beside the tokens.
    #[test]
    fn who_comes_just_after_a_reply_is_served_from_what_it_brought() {
        let mut key = key_in_backoff(5);
        assert!(wait(&mut key, 5, Purpose::Stock).unwrap().is_allowed());
        assert!(wait(&mut key, 3, Purpose::Spend).unwrap().is_allowed());
        assert_eq!(key.entry.lease.view(NOW).live, 2);
    }

    #[test]
    fn nobody_waits_for_the_end_of_a_time_in_which_no_call_goes() {
        let mut key = key_in_backoff(2);
        let denied = wait(&mut key, 3, Purpose::Spend).unwrap();
        let retry = denied.denial().unwrap().retry;
        assert_eq!(retry, Retry::After(Duration::from_secs(1)));
        key.in_flight = true;
        assert_eq!(
            wait(&mut key, 3, Purpose::Spend),
            None,
            "an answer is coming"
        );
        assert_eq!(wait(&mut key, 1, Purpose::Spend), None, "others came first");
    }

    /// An alarm for a look whose time had passed, while a call was in flight or the replica was
    /// closing, rang again at once, for ever.
    #[test]
    fn the_alarm_of_a_look_rings_in_time_or_not_at_all() {
        let mut key = key_in_backoff(0);
        let after = |seconds| NOW + Duration::from_secs(seconds);
        key.refusal = Some(Refusal::new(after(60), 1, NOW));
        assert_eq!(key.set_alarm(after(5), NOW), after(1), "for a look");
        assert_eq!(key.set_alarm(after(5), after(1)), after(5));
        assert_eq!(key.set_alarm(after(5), after(2)), after(5));
    }
}
