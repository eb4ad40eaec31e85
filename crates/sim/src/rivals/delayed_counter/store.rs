//! The store of a delayed counter: the counts of this window and the last, per key.

use leasehold_core::StoreTime;

use super::{DelayedCounterAnswer, DelayedCounterMessage, Push, Total};
use crate::model::{Demand, StoreModel, Weight};
use crate::rivals::quota::{Counts, Quota};
use crate::rivals::resp;
use crate::rivals::table::Table;

/// Totals of all replicas together, as far as they reported.
#[derive(Clone, Debug)]
pub struct DelayedCounterStore {
    counts: Table<Counts>,
}

impl DelayedCounterStore {
    pub(super) fn new() -> Self {
        Self {
            counts: Table::new(),
        }
    }

    fn take(&mut self, push: &Push, quota: Quota, now_us: u64) -> Total {
        let counts = self.counts.open(push.slot, Counts::default);
        counts.move_to(quota.index(now_us));
        match push.index {
            Some(index) if index + 1 == counts.index => counts.previous += push.delta,
            // Of a window that counts no more.
            Some(index) if index < counts.index => {}
            _ => counts.current += push.delta,
        }
        Total {
            counts: *counts,
            left_us: quota.left_us(counts.index, now_us),
        }
    }
}

impl StoreModel for DelayedCounterStore {
    type Message = DelayedCounterMessage;
    type Answer = DelayedCounterAnswer;

    fn execute(
        &mut self,
        message: &DelayedCounterMessage,
        now: StoreTime,
        _: &mut dyn FnMut(Demand),
    ) -> DelayedCounterAnswer {
        let (quotas, now_us) = (&message.quotas, now.as_micros());
        self.counts.sweep_if_grown(|slot, counts| {
            counts.index + 1 >= quotas[slot.limit as usize].index(now_us)
        });
        let take = |push: &Push| self.take(push, quotas[push.slot.limit as usize], now_us);
        DelayedCounterAnswer(message.pushes.iter().map(take).collect())
    }

    fn forget(&mut self) {
        self.counts.clear();
    }

    /// One script call: of each key its name, what was spent, in which window and of what length;
    /// back come both counts and the rest of the window.
    fn weigh(message: &DelayedCounterMessage) -> Weight {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "keys of a replica are numbered in 32 bits"
        )]
        let calls = message.pushes.len() as u32;
        Weight {
            calls,
            bytes_in: resp::script_call(calls, 3 * calls),
            bytes_out: resp::integers(3 * calls),
        }
    }

    fn keys(&self) -> usize {
        self.counts.len()
    }
}
