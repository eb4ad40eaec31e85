//! The counts of what a limiter has done, kept by its sync task and readable at any time.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::time::Duration;

use leasehold_cache::LimitId;
use leasehold_core::Instant;
use leasehold_sync::{NamedLimit, Syncer, Tokens, Waiter};

use crate::sync_task::Past;
use crate::verdict_counts::{LimitStats, VerdictCounts};

/// Stands for no bound.
const NO_BOUND: u64 = u64::MAX;

/// The counts of what a limiter has done since it was built.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys exchanged with the store: one per key and exchange.
    pub store_calls: u64,
    /// Exchanges with the store, many keys each.
    pub batches: u64,
    /// Exchanges that failed or were not answered in time.
    pub failed_batches: u64,
    /// Mean time from a batch to its answer, of about the last eight.
    pub round_trip: Duration,
    /// Millionths by which the store's clock seemed to run faster than this replica's in the last
    /// seconds; negative if slower. A lease is used for less time when it runs fast: see
    /// [`Tuning`](crate::Tuning).
    pub clock_drift_ppm: i64,
    /// Where the tokens went.
    pub tokens: Tokens,
    /// Where the tokens went that this replica granted itself while the store was away, by the
    /// failure policies of its limits.
    pub tokens_in_fallback: Tokens,
    /// Tokens spent then that the store has not charged yet.
    pub uncharged: u64,
    /// Keys in the cache now.
    pub keys: u64,
    /// Keys forgotten because nobody asked for them.
    pub keys_evicted: u64,
    by_limit: Vec<LimitStats>,
}

impl Stats {
    /// The tokens of decided requests by limit, by where they were allowed and by why they were
    /// denied. The limits come in the order in which the builder was given them, and last come the
    /// requests that no limit decided.
    ///
    /// # Examples
    ///
    /// ```
    /// use leasehold::{Decided, Limiter, Reason};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::builder().limit("api", "100/s burst 20").build()?;
    /// assert!(limiter.acquire("user:42", 3).await.is_allowed());
    /// assert!(!limiter.acquire("user:42", 21).await.is_allowed());
    ///
    /// let stats = limiter.stats();
    /// for limit in stats.by_limit() {
    ///     let name = limit.limit.as_deref().unwrap_or("none");
    ///     for decided in Decided::ALL {
    ///         println!("{name} allowed {decided:?}: {}", limit.allowed(decided));
    ///     }
    ///     for reason in Reason::ALL {
    ///         println!("{name} denied, {reason}: {}", limit.denied(reason));
    ///     }
    /// }
    /// let api = stats.by_limit().next().ok_or("there is one limit")?;
    /// assert_eq!((api.allowed_in_all(), api.denied(Reason::TooCostly)), (3, 21));
    /// # Ok(())
    /// # }
    /// ```
    pub fn by_limit(&self) -> impl ExactSizeIterator<Item = &LimitStats> {
        self.by_limit.iter()
    }
}

/// The counters that the sync task publishes, from which [`Stats`] are read. Each number stands for
/// itself.
#[derive(Debug)]
pub(crate) struct Counters {
    store_calls: AtomicU64,
    batches: AtomicU64,
    failed_batches: AtomicU64,
    round_trip_nanos: AtomicU64,
    clock_drift_ppm: AtomicI64,
    tokens: TokenCounters,
    tokens_in_fallback: TokenCounters,
    uncharged: AtomicU64,
    keys_evicted: AtomicU64,
    pub(crate) verdicts: VerdictCounts,
    /// When the verdicts of all limits were last published. Written by the sync task alone.
    verdicts_nanos: AtomicU64,
    /// By limit.
    overshoot_bounds: Box<[AtomicU64]>,
    bounds: BoundsState,
}

/// When the bounds of all limits are worked out anew: not at each turn of the task, because there
/// may be many limits. Written by the sync task alone.
#[derive(Debug, Default)]
struct BoundsState {
    /// The bounds are more than the overshoot of the limits: the store is away, or it has not
    /// charged all that was admitted without it.
    raised: AtomicBool,
    published_nanos: AtomicU64,
}

impl BoundsState {
    /// Whether bounds that are `raised` now, or not, are worked out at `now`.
    fn are_due(&self, raised: bool, limits: usize, now: Instant) -> bool {
        let changed = self.raised.swap(raised, Relaxed) != raised;
        let published = Instant::from_nanos(self.published_nanos.load(Relaxed));
        let due = changed || (raised && now.since(published) >= pause(limits));
        if due {
            self.published_nanos.store(now.as_nanos(), Relaxed);
        }
        due
    }
}

/// The time between two publications about all limits.
fn pause(limits: usize) -> Duration {
    LIMIT_PAUSE.saturating_mul(u32::try_from(limits).unwrap_or(u32::MAX))
}

/// So much time between two publications for each limit, of which the work takes a fiftieth.
const LIMIT_PAUSE: Duration = Duration::from_micros(1);

#[derive(Debug, Default)]
struct TokenCounters {
    granted: AtomicU64,
    spent: AtomicU64,
    released: AtomicU64,
    expired: AtomicU64,
    denied: AtomicU64,
}

impl TokenCounters {
    fn publish(&self, tokens: Tokens) {
        self.granted.store(tokens.granted, Relaxed);
        self.spent.store(tokens.spent, Relaxed);
        self.released.store(tokens.released, Relaxed);
        self.expired.store(tokens.expired, Relaxed);
        self.denied.store(tokens.denied, Relaxed);
    }

    fn read(&self) -> Tokens {
        let mut tokens = Tokens::default();
        // The last first: granted grows before what becomes of it.
        tokens.denied = self.denied.load(Relaxed);
        tokens.expired = self.expired.load(Relaxed);
        tokens.released = self.released.load(Relaxed);
        tokens.spent = self.spent.load(Relaxed);
        tokens.granted = self.granted.load(Relaxed);
        tokens
    }
}

impl Counters {
    pub(crate) fn new(limits: &[NamedLimit]) -> Self {
        let bound = |named: &NamedLimit| AtomicU64::new(named.limit.overshoot());
        Self {
            store_calls: AtomicU64::default(),
            batches: AtomicU64::default(),
            failed_batches: AtomicU64::default(),
            round_trip_nanos: AtomicU64::default(),
            clock_drift_ppm: AtomicI64::default(),
            tokens: TokenCounters::default(),
            tokens_in_fallback: TokenCounters::default(),
            uncharged: AtomicU64::default(),
            keys_evicted: AtomicU64::default(),
            verdicts: VerdictCounts::new(limits.len()),
            verdicts_nanos: AtomicU64::default(),
            overshoot_bounds: limits.iter().map(bound).collect(),
            bounds: BoundsState::default(),
        }
    }

    pub(crate) fn count_batch(&self, calls: usize) {
        self.batches.fetch_add(1, Relaxed);
        self.store_calls.fetch_add(calls as u64, Relaxed);
    }

    pub(crate) fn count_failure(&self) {
        self.failed_batches.fetch_add(1, Relaxed);
    }

    pub(crate) fn publish<W: Waiter>(&self, syncer: &Syncer<W>, past: &Past, now: Instant) {
        let raised = syncer.parts_away() > 0 || syncer.uncharged() > 0;
        if self
            .bounds
            .are_due(raised, self.overshoot_bounds.len(), now)
        {
            for (index, bound) in (0..).zip(&self.overshoot_bounds) {
                let tokens = syncer.overshoot_bound(LimitId(index), now);
                bound.store(tokens.unwrap_or(NO_BOUND), Relaxed);
            }
        }
        let nanos = u64::try_from(syncer.round_trip().as_nanos()).unwrap_or(u64::MAX);
        self.round_trip_nanos.store(nanos, Relaxed);
        let drift = syncer.clock_drift_ppm();
        self.clock_drift_ppm.store(drift, Relaxed);
        self.tokens.publish(past.tokens + syncer.tokens());
        self.tokens_in_fallback
            .publish(past.tokens_in_fallback + syncer.tokens_in_fallback());
        self.uncharged.store(syncer.uncharged(), Relaxed);
        let keys_evicted = past.keys_evicted + syncer.keys_evicted();
        self.keys_evicted.store(keys_evicted, Relaxed);
        self.publish_verdicts(syncer, past, now);
    }

    /// Publishes the verdicts of all limits: not at each turn of the task, because there may be
    /// many, but at each turn of one that is ending.
    fn publish_verdicts<W: Waiter>(&self, syncer: &Syncer<W>, past: &Past, now: Instant) {
        let published = Instant::from_nanos(self.verdicts_nanos.load(Relaxed));
        let limits = self.overshoot_bounds.len();
        if now.since(published) < pause(limits) && !syncer.is_drained() {
            return;
        }
        self.verdicts_nanos.store(now.as_nanos(), Relaxed);
        for limit in (0..).take(limits).map(LimitId) {
            let (leased, granted_here) = past.tokens_of(limit);
            let leased = leased + syncer.tokens_of(limit);
            let granted_here = granted_here + syncer.tokens_in_fallback_of(limit);
            self.verdicts.publish(limit, leased, granted_here);
        }
    }

    /// [`NO_BOUND`] if there is none.
    pub(crate) fn overshoot_bound(&self, LimitId(index): LimitId) -> Option<u64> {
        let bound = self.overshoot_bounds[index as usize].load(Relaxed);
        (bound != NO_BOUND).then_some(bound)
    }

    pub(crate) fn read(&self, keys: u64, limits: &[NamedLimit]) -> Stats {
        Stats {
            store_calls: self.store_calls.load(Relaxed),
            batches: self.batches.load(Relaxed),
            failed_batches: self.failed_batches.load(Relaxed),
            round_trip: Duration::from_nanos(self.round_trip_nanos.load(Relaxed)),
            clock_drift_ppm: self.clock_drift_ppm.load(Relaxed),
            tokens: self.tokens.read(),
            tokens_in_fallback: self.tokens_in_fallback.read(),
            uncharged: self.uncharged.load(Relaxed),
            keys,
            keys_evicted: self.keys_evicted.load(Relaxed),
            by_limit: self.verdicts.read(limits),
        }
    }
}
