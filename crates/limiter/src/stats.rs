//! What a limiter has done so far, counted by its sync task and readable at any time.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::time::Duration;

use leasehold_cache::LimitId;
use leasehold_core::Instant;
use leasehold_sync::{NamedLimit, Syncer, Tokens, Waiter};

use crate::sync_task::Past;

/// Stands for no bound.
const NO_BOUND: u64 = u64::MAX;

/// What a limiter has done since it was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
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
    pub tokens_alone: Tokens,
    /// Tokens spent then that the store has not charged yet.
    pub owed: u64,
    /// Keys in the cache now.
    pub keys: u64,
    /// Keys forgotten because nobody asked for them.
    pub keys_evicted: u64,
}

/// The same, as the sync task publishes it. Each number stands for itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    store_calls: AtomicU64,
    batches: AtomicU64,
    failed_batches: AtomicU64,
    round_trip_nanos: AtomicU64,
    clock_drift_ppm: AtomicI64,
    tokens: TokenCounters,
    tokens_alone: TokenCounters,
    owed: AtomicU64,
    keys_evicted: AtomicU64,
    /// By limit.
    overshoot_bounds: Box<[AtomicU64]>,
    bounds: BoundsState,
}

/// When the bounds of all limits are worked out anew: not at each turn of the task, because there
/// may be many limits. Written by the sync task alone.
#[derive(Debug, Default)]
struct BoundsState {
    /// They are more than the limits' own overshoot: the store is away, or something is owed.
    raised: AtomicBool,
    published_nanos: AtomicU64,
}

impl BoundsState {
    /// Whether bounds that are `raised` now, or not, are worked out at `now`.
    fn are_due(&self, raised: bool, limits: usize, now: Instant) -> bool {
        let changed = self.raised.swap(raised, Relaxed) != raised;
        let published = Instant::from_nanos(self.published_nanos.load(Relaxed));
        let pause = BOUND_PAUSE.saturating_mul(u32::try_from(limits).unwrap_or(u32::MAX));
        let due = changed || (raised && now.since(published) >= pause);
        if due {
            self.published_nanos.store(now.as_nanos(), Relaxed);
        }
        due
    }
}

/// So much time between two publications for each limit, of which the work takes a fiftieth.
const BOUND_PAUSE: Duration = Duration::from_micros(1);

#[derive(Debug, Default)]
struct TokenCounters {
    granted: AtomicU64,
    spent: AtomicU64,
    released: AtomicU64,
    expired: AtomicU64,
}

impl TokenCounters {
    fn publish(&self, tokens: Tokens) {
        self.granted.store(tokens.granted, Relaxed);
        self.spent.store(tokens.spent, Relaxed);
        self.released.store(tokens.released, Relaxed);
        self.expired.store(tokens.expired, Relaxed);
    }

    fn read(&self) -> Tokens {
        let mut tokens = Tokens::default();
        // The last first: granted grows before what becomes of it.
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
            overshoot_bounds: limits.iter().map(bound).collect(),
            ..Self::default()
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
        let raised = syncer.parts_away() > 0 || syncer.owed() > 0;
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
        self.tokens_alone
            .publish(past.tokens_alone + syncer.tokens_alone());
        self.owed.store(syncer.owed(), Relaxed);
        let keys_evicted = past.keys_evicted + syncer.keys_evicted();
        self.keys_evicted.store(keys_evicted, Relaxed);
    }

    /// [`NO_BOUND`] if there is none.
    pub(crate) fn overshoot_bound(&self, LimitId(index): LimitId) -> Option<u64> {
        let bound = self.overshoot_bounds[index as usize].load(Relaxed);
        (bound != NO_BOUND).then_some(bound)
    }

    pub(crate) fn read(&self, keys: u64) -> Stats {
        Stats {
            store_calls: self.store_calls.load(Relaxed),
            batches: self.batches.load(Relaxed),
            failed_batches: self.failed_batches.load(Relaxed),
            round_trip: Duration::from_nanos(self.round_trip_nanos.load(Relaxed)),
            clock_drift_ppm: self.clock_drift_ppm.load(Relaxed),
            tokens: self.tokens.read(),
            tokens_alone: self.tokens_alone.read(),
            owed: self.owed.load(Relaxed),
            keys,
            keys_evicted: self.keys_evicted.load(Relaxed),
        }
    }
}
