//! All parts of the store, and what they have in common: whose turn it is to send, how long a round
//! trip takes, and the status that the request path reads.
//!
//! # Invariant
//!
//! The status of a part follows whatever changes whether the part is away: nobody else writes it.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Instant, SplitMix64};

use crate::batch::{Answer, Batch};
use crate::clock_drift::ClockDrift;
use crate::partition::{Partition, partition_of};
use crate::store_status::StoreStatus;
use crate::tuning::Tuning;

#[derive(Debug)]
pub(crate) struct Partitions {
    all: Vec<Partition>,
    status: Arc<StoreStatus>,
    /// The part that sends next, if it has calls: each in turn.
    turn: u32,
    round_trip: Duration,
}

/// The consequences of a batch that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    /// Whether this failure made the part count as away.
    pub(crate) went_away: bool,
    /// Whether the part is away.
    pub(crate) is_away: bool,
    /// The time after which the part may be asked again.
    pub(crate) retry_after: Duration,
}

impl Partitions {
    /// So many parts that nobody has heard of yet; at least one.
    pub(crate) fn new(partitions: u32) -> Self {
        Self::with_status(Arc::new(StoreStatus::new(partitions)))
    }

    /// The parts of a status that others read already. None of them counts as away, and the births
    /// that are remembered stay.
    pub(crate) fn with_status(status: Arc<StoreStatus>) -> Self {
        let blank = |partition| {
            status.set(partition, None);
            status.right(partition).end();
            Partition::default()
        };
        Self {
            all: (0..status.partitions()).map(blank).collect(),
            status,
            turn: 0,
            round_trip: FIRST_ROUND_TRIP,
        }
    }

    pub(crate) const fn status(&self) -> &Arc<StoreStatus> {
        &self.status
    }

    /// The shortest time from a call to its reply in the last minute or two: how far away a part of
    /// the store is, whatever queue there may be before it.
    pub(crate) fn distance(&self, partition: u32) -> Duration {
        self.distance_of(self.get(partition))
    }

    fn distance_of(&self, part: &Partition) -> Duration {
        part.shortest.shortest().unwrap_or(self.round_trip)
    }

    /// Mean time from a call to its reply.
    pub(crate) const fn round_trip(&self) -> Duration {
        self.round_trip
    }

    pub(crate) fn get(&self, partition: u32) -> &Partition {
        &self.all[partition as usize]
    }

    pub(crate) fn get_mut(&mut self, partition: u32) -> &mut Partition {
        &mut self.all[partition as usize]
    }

    /// The part that keeps a key.
    pub(crate) fn of(&self, limit: &str, subject: &[u8]) -> u32 {
        partition_of(limit, subject, self.count())
    }

    /// How many parts there are.
    pub(crate) fn count(&self) -> u32 {
        self.status.partitions()
    }

    /// The part whose turn it is to send; the next is the turn of the one after.
    pub(crate) fn take_turn(&mut self) -> u32 {
        let turn = self.turn;
        self.turn = (turn + 1) % self.count();
        turn
    }

    /// The time until which no request is to wait for a part, if it is away.
    pub(crate) fn away_until(&self, partition: u32, now: Instant) -> Option<Instant> {
        self.get(partition).away_until(self.round_trip, now)
    }

    /// Whether a part failed some times in a row and was not heard of since.
    pub(crate) fn is_away(&self, partition: u32) -> bool {
        self.get(partition).breaker.is_open()
    }

    /// How many parts are away.
    pub(crate) fn count_away(&self) -> usize {
        let all = self.all.iter();
        all.filter(|part| part.breaker.is_open()).count()
    }

    /// Since when each part has been away that is.
    pub(crate) fn away_since(&self) -> impl Iterator<Item = Instant> {
        let all = self.all.iter();
        all.filter_map(|part| part.breaker.open_since())
    }

    /// Whether no batch is in flight.
    pub(crate) fn is_quiet(&self) -> bool {
        self.all.iter().all(|part| part.in_flight == 0)
    }

    /// The drift of the clock that differs most from ours.
    pub(crate) fn widest_drift(&self, ppm: impl Fn(&ClockDrift) -> i64) -> i64 {
        let drifts = self.all.iter().map(|part| ppm(&part.clock));
        drifts.max_by_key(|ppm| ppm.unsigned_abs()).unwrap_or(0)
    }

    /// The time at which a part has something to send, or to answer in fallback.
    pub(crate) fn poll_timeout(
        &self,
        tuning: &Tuning,
        closing: bool,
        now: Instant,
    ) -> Option<Instant> {
        let all = self.all.iter();
        all.filter_map(|part| part.poll_timeout(tuning, self.distance_of(part), closing, now))
            .min()
    }

    /// A batch goes out to `partition`.
    pub(crate) fn handle_sent(
        &mut self,
        partition: u32,
        calls: usize,
        tuning: &Tuning,
        now: Instant,
    ) {
        self.get_mut(partition).handle_sent(calls, tuning, now);
        self.publish(partition);
    }

    /// A part has answered a batch. Returns whether it had been away.
    pub(crate) fn handle_answer(&mut self, batch: &Batch, answer: &Answer, now: Instant) -> bool {
        self.status.handle_answer(batch, answer);
        let part = self.get_mut(batch.partition);
        let was_away = part.breaker.is_open();
        part.handle_answer(batch.calls.len());
        if let Some(reply) = answer.replies.first() {
            part.clock.observe(batch.sent, now, reply.now);
        }
        let took = now.since(batch.sent);
        part.shortest.observe(took, now);
        // The mean of about the last eight.
        self.round_trip = (self.round_trip * 7 + took) / 8;
        if was_away {
            self.publish(batch.partition);
        }
        was_away
    }

    /// A batch failed, or nobody knows its outcome.
    pub(crate) fn handle_failure(
        &mut self,
        batch: &Batch,
        tuning: &Tuning,
        jitter: &mut SplitMix64,
        now: Instant,
    ) -> Failed {
        let part = self.get_mut(batch.partition);
        let was_away = part.breaker.is_open();
        part.handle_failure(batch.calls.len(), batch.sent, tuning, jitter, now);
        let is_away = part.breaker.is_open();
        let until = part.breaker.blocked_until(now);
        self.publish(batch.partition);
        Failed {
            went_away: is_away && !was_away,
            is_away,
            retry_after: until.map_or(Duration::ZERO, |until| until.since(now)),
        }
    }

    fn publish(&self, partition: u32) {
        let until = self.get(partition).told_away_until();
        self.status.set(partition, until);
    }
}

/// Taken for the round trip before one has been measured: a store in the same data centre.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(1);
