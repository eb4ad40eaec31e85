//! The background half of a replica: keeps the leases of all keys supplied and the store
//! informed, in as few calls as will do.
//!
//! # How it is driven
//!
//! The `Syncer` does no I/O and reads no clock. Its methods are of four kinds: getters;
//! `handle_*`, by which the world says what happened; commands, by which the application says
//! what it wants; and `poll_*`, by which the machine says what to do next. After each call of
//! the first three, poll until there is nothing more: [`poll_batch`](Syncer::poll_batch) for
//! what to send, [`poll_verdict`](Syncer::poll_verdict) for who has an answer, and
//! [`poll_timeout`](Syncer::poll_timeout) for when to call
//! [`handle_timeout`](Syncer::handle_timeout) at the latest.
//!
//! # Invariant
//!
//! Each key has at most one call under way, however many requests wait for it. A batch that was
//! handed out comes back exactly once, as answered or as failed.

mod outage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Entry, KeyRef, LimitId, QuotaCache};
use leasehold_core::{Decided, Instant, Reason, Request, Retry, SplitMix64, Verdict};

use crate::away::{Away, unavailable};
use crate::batch::{Answer, Batch, Call, Miscounted, NamedLimit};
use crate::clock_drift::ClockDrift;
use crate::fallback::{FailurePolicy, Fleet};
use crate::key_state::{KeyState, Next, Surroundings, alone};
use crate::looks::Looks;
use crate::partition::{Partition, partition_of};
use crate::sweep::{Mercy, Sweep};
use crate::timers::Timers;
use crate::tokens::{TokenCounts, Tokens, add};
use crate::tuning::{Sizing, Tuning};
use crate::waiting::{Purpose, Waiter};

/// The background half of one replica.
#[derive(Debug)]
pub struct Syncer<W> {
    cache: Arc<QuotaCache>,
    limits: Arc<[NamedLimit]>,
    sizings: Vec<Sizing>,
    /// While the store is away, what this replica's part of each limit means; `None` where it has
    /// none, or no need of one.
    portions: Vec<Option<Sizing>>,
    fleet: Fleet,
    tuning: Tuning,
    replica: u64,
    generations: u64,
    jitter: SplitMix64,
    looks: Looks,
    keys: Vec<Option<KeyState<W>>>,
    vacant: Vec<u32>,
    /// Slots of keys that the cache forgets when their states go: it had no room for them.
    guests: BTreeSet<u32>,
    timers: Timers,
    /// The parts of the store.
    partitions: Vec<Partition>,
    /// What the request path is told of them.
    away: Arc<Away>,
    /// The part that is looked at first for the next batch: each in turn.
    turn: usize,
    round_trip: Duration,
    sweep: Sweep,
    next_sweep: Instant,
    verdicts: VecDeque<(W, Verdict)>,
    closing: bool,
    tokens: TokenCounts,
    /// Where the tokens went that keys granted themselves.
    alone: TokenCounts,
    /// Of those spent, what the store has charged since, or nobody could keep.
    settled: u64,
    /// Slots of keys that the store does not serve, and since when.
    unserved: BTreeMap<u32, Instant>,
    keys_evicted: u64,
}

/// Why [`Syncer::handle_timeout`] is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timeout {
    /// A key is to be renewed, reported on or given back.
    Key,
    /// Calls have waited long enough for others to travel with.
    Batch,
    /// Idle keys are to be looked for.
    Sweep,
}

impl<W: Waiter> Syncer<W> {
    /// A replica named `replica` with nothing leased. The limits are those that the cache's
    /// [`LimitId`]s count through. `replica` and `seed` are chosen at random by the driver.
    pub fn new(
        cache: Arc<QuotaCache>,
        limits: Arc<[NamedLimit]>,
        tuning: Tuning,
        replica: u64,
        seed: u64,
    ) -> Self {
        Self {
            cache,
            sizings: sizings(&limits, &tuning),
            portions: Vec::new(),
            fleet: Fleet::new(),
            tokens: TokenCounts::new(limits.len()),
            alone: TokenCounts::new(limits.len()),
            limits,
            tuning,
            replica,
            generations: 0,
            jitter: SplitMix64::new(seed),
            looks: Looks::default(),
            keys: Vec::new(),
            vacant: Vec::new(),
            guests: BTreeSet::new(),
            timers: Timers::default(),
            partitions: vec![Partition::default()],
            away: Arc::new(Away::new(1)),
            turn: 0,
            round_trip: FIRST_ROUND_TRIP,
            sweep: Sweep::default(),
            next_sweep: Instant::ORIGIN,
            verdicts: VecDeque::new(),
            closing: false,
            settled: 0,
            unserved: BTreeMap::new(),
            keys_evicted: 0,
        }
    }

    /// The same, of a store in so many parts: see [`Batch::partition`]. Before its first key.
    #[must_use]
    pub fn with_partitions(mut self, partitions: u32) -> Self {
        self.away = Arc::new(Away::new(partitions));
        self.partitions = (0..partitions.max(1))
            .map(|_| Partition::default())
            .collect();
        self
    }

    /// This syncer in the place of another that is gone, whose word the request path goes by. Before
    /// its first key.
    #[must_use]
    pub fn in_place_of(mut self, away: Arc<Away>) -> Self {
        self = self.with_partitions(away.partitions());
        for partition in 0..away.partitions() {
            away.set(partition, None);
        }
        self.away = away;
        self
    }

    /// Which parts of the store are away, for the request path.
    pub fn away(&self) -> Arc<Away> {
        Arc::clone(&self.away)
    }

    /// Where this replica's tokens went.
    pub fn tokens(&self) -> Tokens {
        self.tokens.all()
    }

    /// Where this replica's tokens of one limit went.
    ///
    /// # Panics
    ///
    /// If there is no such limit.
    pub fn tokens_of(&self, limit: LimitId) -> Tokens {
        self.tokens.of(limit)
    }

    /// Keys the cache has forgotten because nobody asked for them.
    pub fn keys_evicted(&self) -> u64 {
        self.keys_evicted
    }

    /// Mean time from a call to its reply.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Millionths by which the store's clock seems to run faster than ours, negative if slower; of
    /// the part of the store where it differs most.
    pub fn clock_drift_ppm(&self) -> i64 {
        self.widest(ClockDrift::likely_ppm)
    }

    /// The same, as far as it is certain: half a round trip may be anything. When it is positive,
    /// leases are used for less time.
    pub fn certain_clock_drift_ppm(&self) -> i64 {
        self.widest(ClockDrift::certain_ppm)
    }

    fn widest(&self, ppm: impl Fn(&ClockDrift) -> i64) -> i64 {
        let drifts = self.partitions.iter().map(|part| ppm(&part.clock));
        drifts.max_by_key(|ppm| ppm.unsigned_abs()).unwrap_or(0)
    }

    /// The entry that a call of this syncer is about, for checks of what it holds.
    pub fn entry_of(&self, call: &Call) -> Arc<Entry> {
        Arc::clone(call.entry())
    }

    /// Tokens that the store counts as outstanding here, as far as is known.
    pub fn unsettled(&self) -> u64 {
        self.keys.iter().flatten().map(KeyState::unsettled).sum()
    }

    /// Whether a shut-down is complete: all has been given back and confirmed.
    pub fn is_drained(&self) -> bool {
        let settled = |state: &KeyState<W>| {
            let done = !state.is_alone() && state.unsettled() == 0 && state.owed() == 0;
            // Nothing can be given back of a key that the store does not serve.
            !state.in_flight && (done || state.unserved.is_some())
        };
        let quiet = self.partitions.iter().all(|part| part.flights == 0);
        self.closing && quiet && self.keys.iter().flatten().all(settled)
    }

    /// A request waits for `cost` tokens of `key`; its verdict will be polled.
    pub fn acquire(
        &mut self,
        key: KeyRef<'_>,
        cost: u32,
        purpose: Purpose,
        waiter: W,
        now: Instant,
    ) {
        if waiter.is_gone() {
            // It gave up while the task was busy, and no room is made for a key that nobody asks for.
            return;
        }
        if self.closing {
            let denial = Verdict::deny(Decided::Local, Reason::ShutDown, Retry::Never);
            self.verdicts.push_back((waiter, denial));
            return;
        }
        let partition = self.partition_of(key);
        let away = self.away_until(partition, now);
        let policy = self.policy_of(key.limit, partition);
        if let Some(until) = away.filter(|_| policy == FailurePolicy::Closed) {
            self.verdicts.push_back((waiter, unavailable(until, now)));
            return;
        }
        let entry = match away {
            None => self.tracked_or_guest(key, purpose, now),
            Some(_) => self.tracked(key, now).map(|entry| (entry, false)),
        };
        let Some((entry, is_guest)) = entry else {
            let soon = Retry::After(self.tuning.interval_max);
            let verdict = match away {
                None => Verdict::deny(Decided::Local, Reason::Overloaded, soon),
                Some(until) => self.decide_untracked(key.limit, policy, cost, purpose, until, now),
            };
            self.verdicts.push_back((waiter, verdict));
            return;
        };
        let slot = self.slot_of(&entry, now);
        if is_guest {
            self.guests.insert(slot);
        }
        let state = self.keys[slot as usize].as_mut().expect(LIVE);
        match state.handle_waiting(waiter, cost, purpose, now) {
            Some((waiter, verdict)) => {
                let verdict = if state.is_alone() {
                    alone(verdict)
                } else {
                    verdict
                };
                self.verdicts.push_back((waiter, verdict));
                self.timers
                    .set_if_none(slot, now + self.tuning.interval_max);
            }
            None => self.enqueue(slot, now),
        }
    }

    /// A request that would not wait found fewer than `cost` tokens of `key` here: have some for
    /// the next.
    pub fn prefetch(&mut self, key: KeyRef<'_>, cost: u32, now: Instant) {
        let partition = self.partition_of(key);
        let away = self.away_until(partition, now).is_some();
        if self.closing || (away && self.policy_of(key.limit, partition) == FailurePolicy::Closed) {
            return;
        }
        // What is leased for a key that found no room could not be found again.
        let Some(entry) = self.tracked(key, now) else {
            return;
        };
        let slot = self.slot_of(&entry, now);
        let state = self.keys[slot as usize].as_mut().expect(LIVE);
        state.handle_missed(cost);
        self.enqueue(slot, now);
    }

    /// The store has forgiven all that was charged on `key`: what it denied before may pass now.
    pub fn handle_forgiven(&mut self, key: KeyRef<'_>, now: Instant) {
        let Some(entry) = self.cache.get(key) else {
            return;
        };
        entry.denial.clear();
        if let Some(slot) = entry.slot() {
            let (state, around) = self.parts(slot);
            state.handle_forgiven(&around);
            self.enqueue(slot, now);
        }
    }

    /// Gives back all that is held and asks for nothing more. Poll batches until
    /// [`is_drained`](Self::is_drained), or until patience ends: what is not given back expires.
    pub fn shut_down(&mut self, now: Instant) {
        self.closing = true;
        for slot in 0..self.keys.len() {
            let Some(state) = &mut self.keys[slot] else {
                continue;
            };
            self.verdicts.extend(state.dismiss());
            self.enqueue(u32::try_from(slot).expect("slots are u32"), now);
        }
        for entry in self.sweep.stateless() {
            self.count_denied(&entry);
        }
    }

    /// The request path has left word that keys run low.
    pub fn handle_signals(&mut self, now: Instant) {
        while let Some(entry) = self.cache.next_signal() {
            if let Some(slot) = entry.slot() {
                self.enqueue(slot, now);
            }
        }
    }

    /// From now on these numbers apply under the same names. What is leased already stays usable;
    /// each key's next call brings it under its new limit. A denial that is known here lasts for
    /// as long as it would have.
    ///
    /// # Panics
    ///
    /// If the names or their order differ.
    pub fn set_limits(&mut self, limits: Arc<[NamedLimit]>) {
        let names = |limits: &[NamedLimit]| limits.iter().map(|named| named.name.clone()).collect();
        let (old, new): (Vec<_>, Vec<_>) = (names(&self.limits), names(&limits));
        assert_eq!(old, new, "keys name limits by position");
        self.sizings = sizings(&limits, &self.tuning);
        self.limits = limits;
        self.divide();
    }

    /// The store's answer to a batch.
    ///
    /// An answer is input, whatever it says. A reply that no ledger would give counts as none.
    ///
    /// # Errors
    ///
    /// [`Miscounted`] if there is not one reply per call. Nothing of the answer is believed then, and
    /// the batch counts as failed: there is no need for [`handle_failure`](Self::handle_failure).
    pub fn handle_answer(
        &mut self,
        batch: &Batch,
        answer: &Answer,
        now: Instant,
    ) -> Result<(), Miscounted> {
        if batch.calls.len() != answer.replies.len() {
            self.handle_failure(batch, now);
            return Err(Miscounted {
                calls: batch.calls.len(),
                replies: answer.replies.len(),
            });
        }
        let part = &mut self.partitions[batch.partition as usize];
        let was_away = part.breaker.is_open();
        part.handle_answer(batch, answer);
        if let Some(reply) = answer.replies.first() {
            part.clock.observe(batch.sent, now, reply.now);
        }
        if was_away {
            self.line_up_all(batch.partition, now);
            self.away.set(batch.partition, None);
            self.call_back(batch.partition, now);
        }
        let pairs = batch.calls.iter().zip(&answer.replies);
        let believed = pairs.filter(|(call, reply)| reply.answers(&call.request));
        let most = believed.map(|(_, reply)| reply.replicas).max();
        self.fleet.observe(most.unwrap_or(0), now);
        // The mean of about the last eight.
        self.round_trip = (self.round_trip * 7 + now.since(batch.sent)) / 8;
        // Levels in a reply are weighed by the limits that travelled with the request.
        let current = (!Arc::ptr_eq(&batch.limits, &self.limits)).then(|| {
            let then = sizings(&batch.limits, &self.tuning);
            mem::replace(&mut self.sizings, then)
        });
        let mut verdicts = mem::take(&mut self.verdicts);
        for (call, reply) in batch.calls.iter().zip(&answer.replies) {
            let slot = slot_in(call.entry());
            if let Some(reason) = reply.status.refusal() {
                self.handle_unserved(slot, reason, &mut verdicts, now);
                continue;
            }
            self.served(slot);
            if let Request::Charge { tokens } = call.request
                && reply.answers(&call.request)
            {
                add(&mut self.settled, tokens);
            }
            let (state, mut around) = self.parts(slot);
            let (request, sent) = (&call.request, batch.sent);
            let next = state.handle_reply(request, reply, sent, &mut around, &mut verdicts, now);
            self.follow(slot, next, now);
        }
        self.verdicts = verdicts;
        if let Some(current) = current {
            self.sizings = current;
        }
        Ok(())
    }

    /// A batch failed, or nobody knows what became of it.
    pub fn handle_failure(&mut self, batch: &Batch, now: Instant) {
        let part = &mut self.partitions[batch.partition as usize];
        part.flights -= 1;
        let was_away = part.breaker.is_open();
        part.breaker
            .handle_failure(batch.sent, &mut self.jitter, now);
        if part.breaker.is_open() {
            if !was_away {
                self.divide();
            }
            self.line_up_all(batch.partition, now);
        }
        let part = &self.partitions[batch.partition as usize];
        self.away.set(batch.partition, part.word());
        let retry_after = part.breaker.holds(now);
        let retry_after = retry_after.map_or(Duration::ZERO, |until| until.since(now));
        let mut verdicts = mem::take(&mut self.verdicts);
        for call in &batch.calls {
            let slot = slot_in(call.entry());
            let (state, around) = self.parts(slot);
            let next = state.handle_failure(retry_after, &around, &mut verdicts);
            if state.is_alone() {
                self.partitions[batch.partition as usize].alone.insert(slot);
            }
            self.follow(slot, next, now);
        }
        self.verdicts = verdicts;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.timers.pop(now) {
            if self.keys[slot as usize].is_none() {
                continue;
            }
            let (state, mut around) = self.parts(slot);
            let next = state.handle_alarm(&mut around, now);
            self.arrange(slot, next, now);
        }
        if self.next_sweep <= now {
            self.sweep_some(now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or
    /// [`poll_batch`](Self::poll_batch) again at the latest, and why.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<(Instant, Timeout)> {
        let key = self.timers.poll_timeout().map(|at| (at, Timeout::Key));
        let sweep = (self.sweep.len() > 0).then_some((self.next_sweep, Timeout::Sweep));
        let parts = self.partitions.iter();
        let batch = parts.filter_map(|part| part.poll_timeout(&self.tuning, now));
        let batch = batch.min().map(|at| (at, Timeout::Batch));
        [key, sweep, batch]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// The next batch to send now, if there is one.
    pub fn poll_batch(&mut self, now: Instant) -> Option<Batch> {
        for _ in 0..self.partitions.len() {
            let partition = self.turn;
            self.turn = (partition + 1) % self.partitions.len();
            let partition = u32::try_from(partition).expect("partitions are counted in 32 bits");
            let batch = self.poll_batch_of(partition, now);
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    fn poll_batch_of(&mut self, partition: u32, now: Instant) -> Option<Batch> {
        let is_away = self.away_until(partition, now).is_some();
        self.answer_alone(partition, is_away, now);
        if is_away {
            return None;
        }
        if !self.partitions[partition as usize].may_send(&self.tuning, now) {
            return None;
        }
        let calls = self.next_calls(partition, now);
        if calls.is_empty() {
            return None;
        }
        let part = &mut self.partitions[partition as usize];
        part.flights += 1;
        part.pace.handle_batch(self.tuning.call_gap, now);
        let known_birth = part.known_birth;
        self.away.set(partition, part.word());
        if part.breaker.is_open() {
            // One looks whether the store is back; the others do not wait for what it finds.
            self.line_up_all(partition, now);
        }
        Some(Batch {
            replica: self.replica,
            partition,
            known_birth,
            hold: self.tuning.hold(),
            limits: Arc::clone(&self.limits),
            calls,
            sent: now,
        })
    }

    /// A request that has its verdict.
    pub fn poll_verdict(&mut self) -> Option<(W, Verdict)> {
        self.verdicts.pop_front()
    }

    fn next_calls(&mut self, partition: u32, now: Instant) -> Vec<Call> {
        let part = &self.partitions[partition as usize];
        // Who looks for a store that was away waits for it meanwhile; the others need not.
        let most = if part.breaker.is_open() {
            1
        } else {
            self.tuning.batch_keys
        };
        let mut calls = Vec::with_capacity(part.calling.len().min(most));
        while calls.len() < most {
            let part = &mut self.partitions[partition as usize];
            let Some(slot) = part.next_caller() else {
                break;
            };
            part.alone.remove(&slot);
            if self.keys[slot as usize].is_none() {
                continue;
            }
            let (state, mut around) = self.parts(slot);
            state.queued = false;
            // Who owes says so first, and stands alone until the store has heard it: nobody waits
            // for one that looks in vain.
            let owes = state.owed() > 0;
            if !owes {
                state.return_to_store(&mut around, now);
            }
            if state.in_flight || !(owes || state.may_call(around.closing, now)) {
                continue;
            }
            let (state, mut around) = self.parts(slot);
            let charge = state.poll_charge();
            match charge.or_else(|| state.poll_request(&mut around, now)) {
                Some(request) => calls.push(Call::about(Arc::clone(&state.entry), request)),
                None => self.timers.set(slot, now + self.tuning.interval_max),
            }
        }
        calls
    }

    /// The slot of a key's state, made if there is none.
    fn slot_of(&mut self, entry: &Arc<Entry>, now: Instant) -> u32 {
        if let Some(slot) = entry.slot() {
            return slot;
        }
        let key = entry.key();
        // Denied at times that nobody knows: counted, and no measure of the demand from now on.
        self.count_denied(entry);
        let (sizing, partition) = (self.sizing_of(key.limit), self.partition_of(key));
        let state = KeyState::new(Arc::clone(entry), partition, sizing, now);
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.keys.push(None);
            u32::try_from(self.keys.len() - 1).expect("as many keys as slots fit no memory")
        });
        self.keys[slot as usize] = Some(state);
        entry.set_slot(slot);
        slot
    }

    /// Counts what was denied of a key without a state.
    fn count_denied(&mut self, entry: &Entry) {
        let counts = if entry.is_alone() {
            &mut self.alone
        } else {
            &mut self.tokens
        };
        let denied = u64::from(entry.lease.take_denied());
        counts.count(entry.key().limit).denied(denied);
    }

    /// The key's entry in the cache, made if there is none; `None` if there is no room and
    /// nothing can be forgotten.
    fn tracked(&mut self, key: KeyRef<'_>, now: Instant) -> Option<Arc<Entry>> {
        let entry = match self.cache.get(key) {
            Some(entry) => entry,
            None => self.track(key, now)?,
        };
        entry.touch();
        Some(entry)
    }

    /// The same for somebody who waits, and whether it has no place of its own in the cache: then
    /// it lives only as long as there is business with it. `None` if there is no room at all.
    fn tracked_or_guest(
        &mut self,
        key: KeyRef<'_>,
        purpose: Purpose,
        now: Instant,
    ) -> Option<(Arc<Entry>, bool)> {
        if let Some(entry) = self.tracked(key, now) {
            return Some((entry, false));
        }
        match purpose {
            // The store decides, or what it grants goes to who waits: nobody need find it.
            Purpose::Spend => Some((Arc::new(Entry::new(key)), false)),
            Purpose::Stock => Some((self.cache.insert_guest(key).ok()?, true)),
        }
    }

    fn track(&mut self, key: KeyRef<'_>, now: Instant) -> Option<Arc<Entry>> {
        let inserted = self.cache.insert(key).or_else(|_| {
            self.evict(SWEEP_WHEN_FULL, Mercy::None, now);
            self.cache.insert(key)
        });
        let entry = inserted.ok()?;
        self.sweep.add(Arc::clone(&entry));
        Some(entry)
    }

    /// Looks at some keys: counts what became of their tokens, and forgets those that are idle.
    fn evict(&mut self, steps: usize, mercy: Mercy, now: Instant) {
        let (keys, evicted) = (&mut self.keys, &mut self.keys_evicted);
        let (leased, granted_here) = (&mut self.tokens, &mut self.alone);
        let look = |entry: &Entry, is_removed| {
            *evicted += u64::from(is_removed);
            let counts = if entry.is_alone() {
                &mut *granted_here
            } else {
                &mut *leased
            };
            let mut count = counts.count(entry.key().limit);
            match entry.slot().and_then(|slot| keys[slot as usize].as_mut()) {
                Some(state) => state.count(&mut count, now),
                None => count.denied(u64::from(entry.lease.take_denied())),
            }
        };
        self.sweep.pass(&self.cache, steps, mercy, now, look);
    }

    /// In which part of the store a key lies.
    fn partition_of(&self, key: KeyRef<'_>) -> u32 {
        let LimitId(index) = key.limit;
        let partitions = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        partition_of(&self.limits[index as usize].name, key.subject, partitions)
    }

    fn sizing_of(&self, LimitId(index): LimitId) -> &Sizing {
        &self.sizings[index as usize]
    }

    /// A key's state beside what it needs to know of the rest: of the store, or of this replica's
    /// own part of the limit while the key stands alone.
    fn parts(&mut self, slot: u32) -> (&mut KeyState<W>, Surroundings<'_>) {
        let state = self.keys[slot as usize].as_ref().expect(LIVE);
        let (LimitId(index), partition) = (state.entry.key().limit, state.partition);
        let policy = self.policy_for(state);
        let part = &self.partitions[partition as usize];
        let (away, clock) = (part.breaker.is_open(), part.clock);
        let next_batch = part.pace.next();
        let state = self.keys[slot as usize].as_mut().expect(LIVE);
        let own = self.portions.get(index as usize).and_then(Option::as_ref);
        let own = own.filter(|_| state.is_alone());
        let around = Surroundings {
            sizing: own.unwrap_or(&self.sizings[index as usize]),
            tuning: &self.tuning,
            replica: self.replica,
            round_trip: self.round_trip,
            next_batch,
            closing: self.closing,
            away,
            clock,
            policy,
            capacity: self.sizings[index as usize].limit.capacity(),
            settled: &mut self.settled,
            jitter: &mut self.jitter,
            looks: &mut self.looks,
            generations: &mut self.generations,
            tokens: if state.is_alone() {
                self.alone.count(LimitId(index))
            } else {
                self.tokens.count(LimitId(index))
            },
        };
        (state, around)
    }

    /// Arranges what a key wants after a call, unless all is given back anyway.
    fn follow(&mut self, slot: u32, next: Next, now: Instant) {
        let next = if self.closing { Next::Call } else { next };
        self.arrange(slot, next, now);
    }

    fn arrange(&mut self, slot: u32, next: Next, now: Instant) {
        match next {
            Next::Call => self.enqueue(slot, now),
            Next::Alarm(after) => self.set_alarm(slot, after, now),
            Next::Nothing => self.forget(slot, now),
        }
    }

    /// Puts a key into the queue of those that want a call, once.
    fn enqueue(&mut self, slot: u32, now: Instant) {
        let Some(state) = &mut self.keys[slot as usize] else {
            return;
        };
        if state.queued || state.in_flight {
            return;
        }
        if state.may_call(self.closing, now) {
            state.queued = true;
            self.timers.clear(slot);
            self.line_up(slot, now);
        } else {
            let at = state.quiet_until().min(now + self.tuning.gap_max);
            self.timers.set(slot, at);
        }
    }

    /// Sets a key's alarm a little early, so that replicas which started together do not stay
    /// together, but not before the key may call.
    fn set_alarm(&mut self, slot: u32, after: Duration, now: Instant) {
        let quiet_until = self.keys[slot as usize].as_ref().expect(LIVE).quiet_until();
        let early = now + after.saturating_sub(self.jitter.within(after / 5));
        // An alarm that is meant for the end of a quiet time must not ring within it.
        let within = now + after < quiet_until;
        self.timers.set(
            slot,
            if within {
                early
            } else {
                early.max(quiet_until)
            },
        );
    }

    fn forget(&mut self, slot: u32, now: Instant) {
        // What is owed is remembered until it is charged.
        let owes = |state: &KeyState<W>| state.owed() > 0 || state.is_alone();
        if self.keys[slot as usize].as_ref().is_some_and(owes) {
            self.set_alarm(slot, self.tuning.gap_max, now);
            return;
        }
        if let Some(state) = self.keys[slot as usize].take() {
            state.let_go(now);
            state.entry.clear_slot();
            self.unserved.remove(&slot);
            if self.guests.remove(&slot) {
                self.cache.remove(&state.entry);
            }
            self.timers.clear(slot);
            self.vacant.push(slot);
        }
    }

    /// Passes over so many keys, and so often, that all have been passed once in the idle time.
    fn sweep_some(&mut self, now: Instant) {
        let keys = self.sweep.len().max(1);
        let per_key = self.tuning.idle_after / u32::try_from(keys).unwrap_or(u32::MAX);
        let pause = per_key.max(SWEEP_EVERY);
        let steps = (pause.as_nanos() / per_key.as_nanos().max(1)).max(1);
        let steps = usize::try_from(steps).unwrap_or(usize::MAX);
        self.evict(steps, Mercy::Denied, now);
        self.next_sweep = now + pause;
    }
}

/// Where the state of a key is that a call is about.
fn slot_in(entry: &Entry) -> u32 {
    let slot = entry.slot();
    slot.expect("a key with a call under way keeps its slot")
}

/// What the tuning means for each limit.
fn sizings(limits: &[NamedLimit], tuning: &Tuning) -> Vec<Sizing> {
    let sizing = |named: &NamedLimit| Sizing::new(named.limit, tuning);
    limits.iter().map(sizing).collect()
}

/// Why a slot taken from an entry is occupied.
const LIVE: &str = "an entry's slot is cleared when its state goes";

/// Taken for the round trip before one has been measured: a store in the same data centre.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(1);

/// Often enough that each step is short: a hundred keys of a thousand, a thousand of a million.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// Keys looked at to make room for one more.
const SWEEP_WHEN_FULL: usize = 64;
