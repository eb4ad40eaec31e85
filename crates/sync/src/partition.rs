//! One part of the store, as a replica sees it: which keys want to call it, whether it answers, and
//! how its clock runs.
//!
//! A store has as many parts as can forget, fail and be reached apart: one, or the partitions of a
//! cluster. Every replica finds a key in the same part.
//!
//! # Invariant
//!
//! A batch is for one part, and its outcome tells nothing about the others.

use std::collections::{BTreeSet, VecDeque};
use std::mem;
use std::time::Duration;

use leasehold_core::{Instant, SplitMix64};

use crate::breaker::Breaker;
use crate::call_queue::CallQueue;
use crate::clock_drift::ClockDrift;
use crate::enrollment::Enrollment;
use crate::pace::Pace;
use crate::report_queue::ReportQueue;
use crate::shortest::Shortest;
use crate::tuning::Tuning;

#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Slots of keys that want a call.
    pub(crate) calling: CallQueue,
    /// Whether requests may wait for keys among them.
    is_waited_for: bool,
    /// Slots of keys that want a call and are answered in fallback, because the store is away or
    /// does not serve them.
    pub(crate) answered_here: VecDeque<u32>,
    /// Slots of keys in fallback.
    pub(crate) in_fallback: BTreeSet<u32>,
    /// The slot in fallback whose key tried last whether the store is back.
    last_tried: u32,
    /// How many batches are in flight.
    pub(crate) in_flight: usize,
    /// How many calls are in them.
    calls_in_flight: usize,
    pub(crate) pace: Pace,
    /// No batch before this for requests that wait.
    ask_at: Instant,
    pub(crate) breaker: Breaker,
    pub(crate) clock: ClockDrift,
    pub(crate) shortest: Shortest,
    /// Keys of whose advances something is to be reported.
    pub(crate) reports: ReportQueue,
    pub(crate) enrollment: Enrollment,
}

impl Partition {
    /// The time until which no request is to wait for the store, if it is away: while the wait
    /// after a failure lasts, and while the one call that tries the store is in flight.
    pub(crate) fn away_until(&self, round_trip: Duration, now: Instant) -> Option<Instant> {
        let probing = self.breaker.is_open() && self.in_flight > 0;
        self.breaker
            .blocked_until(now)
            .or(probing.then(|| now + round_trip))
    }

    /// The time until which the request path is told that this part is away, as
    /// [`StoreStatus`](crate::store_status::StoreStatus) tells it.
    pub(crate) fn told_away_until(&self) -> Option<Instant> {
        match (self.breaker.is_open(), self.in_flight) {
            (false, _) => None,
            (true, 0) => Some(self.breaker.until()),
            (true, _) => Some(Instant::FAR_FUTURE),
        }
    }

    /// Whether one more batch may be in flight. One at a time finds out whether a store is back.
    fn has_room(&self, tuning: &Tuning) -> bool {
        if self.breaker.is_open() {
            return self.in_flight == 0;
        }
        let calls = tuning.batch_keys.saturating_mul(FULL_IN_FLIGHT);
        self.in_flight < tuning.batches_in_flight && self.calls_in_flight < calls
    }

    /// When the next batch may go to a store at this `distance` that is not away, if there is room
    /// for it.
    ///
    /// A request that must ask waits for its round trip and, where many ask, for a moment in which
    /// others join it; unless the operator chose a gap. Calls that nobody waits for keep their
    /// pace, or go along. A full batch goes at once.
    fn next_batch(&self, tuning: &Tuning, distance: Duration) -> Instant {
        if self.calling.len() >= tuning.batch_keys {
            return Instant::ORIGIN;
        }
        let (paced, asked) = (self.pace.next(), self.ask_at);
        match self.is_waited_for {
            true if self.in_flight < asking_at_once(distance) => asked,
            true => asked.max(paced),
            false => paced,
        }
    }

    /// When a batch is to go for a report, or to tell the roster, though no key wants a call.
    fn next_for_advances(&self, tuning: &Tuning, closing: bool, now: Instant) -> Option<Instant> {
        if self.breaker.is_open() {
            return None;
        }
        let told = self.enrollment.due(tuning.lease_max, closing, now);
        let reported = self.reports.next();
        let next = told.into_iter().chain(reported).min()?;
        // Whoever shuts down is waited for.
        Some(if closing {
            next
        } else {
            next.max(self.pace.next())
        })
    }

    /// Whether a batch may go now to a store at this `distance` that is not away.
    pub(crate) fn may_send(
        &self,
        tuning: &Tuning,
        distance: Duration,
        closing: bool,
        now: Instant,
    ) -> bool {
        let due = self.next_for_advances(tuning, closing, now);
        let is_due = due.is_some_and(|due| due <= now);
        self.has_room(tuning) && (is_due || self.next_batch(tuning, distance) <= now)
    }

    /// The key in `slot` wants a call, and requests wait for it or not.
    pub(crate) fn push_caller(&mut self, slot: u32, is_hot: bool, is_waited_for: bool) {
        self.is_waited_for &= !self.calling.is_empty();
        self.is_waited_for |= is_waited_for;
        self.calling.push(slot, is_hot);
    }

    /// A request waits for a key that wants a call already.
    pub(crate) fn handle_waiting(&mut self) {
        self.is_waited_for = true;
    }

    /// A batch went.
    pub(crate) fn handle_sent(&mut self, calls: usize, tuning: &Tuning, now: Instant) {
        self.in_flight += 1;
        self.calls_in_flight += calls;
        self.ask_at = now + tuning.ask_gap;
        self.pace.handle_batch(tuning.call_gap, now);
        self.is_waited_for &= !self.calling.is_empty();
    }

    /// The time at which there is something to send, or to answer in fallback.
    pub(crate) fn poll_timeout(
        &self,
        tuning: &Tuning,
        distance: Duration,
        closing: bool,
        now: Instant,
    ) -> Option<Instant> {
        if !self.answered_here.is_empty() {
            return Some(self.pace.next());
        }
        let tries = self.breaker.is_open() && !self.in_fallback.is_empty();
        if !self.has_room(tuning) {
            return None;
        }
        let waits = !self.calling.is_empty() || tries;
        let called = waits.then(|| {
            let next = self.next_batch(tuning, distance);
            self.breaker
                .blocked_until(now)
                .map_or(next, |at| at.max(next))
        });
        let advances = self.next_for_advances(tuning, closing, now);
        called.into_iter().chain(advances).min()
    }

    /// Takes out the slot of the key that calls next. While the store is away some key must try it,
    /// even if no request waits for one: each key in turn.
    pub(crate) fn next_caller(&mut self) -> Option<u32> {
        if let Some(slot) = self.calling.pop() {
            return Some(slot);
        }
        if !self.breaker.is_open() {
            return None;
        }
        if let Some(slot) = self.answered_here.pop_front() {
            return Some(slot);
        }
        let after = self
            .in_fallback
            .range(self.last_tried.saturating_add(1)..)
            .next();
        let slot = *after.or_else(|| self.in_fallback.first())?;
        self.last_tried = slot;
        Some(slot)
    }

    /// Takes out the slots of all queued keys, to be queued anew.
    pub(crate) fn take_queued(&mut self) -> impl Iterator<Item = u32> + use<> {
        let calling = mem::take(&mut self.calling);
        self.is_waited_for = false;
        calling
            .into_slots()
            .chain(mem::take(&mut self.answered_here))
    }

    /// The store has answered. Keys that would have been answered in fallback may ask it, once they
    /// are queued anew.
    pub(crate) fn handle_answer(&mut self, calls: usize) {
        self.handle_returned(calls);
        self.breaker.handle_success();
    }

    /// A batch of so many calls failed. If it failed sooner than calls follow each other, those who
    /// wait do not ask again at once.
    pub(crate) fn handle_failure(
        &mut self,
        calls: usize,
        sent: Instant,
        tuning: &Tuning,
        jitter: &mut SplitMix64,
        now: Instant,
    ) {
        self.handle_returned(calls);
        self.ask_at = self.ask_at.max(sent + tuning.call_gap);
        self.breaker.handle_failure(sent, jitter, now);
    }

    /// A batch of so many calls is no longer in flight.
    fn handle_returned(&mut self, calls: usize) {
        self.in_flight -= 1;
        self.calls_in_flight -= calls;
    }
}

/// How many batches may be in flight for requests that wait. If so many are, the next goes when one
/// comes back: within [`ASK_EVERY`] or so, if the store keeps up.
fn asking_at_once(distance: Duration) -> usize {
    let spans = distance.as_nanos() / ASK_EVERY.as_nanos();
    usize::try_from(spans).unwrap_or(usize::MAX).max(4)
}

/// Requests that ask within this time share a batch where many ask. A store answers several
/// thousand batches a second, and so does the thread that sends them.
const ASK_EVERY: Duration = Duration::from_micros(200);

/// So many full batches are in flight at most: a store that is slow to answer has enough to do with
/// them.
const FULL_IN_FLIGHT: usize = 8;

/// The part of the store, out of `partitions`, that keeps a key: keys are spread evenly by a hash
/// (FNV-1a, 64 bits) of the limit's name and the subject, which is the same in every process and
/// version.
pub fn partition_of(limit: &str, subject: &[u8], partitions: u32) -> u32 {
    if partitions <= 1 {
        return 0;
    }
    let hash = key_hash(limit, subject);
    // Its upper bits vary little between keys that differ in their last byte.
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u32::try_from((mixed * u64::from(partitions)) >> 32).expect("less than the number of parts")
}

/// A key's hash (FNV-1a, 64 bits, of the limit's name, a zero byte and the subject), the same in
/// every process and version: what a log line or an error may tell of a key.
pub fn key_hash(limit: &str, subject: &[u8]) -> u64 {
    // A name has no zero byte, so no two keys are one text.
    let bytes = limit.bytes().chain([0]).chain(subject.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_evenly_and_limits_apart() {
        let mut keys = [0_u32; 64];
        let mut same = 0;
        for user in 0..64_000 {
            let subject = format!("user:{user}");
            let part = partition_of("api", subject.as_bytes(), 64);
            keys[part as usize] += 1;
            same += u32::from(part == partition_of("login", subject.as_bytes(), 64));
        }
        // A thousand each; five standard deviations.
        assert!(
            keys.iter().all(|keys| keys.abs_diff(1000) < 160),
            "{keys:?}"
        );
        assert!(same.abs_diff(1000) < 160, "{same}");
    }

    /// A key that moved would have a second ledger.
    #[test]
    fn a_key_lies_where_it_always_lay() {
        let parts = ["", "a", "user:42", "user:43"].map(|subject| {
            let part = partition_of("api", subject.as_bytes(), 64);
            assert_eq!(partition_of("api", subject.as_bytes(), 1), 0);
            part
        });
        assert_eq!(parts, [9, 34, 52, 0]);
    }
}
