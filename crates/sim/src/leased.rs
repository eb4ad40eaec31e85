//! The limiter itself under virtual time: real quota caches, real syncers, real ledgers.
//!
//! # Invariant
//!
//! Nothing is decided, leased or reconciled here. The replica model does what the crate
//! `leasehold` does around the same three types: it asks the request path, passes what that cannot
//! decide to the sync task, and does what the syncer says. The store model does what the Redis
//! script does around the ledger.
//!
//! The sync task hears of the request path a moment later, as a real task does that must be woken:
//! see [`Leased::wake_ns`]. Its timers ring late, as those of a real runtime: see
//! [`Leased::timer_tick_ns`].

mod books;
mod joint;
mod log;
mod replica;
mod store;
mod timer;

use std::iter;
use std::sync::Arc;

use leasehold_core::Limit;
use leasehold_sync::{FailurePolicy, NamedLimit, Tuning};

use crate::model::LimiterModel;
use crate::scenario::Scenario;
use crate::units::Span;

pub use self::replica::LeasedReplica;
pub use self::store::LeasedStore;

/// The limiter of this project.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The settings that may be tuned.
    pub tuning: Tuning,
    /// The failure policy of each limit, by position; closed where nothing is said.
    pub policies: Vec<FailurePolicy>,
    /// Most keys that a replica remembers.
    pub keys_max: usize,
    /// From a request's call on the sync task until that runs. In a real process this is the time
    /// in which a thread is woken.
    pub wake_ns: u64,
    /// The tick of a replica's timers; 0 if they are exact. A timer rings at the first whole
    /// tick at which it is due, or up to another tick later.
    pub timer_tick_ns: u64,
    /// Whether every spend is held against the deadline of its lease, and the books against each
    /// other. Costs time.
    pub checked: bool,
}

impl Default for Leased {
    fn default() -> Self {
        Self {
            tuning: Tuning::default(),
            policies: Vec::new(),
            keys_max: 100_000,
            wake_ns: Span::from_micros(50).0,
            // As tokio, whose timers the real limiter waits for.
            timer_tick_ns: Span::from_millis(1).0,
            checked: false,
        }
    }
}

impl LimiterModel for Leased {
    type Message = replica::Message;
    type Answer = store::Answered;
    type Replica = LeasedReplica;
    type Store = LeasedStore;

    fn replica(&self, id: u64, seed: u64, limits: &[Limit]) -> LeasedReplica {
        LeasedReplica::new(self, id, seed, &self.named(limits))
    }

    fn store(&self, _limits: &[Limit]) -> LeasedStore {
        LeasedStore::default()
    }
}

impl Leased {
    /// The limiter as a scenario sets it.
    pub(crate) fn of(scenario: &Scenario, checked: bool) -> Self {
        Self {
            tuning: scenario.tuning.tuning(),
            policies: scenario.limits.iter().map(|it| it.failure_policy).collect(),
            keys_max: usize::try_from(scenario.fleet.cache_keys.0).unwrap_or(usize::MAX),
            checked,
            ..Self::default()
        }
    }

    /// Limits under names: their positions.
    fn named(&self, limits: &[Limit]) -> Arc<[NamedLimit]> {
        let policies = self.policies.iter().copied();
        let policies = policies.chain(iter::repeat(FailurePolicy::Closed));
        let named = limits.iter().zip(policies).enumerate();
        let named = named.map(|(index, (limit, policy))| NamedLimit {
            name: index.to_string().into(),
            limit: *limit,
            policy,
        });
        named.collect()
    }
}
