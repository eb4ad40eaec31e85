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

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Entry, KeyRef, LimitId, QuotaCache};
use leasehold_core::{Decided, Instant, Reason, StoreTime, Verdict};

use crate::backoff::Backoff;
use crate::batch::{Answer, Batch, Call, NamedLimit};
use crate::jitter::Jitter;
use crate::key_state::{KeyState, Next, Outcome, Surroundings};
use crate::sweep::{Mercy, Sweep};
use crate::timers::Timers;
use crate::tokens::Tokens;
use crate::tuning::{Sizing, Tuning};
use crate::waiting::{Purpose, Waiter};

/// The background half of one replica.
#[derive(Debug)]
pub struct Syncer<W> {
    cache: Arc<QuotaCache>,
    limits: Arc<[NamedLimit]>,
    sizings: Vec<Sizing>,
    tuning: Tuning,
    replica: u64,
    generations: u64,
    jitter: Jitter,
    keys: Vec<Option<KeyState<W>>>,
    vacant: Vec<u32>,
    /// Slots of keys that the cache forgets when their states go: it had no room for them.
    guests: BTreeSet<u32>,
    timers: Timers,
    /// Slots of keys that want a call, in order.
    calling: VecDeque<u32>,
    flights: usize,
    next_batch: Instant,
    backoff: Backoff,
    known_birth: StoreTime,
    round_trip: Duration,
    sweep: Sweep,
    next_sweep: Instant,
    verdicts: VecDeque<(W, Verdict)>,
    closing: bool,
    tokens: Tokens,
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
            limits,
            tuning,
            replica,
            generations: 0,
            jitter: Jitter::new(seed),
            keys: Vec::new(),
            vacant: Vec::new(),
            guests: BTreeSet::new(),
            timers: Timers::default(),
            calling: VecDeque::new(),
            flights: 0,
            next_batch: Instant::ORIGIN,
            backoff: Backoff::new(),
            known_birth: StoreTime::ZERO,
            round_trip: FIRST_ROUND_TRIP,
            sweep: Sweep::default(),
            next_sweep: Instant::ORIGIN,
            verdicts: VecDeque::new(),
            closing: false,
            tokens: Tokens::default(),
            keys_evicted: 0,
        }
    }

    /// Where this replica's tokens went.
    pub fn tokens(&self) -> Tokens {
        self.tokens
    }

    /// Keys the cache has forgotten because nobody asked for them.
    pub fn keys_evicted(&self) -> u64 {
        self.keys_evicted
    }

    /// Mean time from a call to its reply.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Tokens that the store counts as outstanding here, as far as is known.
    pub fn unsettled(&self) -> u64 {
        self.keys.iter().flatten().map(KeyState::unsettled).sum()
    }

    /// Whether a shut-down is complete: all has been given back and confirmed.
    pub fn is_drained(&self) -> bool {
        let settled = |state: &KeyState<W>| !state.in_flight && state.unsettled() == 0;
        self.closing && self.flights == 0 && self.keys.iter().flatten().all(settled)
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
        if self.closing {
            let denial = Verdict::deny(Decided::Local, Reason::ShutDown, None);
            self.verdicts.push_back((waiter, denial));
            return;
        }
        if let Some(until) = self.away_until(now) {
            let retry_after = Some(until.since(now));
            let denial = Verdict::deny(Decided::Fallback, Reason::StoreUnavailable, retry_after);
            self.verdicts.push_back((waiter, denial));
            return;
        }
        let Some((entry, is_guest)) = self.tracked_or_guest(key, purpose, now) else {
            let soon = Some(self.tuning.interval_max);
            let denial = Verdict::deny(Decided::Local, Reason::Overloaded, soon);
            self.verdicts.push_back((waiter, denial));
            return;
        };
        let slot = self.slot_of(&entry, now);
        if is_guest {
            self.guests.insert(slot);
        }
        let state = self.keys[slot as usize].as_mut().expect(LIVE);
        match state.handle_waiting(waiter, cost, purpose, now) {
            Some(known) => {
                self.verdicts.push_back(known);
                self.timers
                    .set_if_none(slot, now + self.tuning.interval_max);
            }
            None => self.enqueue(slot, now),
        }
    }

    /// A request that would not wait found fewer than `cost` tokens of `key` here: have some for
    /// the next.
    pub fn prefetch(&mut self, key: KeyRef<'_>, cost: u32, now: Instant) {
        if self.closing || self.backoff.holds(now).is_some() {
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
    }

    /// The store's answer to a batch.
    ///
    /// # Panics
    ///
    /// If there is not one reply per call. Whoever decodes replies checks that.
    pub fn handle_answer(&mut self, batch: &Batch, answer: &Answer, now: Instant) {
        assert_eq!(
            batch.calls.len(),
            answer.replies.len(),
            "one reply per call"
        );
        self.flights -= 1;
        self.backoff.handle_success();
        self.known_birth = self.known_birth.max(answer.birth.since);
        // The mean of about the last eight.
        self.round_trip = (self.round_trip * 7 + now.since(batch.sent)) / 8;
        // Levels in a reply are weighed by the limits that travelled with the request.
        let current = (!Arc::ptr_eq(&batch.limits, &self.limits)).then(|| {
            let then = sizings(&batch.limits, &self.tuning);
            mem::replace(&mut self.sizings, then)
        });
        for (call, reply) in batch.calls.iter().zip(&answer.replies) {
            let (slot, state, mut around) = self.parts(&call.entry);
            let outcome = state.handle_reply(&call.request, reply, batch.sent, &mut around, now);
            self.apply(slot, outcome, now);
        }
        if let Some(current) = current {
            self.sizings = current;
        }
    }

    /// A batch failed, or nobody knows what became of it.
    pub fn handle_failure(&mut self, batch: &Batch, now: Instant) {
        self.flights -= 1;
        self.backoff
            .handle_failure(batch.sent, &mut self.jitter, now);
        let retry_after = self
            .backoff
            .holds(now)
            .map_or(Duration::ZERO, |until| until.since(now));
        for call in &batch.calls {
            let (slot, state, around) = self.parts(&call.entry);
            let outcome = state.handle_failure(retry_after, &around);
            self.apply(slot, outcome, now);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.timers.pop(now) {
            let Some(state) = &self.keys[slot as usize] else {
                continue;
            };
            let entry = Arc::clone(&state.entry);
            let (slot, state, mut around) = self.parts(&entry);
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
        let waits = !self.calling.is_empty() && self.flights < self.flights_max();
        let batch = waits.then(|| {
            let at = self.backoff.holds(now).unwrap_or(self.next_batch);
            (at.max(self.next_batch), Timeout::Batch)
        });
        [key, sweep, batch]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// The next batch to send now, if there is one.
    pub fn poll_batch(&mut self, now: Instant) -> Option<Batch> {
        if self.flights >= self.flights_max() || self.backoff.holds(now).is_some() {
            return None;
        }
        if self.calling.len() < self.tuning.batch_keys && self.next_batch > now {
            return None;
        }
        let calls = self.next_calls(now);
        if calls.is_empty() {
            return None;
        }
        self.flights += 1;
        self.next_batch = now + self.tuning.call_gap;
        Some(Batch {
            replica: self.replica,
            known_birth: self.known_birth,
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

    /// Until when nobody is to wait for the store, if it is away: while the wait after a failure
    /// lasts, and while the one call that looks for it is under way.
    fn away_until(&self, now: Instant) -> Option<Instant> {
        let probing = self.backoff.is_in_doubt() && self.flights > 0;
        self.backoff
            .holds(now)
            .or(probing.then(|| now + self.round_trip))
    }

    fn flights_max(&self) -> usize {
        if self.backoff.is_in_doubt() {
            1
        } else {
            self.tuning.batches_in_flight
        }
    }

    fn next_calls(&mut self, now: Instant) -> Vec<Call> {
        let mut calls = Vec::new();
        while calls.len() < self.tuning.batch_keys {
            let Some(slot) = self.calling.pop_front() else {
                break;
            };
            let Some(state) = &mut self.keys[slot as usize] else {
                continue;
            };
            state.queued = false;
            if !state.may_call(self.closing, now) {
                continue;
            }
            let entry = Arc::clone(&state.entry);
            let (slot, state, mut around) = self.parts(&entry);
            match state.poll_request(&mut around, now) {
                Some(request) => calls.push(Call { entry, request }),
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
        let state = KeyState::new(Arc::clone(entry), self.sizing_of(entry.key().limit), now);
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.keys.push(None);
            u32::try_from(self.keys.len() - 1).expect("as many keys as slots fit no memory")
        });
        self.keys[slot as usize] = Some(state);
        entry.set_slot(slot);
        slot
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
            self.keys_evicted += self
                .sweep
                .pass(&self.cache, SWEEP_WHEN_FULL, Mercy::None, now);
            self.cache.insert(key)
        });
        let entry = inserted.ok()?;
        self.sweep.add(Arc::clone(&entry));
        Some(entry)
    }

    fn sizing_of(&self, LimitId(index): LimitId) -> &Sizing {
        &self.sizings[index as usize]
    }

    /// A key's state beside what it needs to know of the rest.
    fn parts(&mut self, entry: &Entry) -> (u32, &mut KeyState<W>, Surroundings<'_>) {
        let slot = entry
            .slot()
            .expect("a key with a call or an alarm keeps its slot");
        let LimitId(index) = entry.key().limit;
        let state = self.keys[slot as usize].as_mut().expect(LIVE);
        let around = Surroundings {
            sizing: &self.sizings[index as usize],
            tuning: &self.tuning,
            replica: self.replica,
            round_trip: self.round_trip,
            closing: self.closing,
            jitter: &mut self.jitter,
            generations: &mut self.generations,
            tokens: &mut self.tokens,
        };
        (slot, state, around)
    }

    fn apply(&mut self, slot: u32, outcome: Outcome<W>, now: Instant) {
        self.verdicts.extend(outcome.verdicts);
        let next = if self.closing {
            Next::Call
        } else {
            outcome.next
        };
        self.arrange(slot, next, now);
    }

    fn arrange(&mut self, slot: u32, next: Next, now: Instant) {
        match next {
            Next::Call => self.enqueue(slot, now),
            Next::Alarm(after) => self.set_alarm(slot, after, now),
            Next::Nothing => self.forget(slot),
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
            self.calling.push_back(slot);
            self.timers.clear(slot);
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

    fn forget(&mut self, slot: u32) {
        if let Some(state) = self.keys[slot as usize].take() {
            state.entry.clear_slot();
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
        self.keys_evicted += self.sweep.pass(&self.cache, steps, Mercy::Denied, now);
        self.next_sweep = now + pause;
    }
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
