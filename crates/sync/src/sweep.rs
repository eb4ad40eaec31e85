//! Forgets keys that nobody asks for, a few at a time.
//!
//! A hand goes round all keys (the CLOCK scheme): a key that was asked for since the hand last
//! passed stays, one that was not goes. A key that the sync task still has business with, a
//! lease among it, always stays: it gives back before it is forgotten.

use std::sync::Arc;

use leasehold_cache::{Entry, QuotaCache};
use leasehold_core::Instant;

#[derive(Debug, Default)]
pub(crate) struct Sweep {
    ring: Vec<Arc<Entry>>,
    hand: usize,
}

impl Sweep {
    pub(crate) fn add(&mut self, entry: Arc<Entry>) {
        self.ring.push(entry);
    }

    /// How many keys are known.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// The keys that the sync task has no business with.
    pub(crate) fn stateless(&self) -> Vec<Arc<Entry>> {
        let stateless = self.ring.iter().filter(|entry| entry.slot().is_none());
        stateless.cloned().collect()
    }

    /// Examines up to `steps` keys and removes the idle ones from `cache`. Shows each to `look`,
    /// with whether it was removed.
    pub(crate) fn pass(
        &mut self,
        cache: &QuotaCache,
        steps: usize,
        scope: EvictionScope,
        now: Instant,
        mut look: impl FnMut(&Entry, bool),
    ) {
        for _ in 0..steps.min(self.ring.len()) {
            if self.hand >= self.ring.len() {
                self.hand = 0;
            }
            let is_idle = is_idle(&self.ring[self.hand], scope, now);
            if is_idle {
                let entry = self.ring.swap_remove(self.hand);
                cache.remove(&entry);
                look(&entry, true);
            } else {
                look(&self.ring[self.hand], false);
                self.hand += 1;
            }
        }
    }
}

/// The keys that an eviction may remove.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EvictionScope {
    /// Keys that are denied for now stay, because to forget one costs a call when it comes back.
    KeepDenied,
    /// No idle key stays, because room is needed and somebody who drained many keys must not keep
    /// it from others.
    All,
}

fn is_idle(entry: &Entry, scope: EvictionScope, now: Instant) -> bool {
    if entry.slot().is_some() || entry.take_touched() {
        return false;
    }
    scope == EvictionScope::All || entry.denies(1, now).is_none()
}

#[cfg(test)]
mod tests {
    use leasehold_cache::{Config, KeyRef, LimitId};

    use super::*;

    const NOW: Instant = Instant::from_millis(1);

    fn key(subject: &[u8]) -> KeyRef<'_> {
        KeyRef {
            limit: LimitId(0),
            subject,
        }
    }

    fn removed(
        sweep: &mut Sweep,
        cache: &QuotaCache,
        steps: usize,
        scope: EvictionScope,
        now: Instant,
    ) -> u64 {
        let mut removed = 0;
        sweep.pass(cache, steps, scope, now, |_, is_removed| {
            removed += u64::from(is_removed);
        });
        removed
    }

    #[test]
    fn what_is_in_use_stays_and_what_is_not_goes() {
        let cache = QuotaCache::new(Config {
            keys_max: 10,
            seed: 1,
            signals: 4,
        });
        let mut sweep = Sweep::default();
        for subject in [b"busy".as_slice(), b"touched", b"denied", b"idle"] {
            sweep.add(cache.insert(key(subject)).unwrap());
        }
        let entry = |subject| cache.get(key(subject)).unwrap();
        entry(b"busy").set_slot(0);
        entry(b"touched").touch();
        entry(b"denied").denial.deny(1, Instant::from_millis(50));
        assert_eq!(
            removed(&mut sweep, &cache, 10, EvictionScope::KeepDenied, NOW),
            1
        );
        assert_eq!(cache.len(), 3);
        assert_eq!(
            removed(&mut sweep, &cache, 10, EvictionScope::KeepDenied, NOW),
            1,
            "touched once, not since"
        );
        assert_eq!(
            removed(
                &mut sweep,
                &cache,
                10,
                EvictionScope::KeepDenied,
                Instant::from_millis(60)
            ),
            1,
            "the denial is over"
        );
        assert!(cache.get(key(b"busy")).is_some());
        assert_eq!(sweep.len(), 1);
    }

    #[test]
    fn where_room_is_needed_denied_keys_go_unless_they_still_ask() {
        let cache = QuotaCache::new(Config {
            keys_max: 10,
            seed: 1,
            signals: 4,
        });
        let mut sweep = Sweep::default();
        for subject in [b"silent".as_slice(), b"asking"] {
            let entry = cache.insert(key(subject)).unwrap();
            entry.denial.deny(1, Instant::from_millis(50));
            sweep.add(entry);
        }
        let _ = cache.try_acquire(key(b"asking"), 1, NOW);
        assert_eq!(
            removed(&mut sweep, &cache, 10, EvictionScope::KeepDenied, NOW),
            0
        );
        let _ = cache.try_acquire(key(b"asking"), 1, NOW);
        assert_eq!(removed(&mut sweep, &cache, 2, EvictionScope::All, NOW), 1);
        assert!(cache.get(key(b"asking")).is_some());
    }
}
