//! One key, as the background half of a replica sees it: how much is asked for, what is leased,
//! who waits, and when the store should hear of it again.
//!
//! # Invariant
//!
//! At most one call is under way; the lease's books are opened by the first call of a lease and
//! closed by the store's word that it is over; between the two every token of the lease is in
//! the cell, spent, or written off.

mod alone;
mod replies;

pub(crate) use alone::alone;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Entry, Lease};
use leasehold_core::{
    Decided, Instant, LeaseRequest, Reason, RecordId, Reply, Request, Retry, SplitMix64, Verdict,
};

use crate::books::Books;
use crate::central::RETRY_AFTER_MIN;
use crate::clock_drift::ClockDrift;
use crate::demand_meter::{DemandMeter, as_float};
use crate::fallback::{FailurePolicy, Fallback};
use crate::looks::Looks;
use crate::tokens::TokenCount;
use crate::tuning::{SPARE_DOUBT, Sizing, Tuning};
use crate::typical_cost::TypicalCost;
use crate::unserved::Unserved;
use crate::waiting::{Purpose, Waiter, Waiting, WaitingLine};

#[derive(Debug)]
pub(crate) struct KeyState<W> {
    pub(crate) entry: Arc<Entry>,
    /// In which part of the store the key lies.
    pub(crate) partition: u32,
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
    /// Of the books' spent tokens, those in the replica's count.
    counted: u64,
    /// Tokens that requests asked this task for, and that are not in the books; not metered yet.
    asked_here: u64,
    /// What a request costs, of those that came to this task.
    cost: TypicalCost,
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
    /// No call before this, unless to look or to give back.
    quiet_until: Instant,
    /// What the store last refused, while that is remembered.
    refusal: Option<Refusal>,
    /// While the key stands alone, and until the store has been told what it admitted then.
    fallback: Option<Box<Fallback>>,
    /// Since the store last answered without serving the key.
    pub(crate) unserved: Option<Unserved>,
    /// Central calls in a row that the store refused.
    refusals: u32,
    /// Alarms in a row at which nothing had happened.
    idle: u32,
}

/// A denial that is remembered, as the entry does for the requests.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    until: Instant,
    /// So many free tokens before its time disprove it.
    disproof: u64,
    /// The next call only looks whether it still holds.
    looking: bool,
    /// When the store last said so.
    heard: Instant,
    /// Whether anybody has asked in vain since.
    asked: bool,
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
    /// No batch goes before this that is not full.
    pub(crate) next_batch: Instant,
    /// The replica is shutting down: all is given back, nothing is asked for.
    pub(crate) closing: bool,
    /// The store is away.
    pub(crate) away: bool,
    /// How the store's clock runs.
    pub(crate) clock: ClockDrift,
    /// What is admitted then.
    pub(crate) policy: FailurePolicy,
    /// Spreads what replicas would do together.
    pub(crate) jitter: &'a mut SplitMix64,
    /// Numbers the leases of this replica.
    pub(crate) generations: &'a mut u64,
    /// The looks of all keys.
    pub(crate) looks: &'a mut Looks,
    /// The replica's count of where the limit's tokens went.
    pub(crate) tokens: TokenCount<'a>,
    /// The capacity of the whole limit, whatever the part of it is that `sizing` is for.
    pub(crate) capacity: u64,
    /// The replica's count of tokens admitted without the store that are no longer owed.
    pub(crate) settled: &'a mut u64,
}

/// Those who need wait no longer, with what they are to be told.
pub(crate) type Verdicts<W> = VecDeque<(W, Verdict)>;

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
    pub(crate) fn new(entry: Arc<Entry>, partition: u32, sizing: &Sizing, now: Instant) -> Self {
        Self {
            entry,
            partition,
            queued: false,
            in_flight: false,
            books: None,
            meter: DemandMeter::new(sizing.time_constant, now),
            slow_meter: DemandMeter::new(sizing.gap_max, now),
            metered: 0,
            counted: 0,
            asked_here: 0,
            cost: TypicalCost::default(),
            line: WaitingLine::new(),
            spending: None,
            stock: 0,
            leasing: false,
            replicas: 1,
            pressure: Pressure::Calm,
            hold: sizing.interval,
            quiet_until: Instant::ORIGIN,
            refusal: None,
            fallback: None,
            unserved: None,
            refusals: 0,
            idle: 0,
        }
    }

    /// Tokens the store counts as outstanding here.
    pub(crate) fn unsettled(&self) -> u64 {
        if self.is_alone() {
            return 0;
        }
        self.books.as_ref().map_or(0, Books::unsettled)
    }

    /// Whether calls are answered here, not by the store.
    pub(crate) fn is_alone(&self) -> bool {
        self.fallback
            .as_ref()
            .is_some_and(|fallback| fallback.is_active())
    }

    /// Whether its next call renews a lease that pays, and so is for many requests. Not hot is one
    /// that was leased for a few requests that came together, of which it reports next, nor one that
    /// nobody has asked for since the last alarm, which gives back: such calls are as many as there
    /// are keys.
    pub(crate) fn is_hot(&self) -> bool {
        let books = self.books.as_ref();
        self.leasing && self.idle == 0 && books.is_some_and(Books::are_renewed)
    }

    /// Tokens admitted alone that the store has not charged yet.
    pub(crate) fn owed(&self) -> u64 {
        self.fallback.as_ref().map_or(0, |fallback| fallback.owed())
    }

    /// Records that so many tokens were admitted without the store's leave, under a limit of this
    /// `capacity`. Returns how many of them are forgiven.
    pub(crate) fn owe(&mut self, tokens: u64, capacity: u64) -> u64 {
        self.fallback.get_or_insert_default().owe(tokens, capacity)
    }

    /// Records tokens that the key admitted, if it stands alone; otherwise nothing is owed.
    fn owe_alone(&mut self, tokens: u64, around: &mut Surroundings<'_>) {
        if self.is_alone() {
            *around.settled += self.owe(tokens, around.capacity);
        }
    }

    /// Somebody waits for `cost` tokens. Returns the verdict if it is known already: since the
    /// request found the cell short, a reply may have filled it, or said that there is no more.
    pub(crate) fn handle_waiting(
        &mut self,
        waiter: W,
        cost: u32,
        purpose: Purpose,
        now: Instant,
    ) -> Option<(W, Verdict)> {
        self.cost.observe(cost);
        if let Some(left) = self.take(cost, purpose, now) {
            let reset = self.entry.full_at().since(now);
            let verdict = Verdict::allow(Decided::Local, u64::from(left), reset);
            return Some((waiter, verdict));
        }
        if let Some(until) = self.refused_until(cost, now) {
            self.meter_denied(cost);
            let unserved = self.unserved.filter(|_| !self.is_alone());
            let denial = unserved.map_or_else(
                || exhausted(until.since(now)),
                |unserved| unserved.denial(now),
            );
            return Some((waiter, denial));
        }
        self.line.push(Waiting {
            waiter,
            cost,
            purpose,
        });
        None
    }

    /// Takes `cost` tokens from the cell, or sees that they are there, unless others came first;
    /// returns what is left.
    fn take(&self, cost: u32, purpose: Purpose, now: Instant) -> Option<u32> {
        if !self.line.is_empty() {
            return None;
        }
        match purpose {
            Purpose::Spend => self.entry.lease.spend(cost, now).ok().map(|left| left.live),
            Purpose::Stock => Some(self.entry.lease.view(now).live).filter(|live| *live >= cost),
        }
    }

    /// Until when `cost` tokens cannot be had, if that is known: nobody waits for the end of a
    /// time in which no call will go.
    fn refused_until(&self, cost: u32, now: Instant) -> Option<Instant> {
        let quiet = self.quiet_until > now && !self.in_flight;
        let quiet = quiet.then_some(self.quiet_until);
        self.entry.denies(cost, now).or(quiet)
    }

    /// Somebody would have liked `cost` tokens to be here, and did not wait.
    pub(crate) fn handle_missed(&mut self, cost: u32) {
        self.cost.observe(cost);
        self.meter_denied(cost);
        self.stock = self.stock.max(u64::from(cost));
    }

    /// No call before this.
    pub(crate) fn quiet_until(&self) -> Instant {
        self.quiet_until
    }

    /// Whether a call may go now.
    pub(crate) fn may_call(&self, closing: bool, now: Instant) -> bool {
        !self.in_flight && (closing || self.is_looking() || self.quiet_until <= now)
    }

    /// The alarm rang: what now?
    pub(crate) fn handle_alarm(&mut self, around: &mut Surroundings<'_>, now: Instant) -> Next {
        if self.in_flight {
            return Next::Alarm(around.sizing.interval);
        }
        let asked = self.observe(around, now);
        self.line.drop_gone();
        let waits = self.is_waited_for();
        if !waits && self.is_look_due(asked, around, now) {
            return Next::Call;
        }
        match self.next_at_alarm(asked, waits, around, now) {
            Next::Nothing => self.kept_for_look(now),
            next => next,
        }
    }

    fn next_at_alarm(
        &mut self,
        asked: u64,
        waits: bool,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Next {
        self.idle = if asked > 0 || waits { 0 } else { self.idle + 1 };
        if self.fallback.is_some() && !around.away && !self.is_unserved(now) {
            // The store is back, and is told what was admitted without it.
            self.quiet_until = Instant::ORIGIN;
            return Next::Call;
        }
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
            // A lull is not yet the end, unless the lease ends before it: what is held then is lost.
            Some(books) if self.idle < IDLE_ALARMS && self.idle > 0 && self.leasing => {
                let lead = (around.round_trip + around.tuning.call_gap) * 2;
                match books.deadline.since(now).saturating_sub(lead) {
                    Duration::ZERO => {
                        self.idle = IDLE_ALARMS;
                        Next::Call
                    }
                    left => Next::Alarm(self.patience(around).min(left)),
                }
            }
            // There is something to report or to give back, or tokens will be wanted.
            Some(_) => Next::Call,
            None if self.leasing && asked > 0 => Next::Call,
            None if asked > 0 => Next::Alarm(self.remembered(around)),
            None => Next::Nothing,
        }
    }

    /// Whether the next call is to look whether a denial that has been remembered for long still
    /// holds: if somebody asked meanwhile, and the looks of other keys leave room.
    fn is_look_due(&mut self, asked: u64, around: &mut Surroundings<'_>, now: Instant) -> bool {
        if self.is_alone() || around.closing {
            return false;
        }
        let Some(refusal) = self.refusal.as_mut().filter(|it| it.until > now) else {
            return false;
        };
        refusal.asked |= asked > 0;
        let is_due = refusal.asked && now.since(refusal.heard) >= LOOK_EVERY;
        refusal.looking = is_due && around.looks.may_look(now);
        refusal.looking
    }

    /// Keeps a key without other work for as long as its denial is young, so that somebody looks
    /// whether the denial holds.
    fn kept_for_look(&self, now: Instant) -> Next {
        let refusal = self.refusal.filter(|it| it.until > it.heard + LOOK_EVERY);
        let left = refusal.map(|it| (it.heard + LOOK_EVERY).since(now));
        match left {
            Some(left) if !left.is_zero() => Next::Alarm(left),
            _ => Next::Nothing,
        }
    }

    /// Ends a long denial before the key is forgotten here, because nobody would look any more
    /// whether the denial still holds. The next request asks the store.
    pub(crate) fn let_go(&self, now: Instant) {
        if (self.refusal).is_some_and(|it| it.until > now && now.since(it.heard) >= LOOK_EVERY) {
            self.entry.denial.clear();
        }
    }

    fn is_looking(&self) -> bool {
        self.refusal.is_some_and(|refusal| refusal.looking)
    }

    fn take_look(&mut self) -> bool {
        let refusal = self.refusal.as_mut();
        refusal.is_some_and(|refusal| std::mem::take(&mut refusal.looking))
    }

    /// The request to send, if there is anything to say.
    pub(crate) fn poll_request(
        &mut self,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Option<Request> {
        self.observe(around, now);
        self.line.drop_gone();
        if self.take_look() && !around.closing && !self.is_waited_for() {
            return Some(self.call(Request::Spend { cost: 0 }));
        }
        let needed = (self.line.needed() + self.stock).min(NEEDED_MAX);
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

    /// The store's reply to `request`, sent at `sent`. What no ledger would say is taken for a
    /// failure.
    pub(crate) fn handle_reply(
        &mut self,
        request: &Request,
        reply: &Reply,
        sent: Instant,
        around: &mut Surroundings<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        if !reply.answers(request) {
            // No reason to ask again at once: what answers so is in no good state.
            self.handle_failure(Duration::ZERO, around, verdicts);
            return Next::Alarm(around.sizing.interval);
        }
        self.in_flight = false;
        match request {
            Request::Spend { cost: 0 } => self.handle_looked(reply, around, now),
            Request::Spend { cost } => self.handle_spent(*cost, reply, around, verdicts, now),
            Request::Charge { tokens } => self.handle_charged(*tokens, around, now),
            Request::Forgive => unreachable!("no key asks for it: a limiter does, beside its keys"),
            Request::Lease(request) => {
                self.handle_leased(request, reply, sent, around, verdicts, now)
            }
        }
    }

    /// Whether the store does not serve the key, and is not to be asked about it now.
    pub(crate) fn is_unserved(&self, now: Instant) -> bool {
        self.unserved.is_some_and(|it| it.holds(now).is_some())
    }

    /// The store answered without serving the key, which is noted as [`Unserved`]. Those who wait
    /// are denied if nothing is admitted then; otherwise the key decides alone.
    pub(crate) fn handle_unserved(
        &mut self,
        unserved: Unserved,
        around: &Surroundings<'_>,
        verdicts: &mut Verdicts<W>,
        now: Instant,
    ) -> Next {
        self.in_flight = false;
        if around.policy != FailurePolicy::Closed {
            self.wait_on();
            return Next::Call;
        }
        self.deny_all(unserved.denial(now), verdicts);
        self.quiet_until = unserved.holds(now).unwrap_or(now);
        self.next_quiet(around, now)
    }

    /// The call failed, or its fate is unknown: nothing is believed. Unless the store is away, and
    /// nothing is admitted then, those who wait go on waiting.
    pub(crate) fn handle_failure(
        &mut self,
        retry_after: Duration,
        around: &Surroundings<'_>,
        verdicts: &mut Verdicts<W>,
    ) -> Next {
        self.in_flight = false;
        if !around.away || around.policy != FailurePolicy::Closed {
            self.wait_on();
            return Next::Call;
        }
        let denial = Verdict::deny(
            Decided::Fallback,
            Reason::StoreUnavailable,
            Retry::After(retry_after),
        );
        self.deny_all(denial, verdicts);
        Next::Alarm(around.sizing.interval)
    }

    /// The request that the central call was for waits for another.
    fn wait_on(&mut self) {
        if let Some(waiting) = self.spending.take() {
            self.line.push_first(waiting);
        }
    }

    /// Everybody who waits is denied.
    fn deny_all(&mut self, denial: Verdict, verdicts: &mut Verdicts<W>) {
        self.stock = 0;
        let waiting = self.spending.take().into_iter();
        let waiting = waiting.chain(std::iter::from_fn(|| self.line.pop()));
        verdicts.extend(waiting.map(|waiting| (waiting.waiter, denial)));
    }

    /// Everybody who waits is told that the limiter is shutting down.
    pub(crate) fn dismiss(&mut self) -> Vec<(W, Verdict)> {
        self.stock = 0;
        let denial = Verdict::deny(Decided::Local, Reason::ShutDown, Retry::Never);
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
        self.owe_alone(allowed, around);
        self.count(&mut around.tokens, now);
        let asked = allowed.saturating_add(std::mem::take(&mut self.asked_here));
        self.metered = spent;
        self.meter.observe(asked, now);
        self.slow_meter.observe(asked, now);
        asked
    }

    /// Adds to the replica's count what was spent and denied since it was last counted. What was asked
    /// for is not metered yet.
    pub(crate) fn count(&mut self, count: &mut TokenCount<'_>, now: Instant) {
        if let Some(books) = &mut self.books {
            let spent = books.spent(self.entry.account(now));
            count.spent(spent - self.counted);
            self.counted = spent;
        }
        let denied = u64::from(self.entry.lease.take_denied());
        count.denied(denied);
        self.asked_here = self.asked_here.saturating_add(denied);
    }

    /// Counts tokens that this task was asked for and that are not in the books.
    fn meter_denied(&mut self, cost: u32) {
        self.asked_here = self.asked_here.saturating_add(u64::from(cost));
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
        let within = |time: Duration| demand * time.as_secs_f64();
        let expected = match self.pressure {
            Pressure::Short => within(around.sizing.gap_max) + as_float(needed),
            Pressure::Busy => within(self.hold) + as_float(needed),
            // Two requests that met by chance are no demand for seconds.
            Pressure::Calm => (within(self.hold) + as_float(needed))
                .max(within(self.spare_hold(demand, around)) / SPARE_DOUBT),
        };
        let pays = self.pays(around);
        // One more may come at any time, and must find something.
        let share = as_float(around.sizing.limit.capacity()) / as_float(self.replicas + 1);
        let enough = if self.leasing { pays / 2.0 } else { pays };
        self.leasing = expected >= enough && share >= enough;
    }

    /// Tokens from which on a lease pays. Counted by requests: what is less than one of them costs
    /// serves nobody here, and is missed elsewhere.
    fn pays(&self, around: &Surroundings<'_>) -> f64 {
        around.tuning.lease_pays * self.cost.tokens()
    }

    fn spare(&self, around: &Surroundings<'_>) -> u64 {
        around.sizing.spare(self.replicas, self.pays(around))
    }

    fn spare_hold(&self, rate: f64, around: &Surroundings<'_>) -> Duration {
        around.sizing.spare_hold(self.spare(around), rate)
    }

    /// For how long tokens are leased ahead.
    fn ahead(&self, around: &Surroundings<'_>) -> Duration {
        match self.pressure {
            Pressure::Calm => {
                let rate = self.demand().rate();
                self.hold.max(self.spare_hold(rate, around))
            }
            Pressure::Busy | Pressure::Short => self.hold,
        }
    }

    /// How long a key without a lease is remembered: twice as long as one more request would make a
    /// lease pay, so that a third may.
    fn remembered(&self, around: &Surroundings<'_>) -> Duration {
        let requests = SPARE_DOUBT * around.tuning.lease_pays.max(1.0);
        let spare_hold = self.spare_hold(0.0, around);
        (around.sizing.time_constant * 4).max(spare_hold.div_f64(requests) * 2)
    }

    /// How long what is held may stay as it is, unreported. Twice as much as is spare is still
    /// spare: a little more than was wanted is kept, and chance has its room.
    fn patience(&self, around: &Surroundings<'_>) -> Duration {
        let books = self.books.as_ref();
        if books.is_some_and(|books| books.unsettled() > self.spare(around) * 2) {
            return self.hold;
        }
        self.ahead(around)
    }

    fn wanted(&self, needed: u64, around: &Surroundings<'_>) -> u64 {
        let idle = self.idle >= IDLE_ALARMS && needed == 0;
        if !self.leasing || idle {
            return needed;
        }
        let demand = self.demand().rate();
        let ahead = Sizing::tokens_for(demand, self.ahead(around));
        let ahead = ahead.saturating_add(Self::watermark(demand, around));
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
        let ahead = self.ahead(around);
        let books = self.books.get_or_insert_with(|| {
            *around.generations += 1;
            Books::open(RecordId {
                replica,
                generation: *around.generations,
            })
        });
        // Twice what is wanted is kept, so that a lull does not send tokens back and forth.
        let keep = u32::try_from(wanted * 2).unwrap_or(Lease::TOKENS_MAX);
        let out = self.entry.lease.withdraw(keep, now);
        books.release(u64::from(out.live + out.dead));
        around.tokens.released(u64::from(out.live));
        around.tokens.expired(u64::from(out.dead));
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
            lease: Sizing::lease(ahead, around.tuning)
                .max(around.clock.lease_for(books.deadline.since(now))),
            expiry: books.expiry,
            demand: self.demand().report(&around.sizing.limit),
        })
    }

    /// Ends the lease here: the store has ended it, or nothing is left to say about it. What is
    /// still in the cell has been charged at the store.
    fn close_books(&mut self, around: &mut Surroundings<'_>, now: Instant) {
        self.observe(around, now);
        if self.books.take().is_some() {
            let left = self.entry.lease.renew_generation();
            around.tokens.expired(u64::from(left));
            self.entry.set_watermark(0);
            (self.metered, self.counted) = (0, 0);
        }
    }
}

fn exhausted(retry_after: Duration) -> Verdict {
    let retry = Retry::After(retry_after.max(RETRY_AFTER_MIN));
    Verdict::deny(Decided::Store, Reason::Exhausted, retry)
}

/// Time from one look at a denied key to the next: so long that looks cost nothing beside the calls
/// of a key whose denials are shorter.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Alarms in a row without a request after which a lease is given back.
const IDLE_ALARMS: u32 = 2;

/// The most tokens that one request asks for, whatever waits: half of what one lease is granted in
/// all, so that the store can count every number in a request.
const NEEDED_MAX: u64 = GRANTED_MAX / 2;

/// Tokens granted to one lease in all, after which the next begins: half of what the store can
/// count, so that no reply comes near the end of that.
const GRANTED_MAX: u64 = 1 << 51;

/// Half a cell, so that a renewal always fits beside what is left.
const TOKENS_LEASED_MAX: u64 = (Lease::TOKENS_MAX / 2) as u64;

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
    fn quiet_key(tokens: u32) -> KeyState<Caller> {
        let sizing = Sizing::new("1000/s".parse().unwrap(), &Tuning::default());
        let entry = Entry::new(KeyRef {
            limit: LimitId(0),
            subject: b"k",
        });
        entry.lease.deposit(tokens, Instant::from_millis(5000), NOW);
        let mut key = KeyState::new(Arc::new(entry), 0, &sizing, NOW);
        key.quiet_until = Instant::from_millis(2000);
        key
    }

    fn wait(key: &mut KeyState<Caller>, cost: u32, purpose: Purpose) -> Option<Verdict> {
        let known = key.handle_waiting(Caller, cost, purpose, NOW);
        known.map(|(_, verdict)| verdict)
    }

    /// A request that found the cell short and reached the task just after a reply had filled it
    /// once waited out the whole quiet time beside the tokens.
    #[test]
    fn who_comes_just_after_a_reply_is_served_from_what_it_brought() {
        let mut key = quiet_key(5);
        assert!(wait(&mut key, 5, Purpose::Stock).unwrap().is_allowed());
        assert!(wait(&mut key, 3, Purpose::Spend).unwrap().is_allowed());
        assert_eq!(key.entry.lease.view(NOW).live, 2);
    }

    #[test]
    fn nobody_waits_for_the_end_of_a_time_in_which_no_call_goes() {
        let mut key = quiet_key(2);
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
}
