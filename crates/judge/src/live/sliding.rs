//! The most tokens that were taken of a key within one second.
//!
//! Windows are a second long and begin on a whole millisecond. That keeps the log short where one
//! key is busy, for takes of the same millisecond are one entry, and it accuses nobody: each is a
//! true window of one second, of which those that begin between two milliseconds may hold a little
//! more. What no window of any length or beginning escapes is the overshoot.

use std::collections::VecDeque;

use super::promise::Promise;
use crate::Demand;

/// Takes of all keys in the last second, oldest first.
#[derive(Debug, Default)]
pub(super) struct SlidingSecond {
    taken: VecDeque<Taken>,
    /// The millisecond that `now` lies in.
    millisecond: u64,
}

/// Tokens taken of a key in one millisecond.
#[derive(Debug)]
struct Taken {
    at_ms: u64,
    /// Their sum is its cost.
    demand: Demand,
}

impl SlidingSecond {
    /// Counts what is taken now; the promise's `in_second` of the key is exact afterwards.
    pub(super) fn take(&mut self, now_ns: u64, demand: Demand, promises: &mut [Promise]) {
        let millisecond = now_ns / MILLISECOND_NS;
        if millisecond != self.millisecond {
            self.millisecond = millisecond;
            self.forget_older(promises);
        }
        *in_second(demand, promises) += u64::from(demand.cost);
        if let Some(last) = self.taken.back_mut()
            && last.at_ms == millisecond
            && (last.demand.limit, last.demand.key) == (demand.limit, demand.key)
            && let Some(sum) = last.demand.cost.checked_add(demand.cost)
        {
            last.demand.cost = sum;
        } else {
            self.taken.push_back(Taken {
                at_ms: millisecond,
                demand,
            });
        }
    }

    fn forget_older(&mut self, promises: &mut [Promise]) {
        while let Some(oldest) = self.taken.front()
            && oldest.at_ms + WINDOW_MS <= self.millisecond
        {
            *in_second(oldest.demand, promises) -= u64::from(oldest.demand.cost);
            self.taken.pop_front();
        }
    }

    /// Forgets what was taken of the keys of a limit.
    pub(super) fn forget(&mut self, limit: u32) {
        self.taken.retain(|taken| taken.demand.limit != limit);
    }
}

fn in_second(demand: Demand, promises: &mut [Promise]) -> &mut u64 {
    promises[demand.limit as usize].in_second(demand.key)
}

const MILLISECOND_NS: u64 = 1_000_000;
const WINDOW_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limit::JudgedLimit;

    fn promises(keys: u32) -> Vec<Promise> {
        let limit = JudgedLimit::new(1, 1, 1).unwrap();
        vec![Promise::new(vec![limit], keys)]
    }

    fn demand(key: u32, cost: u32) -> Demand {
        Demand {
            limit: 0,
            key,
            cost,
        }
    }

    proptest! {
        #[test]
        fn it_counts_the_last_thousand_milliseconds(
            takes in prop::collection::vec((0_u64..400_000_000, 0_u32..3, 1_u32..5), 0..60),
        ) {
            let mut promises = promises(3);
            let mut second = SlidingSecond::default();
            let mut past = Vec::new();
            let mut now_ns = 0;
            for (gap, key, tokens) in takes {
                now_ns += gap;
                second.take(now_ns, demand(key, tokens), &mut promises);
                past.push((now_ns / MILLISECOND_NS, key, tokens));
                let since_ms = (now_ns / MILLISECOND_NS).saturating_sub(999);
                let inside = past.iter().filter(|taken| taken.0 >= since_ms && taken.1 == key);
                let tokens: u64 = inside.map(|taken| u64::from(taken.2)).sum();
                prop_assert_eq!(*promises[0].in_second(key), tokens);
            }
        }
    }

    #[test]
    fn a_busy_key_has_one_entry_a_millisecond() {
        let mut promises = promises(1);
        let mut second = SlidingSecond::default();
        for at_us in 0..3_000_000 {
            second.take(at_us * 1000, demand(0, 1), &mut promises);
        }
        assert_eq!(*promises[0].in_second(0), 1_000_000);
        assert_eq!(second.taken.len(), 1000);
    }
}
