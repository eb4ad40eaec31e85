//! The messages between a replica and its store: a batch of calls for many keys, and the answer to
//! it.

use std::fmt;
use std::sync::Arc;

use leasehold_cache::{Entry, KeyRef, LimitId, OwnedEntry};
use leasehold_core::{Birth, Enroll, Instant, Limit, Micros, Reply, Request, Seat, StoreTime};
use thiserror::Error;

use crate::fallback::FailurePolicy;

/// A limit under the name that replicas know it by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedLimit {
    /// Names the limit at the store: replicas that share it use the same name.
    pub name: Box<str>,
    /// The limit.
    pub limit: Limit,
    /// The failure policy: how much the limit admits while the store is away.
    pub policy: FailurePolicy,
}

/// The calls for many keys that go to the store together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Chosen at random by this process.
    pub replica: u64,
    /// The part of the store that keeps all these keys, counted from 0.
    pub partition: u32,
    /// The birth of that part as this replica remembers it; [`StoreTime::ZERO`] before the first
    /// reply.
    pub known_birth: StoreTime,
    /// How long a store that has forgotten its leases must wait before it grants again: the longest
    /// lease that any replica asks for.
    pub quarantine: Micros,
    /// The message of this replica to the roster, if there is one.
    pub enroll: Option<Enroll>,
    /// All limits; a call names its own by position.
    pub limits: Arc<[NamedLimit]>,
    /// The calls, executed in this order: one about a key, or several spends on it.
    pub calls: Vec<Call>,
    /// When the batch was made. Leases are counted from this time, because the store cannot have
    /// received the batch earlier.
    pub sent: Instant,
}

/// One request about one key.
///
/// A store reads the key and the request. The entry of the cache, whose tokens are the replica's to
/// move, is out of its reach:
///
/// ```compile_fail
/// fn mint(call: &leasehold_sync::Call) {
///     let entry = call.entry();
///     entry.lease.deposit(1_000_000, leasehold_core::Instant::FAR_FUTURE, entry_time());
/// }
/// # fn entry_time() -> leasehold_core::Instant { leasehold_core::Instant::ORIGIN }
/// ```
#[derive(Clone, Debug)]
pub struct Call {
    /// The request.
    pub request: Request,
    ticket: Ticket,
}

/// The way back from a call to the entry that it is about, and to the request that waits for it if
/// it is a central spend, for the syncer alone.
#[derive(Clone)]
struct Ticket {
    entry: Arc<Entry>,
    number: u64,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

impl Call {
    /// A call about `key` that no syncer waits for, as a test of a store makes it.
    pub fn new(key: KeyRef<'_>, request: Request) -> Self {
        Self::about(Arc::clone(&OwnedEntry::new(key)), request, 0)
    }

    /// A call about the key of `entry`; of a central spend, for the request of this `number`.
    pub(crate) fn about(entry: Arc<Entry>, request: Request, number: u64) -> Self {
        let ticket = Ticket { entry, number };
        Self { request, ticket }
    }

    /// A report of tokens that were spent of the advance of the entry's key.
    pub(crate) fn report(entry: Arc<Entry>, tokens: u64) -> Self {
        Self::about(entry, Request::Charge { tokens }, REPORT)
    }

    /// Whether it reports what was spent of an advance. Other charges are of tokens that were
    /// admitted without the store.
    pub(crate) fn is_report(&self) -> bool {
        matches!(self.request, Request::Charge { .. }) && self.number() == REPORT
    }

    /// The key that the request is about.
    pub fn key(&self) -> KeyRef<'_> {
        self.ticket.entry.key()
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.ticket.entry
    }

    /// The cost of a central spend: of a request that waits. A spend of nothing is a look.
    pub(crate) fn central_cost(&self) -> Option<u64> {
        match self.request {
            Request::Spend { cost } if cost > 0 => Some(cost),
            _ => None,
        }
    }

    /// The number of the request that a central spend is for.
    pub(crate) fn number(&self) -> u64 {
        self.ticket.number
    }
}

/// The number of a call that is a report.
const REPORT: u64 = u64::MAX;

/// The store's answer to a batch.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The store's birth.
    pub birth: Birth,
    /// The answer of the roster, if the batch told it something.
    pub seat: Option<Seat>,
    /// One reply per call, in order.
    pub replies: Vec<Reply>,
}

impl Answer {
    /// Whether there is one reply per call of `batch`: otherwise none of them can be believed.
    ///
    /// # Errors
    ///
    /// [`Miscounted`] if there are more or fewer.
    pub fn check(&self, batch: &Batch) -> Result<(), Miscounted> {
        let (calls, replies) = (batch.calls.len(), self.replies.len());
        if calls == replies {
            Ok(())
        } else {
            Err(Miscounted { calls, replies })
        }
    }

    /// The birth that a replica remembers once it has this answer to `batch`, if it remembered
    /// `known` before.
    ///
    /// An answer is input: a birth that lies in the future of the store which says it is not
    /// remembered, because it would be sent back. Answers that overtake each other leave the latest
    /// birth, and one that knew what the replica remembers has the last word.
    pub fn known_birth(&self, batch: &Batch, known: StoreTime) -> StoreTime {
        let now = self.replies.first().map(|reply| reply.now);
        match now.and_then(|now| self.birth.to_remember(now)) {
            None => known,
            Some(since) if batch.known_birth == known => since,
            Some(since) => known.max(since),
        }
    }
}

/// An answer with another number of replies than its batch has calls.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("{replies} replies to {calls} calls")]
pub struct Miscounted {
    /// Calls in the batch.
    pub calls: usize,
    /// Replies to them.
    pub replies: usize,
}

impl Batch {
    /// The limit that `call` is about.
    ///
    /// # Panics
    ///
    /// If the call is of another batch with other limits.
    pub fn limit_of(&self, call: &Call) -> &NamedLimit {
        let LimitId(index) = call.key().limit;
        &self.limits[index as usize]
    }
}
