//! The messages between a replica and its store about one key.
//!
//! Requests carry cumulative *state*, never deltas: what the replica knows to have been granted,
//! has spent and has released in all. The store keeps the larger of what it has and what it is
//! told, so a message that is lost, repeated, late or out of order does no harm and needs no
//! sequence number.

use crate::limit::Limit;
use crate::time::{Micros, StoreTime};
use crate::verdict::Reason;

/// One replica's record of one lease at the store.
///
/// A generation is never used again once the store has ended it: counts in a record only grow.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RecordId {
    /// Chosen at random by each process.
    pub replica: u64,
    /// Counted up by the replica with each lease it starts, on whatever key.
    pub generation: u64,
}

/// Demand for one key at one replica, in 256ths of the limit's rate: how many tokens per time
/// were asked for, whether or not they were had. Only ratios of it matter.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Demand(pub u16);

impl Demand {
    /// The demand that equals the limit's rate.
    pub const ONE: Self = Self(256);
}

/// A replica's request to the ledger of one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// Report on a lease, and renew, enlarge, shrink or end it.
    Lease(LeaseRequest),
    /// Central mode: charge `cost` tokens now, all or none, without a lease. A cost of 0 only
    /// looks.
    Spend {
        /// Tokens to charge.
        cost: u64,
    },
    /// Charge `tokens` that a replica has admitted without the store's leave, by the failure
    /// policy of the limit, whether they fit or not.
    ///
    /// Charged at most up to the ledger's [ceiling](crate::Ledger::ceiling): what is beyond is
    /// forgiven, so that an outage costs a bucket no more than the time in which it fills. Sent
    /// again if nobody knows what became of it; should it be executed twice, less is granted.
    Charge {
        /// Tokens to charge.
        tokens: u64,
    },
    /// Forgive all that is charged, as if it had drained: the bucket is full but for what is
    /// outstanding on leases. Whoever sends this for a key resets the limit for it. Denied while
    /// all buckets count as spent because the store was emptied.
    Forgive,
}

/// The state of one lease as its replica knows it, and what the replica would like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseRequest {
    /// Whose lease.
    pub record: RecordId,
    /// Tokens granted in all, as far as the replica has heard.
    pub granted: u64,
    /// Tokens spent in all; never more than truly were.
    pub spent: u64,
    /// Tokens released in all; they are gone from the replica for good.
    pub released: u64,
    /// Tokens the replica would like outstanding. A target, not an amount: asking twice grants
    /// once. 0 ends the lease once nothing is outstanding.
    pub wanted: u64,
    /// Tokens that must be outstanding for requests that are waiting now. This part may exceed
    /// the replica's share; 0 for a mere prefetch.
    pub needed: u64,
    /// How long the lease shall run from when the store hears of it.
    pub lease: Micros,
    /// The expiry the store announced last, on the store's clock; [`StoreTime::ZERO`] if none.
    pub expiry: StoreTime,
    /// Demand measured here.
    pub demand: Demand,
}

/// The ledger's answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The result of the request.
    pub status: Status,
    /// Tokens granted to this record in all.
    pub granted: u64,
    /// When the store ends the lease, on the store's clock.
    pub expiry: StoreTime,
    /// Whether tokens are to be had, and when.
    pub wait: Wait,
    /// Whole tokens neither charged nor outstanding; 0 if none.
    pub free: u64,
    /// Time until nothing is charged or outstanding, if nothing more is granted or charged and all
    /// that is outstanding is spent. Rounded up; at most 2^52 microseconds.
    pub full_in: Micros,
    /// Tokens outstanding on all leases of the key.
    pub outstanding: u64,
    /// Replicas that hold a lease on the key.
    pub replicas: u64,
    /// Their demand in all, in 256ths of the rate.
    pub demand: u64,
    /// The store's clock when it answered.
    pub now: StoreTime,
}

impl Reply {
    /// Whether a ledger can have given this reply to `request`, as far as one exchange tells: the
    /// latest request about its record, so that the ledger had heard of no larger counts.
    ///
    /// A store is input. What it says and no ledger would is believed as little as silence is.
    pub fn answers(&self, request: &Request) -> bool {
        self.is_countable() && self.is_fitting(request)
    }

    /// Whether every number is one that a store can count and a replica can send back.
    fn is_countable(&self) -> bool {
        let wait = match self.wait {
            Wait::For(wait) => (1..=WAIT_MAX).contains(&wait.0),
            Wait::None | Wait::Held => true,
        };
        // A replica has at least one lease for the demand that is counted.
        let demand_max = self.replicas.saturating_mul(u64::from(u16::MAX));
        let times = [self.expiry, self.now].map(StoreTime::as_micros);
        let counts = [self.granted, self.free, self.replicas];
        wait && self.demand <= demand_max
            && self.full_in.0 <= WAIT_MAX
            && times.into_iter().chain(counts).all(|it| it < COUNT_END)
    }

    /// Whether the status and the grant are those of an answer to `request`.
    fn is_fitting(&self, request: &Request) -> bool {
        let unleased = self.granted == 0 && self.expiry == StoreTime::ZERO;
        let waits = self.wait != Wait::None;
        if self.status.unserved().is_some() {
            return unleased && !waits;
        }
        match request {
            Request::Spend { .. } => match self.status {
                Status::Spent => unleased && !waits,
                status => status == Status::Denied && unleased,
            },
            Request::Charge { .. } => self.status == Status::Charged && unleased,
            Request::Forgive => match self.status {
                Status::Forgiven => unleased && !waits,
                status => status == Status::Denied && unleased && waits,
            },
            Request::Lease(request) => match self.status {
                Status::Over => request.granted > 0 && unleased && !waits,
                Status::Left => {
                    let done = request.spent + request.released;
                    request.wanted == 0 && self.granted == done && self.expiry == StoreTime::ZERO
                }
                Status::Leased | Status::Reasserted => {
                    let held = self.granted.checked_sub(request.spent + request.released);
                    self.granted >= request.granted
                        && held.is_some_and(|held| held <= self.outstanding)
                        && self.expiry >= self.now + request.lease
                        && self.replicas > 0
                }
                _ => false,
            },
        }
    }

    /// Tokens charged and not yet drained under `limit`, rounded up; no more than what of the
    /// capacity is not outstanding.
    pub const fn charged(&self, limit: &Limit) -> u64 {
        let taken = limit.capacity().saturating_sub(self.free);
        taken.saturating_sub(self.outstanding)
    }

    /// The reply to a request that the store did not execute, at its time `now`. `status` says why.
    pub const fn unserved(status: Status, now: StoreTime) -> Self {
        Self {
            status,
            granted: 0,
            expiry: StoreTime::ZERO,
            wait: Wait::None,
            free: 0,
            full_in: Micros(0),
            outstanding: 0,
            replicas: 0,
            demand: 0,
            now,
        }
    }
}

/// Counts beyond this are not exact in the store, and could not be sent back to it.
const COUNT_END: u64 = 1 << 52;

/// The longest time that is told, 142 years: beyond, a double would round it.
pub(crate) const WAIT_MAX: u64 = 1 << 52;

/// The result of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The lease runs until the announced expiry.
    Leased,
    /// The lease is granted or renewed after the store took back what it had forgotten.
    Reasserted,
    /// The lease has ended: nothing was outstanding or wanted.
    Left,
    /// The record had expired and what was left of it is charged: start a new generation.
    Over,
    /// Central mode: the cost is charged.
    Spent,
    /// Central mode: the cost does not fit now; nothing is charged.
    Denied,
    /// Tokens that were admitted without leave are charged.
    Charged,
    /// Nothing is charged any more.
    Forgiven,
    /// The request was not executed: this version cannot read what is stored under the key. The
    /// stored value stays as it is until it expires or somebody deletes it.
    Unreadable,
    /// The request was not executed: the store has no ledger of the key and no room for one.
    Full,
    /// The request was not executed: a number in it is larger than the store counts exactly.
    Uncountable,
}

impl Status {
    /// Why a request of this status was not executed; `None` if it was.
    ///
    /// Other requests of the same batch are not concerned.
    pub const fn unserved(self) -> Option<Reason> {
        match self {
            Self::Unreadable | Self::Uncountable => Some(Reason::StoreUnavailable),
            Self::Full => Some(Reason::Overloaded),
            Self::Leased
            | Self::Reasserted
            | Self::Left
            | Self::Over
            | Self::Spent
            | Self::Denied
            | Self::Charged
            | Self::Forgiven => None,
        }
    }
}

/// When more tokens can be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// All that was asked for is there, or the share, not the bucket, was what limited it.
    None,
    /// Draining alone makes room for the next token of a lease, or for the cost of a central
    /// spend, in this time and no sooner, unless a lease is released, expires, or the limit
    /// changes.
    For(Micros),
    /// Others hold what is missing: draining alone will not make room.
    Held,
}
