//! A lease in several cells, so that threads that spend it at once do not contend for one.
//!
//! # Invariant
//!
//! Threads that started to spend at about the same time have stripes of their own, as long as there
//! are no more of them than processors. Stripes lie in cache lines of their own.

#[cfg(not(leasehold_loom))]
use core::cell::Cell;
#[cfg(not(leasehold_loom))]
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

use crate::denied::Denied;
use crate::lease_cell::{Generation, LeaseCell};

/// The stripes of one key, as many as the machine runs threads at a time.
#[derive(Debug)]
pub(crate) struct Stripes(Box<[CachePadded<Stripe>]>);

/// A stripe: the cell and the count of one thread, shared with few others or none.
#[derive(Debug)]
pub(crate) struct Stripe {
    pub(crate) cell: LeaseCell,
    pub(crate) denied: Denied,
}

impl Stripes {
    /// Empty stripes of a lease in this generation: a power of two of them.
    pub(crate) fn new(wanted: usize, generation: Generation) -> Self {
        let count = wanted.clamp(2, STRIPES_MAX).next_power_of_two();
        let stripe = || {
            CachePadded::new(Stripe {
                cell: LeaseCell::of(generation),
                denied: Denied::default(),
            })
        };
        Self(core::iter::repeat_with(stripe).take(count).collect())
    }

    /// The stripe of this thread.
    #[inline]
    pub(crate) fn mine(&self) -> (usize, &Stripe) {
        let index = thread_number() & (self.0.len() - 1);
        (index, &self.0[index])
    }

    #[inline]
    pub(crate) fn at(&self, index: usize) -> &Stripe {
        &self.0[index]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stripe> {
        self.0.iter().map(|padded| &**padded)
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = &LeaseCell> {
        self.iter().map(|stripe| &stripe.cell)
    }

    #[expect(clippy::cast_possible_truncation, reason = "64 at most")]
    pub(crate) const fn count(&self) -> u32 {
        self.0.len() as u32
    }
}

/// 8 KiB a key.
const STRIPES_MAX: usize = 64;

/// Threads are numbered as they come.
#[cfg(not(leasehold_loom))]
#[inline]
fn thread_number() -> usize {
    thread_local!(static NUMBER: Cell<usize> = const { Cell::new(NONE) });
    NUMBER.with(|number| match number.get() {
        NONE => {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let next = NEXT.fetch_add(1, Relaxed);
            number.set(next);
            next
        }
        known => known,
    })
}

/// No thread has this number.
#[cfg(not(leasehold_loom))]
const NONE: usize = usize::MAX;

/// A story has one thread that spends; its owner takes no tokens.
#[cfg(leasehold_loom)]
const fn thread_number() -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_stripes_for_all_within_reason() {
        let count = |wanted| Stripes::new(wanted, Generation::default()).count();
        assert_eq!([0, 1, 2, 3, 8, 1000].map(count), [2, 2, 2, 4, 8, 64]);
    }

    #[test]
    #[cfg(not(leasehold_loom))]
    fn threads_have_stripes_of_their_own() {
        let stripes = Stripes::new(64, Generation::default());
        let mine = || stripes.mine().0;
        assert_eq!(mine(), mine());
        let other = std::thread::scope(|scope| scope.spawn(mine).join().unwrap());
        assert_ne!(mine(), other);
    }
}
