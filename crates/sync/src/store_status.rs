//! The state of the store that the threads of a replica share: until when each part of it is known
//! to be away, the birth of each part that the replica remembers, and its right to advances there.
//!
//! The sync task notes here when a part is away, so that the request path denies a closed limit in
//! place and wakes no task. Every exchange notes the birth that the answer tells, so that the next
//! batch, whichever task sends it, names the birth that this replica remembers.
//!
//! # Invariant
//!
//! A part is never away for longer than the sync task knows: once the time is up, requests ask
//! again, and one of them finds out whether the store is back.
//!
//! # Orderings
//!
//! All `Relaxed`, but for the right to advances: each word stands for itself. A time that is seen
//! late costs a question. A birth that is seen late only makes a batch look as if it had been sent
//! earlier.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use leasehold_core::{Decided, Instant, Reason, Retry, StoreTime, Verdict};

use crate::advance_right::AdvanceRight;
use crate::batch::{Answer, Batch};

/// The state of each part of the store, as far as a replica knows it.
#[derive(Debug)]
pub struct StoreStatus(Box<[Part]>);

#[derive(Debug, Default)]
struct Part {
    /// [`Instant::ORIGIN`] where nothing is amiss.
    away_until: AtomicU64,
    /// Zero before the first answer.
    known_birth: AtomicU64,
    right: AdvanceRight,
}

impl StoreStatus {
    /// The status of a store in so many parts, none of them away and none heard of.
    pub(crate) fn new(partitions: u32) -> Self {
        let part = |_| Part::default();
        Self((0..partitions.max(1)).map(part).collect())
    }

    /// In how many parts the store keeps its keys.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.0.len()).expect("made of as many")
    }

    /// `None`: the part is not away. [`Instant::FAR_FUTURE`]: it is away until the call that looks
    /// for it has found out.
    pub(crate) fn set(&self, partition: u32, until: Option<Instant>) {
        let until = until.unwrap_or(Instant::ORIGIN);
        let part = &self.0[partition as usize];
        part.away_until.store(until.as_nanos(), Relaxed);
    }

    /// The denial for want of a part of the store that is away at `now`.
    pub(crate) fn denial(&self, partition: u32, now: Instant) -> Option<Verdict> {
        let part = &self.0[partition as usize];
        let until = Instant::from_nanos(part.away_until.load(Relaxed));
        let until = match until {
            Instant::FAR_FUTURE => now + SOON,
            until => until,
        };
        (until > now).then(|| unavailable(until, now))
    }

    /// The right to advances of keys in a part of the store.
    pub(crate) fn right(&self, partition: u32) -> &AdvanceRight {
        &self.0[partition as usize].right
    }

    /// The birth of a part of the store as this replica remembers it; [`StoreTime::ZERO`] before
    /// the first answer.
    ///
    /// # Panics
    ///
    /// If the store has fewer parts.
    pub fn known_birth(&self, partition: u32) -> StoreTime {
        let part = &self.0[partition as usize];
        StoreTime::from_micros(part.known_birth.load(Relaxed))
    }

    /// Remembers the birth in the store's answer to `batch`, by the rule of
    /// [`Answer::known_birth`]. For answers that the [`Syncer`](crate::Syncer) does not get: it
    /// remembers those that it gets.
    ///
    /// # Panics
    ///
    /// If the store has fewer parts than the batch names.
    pub fn handle_answer(&self, batch: &Batch, answer: &Answer) {
        let known = &self.0[batch.partition as usize].known_birth;
        let learn = |known| {
            let known = answer.known_birth(batch, StoreTime::from_micros(known));
            Some(known.as_micros())
        };
        // It always has something to store.
        let _ = known.fetch_update(Relaxed, Relaxed, learn);
    }
}

/// The denial of a request because the store is away.
pub(crate) fn unavailable(until: Instant, now: Instant) -> Verdict {
    let retry = Retry::After(until.since(now));
    Verdict::deny(Decided::Fallback, Reason::StoreUnavailable, retry)
}

/// A store that is there answers within this.
const SOON: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use leasehold_core::{Birth, Micros, Reply, Status, Wait};

    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    #[test]
    fn a_part_is_away_until_its_time_is_up_and_no_other_is() {
        let status = StoreStatus::new(2);
        status.set(1, Some(Instant::from_millis(1300)));
        assert_eq!(status.denial(0, NOW), None);
        let retry = |verdict: Verdict| verdict.denial().unwrap().retry;
        let denial = status.denial(1, NOW).unwrap();
        assert_eq!(retry(denial), Retry::After(Duration::from_millis(300)));
        assert_eq!(status.denial(1, Instant::from_millis(1300)), None);
        status.set(1, Some(Instant::FAR_FUTURE));
        let denial = status.denial(1, NOW).unwrap();
        assert_eq!(retry(denial), Retry::After(SOON));
        status.set(1, None);
        assert_eq!(status.denial(1, NOW), None);
    }

    #[test]
    fn a_birth_is_remembered_of_its_own_part_whoever_sent_the_batch() {
        let status = StoreStatus::new(2);
        let at = StoreTime::from_micros;
        let exchange = |partition, known_birth, since| {
            let batch = Batch {
                replica: 1,
                partition,
                known_birth,
                quarantine: Micros(1),
                enroll: None,
                limits: Arc::new([]),
                calls: Vec::new(),
                sent: NOW,
            };
            let answer = Answer {
                birth: Birth {
                    since,
                    emptied: StoreTime::ZERO,
                },
                seat: None,
                replies: vec![Reply {
                    status: Status::Spent,
                    granted: 0,
                    expiry: StoreTime::ZERO,
                    wait: Wait::None,
                    free: 0,
                    full_in: Micros(0),
                    outstanding: 0,
                    replicas: 0,
                    demand: 0,
                    now: at(1_000_000),
                }],
            };
            status.handle_answer(&batch, &answer);
            (status.known_birth(0), status.known_birth(1))
        };
        let zero = StoreTime::ZERO;
        assert_eq!(exchange(1, zero, at(700)), (zero, at(700)));
        let overtaken = exchange(1, zero, at(600));
        assert_eq!(overtaken, (zero, at(700)), "the latest birth stays");
        let restored = exchange(1, at(700), at(600));
        assert_eq!(restored, (zero, at(600)), "the store knew what was known");
    }
}
