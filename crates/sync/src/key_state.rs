//! One key, as the background half of a replica sees it: how much is asked for, what is leased,
//! who waits, and when the store should hear of it again.
//!
//! # Invariant
//!
//! At most one call is under way; the lease's books are opened by the first call of a lease and
//! closed by the store's word that it is over; between the two every token of the lease is in
//! the cell, spent, or written off.

use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Entry, LeaseCell};
use leasehold_core::{
    Decided, Demand, Instant, LeaseRequest, Reason, RecordId, Reply, Request, Status, Verdict, Wait,
};

use crate::books::{Books, deadline};
use crate::central::{RETRY_AFTER_MIN, central_verdict, reset};
use crate::demand_meter::{DemandMeter, as_float};
use crate::jitter::Jitter;
use crate::tokens::Tokens;
use crate::tuning::{Sizing, Tuning};
use crate::waiting::{Purpose, Waiter, Waiting, WaitingLine};

#[derive(Debug)]
pub(crate) struct KeyState<W> {
    pub(crate) entry: Arc<Entry>,
    /// Stands in the queue of keys that want a call.
    pub(crate) queued: bool,
    pub(crate) in_flight: bool,
    books: Option<Books>,
    /// Demand of this moment, and demand over the longest time one stays away from a bucket that
    /// runs short: a single request now says nothing of the next seconds.
    meter: DemandMeter,
    slow_meter: DemandMeter,
    /// Of the books' spent tokens, those the meter has counted.
    metered: u64,
    line: WaitingLine<W>,
    /// The request that the central call under way is for.
    spending: Option<Waiting<W>>,
    /// Tokens to have in stock for requests that did not wait.
    stock: u64,
    leasing: bool,
    /// Replicas that held leases when the store last said so, at least 1.
    replicas: u64,
    pressure: Pressure,
    /// Time for which tokens are leased ahead.
    hold: Duration,
    /// No call before this, unless to give back.
    quiet_until: Instant,
    /// Central calls in a row that the store refused.
    refusals: u32,
    /// Alarms in a row at which nothing had happened.
    idle: u32,
}

/// How the bucket did when last heard of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pressure {
    /// More came in than is asked for.
    Calm,
    /// As much is asked for as comes in, or more; it lasts for now.
    Busy,
    /// There was not enough.
    Short,
}

/// What a key needs to know of the replica around it.
pub(crate) struct Surroundings<'a> {
    pub(crate) sizing: &'a Sizing,
    pub(crate) tuning: &'a Tuning,
    pub(crate) replica: u64,
    /// Mean time from a call to its reply.
    pub(crate) round_trip: Duration,
    /// The replica is shutting down: all is given back, nothing is asked for.
    pub(crate) closing: bool,
    /// Spreads what replicas would do together.
    pub(crate) jitter: &'a mut Jitter,
    /// Numbers the leases of this replica.
    pub(crate) generations: &'a mut u64,
    /// The replica's count of where its tokens went.
    pub(crate) tokens: &'a mut Tokens,
}

/// What a reply led to.
pub(crate) struct Outcome<W> {
    pub(crate) verdicts: Vec<(W, Verdict)>,
    pub(crate) next: Next,
}

/// What a key wants next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// A call, as soon as one may go.
    Call,
    /// An alarm after this time.
    Alarm(Duration),
    /// Nothing: it may be forgotten.
    Nothing,
}

impl<W: Waiter> KeyState<W> {
    pub(crate) fn new(entry: Arc<Entry>, sizing: &Sizing, now: Instant) -> Self {
        // Denied at times nobody knows: no measure of the demand from now on.
        entry.denied.take();
        Self {
            entry,
            queued: false,
            in_flight: false,
            books: None,
            meter: DemandMeter::new(sizing.time_constant, now),
            slow_meter: DemandMeter::new(sizing.gap_max, now),
            metered: 0,
            line: WaitingLine::new(),
            spending: None,
            stock: 0,
            leasing: false,
            replicas: 1,
            pressure: Pressure::Calm,
            hold: sizing.interval,
            quiet_until: Instant::ORIGIN,
            refusals: 0,
            idle: 0,
        }
    }

    /// Tokens the store counts as outstanding here.
    pub(crate) fn unsettled(&self) -> u64 {
        self.books.as_ref().map_or(0, Books::unsettled)
    }

    /// Somebody waits for `cost` tokens. Returns the verdict if it is known already.
    pub(crate) fn handle_waiting(
        &mut self,
        waiter: W,
        cost: u32,
        purpose: Purpose,
        now: Instant,
    ) -> Option<(W, Verdict)> {
        if let Some(until) = self.entry.denies(cost, now) {
            self.meter_denied(cost);
            return Some((waiter, exhausted(until.since(now))));
        }
        self.line.push(Waiting {
            waiter,
            cost,
            purpose,
        });
        None
    }

    /// Somebody would have liked `cost` tokens to be here, and did not wait.
    pub(crate) fn handle_missed(&mut self, cost: u32) {
        self.meter_denied(cost);
        self.stock = self.stock.max(u64::from(cost));
    }

    /// No call before this.
    pub(crate) fn quiet_until(&self) -> Instant {
        self.quiet_until
    }

    /// Whether a call may go now.
    pub(crate) fn may_call(&self, closing: bool, now: Instant) -> bool {
        !self.in_flight && (closing || self.quiet_until <= now)
    }

    /// The alarm rang: what now?
    pub(crate) fn handle_alarm(&mut self, around: &mut Surroundings<'_>, now: Instant) -> Next {
        if self.in_flight {
            return Next::Alarm(around.sizing.interval);
        }
        let asked = self.observe(around, now);
        self.line.drop_gone();
        let waits = self.is_waited_for();
        self.idle = if asked > 0 || waits { 0 } else { self.idle + 1 };
        if self.quiet_until > now {
            if asked > 0 || waits {
                return self.next_quiet(around, now);
            }
            // Nobody asks any more: what is held may go back, and the key be forgotten. Its denial
            // stays.
            self.quiet_until = Instant::ORIGIN;
        }
        self.choose_mode(around, 0);
        match &self.books {
            _ if waits => Next::Call,
            // Nothing is outstanding: the record may expire unattended.
            Some(books) if books.are_settled() && self.idle > 0 => {
                self.close_books(around, now);
                Next::Nothing
            }
            // A lull is not yet the end.
            Some(_) if self.idle < IDLE_ALARMS && self.idle > 0 && self.leasing => {
                Next::Alarm(self.hold)
            }
            // There is something to report or to give back, or tokens will be wanted.
            Some(_) => Next::Call,
            None if self.leasing && asked > 0 => Next::Call,
            None if asked > 0 => Next::Alarm(around.sizing.time_constant * 4),
            None => Next::Nothing,
        }
    }

    /// The request to send, if there is anything to say.
    pub(crate) fn poll_request(
        &mut self,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Option<Request> {
        self.observe(around, now);
        self.line.drop_gone();
        let needed = self.line.needed() + self.stock;
        self.choose_mode(around, needed);
        let central = self.books.is_none() && !self.leasing && self.stock == 0;
        if let Some(waiting) = self.line.pop_central(central, COST_LEASED_MAX) {
            let cost = u64::from(waiting.cost);
            self.spending = Some(waiting);
            return Some(self.call(Request::Spend { cost }));
        }
        let wanted = if around.closing {
            0
        } else {
            self.wanted(needed, around)
        };
        if wanted == 0 && self.books.is_none() {
            return None;
        }
        let request = self.lease_request(wanted, needed, around, now);
        Some(self.call(request))
    }

    /// The store's reply to `request`, sent at `sent`.
    pub(crate) fn handle_reply(
        &mut self,
        request: &Request,
        reply: &Reply,
        sent: Instant,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Outcome<W> {
        self.in_flight = false;
        match request {
            Request::Spend { cost } => self.handle_spent(*cost, reply, sent, around, now),
            Request::Lease(request) => self.handle_leased(request, reply, sent, around, now),
        }
    }

    /// The call failed, or its fate is unknown: nothing is believed, and nobody waits longer.
    pub(crate) fn handle_failure(
        &mut self,
        retry_after: Duration,
        around: &Surroundings<'_>,
    ) -> Outcome<W> {
        self.in_flight = false;
        self.stock = 0;
        let denial = Verdict::deny(
            Decided::Fallback,
            Reason::StoreUnavailable,
            Some(retry_after),
        );
        let waiting = self.spending.take().into_iter();
        let waiting = waiting.chain(std::iter::from_fn(|| self.line.pop()));
        let verdicts = waiting.map(|waiting| (waiting.waiter, denial)).collect();
        Outcome {
            verdicts,
            next: Next::Alarm(around.sizing.interval),
        }
    }

    /// Everybody who waits is told that the limiter is shutting down.
    pub(crate) fn dismiss(&mut self) -> Vec<(W, Verdict)> {
        self.stock = 0;
        let denial = Verdict::deny(Decided::Local, Reason::ShutDown, None);
        let waiting = std::iter::from_fn(|| self.line.pop());
        waiting.map(|waiting| (waiting.waiter, denial)).collect()
    }

    /// Whether somebody waits, or would have liked to find tokens.
    fn is_waited_for(&self) -> bool {
        !self.line.is_empty() || self.stock > 0
    }

    fn call(&mut self, request: Request) -> Request {
        self.in_flight = true;
        self.stock = 0;
        request
    }

    /// Tells the meter of what was asked for since it last looked; returns how much it was.
    fn observe(&mut self, around: &mut Surroundings<'_>, now: Instant) -> u64 {
        let spent = match &mut self.books {
            Some(books) => books.spent(self.entry.account(now)),
            None => self.metered,
        };
        let allowed = spent - self.metered;
        let asked = allowed + u64::from(self.entry.denied.take());
        around.tokens.spent += allowed;
        self.metered = spent;
        self.meter.observe(asked, now);
        self.slow_meter.observe(asked, now);
        asked
    }

    /// Counts tokens that were asked for here and are not in the books.
    fn meter_denied(&self, cost: u32) {
        self.entry.denied.add(cost);
    }

    /// Demand over the time for which is planned.
    fn demand(&self) -> &DemandMeter {
        match self.pressure {
            Pressure::Short => &self.slow_meter,
            Pressure::Calm | Pressure::Busy => &self.meter,
        }
    }

    /// Leases once a lease pays, and stops when it pays only half: a key on the edge does not
    /// flap.
    fn choose_mode(&mut self, around: &Surroundings<'_>, needed: u64) {
        let demand = self.demand().rate();
        let time = match self.pressure {
            Pressure::Short => around.sizing.gap_max,
            Pressure::Calm | Pressure::Busy => self.hold,
        };
        let expected = demand * time.as_secs_f64() + as_float(needed);
        let pays = around.tuning.lease_pays;
        // One more may come at any time, and must find something.
        let share = as_float(around.sizing.limit.capacity()) / as_float(self.replicas + 1);
        let enough = if self.leasing { pays / 2.0 } else { pays };
        self.leasing = expected >= enough && share >= pays;
    }

    fn wanted(&self, needed: u64, around: &Surroundings<'_>) -> u64 {
        let idle = self.idle >= IDLE_ALARMS && needed == 0;
        if !self.leasing || idle {
            return needed;
        }
        let demand = self.demand().rate();
        let ahead = Sizing::tokens_for(demand, self.hold) + Self::watermark(demand, around);
        ahead.max(needed).clamp(1, TOKENS_LEASED_MAX)
    }

    /// Stock that lasts until a call made now is answered.
    fn watermark(demand: f64, around: &Surroundings<'_>) -> u64 {
        Sizing::tokens_for(demand, around.round_trip + around.tuning.call_gap)
    }

    fn lease_request(
        &mut self,
        wanted: u64,
        needed: u64,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Request {
        let replica = around.replica;
        let books = self.books.get_or_insert_with(|| {
            *around.generations += 1;
            Books::open(RecordId {
                replica,
                generation: *around.generations,
            })
        });
        // Twice what is wanted is kept, so that a lull does not send tokens back and forth.
        let keep = u32::try_from(wanted * 2).unwrap_or(LeaseCell::TOKENS_MAX);
        let out = self.entry.lease.withdraw(keep, now);
        books.release(u64::from(out.live + out.dead));
        around.tokens.released += u64::from(out.live);
        around.tokens.expired += u64::from(out.dead);
        let account = self.entry.account(now);
        Request::Lease(LeaseRequest {
            record: books.record,
            granted: books.granted(),
            spent: books.spent(account),
            released: books.released(),
            wanted: wanted.max(if wanted == 0 { 0 } else { needed }),
            needed: if wanted == 0 {
                0
            } else {
                needed + u64::from(account.pending)
            },
            lease: Sizing::lease(self.hold, around.tuning).max(books.lease_min(now)),
            expiry: books.expiry,
            demand: self.demand().report(&around.sizing.limit),
        })
    }

    fn handle_spent(
        &mut self,
        cost: u64,
        reply: &Reply,
        sent: Instant,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Outcome<W> {
        let waiting = self
            .spending
            .take()
            .expect("a central call is for a request that waits");
        self.meter_denied(waiting.cost);
        let sizing = around.sizing;
        let verdict = central_verdict(reply, &sizing.limit, now.since(sent), sizing.interval);
        self.entry.set_full_at(now + verdict.reset);
        let mut verdicts = vec![(waiting.waiter, verdict)];
        match verdict.retry_after() {
            None => {
                around.tokens.granted += cost;
                around.tokens.spent += cost;
                self.pressure = Pressure::Calm;
                self.refusals = 0;
            }
            Some(retry_after) => {
                self.pressure = Pressure::Short;
                let retry_after = retry_after.max(self.give_way(sizing));
                let verdict = exhausted(retry_after).with_reset(verdict.reset);
                verdicts[0].1 = verdict;
                self.entry.denial.deny(waiting.cost, now + retry_after);
                let as_costly = |other: &Waiting<W>| other.cost >= waiting.cost;
                for other in self.line.take_served(as_costly) {
                    self.meter_denied(other.cost);
                    verdicts.push((other.waiter, verdict));
                }
            }
        }
        let next = self.next_central(around);
        Outcome { verdicts, next }
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
            Next::Alarm(around.sizing.time_constant * 4)
        }
    }

    fn handle_leased(
        &mut self,
        request: &LeaseRequest,
        reply: &Reply,
        sent: Instant,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Outcome<W> {
        let Some(books) = &mut self.books else {
            unreachable!("books stay open while a call about them is under way");
        };
        if reply.status == Status::Over {
            self.close_books(around, now);
            return Outcome {
                verdicts: Vec::new(),
                next: Next::Call,
            };
        }
        self.entry
            .set_full_at(now + reset(reply, &around.sizing.limit));
        books.confirm(request.spent, request.released);
        let end = deadline(sent, request.lease);
        let granted = books.grant(reply.granted, reply.expiry, end);
        around.tokens.granted += granted;
        let lease_end = books.deadline;
        let verdicts = self.serve(granted, lease_end, reply, around, now);
        if reply.status == Status::Left {
            self.close_books(around, now);
        }
        self.judge(reply, around);
        let mut outcome = Outcome {
            verdicts,
            next: Next::Nothing,
        };
        outcome.next = self.next_leased(reply, sent, around, &mut outcome.verdicts, now);
        outcome
    }

    /// Serves those who wait from what was granted and what is in the cell, in order, before
    /// anybody else can take it; the rest goes into the cell.
    fn serve(
        &mut self,
        granted: u64,
        lease_end: Instant,
        reply: &Reply,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Vec<(W, Verdict)> {
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
        let room = u64::from(LeaseCell::TOKENS_MAX) - u64::from(account.unspent());
        let deposit = u32::try_from(pot.min(room)).expect("room in a cell fits 32 bits");
        let overflow = pot - u64::from(deposit);
        let dead = u64::from(self.entry.lease.deposit(deposit, lease_end, now));
        let dead = dead + u64::from(out.dead) + arrived_dead;
        if let Some(books) = &mut self.books {
            books.release(dead + overflow);
        }
        around.tokens.expired += dead;
        around.tokens.released += overflow;
        let left = u64::from(deposit);
        let verdict = Verdict::allow(Decided::Store, left, reset(reply, &around.sizing.limit));
        served
            .into_iter()
            .map(|waiting| (waiting.waiter, verdict))
            .collect()
    }

    /// Learns how the bucket does.
    fn judge(&mut self, reply: &Reply, around: &Surroundings<'_>) {
        let busy = reply.demand * 10 >= u64::from(Demand::ONE.0) * 9;
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
    fn next_quiet(&self, around: &Surroundings<'_>, now: Instant) -> Next {
        Next::Alarm(self.quiet_until.since(now).min(around.sizing.gap_max))
    }

    /// When to call next; denies those for whom nothing was left.
    fn next_leased(
        &mut self,
        reply: &Reply,
        sent: Instant,
        around: &mut Surroundings<'_>,
        verdicts: &mut Vec<(W, Verdict)>,
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
                (false, None) => Next::Alarm(around.sizing.time_constant * 4),
            };
        }
        let wanted = Sizing::tokens_for(demand, around.sizing.gap_max);
        let gap = around.sizing.gap(reply.replicas, wanted);
        let known = match reply.wait {
            Wait::For(wait) => (sent + wait.as_duration()).since(now),
            Wait::None | Wait::Held => Duration::ZERO,
        };
        // Replicas that ran short together come back apart.
        let gap = gap.max(known) + around.jitter.within(gap / 8);
        self.quiet_until = now + gap;
        // To lease for the whole gap keeps this replica among those the store counts.
        self.hold = self.hold.max(gap.min(around.sizing.gap_max));
        self.entry.set_watermark(0);
        // Until the next call is answered: whoever comes before finds nothing either.
        let answered = self.quiet_until + around.round_trip;
        self.entry.denial.deny(1, answered);
        let verdict = exhausted(gap).with_reset(reset(reply, &around.sizing.limit));
        while let Some(waiting) = self.line.pop() {
            self.meter_denied(waiting.cost);
            verdicts.push((waiting.waiter, verdict));
        }
        self.next_quiet(around, now)
    }

    /// How soon to report. What is spent and not reported does not drain; that matters once the
    /// bucket has nothing else to drain, while more is asked for than comes in.
    fn report_within(&self, reply: &Reply, around: &Surroundings<'_>) -> Duration {
        if self.pressure == Pressure::Calm {
            return self.hold;
        }
        // However many replicas there are, together they report four times in the shortest interval.
        let replicas = u32::try_from(self.replicas).unwrap_or(u32::MAX);
        let soonest = around.tuning.interval_min;
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

    /// Ends the lease here: the store has ended it, or nothing is left to say about it. What is
    /// still in the cell has been charged at the store.
    fn close_books(&mut self, around: &mut Surroundings<'_>, now: Instant) {
        self.observe(around, now);
        if self.books.take().is_some() {
            let left = self.entry.lease.renew_generation();
            around.tokens.expired += u64::from(left);
            self.entry.set_watermark(0);
            self.metered = 0;
        }
    }
}

fn exhausted(retry_after: Duration) -> Verdict {
    let retry_after = retry_after.max(RETRY_AFTER_MIN);
    Verdict::deny(Decided::Store, Reason::Exhausted, Some(retry_after))
}

/// Alarms in a row without a request after which a lease is given back.
const IDLE_ALARMS: u32 = 2;

/// Refusals beyond this change nothing: a quarter of the shortest interval doubled so often is
/// more than a second.
const REFUSALS_MAX: u32 = 8;

/// Half a cell, so that a renewal always fits beside what is left.
const TOKENS_LEASED_MAX: u64 = (LeaseCell::TOKENS_MAX / 2) as u64;

/// A request that costs more than this is decided by the store itself.
pub const COST_LEASED_MAX: u32 = LeaseCell::TOKENS_MAX / 4;
