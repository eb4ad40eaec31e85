//! Entries that want their owner's attention.
//!
//! # Invariant
//!
//! An entry is queued at most once, and a signal is never lost silently: either the entry is taken
//! and looked at afterwards, or the queue was full and `dropped` says so. The flag is lowered
//! *before* the look, so what happens meanwhile raises a new signal. Its orderings are in
//! [`signal_flag`](crate::signal_flag).
//!
//! While an entry is queued, further signals of it wake nobody. So whoever queues one and does not
//! wake the owner relies on the owner's next turn, in which it takes all that is queued.
//!
//! While a signal is being dropped, others of the same entry may rely on it; so whoever owns the
//! queue must look at every entry now and then all the same.

use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use crate::atomic::AtomicU64;
use crate::entry::Entry;
use crate::queue::ArrayQueue;

/// A bounded queue of entries, filled by request threads and emptied by one owner.
#[derive(Debug)]
pub struct Signals {
    queue: ArrayQueue<Arc<Entry>>,
    dropped: AtomicU64,
}

impl Signals {
    /// A queue for `capacity` entries.
    ///
    /// # Panics
    ///
    /// If `capacity` is 0.
    pub fn new(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            dropped: AtomicU64::new(0),
        }
    }

    /// Queues `entry` unless it is queued already. True if it was queued now: its owner should
    /// be woken.
    pub fn raise(&self, entry: &Arc<Entry>) -> bool {
        if !entry.signal.raise() {
            return false;
        }
        let queued = self.queue.push(Arc::clone(entry)).is_ok();
        if !queued {
            entry.signal.lower();
            self.dropped.fetch_add(1, Relaxed);
        }
        queued
    }

    /// Takes the entry that has waited longest. From here on a new signal queues it again.
    pub fn next(&self) -> Option<Arc<Entry>> {
        let entry = self.queue.pop()?;
        entry.signal.lower();
        Some(entry)
    }

    /// How many signals found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyRef, LimitId};

    fn entry(subject: &[u8]) -> Arc<Entry> {
        let limit = LimitId(0);
        Arc::new(Entry::new(KeyRef { limit, subject }))
    }

    #[test]
    fn an_entry_is_queued_once_until_it_is_taken() {
        let signals = Signals::new(4);
        let entry = entry(b"a");
        assert!(signals.raise(&entry));
        assert!(!signals.raise(&entry));
        assert!(
            signals
                .next()
                .is_some_and(|next| Arc::ptr_eq(&next, &entry))
        );
        assert!(signals.next().is_none());
        assert!(signals.raise(&entry), "a new signal after the look");
    }

    #[test]
    fn a_signal_that_finds_the_queue_full_is_counted_and_can_be_raised_again() {
        let signals = Signals::new(1);
        let (first, second) = (entry(b"a"), entry(b"b"));
        assert!(signals.raise(&first));
        assert!(!signals.raise(&second));
        assert_eq!(signals.dropped(), 1);
        signals.next();
        assert!(signals.raise(&second));
        assert_eq!(signals.dropped(), 1);
    }
}
