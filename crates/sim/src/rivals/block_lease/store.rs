//! The store of a naive lease: a bucket per key, and no account of who holds what.

use leasehold_core::StoreTime;

use super::{BlockLeaseAnswer, BlockLeaseMessage};
use crate::model::{Demand, StoreModel, Weight};
use crate::rivals::meter::{Refusal, limit_of};
use crate::rivals::resp;
use crate::rivals::table::Table;
use crate::rivals::token_bucket::TokenBucket;

/// The buckets.
#[derive(Clone, Debug)]
pub struct BlockLeaseStore {
    buckets: Table<TokenBucket>,
}

impl BlockLeaseStore {
    pub(super) fn new() -> Self {
        Self {
            buckets: Table::new(),
        }
    }
}

impl StoreModel for BlockLeaseStore {
    type Message = BlockLeaseMessage;
    type Answer = BlockLeaseAnswer;

    fn execute(
        &mut self,
        message: &BlockLeaseMessage,
        now: StoreTime,
        _: &mut dyn FnMut(Demand),
    ) -> BlockLeaseAnswer {
        let BlockLeaseMessage {
            slot,
            want,
            least,
            limits,
        } = message;
        let (limit, now_us) = (limit_of(limits, *slot), now.as_micros());
        self.buckets
            .sweep_if_grown(|slot, bucket| bucket.matters(limit_of(limits, slot), now_us));
        let bucket = self.buckets.open(*slot, TokenBucket::default);
        let granted = (*want).min(bucket.tokens(limit, now_us));
        if granted >= *least {
            bucket.charge(granted, limit, now_us);
            return BlockLeaseAnswer {
                granted,
                retry_after_ns: None,
            };
        }
        let refusal = bucket.room(*least, limit, now_us);
        BlockLeaseAnswer {
            granted: 0,
            retry_after_ns: refusal.err().and_then(Refusal::retry_after_ns),
        }
    }

    fn forget(&mut self) {
        self.buckets.clear();
    }

    /// One script call: a key, and tokens, period, burst, what is wanted and what would do; back
    /// come what is granted and the time to wait.
    fn weigh(_: &BlockLeaseMessage) -> Weight {
        Weight {
            calls: 1,
            bytes_in: resp::script_call(1, 5),
            bytes_out: resp::integers(2),
        }
    }

    fn keys(&self) -> usize {
        self.buckets.len()
    }
}
