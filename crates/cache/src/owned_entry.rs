//! The owner's side of one entry: tokens that enter and leave its lease, its denial, and what its
//! owner wants to hear of.
//!
//! # Invariant
//!
//! An entry has at most one [`OwnedEntry`] at a time: the one that it was made with, or after that
//! is dropped, one that [`Owner::claim`](crate::Owner::claim) gave. What changes the owner's side
//! takes `&mut self`, so no two threads are at it at once, however many spend from the entry.
//!
//! # Orderings
//!
//! The mark of an owned entry is `Relaxed`: only an [`Owner`](crate::Owner) claims, and there is
//! one per cache. A mark that is seen late only delays a claim.

use core::ops::Deref;
use std::sync::Arc;

use leasehold_core::Instant;

use crate::entry::Entry;
use crate::key::KeyRef;
use crate::lease::Account;
use crate::lease_cell::Withdrawn;

/// The owner's side of an entry, which exists once. Request threads have the [`Entry`].
///
/// ```
/// use leasehold_cache::{KeyRef, LimitId, OwnedEntry};
/// use leasehold_core::Instant;
///
/// let (now, deadline) = (Instant::ORIGIN, Instant::from_millis(100));
/// let key = KeyRef { limit: LimitId(0), subject: b"alice" };
/// let mut owned = OwnedEntry::new(key);
/// owned.deposit(5, deadline, now);
///
/// let for_requests = std::sync::Arc::clone(&owned);
/// assert!(for_requests.lease.spend(2, now).is_ok());
/// assert_eq!(owned.withdraw(0, now).live, 3);
/// ```
///
/// A request thread can spend from an entry, and can neither fill nor deny it:
///
/// ```compile_fail,E0624
/// # use leasehold_cache::{KeyRef, LimitId, OwnedEntry};
/// # use leasehold_core::Instant;
/// # let (now, deadline) = (Instant::ORIGIN, Instant::from_millis(100));
/// # let key = KeyRef { limit: LimitId(0), subject: b"alice" };
/// # let mut owned = OwnedEntry::new(key);
/// let for_requests = std::sync::Arc::clone(&owned);
/// for_requests.lease.deposit(5, deadline, now);
/// ```
///
/// ```compile_fail,E0624
/// # use leasehold_cache::{KeyRef, LimitId, OwnedEntry};
/// # use leasehold_core::Instant;
/// # let (now, deadline) = (Instant::ORIGIN, Instant::from_millis(100));
/// # let key = KeyRef { limit: LimitId(0), subject: b"alice" };
/// # let mut owned = OwnedEntry::new(key);
/// let for_requests = std::sync::Arc::clone(&owned);
/// for_requests.denial.deny(1, deadline);
/// ```
///
/// There is no second one, and no change through a shared reference:
///
/// ```compile_fail,E0599
/// # use leasehold_cache::{KeyRef, LimitId, OwnedEntry};
/// # let key = KeyRef { limit: LimitId(0), subject: b"alice" };
/// # let mut owned = OwnedEntry::new(key);
/// let mut second: OwnedEntry = OwnedEntry::clone(&owned);
/// ```
///
/// ```compile_fail,E0596
/// # use leasehold_cache::{KeyRef, LimitId, OwnedEntry};
/// # let key = KeyRef { limit: LimitId(0), subject: b"alice" };
/// # let mut owned = OwnedEntry::new(key);
/// let shared = &owned;
/// shared.withdraw(0, leasehold_core::Instant::ORIGIN);
/// ```
#[derive(Debug)]
pub struct OwnedEntry(Arc<Entry>);

impl OwnedEntry {
    /// A new entry for `key`, in no cache, with its owner's side.
    pub fn new(key: KeyRef<'_>) -> Self {
        Self::of_new(Arc::new(Entry::new(key)))
    }

    fn of_new(entry: Arc<Entry>) -> Self {
        entry.mark_owned();
        Self(entry)
    }

    /// The owner's side of `entry`; `None` if somebody has it.
    #[cfg(not(leasehold_loom))]
    pub(crate) fn claim(entry: &Arc<Entry>) -> Option<Self> {
        (!entry.is_owned()).then(|| Self::of_new(Arc::clone(entry)))
    }

    /// Remembers where the owner keeps its own state of this key, until this is dropped.
    ///
    /// # Panics
    ///
    /// If the slot is one of the last two of 32 bits, which stand for none. Memory ends long
    /// before.
    pub fn set_slot(&mut self, slot: u32) {
        self.0.set_slot(slot);
    }

    /// Adds `tokens` to the lease and extends the whole lease to `deadline`, never shortening it.
    /// Tokens dead at `now` are dropped first; their number is returned.
    ///
    /// # Panics
    ///
    /// If the lease would exceed [`Lease::TOKENS_MAX`](crate::Lease::TOKENS_MAX). Replies are
    /// checked on arrival, and pending holds count there: a refund may come before the deposit.
    pub fn deposit(&mut self, tokens: u32, deadline: Instant, now: Instant) -> u32 {
        self.0.lease.deposit(tokens, deadline, now)
    }

    /// Takes the live tokens above `keep` out of the lease, to be released, and all tokens dead at
    /// `now`.
    pub fn withdraw(&mut self, keep: u32, now: Instant) -> Withdrawn {
        self.0.lease.withdraw(keep, now)
    }

    /// Starts the lease over, empty, in the next generation: the store has a new lease record for
    /// the key. Returns the tokens that were in the lease, live or dead. Holds of the old record
    /// can no longer be refunded.
    pub fn renew_generation(&mut self) -> u32 {
        self.0.lease.renew_generation()
    }

    /// The [account](Entry::account) for a report. From now on lost races are counted anew.
    pub fn take_account(&mut self, now: Instant) -> Account {
        self.0.lease.take_account(now)
    }

    /// The tokens denied since the last call, at most `u32::MAX`.
    pub fn take_denied(&mut self) -> u32 {
        self.0.lease.take_denied()
    }

    /// Whether somebody asked for this key since the last call.
    pub fn take_touched(&mut self) -> bool {
        self.0.take_touched()
    }

    /// Gives threads stripes of their own, for as many as run at a time.
    pub fn stripe(&mut self, threads: usize) {
        self.0.lease.stripe(threads);
    }

    /// Sets the most that a request of the key can cost: no limit ever allows a dearer one, so it
    /// is no demand. It is neither denied by what is known here nor counted. Starts at `u32::MAX`.
    pub fn set_cost_max(&mut self, tokens: u32) {
        self.0.lease.set_cost_max(tokens);
    }

    /// Denies requests for at least `cost` tokens until `until`, in place of any earlier denial. A
    /// denial for a cost above 24 bits is not kept: no lease pays such costs, and of which of them
    /// the store can pay it says nothing.
    pub fn deny(&mut self, cost: u32, until: Instant) {
        self.0.denial.deny(cost, until);
    }

    /// Forgets the denial: tokens have arrived.
    pub fn clear_denial(&mut self) {
        self.0.denial.clear();
    }

    /// Sets the stock below which the owner wants to hear of an allowed request.
    pub fn set_watermark(&mut self, tokens: u32) {
        self.0.set_watermark(tokens);
    }

    /// Sets when the bucket is full again.
    pub fn set_full_at(&mut self, at: Instant) {
        self.0.set_full_at(at);
    }

    /// Sets whether the key is in fallback.
    pub fn set_in_fallback(&mut self, is_in_fallback: bool) {
        self.0.set_in_fallback(is_in_fallback);
    }
}

impl Deref for OwnedEntry {
    type Target = Arc<Entry>;

    fn deref(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Drop for OwnedEntry {
    /// Forgets the slot, and lets the entry be claimed again.
    fn drop(&mut self) {
        self.0.mark_unowned();
    }
}

#[cfg(all(test, not(leasehold_loom)))]
mod tests {
    use super::*;
    use crate::key::LimitId;

    #[test]
    fn an_entry_has_one_owner_at_a_time_and_a_slot_for_as_long() {
        let mut owned = OwnedEntry::new(KeyRef {
            limit: LimitId(0),
            subject: b"alice",
        });
        let entry = Arc::clone(&owned);
        assert!(OwnedEntry::claim(&entry).is_none(), "owned, without a slot");
        assert_eq!(entry.slot(), None);
        owned.set_slot(0);
        assert!(OwnedEntry::claim(&entry).is_none());
        assert_eq!(entry.slot(), Some(0));
        drop(owned);
        assert_eq!(entry.slot(), None);
        let owned = OwnedEntry::claim(&entry);
        assert!(owned.is_some() && OwnedEntry::claim(&entry).is_none());
    }
}
