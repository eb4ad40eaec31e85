//! Whether an entry waits in the queue of signals already.
//!
//! # Invariant
//!
//! Whatever a thread did before `raise`, the owner sees after the `lower` that follows it, even
//! where `raise` found the flag up and queued nothing.
//!
//! # Orderings
//!
//! Both are read-modify-writes, so one comes after the other in the order of the flag. A `lower`
//! that comes later acquires what `raise` released (a plain store would acquire nothing); a
//! `raise` that comes later finds the flag down and queues the entry anew. A cheaper load in front
//! of `raise` would break this: it may find the flag still up after the owner has looked.

use core::sync::atomic::Ordering::{Acquire, Release};

use crate::atomic::AtomicBool;

/// Up while an entry is queued, or about to be.
#[derive(Debug, Default)]
pub(crate) struct SignalFlag(AtomicBool);

impl SignalFlag {
    /// Puts the flag up; true if it was down.
    pub(crate) fn raise(&self) -> bool {
        !self.0.swap(true, Release)
    }

    /// Takes the flag down, before what it stands for is looked at.
    pub(crate) fn lower(&self) {
        self.0.swap(false, Acquire);
    }
}
