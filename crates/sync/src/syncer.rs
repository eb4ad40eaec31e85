//! The background half of a replica: keeps the leases of all keys supplied and the store informed,
//! in as few calls as will do.
//!
//! # How it is driven
//!
//! The `Syncer` does no I/O and reads no clock. Its methods are of four kinds: getters; `handle_*`,
//! by which the driver reports events; commands, by which the application asks for something; and
//! `poll_*`, which return what the driver is to do next. After each call of the first three, poll
//! until nothing more comes: [`poll_batch`](Syncer::poll_batch) for what to send,
//! [`poll_verdict`](Syncer::poll_verdict) for the requests that have an answer, and
//! [`poll_timeout`](Syncer::poll_timeout) for when to call
//! [`handle_timeout`](Syncer::handle_timeout) at the latest.
//!
//! # Invariant
//!
//! Each key has at most one call about its lease in flight, however many requests wait for it, and
//! one central spend for each request that the store decides. A batch that was handed out comes
//! back exactly once, as answered or as failed.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Entry, KeyRef, LimitId, OwnedEntry, Owner};
use leasehold_core::{
    Decided, Enroll, Instant, Micros, PARTS, Reason, Request, Retry, SplitMix64, Verdict,
};

use crate::batch::{Answer, Batch, Call, Miscounted, NamedLimit};
use crate::clock_drift::ClockDrift;
use crate::enrollment::Telling;
use crate::fallback::{FailurePolicy, in_fallback};
use crate::key_state::{Context, KeyState, Next, RETRY_AFTER_MIN, Replied, Verdicts};
use crate::keys::{Keys, Tracked, count_denied, slot_in};
use crate::limits::Limits;
use crate::looks::Looks;
use crate::partitions::Partitions;
use crate::report_queue::{REPORT_LATER, REPORT_SOON};
use crate::store_status::{StoreStatus, unavailable};
use crate::tokens::{Counts, Tokens, add};
use crate::tuning::{Sizing, Tuning};
use crate::unserved::Unserved;
use crate::wait_queue::{Purpose, Waiter};

/// The background half of one replica.
#[derive(Debug)]
pub struct Syncer<W> {
    limits: Limits,
    replica: u64,
    generations: u64,
    jitter: SplitMix64,
    looks: Looks,
    keys: Keys<W>,
    partitions: Partitions,
    verdicts: VecDeque<(W, Verdict)>,
    closing: bool,
    counts: Counts,
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
    /// A syncer that owns `cache`, of the replica named `replica`, with nothing leased. The limits
    /// are those that the cache's [`LimitId`]s count through. The driver draws `replica` and `seed`
    /// at random.
    pub fn new(
        cache: Owner,
        limits: Arc<[NamedLimit]>,
        tuning: Tuning,
        replica: u64,
        seed: u64,
    ) -> Self {
        Self {
            counts: Counts::new(limits.len()),
            limits: Limits::new(limits, tuning),
            keys: Keys::new(cache),
            replica,
            generations: 0,
            jitter: SplitMix64::new(seed),
            looks: Looks::default(),
            partitions: Partitions::new(1),
            verdicts: VecDeque::new(),
            closing: false,
        }
    }

    /// Makes this the syncer of a store in so many parts: see [`Batch::partition`]. To be called
    /// before its first key.
    #[must_use]
    pub fn with_partitions(mut self, partitions: u32) -> Self {
        self.partitions = Partitions::new(partitions);
        self
    }

    /// Begins anew after a panic, as the replica named `replica`: nothing that this syncer knew is
    /// believed any more, and what was leased expires. The cache is emptied, and stays the one that
    /// requests read; so does the status of the store, with the births that are remembered there.
    /// Waiters are dropped.
    pub fn begin_anew(&mut self, limits: Arc<[NamedLimit]>, replica: u64, seed: u64) {
        // Each field is named, so that none is overlooked.
        let Self {
            limits: these,
            replica: name,
            generations,
            jitter,
            looks,
            keys,
            partitions,
            verdicts,
            closing,
            counts,
        } = self;
        keys.begin_anew();
        keys.cache.forget_advances();
        *counts = Counts::new(limits.len());
        *these = Limits::new(limits, these.tuning);
        *name = replica;
        *generations = 0;
        *jitter = SplitMix64::new(seed);
        *looks = Looks::default();
        *partitions = Partitions::with_status(Arc::clone(partitions.status()));
        *verdicts = VecDeque::new();
        *closing = false;
    }

    /// Forgets every key, at the end of the task: nothing is spent from now on, because nobody
    /// could report it, and nothing is denied for what was known.
    pub fn forget_keys(&mut self) {
        self.keys.cache.forget_all();
    }

    /// The status of the store for the request path: which parts are away, and their births.
    pub fn store_status(&self) -> Arc<StoreStatus> {
        Arc::clone(self.partitions.status())
    }

    /// Where this replica's tokens went.
    pub fn tokens(&self) -> Tokens {
        self.counts.store.all()
    }

    /// Where this replica's tokens of one limit went.
    ///
    /// # Panics
    ///
    /// If there is no such limit.
    pub fn tokens_of(&self, limit: LimitId) -> Tokens {
        self.counts.store.of(limit)
    }

    /// Keys the cache has forgotten because nobody asked for them.
    pub fn keys_evicted(&self) -> u64 {
        self.keys.evicted()
    }

    /// Mean time from a call to its reply.
    pub fn round_trip(&self) -> Duration {
        self.partitions.round_trip()
    }

    /// Millionths by which the store's clock seems to run faster than ours, negative if slower; of
    /// the part of the store where it differs most.
    pub fn clock_drift_ppm(&self) -> i64 {
        self.partitions.widest_drift(ClockDrift::likely_ppm)
    }

    /// Millionths by which the store's clock certainly runs faster than ours, negative if slower;
    /// the network may account for the rest. When it is positive, leases are used for less time.
    pub fn certain_clock_drift_ppm(&self) -> i64 {
        self.partitions.widest_drift(ClockDrift::certain_ppm)
    }

    /// The entry that a call of this syncer is about, for checks of what it holds.
    pub fn entry_of(&self, call: &Call) -> Arc<Entry> {
        Arc::clone(call.entry())
    }

    /// Tokens that the store counts as outstanding here, as far as is known.
    pub fn unsettled(&self) -> u64 {
        self.keys.iter().map(KeyState::unsettled).sum()
    }

    /// Whether a shut-down is complete: all has been given back and confirmed.
    pub fn is_drained(&self) -> bool {
        let settled = |state: &KeyState<W>| {
            let done = !state.is_in_fallback()
                && state.unsettled() == 0
                && state.uncharged() == 0
                && !state.advance.has_untold();
            // Nothing can be given back of a key that the store does not serve.
            state.calls_in_flight() == 0 && (done || state.unserved.is_some())
        };
        let is_settled = self.closing && self.partitions.is_quiet();
        is_settled && self.keys.iter().all(settled) && !self.may_leave()
    }

    /// Whether this replica is on the roster of a part of the store that answers, and has nothing
    /// left to report there.
    fn may_leave(&self) -> bool {
        let mut partitions = 0..self.partitions.count();
        partitions.any(|partition| {
            let part = self.partitions.get(partition);
            let answers = !part.breaker.is_open();
            answers
                && part.enrollment.is_enrolled()
                && oldest_unheard(&self.keys, partition).is_none()
        })
    }

    /// Handles a request that waits for `cost` tokens of `key`; its verdict will be polled.
    pub fn acquire(
        &mut self,
        key: KeyRef<'_>,
        cost: u32,
        purpose: Purpose,
        waiter: W,
        now: Instant,
    ) {
        if waiter.is_gone() {
            // The caller gave up while the task was busy, and no room is made for a key that nobody
            // asks for.
            return;
        }
        if self.closing {
            let denial = Verdict::deny(Decided::Local, Reason::ShutDown, Retry::Never);
            self.verdicts.push_back((waiter, denial));
            return;
        }
        let partition = self.partition_of(key);
        let away = self.partitions.away_until(partition, now);
        let policy = self.policy_of(key.limit, partition);
        if let Some(until) = away.filter(|_| policy == FailurePolicy::Closed) {
            self.verdicts.push_back((waiter, unavailable(until, now)));
            return;
        }
        let tracked = match away {
            None => self.keys.tracked_for(key, purpose, &mut self.counts, now),
            Some(_) => self
                .keys
                .tracked(key, &mut self.counts, now)
                .map(|entry| Tracked {
                    entry,
                    is_overflow: false,
                }),
        };
        let Some(tracked) = tracked else {
            let soon = Retry::After(self.limits.tuning.interval_max);
            let verdict = match away {
                None => Verdict::deny(Decided::Local, Reason::Overloaded, soon),
                Some(until) => self.decide_untracked(key.limit, policy, cost, purpose, until, now),
            };
            self.verdicts.push_back((waiter, verdict));
            return;
        };
        let slot = self.slot_of(&tracked.entry, now);
        if tracked.is_overflow {
            self.keys.mark_overflow(slot);
        }
        let state = self.keys.live_mut(slot);
        match state.handle_waiting(waiter, cost, purpose, now) {
            Some((waiter, verdict)) => {
                let verdict = if state.is_in_fallback() {
                    in_fallback(verdict)
                } else {
                    verdict
                };
                self.verdicts.push_back((waiter, verdict));
                let at = now + self.limits.tuning.interval_max;
                self.keys.ring_if_silent(slot, at, now);
            }
            None => self.enqueue(slot, now),
        }
    }

    /// Handles a request that did not wait and found fewer than `cost` tokens of `key` here: there
    /// are to be some for the next.
    pub fn prefetch(&mut self, key: KeyRef<'_>, cost: u32, now: Instant) {
        let partition = self.partition_of(key);
        let away = self.partitions.away_until(partition, now).is_some();
        if self.closing || (away && self.policy_of(key.limit, partition) == FailurePolicy::Closed) {
            return;
        }
        // What is leased for a key that found no room could not be found again.
        let Some(entry) = self.keys.tracked(key, &mut self.counts, now) else {
            return;
        };
        let slot = self.slot_of(&entry, now);
        let state = self.keys.live_mut(slot);
        state.handle_missed(cost);
        self.enqueue(slot, now);
    }

    /// A request was allowed by the replica's advance of `key`: that is to be reported.
    pub fn handle_advanced(&mut self, key: KeyRef<'_>, cost: u32, now: Instant) {
        let tracked = self.keys.tracked(key, &mut self.counts, now);
        // What finds no room is reported all the same, by a state that no request finds.
        let entry = tracked.unwrap_or_else(|| Arc::clone(&OwnedEntry::new(key)));
        let slot = self.slot_of(&entry, now);
        let (state, mut context, _) = self.parts(slot);
        let used = state.handle_advanced(cost, &mut context, now);
        let (partition, interval) = (state.partition, context.sizing.interval);
        let limit = &self.limits.sizing(key.limit).limit;
        let right = self.partitions.status().right(partition);
        let is_used_up = used + u64::from(cost) > u64::from(right.tokens(limit, now));
        let within = if is_used_up || self.closing {
            REPORT_SOON
        } else {
            REPORT_LATER
        };
        self.queue_report(slot, now + within);
        self.partitions.get_mut(partition).enrollment.handle_asked();
        self.keys.ring_if_silent(slot, now + interval, now);
    }

    /// The store has forgiven all that was charged on `key`, so requests that it denied before may
    /// pass now.
    pub fn handle_forgiven(&mut self, key: KeyRef<'_>, now: Instant) {
        let requests = self.keys.cache.requests();
        requests.forget_denial(key);
        let Some(entry) = requests.get(key) else {
            return;
        };
        if let Some(slot) = entry.slot() {
            let (state, context, _) = self.parts(slot);
            state.handle_forgiven(&context, now);
            self.enqueue(slot, now);
        }
    }

    /// Shuts down: gives back all that is held and asks for nothing more. Poll batches until
    /// [`is_drained`](Self::is_drained), or as long as you are willing to wait: what is not given
    /// back expires.
    pub fn shut_down(&mut self, now: Instant) {
        self.closing = true;
        for partition in 0..self.partitions.count() {
            self.partitions.status().right(partition).end();
        }
        for slot in self.keys.slots() {
            let Some(state) = self.keys.get_mut(slot) else {
                continue;
            };
            self.verdicts.extend(state.dismiss());
            if state.advance.has_untold() {
                self.queue_report(slot, now);
            }
            self.enqueue(slot, now);
        }
        self.keys.count_stateless(&mut self.counts);
    }

    /// Handles the signals of the request path that keys run low.
    pub fn handle_signals(&mut self, now: Instant) {
        while let Some(entry) = self.keys.cache.next_signal(now) {
            if let Some(slot) = entry.slot() {
                self.enqueue(slot, now);
            }
        }
    }

    /// Puts new numbers into force under the same names. What is leased already stays usable; each
    /// key's next call brings it under its new limit. A denial that is known here lasts for as long
    /// as it would have.
    ///
    /// # Panics
    ///
    /// If the names or their order differ.
    pub fn set_limits(&mut self, limits: Arc<[NamedLimit]>) {
        self.limits.set(limits);
    }

    /// Handles the store's answer to a batch.
    ///
    /// An answer is input, whatever it says. A reply that no ledger would give counts as none.
    ///
    /// # Errors
    ///
    /// [`Miscounted`] if there is not one reply per call. Nothing of the answer is believed then,
    /// and the batch counts as failed: [`handle_failure`](Self::handle_failure) is not to be called
    /// for it.
    pub fn handle_answer(
        &mut self,
        batch: &Batch,
        answer: &Answer,
        now: Instant,
    ) -> Result<(), Miscounted> {
        if let Err(miscounted) = answer.check(batch) {
            self.handle_failure(batch, now);
            return Err(miscounted);
        }
        if self.partitions.handle_answer(batch, answer, now) {
            self.line_up_all(batch.partition, now);
            self.call_back(batch.partition, now);
        }
        self.handle_seat(batch, answer, now);
        let pairs = batch.calls.iter().zip(&answer.replies);
        let believed = pairs.filter(|(call, reply)| reply.answers(&call.request));
        let most = believed.map(|(_, reply)| reply.replicas).max();
        self.limits.handle_replicas(most.unwrap_or(0), now);
        // Replies are read by the limits that travelled with their requests.
        let then = self.limits.sizings_then(&batch.limits);
        for (call, reply) in batch.calls.iter().zip(&answer.replies) {
            let slot = slot_in(call.entry());
            let sizing = then.as_ref().map(|then| {
                let LimitId(index) = call.key().limit;
                &then[index as usize]
            });
            if let Some(reason) = reply.status.unserved() {
                self.handle_unserved(call, reason, sizing, now);
                continue;
            }
            self.keys.mark_served(slot);
            if let Request::Charge { tokens } = call.request
                && reply.answers(&call.request)
                && !call.is_report()
            {
                add(&mut self.counts.charged, tokens);
            }
            let (state, mut context, verdicts) = self.parts_by(slot, sizing);
            let sent = batch.sent;
            let replied = state.handle_reply(call, reply, sent, &mut context, verdicts, now);
            self.handle_replied(slot, call, replied, now);
        }
        Ok(())
    }

    /// Does what follows from a reply: restores what there is room for, and goes on with the key.
    fn handle_replied(&mut self, slot: u32, call: &Call, replied: Replied, now: Instant) {
        if replied.restored > 0 {
            self.keys
                .cache
                .restore_advance(call.key(), replied.restored);
        }
        let state = self.keys.live_mut(slot);
        if call.is_report() && state.advance.has_untold() {
            self.queue_report(slot, now + REPORT_SOON);
        } else if state.advance.is_unrestored() && state.report_at.is_none() {
            // Nobody else may ask for the key again.
            let wait = state.refused_for(now).max(RESTORE_EVERY);
            self.queue_report(slot, now + wait);
        }
        if let Some(next) = replied.next {
            self.follow(slot, next, now);
        }
    }

    /// Handles what the roster says in the answer to a batch.
    fn handle_seat(&mut self, batch: &Batch, answer: &Answer, now: Instant) {
        if batch.enroll.is_none() {
            return;
        }
        let status = Arc::clone(self.partitions.status());
        let right = status.right(batch.partition);
        let longest = self.limits.longest_quarantine();
        let part = self.partitions.get_mut(batch.partition);
        let Some(told) = &answer.seat else {
            return part.enrollment.handle_failure(right, now);
        };
        let lease = Micros::from_duration(self.limits.tuning.lease_max);
        let used = part.clock.used(lease);
        let place = &mut part.enrollment;
        place.handle_seat(told, right, batch.sent, used, longest, now);
        if self.closing {
            right.end();
        }
    }

    /// Queues a report of what was spent of the advance of a key.
    fn queue_report(&mut self, slot: u32, at: Instant) {
        let Some(state) = self.keys.get_mut(slot) else {
            return;
        };
        let reports = &mut self.partitions.get_mut(state.partition).reports;
        state.report_at = Some(reports.push(slot, state.report_at, at));
    }

    /// Handles a batch that failed, or whose outcome is unknown.
    pub fn handle_failure(&mut self, batch: &Batch, now: Instant) {
        let tuning = &self.limits.tuning;
        let failed = self
            .partitions
            .handle_failure(batch, tuning, &mut self.jitter, now);
        if failed.went_away {
            self.limits.divide_all();
        }
        if failed.is_away {
            self.line_up_all(batch.partition, now);
        }
        if batch.enroll.is_some() {
            let status = Arc::clone(self.partitions.status());
            let place = &mut self.partitions.get_mut(batch.partition).enrollment;
            place.handle_failure(status.right(batch.partition), now);
        }
        let retry_after = failed.retry_after.max(RETRY_AFTER_MIN);
        for call in &batch.calls {
            let slot = slot_in(call.entry());
            let (state, context, verdicts) = self.parts(slot);
            if call.is_report() {
                state.advance.handle_failure();
                self.queue_report(slot, now + REPORT_AGAIN);
                continue;
            }
            let next = state.handle_failure(call, retry_after, &context, verdicts, now);
            if state.is_in_fallback() {
                self.partitions
                    .get_mut(batch.partition)
                    .in_fallback
                    .insert(slot);
            }
            self.follow(slot, next, now);
        }
    }

    /// Handles the alarms that are due, and looks for idle keys.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.keys.pop_alarm(now) {
            let (state, mut context, _) = self.parts(slot);
            let next = state.handle_alarm(&mut context, now);
            self.arrange(slot, next, now);
        }
        let idle_after = self.limits.tuning.idle_after;
        self.keys.sweep(idle_after, &mut self.counts, now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or
    /// [`poll_batch`](Self::poll_batch) again at the latest, and why.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<(Instant, Timeout)> {
        let key = self.keys.next_alarm().map(|at| (at, Timeout::Key));
        let sweep = self.keys.next_sweep().map(|at| (at, Timeout::Sweep));
        let batch = self
            .partitions
            .poll_timeout(&self.limits.tuning, self.closing, now);
        let batch = batch.map(|at| (at, Timeout::Batch));
        [key, sweep, batch]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// The next batch to send now, if there is one.
    pub fn poll_batch(&mut self, now: Instant) -> Option<Batch> {
        for _ in 0..self.partitions.count() {
            let partition = self.partitions.take_turn();
            let batch = self.poll_batch_of(partition, now);
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    fn poll_batch_of(&mut self, partition: u32, now: Instant) -> Option<Batch> {
        let is_away = self.partitions.away_until(partition, now).is_some();
        self.answer_in_fallback(partition, is_away, now);
        if is_away {
            return None;
        }
        let part = self.partitions.get(partition);
        let distance = self.partitions.distance(partition);
        if !part.may_send(&self.limits.tuning, distance, self.closing, now) {
            return None;
        }
        let calls = self.next_calls(partition, now);
        let enroll = self.poll_enroll(partition, !calls.is_empty(), now);
        if calls.is_empty() && enroll.is_none() {
            return None;
        }
        self.partitions
            .handle_sent(partition, calls.len(), &self.limits.tuning, now);
        if self.partitions.is_away(partition) {
            // One key tries whether the store is back; the others do not wait for the result.
            self.line_up_all(partition, now);
        }
        Some(Batch {
            replica: self.replica,
            partition,
            known_birth: self.partitions.status().known_birth(partition),
            quarantine: self.limits.tuning.quarantine(),
            enroll,
            limits: Arc::clone(self.limits.all()),
            calls,
            sent: now,
        })
    }

    /// The next waiter that has its verdict, with the verdict.
    pub fn poll_verdict(&mut self) -> Option<(W, Verdict)> {
        self.verdicts.pop_front()
    }

    fn next_calls(&mut self, partition: u32, now: Instant) -> Vec<Call> {
        let part = self.partitions.get(partition);
        // The key that tries a store that was away waits for it meanwhile; the others need not.
        let most = if part.breaker.is_open() {
            1
        } else {
            self.limits.tuning.batch_keys
        };
        let mut calls = Vec::with_capacity(part.calling.len().min(most));
        let mut left = Vec::new();
        while calls.len() < most {
            let part = self.partitions.get_mut(partition);
            let Some(slot) = part.next_caller() else {
                break;
            };
            part.in_fallback.remove(&slot);
            if self.keys.get(slot).is_none() {
                continue;
            }
            let (state, mut context, _) = self.parts(slot);
            state.queued = false;
            // A key with uncharged tokens reports them first, and stays in fallback until the store
            // has charged them: its requests do not wait for a call that may find the store still
            // away.
            let is_uncharged = state.uncharged() > 0;
            if !is_uncharged {
                state.return_to_store(&mut context, now);
            }
            let charges = is_uncharged && !state.in_flight;
            let may_call = !state.is_in_fallback() && state.may_call(context.closing, now);
            if (charges || may_call) && self.add_calls(slot, most, &mut calls, now) {
                left.push(slot);
            }
        }
        for slot in left {
            self.keys.live_mut(slot).queued = true;
            self.line_up(slot, now);
        }
        self.add_reports(partition, most, &mut calls, now);
        calls
    }

    /// Adds the reports that are due to a batch of `most` calls.
    fn add_reports(&mut self, partition: u32, most: usize, calls: &mut Vec<Call>, now: Instant) {
        while calls.len() < most {
            let part = self.partitions.get_mut(partition);
            if part.breaker.is_open() {
                return;
            }
            let Some(slot) = part.reports.pop(now) else {
                return;
            };
            let Some(state) = self.keys.get_mut(slot) else {
                continue;
            };
            state.report_at = None;
            calls.extend(state.poll_report());
        }
    }

    /// The message of this replica to the roster, with a batch.
    fn poll_enroll(&mut self, partition: u32, has_calls: bool, now: Instant) -> Option<Enroll> {
        if !self.limits.has_advances() {
            return None;
        }
        let telling = Telling {
            replica: self.replica,
            lease: self.limits.tuning.lease_max,
            most: self
                .limits
                .tuning
                .max_replicas
                .map_or(PARTS, |it| PARTS / it),
            closing: self.closing,
        };
        let oldest = || oldest_unheard(&self.keys, partition);
        let status = Arc::clone(self.partitions.status());
        let part = self.partitions.get_mut(partition);
        if part.breaker.is_open() {
            return None;
        }
        let right = status.right(partition);
        part.enrollment.poll(telling, right, has_calls, oldest, now)
    }

    /// Adds the calls of a key to a batch of `most` calls: the one about its lease; or its charge,
    /// and its central spends, as many as there are. The calls of one batch are executed at one
    /// time, and no bucket allows more than its capacity then: the others go with the next batch.
    ///
    /// Returns whether spends are left.
    fn add_calls(&mut self, slot: u32, most: usize, calls: &mut Vec<Call>, now: Instant) -> bool {
        let (before, mut asked) = (calls.len(), 0);
        loop {
            let (state, mut context, _) = self.parts(slot);
            let call = state.poll_charge();
            let Some(call) = call.or_else(|| state.poll_call(&mut context, now)) else {
                if calls.len() == before {
                    let at = now + self.limits.tuning.interval_max;
                    self.keys.ring_at(slot, at, now);
                }
                return false;
            };
            asked += call.central_cost().unwrap_or(0);
            let may_grant = matches!(call.request, Request::Lease(_));
            calls.push(call);
            if state.is_in_fallback() {
                return false;
            }
            let Some(next) = state.central_cost(now) else {
                return false;
            };
            let is_full = asked + u64::from(next) > context.capacity;
            if may_grant || is_full || calls.len() >= most {
                return true;
            }
        }
    }

    /// The slot of a key's state, made if there is none.
    fn slot_of(&mut self, entry: &Arc<Entry>, now: Instant) -> u32 {
        if let Some(slot) = entry.slot() {
            return slot;
        }
        let mut owned = self.keys.cache.claim(entry).expect(UNCLAIMED);
        let key = entry.key();
        // Denied at times that nobody knows: counted, and no measure of the demand from now on.
        count_denied(&mut owned, &mut self.counts);
        let partition = self.partition_of(key);
        let sizing = self.limits.sizing(key.limit);
        owned.set_cost_max(u32::try_from(sizing.limit.cost_max()).unwrap_or(u32::MAX));
        self.keys.add(KeyState::new(owned, partition, sizing, now))
    }

    /// In which part of the store a key lies.
    fn partition_of(&self, key: KeyRef<'_>) -> u32 {
        let name = &self.limits.named(key.limit).name;
        self.partitions.of(name, key.subject)
    }

    /// A key's state, what it needs to know of the rest, and where its verdicts go.
    fn parts(&mut self, slot: u32) -> (&mut KeyState<W>, Context<'_>, &mut Verdicts<W>) {
        self.parts_by(slot, None)
    }

    /// A key's state beside what it needs to know of the rest: of the store by the limit of now, or
    /// by the one of `then`; of this replica's local limit while the key is in fallback.
    fn parts_by<'a>(
        &'a mut self,
        slot: u32,
        then: Option<&'a Sizing>,
    ) -> (&'a mut KeyState<W>, Context<'a>, &'a mut Verdicts<W>) {
        let policy = self.policy_for(self.keys.live(slot));
        let state = self.keys.live_mut(slot);
        let (limit, partition) = (state.entry.key().limit, state.partition);
        let part = self.partitions.get(partition);
        let (away, clock) = (part.breaker.is_open(), part.clock);
        let next_batch = part.pace.next();
        let sizing = then.unwrap_or(self.limits.sizing(limit));
        let local = self.limits.local(limit);
        let local = local.filter(|_| state.is_in_fallback());
        let Counts {
            store,
            fallback,
            charged,
        } = &mut self.counts;
        let tokens = if state.is_in_fallback() {
            fallback.count(limit)
        } else {
            store.count(limit)
        };
        let context = Context {
            sizing: local.unwrap_or(sizing),
            tuning: &self.limits.tuning,
            replica: self.replica,
            round_trip: self.partitions.round_trip(),
            distance: self.partitions.distance(partition),
            next_batch,
            closing: self.closing,
            away,
            clock,
            policy,
            capacity: sizing.limit.capacity(),
            jitter: &mut self.jitter,
            looks: &mut self.looks,
            generations: &mut self.generations,
            tokens,
            charged,
        };
        (state, context, &mut self.verdicts)
    }

    /// Arranges what a key wants after a call, unless all is given back anyway.
    fn follow(&mut self, slot: u32, next: Next, now: Instant) {
        let next = if self.closing { Next::Call } else { next };
        self.arrange(slot, next, now);
    }

    fn arrange(&mut self, slot: u32, next: Next, now: Instant) {
        match next {
            Next::Call => self.enqueue(slot, now),
            Next::Alarm(after) => self.keys.ring_after(slot, after, &mut self.jitter, now),
            Next::Keep => self.keys.ring_again(slot, now),
            Next::Nothing => self.forget(slot, now),
        }
    }

    /// Puts a key into the queue of those that want a call, once.
    fn enqueue(&mut self, slot: u32, now: Instant) {
        let Some(state) = self.keys.get_mut(slot) else {
            return;
        };
        if state.queued && state.has_waiters() {
            let partition = state.partition;
            self.partitions.get_mut(partition).handle_waiting();
            return;
        }
        let goes_beside = !state.is_in_fallback() && state.wants_central(now);
        if state.queued || state.in_flight && !goes_beside {
            return;
        }
        if state.may_call(self.closing, now) {
            state.queued = true;
            self.keys.silence(slot);
            self.line_up(slot, now);
        } else {
            let at = state.retry_at().min(now + self.limits.tuning.backoff_max);
            self.keys.ring_at(slot, at, now);
        }
    }

    fn forget(&mut self, slot: u32, now: Instant) {
        // Uncharged tokens are remembered until they are charged. A slot that is queued is not free
        // for another key, which may lie in another part of the store.
        let is_needed = |state: &KeyState<W>| {
            let is_spent = state.uncharged() > 0 || state.advance.used() > 0;
            is_spent || state.is_in_fallback() || state.queued
        };
        if self.keys.get(slot).is_some_and(is_needed) {
            let after = self.limits.tuning.backoff_max;
            self.keys.ring_after(slot, after, &mut self.jitter, now);
            return;
        }
        self.keys.remove(slot, now);
    }

    /// Where the tokens went that this replica granted itself while the store was away, by the
    /// failure policies of its limits.
    pub fn tokens_in_fallback(&self) -> Tokens {
        self.counts.fallback.all()
    }

    /// Where the tokens of one limit went that this replica granted itself.
    ///
    /// # Panics
    ///
    /// If there is no such limit.
    pub fn tokens_in_fallback_of(&self, limit: LimitId) -> Tokens {
        self.counts.fallback.of(limit)
    }

    /// Where all tokens went, the store's and this replica's own.
    pub fn tokens_in_all(&self) -> Tokens {
        self.tokens() + self.tokens_in_fallback()
    }

    /// Tokens admitted while the store was away that it has not charged yet.
    pub fn uncharged(&self) -> u64 {
        self.counts.uncharged()
    }

    /// How many parts of the store are away: they failed some times in a row, and were not heard of
    /// since.
    pub fn parts_away(&self) -> usize {
        self.partitions.count_away()
    }

    /// The most tokens beyond burst + rate x window that this replica may have caused to be
    /// admitted on any one key of a limit, as things are at `now`: the overshoot budget, and the
    /// tokens that are admitted without the store.
    ///
    /// Under [`FailurePolicy::Local`], while the store is away, the latter are the local limit's
    /// burst + rate x time away; after that, the uncharged tokens. Under [`FailurePolicy::Open`]
    /// there is no bound while the store is away, and this is `None`. Replicas that are all cut off
    /// add up to one burst, because their local limits are parts of one limit.
    pub fn overshoot_bound(&self, limit: LimitId, now: Instant) -> Option<u64> {
        let named = self.limits.named(limit);
        let away_since = self.partitions.away_since();
        let away_since = away_since.chain(self.keys.unserved_since()).min();
        let local_limit = self.limits.local(limit);
        let alone = match (named.policy, away_since) {
            (FailurePolicy::Closed, _) => 0,
            (_, None) => self.uncharged(),
            (FailurePolicy::Open, Some(_)) => return None,
            (FailurePolicy::Local, Some(since)) => {
                local_limit.map_or(0, |part| part.admits_within(now.since(since)))
            }
        };
        Some(named.limit.overshoot() + alone)
    }

    /// Notes a request that was admitted without waiting any longer, under [`FailurePolicy::Open`]:
    /// the store charges it when it answers.
    pub fn admitted(&mut self, key: KeyRef<'_>, cost: u32, now: Instant) {
        let cost64 = u64::from(cost);
        self.counts.admit(key.limit, cost64);
        let Some(entry) = self.keys.tracked(key, &mut self.counts, now) else {
            self.counts.charged += cost64;
            return;
        };
        let slot = self.slot_of(&entry, now);
        let capacity = self.limits.sizing(key.limit).limit.capacity();
        let state = self.keys.live_mut(slot);
        let forgiven = state.record_uncharged(cost64, capacity);
        self.counts.charged += forgiven;
        self.enqueue(slot, now);
    }

    /// The failure policy of a limit, as things are with a part of the store.
    fn policy_of(&self, limit: LimitId, partition: u32) -> FailurePolicy {
        let is_away = self.partitions.is_away(partition);
        self.limits.policy(limit, is_away)
    }

    /// The failure policy of a key while the store is away, or does not serve it.
    fn policy_for(&self, state: &KeyState<W>) -> FailurePolicy {
        let limit = state.entry.key().limit;
        let policy = self.policy_of(limit, state.partition);
        match state.unserved {
            None => policy,
            Some(_) if self.limits.local(limit).is_none() => FailurePolicy::Closed,
            Some(unserved) => unserved.policy(policy),
        }
    }

    /// How many keys the store answered about last without serving them: it cannot read what is
    /// stored under the key, or has no room for it.
    pub fn keys_unserved(&self) -> usize {
        self.keys.unserved()
    }

    /// The store answered a call about this key without serving it: the failure policy decides
    /// for the key, and the store is asked about it again after a while.
    fn handle_unserved(
        &mut self,
        call: &Call,
        reason: Reason,
        then: Option<&Sizing>,
        now: Instant,
    ) {
        let slot = slot_in(call.entry());
        let state = self.keys.live_mut(slot);
        // Calls that went before the key was known to be unserved tell nothing new.
        let known = state.unserved.filter(|it| it.blocked_until(now).is_some());
        let unserved =
            known.unwrap_or_else(|| Unserved::again(state.unserved, reason, &mut self.jitter, now));
        state.unserved = Some(unserved);
        let limit = state.entry.key().limit;
        self.keys.mark_unserved(slot, now);
        self.limits.divide_one(limit);
        let (state, context, verdicts) = self.parts_by(slot, then);
        let next = state.handle_unserved(call, unserved, &context, verdicts, now);
        let (is_in_fallback, partition) = (state.is_in_fallback(), state.partition);
        if is_in_fallback {
            self.partitions.get_mut(partition).in_fallback.insert(slot);
        }
        if call.is_report() {
            self.queue_report(slot, now + RESTORE_EVERY);
        }
        // Tokens that cannot be given back expire, so a shut-down does not wait for them.
        if !self.closing {
            self.arrange(slot, next, now);
        }
    }

    /// The store is back: keys in fallback report what they admitted, as fast as batches go, and
    /// the replicas do not all report at once.
    fn call_back(&mut self, partition: u32, now: Instant) {
        let slots = mem::take(&mut self.partitions.get_mut(partition).in_fallback);
        let batches = slots.len().div_ceil(self.limits.tuning.batch_keys);
        let batches = u32::try_from(batches).unwrap_or(u32::MAX);
        let within = self
            .limits
            .tuning
            .call_gap
            .saturating_mul(batches)
            .min(CALL_BACK_MAX);
        for slot in slots {
            let at = now + self.jitter.within(within);
            self.keys.ring_at(slot, at, now);
        }
    }

    /// Answers the calls of keys in fallback, in place of the store that is away, or that does not
    /// serve them.
    fn answer_in_fallback(&mut self, partition: u32, is_away: bool, now: Instant) {
        let part = self.partitions.get_mut(partition);
        if part.answered_here.is_empty() {
            return;
        }
        // The keys that the store serves do not wait for the others.
        if is_away {
            if part.pace.next() > now {
                return;
            }
            part.pace.handle_pause(self.limits.tuning.call_gap, now);
        }
        for slot in mem::take(&mut part.answered_here) {
            let Some(state) = self.keys.get_mut(slot) else {
                continue;
            };
            state.queued = false;
            // What the store may still answer is not decided here as well: the calls that are under
            // way queue the key again when they come back.
            if state.calls_in_flight() == 0 && state.may_call(self.closing, now) {
                self.exchange_in_fallback(slot, now);
            }
        }
    }

    fn exchange_in_fallback(&mut self, slot: u32, now: Instant) {
        let (state, context, _) = self.parts(slot);
        if context.policy == FailurePolicy::Closed {
            // The policy was another when the key was queued.
            state.queued = true;
            self.line_up(slot, now);
            return;
        }
        if !state.is_in_fallback() && !self.keys.is_found(slot) {
            self.end_unfound(slot, now);
            return;
        }
        let (state, mut context, _) = self.parts(slot);
        if let Some(later) = state.fall_back(&mut context, now) {
            self.keys.ring_after(slot, later, &mut self.jitter, now);
            return;
        }
        let partition = state.partition;
        self.partitions.get_mut(partition).in_fallback.insert(slot);
        loop {
            let (state, mut context, _) = self.parts(slot);
            let Some(call) = state.poll_call(&mut context, now) else {
                let at = now + self.limits.tuning.interval_max;
                self.keys.ring_at(slot, at, now);
                return;
            };
            let reply = state.answer_in_fallback(&call.request, &context, now);
            let mut verdicts = VecDeque::new();
            let replied = state.handle_reply(&call, &reply, now, &mut context, &mut verdicts, now);
            // All who ask for themselves are answered now, as the store would.
            let goes_on = call.central_cost().is_some() && state.wants_central(now);
            let verdicts = verdicts.into_iter();
            self.verdicts
                .extend(verdicts.map(|(waiter, verdict)| (waiter, in_fallback(verdict))));
            if !goes_on {
                self.handle_replied(slot, &call, replied, now);
                return;
            }
        }
    }

    /// Ends a key without room in the cache that was asking when the store went away. It does not
    /// fall back: each request for it would be granted a local limit of its own, and no other
    /// request would find what is left of that.
    fn end_unfound(&mut self, slot: u32, now: Instant) {
        let (state, mut context, _) = self.parts(slot);
        let (policy, partition) = (context.policy, state.partition);
        let limit = state.entry.key().limit;
        let unserved = state.unserved.and_then(|it| it.blocked_until(now));
        let waiting = state.give_up(&mut context, now);
        let until = self
            .partitions
            .away_until(partition, now)
            .or(unserved)
            .unwrap_or(now);
        let until = until.max(now + RETRY_AFTER_MIN);
        for waiting in waiting {
            let (cost, purpose) = (waiting.cost, waiting.purpose);
            let verdict = self.decide_untracked(limit, policy, cost, purpose, until, now);
            self.verdicts.push_back((waiting.waiter, verdict));
        }
        self.forget(slot, now);
    }

    /// Decides a request for a key that found no room: nothing about it can be kept until the store
    /// is back.
    fn decide_untracked(
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
            self.counts.admit(limit, cost);
            self.counts.charged += cost;
            Verdict::allow_unknown(Decided::Fallback)
        } else {
            unavailable(until, now)
        }
    }

    /// Puts a queued key among those that ask the store, or among those that are answered in
    /// fallback.
    fn line_up(&mut self, slot: u32, now: Instant) {
        let Some(state) = self.keys.get(slot) else {
            return;
        };
        let partition = state.partition;
        let closed = self.policy_for(state) == FailurePolicy::Closed;
        let shut = state.is_unserved(now) || self.partitions.away_until(partition, now).is_some();
        let asks = closed || self.closing || !shut;
        let (is_hot, is_waited_for) = (state.is_hot(), state.has_waiters());
        let part = self.partitions.get_mut(partition);
        if asks {
            part.push_caller(slot, is_hot, is_waited_for);
        } else {
            part.answered_here.push_back(slot);
        }
    }

    /// Queues all queued keys of a part anew, because it went away or is back.
    fn line_up_all(&mut self, partition: u32, now: Instant) {
        for slot in self.partitions.get_mut(partition).take_queued() {
            self.line_up(slot, now);
        }
    }
}

/// When the oldest token was spent of the advance of any of the keys in a part of the store that
/// the store has not been heard to know of.
fn oldest_unheard<W: Waiter>(keys: &Keys<W>, partition: u32) -> Option<Instant> {
    let here = keys.iter().filter(|state| state.partition == partition);
    here.filter_map(|state| state.advance.oldest()).min()
}

/// Why an entry without a slot can be claimed.
const UNCLAIMED: &str = "the state of a key owns its entry, and has a slot";

/// A report that failed goes again after this.
const REPORT_AGAIN: Duration = Duration::from_millis(50);

/// How often a key asks whether there is room again for what was spent of its advance.
const RESTORE_EVERY: Duration = Duration::from_secs(1);

/// A key that nobody asks for is charged within this, as one that is asked for is at its next call.
const CALL_BACK_MAX: Duration = Duration::from_secs(2);
