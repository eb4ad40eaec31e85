//! One key of a replica: its lease, its latest denial, and what the sync task wants to know.
//!
//! # Invariant
//!
//! Each part keeps its own (see there). An entry has no lock: request threads and its owner, the
//! sync task, touch the same atomics, and what must agree shares one word. What only the owner may
//! do is not public here: it takes the entry's one [`OwnedEntry`](crate::OwnedEntry).
//!
//! # Orderings
//!
//! The watermark, the slot, the time the bucket is full and the marks are `Relaxed`: each stands
//! for itself, and a value seen late only delays a signal or a sweep, or dates an answer.

use core::sync::atomic::Ordering::Relaxed;

use leasehold_core::Instant;

use crate::atomic::{AtomicBool, AtomicU32, AtomicU64};
use crate::denial_cell::DenialCell;
use crate::key::{KeyRef, LimitId};
use crate::lease::{Account, Lease};
use crate::signal_flag::SignalFlag;
use crate::subject::Subject;

/// The entry of one key at a replica. It starts with nothing leased and nothing denied.
// In this order, so that what an allowed request looks at lies in two lines of a cache, and not in
// three.
#[derive(Debug)]
#[repr(C)]
pub struct Entry {
    subject: Subject,
    limit: LimitId,
    touched: AtomicBool,
    forgotten: AtomicBool,
    in_fallback: AtomicBool,
    pub(crate) signal: SignalFlag,
    watermark: AtomicU32,
    /// The owner's slot, or [`NO_SLOT`] if it has none, or [`NO_OWNER`].
    slot: AtomicU32,
    full_at: AtomicU64,
    /// The tokens on lease.
    pub lease: Lease,
    /// The denial that the store gave last.
    pub denial: DenialCell,
}

impl Entry {
    /// An entry for `key`, in no cache yet, and of no owner.
    pub(crate) fn new(key: KeyRef<'_>) -> Self {
        Self {
            subject: key.subject.into(),
            limit: key.limit,
            touched: AtomicBool::new(false),
            forgotten: AtomicBool::new(false),
            in_fallback: AtomicBool::new(false),
            signal: SignalFlag::default(),
            watermark: AtomicU32::new(0),
            slot: AtomicU32::new(NO_OWNER),
            full_at: AtomicU64::new(0),
            lease: Lease::default(),
            denial: DenialCell::default(),
        }
    }

    /// The key this entry stands for.
    #[inline]
    pub fn key(&self) -> KeyRef<'_> {
        KeyRef {
            limit: self.limit,
            subject: self.subject.as_bytes(),
        }
    }

    /// The limit of its key.
    #[inline]
    pub fn limit(&self) -> LimitId {
        self.limit
    }

    /// Whether it stands for this key.
    #[cfg(not(leasehold_loom))]
    #[inline]
    pub(crate) fn is_of(&self, key: KeyRef<'_>) -> bool {
        self.limit == key.limit && self.subject.is(key.subject)
    }

    /// The account that a report to the store needs, read so that it never claims a token as spent
    /// that may yet come back. It changes nothing.
    pub fn account(&self, now: Instant) -> Account {
        self.lease.account(now)
    }

    /// Until when `cost` tokens are denied without asking the store, if they are at `now`: the
    /// lease is short of them, and so was the store.
    #[inline]
    pub fn denies(&self, cost: u32, now: Instant) -> Option<Instant> {
        let until = self.denies_short(cost, now)?;
        (self.lease.view(now).live < cost).then_some(until)
    }

    /// As [`denies`](Self::denies), where the lease is short of `cost` tokens.
    #[inline]
    pub(crate) fn denies_short(&self, cost: u32, now: Instant) -> Option<Instant> {
        let until = self.denial.denies(cost, now)?;
        (cost <= self.lease.cost_max()).then_some(until)
    }

    /// Stock below which the sync task wants to hear of an allowed request. Starts at 0: never.
    #[inline]
    pub fn watermark(&self) -> u32 {
        self.watermark.load(Relaxed)
    }

    pub(crate) fn set_watermark(&self, tokens: u32) {
        self.watermark.store(tokens, Relaxed);
    }

    /// Where the sync task keeps its own state of this key, if it told.
    pub fn slot(&self) -> Option<u32> {
        Some(self.slot.load(Relaxed)).filter(|&slot| slot < NO_SLOT)
    }

    pub(crate) fn set_slot(&self, slot: u32) {
        assert!(slot < NO_SLOT, "that many keys fit no memory");
        self.slot.store(slot, Relaxed);
    }

    /// Whether somebody has the owner's side of this entry.
    #[cfg(not(leasehold_loom))]
    pub(crate) fn is_owned(&self) -> bool {
        self.slot.load(Relaxed) != NO_OWNER
    }

    pub(crate) fn mark_owned(&self) {
        self.slot.store(NO_SLOT, Relaxed);
    }

    pub(crate) fn mark_unowned(&self) {
        self.slot.store(NO_OWNER, Relaxed);
    }

    /// When the bucket is full again if nothing more is spent, as far as the sync task knows.
    #[inline]
    pub fn full_at(&self) -> Instant {
        Instant::from_nanos(self.full_at.load(Relaxed))
    }

    pub(crate) fn set_full_at(&self, at: Instant) {
        self.full_at.store(at.as_nanos(), Relaxed);
    }

    /// Whether the key is in fallback: the store is away, and this replica decides by its own part
    /// of the limit. A denial then is for want of the store.
    #[inline]
    pub fn is_in_fallback(&self) -> bool {
        self.in_fallback.load(Relaxed)
    }

    pub(crate) fn set_in_fallback(&self, is_in_fallback: bool) {
        self.in_fallback.store(is_in_fallback, Relaxed);
    }

    /// Whether the cache has forgotten this entry, or is about to: its key may have another.
    #[inline]
    pub fn is_forgotten(&self) -> bool {
        self.forgotten.load(Relaxed)
    }

    /// Marks this entry as forgotten, for good.
    #[cfg(not(leasehold_loom))]
    pub(crate) fn forget(&self) {
        self.forgotten.store(true, Relaxed);
    }

    /// Notes that somebody asked for this key.
    #[inline]
    pub fn touch(&self) {
        // Looks first: threads that only read must not contend for the cache line.
        if !self.touched.load(Relaxed) {
            self.touched.store(true, Relaxed);
        }
    }

    /// Whether somebody asked for this key since the last call.
    pub(crate) fn take_touched(&self) -> bool {
        self.touched.swap(false, Relaxed)
    }
}

/// Stands for a slot that the owner has not assigned. Slots are less.
const NO_SLOT: u32 = u32::MAX - 1;

/// Stands for an entry whose owner's side nobody has.
const NO_OWNER: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease_cell::Shortfall;

    const NOW: Instant = Instant::ORIGIN;
    const DEADLINE: Instant = Instant::from_millis(100);

    fn entry() -> Entry {
        Entry::new(KeyRef {
            limit: LimitId(7),
            subject: b"alice",
        })
    }

    fn leased(tokens: u32) -> Entry {
        let entry = entry();
        entry.lease.deposit(tokens, DEADLINE, NOW);
        entry
    }

    #[test]
    #[cfg(not(leasehold_loom))]
    fn an_entry_stays_small() {
        assert_eq!(size_of::<Entry>(), 104);
    }

    #[test]
    fn an_entry_knows_its_key() {
        let entry = entry();
        assert_eq!(entry.key().limit, LimitId(7));
        assert_eq!(entry.key().subject, b"alice");
    }

    #[test]
    fn held_tokens_are_pending_until_they_are_spent() {
        let entry = leased(5);
        let held = entry.hold(2, NOW).unwrap();
        assert_eq!(entry.account(NOW).pending, 2);
        assert_eq!(entry.account(NOW).unspent(), 5);
        assert_eq!(held.commit().live, 3);
        assert_eq!(entry.account(NOW).unspent(), 3);
    }

    #[test]
    fn a_dropped_hold_is_refunded() {
        let entry = leased(5);
        drop(entry.hold(2, NOW));
        assert_eq!(entry.account(NOW).lease.live, 5);
        assert_eq!(entry.account(NOW).pending, 0);
    }

    #[test]
    fn a_hold_is_refunded_once() {
        let entry = leased(5);
        assert!(entry.hold(2, NOW).unwrap().refund());
        assert_eq!(entry.account(NOW).lease.live, 5);
        assert_eq!(entry.account(NOW).pending, 0);
    }

    #[test]
    fn a_hold_that_fails_leaves_nothing_pending() {
        let entry = leased(5);
        assert_eq!(entry.hold(6, NOW).unwrap_err(), Shortfall { live: 5 });
        assert!(entry.hold(u32::MAX, NOW).is_err());
        assert_eq!(entry.account(NOW).unspent(), 5);
    }

    #[test]
    fn dead_tokens_are_not_reported_as_spent() {
        let entry = leased(5);
        assert_eq!(entry.account(DEADLINE).unspent(), 5);
    }

    #[test]
    fn a_denial_does_not_hide_tokens_that_are_there() {
        let entry = leased(5);
        entry.denial.deny(1, DEADLINE);
        assert_eq!(entry.denies(5, NOW), None);
        assert!(entry.denies(6, NOW).is_some());
    }

    #[test]
    fn a_touch_is_noted_once() {
        let entry = entry();
        assert!(!entry.take_touched());
        entry.touch();
        entry.touch();
        assert!(entry.take_touched());
        assert!(!entry.take_touched());
    }
}
