//! All that one store keeps: its marker, a ledger for each key, and when each ledger is forgotten.
//!
//! This is the one definition of a store. The embedded store and the simulator's are drivers of it;
//! the Redis script transcribes it, with Redis' own expiry in place of the queue here.
//!
//! # Invariant
//!
//! A ledger that is forgotten was due: an empty slot says the same from then on. A ledger that is
//! due answers nothing any more, forgotten or not. A store that is full of ledgers that are not due
//! refuses further keys, and forgets none.
//!
//! Each ledger stands in the queue once, no later than it is due.

use alloc::collections::binary_heap::PeekMut;
use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::birth::Birth;
use crate::ledger::{Ledger, Past};
use crate::limit::Limit;
use crate::marker::Marker;
use crate::message::{Reply, Request, Status};
use crate::roster::{Enroll, Roster, Seat};
use crate::time::{Micros, StoreTime};

/// A store's marker and its ledgers, by key.
///
/// # Examples
///
/// ```
/// use leasehold_core::{Ledgers, Limit, Micros, Request, Status, StoreTime};
///
/// let limit: Limit = "2/h".parse()?;
/// let spend = Request::Spend { cost: 1 };
/// let calls = [("alice", &limit, &spend); 3];
/// let mut ledgers = Ledgers::new(1000);
/// let now = StoreTime::from_micros(1_000_000);
/// let (_, replies) = ledgers.execute(StoreTime::ZERO, Micros(0), calls, now);
/// let statuses = [replies[0].status, replies[1].status, replies[2].status];
/// assert_eq!(statuses, [Status::Spent, Status::Spent, Status::Denied]);
/// # Ok::<(), leasehold_core::LimitError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ledgers<K> {
    marker: Option<Marker>,
    /// How long the last caller said that a store without memory waits.
    quarantine: Micros,
    kept: BTreeMap<K, Kept>,
    /// When to look whether a ledger is due, the earliest first.
    queue: BinaryHeap<Reverse<(StoreTime, K)>>,
    keys_max: usize,
}

/// A ledger, and when it is forgotten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// The ledger.
    pub ledger: Ledger,
    /// From then on the ledger says no more than an empty slot does.
    pub forget_at: StoreTime,
}

impl<K: Clone + Ord> Ledgers<K> {
    /// A store without memory, that keeps at most `keys_max` ledgers.
    pub fn new(keys_max: usize) -> Self {
        Self {
            marker: None,
            quarantine: Micros(0),
            kept: BTreeMap::new(),
            queue: BinaryHeap::new(),
            keys_max,
        }
    }

    /// Answers a batch of calls, each of a key, its limit and a request, at the store's time `now`.
    ///
    /// `known` is the [`Birth::since`] that the caller remembers, [`StoreTime::ZERO`] if none;
    /// `quarantine` is the longest that a lease which the store may have forgotten can still run.
    /// Returns the birth in force and one reply for each call, in order.
    pub fn execute<'a>(
        &mut self,
        known: StoreTime,
        quarantine: Micros,
        calls: impl IntoIterator<Item = (K, &'a Limit, &'a Request)>,
        now: StoreTime,
    ) -> (Birth, Vec<Reply>) {
        let past = self.meet(known, quarantine, now);
        let calls = calls.into_iter();
        let replies = calls.map(|(key, limit, request)| {
            self.reclaim(RECLAIM_PER_CALL, now);
            self.exchange(key, limit, request, past, now)
        });
        (past.birth, replies.collect())
    }

    /// Enters a replica on the roster, renews its entry or ends it, at the store's time `now`: for
    /// the caller whose batch was [executed](Self::execute) last, which finds out whether the
    /// roster is still the same.
    ///
    /// # Panics
    ///
    /// If no batch has been executed.
    pub fn enroll(&mut self, enroll: &Enroll, now: StoreTime) -> Seat {
        let marker = self.marker.as_mut().expect("a batch was executed before");
        marker.roster.enroll(enroll, now)
    }

    /// The roster: who may spend advances.
    pub fn roster(&self) -> &Roster {
        static NOBODY: Roster = Roster::new(StoreTime::ZERO);
        self.marker
            .as_ref()
            .map_or(&NOBODY, |marker| &marker.roster)
    }

    /// The store was started anew from what it had saved, at `now`.
    pub fn restart(&mut self, now: StoreTime) {
        let restarted = |found: &Marker| Marker::restarted(found, self.quarantine, now);
        self.marker = self.marker.as_ref().map(restarted);
    }

    /// The store loses its memory, its birth included.
    pub fn forget_all(&mut self) {
        *self = Self::new(self.keys_max);
    }

    /// The ledger of `key` at `now`, if one is kept and is not due.
    pub fn ledger(&self, key: &K, now: StoreTime) -> Option<&Ledger> {
        let kept = self.kept.get(key).filter(|kept| kept.forget_at > now);
        kept.map(|kept| &kept.ledger)
    }

    /// How many ledgers are kept, those among them that are due and not yet forgotten.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no ledger is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn meet(&mut self, known: StoreTime, quarantine: Micros, now: StoreTime) -> Past {
        let marker = Marker::meet(self.marker.take(), known, quarantine, now);
        let past = marker.past();
        (self.marker, self.quarantine) = (Some(marker), quarantine);
        past
    }

    fn exchange(
        &mut self,
        key: K,
        limit: &Limit,
        request: &Request,
        past: Past,
        now: StoreTime,
    ) -> Reply {
        if let Some(kept) = self.kept.get_mut(&key) {
            if kept.forget_at <= now {
                *kept = Kept::open(past, limit, now);
            }
            return kept.exchange(request, limit, past, now);
        }
        let mut kept = Kept::open(past, limit, now);
        let reply = kept.exchange(request, limit, past, now);
        if kept.forget_at <= now {
            // It says nothing already: somebody only looked.
            return reply;
        }
        if self.kept.len() >= self.keys_max {
            self.reclaim(RECLAIM_WHEN_FULL, now);
            if self.kept.len() >= self.keys_max {
                return Reply::unserved(Status::Full, now);
            }
        }
        self.queue.push(Reverse((kept.forget_at, key.clone())));
        self.kept.insert(key, kept);
        reply
    }

    /// Forgets ledgers that are due, after at most so many looks.
    fn reclaim(&mut self, looks: usize, now: StoreTime) {
        for _ in 0..looks {
            let Some(mut first) = self.queue.peek_mut() else {
                return;
            };
            let Reverse((look_at, key)) = &*first;
            if *look_at > now {
                return;
            }
            let forget_at = self.kept.get(key).map(|kept| kept.forget_at);
            match forget_at {
                // It was asked for again since it was queued.
                Some(forget_at) if forget_at > now => first.0.0 = forget_at,
                _ => {
                    let Reverse((_, key)) = PeekMut::pop(first);
                    self.kept.remove(&key);
                }
            }
        }
    }
}

impl Kept {
    /// The ledger of a key of which the store knows nothing.
    pub fn open(past: Past, limit: &Limit, now: StoreTime) -> Self {
        Self {
            ledger: Ledger::open(past, limit, now),
            forget_at: StoreTime::ZERO,
        }
    }

    /// Answers a request, as [`Ledger::exchange`] does, and notes when the ledger is forgotten.
    ///
    /// That time never comes nearer, because another's lease may run longer than this one. When it
    /// must be put off, it is by half as much again, up to a minute, so that most requests need not
    /// put it off: to say so to Redis is a command more.
    pub fn exchange(
        &mut self,
        request: &Request,
        limit: &Limit,
        past: Past,
        now: StoreTime,
    ) -> Reply {
        let reply = self.ledger.answer(request, limit, past, now);
        let lease = match request {
            Request::Lease(request) => request.lease,
            Request::Spend { .. } | Request::Charge { .. } | Request::Forgive => Micros(0),
        };
        let lifetime = self.ledger.lifetime(limit, lease, now);
        let matters_until = now + lifetime;
        if matters_until > self.forget_at {
            let more = Micros((lifetime.0 / 2).min(LENGTHEN_MAX));
            self.forget_at = (matters_until + more).min(FORGET_MAX);
        }
        reply
    }
}

/// A minute: to set an expiry as seldom as this costs nothing.
const LENGTHEN_MAX: u64 = 60_000_000;

/// The last time that a double tells from the next: in the year 2255.
const FORGET_MAX: StoreTime = StoreTime::from_micros((1 << 53) - 1);

/// Ledgers looked at for each call: each call queues one at most, so the queue never falls behind.
const RECLAIM_PER_CALL: usize = 4;

/// Ledgers looked at to make room for one more: a tenth of a millisecond.
const RECLAIM_WHEN_FULL: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Demand, LeaseRequest, RecordId};

    const SECOND: u64 = 1_000_000;
    const NOBODY: StoreTime = StoreTime::ZERO;

    fn at(micros: u64) -> StoreTime {
        StoreTime::from_micros(micros)
    }

    fn limit() -> Limit {
        "1/s burst 10".parse().unwrap()
    }

    fn spend(cost: u64) -> Request {
        Request::Spend { cost }
    }

    /// For five tokens, for ten seconds.
    fn lease() -> Request {
        Request::Lease(LeaseRequest {
            record: RecordId {
                replica: 1,
                generation: 1,
            },
            granted: 0,
            spent: 0,
            released: 0,
            wanted: 5,
            needed: 5,
            lease: Micros(10 * SECOND),
            expiry: NOBODY,
            demand: Demand::ONE,
        })
    }

    fn ask(ledgers: &mut Ledgers<u32>, key: u32, request: &Request, now: StoreTime) -> Reply {
        let calls = [(key, &limit(), request)];
        ledgers.execute(NOBODY, Micros(SECOND), calls, now).1[0]
    }

    #[test]
    fn a_ledger_is_forgotten_when_it_says_no_more_than_none_and_not_before() {
        // The last outlives what is spent after it: by the lease, and the draining of both.
        for story in [&[spend(5)][..], &[lease()], &[lease(), spend(5)]] {
            let mut ledgers = Ledgers::new(9);
            let mut slot = None;
            for request in story {
                ask(&mut ledgers, 1, request, at(SECOND));
                let birth = ledgers.marker.as_ref().unwrap().birth;
                Ledger::exchange(&mut slot, request, &limit(), birth, at(SECOND));
            }
            let birth = ledgers.marker.as_ref().unwrap().birth;
            let is_gone = |now: &u64| ledgers.ledger(&1, at(*now)).is_none();
            let gone = (SECOND..60 * SECOND).step_by(1000).find(is_gone);
            let gone = at(gone.expect("not kept for ever"));
            let mut none = None;
            assert_eq!(
                Ledger::exchange(&mut slot, &spend(10), &limit(), birth, gone),
                Ledger::exchange(&mut none, &spend(10), &limit(), birth, gone),
                "{story:?}"
            );
            assert_eq!(ledgers.len(), 1, "nobody has asked since");
            ask(&mut ledgers, 2, &spend(1), gone);
            assert_eq!(ledgers.ledger(&1, NOBODY), None, "and now it is forgotten");
        }
    }

    #[test]
    fn a_shorter_lease_that_is_asked_for_later_shortens_nothing() {
        let mut ledgers = Ledgers::new(9);
        ask(&mut ledgers, 1, &lease(), at(SECOND));
        let kept = |ledgers: &Ledgers<u32>| ledgers.kept[&1].forget_at;
        let before = kept(&ledgers);
        assert!(
            before >= at(SECOND + 16 * SECOND),
            "the lease, and five tokens: {before:?}"
        );
        ask(&mut ledgers, 1, &spend(1), at(SECOND + 1));
        assert_eq!(kept(&ledgers), before);
    }

    #[test]
    fn each_ledger_stands_in_the_queue_once_however_often_it_is_asked_for() {
        let mut ledgers = Ledgers::new(1000);
        for step in 0..10_000_u64 {
            let key = u32::try_from(step * step % 700).unwrap();
            ask(
                &mut ledgers,
                key,
                &spend(step % 3),
                at(SECOND + step * 20_000),
            );
            let queued = ledgers.queue.iter().map(|Reverse((at, key))| (*key, *at));
            let queued: BTreeMap<u32, StoreTime> = queued.collect();
            assert_eq!(queued.len(), ledgers.queue.len());
            assert!(queued.keys().eq(ledgers.kept.keys()));
            let in_time = |(key, at): (&u32, &StoreTime)| *at <= ledgers.kept[key].forget_at;
            assert!(queued.iter().all(in_time));
        }
    }

    #[test]
    fn a_full_store_forgets_nothing_that_matters_and_takes_a_key_once_it_has_room() {
        let mut ledgers = Ledgers::new(2);
        for key in [1, 2] {
            assert_eq!(
                ask(&mut ledgers, key, &spend(9), at(SECOND)).status,
                Status::Spent
            );
        }
        let full = ask(&mut ledgers, 3, &spend(1), at(2 * SECOND));
        assert_eq!(full, Reply::unserved(Status::Full, at(2 * SECOND)));
        assert_eq!(
            ask(&mut ledgers, 1, &spend(9), at(2 * SECOND)).status,
            Status::Denied
        );
        assert_eq!(
            ask(&mut ledgers, 3, &spend(1), at(30 * SECOND)).status,
            Status::Spent
        );
    }
}
