//! The books of one replica, kept beside the limiter's own and held against them.
//!
//! # Invariant
//!
//! Whatever was granted is spent, released, expired, or in a cell; and no token is taken at or
//! after the deadline that the store's replies give. Both are counted here from what passes in and
//! out, not from the limiter's own state.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use leasehold_cache::{Entry, KeyRef, LimitId, Requests};
use leasehold_core::{Instant, Request};
use leasehold_sync::{Answer, Batch, Syncer};

use crate::leased::replica::{Caller, number_of};
use crate::model::Demand;

#[derive(Debug)]
pub(crate) struct Books {
    checked: bool,
    /// Tokens that requests took, from cells or by the store.
    taken: u64,
    /// The entries of all keys that were ever asked for. A key that finds no room in the cache has
    /// one for each call, outside.
    keys: BTreeMap<(u32, u32), Vec<Weak<Entry>>>,
    /// Until when tokens of a key may be taken: what the store last promised, counted from when
    /// it was asked.
    deadlines: BTreeMap<(u32, u32), Instant>,
}

impl Books {
    pub(crate) fn new(checked: bool) -> Self {
        Self {
            checked,
            taken: 0,
            keys: BTreeMap::new(),
            deadlines: BTreeMap::new(),
        }
    }

    /// Tokens of a lease are taken. False if the replica has granted them itself, as far as that is
    /// checked.
    #[inline]
    pub(crate) fn take(&mut self, demand: Demand, cache: &Requests, now: Instant) -> bool {
        self.taken += u64::from(demand.cost);
        if self.checked {
            let key = (demand.limit, demand.key);
            if self.is_in_fallback(key, cache) {
                return false;
            }
            let deadline = self.deadlines.get(&key);
            assert!(
                deadline.is_some_and(|deadline| now < *deadline),
                "tokens of {key:?} are taken at {now:?}, but its leases end at {deadline:?}"
            );
        }
        true
    }

    /// The store has spent tokens itself, for a request that hears of it now.
    pub(crate) fn spent_by_store(&mut self, demand: Demand) {
        self.taken += u64::from(demand.cost);
    }

    /// The syncer hears of tokens that were spent of the replica's advance.
    pub(crate) fn spent_in_advance(&mut self, demand: Demand) {
        self.taken += u64::from(demand.cost);
    }

    /// The tokens that lie in cells, given what the syncer believes is `held` and knows as `spent`.
    pub(crate) fn unspent(&self, held: u64, spent: u64) -> u64 {
        (held + spent).saturating_sub(self.taken)
    }

    /// A key is asked for.
    #[inline]
    pub(crate) fn meet(&mut self, demand: &Demand) {
        if self.checked {
            self.keys.entry((demand.limit, demand.key)).or_default();
        }
    }

    /// The entries of a key: those that calls were about, and the cache's, of which a key in
    /// fallback tells nobody.
    fn entries(&self, (limit, key): (u32, u32), cache: &Requests) -> Vec<Arc<Entry>> {
        let known = self.keys.get(&(limit, key)).into_iter().flatten();
        let mut entries: Vec<_> = known.filter_map(Weak::upgrade).collect();
        let subject = key.to_be_bytes();
        let cached = cache.get(KeyRef {
            limit: LimitId(limit),
            subject: &subject,
        });
        entries.extend(cached.filter(|entry| !entries.iter().any(|it| Arc::ptr_eq(it, entry))));
        entries
    }

    /// Whether what it takes are tokens that the replica granted itself.
    fn is_in_fallback(&self, key: (u32, u32), cache: &Requests) -> bool {
        let mut entries = self.entries(key, cache).into_iter();
        entries.any(|entry| entry.is_in_fallback())
    }

    fn know(&mut self, key: (u32, u32), entry: &Arc<Entry>) {
        let entries = self.keys.entry(key).or_default();
        let entry = Arc::downgrade(entry);
        if !entries.iter().any(|known| known.ptr_eq(&entry)) {
            entries.retain(|known| known.strong_count() > 0);
            entries.push(entry);
        }
    }

    /// The store has answered.
    pub(crate) fn hear(&mut self, batch: &Batch, answer: &Answer, syncer: &Syncer<Caller>) {
        if !self.checked {
            return;
        }
        for (call, reply) in batch.calls.iter().zip(&answer.replies) {
            let LimitId(limit) = call.key().limit;
            let key = (limit, number_of(call.key()));
            self.know(key, &syncer.entry_of(call));
            if matches!(call.request, Request::Lease(_)) && reply.expiry > reply.now {
                let lease = reply.expiry.as_micros() - reply.now.as_micros();
                let deadline = self.deadlines.entry(key).or_insert(Instant::ORIGIN);
                *deadline = (*deadline).max(batch.sent + Duration::from_micros(lease));
            }
        }
    }

    /// Holds the books against the limiter's after each step that touches them.
    pub(crate) fn settle(&self, syncer: &Syncer<Caller>, cache: &Requests, now: Instant) {
        if self.checked && self.keys.len() <= KEYS_PER_STEP {
            self.check(syncer, cache, now);
        }
    }

    /// Panics if a cell is to be spent from for longer than the store has promised, whether or not
    /// anybody does.
    fn check_deadlines(&self, now: Instant) {
        for (key, entries) in &self.keys {
            let promised = self.deadlines.get(key).copied();
            let entries = entries.iter().filter_map(Weak::upgrade);
            for entry in entries.filter(|entry| !entry.is_in_fallback()) {
                let deadline = entry.lease.view(now).deadline;
                assert!(
                    deadline <= promised.unwrap_or(Instant::ORIGIN),
                    "tokens of {key:?} may be taken until {deadline:?}, \
                     its leases end at {promised:?}"
                );
            }
        }
    }

    /// Panics if something was granted that nobody accounts for, or the other way round.
    pub(crate) fn check(&self, syncer: &Syncer<Caller>, cache: &Requests, now: Instant) {
        if !self.checked {
            return;
        }
        self.check_deadlines(now);
        let entries = self.keys.keys().flat_map(|key| self.entries(*key, cache));
        let cells: u64 = entries
            .map(|entry| u64::from(entry.account(now).unspent()))
            .sum();
        let tokens = syncer.tokens_in_all();
        assert_eq!(
            tokens.granted,
            self.taken + tokens.released + tokens.expired + cells,
            "granted is not spent + released + expired + held: {tokens:?}, taken {}, \
             in cells {cells}",
            self.taken,
        );
        // Spends that the syncer has yet to look at are among what it believes is held.
        assert_eq!(
            tokens.held() + tokens.spent,
            cells + self.taken,
            "what the syncer believes is held or spent: {tokens:?}, taken {}, in cells {cells}",
            self.taken,
        );
    }
}

/// With more keys than this, the sum over all of them is taken only when asked for.
const KEYS_PER_STEP: usize = 16;
