//! The keys that the sync task has business with: their states by slot, the timers of those, and
//! the entries of the quota cache that they belong to.
//!
//! # Invariant
//!
//! A slot that an entry names is occupied: it is cleared from the entry when its state goes, and
//! with it the [`OwnedEntry`]. An entry without a state may be claimed for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Entry, KeyRef, OwnedEntry, Owner};
use leasehold_core::{Instant, SplitMix64};

use crate::key_state::KeyState;
use crate::sweep::{EvictionScope, Sweep, Swept};
use crate::timers::Timers;
use crate::tokens::Counts;
use crate::wait_queue::{Purpose, Waiter};

#[derive(Debug)]
pub(crate) struct Keys<W> {
    pub(crate) cache: Owner,
    slots: Vec<Option<KeyState<W>>>,
    vacant: Vec<u32>,
    /// Slots of keys whose entries the cache forgets when their states go: it had no room for them.
    overflow: BTreeSet<u32>,
    /// Slots of keys that the store does not serve, and since when.
    unserved: BTreeMap<u32, Instant>,
    timers: Timers,
    sweep: Sweep,
    next_sweep: Instant,
    evicted: u64,
}

/// An entry for a key, and whether it is an overflow entry: one without a place of its own in the
/// cache, which lives only as long as there is business with it.
pub(crate) struct Tracked {
    pub(crate) entry: Arc<Entry>,
    pub(crate) is_overflow: bool,
}

impl<W: Waiter> Keys<W> {
    pub(crate) fn new(cache: Owner) -> Self {
        Self {
            cache,
            slots: Vec::new(),
            vacant: Vec::new(),
            overflow: BTreeSet::new(),
            unserved: BTreeMap::new(),
            timers: Timers::default(),
            sweep: Sweep::default(),
            next_sweep: Instant::ORIGIN,
            evicted: 0,
        }
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&KeyState<W>> {
        self.slots[slot as usize].as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut KeyState<W>> {
        self.slots[slot as usize].as_mut()
    }

    /// The state of a key that has one.
    pub(crate) fn live(&self, slot: u32) -> &KeyState<W> {
        self.get(slot).expect(LIVE)
    }

    pub(crate) fn live_mut(&mut self, slot: u32) -> &mut KeyState<W> {
        self.get_mut(slot).expect(LIVE)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &KeyState<W>> {
        self.slots.iter().flatten()
    }

    /// Forgets every key, as a replica does that has lost its books. What is leased expires.
    pub(crate) fn begin_anew(&mut self) {
        // Each field is named, so that none is overlooked.
        let Self {
            cache,
            slots,
            vacant,
            overflow,
            unserved,
            timers,
            sweep,
            next_sweep,
            evicted,
        } = self;
        cache.forget_all();
        *slots = Vec::new();
        *vacant = Vec::new();
        *overflow = BTreeSet::new();
        *unserved = BTreeMap::new();
        *timers = Timers::default();
        *sweep = Sweep::default();
        *next_sweep = Instant::ORIGIN;
        *evicted = 0;
    }

    /// All slots that there are, occupied or not.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + use<W> {
        0..u32::try_from(self.slots.len()).expect("slots are counted in 32 bits")
    }

    /// Adds the state of a key whose entry names no slot yet.
    pub(crate) fn add(&mut self, mut state: KeyState<W>) -> u32 {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("as many keys as slots fit no memory")
        });
        state.entry.set_slot(slot);
        self.slots[slot as usize] = Some(state);
        slot
    }

    /// Forgets the state of a key, and its entry if that was an overflow entry.
    pub(crate) fn remove(&mut self, slot: u32, now: Instant) {
        let Some(mut state) = self.slots[slot as usize].take() else {
            return;
        };
        state.let_go(now);
        self.unserved.remove(&slot);
        if self.overflow.remove(&slot) {
            self.cache.remove(&state.entry);
        }
        drop(state);
        self.timers.clear(slot);
        self.vacant.push(slot);
    }

    /// The key in this slot has an overflow entry.
    pub(crate) fn mark_overflow(&mut self, slot: u32) {
        self.overflow.insert(slot);
    }

    /// The entry of a key, made if there is none; `None` if there is no room and nothing can be
    /// forgotten.
    pub(crate) fn tracked(
        &mut self,
        key: KeyRef<'_>,
        counts: &mut Counts,
        now: Instant,
    ) -> Option<Arc<Entry>> {
        let entry = match self.cache.requests().get(key) {
            Some(entry) => entry,
            None => self.track(key, counts, now)?,
        };
        entry.touch();
        Some(entry)
    }

    /// The entry for a request that waits, an overflow entry where the cache is full; `None` if
    /// there is no room at all.
    pub(crate) fn tracked_for(
        &mut self,
        key: KeyRef<'_>,
        purpose: Purpose,
        counts: &mut Counts,
        now: Instant,
    ) -> Option<Tracked> {
        let (entry, is_overflow) = match (self.tracked(key, counts, now), purpose) {
            (Some(entry), _) => (entry, false),
            // The store decides, or what it grants goes to the requests that wait: no other thread
            // needs to find the entry.
            (None, Purpose::Spend) => (Arc::clone(&OwnedEntry::new(key)), false),
            (None, Purpose::Stock) => (self.cache.insert_overflow(key).ok()?, true),
        };
        Some(Tracked { entry, is_overflow })
    }

    fn track(&mut self, key: KeyRef<'_>, counts: &mut Counts, now: Instant) -> Option<Arc<Entry>> {
        let inserted = self.cache.insert(key).or_else(|_| {
            self.evict(SWEEP_WHEN_FULL, EvictionScope::All, counts, now);
            self.cache.insert(key)
        });
        let entry = inserted.ok()?;
        self.sweep.add(Arc::clone(&entry));
        Some(entry)
    }

    /// Looks at some keys: counts what became of their tokens, and forgets those that are idle.
    fn evict(&mut self, steps: usize, scope: EvictionScope, counts: &mut Counts, now: Instant) {
        let (slots, evicted) = (&mut self.slots, &mut self.evicted);
        let look = |swept: Swept<'_>| match swept {
            Swept::Busy(entry) => {
                let state = entry.slot().and_then(|slot| slots[slot as usize].as_mut());
                let mut count = counts.of(entry.key().limit, entry.is_in_fallback());
                state.expect(LIVE).count(&mut count, now);
            }
            Swept::Stays(mut entry) => count_denied(&mut entry, counts),
            Swept::Removed(mut entry) => {
                *evicted += 1;
                count_denied(&mut entry, counts);
            }
        };
        self.sweep.pass(&mut self.cache, steps, scope, now, look);
    }

    /// Counts what was denied of all keys without a state.
    pub(crate) fn count_stateless(&mut self, counts: &mut Counts) {
        for entry in self.sweep.entries() {
            if let Some(mut entry) = self.cache.claim(entry) {
                count_denied(&mut entry, counts);
            }
        }
    }

    /// Whether requests for a key find this state of it. Where the cache had no room they do not,
    /// and the next of them begins another.
    pub(crate) fn is_found(&self, slot: u32) -> bool {
        let entry = &self.live(slot).entry;
        let known = self.cache.requests().get(entry.key());
        known.is_some_and(|known| Arc::ptr_eq(&known, entry))
    }

    /// Keys that the cache has forgotten because nobody asked for them.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The store did not serve this key.
    pub(crate) fn mark_unserved(&mut self, slot: u32, now: Instant) {
        self.unserved.entry(slot).or_insert(now);
    }

    /// The store serves this key.
    pub(crate) fn mark_served(&mut self, slot: u32) {
        if self.live_mut(slot).unserved.take().is_some() {
            self.unserved.remove(&slot);
        }
    }

    pub(crate) fn unserved(&self) -> usize {
        self.unserved.len()
    }

    /// Since when the store has not served some key.
    pub(crate) fn unserved_since(&self) -> Option<Instant> {
        self.unserved.values().copied().min()
    }

    /// The next key whose alarm rings, if there is one.
    pub(crate) fn pop_alarm(&mut self, now: Instant) -> Option<u32> {
        while let Some(slot) = self.timers.pop(now) {
            if self.get(slot).is_some() {
                return Some(slot);
            }
        }
        None
    }

    /// When the next alarm rings.
    pub(crate) fn next_alarm(&mut self) -> Option<Instant> {
        self.timers.poll_timeout()
    }

    /// Rings for a key at this very time.
    pub(crate) fn ring_at(&mut self, slot: u32, at: Instant, now: Instant) {
        if let Some(state) = self.slots[slot as usize].as_mut() {
            self.timers.set(slot, state.set_alarm(at, now));
        }
    }

    /// Rings for a key at this time, unless it has an alarm.
    pub(crate) fn ring_if_silent(&mut self, slot: u32, at: Instant, now: Instant) {
        if !self.timers.is_set(slot) {
            self.ring_at(slot, at, now);
        }
    }

    /// Rings for a key at the time that was arranged, after an alarm for a look.
    pub(crate) fn ring_again(&mut self, slot: u32, now: Instant) {
        self.ring_at(slot, self.live(slot).alarm_at(), now);
    }

    pub(crate) fn silence(&mut self, slot: u32) {
        self.timers.clear(slot);
    }

    /// Rings for a key a little early, so that replicas which started together do not stay in step,
    /// but not before the key may call.
    pub(crate) fn ring_after(
        &mut self,
        slot: u32,
        after: Duration,
        jitter: &mut SplitMix64,
        now: Instant,
    ) {
        let retry_at = self.live(slot).retry_at();
        let early = now + after.saturating_sub(jitter.within(after / 5));
        // An alarm that is meant for the end of a backoff must not ring within it.
        let is_within = now + after < retry_at;
        let at = if is_within {
            early
        } else {
            early.max(retry_at)
        };
        self.ring_at(slot, at, now);
    }

    /// When keys that nobody asks for are to be looked for next.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        (self.sweep.len() > 0).then_some(self.next_sweep)
    }

    /// Passes over so many keys, and so often, that all have been passed once in `idle_after`.
    pub(crate) fn sweep(&mut self, idle_after: Duration, counts: &mut Counts, now: Instant) {
        if self.next_sweep > now {
            return;
        }
        let keys = self.sweep.len().max(1);
        let per_key = idle_after / u32::try_from(keys).unwrap_or(u32::MAX);
        let pause = per_key.max(SWEEP_EVERY);
        let steps = (pause.as_nanos() / per_key.as_nanos().max(1)).max(1);
        let steps = usize::try_from(steps).unwrap_or(usize::MAX);
        self.evict(steps, EvictionScope::KeepDenied, counts, now);
        self.next_sweep = now + pause;
    }
}

/// Counts what was denied of a key without a state.
pub(crate) fn count_denied(entry: &mut OwnedEntry, counts: &mut Counts) {
    let denied = u64::from(entry.take_denied());
    let mut count = counts.of(entry.key().limit, entry.is_in_fallback());
    count.denied(denied);
}

/// Where the state of a key is that a call is about.
pub(crate) fn slot_in(entry: &Entry) -> u32 {
    let slot = entry.slot();
    slot.expect("a key with a call under way keeps its slot")
}

/// Why a slot taken from an entry is occupied.
const LIVE: &str = "an entry's slot is cleared when its state goes";

/// Often enough that each step is short: a hundred keys of a thousand, a thousand of a million.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// Keys looked at to make room for one more.
const SWEEP_WHEN_FULL: usize = 64;
