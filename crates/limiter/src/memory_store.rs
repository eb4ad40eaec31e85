//! The embedded store: the ledgers in this process's memory.
//!
//! For one process, for tests, and for trying things out: with it a limiter needs nothing
//! installed. Limiters that share one store share its limits. It never forgets while it lives,
//! so its birth matters only to limiters that outlive it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_core::{Ledgers, StoreTime};
use leasehold_sync::{Answer, Batch, Call, NamedLimit};

use crate::clock::Clock;
use crate::store::{Store, StoreFuture};

/// A store in this process's memory.
///
/// Its memory is bounded: it keeps the ledgers of at most [`KEYS_MAX`](Self::KEYS_MAX) keys, some
/// 300 bytes each and the key, or of as many as [`with_keys_max`](Self::with_keys_max) says. Each
/// call forgets a few ledgers whose buckets are full again and whose leases are over. While all
/// ledgers that are kept still matter, a key that has none is denied as
/// [`Overloaded`](crate::Reason::Overloaded) under every failure policy, because to forget the
/// ledger of another key would admit more than its limit.
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
    ledgers: Mutex<Ledgers<Arc<[u8]>>>,
    exchanges: AtomicU64,
}

impl MemoryStore {
    /// Ledgers that a store keeps unless told otherwise: a million, in some 300 MB. A service has
    /// fewer keys whose buckets are not full at a time, unless they refill for a day.
    pub const KEYS_MAX: usize = 1 << 20;

    /// An empty store for at most [`KEYS_MAX`](Self::KEYS_MAX) keys.
    pub fn new() -> Self {
        Self::with_keys_max(Self::KEYS_MAX)
    }

    /// An empty store that keeps the ledgers of at most `keys_max` keys. Further keys are denied
    /// until one of them is forgotten.
    ///
    /// ```
    /// use leasehold::{Limiter, MemoryStore, Reason};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = MemoryStore::with_keys_max(1);
    /// let limiter = Limiter::builder().limit("api", "2/h").store(store).build()?;
    /// assert!(limiter.acquire("user:42", 1).await.is_allowed());
    /// let denial = limiter.acquire("user:43", 1).await.denial().expect("there is no room");
    /// assert_eq!(denial.reason, Reason::Overloaded);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_keys_max(keys_max: usize) -> Self {
        Self::bounded(Clock::start(), keys_max)
    }

    /// An empty store that goes by the clock of a test.
    #[cfg(feature = "test-util")]
    pub fn with_clock(clock: &crate::test::TestClock) -> Self {
        Self::on(Clock::of_test(clock))
    }

    pub(crate) fn on(clock: Clock) -> Self {
        Self::bounded(clock, Self::KEYS_MAX)
    }

    fn bounded(clock: Clock, keys_max: usize) -> Self {
        Self {
            clock,
            ledgers: Mutex::new(Ledgers::new(keys_max)),
            exchanges: AtomicU64::new(0),
        }
    }

    /// Keys of which it keeps a ledger.
    pub fn keys(&self) -> usize {
        self.ledgers().len()
    }

    fn now(&self) -> StoreTime {
        StoreTime::from_micros(self.clock.now().as_nanos() / 1000)
    }

    fn answer(&self, batch: &Batch, now: StoreTime) -> Answer {
        self.exchanges.fetch_add(1, Relaxed);
        let calls = batch.calls.iter().map(|call| {
            let named = batch.limit_of(call);
            (name_of(named, call), &named.limit, &call.request)
        });
        let mut ledgers = self.ledgers();
        let (birth, replies) = ledgers.execute(batch.known_birth, batch.quarantine, calls, now);
        let seat = batch.enroll.map(|enroll| ledgers.enroll(&enroll, now));
        Answer {
            birth,
            seat,
            replies,
        }
    }

    /// A panic elsewhere leaves each ledger as it was before or after a request.
    fn ledgers(&self) -> MutexGuard<'_, Ledgers<Arc<[u8]>>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn exchange<'a>(&'a self, batch: &'a Batch) -> StoreFuture<'a> {
        let answer = self.answer(batch, self.now());
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn round_trips(&self) -> u64 {
        self.exchanges.load(Relaxed)
    }
}

/// Limit and subject. A name has no colon, so no two keys meet.
fn name_of(named: &NamedLimit, call: &Call) -> Arc<[u8]> {
    [named.name.as_bytes(), b":", call.key().subject]
        .concat()
        .into()
}

#[cfg(test)]
mod tests {
    use leasehold_cache::LimitId;
    use leasehold_core::{Demand, Instant, LeaseRequest, Micros, RecordId, Reply, Request, Status};
    use leasehold_sync::FailurePolicy;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(micros: u64) -> StoreTime {
        StoreTime::from_micros(micros)
    }

    /// Calls for `subject`, one under each limit.
    fn batch(subject: &str, limits: &[(&str, &str)], request: Request) -> Batch {
        let named = limits.iter().map(|(name, limit)| NamedLimit {
            name: (*name).into(),
            limit: limit.parse().unwrap(),
            policy: FailurePolicy::Closed,
        });
        let calls = (0..)
            .zip(limits)
            .map(|(limit, _)| Call::new((LimitId(limit), subject).into(), request));
        Batch {
            replica: 1,
            partition: 0,
            known_birth: StoreTime::ZERO,
            quarantine: Micros(SECOND),
            enroll: None,
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

    const LIMIT: (&str, &str) = ("api", "1/s burst 10");

    fn status(store: &MemoryStore, subject: &str, request: Request, now: StoreTime) -> Status {
        let batch = batch(subject, &[LIMIT], request);
        store.answer(&batch, now).replies[0].status
    }

    /// It grew by 338 bytes for each of two million keys, and went on.
    #[test]
    fn as_many_keys_are_kept_as_there_is_room_for_and_the_others_are_denied() {
        let store = MemoryStore::with_keys_max(100);
        for user in 0..100 {
            let user = format!("user:{user}");
            assert_eq!(status(&store, &user, lease(), at(SECOND)), Status::Leased);
        }
        for user in 0..1000 {
            let user = format!("stranger:{user}");
            assert_eq!(status(&store, &user, spend(1), at(SECOND)), Status::Full);
            assert_eq!(status(&store, &user, lease(), at(SECOND)), Status::Full);
            assert_eq!(
                status(&store, &user, spend(0), at(SECOND)),
                Status::Spent,
                "a look"
            );
        }
        // Nobody's ledger made room for them.
        for user in 0..100 {
            let user = format!("user:{user}");
            assert_eq!(status(&store, &user, spend(6), at(SECOND)), Status::Denied);
        }
        assert_eq!(store.keys(), 100);
        let later = at(120 * SECOND);
        assert_eq!(status(&store, "stranger:0", spend(1), later), Status::Spent);
    }

    /// For weeks, keys that come once each: as many are kept as matter at a time.
    #[test]
    fn keys_that_are_asked_for_once_are_forgotten_as_fast_as_they_come() {
        let store = MemoryStore::with_keys_max(10_000);
        let mut most = 0;
        for user in 0..100_000_u64 {
            let (user, now) = (format!("user:{user}"), at(SECOND + user * 1000));
            assert_eq!(status(&store, &user, spend(1), now), Status::Spent);
            most = most.max(store.keys());
        }
        // A thousand come in the second and a half for which one is kept.
        assert!((1400..1600).contains(&most), "{most}");
    }

    #[test]
    fn limits_are_told_apart_by_name_and_by_nothing_else() {
        let store = MemoryStore::new();
        let statuses = |limits: &[(&str, &str)]| {
            let answer = store.answer(&batch("alice", limits, spend(1)), at(SECOND));
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
