//! The store's memory: one real ledger per key, under a birth marker.

use std::rc::Rc;

use leasehold_cache::LimitId;
use leasehold_core::{Birth, Ledger, Limit, Micros, Record, Request, Status, StoreTime};
use leasehold_sync::{Answer, Call};

use crate::leased::log;
use crate::leased::node::{Message, number_of};
use crate::record::{Executed, Sending};
use crate::scheme::{Demand, Keeper, Weight};

/// An answer, shared by its copies.
pub(crate) type Answered = Rc<Answer>;

/// What Redis would hold.
#[derive(Clone, Debug, Default)]
pub struct LeasedKeeper {
    birth: Option<Birth>,
    /// What the last message said of how long a forgetful store must wait.
    hold: Micros,
    /// By limit, then by key.
    ledgers: Vec<Vec<Option<Box<Kept>>>>,
    keys: usize,
}

/// A ledger, and when it ceases to matter.
#[derive(Clone, Debug)]
struct Kept {
    ledger: Option<Ledger>,
    until: StoreTime,
    /// Since when the sum of what is charged and outstanding may exceed the capacity, though not
    /// by a grant: leases were re-asserted to a store that had forgotten them, the bucket counts as
    /// spent since the store was emptied while leases of before are known, or the limit has changed.
    excused: bool,
    limit: Limit,
}

impl Keeper for LeasedKeeper {
    type Message = Message;
    type Answer = Answered;

    fn execute(
        &mut self,
        message: &Message,
        now: StoreTime,
        spent: &mut dyn FnMut(Demand),
    ) -> Answered {
        let birth = Birth::meet(self.birth, message.known_birth, message.hold, now);
        self.birth = Some(birth);
        self.hold = message.hold;
        let mut replies = Vec::with_capacity(message.calls.len());
        for call in &message.calls {
            let limit = message.limit_of(call).limit;
            let kept = self.kept(call, limit);
            if kept.until <= now {
                kept.ledger = None;
                kept.excused = false;
            }
            kept.excused |= kept.outlives(birth) || kept.learns(&call.request, now);
            // What was admitted without leave is charged whether it fits or not.
            kept.excused |= matches!(call.request, Request::Charge { .. });
            let reply = Ledger::exchange(&mut kept.ledger, &call.request, &limit, birth, now);
            let ledger = kept.ledger.as_ref().expect("an exchange opens it");
            kept.excused |= reply.status == Status::Reasserted || kept.limit != limit;
            kept.limit = limit;
            check(ledger, &limit, kept.excused);
            kept.until = now + ledger.lifetime(&limit, message.hold, now);
            if reply.status == Status::Spent {
                let LimitId(limit) = call.entry.key().limit;
                let cost = match call.request {
                    Request::Spend { cost } => u32::try_from(cost).expect("costs are 32 bits"),
                    Request::Lease(_) | Request::Charge { .. } => {
                        unreachable!("only a spend is spent by the store")
                    }
                };
                let key = number_of(call.entry.key());
                spent(Demand { limit, key, cost });
            }
            replies.push(reply);
        }
        Rc::new(Answer { birth, replies })
    }

    fn forget(&mut self) {
        *self = Self::default();
    }

    /// As the script does it, which compares the server's run id with that of the marker.
    fn restart(&mut self, now: StoreTime) {
        self.birth = self
            .birth
            .map(|found| Birth::restarted(found, self.hold, now));
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
        self.keys
    }

    fn sending(message: &Message) -> Sending {
        log::sending(message)
    }

    fn answered(message: &Message, answer: &Answered) -> Executed {
        log::answered(message, answer)
    }
}

impl LeasedKeeper {
    fn kept(&mut self, call: &Call, limit: Limit) -> &mut Kept {
        let key = call.entry.key();
        let LimitId(index) = key.limit;
        let (index, number) = (index as usize, number_of(key) as usize);
        if self.ledgers.len() <= index {
            self.ledgers.resize_with(index + 1, Vec::new);
        }
        let ledgers = &mut self.ledgers[index];
        if ledgers.len() <= number {
            ledgers.resize_with(number + 1, || None);
        }
        let slot = &mut ledgers[number];
        self.keys += usize::from(slot.is_none());
        slot.get_or_insert_with(|| {
            Box::new(Kept {
                ledger: None,
                until: StoreTime::ZERO,
                excused: false,
                limit,
            })
        })
    }
}

impl Kept {
    /// Whether the store was emptied after this was last touched: the bucket then counts as spent,
    /// beside leases that are outstanding.
    fn outlives(&self, birth: Birth) -> bool {
        let touched = self.ledger.as_ref().map(|ledger| ledger.bucket.at);
        touched.is_some_and(|at| at < birth.emptied)
    }

    /// Whether a replica knows of grants that the ledger does not: lost with a server, or a late copy
    /// of a call about a lease that was given back since. The reply says so only if the lease goes on.
    fn learns(&self, request: &Request, now: StoreTime) -> bool {
        let Request::Lease(lease) = request else {
            return false;
        };
        let record = self
            .ledger
            .as_ref()
            .and_then(|it| it.records.get(&lease.record));
        lease.granted > record.map_or(0, |record| record.granted) && lease.expiry > now
    }
}

/// What holds of a ledger after every step.
fn check(ledger: &Ledger, limit: &Limit, excused: bool) {
    let outstanding = ledger.outstanding;
    if ledger.records.len() <= RECORDS_PER_STEP {
        let sum: u64 = ledger.records.values().map(Record::outstanding).sum();
        assert_eq!(
            outstanding, sum,
            "what is outstanding is not the sum over the records: {ledger:?}"
        );
    }
    let level = ledger.bucket.level + limit.scale().level(outstanding.min(limit.capacity()));
    assert!(
        excused || (outstanding <= limit.capacity() && level <= limit.capacity_level()),
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
