//! The store: the real ledgers under a birth marker, forgotten as soon as they may be.

use std::collections::BTreeMap;

use leasehold_cache::LimitId;
use leasehold_core::{Birth, Ledger, Limit, Status, StoreTime};
use leasehold_sync::{Answer, Batch};

/// What Redis would hold.
#[derive(Debug, Default)]
pub(crate) struct Store {
    birth: Option<Birth>,
    ledgers: BTreeMap<(u32, Box<[u8]>), Kept>,
}

#[derive(Debug)]
struct Kept {
    ledger: Option<Ledger>,
    until: StoreTime,
    /// A late copy of a message revived a lease that had ended: it is charged a second time.
    revived: bool,
}

impl Store {
    /// Executes a batch at one instant, as a script does.
    pub(crate) fn exchange(&mut self, batch: &Batch, now: StoreTime) -> Answer {
        let birth = Birth::meet(self.birth, batch.known_birth, batch.hold, now);
        self.birth = Some(birth);
        let replies = batch.calls.iter().map(|call| {
            let limit = batch.limit_of(call).limit;
            let key = call.entry.key();
            let LimitId(index) = key.limit;
            let kept = self
                .ledgers
                .entry((index, key.subject.into()))
                .or_insert(Kept {
                    ledger: None,
                    until: StoreTime::ZERO,
                    revived: false,
                });
            if kept.until <= now {
                kept.ledger = None;
            }
            let reply = Ledger::exchange(&mut kept.ledger, &call.request, &limit, birth, now);
            let ledger = kept.ledger.as_ref().expect("an exchange opens it");
            kept.revived |= reply.status == Status::Reasserted;
            if !kept.revived {
                check(ledger, &limit);
            }
            kept.until = now + ledger.lifetime(&limit, batch.hold, now);
            reply
        });
        Answer {
            replies: replies.collect(),
            birth,
        }
    }

    /// Tokens that the store counts as outstanding at `replica`, leases past their expiry not
    /// counted.
    pub(crate) fn outstanding_of(&self, replica: u64, now: StoreTime) -> u64 {
        let ledgers = self
            .ledgers
            .values()
            .filter_map(|kept| kept.ledger.as_ref());
        let records = ledgers.flat_map(|ledger| &ledger.records);
        records
            .filter(|(id, record)| id.replica == replica && record.expiry > now)
            .map(|(_, record)| record.outstanding())
            .sum()
    }
}

/// What holds of a ledger after every step of a store that never loses its memory.
fn check(ledger: &Ledger, limit: &Limit) {
    let outstanding: u64 = ledger
        .records
        .values()
        .map(leasehold_core::Record::outstanding)
        .sum();
    assert_eq!(
        ledger.outstanding, outstanding,
        "the sum is kept beside its parts"
    );
    let in_use = ledger.bucket.level + limit.scale().level(outstanding);
    assert!(
        in_use <= limit.capacity_level(),
        "granted beyond the capacity: {ledger:?}"
    );
}
