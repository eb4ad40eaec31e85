//! The embedded store: the ledgers in this process's memory.
//!
//! For one process, for tests, and for trying things out: with it a limiter needs nothing
//! installed. Limiters that share one store share its limits. It never forgets while it lives,
//! so its birth matters only to limiters that outlive it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use leasehold_core::{Birth, Ledger, Micros, Reply, Request, StoreTime};
use leasehold_sync::{Answer, Batch, Call, NamedLimit};

use crate::clock::Clock;
use crate::store::{Store, StoreFuture};

/// A store in this process's memory.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use leasehold::{Limiter, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Two limiters, one limit.
/// let store = Arc::new(MemoryStore::new());
/// let limit = "2/h";
/// let one = Limiter::builder().limit("api", limit).store(Arc::clone(&store)).build()?;
/// let other = Limiter::builder().limit("api", limit).store(store).build()?;
/// assert!(one.acquire("user:42", 1).await.is_allowed());
/// assert!(other.acquire("user:42", 1).await.is_allowed());
/// assert!(!one.acquire("user:42", 1).await.is_allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    clock: Clock,
    birth: Mutex<Option<Birth>>,
    ledgers: DashMap<Box<[u8]>, Kept>,
    counts: Mutex<Counts>,
}

/// A ledger and when it ceases to matter.
#[derive(Debug, Default)]
struct Kept {
    ledger: Option<Ledger>,
    until: StoreTime,
}

#[derive(Debug)]
struct Counts {
    exchanges: u64,
    purge_at: usize,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::on(Clock::start())
    }

    /// An empty store that goes by the clock of a test.
    #[cfg(feature = "test-util")]
    pub fn with_clock(clock: &crate::test::TestClock) -> Self {
        Self::on(Clock::of_test(clock))
    }

    pub(crate) fn on(clock: Clock) -> Self {
        Self {
            clock,
            birth: Mutex::new(None),
            ledgers: DashMap::new(),
            counts: Mutex::new(Counts {
                exchanges: 0,
                purge_at: PURGE_MIN,
            }),
        }
    }

    /// Keys of which it knows something.
    pub fn keys(&self) -> usize {
        self.ledgers.len()
    }

    fn now(&self) -> StoreTime {
        StoreTime::from_micros(self.clock.now().as_nanos() / 1000)
    }

    fn answer(&self, batch: &Batch) -> Answer {
        let now = self.now();
        let birth = self.meet(batch, now);
        let replies = batch
            .calls
            .iter()
            .map(|call| self.reply(batch, call, birth, now));
        let answer = Answer {
            birth,
            replies: replies.collect(),
        };
        self.purge(now);
        answer
    }

    fn meet(&self, batch: &Batch, now: StoreTime) -> Birth {
        let mut found = lock(&self.birth);
        let birth = Birth::meet(*found, batch.known_birth, batch.hold, now);
        *found = Some(birth);
        birth
    }

    fn reply(&self, batch: &Batch, call: &Call, birth: Birth, now: StoreTime) -> Reply {
        let named = batch.limit_of(call);
        let mut kept = self.ledgers.entry(name_of(named, call)).or_default();
        let reply = Ledger::exchange(&mut kept.ledger, &call.request, &named.limit, birth, now);
        let lease = match &call.request {
            Request::Lease(request) => request.lease,
            Request::Spend { .. } | Request::Charge { .. } => Micros(0),
        };
        if let Some(ledger) = &kept.ledger {
            // A shorter lease asked for later does not shorten what a longer one needs.
            kept.until = kept
                .until
                .max(now + ledger.lifetime(&named.limit, lease, now));
        }
        reply
    }

    /// Forgets ledgers that say no more than none would, each time their number has doubled.
    fn purge(&self, now: StoreTime) {
        let mut counts = lock(&self.counts);
        counts.exchanges += 1;
        if self.ledgers.len() >= counts.purge_at {
            self.ledgers.retain(|_, kept| kept.until > now);
            counts.purge_at = (self.ledgers.len() * 2).max(PURGE_MIN);
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        Box::pin(std::future::ready(Ok(self.answer(batch))))
    }

    fn round_trips(&self) -> u64 {
        lock(&self.counts).exchanges
    }
}

/// Limit and subject. A name has no colon, so no two keys meet.
fn name_of(named: &NamedLimit, call: &Call) -> Box<[u8]> {
    [named.name.as_bytes(), b":", call.entry.key().subject]
        .concat()
        .into()
}

/// A panic elsewhere leaves these values whole: each is written in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fewer than this are not worth looking through.
const PURGE_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use leasehold_sync::FailurePolicy;
    use std::sync::Arc;

    use leasehold_cache::{Entry, LimitId};
    use leasehold_core::{Demand, Instant, LeaseRequest, RecordId, Status};

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(micros: u64) -> StoreTime {
        StoreTime::from_micros(micros)
    }

    /// Calls for `alice`, one under each limit.
    fn batch(limits: &[(&str, &str)], request: Request) -> Batch {
        let named = limits.iter().map(|(name, limit)| NamedLimit {
            name: (*name).into(),
            limit: limit.parse().unwrap(),
            policy: FailurePolicy::Closed,
        });
        let calls = (0..).zip(limits).map(|(limit, _)| Call {
            entry: Arc::new(Entry::new((LimitId(limit), "alice").into())),
            request,
        });
        Batch {
            replica: 1,
            partition: 0,
            known_birth: StoreTime::ZERO,
            hold: Micros(SECOND),
            limits: named.collect(),
            calls: calls.collect(),
            sent: Instant::ORIGIN,
        }
    }

    fn spend(cost: u64) -> Request {
        Request::Spend { cost }
    }

    /// For five tokens, for ten seconds.
    fn lease() -> Request {
        Request::Lease(LeaseRequest {
            record: RecordId {
                replica: 1,
                generation: 1,
            },
            granted: 0,
            spent: 0,
            released: 0,
            wanted: 5,
            needed: 5,
            lease: Micros(10 * SECOND),
            expiry: StoreTime::ZERO,
            demand: Demand::ONE,
        })
    }

    #[test]
    fn a_ledger_is_forgotten_when_it_says_no_more_than_none_and_not_before() {
        // The last outlives what is spent after it: by the lease, and the draining of both.
        for story in [vec![spend(5)], vec![lease()], vec![lease(), spend(5)]] {
            let store = MemoryStore::new();
            let birth = Birth::meet(None, StoreTime::ZERO, Micros(SECOND), at(SECOND));
            let mut kept = None;
            for request in &story {
                let batch = batch(&[("api", "1/s burst 10")], *request);
                let call = &batch.calls[0];
                let limit = &batch.limit_of(call).limit;
                store.reply(&batch, call, birth, at(SECOND));
                Ledger::exchange(&mut kept, request, limit, birth, at(SECOND));
            }
            let limit = "1/s burst 10".parse().unwrap();
            let forgotten = (SECOND..60 * SECOND).step_by(1000).find(|&now| {
                lock(&store.counts).purge_at = 0;
                store.purge(at(now));
                store.keys() == 0
            });
            let now = at(forgotten.expect("not kept for ever"));
            let (mut kept, mut none) = (kept.clone(), None);
            assert_eq!(
                Ledger::exchange(&mut kept, &spend(10), &limit, birth, now),
                Ledger::exchange(&mut none, &spend(10), &limit, birth, now),
                "{story:?}"
            );
        }
    }

    #[test]
    fn a_few_ledgers_are_not_looked_through() {
        let store = MemoryStore::new();
        let batch = batch(&[("api", "1/s")], spend(1));
        store.reply(&batch, &batch.calls[0], store.meet(&batch, at(1)), at(1));
        store.purge(at(1000 * SECOND));
        assert_eq!(store.keys(), 1);
    }

    #[test]
    fn limits_are_told_apart_by_name_and_by_nothing_else() {
        let store = MemoryStore::new();
        let statuses = |limits: &[(&str, &str)]| {
            let answer = store.answer(&batch(limits, spend(1)));
            let status = |reply: &Reply| reply.status;
            answer.replies.iter().map(status).collect::<Vec<_>>()
        };
        let (one, other) = (("one", "1/h"), ("other", "1/h"));
        assert_eq!(statuses(&[one, other]), [Status::Spent; 2]);
        // Another limiter counts them in another order.
        assert_eq!(
            statuses(&[other, ("third", "1/h"), one]),
            [Status::Denied, Status::Spent, Status::Denied]
        );
        assert_eq!(store.keys(), 3);
    }
}
