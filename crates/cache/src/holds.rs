//! Which of the tokens that are missing from a lease may yet come back.
//!
//! A request under several limits takes tokens from one after the other, and puts them back when
//! a later one declines. In between they are gone from the lease but not spent, and a report that
//! counted them as spent could not be taken back: the store only lets that number grow.
//!
//! # Invariant
//!
//! Deposited less what the lease holds less `pending` never exceeds what was spent for good. A
//! holder says `begin` *before* it takes tokens and `end` *after* it has spent or refunded them.
//! The reporter reads `ended` first, then the lease, then `begun`. Of one hold it then sees
//!
//! - the end: so also the refund, if there was one, and the begin. Nothing is pending.
//! - no end, but the tokens missing: so also the begin. They are pending.
//! - the tokens in place: at worst the begin too, and the report is too low for now.
//!
//! # Orderings
//!
//! "So also" is what they are for. `end` releases and `ended` is read with `Acquire`: the end
//! brings the refund along. `LeaseCell::hold` releases and `LeaseCell::view` acquires: missing
//! tokens bring the begin along. `begin` and the read of `begun` are ordered by these two.
//!
//! The counters wrap and only their difference counts, which is right while less than 2^32 tokens
//! are pending: 256 holds of a full cell at once. They are two atomics and not one word because
//! the protocol never wants both at the same moment.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::atomic::AtomicU32;

/// Cumulative tokens of the holds begun and ended on one lease.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    begun: AtomicU32,
    ended: AtomicU32,
}

impl Holds {
    /// Announces that `cost` tokens are about to be held.
    pub(crate) fn begin(&self, cost: u32) {
        self.begun.fetch_add(cost, Relaxed);
    }

    /// Says that the fate of `cost` tokens begun earlier is settled.
    pub(crate) fn end(&self, cost: u32) {
        self.ended.fetch_add(cost, Release);
    }

    /// Looks at the lease through `read`, and counts the tokens pending around that moment.
    pub(crate) fn around<T>(&self, read: impl FnOnce() -> T) -> (T, u32) {
        let ended = self.ended.load(Acquire);
        let seen = read();
        let begun = self.begun.load(Relaxed);
        (seen, begun.wrapping_sub(ended))
    }
}
