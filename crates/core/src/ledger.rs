//! The store's half of the protocol: what it knows of one key, as a pure function.
//!
//! This is the one definition of what a store does. The embedded store and the simulator run it;
//! the Redis script transcribes it, and a differential test holds the two together. Change both,
//! or neither.
//!
//! # Invariant
//!
//! Charged level + outstanding tokens never exceed the capacity by a grant: a grant is made only
//! while they fit, a report or an expiry moves tokens from outstanding to charged, a release only
//! lowers outstanding, draining only lowers charged. Since a token is spent only while it is
//! outstanding, no later than its expiry, what was truly spent never exceeds what is charged or
//! outstanding.
//!
//! Three things put the sum above the capacity, and none is a grant:
//!
//! - Tokens that replicas admitted by a failure policy, while they could not ask, are charged
//!   whether they fit or not.
//! - Leases re-asserted to a store that had forgotten them raise the sum. A charge then stops at
//!   the capacity, because no more than that can truly have been spent and not yet drained.
//! - While replicas know two limits, the bucket may have been filled under the larger limit when a
//!   caller with the smaller one comes.
//!
//! So a charge stops at the [`ceiling`](Ledger::ceiling): the largest capacity that was granted
//! under since the sum last fitted the caller's own. If it stopped at the caller's own capacity,
//! the larger limit would grant again what the smaller one forgot.
//!
//! # Order
//!
//! Leases expire in order of expiry, each charged at its own expiry; then the bucket drains to
//! now; only then is the report applied. A report applied before draining would drain at once for
//! the whole time since the last call, as if it had been spent then.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::birth::Birth;
use crate::limit::Limit;
use crate::message::{Demand, LeaseRequest, RecordId, Reply, Request, Status, WAIT_MAX, Wait};
use crate::meter::Meter;
use crate::roster::Retired;
use crate::time::{Micros, StoreTime};

/// The store's knowledge of one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ledger {
    /// The meter on which tokens are charged.
    pub meter: Meter,
    /// Tokens outstanding on all records.
    pub outstanding: u64,
    /// Demand of all records, in 256ths of the rate.
    pub demand: u64,
    /// No record expires before this; [`StoreTime::ZERO`] if there is none.
    pub next_expiry: StoreTime,
    /// Tokens beyond which nothing can be charged: no grant since the sum of charged and
    /// outstanding last fitted the capacity was made under a larger one.
    pub ceiling: u64,
    /// Parts of advances of which the replica's entry expired, as far as they have been charged:
    /// see [`Retired::parts`].
    pub retired: u64,
    /// One record per lease.
    pub records: BTreeMap<RecordId, Record>,
}

/// The past of a store, for a ledger that it touches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Past {
    /// When the store began, and from when on its buckets count as spent.
    pub birth: Birth,
    /// The advances that may have been spent and will never be reported.
    pub retired: Retired,
}

impl From<Birth> for Past {
    /// The past of a store on whose roster nobody ever was.
    fn from(birth: Birth) -> Self {
        let retired = Retired::default();
        Self { birth, retired }
    }
}

/// The store's knowledge of one lease. Counts are cumulative and only grow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record {
    /// Tokens granted.
    pub granted: u64,
    /// Tokens reported spent, hence charged.
    pub spent: u64,
    /// Tokens given back.
    pub released: u64,
    /// When the lease ends and what is left of it is charged.
    pub expiry: StoreTime,
    /// Demand last reported.
    pub demand: Demand,
}

impl Record {
    /// Tokens that may yet be spent, or have been and are not yet reported.
    pub const fn outstanding(&self) -> u64 {
        self.granted - self.spent - self.released
    }
}

impl Ledger {
    /// Answers `request` for the key whose ledger is `slot`, at the store's time `now`. An empty
    /// slot is a key of which the store knows nothing; `birth` says what that means.
    ///
    /// The caller forgets the ledger no sooner than [`lifetime`](Self::lifetime) after each of
    /// its requests, the earlier ones too: from then on it says no more than an empty slot does.
    pub fn exchange(
        slot: &mut Option<Self>,
        request: &Request,
        limit: &Limit,
        past: impl Into<Past>,
        now: StoreTime,
    ) -> Reply {
        let past = past.into();
        let ledger = slot.get_or_insert_with(|| Self::open(past, limit, now));
        ledger.answer(request, limit, past, now)
    }

    /// Answers `request`, as [`exchange`](Self::exchange) does.
    pub(crate) fn answer(
        &mut self,
        request: &Request,
        limit: &Limit,
        past: Past,
        now: StoreTime,
    ) -> Reply {
        self.adopt(limit);
        self.outlive(past.birth, limit);
        self.retire(past.retired, limit);
        self.expire(limit, now);
        self.meter.drain(now, limit);
        self.lower_ceiling(limit);
        match request {
            Request::Spend { cost } => self.spend(*cost, limit, now),
            Request::Charge { tokens } => {
                self.charge(*tokens, limit);
                let wait = self.wait_for(1, limit, now);
                self.reply(Status::Charged, 0, StoreTime::ZERO, wait, limit, now)
            }
            Request::Forgive => self.forgive(limit, now),
            Request::Lease(request) => self.lease(request, limit, now),
        }
    }

    /// How long the ledger may still matter: until every lease has ended and all has drained, what
    /// may have been spent of the advance and is not reported among it. `lease` is the time for
    /// which the last request asked for one; zero if for none.
    pub fn lifetime(&self, limit: &Limit, lease: Micros, now: StoreTime) -> Micros {
        let Micros(drained) = self.full_in(limit, now);
        let drained = match drained {
            0 => 0,
            drained => drained.saturating_add(advance_drained_in(limit).0),
        };
        // Nobody is late to speak of a lease that was not asked for: a bucket that has drained is
        // as good as none.
        let lease = match lease {
            Micros(0) => 0,
            Micros(lease) => lease.saturating_add(LIFETIME_MARGIN.0),
        };
        Micros(drained.saturating_add(lease))
    }

    /// Whether what is charged and outstanding under `limit` is at most its capacity. A grant or a
    /// spend leaves it so.
    ///
    /// `limit` is that of the last request: another weighs tokens otherwise.
    pub fn fits(&self, limit: &Limit) -> bool {
        let uncharged = limit.capacity().checked_sub(self.outstanding);
        uncharged.is_some_and(|most| self.meter.is_at_most(most, limit))
    }

    /// The time until nothing is charged or outstanding, if nothing more is granted or charged and
    /// all that is outstanding is spent.
    fn full_in(&self, limit: &Limit, now: StoreTime) -> Micros {
        let outstanding = self.outstanding.min(self.exact_ceiling(limit));
        self.meter.time_to_drain_with(outstanding, limit, now)
    }

    /// The ledger of a key of which the store knows nothing. Whoever was on the roster and is no
    /// longer may have spent the whole advance of it by then.
    pub(crate) fn open(past: Past, limit: &Limit, now: StoreTime) -> Self {
        let Past { birth, retired } = past;
        let is_advanced = limit.advance() > 0 && retired.ended > StoreTime::ZERO;
        let mut meter = match birth.emptied {
            StoreTime::ZERO if is_advanced => Meter::full(retired.ended, limit),
            StoreTime::ZERO => Meter::full(now, limit),
            emptied => Meter::spent(limit.capacity(), emptied, limit),
        };
        if is_advanced {
            meter.drain(retired.ended, limit);
            meter.charge(limit.advance(), limit.capacity(), limit);
        }
        Self {
            meter,
            outstanding: 0,
            demand: 0,
            next_expiry: StoreTime::ZERO,
            ceiling: limit.capacity(),
            retired: retired.parts,
            records: BTreeMap::new(),
        }
    }

    /// Raises the ceiling to the capacity, and re-weighs the level if the limit has changed,
    /// rounding up: the safe side.
    fn adopt(&mut self, limit: &Limit) {
        self.ceiling = self.ceiling.max(limit.capacity());
        self.meter.adopt(limit);
    }

    /// If the store was emptied after this ledger was last touched, what it says is out of date:
    /// its bucket counts as spent when all others do, and the roster began anew.
    fn outlive(&mut self, birth: Birth, limit: &Limit) {
        if self.meter.at() < birth.emptied {
            self.meter = Meter::spent(self.exact_ceiling(limit), birth.emptied, limit);
            self.retired = 0;
        }
    }

    /// Charges what replicas may have spent of the advance that will never report it, at the time
    /// when the last of them ended.
    fn retire(&mut self, retired: Retired, limit: &Limit) {
        // More have been charged for than there were only if the store fell back to an older state.
        let new = retired
            .parts
            .checked_sub(self.retired)
            .unwrap_or(retired.parts);
        self.retired = retired.parts;
        if new > 0 && limit.advance() > 0 {
            self.meter.drain(retired.ended, limit);
            self.charge(limit.advance_of(new), limit);
        }
    }

    /// Ends the records whose time is over, the earliest first: each is charged at its expiry.
    fn expire(&mut self, limit: &Limit, now: StoreTime) {
        if self.records.is_empty() || self.next_expiry > now {
            return;
        }
        let over = |record: &Record| record.expiry <= now;
        let mut ended: Vec<Record> = self.records.values().copied().filter(over).collect();
        self.records.retain(|_, record| !over(record));
        ended.sort_by_key(|record| record.expiry);
        for record in ended {
            self.meter.drain(record.expiry, limit);
            self.charge(record.outstanding(), limit);
            self.outstanding -= record.outstanding();
            self.demand -= u64::from(record.demand.0);
        }
        let next = self.records.values().map(|record| record.expiry).min();
        self.next_expiry = next.unwrap_or(StoreTime::ZERO);
    }

    /// Adds tokens to what is charged, up to the ceiling.
    fn charge(&mut self, tokens: u64, limit: &Limit) {
        let ceiling = self.exact_ceiling(limit);
        self.meter.charge(tokens, ceiling, limit);
    }

    /// Once all that was granted under a larger limit fits the capacity, the rest of that limit is
    /// history.
    fn lower_ceiling(&mut self, limit: &Limit) {
        if self.fits(limit) {
            self.ceiling = limit.capacity();
        }
    }

    /// The ceiling, in tokens of which the level stays exact.
    fn exact_ceiling(&self, limit: &Limit) -> u64 {
        self.ceiling.min(Meter::tokens_max(limit))
    }

    fn spend(&mut self, cost: u64, limit: &Limit, now: StoreTime) -> Reply {
        let fits = cost <= self.free(limit);
        if fits {
            self.meter.spend(cost, limit);
        }
        let status = if fits { Status::Spent } else { Status::Denied };
        let wait = self.wait_for(if fits { 0 } else { cost }, limit, now);
        self.reply(status, 0, StoreTime::ZERO, wait, limit, now)
    }

    /// Forgives what is charged; but not while all counts as spent, because leases that the store
    /// has forgotten may be spent until then, and nobody knows how much that is.
    fn forgive(&mut self, limit: &Limit, now: StoreTime) -> Reply {
        let frozen = self.meter.at().as_micros().saturating_sub(now.as_micros());
        let (status, wait) = match frozen {
            0 => (Status::Forgiven, Wait::None),
            frozen => (Status::Denied, Wait::For(Micros(frozen.min(WAIT_MAX)))),
        };
        if status == Status::Forgiven {
            self.meter.forgive();
        }
        self.reply(status, 0, StoreTime::ZERO, wait, limit, now)
    }

    fn lease(&mut self, request: &LeaseRequest, limit: &Limit, now: StoreTime) -> Reply {
        let Some((mut record, status)) = self.record_of(request, now) else {
            return self.reply(Status::Over, 0, StoreTime::ZERO, Wait::None, limit, now);
        };
        self.report(&mut record, request, limit);
        let short = self.grant(&mut record, request, limit);
        let wait = self.wait_for(u64::from(short), limit, now);
        if record.outstanding() == 0 && request.wanted == 0 {
            self.records.remove(&request.record);
            self.demand -= u64::from(record.demand.0);
            return self.reply(
                Status::Left,
                record.granted,
                StoreTime::ZERO,
                wait,
                limit,
                now,
            );
        }
        // Never shortened: the replica counts on what it was told.
        record.expiry = record.expiry.max(now + request.lease);
        self.next_expiry = match self.next_expiry {
            StoreTime::ZERO => record.expiry,
            earliest => earliest.min(record.expiry),
        };
        self.records.insert(request.record, record);
        self.reply(status, record.granted, record.expiry, wait, limit, now)
    }

    /// The record that `request` speaks of, with what the replica knows and the store does not;
    /// `None` if the record has expired. Updates `outstanding` to match.
    fn record_of(&mut self, request: &LeaseRequest, now: StoreTime) -> Option<(Record, Status)> {
        let stored = self.records.get(&request.record).copied();
        if request.granted <= stored.map_or(0, |record| record.granted) {
            return Some((stored.unwrap_or(Record::start()), Status::Leased));
        }
        // Compared on the store's own clock when the request is executed: a flag set by the
        // replica would be out of date by then. A stored record proves nothing: a late copy of
        // the first request of a lease that is over starts one with nothing granted.
        if request.expiry <= now {
            return None;
        }
        // The lease cannot have expired, so the store has forgotten it, or its last grants.
        let mut record = stored.unwrap_or_else(|| Record::settled(request));
        let claim = request.granted.saturating_sub(record.granted);
        let claim = claim.min(CLAIM_MAX.saturating_sub(self.outstanding));
        self.outstanding += claim;
        record.granted += claim;
        Some((record, Status::Reasserted))
    }

    /// Applies what the replica has spent and released since the store last heard.
    fn report(&mut self, record: &mut Record, request: &LeaseRequest, limit: &Limit) {
        let spent = request.spent.min(record.granted - record.released);
        let spent = spent.saturating_sub(record.spent);
        record.spent += spent;
        self.charge(spent, limit);
        let released = request.released.min(record.granted - record.spent);
        let released = released.saturating_sub(record.released);
        record.released += released;
        self.outstanding -= spent + released;
        self.demand = self.demand - u64::from(record.demand.0) + u64::from(request.demand.0);
        record.demand = request.demand;
    }

    /// Grants what is wanted as far as it fits, and says whether it fell short.
    fn grant(&mut self, record: &mut Record, request: &LeaseRequest, limit: &Limit) -> bool {
        let held = record.outstanding();
        let prefetch = request.wanted.min(self.share(record.demand, limit));
        let target = prefetch.max(request.needed.min(request.wanted));
        let asked = target.saturating_sub(held);
        let granted = asked.min(self.free(limit));
        record.granted += granted;
        self.outstanding += granted;
        granted < asked
    }

    /// The part of what can be granted that is due to `demand`. Divided before multiplying, so that
    /// the product stays exact in a double.
    fn share(&self, demand: Demand, limit: &Limit) -> u64 {
        let (grantable, own) = (limit.grantable(), u64::from(demand.0));
        match self.demand {
            0 => grantable,
            all => grantable / all * own + grantable % all * own / all,
        }
    }

    /// Whole tokens that can be granted: neither charged, nor outstanding, nor set aside.
    fn free(&self, limit: &Limit) -> u64 {
        let uncharged = self.meter.uncharged(limit);
        uncharged.saturating_sub(limit.advance() + self.outstanding)
    }

    /// When `missing` more tokens will fit.
    fn wait_for(&self, missing: u64, limit: &Limit, now: StoreTime) -> Wait {
        if missing == 0 {
            return Wait::None;
        }
        // Compared in tokens first, so that the level below is one of at most the capacity.
        let Some(allowed) = limit
            .grantable()
            .checked_sub(self.outstanding.saturating_add(missing))
        else {
            return Wait::Held;
        };
        let wait = self.meter.time_until_at_most(allowed, limit, now);
        wait.map_or(Wait::None, Wait::For)
    }

    fn reply(
        &self,
        status: Status,
        granted: u64,
        expiry: StoreTime,
        wait: Wait,
        limit: &Limit,
        now: StoreTime,
    ) -> Reply {
        Reply {
            status,
            granted,
            expiry,
            wait,
            free: self.free(limit),
            full_in: self.full_in(limit, now),
            outstanding: self.outstanding,
            replicas: self.records.len() as u64,
            demand: self.demand,
            now,
        }
    }
}

impl Record {
    const fn start() -> Self {
        Self {
            granted: 0,
            spent: 0,
            released: 0,
            expiry: StoreTime::ZERO,
            demand: Demand(0),
        }
    }

    /// The part of a forgotten lease that the replica is done with. It is not charged
    /// again: it was before the replica left, or counts as spent with all the store forgot.
    fn settled(request: &LeaseRequest) -> Self {
        let spent = request.spent.min(request.granted).min(CLAIM_MAX);
        let released = request.released.min(request.granted.min(CLAIM_MAX) - spent);
        Self {
            granted: spent + released,
            spent,
            released,
            expiry: request.expiry,
            demand: Demand(0),
        }
    }
}

/// The time in which the limit yields its advance: so long it may take until what was spent of the
/// advance and not reported has truly drained. In so many ticks as many begin, from whichever
/// moment.
fn advance_drained_in(limit: &Limit) -> Micros {
    let scale = limit.scale();
    let ticks = scale.ticks_to_drain(scale.level(limit.advance()));
    Micros(ticks.saturating_mul(scale.tick).min(WAIT_MAX))
}

/// Kept beyond the last effect, so that a replica that is late by less is still known.
const LIFETIME_MARGIN: Micros = Micros(1_000_000);

/// More than any replica can have been granted. A claim that would raise what is outstanding
/// beyond is cut, so that the sum of all claims can be stored and told, whatever replicas say.
const CLAIM_MAX: u64 = 1 << 52;
