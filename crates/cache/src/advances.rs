//! The tokens that this replica has spent of its advances and that are not restored: of any key,
//! also of keys that it has never heard of.
//!
//! # Invariant
//!
//! A key's tokens are counted in the cell that its hash names, before they are spent. Keys that
//! meet in one cell share what each of them may have: so no key ever has more than its own, and
//! there is no key for which there is no room.
//!
//! # Orderings
//!
//! All `Relaxed`: a cell stands for itself. Whether the replica may use advances is told elsewhere.

use core::sync::atomic::Ordering::Relaxed;
use std::sync::OnceLock;

use crate::atomic::AtomicU32;

/// Counts of tokens by the hash of their key. Nothing is allocated before the first is counted.
#[derive(Debug)]
pub(crate) struct Advances {
    cells: OnceLock<Box<[AtomicU32]>>,
    len: usize,
}

impl Advances {
    /// Counts for about so many keys.
    pub(crate) fn new(keys_max: usize) -> Self {
        // Four cells for each key: few meet.
        let len = keys_max.saturating_mul(4).clamp(CELLS_MIN, CELLS_MAX);
        Self {
            cells: OnceLock::new(),
            len: len.next_power_of_two(),
        }
    }

    fn cell(&self, hash: u64) -> &AtomicU32 {
        let make = || (0..self.len).map(|_| AtomicU32::new(0)).collect();
        let cells = self.cells.get_or_init(make);
        let mask = cells.len() as u64 - 1;
        // The upper half: the table of entries goes by the lower bits, and is not needed here.
        let place = usize::try_from((hash >> 32) & mask).expect("less than the number of cells");
        &cells[place]
    }

    /// Counts `cost` tokens as spent, if no more than `most` are then. Returns how many are left.
    pub(crate) fn take(&self, hash: u64, cost: u32, most: u32) -> Option<u32> {
        if cost > most {
            return None;
        }
        let fits = |used: u32| used.checked_add(cost).filter(|used| *used <= most);
        let before = self.cell(hash).fetch_update(Relaxed, Relaxed, fits).ok()?;
        Some(most - before - cost)
    }

    /// Tokens that were counted are restored, or were not spent after all.
    pub(crate) fn put_back(&self, hash: u64, tokens: u64) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let less = |used: u32| Some(used.saturating_sub(tokens));
        // It always has something to store.
        let _ = self.cell(hash).fetch_update(Relaxed, Relaxed, less);
    }

    /// Forgets all counts.
    pub(crate) fn clear(&self) {
        for cell in self.cells.get().into_iter().flatten() {
            cell.store(0, Relaxed);
        }
    }
}

/// As few cells as take no room to speak of.
const CELLS_MIN: usize = 1 << 10;

/// Four megabytes of cells.
const CELLS_MAX: usize = 1 << 20;

#[cfg(all(test, not(leasehold_loom)))]
mod tests {
    use super::*;

    const ALICE: u64 = 7 << 32;
    const BOB: u64 = 8 << 32;

    #[test]
    fn each_key_has_its_own_until_it_is_restored() {
        let advances = Advances::new(10);
        assert_eq!(advances.take(ALICE, 2, 3), Some(1));
        assert_eq!(advances.take(ALICE, 2, 3), None);
        assert_eq!(advances.take(ALICE, 1, 3), Some(0));
        assert_eq!(advances.take(BOB, 3, 3), Some(0));
        advances.put_back(ALICE, 2);
        assert_eq!(advances.take(ALICE, 2, 3), Some(0));
        assert_eq!(advances.take(ALICE, 1, 2), None, "the limit was lowered");
        assert_eq!(advances.take(ALICE, 4, 3), None);
    }

    #[test]
    fn keys_that_meet_in_a_cell_share_it_and_what_was_never_counted_is_not_put_back() {
        let advances = Advances::new(10);
        let other = ALICE | 1 << 63 | 1;
        assert_eq!(advances.take(ALICE, 2, 3), Some(1));
        assert_eq!(advances.take(other, 2, 3), None);
        advances.put_back(other, u64::MAX);
        assert_eq!(advances.take(ALICE, 3, 3), Some(0));
        advances.clear();
        assert_eq!(advances.take(ALICE, 3, 3), Some(0));
    }
}
