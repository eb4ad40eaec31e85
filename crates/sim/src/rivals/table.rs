//! A table of keys of all limits. It forgets a key that says no more than a blank.
//!
//! # Invariant
//!
//! The order of the map shows nowhere: it is looked up and swept, and a sweep judges each state by
//! itself. Memory is bounded by twice the most keys that ever mattered at once: whenever the table
//! has doubled, what no longer matters is dropped.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::model::Demand;

/// A key of a limit.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Slot {
    /// Which limit, by position.
    pub(super) limit: u32,
    /// Which key of it.
    pub(super) key: u32,
}

impl From<&Demand> for Slot {
    fn from(demand: &Demand) -> Self {
        Self {
            limit: demand.limit,
            key: demand.key,
        }
    }
}

impl Slot {
    /// One word, so that a look-up hashes once.
    const fn word(self) -> u64 {
        (self.limit as u64) << 32 | self.key as u64
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves of a word are taken apart"
    )]
    const fn from_word(word: u64) -> Self {
        Self {
            limit: (word >> 32) as u32,
            key: word as u32,
        }
    }
}

/// States by key.
#[derive(Clone, Debug)]
pub(super) struct Table<V> {
    // One hash on every machine and in every run; no attacker chooses the keys of a simulation.
    states: HashMap<u64, V, FixedState>,
    sweep_at: usize,
}

impl<V> Table<V> {
    pub(super) fn new() -> Self {
        Self {
            states: HashMap::default(),
            sweep_at: SWEEP_FIRST,
        }
    }

    pub(super) fn find(&self, slot: Slot) -> Option<&V> {
        self.states.get(&slot.word())
    }

    pub(super) fn find_mut(&mut self, slot: Slot) -> Option<&mut V> {
        self.states.get_mut(&slot.word())
    }

    pub(super) fn insert(&mut self, slot: Slot, state: V) {
        self.states.insert(slot.word(), state);
    }

    /// The state of `slot`, which starts as `blank`.
    pub(super) fn open(&mut self, slot: Slot, blank: impl FnOnce() -> V) -> &mut V {
        self.states.entry(slot.word()).or_insert_with(blank)
    }

    /// If the table has doubled since the last time, drops each state that `matters` no more.
    pub(super) fn sweep_if_grown(&mut self, mut matters: impl FnMut(Slot, &V) -> bool) {
        if self.states.len() >= self.sweep_at {
            self.states
                .retain(|&word, state| matters(Slot::from_word(word), state));
            self.sweep_at = (self.states.len() * 2).max(SWEEP_FIRST);
        }
    }

    pub(super) fn clear(&mut self) {
        self.states.clear();
        self.sweep_at = SWEEP_FIRST;
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }
}

/// Smaller tables are not worth a sweep.
const SWEEP_FIRST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_told_apart() {
        let slot = |limit, key| Slot { limit, key };
        let mut table = Table::new();
        for at in [slot(0, 1), slot(1, 0), slot(0, 0), slot(7, u32::MAX)] {
            assert_eq!(Slot::from_word(at.word()), at);
            table.insert(at, at);
        }
        assert_eq!(table.len(), 4);
        assert_eq!(table.find(slot(7, u32::MAX)), Some(&slot(7, u32::MAX)));
        assert_eq!(table.find(slot(1, 1)), None);
    }

    #[test]
    fn memory_stays_within_twice_of_what_matters() {
        let mut table = Table::new();
        for key in 0..100_000_u32 {
            // The last 1000 keys matter.
            table.sweep_if_grown(|_, &touched: &u32| touched + 1000 > key);
            *table.open(Slot { limit: 0, key }, || 0) = key;
            assert!(table.len() <= 2000, "{} states at {key}", table.len());
        }
        assert!(
            table
                .find(Slot {
                    limit: 0,
                    key: 99_000
                })
                .is_some()
        );
    }
}
