//! The store's memory: one real ledger per key, under a birth marker.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use leasehold_cache::LimitId;
use leasehold_core::{Ledger, Ledgers, Limit, Record, Request, Status, StoreTime};
use leasehold_sync::{Answer, Call};

use crate::leased::log;
use crate::leased::replica::{Message, number_of};
use crate::model::{Demand, StoreModel, Weight};
use crate::record::{Executed, Sending};

/// An answer, shared by its copies.
pub(super) type Answered = Rc<Told>;

/// An answer with the levels that only the log is told.
#[derive(Debug)]
pub struct Told {
    answer: Answer,
    /// Tokens charged and not yet drained, of each key that was asked about.
    pub(crate) levels: Vec<f64>,
}

impl Deref for Told {
    type Target = Answer;

    fn deref(&self) -> &Answer {
        &self.answer
    }
}

/// The ledgers that Redis would hold.
#[derive(Clone, Debug)]
pub struct LeasedStore {
    ledgers: Ledgers<Key>,
    /// Excuses of the ledgers whose sum may exceed the capacity, though not by a grant.
    excuses: BTreeMap<Key, Excuse>,
}

/// A limit, and the number of a key.
type Key = (u32, u32);

/// Whether the sum of what is charged and outstanding may exceed the capacity, though not by a
/// grant.
#[derive(Clone, Copy, Debug)]
struct Excuse {
    /// Leases were re-asserted to a store that had forgotten them, the bucket counts as spent since
    /// the store was emptied while leases of before are known, or the limit has changed.
    excused: bool,
    limit: Limit,
}

impl Default for LeasedStore {
    fn default() -> Self {
        Self {
            ledgers: Ledgers::new(usize::MAX),
            excuses: BTreeMap::new(),
        }
    }
}

impl StoreModel for LeasedStore {
    type Message = Message;
    type Answer = Answered;

    fn execute(
        &mut self,
        message: &Message,
        now: StoreTime,
        spent: &mut dyn FnMut(Demand),
    ) -> Answered {
        let (mut birth, mut replies) = (None, Vec::with_capacity(message.calls.len()));
        let mut levels = Vec::with_capacity(message.calls.len());
        for call in &message.calls {
            let limit = message.limit_of(call).limit;
            let (key, request) = (key_of(call), &call.request);
            let before = self.ledgers.ledger(&key, now);
            let mut excuse = Excuse {
                excused: false,
                limit,
            };
            if before.is_some()
                && let Some(known) = self.excuses.get(&key)
            {
                excuse = *known;
            }
            excuse.excused |= learns(before, request, now);
            // What was admitted without leave is charged whether it fits or not.
            excuse.excused |= matches!(request, Request::Charge { .. });
            let touched = before.map(|ledger| ledger.meter.at());
            // Each as a batch of its own, so that each step is checked: they are met alike.
            let calls = [(key, &limit, request)];
            let (known, hold) = (message.known_birth, message.quarantine);
            let (met, reply) = self.ledgers.execute(known, hold, calls, now);
            let reply = reply[0];
            excuse.excused |= touched.is_some_and(|at| at < met.emptied);
            excuse.excused |= reply.status == Status::Reasserted || excuse.limit != limit;
            excuse.limit = limit;
            let ledger = self.ledgers.ledger(&key, now);
            if let Some(ledger) = ledger {
                check(ledger, &limit, excuse.excused);
            }
            levels.push(ledger.map_or(0.0, |ledger| ledger.meter.charged()));
            self.excuses.insert(key, excuse);
            if reply.status == Status::Spent {
                let cost = match call.request {
                    Request::Spend { cost } => u32::try_from(cost).expect("costs are 32 bits"),
                    Request::Lease(_) | Request::Charge { .. } | Request::Forgive => {
                        unreachable!("only a spend is spent by the store")
                    }
                };
                let (limit, key) = key;
                spent(Demand { limit, key, cost });
            }
            birth = Some(met);
            replies.push(reply);
        }
        let birth = birth.unwrap_or_else(|| {
            let (known, hold) = (message.known_birth, message.quarantine);
            self.ledgers.execute(known, hold, [], now).0
        });
        let seat = (message.enroll).map(|enroll| self.ledgers.enroll(&enroll, now));
        let answer = Answer {
            birth,
            seat,
            replies,
        };
        Rc::new(Told { answer, levels })
    }

    fn forget(&mut self) {
        *self = Self::default();
    }

    /// As the script does it, which compares the server's run id with that of the marker.
    fn restart(&mut self, now: StoreTime) {
        self.ledgers.restart(now);
    }

    fn weigh(message: &Message) -> Weight {
        let calls = u32::try_from(message.calls.len()).expect("batches are small");
        Weight {
            calls,
            bytes_in: HEADER_IN + calls * CALL_IN,
            bytes_out: HEADER_OUT + calls * CALL_OUT,
        }
    }

    fn keys(&self) -> usize {
        self.ledgers.len()
    }

    fn sending(message: &Message) -> Sending {
        log::sending(message)
    }

    fn answered(message: &Message, answer: &Answered) -> Executed {
        log::answered(message, answer)
    }
}

fn key_of(call: &Call) -> Key {
    let key = call.key();
    let LimitId(limit) = key.limit;
    (limit, number_of(key))
}

/// Whether a replica knows of grants that the ledger does not, because they were lost with a server
/// or because a late copy of a call is about a lease that was given back since. The reply says so
/// only if the lease goes on.
fn learns(ledger: Option<&Ledger>, request: &Request, now: StoreTime) -> bool {
    let Request::Lease(lease) = request else {
        return false;
    };
    let record = ledger.and_then(|ledger| ledger.records.get(&lease.record));
    lease.granted > record.map_or(0, |record| record.granted) && lease.expiry > now
}

/// Asserts the invariants of a ledger after a step.
fn check(ledger: &Ledger, limit: &Limit, excused: bool) {
    let outstanding = ledger.outstanding;
    if ledger.records.len() <= RECORDS_PER_STEP {
        let sum: u64 = ledger.records.values().map(Record::outstanding).sum();
        assert_eq!(
            outstanding, sum,
            "what is outstanding is not the sum over the records: {ledger:?}"
        );
    }
    assert!(
        excused || ledger.fits(limit),
        "charged and outstanding tokens exceed the capacity: {ledger:?}"
    );
}

/// With more records than this the sum over all of them is not taken at every step: it would make
/// a run of many replicas quadratic.
const RECORDS_PER_STEP: usize = 100;

/// EVALSHA, its digest, the numbers of keys, the birth marker and a limit, as the Redis store
/// sends them.
const HEADER_IN: u32 = 260;

/// A request is 96 bytes in a shared argument, and its key's name about 32.
const CALL_IN: u32 = 128;

/// The birth marker and the frame.
const HEADER_OUT: u32 = 40;

/// A reply is nine numbers.
const CALL_OUT: u32 = 72;
