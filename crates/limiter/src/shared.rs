//! What the request path and the sync task share: the cache, the clock, the limits, the counts.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use leasehold_cache::QuotaCache;
use leasehold_core::{Instant, StoreTime};
use leasehold_sync::{Away, NamedLimit};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::names::Names;
use crate::stats::Counters;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cache: Arc<QuotaCache>,
    pub(crate) limits: Arc<[NamedLimit]>,
    pub(crate) names: Names,
    /// What the sync task says of the store.
    pub(crate) away: Arc<Away>,
    pub(crate) counters: Counters,
    /// Wakes the task: a key runs low.
    pub(crate) wake: Notify,
    pub(crate) shutdown_patience: Duration,
    clock: Clock,
    /// Of each part of the store.
    known_births: Box<[AtomicU64]>,
    closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        cache: Arc<QuotaCache>,
        limits: Arc<[NamedLimit]>,
        names: Names,
        shutdown_patience: Duration,
        partitions: u32,
        away: Arc<Away>,
    ) -> Self {
        Self {
            cache,
            away,
            counters: Counters::new(&limits),
            limits,
            names,
            wake: Notify::new(),
            shutdown_patience,
            clock: Clock::start(),
            known_births: (0..partitions.max(1)).map(|_| AtomicU64::new(0)).collect(),
            closed: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The same for a request that is decided here.
    #[inline]
    pub(crate) fn now_approx(&self) -> Instant {
        self.clock.now_approx()
    }

    /// The birth of a part of the store as far as it is known here.
    pub(crate) fn known_birth(&self, partition: u32) -> StoreTime {
        StoreTime::from_micros(self.known_births[partition as usize].load(Relaxed))
    }

    pub(crate) fn learn_birth(&self, partition: u32, since: StoreTime) {
        self.known_births[partition as usize].fetch_max(since.as_micros(), Relaxed);
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
    }
}
