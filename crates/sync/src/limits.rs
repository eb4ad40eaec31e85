//! The limits of a replica: the sizes that follow from the tuning, and the local limit that decides
//! while the store is away.
//!
//! # Invariant
//!
//! A local limit is worked out when a part of the store goes away, when the store does not serve a
//! key, and when the limits are set anew, from the number of replicas that is known then. It stays
//! as it is until the next such event.

use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::LimitId;
use leasehold_core::Instant;

use crate::advance_right::quarantine;
use crate::batch::NamedLimit;
use crate::fallback::{FailurePolicy, Fleet, divide};
use crate::tuning::{Sizing, Tuning};

#[derive(Debug)]
pub(crate) struct Limits {
    named: Arc<[NamedLimit]>,
    sizings: Vec<Sizing>,
    /// By limit: the local limit. `None` if the limit is closed then, or no local limit was needed
    /// yet.
    local: Vec<Option<Sizing>>,
    /// The longest quarantine of the advances of all limits, if any has an advance.
    longest_quarantine: Option<Duration>,
    fleet: Fleet,
    pub(crate) tuning: Tuning,
}

impl Limits {
    pub(crate) fn new(named: Arc<[NamedLimit]>, tuning: Tuning) -> Self {
        Self {
            sizings: sizings(&named, &tuning),
            longest_quarantine: longest_quarantine(&named),
            named,
            local: Vec::new(),
            fleet: Fleet::new(),
            tuning,
        }
    }

    /// From now on these numbers apply under the same names.
    ///
    /// # Panics
    ///
    /// If the names or their order differ.
    pub(crate) fn set(&mut self, named: Arc<[NamedLimit]>) {
        let old = self.named.iter().map(|limit| &limit.name);
        let new = named.iter().map(|limit| &limit.name);
        assert!(old.eq(new), "keys name limits by position");
        self.sizings = sizings(&named, &self.tuning);
        self.longest_quarantine = longest_quarantine(&named);
        self.named = named;
        self.divide_all();
    }

    pub(crate) fn all(&self) -> &Arc<[NamedLimit]> {
        &self.named
    }

    pub(crate) fn named(&self, LimitId(index): LimitId) -> &NamedLimit {
        &self.named[index as usize]
    }

    pub(crate) fn sizing(&self, LimitId(index): LimitId) -> &Sizing {
        &self.sizings[index as usize]
    }

    /// Whether any limit has an advance.
    pub(crate) fn has_advances(&self) -> bool {
        self.longest_quarantine.is_some()
    }

    /// The longest time in which a limit certainly yields its advance.
    pub(crate) fn longest_quarantine(&self) -> Duration {
        self.longest_quarantine.unwrap_or(Duration::ZERO)
    }

    /// The sizes by which a batch was made that took `then` along, if they are not those of now.
    pub(crate) fn sizings_then(&self, then: &Arc<[NamedLimit]>) -> Option<Vec<Sizing>> {
        (!Arc::ptr_eq(then, &self.named)).then(|| sizings(then, &self.tuning))
    }

    /// The limit by which this replica decides in place of the store.
    pub(crate) fn local(&self, LimitId(index): LimitId) -> Option<&Sizing> {
        self.local.get(index as usize).and_then(Option::as_ref)
    }

    /// The failure policy of a limit while the part of the store that keeps the key is away, or is
    /// not. Without a local limit it is [`FailurePolicy::Closed`].
    pub(crate) fn policy(&self, limit: LimitId, is_away: bool) -> FailurePolicy {
        match self.named(limit).policy {
            FailurePolicy::Local if is_away && self.local(limit).is_none() => FailurePolicy::Closed,
            policy => policy,
        }
    }

    /// The store counts so many replicas on a key.
    pub(crate) fn handle_replicas(&mut self, replicas: u64, now: Instant) {
        self.fleet.observe(replicas, now);
    }

    /// Works out all local limits, from the number of replicas that is known last.
    pub(crate) fn divide_all(&mut self) {
        let local = self.named.iter().map(|named| self.divided(named));
        self.local = local.collect();
    }

    /// Works out one local limit.
    pub(crate) fn divide_one(&mut self, LimitId(index): LimitId) {
        let index = index as usize;
        self.local.resize(self.named.len(), None);
        self.local[index] = self.divided(&self.named[index]);
    }

    fn divided(&self, named: &NamedLimit) -> Option<Sizing> {
        let configured = self.tuning.max_replicas;
        let configured = configured.map(|replicas| u64::from(replicas.get()));
        match named.policy {
            FailurePolicy::Closed => None,
            FailurePolicy::Open => Some(Sizing::new(named.limit, &self.tuning)),
            FailurePolicy::Local => {
                let replicas = self.fleet.replicas().or(configured)?;
                let part = divide(&named.limit, replicas)?;
                Some(Sizing::new(part, &self.tuning))
            }
        }
    }
}

fn longest_quarantine(limits: &[NamedLimit]) -> Option<Duration> {
    let advancing = limits.iter().filter(|named| named.limit.advance() > 0);
    advancing.map(|named| quarantine(&named.limit)).max()
}

/// The sizes of each limit under this tuning.
fn sizings(limits: &[NamedLimit], tuning: &Tuning) -> Vec<Sizing> {
    let sizing = |named: &NamedLimit| Sizing::new(named.limit, tuning);
    limits.iter().map(sizing).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const LIMIT: LimitId = LimitId(1);

    fn limits(policy: FailurePolicy, max_replicas: Option<u32>) -> Limits {
        let named = |name: &str, limit: &str, policy| NamedLimit {
            name: name.into(),
            limit: limit.parse().unwrap(),
            policy,
        };
        let named = [
            named("other", "1/s", FailurePolicy::Closed),
            named("api", "100/s burst 100", policy),
        ];
        let tuning = Tuning {
            max_replicas: max_replicas.and_then(NonZeroU32::new),
            ..Tuning::default()
        };
        Limits::new(named.into(), tuning)
    }

    fn burst(limits: &Limits) -> Option<u64> {
        limits.local(LIMIT).map(|sizing| sizing.limit.burst())
    }

    #[test]
    fn a_local_limit_is_a_part_by_the_last_known_number_of_replicas() {
        let mut limits = limits(FailurePolicy::Local, None);
        limits.divide_all();
        assert_eq!(burst(&limits), None, "no number is known");
        assert_eq!(limits.policy(LIMIT, true), FailurePolicy::Closed);
        assert_eq!(limits.policy(LIMIT, false), FailurePolicy::Local);
        limits.handle_replicas(4, Instant::from_millis(1000));
        assert_eq!(burst(&limits), None, "not before something happens");
        limits.divide_one(LIMIT);
        assert_eq!(burst(&limits), Some(25));
        assert_eq!(limits.policy(LIMIT, true), FailurePolicy::Local);
    }

    #[test]
    fn the_configured_number_of_replicas_counts_until_a_lease_has_told() {
        let mut limits = limits(FailurePolicy::Local, Some(10));
        limits.divide_all();
        assert_eq!(burst(&limits), Some(10));
        limits.handle_replicas(2, Instant::from_millis(1000));
        limits.divide_all();
        assert_eq!(burst(&limits), Some(50));
    }

    #[test]
    fn an_open_limit_is_whole_and_a_closed_one_has_no_local_limit() {
        for (policy, expected) in [
            (FailurePolicy::Open, Some(100)),
            (FailurePolicy::Closed, None),
        ] {
            let mut limits = limits(policy, Some(10));
            limits.divide_all();
            assert_eq!(burst(&limits), expected);
        }
    }

    #[test]
    fn a_batch_is_judged_by_the_limits_that_it_took_along() {
        let mut limits = limits(FailurePolicy::Closed, None);
        let then = Arc::clone(limits.all());
        assert!(
            limits.sizings_then(&then).is_none(),
            "they are those of now"
        );
        let mut new = then.to_vec();
        new[1].limit = "7/s burst 7".parse().unwrap();
        limits.set(new.into());
        let old = limits.sizings_then(&then).unwrap();
        assert_eq!(old[1].limit.burst(), 100);
        assert_eq!(limits.sizing(LIMIT).limit.burst(), 7);
    }
}
