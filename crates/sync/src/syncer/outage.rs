//! What a replica does while the store, or a part of it, is away.
//!
//! # Invariant
//!
//! A key of a limit that is closed is answered by the store or by nobody. A key that stands alone is
//! one that the next request for it finds: it has one part of its limit, however many ask.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{KeyRef, LimitId};
use leasehold_core::{Decided, Instant, Reason, Verdict};

use super::{LIVE, Syncer};
use crate::away::unavailable;
use crate::batch::NamedLimit;
use crate::fallback::{FailurePolicy, part_of};
use crate::key_state::{KeyState, alone};
use crate::tokens::Tokens;
use crate::tuning::Sizing;
use crate::unserved::Unserved;
use crate::waiting::{Purpose, Waiter};

impl<W: Waiter> Syncer<W> {
    /// Where the tokens went that this replica granted itself while the store was away, by the
    /// failure policies of its limits.
    pub fn tokens_alone(&self) -> Tokens {
        self.alone.all()
    }

    /// Where the tokens of one limit went that this replica granted itself.
    ///
    /// # Panics
    ///
    /// If there is no such limit.
    pub fn tokens_alone_of(&self, limit: LimitId) -> Tokens {
        self.alone.of(limit)
    }

    /// Where all tokens went, the store's and this replica's own.
    pub fn tokens_in_all(&self) -> Tokens {
        self.tokens() + self.tokens_alone()
    }

    /// Tokens admitted while the store was away that it has not charged yet.
    pub fn owed(&self) -> u64 {
        self.alone.all().spent.saturating_sub(self.settled)
    }

    /// How many parts of the store are away: they failed some times in a row, and were not heard of
    /// since.
    pub fn parts_away(&self) -> usize {
        let parts = self.partitions.iter();
        parts.filter(|part| part.breaker.is_open()).count()
    }

    /// The most tokens beyond burst + rate x window that this replica may have caused to be admitted
    /// on any one key of a limit, as things are at `now`: its overshoot budget, and under
    /// [`FailurePolicy::Local`], while the store is away, this replica's part of burst + rate x time
    /// away; then what is owed, until it is charged. `None` if there is no bound, under
    /// [`FailurePolicy::Open`] while the store is away.
    ///
    /// Replicas that are all cut off add up to a burst in all, as their parts are of one limit.
    pub fn overshoot_bound(&self, limit: LimitId, now: Instant) -> Option<u64> {
        let LimitId(index) = limit;
        let named = &self.limits[index as usize];
        let parts = self.partitions.iter();
        let away_since = parts.filter_map(|part| part.breaker.open_since());
        let away_since = away_since.chain(self.unserved.values().copied()).min();
        let portion = self.portion_of(limit);
        let alone = match (named.policy, away_since) {
            (FailurePolicy::Closed, _) => 0,
            (_, None) => self.owed(),
            (FailurePolicy::Open, Some(_)) => return None,
            (FailurePolicy::Local, Some(since)) => {
                portion.map_or(0, |part| part.admits_within(now.since(since)))
            }
        };
        Some(named.limit.overshoot() + alone)
    }

    /// A request was admitted without waiting any longer, under [`FailurePolicy::Open`]: the store
    /// is to charge it when it answers.
    pub fn admitted(&mut self, key: KeyRef<'_>, cost: u32, now: Instant) {
        let cost64 = u64::from(cost);
        self.count_admitted(key.limit, cost64);
        let Some(entry) = self.tracked(key, now) else {
            self.settled += cost64;
            return;
        };
        let slot = self.slot_of(&entry, now);
        let capacity = self.sizing_of(key.limit).limit.capacity();
        let state = self.keys[slot as usize].as_mut().expect(LIVE);
        self.settled += state.owe(cost64, capacity);
        self.enqueue(slot, now);
    }

    /// Counts tokens that were admitted without a grant.
    fn count_admitted(&mut self, limit: LimitId, tokens: u64) {
        let mut count = self.alone.count(limit);
        count.granted(tokens);
        count.spent(tokens);
    }

    /// Until when nobody is to wait for a part of the store, if it is away.
    pub(super) fn away_until(&self, partition: u32, now: Instant) -> Option<Instant> {
        self.partitions[partition as usize].away_until(self.round_trip, now)
    }

    /// What a limit admits while the store is away. Without a part of its own it is closed.
    pub(super) fn policy_of(&self, limit: LimitId, partition: u32) -> FailurePolicy {
        let LimitId(index) = limit;
        let is_away = self.partitions[partition as usize].breaker.is_open();
        let policy = self.limits[index as usize].policy;
        let part = self.portion_of(limit);
        match policy {
            FailurePolicy::Local if is_away && part.is_none() => FailurePolicy::Closed,
            policy => policy,
        }
    }

    /// What a key's limit admits while the store is away, or does not serve the key.
    pub(super) fn policy_for(&self, state: &KeyState<W>) -> FailurePolicy {
        let limit = state.entry.key().limit;
        let policy = self.policy_of(limit, state.partition);
        match state.unserved {
            None => policy,
            Some(_) if self.portion_of(limit).is_none() => FailurePolicy::Closed,
            Some(unserved) => unserved.policy(policy),
        }
    }

    fn portion_of(&self, LimitId(index): LimitId) -> Option<&Sizing> {
        self.portions.get(index as usize).and_then(Option::as_ref)
    }

    /// Works out this replica's part of each limit, from the number of replicas that is known last.
    pub(super) fn divide(&mut self) {
        let parts = self.limits.iter().map(|named| self.part_of(named));
        self.portions = parts.collect();
    }

    /// Works out this replica's part of one limit.
    fn divide_one(&mut self, LimitId(index): LimitId) {
        let index = index as usize;
        self.portions.resize(self.limits.len(), None);
        self.portions[index] = self.part_of(&self.limits[index]);
    }

    fn part_of(&self, named: &NamedLimit) -> Option<Sizing> {
        let configured = self.tuning.max_replicas;
        let configured = configured.map(|replicas| u64::from(replicas.get()));
        match named.policy {
            FailurePolicy::Closed => None,
            FailurePolicy::Open => Some(Sizing::new(named.limit, &self.tuning)),
            FailurePolicy::Local => {
                let replicas = self.fleet.replicas().or(configured)?;
                let part = part_of(&named.limit, replicas)?;
                Some(Sizing::new(part, &self.tuning))
            }
        }
    }

    /// How many keys the store answered about last without serving them: it cannot read what is
    /// stored under the key, or has no room for it.
    pub fn keys_unserved(&self) -> usize {
        self.unserved.len()
    }

    /// The store answered a call about this key without serving it: the failure policy decides
    /// for the key, and the store is asked about it again after a while.
    pub(super) fn handle_unserved(
        &mut self,
        slot: u32,
        reason: Reason,
        verdicts: &mut VecDeque<(W, Verdict)>,
        now: Instant,
    ) {
        let state = self.keys[slot as usize].as_mut().expect(LIVE);
        let unserved = Unserved::again(state.unserved, reason, &mut self.jitter, now);
        state.unserved = Some(unserved);
        let limit = state.entry.key().limit;
        self.unserved.entry(slot).or_insert(now);
        self.divide_one(limit);
        let (state, around) = self.parts(slot);
        let next = state.handle_unserved(unserved, &around, verdicts, now);
        let (is_alone, partition) = (state.is_alone(), state.partition);
        if is_alone {
            self.partitions[partition as usize].alone.insert(slot);
        }
        // What cannot be given back expires: nobody waits for it.
        if !self.closing {
            self.arrange(slot, next, now);
        }
    }

    /// The store serves this key.
    pub(super) fn served(&mut self, slot: u32) {
        let state = self.keys[slot as usize].as_mut().expect(LIVE);
        if state.unserved.take().is_some() {
            self.unserved.remove(&slot);
        }
    }

    /// The store is back: keys that stand alone tell it what they admitted, as fast as batches go,
    /// and not all replicas' at once.
    pub(super) fn call_back(&mut self, partition: u32, now: Instant) {
        let slots = mem::take(&mut self.partitions[partition as usize].alone);
        let batches = slots.len().div_ceil(self.tuning.batch_keys);
        let batches = u32::try_from(batches).unwrap_or(u32::MAX);
        let within = self
            .tuning
            .call_gap
            .saturating_mul(batches)
            .min(CALL_BACK_MAX);
        for slot in slots {
            let at = now + self.jitter.within(within);
            self.timers.set(slot, at);
        }
    }

    /// Answers the calls of keys that decide alone, in place of the store that is away, or that
    /// does not serve them.
    pub(super) fn answer_alone(&mut self, partition: u32, is_away: bool, now: Instant) {
        let part = &mut self.partitions[partition as usize];
        if part.falling.is_empty() {
            return;
        }
        // The keys that the store serves do not wait for the others.
        if is_away {
            if part.pace.next() > now {
                return;
            }
            part.pace.handle_pause(self.tuning.call_gap, now);
        }
        for slot in mem::take(&mut part.falling) {
            let Some(state) = &mut self.keys[slot as usize] else {
                continue;
            };
            state.queued = false;
            if state.may_call(self.closing, now) {
                self.exchange_alone(slot, now);
            }
        }
    }

    fn exchange_alone(&mut self, slot: u32, now: Instant) {
        let (state, around) = self.parts(slot);
        if around.policy == FailurePolicy::Closed {
            // It was another when the key was lined up.
            state.queued = true;
            self.line_up(slot, now);
            return;
        }
        if !state.is_alone() && !self.is_found(slot) {
            self.end_unfound(slot, now);
            return;
        }
        let (state, mut around) = self.parts(slot);
        if let Some(later) = state.fall_back(&mut around, now) {
            self.set_alarm(slot, later, now);
            return;
        }
        let partition = state.partition;
        self.partitions[partition as usize].alone.insert(slot);
        let (state, mut around) = self.parts(slot);
        let Some(request) = state.poll_request(&mut around, now) else {
            self.timers.set(slot, now + self.tuning.interval_max);
            return;
        };
        let reply = state.answer_alone(&request, &around, now);
        let mut verdicts = VecDeque::new();
        let next = state.handle_reply(&request, &reply, now, &mut around, &mut verdicts, now);
        let verdicts = verdicts.into_iter();
        self.verdicts
            .extend(verdicts.map(|(waiter, verdict)| (waiter, alone(verdict))));
        self.follow(slot, next, now);
    }

    /// Whether requests for a key meet this state of it. Where the cache had no room they do not, and
    /// the next of them begins another.
    fn is_found(&self, slot: u32) -> bool {
        let entry = &self.keys[slot as usize].as_ref().expect(LIVE).entry;
        let known = self.cache.get(entry.key());
        known.is_some_and(|known| Arc::ptr_eq(&known, entry))
    }

    /// A key without room was asking when the store went away. It does not stand alone: each request
    /// for it would be granted a part of the limit of its own, and what is left of that nobody finds.
    fn end_unfound(&mut self, slot: u32, now: Instant) {
        let (state, mut around) = self.parts(slot);
        let (policy, partition) = (around.policy, state.partition);
        let limit = state.entry.key().limit;
        let unserved = state.unserved.and_then(|it| it.holds(now));
        let waiting = state.give_up(&mut around, now);
        let until = self.away_until(partition, now).or(unserved).unwrap_or(now);
        for waiting in waiting {
            let (cost, purpose) = (waiting.cost, waiting.purpose);
            let verdict = self.decide_untracked(limit, policy, cost, purpose, until, now);
            self.verdicts.push_back((waiting.waiter, verdict));
        }
        self.forget(slot, now);
    }

    /// For a key that found no room: nothing of it can be kept until the store is back.
    pub(super) fn decide_untracked(
        &mut self,
        limit: LimitId,
        policy: FailurePolicy,
        cost: u32,
        purpose: Purpose,
        until: Instant,
        now: Instant,
    ) -> Verdict {
        if policy == FailurePolicy::Open && purpose == Purpose::Spend {
            let cost = u64::from(cost);
            self.count_admitted(limit, cost);
            self.settled += cost;
            Verdict::allow_unknown(Decided::Fallback)
        } else {
            unavailable(until, now)
        }
    }

    /// Puts a key that is queued among those that ask the store, or those that cannot wait for it.
    pub(super) fn line_up(&mut self, slot: u32, now: Instant) {
        let Some(state) = &self.keys[slot as usize] else {
            return;
        };
        let partition = state.partition;
        let closed = self.policy_for(state) == FailurePolicy::Closed;
        let shut = state.is_unserved(now) || self.away_until(partition, now).is_some();
        let asks = closed || self.closing || !shut;
        let is_hot = state.is_hot();
        let part = &mut self.partitions[partition as usize];
        if asks {
            part.calling.push(slot, is_hot);
        } else {
            part.falling.push_back(slot);
        }
    }

    /// The same for all that are queued.
    pub(super) fn line_up_all(&mut self, partition: u32, now: Instant) {
        for slot in self.partitions[partition as usize].take_queued() {
            self.line_up(slot, now);
        }
    }
}

/// A key that nobody asks for is charged within this, as one that is asked for is at its next call.
const CALL_BACK_MAX: Duration = Duration::from_secs(2);
