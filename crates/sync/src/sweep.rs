//! Forgets keys that nobody asks for, a few at a time.
//!
//! A hand goes round all keys (the CLOCK scheme): a key that was asked for since the hand last
//! passed stays, one that was not goes. A key that the sync task still has business with, a
//! lease among it, always stays: it gives back before it is forgotten.

use std::sync::Arc;

use leasehold_cache::{Entry, OwnedEntry, Owner};
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

    /// The entries of all keys.
    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.ring
    }

    /// Examines up to `steps` keys and removes the idle ones from `cache`. Shows each to `look`.
    pub(crate) fn pass(
        &mut self,
        cache: &mut Owner,
        steps: usize,
        scope: EvictionScope,
        now: Instant,
        mut look: impl FnMut(Swept<'_>),
    ) {
        for _ in 0..steps.min(self.ring.len()) {
            if self.hand >= self.ring.len() {
                self.hand = 0;
            }
            let entry = &self.ring[self.hand];
            let Some(mut owned) = cache.claim(entry) else {
                look(Swept::Busy(entry));
                self.hand += 1;
                continue;
            };
            if is_idle(&mut owned, scope, now) {
                cache.remove(entry);
                self.ring.swap_remove(self.hand);
                look(Swept::Removed(owned));
            } else {
                look(Swept::Stays(owned));
                self.hand += 1;
            }
        }
    }
}

/// A key that a pass has examined.
#[derive(Debug)]
pub(crate) enum Swept<'a> {
    /// The sync task has business with the key, and so owns its entry already.
    Busy(&'a Entry),
    /// The key is known on.
    Stays(OwnedEntry),
    /// The key was idle, and is forgotten.
    Removed(OwnedEntry),
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

fn is_idle(entry: &mut OwnedEntry, scope: EvictionScope, now: Instant) -> bool {
    if entry.take_touched() {
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
        cache: &mut Owner,
        steps: usize,
        scope: EvictionScope,
        now: Instant,
    ) -> u64 {
        let mut removed = 0;
        sweep.pass(cache, steps, scope, now, |swept| {
            removed += u64::from(matches!(swept, Swept::Removed(_)));
        });
        removed
    }

    #[test]
    fn what_is_in_use_stays_and_what_is_not_goes() {
        let mut cache = Owner::new(Config {
            keys_max: 10,
            seed: 1,
            signals: 4,
        });
        let mut sweep = Sweep::default();
        for subject in [b"busy".as_slice(), b"touched", b"denied", b"idle"] {
            sweep.add(cache.insert(key(subject)).unwrap());
        }
        let mut claim = |subject| {
            let entry = cache.requests().get(key(subject)).unwrap();
            cache.claim(&entry).unwrap()
        };
        let mut busy = claim(b"busy");
        busy.set_slot(0);
        claim(b"touched").touch();
        claim(b"denied").deny(1, Instant::from_millis(50));
        assert_eq!(
            removed(&mut sweep, &mut cache, 10, EvictionScope::KeepDenied, NOW),
            1
        );
        assert_eq!(cache.requests().len(), 3);
        assert_eq!(
            removed(&mut sweep, &mut cache, 10, EvictionScope::KeepDenied, NOW),
            1,
            "touched once, not since"
        );
        assert_eq!(
            removed(
                &mut sweep,
                &mut cache,
                10,
                EvictionScope::KeepDenied,
                Instant::from_millis(60)
            ),
            1,
            "the denial is over"
        );
        assert!(cache.requests().get(key(b"busy")).is_some());
        assert_eq!(sweep.len(), 1);
    }

    #[test]
    fn where_room_is_needed_denied_keys_go_unless_they_still_ask() {
        let mut cache = Owner::new(Config {
            keys_max: 10,
            seed: 1,
            signals: 4,
        });
        let mut sweep = Sweep::default();
        for subject in [b"silent".as_slice(), b"asking"] {
            let entry = cache.insert(key(subject)).unwrap();
            let mut owned = cache.claim(&entry).unwrap();
            owned.deny(1, Instant::from_millis(50));
            sweep.add(entry);
        }
        let _ = cache.requests().try_acquire(key(b"asking"), 1, NOW);
        assert_eq!(
            removed(&mut sweep, &mut cache, 10, EvictionScope::KeepDenied, NOW),
            0
        );
        let _ = cache.requests().try_acquire(key(b"asking"), 1, NOW);
        assert_eq!(
            removed(&mut sweep, &mut cache, 2, EvictionScope::All, NOW),
            1
        );
        assert!(cache.requests().get(key(b"asking")).is_some());
    }
}
