//! What the store's replies do to a key: who is served, what is kept, and when to ask again.
//!
//! # Invariant
//!
//! Granted tokens go to those who wait, first come, first served, before anybody else can take
//! them; what is left goes into the cell, and what cannot be used is written off in the books.
//! Nobody who could not be served stays without an answer, or without another call.

use std::time::Duration;

use leasehold_cache::Lease;
use leasehold_core::{Decided, Demand, Instant, LeaseRequest, Reply, Status, Verdict, Wait};

use super::{GRANTED_MAX, KeyState, Next, Pressure, Refusal, Surroundings, Verdicts, exhausted};
use crate::central::{central_verdict, free, known_wait, reset};
use crate::tuning::Sizing;
use crate::waiting::{Purpose, Waiter, Waiting};

impl<W: Waiter> KeyState<W> {
    pub(super) fn handle_spent(
        &mut self,
        cost: u64,
        reply: &Reply,
        around: &mut Surroundings<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        let waiting = self
            .spending
            .take()
            .expect("a central call is for a request that waits");
        // Metered at once: at the next alarm it would pass for a request that came meanwhile, and a key
        // that is asked for once would be kept for two alarms in place of one.
        self.meter_denied(waiting.cost);
        self.observe(around, now);
        let sizing = around.sizing;
        let verdict = central_verdict(reply, &sizing.limit, sizing.interval);
        self.entry.set_full_at(now + verdict.reset());
        match verdict.denial() {
            None => {
                verdicts.push_back((waiting.waiter, verdict));
                around.tokens.granted(cost);
                around.tokens.spent(cost);
                self.owe_alone(cost, around);
                self.pressure = Pressure::Calm;
                self.refusals = 0;
                self.refusal = None;
            }
            Some(denial) => {
                self.pressure = Pressure::Short;
                let told = denial.retry.wait().unwrap_or_default();
                let retry_after = told.max(self.give_way(sizing));
                let verdict = exhausted(retry_after).with_reset(verdict.reset());
                verdicts.push_back((waiting.waiter, verdict));
                self.refuse(waiting.cost, cost, now + retry_after, now);
                let as_costly = |other: &Waiting<W>| other.cost >= waiting.cost;
                for other in self.line.take_served(as_costly) {
                    self.meter_denied(other.cost);
                    verdicts.push_back((other.waiter, verdict));
                }
            }
        }
        self.next_central(around)
    }

    /// Denies requests for at least `cost` tokens in place, and remembers what would disprove it.
    fn refuse(&mut self, cost: u32, disproof: u64, until: Instant, now: Instant) {
        self.entry.denial.deny(cost, until);
        self.refusal = Some(Refusal {
            until,
            disproof,
            looking: false,
            heard: now,
            asked: false,
        });
    }

    /// The store says how the bucket does, and nothing was asked of it. If there is what it had
    /// refused for longer, somebody has reset the bucket, or it was forgotten.
    pub(super) fn handle_looked(
        &mut self,
        reply: &Reply,
        around: &Surroundings<'_>,
        now: Instant,
    ) -> Next {
        let limit = &around.sizing.limit;
        self.entry.set_full_at(now + reset(reply, limit));
        let free = free(reply, limit);
        if self.refusal.is_some_and(|refusal| free >= refusal.disproof) {
            self.entry.denial.clear();
            self.refusal = None;
            self.refusals = 0;
            self.quiet_until = Instant::ORIGIN;
            return Next::Call;
        }
        if let Some(refusal) = &mut self.refusal {
            (refusal.heard, refusal.asked) = (now, false);
        }
        match self.books {
            _ if self.is_waited_for() => Next::Call,
            Some(_) if self.quiet_until > now => self.next_quiet(around, now),
            _ => Next::Alarm(self.remembered(around)),
        }
    }

    /// How long to stay away from a bucket that refused again after the time at which it promised
    /// room: others were faster. Twice as long each time.
    fn give_way(&mut self, sizing: &Sizing) -> Duration {
        let doublings = self.refusals.min(REFUSALS_MAX);
        self.refusals += u32::from(doublings == self.refusals);
        match doublings {
            0 => Duration::ZERO,
            again => (sizing.interval / 4 * 2u32.pow(again)).min(sizing.gap_max),
        }
    }

    fn next_central(&self, around: &Surroundings<'_>) -> Next {
        if self.is_waited_for() {
            Next::Call
        } else {
            Next::Alarm(self.remembered(around))
        }
    }

    pub(super) fn handle_leased(
        &mut self,
        request: &LeaseRequest,
        reply: &Reply,
        sent: Instant,
        around: &mut Surroundings<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        let alone = self.is_alone();
        let Some(books) = &mut self.books else {
            unreachable!("books stay open while a call about them is under way");
        };
        // Over, or counted almost as far as the store can: what is left of it is charged when it
        // expires, and a new one begins.
        if reply.status == Status::Over || reply.granted > GRANTED_MAX {
            self.close_books(around, now);
            return Next::Call;
        }
        self.entry
            .set_full_at(now + reset(reply, &around.sizing.limit));
        books.confirm(request.spent, request.released);
        let end = sent + around.clock.used(request.lease);
        let granted = books.grant(reply.granted, reply.expiry, end);
        around.tokens.granted(granted);
        // No ledger of a store grants more than its capacity to be held. One that did all the same, or
        // granted it when the limit was larger, gets the rest back. An open policy knows no capacity.
        let held = books.granted() - request.spent - request.released;
        let most = if alone {
            u64::MAX
        } else {
            around.sizing.limit.capacity()
        };
        let beyond = held.saturating_sub(most).min(granted);
        books.release(beyond);
        around.tokens.released(beyond);
        let lease_end = books.deadline;
        self.serve(granted - beyond, lease_end, reply, around, verdicts, now);
        if reply.status == Status::Left {
            self.close_books(around, now);
        }
        self.judge(reply, around);
        self.next_leased(reply, sent, around, verdicts, now)
    }

    /// Serves those who wait from what was granted and what is in the cell, in order, before
    /// anybody else can take it; the rest goes into the cell.
    fn serve(
        &mut self,
        granted: u64,
        lease_end: Instant,
        reply: &Reply,
        around: &mut Surroundings<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) {
        let out = self
            .entry
            .lease
            .withdraw(if self.line.is_empty() { u32::MAX } else { 0 }, now);
        let arrived_dead = if lease_end <= now { granted } else { 0 };
        let mut pot = granted - arrived_dead + u64::from(out.live);
        let mut stocked = 0;
        self.line.drop_gone();
        let served = self.line.take_served(|waiting| {
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
        let account = self.entry.account(now);
        let room = u64::from(Lease::TOKENS_MAX) - u64::from(account.unspent());
        let deposit = u32::try_from(pot.min(room)).expect("room in a cell fits 32 bits");
        let overflow = pot - u64::from(deposit);
        let dead = u64::from(self.entry.lease.deposit(deposit, lease_end, now));
        let dead = dead + u64::from(out.dead) + arrived_dead;
        if let Some(books) = &mut self.books {
            books.release(dead + overflow);
        }
        around.tokens.expired(dead);
        around.tokens.released(overflow);
        let left = u64::from(deposit);
        let verdict = Verdict::allow(Decided::Store, left, reset(reply, &around.sizing.limit));
        let served = served.into_iter();
        verdicts.extend(served.map(|waiting| (waiting.waiter, verdict)));
    }

    /// Learns how the bucket does.
    fn judge(&mut self, reply: &Reply, around: &Surroundings<'_>) {
        let busy = reply.demand.saturating_mul(10) >= u64::from(Demand::ONE.0) * 9;
        self.replicas = reply.replicas.max(1);
        self.pressure = match reply.wait {
            Wait::For(_) | Wait::Held => Pressure::Short,
            Wait::None if busy => Pressure::Busy,
            Wait::None => Pressure::Calm,
        };
        self.hold = match self.pressure {
            Pressure::Calm => (self.hold * 2).min(around.sizing.hold_max),
            Pressure::Busy | Pressure::Short => around.sizing.interval,
        };
    }

    /// The next alarm of a key that may not call yet: in time to see whether anybody still asks.
    pub(super) fn next_quiet(&self, around: &Surroundings<'_>, now: Instant) -> Next {
        Next::Alarm(self.quiet_until.since(now).min(around.sizing.gap_max))
    }

    /// When to call next; denies those for whom nothing was left.
    fn next_leased(
        &mut self,
        reply: &Reply,
        sent: Instant,
        around: &mut Surroundings<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        let demand = self.demand().rate();
        if self.pressure != Pressure::Short {
            self.quiet_until = Instant::ORIGIN;
            let watermark = u32::try_from(Self::watermark(demand, around)).unwrap_or(u32::MAX);
            self.entry
                .set_watermark(if self.leasing { watermark } else { 0 });
            return match (self.is_waited_for(), &self.books) {
                (true, _) => Next::Call,
                (false, Some(_)) => Next::Alarm(self.report_within(reply, around)),
                (false, None) => Next::Alarm(self.remembered(around)),
            };
        }
        let wanted = Sizing::tokens_for(demand, around.sizing.gap_max);
        let gap = around.sizing.gap(reply.replicas, wanted);
        let known = known_wait(reply, &around.sizing.limit);
        let known = known.map_or(Duration::ZERO, |wait| (sent + wait).since(now));
        // Of a bucket that was left alone, so much free is more than a trickle that nobody took.
        let disproof = if known > gap {
            1
        } else {
            around.sizing.limit.capacity().div_ceil(2)
        };
        // Replicas that ran short together come back apart.
        let gap = gap.max(known) + around.jitter.within(gap / 8);
        self.quiet_until = now + gap;
        // To lease for the whole gap keeps this replica among those the store counts.
        self.hold = self.hold.max(gap.min(around.sizing.gap_max));
        self.entry.set_watermark(0);
        // Until the next call is answered: whoever comes before finds nothing either.
        let answered = self.quiet_until.max(around.next_batch) + around.round_trip;
        self.refuse(1, disproof, answered, now);
        let verdict = exhausted(answered.since(now)).with_reset(reset(reply, &around.sizing.limit));
        while let Some(waiting) = self.line.pop() {
            self.meter_denied(waiting.cost);
            verdicts.push_back((waiting.waiter, verdict));
        }
        self.next_quiet(around, now)
    }

    /// How soon to report. What is spent and not reported does not drain; that matters once the
    /// bucket has nothing else to drain, while more is asked for than comes in.
    fn report_within(&self, reply: &Reply, around: &Surroundings<'_>) -> Duration {
        if self.pressure == Pressure::Calm {
            return self.patience(around);
        }
        // However many replicas there are, together they report four times in the shortest interval.
        let replicas = u32::try_from(self.replicas).unwrap_or(u32::MAX);
        let soonest = around.sizing.soonest;
        let soonest = (soonest / 4)
            .saturating_mul(replicas)
            .max(soonest)
            .min(self.hold);
        let tokens = reply.level / around.sizing.limit.scale().weight;
        around
            .sizing
            .limit
            .time_for(tokens)
            .clamp(soonest, self.hold)
    }
}

/// Refusals beyond this change nothing: a quarter of an interval doubled so often is longer than the longest
/// time between two calls.
const REFUSALS_MAX: u32 = 8;
